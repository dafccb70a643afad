//! What a kept sandbox remembers is its tool's own: never another tool's, never another revision's.

use anyhow::Result;
use dynamic_mcp_tests::on::On;
use serde_json::{Value, json};

use super::Ward;

/// Counts its calls where a call can leave something in memory: as a global, and on what the language itself brings.
const COUNTER: &str = "const count = (owner) => owner.calls = (owner.calls ?? 0) + 1; \
    return { global: count(globalThis), prototype: count(Map.prototype), import: count((await import('node:util')).inspect) };";

fn calls(n: u64) -> Value {
    json!({"global": n, "prototype": n, "import": n})
}

impl Ward {
    pub(super) async fn counted(&self, tool: &str) -> Result<Value> {
        Ok(self.client.structured(tool, json!({})).await?["result"].clone())
    }
}

dynamic_mcp_tests::on_every_engine![
    a_kept_sandbox_remembers_for_its_own_tool_only,
    a_new_revision_starts_with_nothing,
    a_tool_made_anew_under_its_name_runs_its_own_code_with_nothing_kept,
    nothing_of_a_call_is_left_when_it_was_killed,
];

async fn a_kept_sandbox_remembers_for_its_own_tool_only(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    // The same code: only the name tells them apart.
    for tool in ["counter.one", "counter.two"] {
        ward.client
            .create_tool(tool, COUNTER, json!({"isolation": "tool"}))
            .await?;
    }
    assert_eq!(ward.counted("counter.one").await?, calls(1));
    assert_eq!(ward.counted("counter.one").await?, calls(2));
    assert_eq!(ward.counted("counter.two").await?, calls(1));
    ward.client
        .create_tool("counter.fresh", COUNTER, json!({}))
        .await?;
    for _ in 0..3 {
        assert_eq!(ward.counted("counter.fresh").await?, calls(1));
    }
    ward.stop().await;
    Ok(())
}

async fn a_new_revision_starts_with_nothing(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    ward.client
        .create_tool("counter", COUNTER, json!({"isolation": "tool"}))
        .await?;
    assert_eq!(ward.counted("counter").await?, calls(1));
    assert_eq!(ward.counted("counter").await?, calls(2));
    let patch = json!({"name": "counter", "patch": {"code": format!("{COUNTER} // second")}});
    ward.client.structured("dynamic.tool.update", patch).await?;
    assert_eq!(ward.counted("counter").await?, calls(1));
    ward.stop().await;
    Ok(())
}

async fn a_tool_made_anew_under_its_name_runs_its_own_code_with_nothing_kept(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let make = |code: &'static str| {
        ward.client
            .create_tool("phoenix", code, json!({"isolation": "tool"}))
    };
    let delete = || {
        ward.client
            .structured("dynamic.tool.delete", json!({"name": "phoenix"}))
    };

    make(COUNTER).await?;
    assert_eq!(ward.counted("phoenix").await?, calls(1));
    assert_eq!(ward.counted("phoenix").await?, calls(2));
    delete().await?;
    make("return { global: globalThis.calls ?? 'nothing' };").await?;
    assert_eq!(ward.counted("phoenix").await?, json!({"global": "nothing"}));

    // And the first code again: what it left in its first life is not there in its third.
    delete().await?;
    make(COUNTER).await?;
    assert_eq!(ward.counted("phoenix").await?, calls(1));
    ward.stop().await;
    Ok(())
}

async fn nothing_of_a_call_is_left_when_it_was_killed(on: On) -> Result<()> {
    let ward = Ward::start(on).await?;
    let code =
        "globalThis.calls = (globalThis.calls ?? 0) + 1; if (args.hang) for (;;); return globalThis.calls;";
    ward.client
        .create_tool("hanging", code, json!({"isolation": "tool", "timeoutMs": 1000}))
        .await?;
    assert_eq!(
        ward.client.structured("hanging", json!({"args": {}})).await?["result"],
        1
    );
    let ended = ward
        .beside_the_neighbour(ward.client.call("hanging", json!({"args": {"hang": true}})))
        .await?;
    super::assert_ended(&ended, "timed_out", "1000 ms");
    assert_eq!(
        ward.client.structured("hanging", json!({"args": {}})).await?["result"],
        1
    );
    ward.stop().await;
    Ok(())
}
