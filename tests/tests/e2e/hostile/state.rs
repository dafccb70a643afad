//! What a kept container remembers is its tool's own: never another tool's, never another revision's.

use anyhow::Result;
use serde_json::{Value, json};

use super::Ward;

/// Counts its calls in every place that a call can leave something.
const COUNTER: &str = "const fs = await import('node:fs'); \
    globalThis.calls = (globalThis.calls ?? 0) + 1; \
    const count = (file) => { let n = 0; try { n = Number(fs.readFileSync(file, 'utf8')); } catch {} \
      fs.writeFileSync(file, String(n + 1)); return n + 1; }; \
    return { memory: globalThis.calls, tmp: count('/tmp/calls'), workspace: count('/workspace/calls') };";

fn calls(n: u64) -> Value {
    json!({"memory": n, "tmp": n, "workspace": n})
}

impl Ward {
    async fn counted(&self, tool: &str) -> Result<Value> {
        Ok(self.client.structured(tool, json!({})).await?["result"].clone())
    }
}

#[tokio::test]
async fn a_kept_container_remembers_for_its_own_tool_only() -> Result<()> {
    let ward = Ward::start().await?;
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

#[tokio::test]
async fn a_new_revision_starts_with_nothing() -> Result<()> {
    let ward = Ward::start().await?;
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

#[tokio::test]
async fn a_tool_made_anew_under_its_name_runs_its_own_code_with_nothing_kept() -> Result<()> {
    let ward = Ward::start().await?;
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
    make("return { memory: globalThis.calls ?? 'nothing' };").await?;
    assert_eq!(ward.counted("phoenix").await?, json!({"memory": "nothing"}));

    // And the first code again: what it left in its first life is not there in its third.
    delete().await?;
    make(COUNTER).await?;
    assert_eq!(ward.counted("phoenix").await?, calls(1));
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn nothing_of_a_call_is_left_when_it_was_killed() -> Result<()> {
    let ward = Ward::start().await?;
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
