//! What is wrong with a value, in words: which field, what is allowed, what it got.

use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::Value;

const MAX_GOT_CHARS: usize = 60;
const MAX_RULE_CHARS: usize = 300;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `text`, `items[0].name`; empty for the value itself.
    pub field: String,
    /// What is allowed: `must be a string`.
    pub rule: String,
    /// The value, cut short; `None` where there is none to show.
    pub got: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() {
            "the value"
        } else {
            &self.field
        };
        write!(f, "{field} {}", self.rule)?;
        match &self.got {
            Some(got) => write!(f, ", got {got}"),
            None => Ok(()),
        }
    }
}

impl Violation {
    pub(super) fn of_size() -> Self {
        Self {
            field: String::new(),
            rule: "is too large to be checked against so complex a schema".to_owned(),
            got: None,
        }
    }

    pub(super) fn of_schema(problem: &str) -> Self {
        Self {
            field: String::new(),
            rule: format!("can't be checked: the stored schema {problem}; write the tool again"),
            got: None,
        }
    }
}

/// `known`: the properties of the schema's top level.
pub(super) fn of(error: &ValidationError<'_>, known: &[String]) -> Vec<Violation> {
    let at = field(error.instance_path());
    match error.kind() {
        ValidationErrorKind::Required { property } => vec![Violation {
            field: join(&at, property.as_str().unwrap_or_default()),
            rule: "is required".to_owned(),
            got: None,
        }],
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let rule = match known {
                [_, ..] if at.is_empty() => format!("is not known here; allowed: {}", known.join(", ")),
                _ => "is not known here".to_owned(),
            };
            let fields = unexpected.iter().map(|name| Violation {
                field: join(&at, name),
                rule: short(&rule, MAX_RULE_CHARS),
                got: None,
            });
            fields.collect()
        }
        kind => vec![Violation {
            field: at,
            rule: short(&rule(kind, error), MAX_RULE_CHARS),
            got: Some(got(error.instance())),
        }],
    }
}

fn rule(kind: &ValidationErrorKind, error: &ValidationError<'_>) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::Enum { options } => format!("must be one of {options}"),
        Kind::Constant { expected_value } => format!("must be {expected_value}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} properties"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} properties"),
        Kind::UniqueItems => "must have no item twice".to_owned(),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            "must fit one of the forms that the schema allows".to_owned()
        }
        Kind::OneOfMultipleValid { .. } => {
            "must fit exactly one of the forms that the schema allows".to_owned()
        }
        Kind::FalseSchema => "is not allowed".to_owned(),
        // The library's words, without the value itself, which may be large.
        _ => error.masked_with("it").to_string(),
    }
}

fn types(kind: &TypeKind) -> String {
    let with_article = |name: String| match name.as_str() {
        "null" => name,
        "array" | "integer" | "object" => format!("an {name}"),
        _ => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(one) => with_article(one.to_string()),
        TypeKind::Multiple(several) => {
            let names: Vec<String> = several.iter().map(|one| with_article(one.to_string())).collect();
            names.join(" or ")
        }
    }
}

fn field(path: &Location) -> String {
    path.iter().fold(String::new(), |field, segment| match segment {
        LocationSegment::Property(name) => join(&field, &name),
        LocationSegment::Index(index) => format!("{field}[{index}]"),
    })
}

fn join(field: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-$".contains(c));
    match (plain, field.is_empty()) {
        (true, true) => short(name, MAX_GOT_CHARS),
        (true, false) => format!("{field}.{}", short(name, MAX_GOT_CHARS)),
        (false, _) => format!("{field}[{:?}]", short(name, MAX_GOT_CHARS)),
    }
}

fn got(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!("{:?}", short(text, MAX_GOT_CHARS)),
        scalar => short(&scalar.to_string(), MAX_GOT_CHARS),
    }
}

fn short(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
