//! `.env.example` says what the command line knows, since it is made from it.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command};

use super::cli::Cli;

const INTRODUCTION: &str = "\
# Every variable of dynamic-mcp, with its default. Copy this file to .env in the working directory and take away the
# mark of what you change. Each variable is also a flag: MCP_DYNAMIC_MAX_TOOLS is --dynamic-max-tools. Flags win over the
# environment, and the environment wins over .env. An empty value counts as not set.
";

/// The entries of all variables, below the headings of the command's help.
pub(super) fn entries(command: &Command) -> Vec<(String, String)> {
    let arguments = command.get_arguments().filter(|arg| arg.get_env().is_some());
    arguments
        .map(|arg| (arg.get_help_heading().unwrap_or("Server").to_owned(), entry(arg)))
        .collect()
}

fn entry(arg: &Arg) -> String {
    let variable = arg.get_env().unwrap().to_str().unwrap();
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("# {help}\n#{variable}={}\n", defaults.join(","))
}

fn example() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut last = String::new();
    for (heading, entry) in entries(&Cli::definition()) {
        if heading != last {
            write!(text, "\n# == {heading} ==\n").unwrap();
            last = heading;
        }
        write!(text, "\n{entry}").unwrap();
    }
    text + &of_executors()
}

/// What only an executor in a process of its own reads.
#[cfg(feature = "embedded-executor")]
fn of_executors() -> String {
    use clap::CommandFactory as _;

    let ours = entries(&Cli::definition());
    let named = |entry: &str| {
        entry
            .lines()
            .nth(1)
            .and_then(|line| line.split('=').next())
            .map(str::to_owned)
    };
    let known: Vec<_> = ours.iter().filter_map(|(_, entry)| named(entry)).collect();
    let mut text = "\n# == dynamic-mcp-executor, besides those above that it shares ==\n".to_owned();
    for (_, entry) in entries(&dynamic_mcp_executor::cli::Cli::command()) {
        if named(&entry).is_some_and(|name| !known.contains(&name)) {
            write!(text, "\n{entry}").unwrap();
        }
    }
    text
}

#[cfg(not(feature = "embedded-executor"))]
fn of_executors() -> String {
    String::new()
}

/// Run it with `UPDATE_ENV_EXAMPLE=1` to write the file anew.
#[test]
fn the_example_has_every_variable_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.env.example");
    if cfg!(feature = "embedded-executor") && std::env::var_os("UPDATE_ENV_EXAMPLE").is_some() {
        std::fs::write(&path, example()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    if cfg!(feature = "embedded-executor") {
        assert!(
            written == example(),
            "run this test with UPDATE_ENV_EXAMPLE=1, and commit .env.example"
        );
    }
    for (_, entry) in entries(&Cli::definition()) {
        assert!(written.contains(&entry), ".env.example lacks {entry}");
    }
}
