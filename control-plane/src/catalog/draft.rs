//! A tool as its author writes it, and what it may be.

use dynamic_mcp_shared::job::{Dependency, Isolation, Runtime};
use dynamic_mcp_shared::limits::{MAX_CODE_CHARS, TimeoutMs};
use dynamic_mcp_shared::packages::LockedPackage;
use dynamic_mcp_shared::policy::{NarrowedPolicy, PolicyError, parse_image};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{CatalogError, examples, reserved};
use crate::registry::schema::{SchemaCheck, require_object};
use crate::registry::{Example, InvalidTool, RuntimeChoice, ToolName, ToolSpec};
use crate::runtimes::Names;

const MAX_TITLE_CHARS: usize = 120;
const MAX_DESCRIPTION_CHARS: usize = 4_000;

/// What is left out gets its default.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolDraft {
    pub name: String,
    pub title: Option<String>,
    pub description: String,
    pub code: String,
    pub runtime: Option<RuntimeChoice>,
    pub image: Option<String>,
    pub timeout_ms: Option<u64>,
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    pub enabled: Option<bool>,
    pub isolation: Option<Isolation>,
    pub input_schema: Option<Value>,
    pub output_schema: Option<Value>,
    #[serde(default)]
    pub examples: Vec<Example>,
}

/// What is left out stays as it is; `null` takes an optional part away.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolPatch {
    #[serde(default, deserialize_with = "present")]
    pub title: Option<Option<String>>,
    pub description: Option<String>,
    pub code: Option<String>,
    pub runtime: Option<RuntimeChoice>,
    pub image: Option<String>,
    pub timeout_ms: Option<u64>,
    pub dependencies: Option<Vec<Dependency>>,
    pub enabled: Option<bool>,
    pub isolation: Option<Isolation>,
    #[serde(default, deserialize_with = "present")]
    pub input_schema: Option<Option<Value>>,
    #[serde(default, deserialize_with = "present")]
    pub output_schema: Option<Option<Value>>,
    pub examples: Option<Vec<Example>>,
}

impl ToolDraft {
    pub(super) fn names(&self) -> Names {
        Names {
            image: self.image.is_some(),
            dependencies: !self.dependencies.is_empty(),
        }
    }

    /// A tool on the runtime that it asks for; what that comes to is decided by [`crate::runtimes`].
    ///
    /// # Errors
    /// The first fault found, by field.
    pub fn into_spec(self, policy: &NarrowedPolicy, reserved: &[&str]) -> Result<ToolSpec, CatalogError> {
        let name: ToolName = self.name.parse()?;
        reserved::check(&name, reserved)?;
        let timeout_ms = match self.timeout_ms {
            Some(ms) => parse_timeout(ms)?,
            None => TimeoutMs::DEFAULT.min(policy.max_timeout()),
        };
        let spec = ToolSpec {
            name,
            title: self.title,
            description: self.description,
            code: self.code,
            runtime: self.runtime.unwrap_or_default(),
            runs_on: Runtime::Node,
            image: self.image.unwrap_or_else(|| policy.default_image().to_owned()),
            timeout_ms,
            dependencies: self.dependencies,
            dependency_lock: None,
            isolation: self.isolation.unwrap_or_default(),
            input_schema: self.input_schema,
            output_schema: self.output_schema,
            examples: self.examples,
            enabled: self.enabled.unwrap_or(true),
        };
        check(&spec, policy)?;
        Ok(spec)
    }
}

