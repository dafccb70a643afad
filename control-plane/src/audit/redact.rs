//! Takes out of an audit entry's details what must never be in one, by the names of its fields.

use serde_json::{Map, Value};

const REDACTED: &str = "[redacted]";
const TOO_DEEP: &str = "[too deep]";
/// Nothing that we write ourselves nests half as deep.
const MAX_DEPTH: usize = 16;

/// Sensitive wherever they occur in a field's name: `adminToken`, `x-api-key`, `client_secret`.
const SENSITIVE_PARTS: [&str; 15] = [
    "token",
    "secret",
    "passwd",
    "password",
    "passphrase",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "cookie",
    "credential",
    "jwt",
    "bearer",
    "signature",
];

/// Sensitive only as the whole name, being parts of harmless ones: `statusCode`, `resultBytes`.
const SENSITIVE_NAMES: [&str; 18] = [
    "code",
    "sourcecode",
    "source",
    "args",
    "argument",
    "arguments",
    "params",
    "input",
    "inputs",
    "result",
    "results",
    "output",
    "stdout",
    "stderr",
    "body",
    "env",
    "commands",
    "headers",
];

/// Replaces the values of sensitive fields at any depth, whatever the case and the separators of their names.
pub(super) fn redact(details: &mut Map<String, Value>) {
    redact_fields(details, MAX_DEPTH);
}

fn redact_fields(fields: &mut Map<String, Value>, depth: usize) {
    for (name, value) in fields.iter_mut() {
        if is_sensitive(name) {
            *value = Value::from(REDACTED);
        } else {
            redact_value(value, depth);
        }
    }
}

fn redact_value(value: &mut Value, depth: usize) {
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => *value = Value::from(TOO_DEEP),
        Value::Object(fields) => redact_fields(fields, depth - 1),
        Value::Array(items) => items.iter_mut().for_each(|item| redact_value(item, depth - 1)),
        _ => {}
    }
}

fn is_sensitive(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    SENSITIVE_NAMES.contains(&plain.as_str()) || SENSITIVE_PARTS.iter().any(|part| plain.contains(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const MARKER: &str = "must-not-be-seen";

    fn redacted(value: Value) -> Value {
        let mut fields = Map::from_iter([("details".to_owned(), value)]);
        redact(&mut fields);
        fields.remove("details").unwrap()
    }

    #[test]
    fn harmless_fields_stay_as_they_are() {
        let details =
            json!({ "image": "node", "statusCode": 1, "resultBytes": 2, "fields": ["code", "title"] });
        assert_eq!(redacted(details.clone()), details);
    }

    #[test]
    fn case_and_separators_do_not_matter() {
        for name in [
            "CODE",
            "Api_Key",
            "x-api-key",
            "adminToken",
            "Set-Cookie",
            "PRIVATE_KEY",
            "Arguments",
        ] {
            assert_eq!(
                redacted(json!({ name: MARKER })),
                json!({ name: REDACTED }),
                "{name}"
            );
        }
    }

    /// A sensitive field somewhere inside of objects and arrays.
    fn nested_secret() -> impl Strategy<Value = Value> {
        let names = [SENSITIVE_NAMES.as_slice(), SENSITIVE_PARTS.as_slice()].concat();
        let secret = (prop::sample::select(names), any::<bool>(), "[_-]?", "[a-z]{0,3}").prop_map(
            |(name, upper, separator, value)| {
                let name = if upper {
                    name.to_uppercase()
                } else {
                    name.to_owned()
                };
                let (first, rest) = name.split_at(1);
                json!({ format!("{first}{separator}{rest}"): { "deeper": [format!("{MARKER}{value}")] } })
            },
        );
        secret.prop_recursive(40, 80, 2, |inner| {
            prop_oneof![
                inner
                    .clone()
                    .prop_map(|value| json!({ "field": value, "other": 1 })),
                inner.prop_map(|value| json!([1, value, "text"])),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_sensitive_value_is_gone_at_any_depth(value in nested_secret()) {
            let text = redacted(value).to_string();
            prop_assert!(!text.contains(MARKER), "{}", text);
        }
    }
}
