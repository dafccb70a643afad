//! A tenant's tools, ready to be called.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dynamic_mcp_shared::ids::TenantId;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::dependency_lock::Lock;
use crate::registry::schema::SchemaCheck;
use crate::registry::{ToolName, ToolRecord, ToolSpec};
use crate::tenant::Tenant;

/// Who sees a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// The tenant whose it is.
    #[default]
    Tenant,
    /// Every tenant.
    Shared,
}

impl Visibility {
    /// Of what this one owns.
    pub fn of(owner: &TenantId) -> Self {
        if owner.is_shared() {
            Visibility::Shared
        } else {
            Visibility::Tenant
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Visibility::Tenant => "tenant",
            Visibility::Shared => "shared",
        }
    }
}

/// All tools of one owner, disabled ones too, by name.
#[derive(Debug, Clone)]
pub struct ToolSet {
    pub tools: BTreeMap<ToolName, Arc<Tool>>,
    tenant: Arc<Tenant>,
}

/// What a tenant sees: its own tools, and those that are shared with all of whose names it has none itself. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TenantTools {
    own: Arc<ToolSet>,
    shared: Arc<ToolSet>,
}

impl TenantTools {
    pub(super) fn new(own: Arc<ToolSet>, shared: Arc<ToolSet>) -> Self {
        Self { own, shared }
    }

    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.own.tenant
    }

    /// Those the tenant has itself.
    pub fn own(&self) -> &Arc<ToolSet> {
        &self.own
    }

    /// Disabled ones too: one of the tenant's own hides the shared one of its name also while it is disabled.
    pub fn get(&self, name: &ToolName) -> Option<&Arc<Tool>> {
        self.own.tools.get(name).or_else(|| self.shared.tools.get(name))
    }

    /// An enabled tool.
    pub fn callable(&self, name: &ToolName) -> Option<&Arc<Tool>> {
        self.get(name).filter(|tool| tool.is_enabled())
    }

    /// Disabled ones too, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Tool>> {
        let mut own = self.own.tools.iter().peekable();
        let shared = self.shared.tools.iter();
        let mut shared = shared
            .filter(|(name, _)| !self.own.tools.contains_key(*name))
            .peekable();
        std::iter::from_fn(move || {
            let shared_is_next = match (own.peek(), shared.peek()) {
                (Some((one, _)), Some((other, _))) => other < one,
                (own, _) => own.is_none(),
            };
            let next = if shared_is_next { shared.next() } else { own.next() };
            next.map(|(_, tool)| tool)
        })
    }

    /// The enabled ones, by name.
    pub fn listed(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.all().filter(|tool| tool.is_enabled())
    }
}

/// A tool with what its calls need made ready once. The `Debug` form leaves out the code.
#[derive(Clone)]
pub struct Tool {
    pub record: ToolRecord,
    pub visibility: Visibility,
    pub code: Bytes,
    pub lock: Option<Lock>,
    pub input: Option<SchemaCheck>,
    pub output: Option<SchemaCheck>,
    /// What lists show, of which many share one.
    pub input_schema: Option<Arc<Map<String, Value>>>,
    pub output_schema: Option<Arc<Map<String, Value>>>,
}

impl Tool {
    pub fn new(record: ToolRecord, visibility: Visibility) -> Self {
        let spec = &record.spec;
        let tool = Self {
            code: Bytes::copy_from_slice(spec.code.as_bytes()),
            lock: spec
                .dependency_lock
                .as_ref()
                .map(|lock| Lock::new(Bytes::copy_from_slice(lock.as_bytes()))),
            input: spec.input_schema.as_ref().map(SchemaCheck::of_stored),
            output: spec.output_schema.as_ref().map(SchemaCheck::of_stored),
            input_schema: shared(spec.input_schema.as_ref()),
            output_schema: shared(spec.output_schema.as_ref()),
            record,
            visibility,
        };
        for problem in tool.problems() {
            tracing::warn!(tool = %tool.record.spec.name, problem, "a stored tool can't be called as it is");
        }
        tool
    }

    pub fn is_enabled(&self) -> bool {
        self.record.spec.enabled
    }

    /// Why it can't be called until it is written again.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        let schemas = [&self.input, &self.output].into_iter().flatten();
        schemas.filter_map(SchemaCheck::unusable)
    }

    fn kib(&self) -> u32 {
        let spec = &self.record.spec;
        let lock = self.lock.as_ref().map_or(0, |lock| lock.bytes().len());
        let schemas = [&spec.input_schema, &spec.output_schema].into_iter().flatten();
        let schemas: usize = schemas.map(|schema| schema.to_string().len()).sum();
        // Code, lock and schemas are there twice: in the record and ready to be used. A tool without any costs about one.
        let bytes = 2 * (self.code.len() + lock + schemas) + spec.description.len() + 1024;
        u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
    }
}

fn shared(schema: Option<&Value>) -> Option<Arc<Map<String, Value>>> {
    schema.and_then(Value::as_object).cloned().map(Arc::new)
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
    pub(super) fn new(
        tenant: Arc<Tenant>,
        records: Vec<ToolRecord>,
        visibility: Visibility,
        before: Option<&ToolSet>,
    ) -> Self {
        let tools = records.into_iter().map(|record| {
            let name = record.spec.name.clone();
            let kept = before
                .and_then(|before| before.tools.get(&name))
                .filter(|tool| tool.record == record);
            let tool = kept
                .cloned()
                .unwrap_or_else(|| Arc::new(Tool::new(record, visibility)));
            (name, tool)
        });
        Self {
            tools: tools.collect(),
            tenant,
        }
    }

    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    pub(super) fn shared_tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    fn listed(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values().filter(|tool| tool.is_enabled())
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
    input_schema: &'a Option<Value>,
    output_schema: &'a Option<Value>,
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
