//! `tools/list`: the built-in tools and those of the registry, in one order that only a change of the tools changes.

use std::sync::Arc;

use rmcp::model::{CacheScope, ListToolsResult, Tool as McpTool};

use super::pages::{self, Group, Key, PAGE_SIZE};
use super::{Profile, builtin, dynamic};
use crate::registry::cache::{TenantTools, Tool};

/// How long a client of the newest era may keep the list when it does not listen for changes.
const TTL_MS: u64 = 5_000;

enum Entry<'a> {
    Builtin(&'static McpTool),
    Registered(&'a Arc<Tool>),
}

pub(super) fn page(profile: Profile, tools: &TenantTools, after: Option<&Key>) -> ListToolsResult {
    let builtins = builtin::shown(profile).map(|builtin| {
        (
            Key::new(Group::Builtin, &builtin.tool.name),
            Entry::Builtin(&builtin.tool),
        )
    });
    let registered = tools.listed().map(|tool| {
        (
            Key::new(Group::Registry, tool.record.spec.name.as_str()),
            Entry::Registered(tool),
        )
    });
    let (entries, next) = pages::page(builtins.chain(registered), after, PAGE_SIZE);
    let shown = entries.into_iter().map(|entry| match entry {
        Entry::Builtin(tool) => tool.clone(),
        Entry::Registered(tool) => dynamic::describe(tool),
    });
    let mut list = ListToolsResult::with_all_items(shown.collect())
        .with_ttl_ms(TTL_MS)
        .with_cache_scope(CacheScope::Private);
    list.next_cursor = next;
    list
}