impl ToolPatch {
    /// The names of what it changes, for the audit.
    pub fn fields(&self) -> Vec<&'static str> {
        let fields = [
            ("title", self.title.is_some()),
            ("description", self.description.is_some()),
            ("code", self.code.is_some()),
            ("runtime", self.runtime.is_some()),
            ("image", self.image.is_some()),
            ("timeoutMs", self.timeout_ms.is_some()),
            ("dependencies", self.dependencies.is_some()),
            ("enabled", self.enabled.is_some()),
            ("isolation", self.isolation.is_some()),
            ("inputSchema", self.input_schema.is_some()),
            ("outputSchema", self.output_schema.is_some()),
            ("examples", self.examples.is_some()),
        ];
        fields
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect()
    }

    /// Whether it only switches the tool on or off.
    pub(super) fn only_switches(&self) -> bool {
        self.fields() == ["enabled"]
    }

    /// Whether it changes what decides the runtime.
    pub(super) fn concerns_runtime(&self) -> bool {
        self.code.is_some() || self.runtime.is_some() || self.image.is_some() || self.dependencies.is_some()
    }

    /// Whether what its examples come to may be another thing with it.
    pub(super) fn concerns_examples(&self) -> bool {
        let words = ["title", "description", "enabled"];
        self.fields().iter().any(|field| !words.contains(field))
    }

    /// What the patched tool names. A patch that names the default image takes away another one.
    pub(super) fn names(&self, before: &ToolSpec, policy: &NarrowedPolicy) -> Names {
        // A tool on another runtime has whatever image was the default when it was written.
        let stored = (before.runs_on == Runtime::Node).then_some(&before.image);
        Names {
            image: self
                .image
                .as_ref()
                .or(stored)
                .is_some_and(|image| image != policy.default_image()),
            dependencies: !self
                .dependencies
                .as_ref()
                .unwrap_or(&before.dependencies)
                .is_empty(),
        }
    }

    /// # Errors
    /// When it changes nothing, or what comes of it is not a valid tool.
    pub fn apply(&self, mut spec: ToolSpec, policy: &NarrowedPolicy) -> Result<ToolSpec, CatalogError> {
        if self.fields().is_empty() {
            return Err(InvalidTool::new("patch", "is empty: name at least one field to change").into());
        }
        let Self {
            title,
            description,
            code,
            runtime,
            image,
            timeout_ms,
            dependencies,
            enabled,
            isolation,
            ..
        } = self.clone();
        spec.title = title.unwrap_or(spec.title);
        spec.description = description.unwrap_or(spec.description);
        spec.code = code.unwrap_or(spec.code);
        spec.runtime = runtime.unwrap_or(spec.runtime);
        spec.image = match image {
            Some(image) => image,
            None if spec.runs_on == Runtime::Node => spec.image,
            None => policy.default_image().to_owned(),
        };
        spec.timeout_ms = timeout_ms
            .map(parse_timeout)
            .transpose()?
            .unwrap_or(spec.timeout_ms);
        spec.dependencies = dependencies.unwrap_or(spec.dependencies);
        spec.enabled = enabled.unwrap_or(spec.enabled);
        spec.isolation = isolation.unwrap_or(spec.isolation);
        spec.input_schema = self.input_schema.clone().unwrap_or(spec.input_schema);
        spec.output_schema = self.output_schema.clone().unwrap_or(spec.output_schema);
        spec.examples = self.examples.clone().unwrap_or(spec.examples);
        // A tool that the operator's policy has outgrown must still be one that can be switched off.
        if !self.only_switches() {
            check(&spec, policy)?;
        }
        Ok(spec)
    }
}

pub(super) fn check(spec: &ToolSpec, policy: &NarrowedPolicy) -> Result<(), CatalogError> {
    if let Some(title) = &spec.title {
        check_length("title", title, MAX_TITLE_CHARS)?;
    }
    check_length("description", &spec.description, MAX_DESCRIPTION_CHARS)?;
    check_length("code", &spec.code, MAX_CODE_CHARS)?;
    parse_image(&spec.image)
        .map_err(|allowed| InvalidTool::new("image", format!("is not valid: {allowed}")))?;
    // Whether the default is allowed matters only to a tool that comes to need it.
    if spec.image != policy.default_image() {
        policy.check_image(&spec.image)?;
    }
    policy.check_timeout(spec.timeout_ms)?;
    policy.check_isolation(spec.isolation)?;
    policy.check_dependencies(&spec.dependencies)?;
    examples::check(&spec.examples)?;
    if let Some(schema) = &spec.input_schema {
        require_object(schema).map_err(|problem| InvalidTool::new("inputSchema", problem))?;
        check_schema("inputSchema", schema)?;
    }
    if let Some(schema) = &spec.output_schema {
        require_object(schema).map_err(|problem| InvalidTool::new("outputSchema", problem))?;
        check_schema("outputSchema", schema)?;
    }
    Ok(())
}

/// What can be said once it is settled what the tool runs on and what its packages come to.
pub(super) fn check_settled(spec: &ToolSpec, policy: &NarrowedPolicy) -> Result<(), PolicyError> {
    if spec.runs_on != Runtime::Node {
        return Ok(());
    }
    policy.check_image(&spec.image)?;
    match &spec.dependency_lock {
        Some(lock) => policy.check_lock(&LockedPackage::read_all(lock.as_bytes())?),
        None => Ok(()),
    }
}

fn check_schema(field: &'static str, schema: &Value) -> Result<(), InvalidTool> {
    SchemaCheck::compile(schema)
        .map(|_| ())
        .map_err(|problem| InvalidTool::new(field, problem))
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), InvalidTool> {
    match text.chars().count() {
        count if (1..=max).contains(&count) => Ok(()),
        count => Err(InvalidTool::new(
            field,
            format!("must have 1 to {max} characters, got {count}"),
        )),
    }
}

fn parse_timeout(ms: u64) -> Result<TimeoutMs, InvalidTool> {
    TimeoutMs::new(ms)
        .map_err(|error| InvalidTool::new("timeoutMs", format!("must be {}, got {ms}", error.allowed)))
}

