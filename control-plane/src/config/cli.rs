//! The command line as a whole, and how it is read.

use std::ffi::{OsStr, OsString};
use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser};
#[cfg(feature = "embedded-executor")]
use dynamic_mcp_executor::cli::EngineArgs;
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::tls::TlsArgs;

use super::args::{
    AuditArgs, AuthArgs, FleetArgs, GuardArgs, HttpArgs, RedisArgs, RegistryArgs, SandboxArgs, ServerArgs,
    TelemetryArgs, TenantArgs,
};
use super::sources::Sources;
use crate::command::Command;

/// An MCP server whose tools are JavaScript made at run time, run in hardened sandboxes.
///
/// Every setting is a flag and an environment variable; flags win over the environment, and the environment wins over
/// a `.env` file in the working directory.
#[derive(Debug, Clone, Parser)]
#[command(name = "dynamic-mcp", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub config: Config,

    /// Instead of the server.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// For the executor in this process, when no other one joins.
    #[cfg(feature = "embedded-executor")]
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Debug, Clone, Args)]
pub struct Config {
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub http: HttpArgs,
    #[command(flatten)]
    pub auth: AuthArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub policy: SandboxPolicy,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    #[command(flatten)]
    pub guard: GuardArgs,
    #[command(flatten)]
    pub tenant: TenantArgs,
    #[command(flatten)]
    pub audit: AuditArgs,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub tls: TlsArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[arg(skip)]
    pub sources: Sources,
}

impl Cli {
    /// Reads this process's arguments and environment.
    ///
    /// # Errors
    /// A message for the terminal, or the help that was asked for: [`clap::Error::exit`] prints either.
    pub fn read() -> Result<Self, clap::Error> {
        Self::read_from(std::env::args_os(), |name| std::env::var_os(name))
    }

    /// As [`Self::read`]. A variable that is empty counts as not set, as compose files leave them. A clap argument
    /// takes its value from the process's environment only, so `environment` decides no more than whether it may.
    pub(super) fn read_from(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&OsStr) -> Option<OsString>,
    ) -> Result<Self, clap::Error> {
        let mut command = Self::command().mut_args(|arg| {
            let empty = arg
                .get_env()
                .is_some_and(|name| environment(name).is_none_or(|value| value.is_empty()));
            if empty { arg.env(None) } else { arg }
        });
        let matches = command
            .try_get_matches_from_mut(arguments)
            .map_err(|error| with_variable(error, &mut Self::command()))?;
        let mut cli = Self::from_arg_matches(&matches)?;
        cli.config.sources = Sources::of(&matches);
        #[cfg(feature = "embedded-executor")]
        if cli.engine.state_dir.is_none() {
            // Both default to the same directory, so one that is set is meant for both.
            cli.engine.state_dir.clone_from(&cli.config.server.state_dir);
        }
        Ok(cli)
    }

    /// Every setting, for what must know them all.
    pub fn definition() -> clap::Command {
        Self::command()
    }
}

/// The variables of the executor within this process.
#[cfg(feature = "embedded-executor")]
pub(super) fn engine_variables() -> Vec<String> {
    let command = EngineArgs::augment_args(clap::Command::new("engine"));
    let names = command.get_arguments().filter_map(|arg| arg.get_env()?.to_str());
    names
        .filter(|name| name.starts_with("MCP_"))
        .map(str::to_owned)
        .collect()
}

#[cfg(not(feature = "embedded-executor"))]
pub(super) fn engine_variables() -> Vec<String> {
    Vec::new()
}

/// A wrong value may have come from the environment, and clap names only the flag.
fn with_variable(error: clap::Error, command: &mut clap::Command) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return error;
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let (Some(shown), Some(got)) = (
        context(ContextKind::InvalidArg),
        context(ContextKind::InvalidValue),
    ) else {
        return error;
    };
    let flag = shown
        .split([' ', '=', '['])
        .next()
        .unwrap_or_default()
        .trim_start_matches('-')
        .to_owned();
    let of_flag = |arg: &&Arg| arg.get_long() == Some(&flag);
    let Some(variable) = command.get_arguments().find(of_flag).and_then(Arg::get_env) else {
        return error;
    };
    let allowed = match (
        std::error::Error::source(&error),
        error.get(ContextKind::ValidValue),
    ) {
        (Some(cause), _) => allowed(cause),
        (None, Some(ContextValue::Strings(values))) => format!("one of {}", values.join(", ")),
        _ => return error,
    };
    let variable = variable.to_string_lossy().into_owned();
    command.error(
        error.kind(),
        format!("{variable} (--{flag}): allowed is {allowed}; got {got:?}"),
    )
}

/// Our own parsers say what is allowed; those of numbers say what is wrong.
fn allowed(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    match text.split_once(" is not in ") {
        _ if cause.is::<ParseIntError>() => "a whole number".to_owned(),
        Some((_, range)) => range.to_owned(),
        None => text,
    }
}
