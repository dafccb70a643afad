//! What a kept container has on its disks is its tool's own, as what is in its memory.

use anyhow::Result;
use dynamic_mcp_tests::on::On;
use serde_json::{Value, json};

use crate::hostile::Ward;

const COUNTER: &str = "const fs = await import('node:fs'); \
    const count = (file) => { let n = 0; try { n = Number(fs.readFileSync(file, 'utf8')); } catch {} \
      fs.writeFileSync(file, String(n + 1)); return n + 1; }; \
    return { tmp: count('/tmp/calls'), workspace: count('/workspace/calls') };";

fn calls(n: u64) -> Value {
    json!({"tmp": n, "workspace": n})
}

#[tokio::test]
async fn a_kept_container_keeps_files_for_its_own_tool_and_revision_only() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
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
    for _ in 0..2 {
        assert_eq!(ward.counted("counter.fresh").await?, calls(1));
    }
    let patch = json!({"name": "counter.one", "patch": {"code": format!("{COUNTER} // second")}});
    ward.client.structured("dynamic.tool.update", patch).await?;
    assert_eq!(ward.counted("counter.one").await?, calls(1));
    ward.stop().await;
    Ok(())
}
