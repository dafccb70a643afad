//! The images and the compose file: what is written, and with a Docker Engine what they are and do.

mod docker;
mod written;