/// Tells a field that is `null` from one that is not there.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dynamic_mcp_shared::policy::{SandboxPolicy, TenantPolicy};
    use serde_json::json;

    use super::*;

    fn narrowed(deployment: SandboxPolicy, tenant: Value) -> NarrowedPolicy {
        let tenant: TenantPolicy = serde_json::from_value(tenant).unwrap();
        NarrowedPolicy::new(Arc::new(deployment), tenant)
    }

    fn open() -> NarrowedPolicy {
        narrowed(SandboxPolicy::default(), json!({}))
    }

    fn draft(fields: Value) -> ToolDraft {
        let mut draft = json!({"name": "shout", "description": "Shouts.", "code": "return 1"});
        draft
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        serde_json::from_value(draft).unwrap()
    }

    fn refusal(fields: Value) -> String {
        draft(fields)
            .into_spec(&open(), &["dev.echo"])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_is_left_out_gets_its_default() {
        let spec = draft(json!({})).into_spec(&open(), &[]).unwrap();
        assert_eq!(
            (spec.image.as_str(), spec.timeout_ms, spec.enabled),
            ("node:lts-slim", TimeoutMs::DEFAULT, true)
        );
    }

    #[test]
    fn a_limit_that_is_passed_is_named_with_its_range() {
        assert_eq!(
            refusal(json!({"timeoutMs": 999})),
            "timeoutMs must be an integer from 1000 to 120000, got 999"
        );
        assert_eq!(
            refusal(json!({"description": ""})),
            "description must have 1 to 4000 characters, got 0"
        );
        assert_eq!(
            refusal(json!({"title": "x".repeat(121)})),
            "title must have 1 to 120 characters, got 121"
        );
        assert!(refusal(json!({"code": "x".repeat(200_001)})).contains("200000"));
        assert!(refusal(json!({"image": "alpine"})).contains("node:lts-slim"));
    }

    #[test]
    fn a_patch_names_what_the_tool_had_and_the_default_image_is_none() {
        let policy = SandboxPolicy {
            allowed_images: vec!["node:lts-slim".into(), "node:22".into()],
            ..SandboxPolicy::default()
        };
        let policy = narrowed(policy, json!({}));
        let spec = |fields| draft(fields).into_spec(&policy, &[]).unwrap();
        let patch = |fields| serde_json::from_value::<ToolPatch>(fields).unwrap();
        let named = |image, dependencies| Names { image, dependencies };
        let plain = spec(json!({}));
        let other = spec(json!({"image": "node:22", "dependencies": [{"name": "a", "version": "1"}]}));
        assert_eq!(
            patch(json!({"code": "c"})).names(&plain, &policy),
            named(false, false)
        );
        assert_eq!(
            patch(json!({"code": "c"})).names(&other, &policy),
            named(true, true)
        );
        let take_away = patch(json!({"image": "node:lts-slim", "dependencies": []}));
        assert_eq!(take_away.names(&other, &policy), named(false, false));

        let on_isolate = ToolSpec {
            runs_on: Runtime::Isolate,
            image: "node:of-then".into(),
            ..plain
        };
        let code = patch(json!({"code": "c"}));
        assert_eq!(code.names(&on_isolate, &policy), named(false, false));
        assert_eq!(code.apply(on_isolate, &policy).unwrap().image, "node:lts-slim");
    }

    #[test]
    fn null_takes_an_optional_part_away_and_absence_keeps_it() {
        let spec = draft(json!({"title": "Shout"})).into_spec(&open(), &[]).unwrap();
        let keep: ToolPatch = serde_json::from_value(json!({"description": "Louder."})).unwrap();
        let drop: ToolPatch = serde_json::from_value(json!({"title": null})).unwrap();
        let policy = open();
        assert_eq!(
            keep.apply(spec.clone(), &policy).unwrap().title.as_deref(),
            Some("Shout")
        );
        assert_eq!(drop.apply(spec.clone(), &policy).unwrap().title, None);
        assert!(ToolPatch::default().apply(spec, &policy).is_err());
    }

    #[test]
    fn a_tenants_policy_refuses_what_the_deployment_allows() {
        let policy = narrowed(
            SandboxPolicy::default(),
            json!({"allowToolIsolation": false, "blockedPackages": ["left-pad", "lodash@<4.17.21"]}),
        );
        let refusal = |fields| draft(fields).into_spec(&policy, &[]).unwrap_err().to_string();
        assert!(refusal(json!({"isolation": "tool"})).contains("the tenant's policy (allowToolIsolation)"));
        let package = |name: &str| json!({"dependencies": [{"name": name, "version": "^4.0.0"}]});
        assert!(refusal(package("left-pad")).contains("the tenant's policy (blockedPackages)"));

        // Which version a range comes to, only its lock tells.
        let spec = draft(package("lodash")).into_spec(&policy, &[]).unwrap();
        let locked = |version: &str| ToolSpec {
            dependency_lock: Some(
                json!({"packages": {"": {}, "node_modules/lodash": {"version": version}}}).to_string(),
            ),
            ..spec.clone()
        };
        assert_eq!(check_settled(&locked("4.17.21"), &policy), Ok(()));
        let error = check_settled(&locked("4.17.20"), &policy).unwrap_err();
        assert!(error.to_string().contains("lodash@4.17.20"), "{error}");
    }

    #[test]
    fn only_a_tool_that_needs_an_image_needs_an_allowed_one() {
        let policy = narrowed(SandboxPolicy::default(), json!({"allowedImages": []}));
        let spec = draft(json!({})).into_spec(&policy, &[]).unwrap();
        assert!(check_settled(&spec, &policy).is_err());
        let on_isolate = ToolSpec {
            runs_on: Runtime::Isolate,
            ..spec
        };
        assert_eq!(check_settled(&on_isolate, &policy), Ok(()));
    }
}
