//! Which settings were given, and how.

use std::collections::HashMap;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// By the argument's id, those left at their defaults not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(HashMap<String, Given>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    AsFlag,
    AsVariable,
}

impl Sources {
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let given = |id: &str| match matches.value_source(id)? {
            ValueSource::CommandLine => Some(Given::AsFlag),
            ValueSource::EnvVariable => Some(Given::AsVariable),
            _ => None,
        };
        Self(
            matches
                .ids()
                .filter_map(|id| Some((id.to_string(), given(id.as_str())?)))
                .collect(),
        )
    }

    /// The id of every argument is its variable's name, in lower case and without `MCP_`.
    pub(super) fn of_variable(&self, variable: &str) -> Option<Given> {
        let id = variable
            .strip_prefix("MCP_")
            .unwrap_or(variable)
            .to_ascii_lowercase();
        self.0.get(&id).copied()
    }
}
