//! What can be set for a tenant. Each part that is not set follows the deployment's default, also when that changes.

use std::ops::RangeInclusive;

use dynamic_mcp_shared::policy::TenantPolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TenantLimits;

/// Below it a sandbox does not even start.
const MIN_MEMORY_MB: u32 = 64;
/// Weights are compared with each other alone.
const WEIGHTS: RangeInclusive<u32> = 1..=100;

/// As it is stored. A part that only a newer version knows is left alone by this one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TenantSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tools: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_calls_per_window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sandboxes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_mb: Option<u32>,
    /// What its tools may not, though the deployment allows it.
    #[serde(flatten)]
    pub policy: TenantPolicy,
    /// What a newer version stored.
    #[serde(flatten)]
    pub newer: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSettings(String);

/// Changes to settings, as a JSON Merge Patch (RFC 7396): what it names is set, `null` takes a setting away, and the rest
/// stays.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingsPatch(Map<String, Value>);

impl TenantSettings {
    /// What is not set is as the defaults are.
    pub fn over(&self, defaults: &TenantLimits) -> TenantLimits {
        TenantLimits {
            max_tools: self.max_tools.unwrap_or(defaults.max_tools),
            max_concurrency: self.max_concurrency.unwrap_or(defaults.max_concurrency),
            max_calls_per_window: self.max_calls_per_window.or(defaults.max_calls_per_window),
            weight: self.weight.unwrap_or(defaults.weight),
            max_sessions: self.max_sessions.unwrap_or(defaults.max_sessions),
            max_sandboxes: self.max_sandboxes.unwrap_or(defaults.max_sandboxes),
            max_memory_mb: self.max_memory_mb.or(defaults.max_memory_mb),
        }
    }

    fn check(&self) -> Result<(), InvalidSettings> {
        if let Some(mb) = self.max_memory_mb.filter(|&mb| mb < MIN_MEMORY_MB) {
            return Err(InvalidSettings(format!(
                "settings.maxMemoryMb must be at least {MIN_MEMORY_MB}, or null for the default, got {mb}"
            )));
        }
        if let Some(weight) = self.weight.filter(|weight| !WEIGHTS.contains(weight)) {
            return Err(InvalidSettings(format!(
                "settings.weight must be {} to {}, or null for the default, got {weight}",
                WEIGHTS.start(),
                WEIGHTS.end()
            )));
        }
        Ok(())
    }
}

impl SettingsPatch {
    /// What can be set.
    pub const FIELDS: [&'static str; 13] = [
        "maxTools",
        "maxConcurrency",
        "maxCallsPerWindow",
        "weight",
        "maxSessions",
        "maxSandboxes",
        "maxMemoryMb",
        "maxTimeoutMs",
        "allowedImages",
        "requireDigest",
        "allowedPackages",
        "blockedPackages",
        "allowToolIsolation",
    ];

    /// # Errors
    /// When it names what can't be set, or nothing.
    pub fn new(patch: Map<String, Value>) -> Result<Self, InvalidSettings> {
        let fields = Self::FIELDS.join(", ");
        if let Some(unknown) = patch.keys().find(|key| !Self::FIELDS.contains(&key.as_str())) {
            let shown: String = unknown.chars().take(80).collect();
            return Err(InvalidSettings(format!(
                "settings has no {shown:?}; there are {fields}"
            )));
        }
        if patch.is_empty() {
            return Err(InvalidSettings(format!(
                "settings must name at least one of {fields}"
            )));
        }
        Ok(Self(patch))
    }

    /// # Errors
    /// When the result is not valid.
    pub fn apply(&self, settings: &TenantSettings) -> Result<TenantSettings, InvalidSettings> {
        let mut fields = match serde_json::to_value(settings) {
            Ok(Value::Object(fields)) => fields,
            _ => return Err(InvalidSettings("the stored settings can't be read".to_owned())),
        };
        for (name, value) in &self.0 {
            match value {
                Value::Null => {
                    fields.remove(name);
                }
                value => {
                    // Told by name, since the parser of the whole does not say which.
                    let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
                    serde_json::from_value::<TenantSettings>(alone).map_err(|error| {
                        InvalidSettings(format!(
                            "settings.{name} must be {}, or null for the default: {error}",
                            allowed(name)
                        ))
                    })?;
                    fields.insert(name.clone(), value.clone());
                }
            }
        }
        let patched: TenantSettings = serde_json::from_value(Value::Object(fields))
            .map_err(|error| InvalidSettings(format!("settings: {error}")))?;
        patched.check()?;
        Ok(patched)
    }
}

