//! What a revision of a tool is, as far as running it is concerned, and the hash that names it.
//!
//! The hash is SHA-256 over canonical JSON (keys sorted, no white space, numbers as serde_json prints them), so that
//! two planes, two databases and two versions of a client agree on it. It is the key under which a container is
//! kept, so everything that changes what runs, or under which limits, must be in it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::job::{Isolation, Runtime};
use crate::limits::TimeoutMs;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionContent<'a> {
    pub code: &'a str,
    /// What it runs on, not what its author asked for. Left out where it is Node.js: there was nothing else once, and the
    /// hashes from then are in databases and in clients' hands.
    #[serde(skip_serializing_if = "is_node")]
    pub runtime: Runtime,
    pub image: &'a str,
    pub timeout_ms: TimeoutMs,
    pub isolation: Isolation,
    pub input_schema: Option<&'a Value>,
    pub output_schema: Option<&'a Value>,
    pub dependencies: &'a [crate::job::Dependency],
    /// SHA-256 of the dependency lock, hex.
    pub dependency_lock: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_node(runtime: &Runtime) -> bool {
    *runtime == Runtime::Node
}

impl RevisionContent<'_> {
    pub fn hash(&self) -> ContentHash {
        #[expect(
            clippy::expect_used,
            reason = "a struct of strings, numbers and JSON values always serializes"
        )]
        let value = serde_json::to_value(self).expect("revision content serializes");
        ContentHash(sha256_hex(canonical_json(&value).as_bytes()))
    }
}

/// Hex SHA-256, 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a content hash is 64 lower-case hexadecimal digits")]
pub struct InvalidHash;

impl ContentHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ContentHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidHash)
        }
    }
}

impl TryFrom<String> for ContentHash {
    type Error = InvalidHash;

    fn try_from(text: String) -> Result<Self, InvalidHash> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> String {
        hash.0
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// JSON with the keys of every object sorted by their bytes and no white space.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn content(code: &str) -> RevisionContent<'_> {
        RevisionContent {
            code,
            runtime: Runtime::Node,
            image: "node:lts-slim",
            timeout_ms: TimeoutMs::DEFAULT,
            isolation: Isolation::Call,
            input_schema: None,
            output_schema: None,
            dependencies: &[],
            dependency_lock: None,
        }
    }

    #[test]
    fn the_order_of_keys_does_not_change_the_hash() {
        let one = json!({"b": 1, "a": {"d": [1, 2], "c": null}});
        let other = json!({"a": {"c": null, "d": [1, 2]}, "b": 1});
        assert_eq!(canonical_json(&one), canonical_json(&other));
        assert_eq!(canonical_json(&one), r#"{"a":{"c":null,"d":[1,2]},"b":1}"#);
    }

    #[test]
    fn hashes_from_before_there_were_runtimes_are_still_those_of_their_tools() {
        assert_eq!(
            content("return 1").hash().as_str(),
            "e0e255df63ce5cce21a135649c7f0ca1c4ad49fbf4b6587cbb0f6fab1d018055"
        );
    }

    #[test]
    fn every_part_of_the_content_is_in_the_hash() {
        let base = content("return 1").hash();
        let schema = json!({"type": "object"});
        let lock = Some("00".to_owned());
        let dependencies = [crate::job::Dependency {
            name: "a".into(),
            version: "1".into(),
        }];
        let changed = [
            content("return 2").hash(),
            RevisionContent {
                image: "node:24-slim",
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                timeout_ms: TimeoutMs::MIN,
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                runtime: Runtime::Isolate,
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                isolation: Isolation::Tool,
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                input_schema: Some(&schema),
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                output_schema: Some(&schema),
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                dependencies: &dependencies,
                ..content("return 1")
            }
            .hash(),
            RevisionContent {
                dependency_lock: lock,
                ..content("return 1")
            }
            .hash(),
        ];
        for hash in &changed {
            assert_ne!(&base, hash);
        }
        assert_eq!(base, content("return 1").hash());
    }
}
