//! The command line and the environment, as typed in. What they mean together is settled in [`crate::config`].

mod engine;
mod node;

use std::env;
use std::ffi::{OsStr, OsString};

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use dynamic_mcp_shared::policy::SandboxPolicy;
use dynamic_mcp_shared::tls::TlsArgs;

pub use engine::{CpuLimit, EngineArgs, ExecutionEngine};
pub use node::{NodeArgs, TelemetryArgs};

/// Runs jobs of a dynamic-mcp control plane in hardened containers.
///
/// Every setting is a flag and an environment variable; flags win over the environment, and the environment wins over
/// a `.env` file in the working directory.
#[derive(Debug, Clone, Parser)]
#[command(name = "dynamic-mcp-executor", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub node: NodeArgs,

    #[command(flatten)]
    pub tls: TlsArgs,

    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub policy: SandboxPolicy,

    #[command(flatten)]
    pub telemetry: TelemetryArgs,

    /// Instead of running jobs.
    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Cli {
    /// Reads this process's arguments and environment. A variable that is empty counts as not set, as compose files leave them.
    ///
    /// # Errors
    /// A message for the terminal, or the help that was asked for: [`clap::Error::exit`] prints either.
    pub fn read() -> Result<Self, clap::Error> {
        let command = Self::command().mut_args(|arg| empty_is_unset(arg, &|name| env::var_os(name)));
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

fn empty_is_unset(arg: Arg, environment: &impl Fn(&OsStr) -> Option<OsString>) -> Arg {
    let empty = arg
        .get_env()
        .is_some_and(|name| environment(name).is_none_or(|value| value.is_empty()));
    if empty { arg.env(None) } else { arg }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Tell whether the executor with these settings can run jobs: 0 if it can, 1 and why if not; for a container's health check
    Health,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let takes_its_variable = |value: &'static str| {
            let cli = Cli::command().mut_args(|arg| empty_is_unset(arg, &|_| Some(OsString::from(value))));
            let limit = cli
                .get_arguments()
                .find(|arg| arg.get_id() == "sandbox_memory_limit");
            limit.unwrap().get_env().is_some()
        };
        assert!(takes_its_variable("256m"));
        assert!(!takes_its_variable(""));
    }

    #[test]
    fn every_setting_of_ours_is_a_flag_named_after_its_variable() {
        for arg in Cli::command().get_arguments() {
            let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else {
                continue;
            };
            if let Some(name) = variable.strip_prefix("MCP_") {
                assert_eq!(
                    arg.get_long(),
                    Some(name.to_lowercase().replace('_', "-").as_str())
                );
            }
            assert!(arg.get_help().is_some(), "{variable} has no help");
        }
    }

    #[test]
    fn secrets_and_their_values_stay_out_of_the_help() {
        let command = Cli::command();
        let token = command
            .get_arguments()
            .find(|arg| arg.get_id() == "join_token")
            .unwrap();
        assert!(token.is_hide_env_values_set());
    }
}
