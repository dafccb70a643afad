//! What a request needs, read from its body before anything else is: only here can it still be refused with a status.

use std::borrow::Cow;

use rmcp::model::JsonObject;
use serde::Deserialize;
use serde_json::Value;

use crate::mcp::{Profile, rights};
use crate::principal::{Right, Rights};

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
}

/// A call of a tool, read for who keeps the records.
#[derive(Deserialize)]
pub(super) struct Called {
    pub(super) name: String,
    arguments: Option<Value>,
}

impl Called {
    /// What are no arguments at all is refused elsewhere.
    pub(super) fn arguments(&self) -> Option<&JsonObject> {
        self.arguments.as_ref()?.as_object()
    }
}

pub(super) fn called(body: &[u8]) -> Option<Called> {
    #[derive(Deserialize)]
    struct Call {
        method: String,
        params: Called,
    }
    let call: Call = serde_json::from_slice(body).ok()?;
    (call.method == "tools/call").then_some(call.params)
}

/// Nothing for what everybody may who may come in, and for what can't be read: that is refused elsewhere.
pub(super) fn needed(profile: Profile, body: &[u8]) -> Option<Rights> {
    let message: Message = serde_json::from_slice(body).ok()?;
    let params = message.params;
    match message.method.as_ref() {
        "tools/call" => {
            let name = params?.name?;
            let right = rights::of_tool(profile, &name);
            // Only there an argument makes a difference, and only these are read twice for it.
            let call = (right == Right::Write).then(|| called(body)).flatten();
            let arguments = call.as_ref().and_then(Called::arguments);
            Some(rights::of_call(profile, &name, arguments))
        }
        "resources/read" => {
            let uri = params?.uri?;
            Some(rights::of_resource(&uri).into())
        }
        "tools/list" | "completion/complete" | "subscriptions/listen" => Some(Right::Call.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(body: &str) -> Option<Right> {
        let rights: Vec<_> = needed(Profile::Enterprise, body.as_bytes())?.iter().collect();
        let [right] = rights[..] else { panic!("{rights:?}") };
        Some(right)
    }

    #[test]
    fn to_write_what_all_tenants_see_needs_the_operators_right_too() {
        let of = |arguments: &str| {
            let body = format!(
                r#"{{"method": "tools/call", "params": {{"name": "dynamic.tool.create", "arguments": {arguments}}}}}"#
            );
            let rights = needed(Profile::Enterprise, body.as_bytes()).unwrap();
            rights.iter().collect::<Vec<_>>()
        };
        assert_eq!(of(r#"{"visibility": "shared"}"#), [Right::Write, Right::Admin]);
        for other in [
            r#"{"visibility": "tenant"}"#,
            r#"{"visibility": 1}"#,
            "{}",
            "[]",
            "null",
        ] {
            assert_eq!(of(other), [Right::Write], "{other}");
        }
    }

    #[test]
    fn each_request_needs_what_it_is_about_to_do() {
        for (body, right) in [
            (r#"{"method": "tools/list"}"#, Some(Right::Call)),
            (
                r#"{"method": "tools/call", "params": {"name": "any.tool"}}"#,
                Some(Right::Call),
            ),
            (
                r#"{"method": "tools/call", "params": {"name": "dynamic.tool.call"}}"#,
                Some(Right::Call),
            ),
            (
                r#"{"method": "tools/call", "params": {"name": "dynamic.tool.create"}}"#,
                Some(Right::Write),
            ),
            (
                r#"{"method": "tools/call", "params": {"name": "dynamic.tool.get"}}"#,
                Some(Right::Write),
            ),
            (
                r#"{"method": "tools/call", "params": {"name": "system.runtime_config"}}"#,
                Some(Right::Admin),
            ),
            (
                r#"{"method": "tools\/call", "params": {"name": "system\u002eruntime_config"}}"#,
                Some(Right::Admin),
            ),
            (
                r#"{"method": "resources/read", "params": {"uri": "dynamic://service/runtime-config"}}"#,
                Some(Right::Admin),
            ),
            (
                r#"{"method": "resources/read", "params": {"uri": "dynamic://service/meta"}}"#,
                Some(Right::Call),
            ),
            (r#"{"method": "initialize", "params": {}}"#, None),
            (r#"{"method": "ping"}"#, None),
        ] {
            assert_eq!(of(body), right, "{body}");
        }
    }

    #[test]
    fn what_says_two_things_is_not_read_at_all() {
        for body in [
            r#"{"method": "ping", "method": "tools/list"}"#,
            r#"{"method": "tools/call", "params": {"name": "a", "name": "dynamic.tool.create"}}"#,
            r#"[{"method": "tools/list"}]"#,
            "",
        ] {
            assert_eq!(of(body), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn a_right_is_needed_whatever_stands_beside_what_asks_for_it(
            id in prop_oneof![Just(json!(null)), any::<i64>().prop_map(Value::from), ".{0,6}".prop_map(Value::from)],
            arguments in prop::collection::hash_map(".{0,6}", ".{0,6}", 0..5),
            escaped in any::<bool>(),
        ) {
            let body = json!({"jsonrpc": "2.0", "id": id, "params": {"arguments": arguments, "name": "dynamic.tool.create"},
                "method": "tools/call"}).to_string();
            let body = if escaped { body.replace("tool.create", "t\\u006fol\\u002ecreate") } else { body };
            prop_assert_eq!(of(&body), Some(Right::Write));
            prop_assert_eq!(called(body.as_bytes()).map(|call| call.name), Some("dynamic.tool.create".to_owned()));
        }

        #[test]
        fn no_bytes_are_too_much(body in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = (needed(Profile::Enterprise, &body), called(&body));
        }
    }
}
