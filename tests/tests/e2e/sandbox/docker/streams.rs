//! What a command prints reaches its client while it runs, in both eras.

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::{Era, EventStream};
use dynamic_mcp_tests::server::AllInOne;
use serde_json::json;

use super::open;

#[tokio::test]
async fn output_comes_as_progress_before_the_answer() -> Result<()> {
    let server = AllInOne::start(&[("MCP_EXECUTION_ENGINE", "docker")]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let id = open(&client).await?;
        // It goes on only when the client has seen that it began, and says so by a file.
        let wait = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second";
        let params = json!({
            "name": "sandbox.exec",
            "arguments": {"sessionId": id, "commands": [wait]},
            "_meta": {"progressToken": "p"},
        });
        let answer = client
            .send(&client.request("tools/call", params))
            .await?
            .error_for_status()?;
        let mut stream = EventStream::new(answer);
        let first = stream.next().await?.context("a message")?;
        assert_eq!(first["method"], "notifications/progress", "{first}");
        assert_eq!(first["params"]["message"], "first\n", "{first}");
        let go = json!({"sessionId": id, "files": [{"path": "go", "content": ""}]});
        client.structured("sandbox.fs.write", go).await?;
        let mut answer = None;
        while let Some(message) = stream.next().await? {
            if message.get("id").is_some() {
                answer = Some(message);
                break;
            }
        }
        let answer = answer.context("an answer")?;
        let shown = &answer["result"]["structuredContent"];
        assert_eq!(shown["commands"][0]["stdout"], "first\nsecond\n", "{answer}");
    }
    server.stop().await;
    Ok(())
}
