//! The JSON Schemas of tools: compiled once when a tool is loaded, checked on every call.
//!
//! They come from whoever may write a tool and run in the control plane, so what they may cost is bounded before they
//! are compiled (see [`bounds`]): nothing is fetched, nothing recurses, and patterns run in linear time.

mod bounds;
mod violation;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use self::bounds::Cost;
pub use self::violation::Violation;

/// The most violations that one check collects.
const MAX_VIOLATIONS: usize = 6;
/// How many of them a text shows.
const MAX_SHOWN: usize = 5;
const MAX_PROBLEM_CHARS: usize = 400;
/// Of one compiled pattern, in bytes.
const MAX_PATTERN_SIZE: usize = 256 * 1024;

#[derive(Debug, Clone)]
pub struct SchemaCheck(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Compiled {
        validator: Validator,
        properties: Vec<String>,
        cost: Cost,
    },
    /// A stored schema that this version can't use: every value fails.
    Unusable(String),
}

impl SchemaCheck {
    /// Takes draft 2020-12, or 2019-09 or draft-07 where `$schema` says so. `format` is an annotation.
    ///
    /// # Errors
    /// Says what is wrong with the schema, in words for its author.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let cost = bounds::check(schema)?;
        let patterns = PatternOptions::regex()
            .size_limit(MAX_PATTERN_SIZE)
            .dfa_size_limit(MAX_PATTERN_SIZE);
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(false)
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| describe_fault(&error))?;
        let properties = schema["properties"].as_object();
        let properties = properties.into_iter().flatten().map(|(name, _)| name.clone());
        Ok(Self(Kind::Compiled {
            validator,
            properties: properties.collect(),
            cost,
        }))
    }

    /// Compiles a stored schema. One that can't be compiled refuses every value: a tool is never called with
    /// arguments that its schema was meant to keep out.
    pub fn of_stored(schema: &Value) -> Self {
        Self::compile(schema).unwrap_or_else(|problem| Self(Kind::Unusable(problem)))
    }

    /// Why every value fails, if so.
    pub fn unusable(&self) -> Option<&str> {
        match &self.0 {
            Kind::Compiled { .. } => None,
            Kind::Unusable(problem) => Some(problem),
        }
    }

    /// # Errors
    /// The first few violations. Their text holds parts of the value, so it must not be logged.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Violation>> {
        match &self.0 {
            Kind::Compiled { cost, .. } if !cost.allows(value) => Err(vec![Violation::of_size()]),
            Kind::Compiled { validator, .. } if validator.is_valid(value) => Ok(()),
            Kind::Compiled {
                validator,
                properties,
                ..
            } => Err(validator
                .iter_errors(value)
                .take(MAX_VIOLATIONS)
                .flat_map(|error| violation::of(&error, properties))
                .take(MAX_VIOLATIONS)
                .collect()),
            Kind::Unusable(problem) => Err(vec![Violation::of_schema(problem)]),
        }
    }
}

/// MCP wants an object at the top of a tool's schemas.
///
/// # Errors
/// Says what is allowed.
pub fn require_object(schema: &Value) -> Result<(), String> {
    match schema.as_object().map(|keywords| keywords.get("type")) {
        Some(Some(Value::String(kind))) if kind == "object" => Ok(()),
        Some(_) => Err("must have \"type\": \"object\" at its top level".to_owned()),
        None => Err("must be a JSON object with \"type\": \"object\"".to_owned()),
    }
}

/// One line about all violations: `arguments don't match the schema: text must be a string, got 5`.
pub fn describe(what: &str, violations: &[Violation]) -> String {
    let shown: Vec<String> = violations
        .iter()
        .take(MAX_SHOWN)
        .map(Violation::to_string)
        .collect();
    let more = if violations.len() > MAX_SHOWN {
        "; and more"
    } else {
        ""
    };
    format!("{what}: {}{more}", shown.join("; "))
}

fn describe_fault(error: &jsonschema::ValidationError<'_>) -> String {
    let at = match error.instance_path().as_str() {
        "" => String::new(),
        path => format!(" at {path}"),
    };
    let text: String = error.to_string().chars().take(MAX_PROBLEM_CHARS).collect();
    let hint = match error.kind().keyword() {
        "format" | "pattern" => {
            "; patterns must be in RE2 syntax (no look-around, no back-references) and of moderate size"
        }
        _ => "",
    };
    format!("is not a usable JSON Schema{at}: {text}{hint}")
}

#[cfg(test)]
mod tests;
