//! What a caller wants to run and nothing else: a revision, or what it consists of. Named in a request's `_meta` as a
//! result's names what ran, or among the arguments of `dynamic.tool.call`.

use rmcp::model::{CallToolResult, JsonObject, MetaObject};
use serde_json::Value;

use super::arguments::BadArgument;
use crate::registry::{Revision, ToolRecord};

const REVISION: &str = "dynamic-mcp/revision";
const CONTENT_HASH: &str = "dynamic-mcp/contentHash";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) revision: Option<Revision>,
    pub(super) content_hash: Option<String>,
}

impl Pin {
    /// # Errors
    /// When what is named so is no revision or no hash: whoever pins must not be served as if it had not.
    pub(super) fn of(meta: &JsonObject) -> Result<Self, BadArgument> {
        let wrong = |key: &str, allowed: &str| BadArgument::new(format!("_meta {key:?} must be {allowed}"));
        let revision = match meta.get(REVISION) {
            None => None,
            Some(value) => match value.as_u64() {
                Some(revision) if revision >= 1 => Some(revision),
                _ => return Err(wrong(REVISION, "a whole number from 1")),
            },
        };
        let content_hash = match meta.get(CONTENT_HASH) {
            None => None,
            Some(Value::String(hash)) => Some(hash.clone()),
            Some(_) => return Err(wrong(CONTENT_HASH, "a text")),
        };
        Ok(Self {
            revision,
            content_hash,
        })
    }

    /// Both of what was pinned in two places.
    ///
    /// # Errors
    /// When they contradict each other.
    pub(super) fn and(self, other: Self) -> Result<Self, BadArgument> {
        fn one<T: PartialEq>(first: Option<T>, second: Option<T>) -> Result<Option<T>, BadArgument> {
            match (first, second) {
                (Some(first), Some(second)) if first != second => Err(BadArgument::new(
                    "the arguments pin another revision or contentHash than _meta does; leave one of them out",
                )),
                (first, second) => Ok(first.or(second)),
            }
        }
        Ok(Self {
            revision: one(self.revision, other.revision)?,
            content_hash: one(self.content_hash, other.content_hash)?,
        })
    }

    /// What is not as pinned, if anything.
    pub(super) fn broken_by(&self, record: &ToolRecord) -> Option<String> {
        let now = |what: &str, pinned: &dyn std::fmt::Display, is: &dyn std::fmt::Display| {
            format!(
                "tool {:?} now has the {what} {is}, not the pinned {pinned}; nothing ran. Look at dynamic.tool.diff, and pin what \
                 you want to run",
                record.spec.name
            )
        };
        if let Some(pinned) = self.revision.filter(|pinned| *pinned != record.revision) {
            return Some(now("revision", &pinned, &record.revision));
        }
        let hash = record.content_hash.as_str();
        let pinned = self.content_hash.as_deref().filter(|pinned| *pinned != hash)?;
        let shown: String = pinned.chars().take(64).collect();
        Some(now("contentHash", &shown, &hash))
    }
}

/// Says in a result what ran.
pub(super) fn name(record: &ToolRecord, result: &mut CallToolResult) {
    let meta = result.meta.get_or_insert_with(MetaObject::new);
    meta.insert(REVISION.to_owned(), record.revision.into());
    meta.insert(CONTENT_HASH.to_owned(), record.content_hash.as_str().into());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pin(meta: Value) -> Result<Pin, String> {
        Pin::of(meta.as_object().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn pins_of_two_places_both_hold_or_are_refused() {
        let revision = |revision| Pin {
            revision: Some(revision),
            content_hash: None,
        };
        let hash = Pin {
            revision: None,
            content_hash: Some("a".to_owned()),
        };
        let both = revision(3).and(hash).unwrap();
        assert_eq!(
            (both.revision, both.content_hash.as_deref()),
            (Some(3), Some("a"))
        );
        assert!(revision(3).and(revision(3)).is_ok());
        assert!(revision(3).and(revision(4)).is_err());
    }

    #[test]
    fn what_is_no_pin_is_refused_and_what_concerns_others_is_not_looked_at() {
        assert_eq!(pin(json!({"progressToken": 1})), Ok(Pin::default()));
        assert_eq!(pin(json!({REVISION: 3})).unwrap().revision, Some(3));
        for wrong in [
            json!({REVISION: 0}),
            json!({REVISION: "3"}),
            json!({REVISION: null}),
            json!({CONTENT_HASH: 3}),
        ] {
            assert!(pin(wrong.clone()).unwrap_err().contains("must be"), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_pin_is_a_revision_and_a_hash_or_refused(revision in any::<u64>(), hash in ".{0,70}", other in any::<f64>()) {
            let pinned = pin(json!({REVISION: revision, CONTENT_HASH: hash}));
            prop_assert_eq!(pinned.is_ok(), revision >= 1);
            if let Ok(pinned) = pinned {
                prop_assert_eq!((pinned.revision, pinned.content_hash), (Some(revision), Some(hash)));
            }
            let is_whole = serde_json::Number::from_f64(other).is_some_and(|number| number.as_u64().is_some_and(|n| n >= 1));
            prop_assert_eq!(pin(json!({REVISION: other})).is_ok(), is_whole);
        }
    }
}
