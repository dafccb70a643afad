//! What needs the machine to itself: figures and counts mean nothing beside others.

mod first_call;
mod leaks;
mod soak;
