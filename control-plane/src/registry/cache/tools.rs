//! A tenant's tools, ready to be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::registry::schema::SchemaCheck;
use crate::registry::{ToolName, ToolRecord, ToolSpec};

/// All tools of a tenant, disabled ones too, by name.
#[derive(Debug, Default, Clone)]
pub struct ToolSet {
    pub tools: BTreeMap<ToolName, Arc<Tool>>,
}

/// A tool with what its calls need made ready once. The `Debug` form leaves out the code.
#[derive(Clone)]
pub struct Tool {
    pub record: ToolRecord,
    pub code: Bytes,
    pub lock: Option<Bytes>,
    pub input: Option<SchemaCheck>,
    pub output: Option<SchemaCheck>,
}

impl Tool {
    pub fn new(record: ToolRecord) -> Self {
        let spec = &record.spec;
        let tool = Self {
            code: Bytes::copy_from_slice(spec.code.as_bytes()),
            lock: spec
                .dependency_lock
                .as_ref()
                .map(|lock| Bytes::copy_from_slice(lock.as_bytes())),
            input: spec.input_schema.as_ref().map(SchemaCheck::of_stored),
            output: spec.output_schema.as_ref().map(SchemaCheck::of_stored),
            record,
        };
        for problem in tool.problems() {
            tracing::warn!(tool = %tool.record.spec.name, problem, "a stored tool can't be called as it is");
        }
        tool
    }

    /// Why it can't be called until it is written again.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        let schemas = [&self.input, &self.output].into_iter().flatten();
        schemas.filter_map(SchemaCheck::unusable)
    }

    fn kib(&self) -> u32 {
        let spec = &self.record.spec;
        let lock = self.lock.as_ref().map_or(0, Bytes::len);
        // Code and lock are there twice: in the record and ready to be sent. A tool without either costs about one.
        let bytes = 2 * (self.code.len() + lock) + spec.description.len() + 1024;
        u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Debug for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.record.spec.name)
            .field("revision", &self.record.revision)
            .field("enabled", &self.record.spec.enabled)
            .finish_non_exhaustive()
    }
}

impl ToolSet {
    /// Takes over from `before` what did not change, so that its schemas aren't compiled again.
    pub(super) fn new(records: Vec<ToolRecord>, before: Option<&ToolSet>) -> Self {
        let tools = records.into_iter().map(|record| {
            let name = record.spec.name.clone();
            let kept = before
                .and_then(|before| before.tools.get(&name))
                .filter(|tool| tool.record == record);
            let tool = kept.cloned().unwrap_or_else(|| Arc::new(Tool::new(record)));
            (name, tool)
        });
        Self {
            tools: tools.collect(),
        }
    }

    /// The enabled ones, by name.
    pub fn listed(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values().filter(|tool| tool.record.spec.enabled)
    }

    /// An enabled tool.
    pub fn callable(&self, name: &ToolName) -> Option<&Arc<Tool>> {
        self.tools.get(name).filter(|tool| tool.record.spec.enabled)
    }

    /// Whether a client that lists the tools sees the same as before.
    pub(super) fn same_listing(&self, other: &ToolSet) -> bool {
        self.listed()
            .map(|tool| Listing::of(&tool.record.spec))
            .eq(other.listed().map(|tool| Listing::of(&tool.record.spec)))
    }

    pub(super) fn kib(&self) -> u32 {
        self.tools
            .values()
            .fold(0, |sum, tool| sum.saturating_add(tool.kib()))
    }
}

/// What `tools/list` shows of a tool.
#[derive(PartialEq)]
struct Listing<'a> {
    name: &'a ToolName,
    title: &'a Option<String>,
    description: &'a str,
    input_schema: &'a Option<serde_json::Value>,
    output_schema: &'a Option<serde_json::Value>,
}

impl<'a> Listing<'a> {
    fn of(spec: &'a ToolSpec) -> Self {
        Self {
            name: &spec.name,
            title: &spec.title,
            description: &spec.description,
            input_schema: &spec.input_schema,
            output_schema: &spec.output_schema,
        }
    }
}
