//! What it takes to reach the database.

use std::time::Duration;

use secrecy::SecretString;

use crate::registry::OpenError;

/// The `Debug` form leaves out the URL.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    pub url: SecretString,
    /// Where the tables are, and the name of the notification channel.
    pub schema: String,
    /// Attempts to connect and migrate at start-up, at least one.
    pub init_max_attempts: u32,
    /// The pause after the first failed attempt; it doubles with each.
    pub init_backoff: Duration,
}

/// The name goes into `search_path`, `CREATE SCHEMA` and `LISTEN`, which take no parameters, so it must be one that
/// needs no quotes.
///
/// # Errors
/// Says what is allowed.
pub(super) fn check_schema_name(name: &str) -> Result<(), OpenError> {
    let ok = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with("pg_")
        && name != "information_schema";
    if ok {
        Ok(())
    } else {
        Err(OpenError::SchemaName(name.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_name_needs_no_quotes() {
        for right in ["dynamic_mcp", "_x", "a1"] {
            assert!(check_schema_name(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "1a",
            "Abc",
            "a-b",
            "a;drop",
            "a\"b",
            "pg_temp",
            &"a".repeat(64),
        ] {
            assert!(check_schema_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_debug_form_holds_no_password() {
        let config = PostgresConfig {
            url: "postgres://user:hunter2@localhost/db".into(),
            schema: "s".into(),
            init_max_attempts: 1,
            init_backoff: Duration::ZERO,
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
