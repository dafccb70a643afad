//! Says no to a body that a reader in front of this server could take for something else: JSON that names a thing twice,
//! of which one reader takes the first and another the last, and JSON so deep that some readers give up on it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deeper than the deepest schema, and what a recursive reader of it may cost is nothing yet.
const MAX_DEPTH: usize = 100;
/// Of a name, in a message.
const MAX_SHOWN: usize = 80;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ambiguous {
    #[error("{0:?} is there twice in one object")]
    Twice(String),
    #[error("it is nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// # Errors
/// What is ambiguous. A text that is not JSON is somebody else's to refuse.
pub(super) fn check(body: &[u8]) -> Result<(), Ambiguous> {
    let mut found = None;
    let look = Look {
        found: &mut found,
        depth: 0,
    };
    // That it is not JSON, or what was found.
    let _error = look.deserialize(&mut serde_json::Deserializer::from_slice(body));
    found.map_or(Ok(()), Err)
}

struct Look<'a> {
    found: &'a mut Option<Ambiguous>,
    depth: usize,
}

impl Look<'_> {
    fn inside<E: Error>(&mut self) -> Result<Look<'_>, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(self.stop(Ambiguous::TooDeep));
        }
        Ok(Look {
            found: self.found,
            depth,
        })
    }

    fn again(&mut self) -> Look<'_> {
        Look {
            found: self.found,
            depth: self.depth,
        }
    }

    fn stop<E: Error>(&mut self, ambiguous: Ambiguous) -> E {
        *self.found = Some(ambiguous);
        E::custom("ambiguous")
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Borrowed where it is written without escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        let mut inner = self.inside()?;
        while items.next_element_seed(inner.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        let mut inner = self.inside()?;
        let mut names = HashSet::new();
        while let Some(Name(name)) = fields.next_key()? {
            if names.contains(&name) {
                let shown = name.chars().take(MAX_SHOWN).collect();
                return Err(inner.stop(Ambiguous::Twice(shown)));
            }
            names.insert(name);
            fields.next_value_seed(inner.again())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn twice(name: &str) -> Result<(), Ambiguous> {
        Err(Ambiguous::Twice(name.to_owned()))
    }

    #[test]
    fn a_name_that_comes_twice_in_one_object_is_found_however_it_is_written() {
        for (body, found) in [
            (r#"{"a": 1, "b": {"a": 2}, "c": [{"a": 3}, {"a": 4}]}"#, Ok(())),
            (r#"{"a": 1, "a": 1}"#, twice("a")),
            (r#"{"a": 1, "b": 2, "\u0061": 1}"#, twice("a")),
            (r#"[[{"x": {"": 1, "": 2}}]]"#, twice("")),
            (r#"{"a": 1, "A": 2, "a ": 3}"#, Ok(())),
        ] {
            assert_eq!(check(body.as_bytes()), found, "{body}");
        }
    }

    #[test]
    fn what_is_too_deep_is_found_and_costs_no_stack() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(nested(MAX_DEPTH).as_bytes()), Ok(()));
        assert_eq!(check(nested(MAX_DEPTH + 1).as_bytes()), Err(Ambiguous::TooDeep));
        assert_eq!(check("[".repeat(1 << 20).as_bytes()), Err(Ambiguous::TooDeep));
        assert_eq!(
            check("{\"a\":".repeat(1 << 20).as_bytes()),
            Err(Ambiguous::TooDeep)
        );
    }

    #[test]
    fn what_is_not_json_is_not_judged() {
        for body in ["", "{", "nul", "{\"a\": 1,}", "\"\u{1}\""] {
            assert_eq!(check(body.as_bytes()), Ok(()), "{body}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("[a-c\"\\\\é]{0,2}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_a_printer_writes_is_never_ambiguous(value in any_json()) {
            prop_assert_eq!(check(value.to_string().as_bytes()), Ok(()));
        }

        #[test]
        fn the_same_with_one_field_more_is(value in any_json(), name in "[a-c\"\\\\é]{0,2}") {
            let (name, value) = (json!(name), value.to_string());
            let body = format!("[{{{name}: {value}, {name}: {value}}}]");
            prop_assert!(matches!(check(body.as_bytes()), Err(Ambiguous::Twice(_))), "{}", body);
        }

        #[test]
        fn no_bytes_are_too_much_for_it(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&body);
        }
    }
}
