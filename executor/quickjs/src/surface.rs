//! What a tool's code finds in this runtime, as data: the control plane reads it to choose a runtime for a tool, so it
//! must not need the engine.

/// Modules that can be imported, with or without `node:` before the name.
pub const MODULES: &[&str] = &[
    "assert",
    "assert/strict",
    "buffer",
    "crypto",
    "events",
    "path",
    "path/posix",
    "perf_hooks",
    "querystring",
    "string_decoder",
    "timers",
    "timers/promises",
    "url",
    "util",
    "util/types",
];

/// The names of all globals.
pub const GLOBALS: &[&str] = &[];
