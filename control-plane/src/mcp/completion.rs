//! `completion/complete`: the names of tools for the prompt's argument. There is nothing else to complete.

use dynamic_mcp_shared::ids::TenantId;
use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo};

use super::prompts::{CHECKLIST, TOOL_NAME};
use super::{McpDeps, builtin};

pub(super) async fn complete(
    deps: &McpDeps,
    tenant: &TenantId,
    request: &CompleteRequestParams,
) -> CompleteResult {
    let for_tool_name =
        request.r#ref.as_prompt_name() == Some(CHECKLIST) && request.argument.name == TOOL_NAME;
    if !for_tool_name {
        return CompleteResult::default();
    }
    let begins = |name: &&str| name.starts_with(request.argument.value.as_str());
    let mut names: Vec<String> = builtin::shown(deps.profile)
        .map(|builtin| builtin.tool.name.as_ref())
        .filter(begins)
        .map(str::to_owned)
        .collect();
    // While the registry does not answer, the built-in ones are still right.
    if let Ok(tools) = deps.cache.tools(tenant).await {
        names.extend(
            tools
                .listed()
                .map(|tool| tool.record.spec.name.as_str())
                .filter(begins)
                .map(str::to_owned),
        );
    }
    CompleteResult::new(info(names))
}

fn info(mut names: Vec<String>) -> CompletionInfo {
    let total = u32::try_from(names.len()).ok();
    let more = names.len() > CompletionInfo::MAX_VALUES;
    names.truncate(CompletionInfo::MAX_VALUES);
    CompletionInfo::with_pagination(names, total, more).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_names_are_given_than_the_protocol_allows() {
        let names: Vec<String> = (0..150).map(|number| format!("tool{number}")).collect();
        let info = info(names);
        assert_eq!(
            (info.values.len(), info.total, info.has_more),
            (100, Some(150), Some(true))
        );
    }
}
