//! A tool as it is stored.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::content::{ContentHash, RevisionContent, sha256_hex};
use dynamic_mcp_shared::job::{Dependency, Isolation, Runtime};
use dynamic_mcp_shared::limits::TimeoutMs;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Counts the writes of one name, from 1; goes on after a delete and re-create.
pub type Revision = u64;

/// `^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$`. Whether a name is reserved is the catalog's matter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ToolName(Arc<str>);

impl ToolName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As a text, for messages that quote it.
impl fmt::Debug for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ToolName {
    type Err = InvalidTool;

    fn from_str(text: &str) -> Result<Self, InvalidTool> {
        let ok = (3..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if ok {
            Ok(Self(text.into()))
        } else {
            Err(InvalidTool::name(text))
        }
    }
}

impl TryFrom<String> for ToolName {
    type Error = InvalidTool;

    fn try_from(text: String) -> Result<Self, InvalidTool> {
        text.parse()
    }
}

impl From<ToolName> for String {
    fn from(name: ToolName) -> String {
        name.0.as_ref().to_owned()
    }
}

/// What is wrong with a tool, by field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct InvalidTool {
    pub field: &'static str,
    pub problem: String,
}

impl InvalidTool {
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }

    fn name(got: &str) -> Self {
        let shown: String = got.chars().take(80).collect();
        Self::new(
            "name",
            format!(
                "must have 3 to 64 letters, digits, '.', '_', ':', '-', the first a letter, got {shown:?}"
            ),
        )
    }
}

/// What its author wants the code to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeChoice {
    /// Node.js in a container: npm packages, images, every module; needs Docker
    #[default]
    Node,
    /// An embedded engine in a locked-down process: starts in a millisecond, needs no Docker
    Isolate,
    /// The isolate where it has all that the code asks for, otherwise Node.js
    Auto,
}

impl RuntimeChoice {
    pub const fn as_str(self) -> &'static str {
        match self {
            RuntimeChoice::Node => "node",
            RuntimeChoice::Isolate => "isolate",
            RuntimeChoice::Auto => "auto",
        }
    }
}

/// Everything about a tool that its author decides, and the lock its dependencies were resolved to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec {
    pub name: ToolName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    pub description: String,
    pub code: String,
    /// What was asked for. `auto` is decided again when what decides it changes. Tools from before there was a choice have
    /// neither this nor [`Self::runs_on`], and were written for Node.js.
    #[serde(default)]
    pub runtime: RuntimeChoice,
    /// What that came to.
    #[serde(default = "node")]
    pub runs_on: Runtime,
    /// Of [`Runtime::Node`]; the default one where the tool runs on something else.
    pub image: String,
    pub timeout_ms: TimeoutMs,
    pub dependencies: Vec<Dependency>,
    /// npm lockfile in canonical JSON; `Some` exactly when there are dependencies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency_lock: Option<String>,
    #[serde(default)]
    pub isolation: Isolation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Run before a revision with them becomes current. No part of what runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Example>,
    pub enabled: bool,
}

/// A call of a tool, and what it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub args: Map<String, Value>,
    /// `None`: any result is right.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "any_value"
    )]
    pub expect: Option<Value>,
}

/// `null` is a result like any other.
fn any_value<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

const fn node() -> Runtime {
    Runtime::Node
}

impl ToolSpec {
    /// The name of what runs: two revisions with the same hash run the same thing under the same limits.
    pub fn content_hash(&self) -> ContentHash {
        RevisionContent {
            code: &self.code,
            runtime: self.runs_on,
            image: &self.image,
            timeout_ms: self.timeout_ms,
            isolation: self.isolation,
            input_schema: self.input_schema.as_ref(),
            output_schema: self.output_schema.as_ref(),
            dependencies: &self.dependencies,
            dependency_lock: self
                .dependency_lock
                .as_ref()
                .map(|lock| sha256_hex(lock.as_bytes())),
        }
        .hash()
    }
}

/// A page of what a tool was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The newest first. What can't be read is left out.
    pub revisions: Vec<Past>,
    /// Where the next page begins, if there is one.
    pub next_before: Option<Revision>,
}

/// A revision without what it consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub revision: Revision,
    /// `create`, `update`, `delete` or `import`. What was deleted is as it was before.
    pub action: String,
    pub content_hash: ContentHash,
    pub actor: String,
    pub created_at: DateTime<Utc>,
    pub runs_on: Runtime,
    pub code_bytes: usize,
}

/// One revision of a tool, as the registry gives it out.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRecord {
    pub spec: ToolSpec,
    pub revision: Revision,
    pub content_hash: ContentHash,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}
