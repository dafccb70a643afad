//! What the settings mean together. Whatever is not built yet, or contradicts something else, fails here, at start-up,
//! by its name: nothing is accepted and ignored.

mod args;
mod auth;
mod cli;
mod dotenv;
mod report;
mod secret;
mod settings;
mod sources;
mod validate;

#[cfg(test)]
mod example;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use self::args::{
    AuditArgs, AuthArgs, FleetArgs, GuardArgs, HttpArgs, RedisArgs, RegistryArgs, ServerArgs, TelemetryArgs,
};
pub use self::args::{AuthMode, BackendKind, Transport};
pub use self::auth::AuthSettings;
pub use self::cli::{Cli, Config};
pub use self::dotenv::load_dotenv;
#[cfg(feature = "embedded-executor")]
pub use self::report::engine_config;
pub use self::report::runtime_config;
pub use self::settings::{Backend, FleetSettings, HttpSettings, RegistrySettings, Settings};
pub use self::sources::Sources;

/// Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}{}: {problem}", flag(setting))]
pub struct ConfigError {
    /// The variable's name.
    pub setting: Cow<'static, str>,
    pub problem: String,
}

fn fault(setting: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> ConfigError {
    ConfigError {
        setting: setting.into(),
        problem: problem.into(),
    }
}

/// `MCP_DYNAMIC_PG_URL` is ` (--dynamic-pg-url)` on the command line.
fn flag(variable: &str) -> String {
    match variable.strip_prefix("MCP_") {
        Some(name) => format!(" (--{})", name.to_ascii_lowercase().replace('_', "-")),
        None => String::new(),
    }
}
