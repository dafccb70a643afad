//! The end of the process: what runs may finish, nothing new begins, nothing is left.

mod http;
mod logs;
mod stdio;
