//! A tool's code in an embedded JavaScript engine: the globals, the modules and one call.
//!
//! There is no wall in this crate. Its caller is a process that was forked from a warmed one and then locked down, so
//! nothing here opens a file, starts a thread or reads the time zone once [`Realm::warm`] has returned.

#[cfg(feature = "engine")]
mod ending;
#[cfg(feature = "engine")]
mod host;
#[cfg(feature = "engine")]
mod modules;
#[cfg(feature = "engine")]
mod natives;
#[cfg(feature = "engine")]
mod prelude;
#[cfg(feature = "engine")]
mod realm;
pub mod surface;

#[cfg(feature = "engine")]
pub use ending::{Ending, ErrorReport};
#[cfg(feature = "engine")]
pub use host::{Host, Stream};
#[cfg(feature = "engine")]
pub use realm::{Call, Realm, Settings, WarmError};
