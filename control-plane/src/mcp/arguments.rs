//! Arguments of a built-in tool, taken one by one. A wrong one is refused in words that let its sender correct it: which
//! field, what is allowed, what came.

use rmcp::model::JsonObject;
use serde_json::Value;

use crate::registry::Revision;

/// Longest piece of a value that a refusal repeats.
const SHOWN_CHARS: usize = 60;
const REVISION: &str = "a whole number from 1";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadArgument(String);

impl BadArgument {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// An object whose fields are taken out one after the other.
#[derive(Debug)]
pub(super) struct Arguments {
    fields: JsonObject,
    /// How to name a field of this object: `tool.` for those of `tool`.
    prefix: &'static str,
}

impl Arguments {
    /// The arguments of a call, none of which has a name that is not in `allowed`.
    pub(super) fn new(
        arguments: Option<JsonObject>,
        allowed: &'static [&'static str],
    ) -> Result<Self, BadArgument> {
        Self::checked(arguments.unwrap_or_default(), "", allowed)
    }

    fn checked(
        fields: JsonObject,
        prefix: &'static str,
        allowed: &'static [&'static str],
    ) -> Result<Self, BadArgument> {
        match fields.keys().find(|key| !allowed.contains(&key.as_str())) {
            None => Ok(Self { fields, prefix }),
            Some(unknown) => {
                let unknown = cut(unknown);
                let allowed = match allowed {
                    [] => "it takes no arguments".to_owned(),
                    names => format!("allowed: {}", names.join(", ")),
                };
                Err(BadArgument(format!(
                    "{prefix}{unknown} is not an argument of this tool; {allowed}"
                )))
            }
        }
    }

    /// A field that is itself an object of named fields.
    pub(super) fn object(
        &mut self,
        name: &'static str,
        prefix: &'static str,
        allowed: &'static [&'static str],
    ) -> Result<Self, BadArgument> {
        match self.fields.remove(name) {
            Some(Value::Object(fields)) => Self::checked(fields, prefix, allowed),
            other => Err(self.wrong(name, "an object", other.as_ref())),
        }
    }

    /// An object that is left as it is; empty when it is absent.
    pub(super) fn map(&mut self, name: &'static str) -> Result<JsonObject, BadArgument> {
        match self.fields.remove(name) {
            None => Ok(JsonObject::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(other) => Err(self.wrong(name, "an object", Some(&other))),
        }
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<String, BadArgument> {
        match self.fields.remove(name) {
            Some(Value::String(text)) => Ok(text),
            other => Err(self.wrong(name, "a string", other.as_ref())),
        }
    }

    pub(super) fn optional_string(&mut self, name: &'static str) -> Result<Option<String>, BadArgument> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", Some(&other))),
        }
    }

    /// Like [`Self::optional_string`], but a refusal does not repeat what came.
    pub(super) fn secret(&mut self, name: &'static str) -> Result<Option<String>, BadArgument> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(BadArgument(format!("{}{name} must be a string", self.prefix))),
        }
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<bool, BadArgument> {
        self.optional_boolean(name)?
            .ok_or_else(|| self.wrong(name, "true or false", None))
    }

    pub(super) fn optional_boolean(&mut self, name: &'static str) -> Result<Option<bool>, BadArgument> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong(name, "true or false", Some(&other))),
        }
    }

    pub(super) fn revision(&mut self, name: &'static str) -> Result<Revision, BadArgument> {
        let number = self.optional_revision(name)?;
        number.ok_or_else(|| self.wrong(name, REVISION, None))
    }

    pub(super) fn optional_revision(&mut self, name: &'static str) -> Result<Option<Revision>, BadArgument> {
        self.optional_integer(name, 1, REVISION)
    }

    /// A whole number, at least `min`.
    pub(super) fn optional_integer(
        &mut self,
        name: &'static str,
        min: u64,
        allowed: &str,
    ) -> Result<Option<u64>, BadArgument> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match whole(&value).filter(|number| *number >= min) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, allowed, Some(&value))),
            },
        }
    }

    /// Read by serde; `allowed` says what it takes.
    pub(super) fn optional<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &'static str,
        allowed: &str,
    ) -> Result<Option<T>, BadArgument> {
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match T::deserialize(&value) {
                Ok(read) => Ok(Some(read)),
                Err(_) => Err(self.wrong(name, allowed, Some(&value))),
            },
        }
    }

    /// For a field that `null` takes away: outside, whether it came; inside, whether it was more than `null`.
    pub(super) fn clearable_string(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Option<String>>, BadArgument> {
        match self.fields.get(name) {
            None => Ok(None),
            Some(_) => self.optional_string(name).map(Some),
        }
    }

    /// The same for a value of any kind.
    pub(super) fn clearable_value(&mut self, name: &'static str) -> Option<Option<Value>> {
        self.fields
            .remove(name)
            .map(|value| if value.is_null() { None } else { Some(value) })
    }

    fn wrong(&self, name: &str, allowed: &str, got: Option<&Value>) -> BadArgument {
        let prefix = self.prefix;
        BadArgument(match got {
            None => format!("{prefix}{name} is required and must be {allowed}"),
            Some(got) => format!("{prefix}{name} must be {allowed}, got {}", shown(got)),
        })
    }
}