fn allowed(name: &str) -> &'static str {
    match name {
        "maxTimeoutMs" => "a number of milliseconds from 1000 to 120000",
        "maxMemoryMb" => "a number of MiB, at least 64",
        "weight" => "a number from 1 to 100",
        "allowedImages" => "a list of image references",
        "allowedPackages" | "blockedPackages" => "a list of packages: name, @scope/* or name@range",
        "requireDigest" | "allowToolIsolation" => "true or false",
        _ => "a whole number, 0 or more",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patch(patch: Value) -> Result<SettingsPatch, InvalidSettings> {
        SettingsPatch::new(patch.as_object().unwrap().clone())
    }

    fn defaults() -> TenantLimits {
        TenantLimits {
            max_tools: 256,
            max_concurrency: 8,
            max_calls_per_window: None,
            weight: 1,
            max_sessions: 100,
            max_sandboxes: 20,
            max_memory_mb: None,
        }
    }

    #[test]
    fn what_is_set_holds_and_the_rest_is_as_the_defaults_are() {
        let set = patch(json!({"maxTools": 3, "maxMemoryMb": 128})).unwrap();
        let settings = set.apply(&TenantSettings::default()).unwrap();
        let limits = settings.over(&defaults());
        assert_eq!(
            limits,
            TenantLimits {
                max_tools: 3,
                max_memory_mb: Some(128),
                ..defaults()
            }
        );
    }

    #[test]
    fn null_takes_a_setting_away_and_what_is_not_named_stays() {
        let first = patch(json!({"maxTools": 3, "maxSessions": 5})).unwrap();
        let settings = first.apply(&TenantSettings::default()).unwrap();
        let then = patch(json!({"maxTools": null}))
            .unwrap()
            .apply(&settings)
            .unwrap();
        assert_eq!((then.max_tools, then.max_sessions), (None, Some(5)));
    }

    #[test]
    fn a_part_that_a_newer_version_stored_outlives_a_write_of_this_one() {
        let stored: TenantSettings = serde_json::from_value(json!({"maxTools": 1, "maxFlights": 9})).unwrap();
        let written = patch(json!({"maxTools": 2})).unwrap().apply(&stored).unwrap();
        assert_eq!(
            serde_json::to_value(written).unwrap(),
            json!({"maxTools": 2, "maxFlights": 9})
        );
    }

    #[test]
    fn limits_and_policy_are_set_side_by_side() {
        let set = json!({"maxTools": 3, "blockedPackages": ["lodash@<4.17.21"], "maxTimeoutMs": 2000});
        let settings = patch(set.clone())
            .unwrap()
            .apply(&TenantSettings::default())
            .unwrap();
        assert_eq!((settings.max_tools, settings.newer.len()), (Some(3), 0));
        assert_eq!(serde_json::to_value(settings).unwrap(), set);
    }

    #[test]
    fn what_can_not_be_is_refused_with_what_can() {
        for (wrong, says) in [
            (json!({}), "settings must name at least one of maxTools"),
            (
                json!({"max_tools": 1}),
                "settings has no \"max_tools\"; there are maxTools",
            ),
            (
                json!({"maxTools": -1}),
                "settings.maxTools must be a whole number",
            ),
            (
                json!({"maxTools": "many"}),
                "settings.maxTools must be a whole number",
            ),
            (
                json!({"maxTimeoutMs": 10}),
                "settings.maxTimeoutMs must be a number of milliseconds from 1000",
            ),
            (
                json!({"blockedPackages": "lodash"}),
                "settings.blockedPackages must be a list of packages",
            ),
            (
                json!({"allowedImages": ["node"], "requireDigest": true}),
                "settings: allowedImages: node has no digest",
            ),
            (
                json!({"weight": 101}),
                "settings.weight must be 1 to 100, or null for the default, got 101",
            ),
            (
                json!({"maxMemoryMb": 1}),
                "settings.maxMemoryMb must be at least 64",
            ),
        ] {
            let refused = patch(wrong.clone()).and_then(|patch| patch.apply(&TenantSettings::default()));
            let error = refused.unwrap_err().to_string();
            assert!(error.starts_with(says), "{wrong}: {error}");
        }
    }
}
