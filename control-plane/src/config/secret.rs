//! Secrets, from a variable or from a file as orchestrators mount them.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use secrecy::SecretString;

use super::{ConfigError, fault};

/// Takes anything, so that no message about a wrong value can show one.
pub(super) fn parse_secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

/// The one given, or what its file holds without the line break at its end. The parser sees to it that not both are.
pub(super) fn read_secret(
    value: Option<&SecretString>,
    file: Option<&Path>,
    file_variable: &'static str,
) -> Result<Option<SecretString>, ConfigError> {
    let Some(path) = file else {
        return Ok(value.cloned());
    };
    let text = fs::read_to_string(path).map_err(|error| {
        fault(
            file_variable,
            format!("{} can't be read: {error}", path.display()),
        )
    })?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(fault(file_variable, format!("{} is empty", path.display())));
    }
    Ok(Some(SecretString::from(text)))
}