/// JavaScript clients send 30000.0 for 30000.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let in_range = (0.0..=9_007_199_254_740_991.0).contains(&number) && number.fract() == 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and in the range that a double holds exactly"
        )]
        in_range.then_some(number as u64)
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => cut(&value.to_string()),
        Value::String(text) => format!("the string {:?}", cut(text)),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(value: Value) -> Arguments {
        let Value::Object(fields) = value else {
            panic!("an object")
        };
        Arguments { fields, prefix: "" }
    }

    #[test]
    fn an_unknown_argument_is_named_with_what_is_allowed() {
        let given = json!({"message": "a", "uper": true});
        let error = Arguments::new(given.as_object().cloned(), &["message", "uppercase"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "uper is not an argument of this tool; allowed: message, uppercase"
        );
        let error = Arguments::new(given.as_object().cloned(), &[]).unwrap_err();
        assert!(error.to_string().ends_with("it takes no arguments"));
    }

    #[test]
    fn a_wrong_argument_names_the_field_what_is_allowed_and_what_came() {
        let mut given = arguments(json!({"a": 5, "b": "x", "c": ["y"], "d": -1, "e": {"f": 1}}));
        assert_eq!(
            given.string("a").unwrap_err().to_string(),
            "a must be a string, got 5"
        );
        assert_eq!(
            given.boolean("b").unwrap_err().to_string(),
            "b must be true or false, got the string \"x\""
        );
        assert_eq!(
            given.map("c").unwrap_err().to_string(),
            "c must be an object, got an array of 1"
        );
        let error = given.optional_integer("d", 0, "a whole number").unwrap_err();
        assert_eq!(error.to_string(), "d must be a whole number, got -1");
        let mut nested = given.object("e", "e.", &["f"]).unwrap();
        assert_eq!(
            nested.string("f").unwrap_err().to_string(),
            "e.f must be a string, got 1"
        );
        assert_eq!(
            nested.string("g").unwrap_err().to_string(),
            "e.g is required and must be a string"
        );
    }

    #[test]
    fn a_refusal_never_repeats_a_secret_or_a_whole_text() {
        let mut given = arguments(json!({"adminToken": 12345678, "code": ["x"], "n": "y".repeat(500)}));
        assert_eq!(
            given.secret("adminToken").unwrap_err().to_string(),
            "adminToken must be a string"
        );
        assert!(given.boolean("n").unwrap_err().to_string().len() < 200);
    }

    #[test]
    fn a_whole_double_is_an_integer() {
        let mut given = arguments(json!({"a": 30000.0, "b": 1.5}));
        assert_eq!(given.optional_integer("a", 0, "a whole number"), Ok(Some(30_000)));
        assert!(given.optional_integer("b", 0, "a whole number").is_err());
    }

    #[test]
    fn null_takes_a_clearable_field_away_and_absence_leaves_it() {
        let mut given = arguments(json!({"title": null, "inputSchema": null, "outputSchema": {}}));
        assert_eq!(given.clearable_string("title"), Ok(Some(None)));
        assert_eq!(given.clearable_string("title"), Ok(None));
        assert_eq!(given.clearable_value("inputSchema"), Some(None));
        assert_eq!(given.clearable_value("outputSchema"), Some(Some(json!({}))));
        assert_eq!(given.clearable_value("other"), None);
    }
}
