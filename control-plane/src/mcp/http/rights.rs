//! What a request needs, read from its body before anything else is: only here can it still be refused with a status.

use std::borrow::Cow;

use rmcp::model::JsonObject;
use serde::Deserialize;

use crate::mcp::{Profile, rights};
use crate::principal::Right;

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
    pub(super) arguments: Option<JsonObject>,
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

/// `None` for what everybody may who may come in, and for what can't be read: that is refused elsewhere.
pub(super) fn needed(profile: Profile, body: &[u8]) -> Option<Right> {
    let message: Message = serde_json::from_slice(body).ok()?;
    let params = message.params;
    match message.method.as_ref() {
        "tools/call" => {
            let name = params?.name?;
            Some(rights::of_tool(profile, &name))
        }
        "resources/read" => {
            let uri = params?.uri?;
            Some(rights::of_resource(&uri))
        }
        "tools/list" | "completion/complete" | "subscriptions/listen" => Some(Right::Call),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(body: &str) -> Option<Right> {
        needed(Profile::Enterprise, body.as_bytes())
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
}
