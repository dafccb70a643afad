//! The product's own environment variables all begin with `MCP_`. One that no setting reads is most likely a
//! misspelt one, so start-up names it instead of going on as if it had been read.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use clap::Command;

const PREFIX: &str = "MCP_";

/// The `MCP_*` names of `environment` that no argument of `command`, or of its subcommands, reads; sorted.
pub fn unknown_variables<N>(command: &Command, environment: impl IntoIterator<Item = N>) -> Vec<String>
where
    N: AsRef<OsStr>,
{
    let mut known = BTreeSet::new();
    collect_known(command, &mut known);
    let unknown: BTreeSet<String> = environment
        .into_iter()
        .filter_map(|name| name.as_ref().to_str().map(str::to_owned))
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name.as_str()))
        .collect();
    unknown.into_iter().collect()
}

fn collect_known<'a>(command: &'a Command, known: &mut BTreeSet<&'a str>) {
    known.extend(command.get_arguments().filter_map(|arg| arg.get_env()?.to_str()));
    for subcommand in command.get_subcommands() {
        collect_known(subcommand, known);
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn a_variable_that_nothing_reads_is_named_and_others_are_not() {
        let command = Command::new("server")
            .arg(Arg::new("port").long("port").env("MCP_PORT"))
            .subcommand(Command::new("doctor").arg(Arg::new("fix").long("fix").env("MCP_FIX")));
        let environment = ["MCP_PROT", "PATH", "MCP_PORT", "MCP_FIX", "MCPX", "MCP_A"];
        assert_eq!(unknown_variables(&command, environment), ["MCP_A", "MCP_PROT"]);
    }
}
