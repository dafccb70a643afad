//! Code that means harm and has Node.js to do it with: processes, files, sockets, descriptors.

mod endings;
mod files;
mod forks;
mod loops;
mod output;
mod patched;
mod reach;
mod state;
