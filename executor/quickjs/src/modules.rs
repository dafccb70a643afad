//! What `import` finds.
