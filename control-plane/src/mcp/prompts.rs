//! The one prompt: what to look at before a tool is called.

use rmcp::ErrorData;
use rmcp::model::{
    CacheScope, GetPromptRequestParams, GetPromptResult, ListPromptsResult, Prompt, PromptArgument,
    PromptMessage, Role,
};
use serde_json::{Value, json};

use super::resources::FIXED_LIST_TTL_MS;

pub(super) const CHECKLIST: &str = "tool-call-checklist";
pub(super) const TOOL_NAME: &str = "toolName";
const DESCRIPTION: &str = "What to check before and after a call of a tool.";
const MAX_NAME_CHARS: usize = 128;

pub(super) fn list() -> ListPromptsResult {
    let name = PromptArgument::new(TOOL_NAME)
        .with_title("Tool name")
        .with_description("The tool that is to be called.")
        .with_required(true);
    let prompt =
        Prompt::new(CHECKLIST, Some(DESCRIPTION), Some(vec![name])).with_title("Tool call checklist");
    ListPromptsResult::with_all_items(vec![prompt])
        .with_ttl_ms(FIXED_LIST_TTL_MS)
        .with_cache_scope(CacheScope::Private)
}

pub(super) fn get(request: &GetPromptRequestParams) -> Result<GetPromptResult, ErrorData> {
    if request.name != CHECKLIST {
        let text = "there is no prompt with this name; prompts/list shows which there are";
        return Err(ErrorData::invalid_params(
            text,
            Some(json!({"name": request.name})),
        ));
    }
    let name = request
        .arguments
        .as_ref()
        .and_then(|arguments| arguments.get(TOOL_NAME))
        .and_then(Value::as_str);
    match name.map(str::trim) {
        Some(name) if (1..=MAX_NAME_CHARS).contains(&name.chars().count()) => {
            let message = PromptMessage::new_text(Role::User, checklist(name));
            Ok(GetPromptResult::new(vec![message]).with_description(DESCRIPTION))
        }
        _ => Err(ErrorData::invalid_params(
            format!("{TOOL_NAME} is required and must be a text of 1 to {MAX_NAME_CHARS} characters"),
            None,
        )),
    }
}

fn checklist(name: &str) -> String {
    format!(
        "You are about to call the tool `{name}`. Go through this list first:\n\
         1. Find `{name}` in tools/list (or with dynamic.tool.get) and read its description and inputSchema. If it is not \
         there, it may be disabled, deleted or named otherwise: do not guess.\n\
         2. Build the arguments from the schema. A tool made at run time without an inputSchema takes {{\"args\": {{...}}}}.\n\
         3. Leave out secrets that the tool does not need: its code can return and print whatever it is given.\n\
         4. Know its limits: it has a time-out, no network, and an output cap; it may be refused while the server is busy.\n\
         5. After the call read `isError` and `outcome`. With `never_started` nothing ran, so it is safe to call again, after \
         retryAfterMs if that is given. With `timed_out`, `cancelled` or `interrupted` it may have run in part.\n\
         6. If the answer is wrong rather than an error, look at the code with dynamic.tool.get before you change it, and \
         pass expectedRevision when you do. Where it shows runsOn isolate, the code has no npm packages, process, fetch \
         or Intl: a tool that needs them belongs on runtime node."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, arguments: Value) -> GetPromptRequestParams {
        let mut request = GetPromptRequestParams::new(name);
        request.arguments = arguments.as_object().cloned();
        request
    }

    #[test]
    fn the_checklist_names_the_tool() {
        let result = get(&request(CHECKLIST, json!({"toolName": "text.upper"}))).expect("a prompt");
        let text = result.messages[0].content.as_text().expect("a text").text.clone();
        assert!(text.contains("`text.upper`"));
        assert!(text.contains("{\"args\": {...}}"));
    }

    #[test]
    fn an_unknown_prompt_and_a_missing_argument_are_invalid_parameters() {
        for wrong in [
            request("other", json!({})),
            request(CHECKLIST, json!({})),
            request(CHECKLIST, json!({"toolName": " "})),
        ] {
            let error = get(&wrong).unwrap_err();
            assert_eq!(error.code, rmcp::model::ErrorCode::INVALID_PARAMS);
        }
    }
}
