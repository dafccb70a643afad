//! Progress that a tool reports, to clients that asked for it.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, EventStream, McpClient};
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::stdio::StdioServer;
use serde_json::{Value, json};

const CODE: &str = "for (const done of [1, 2, 3]) {
    ctx.progress(done, 3, `step ${done}`);
    await new Promise(next => setTimeout(next, 20));
}
return 'done';";

fn call(token: Option<&str>) -> Value {
    match token {
        Some(token) => json!({"name": "steps", "arguments": {}, "_meta": {"progressToken": token}}),
        None => json!({"name": "steps", "arguments": {}}),
    }
}

/// The messages of a call's own stream, the answer last.
async fn messages(client: &McpClient, params: Value) -> Result<Vec<Value>> {
    let mut stream = EventStream::new(
        client
            .send(&client.request("tools/call", params))
            .await?
            .error_for_status()?,
    );
    let mut messages = Vec::new();
    while let Some(message) = stream.next().await? {
        let is_answer = message.get("id").is_some();
        messages.push(message);
        if is_answer {
            break;
        }
    }
    Ok(messages)
}

fn assert_steps_then_answer(messages: &[Value], token: &str) {
    let (answer, progress) = messages.split_last().unwrap_or_else(|| panic!("nothing came"));
    assert_eq!(
        answer["result"]["structuredContent"]["result"], "done",
        "{messages:?}"
    );
    let seen: Vec<_> = progress
        .iter()
        .map(|message| (&message["method"], message["params"].clone()))
        .collect();
    assert_eq!(seen.len(), 3, "{messages:?}");
    for (step, (method, params)) in seen.into_iter().enumerate() {
        assert_eq!(method, "notifications/progress");
        assert_eq!(params["progressToken"], token, "{params}");
        assert_eq!(params["progress"].as_f64(), Some((step + 1) as f64), "{params}");
        assert_eq!(params["total"].as_f64(), Some(3.0), "{params}");
        assert_eq!(params["message"], format!("step {}", step + 1), "{params}");
    }
}

#[tokio::test]
async fn progress_comes_on_the_calls_own_stream_before_its_answer() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        if era == Era::Legacy {
            client.create_tool("steps", CODE, json!({})).await?;
        }
        assert_steps_then_answer(&messages(&client, call(Some("tok"))).await?, "tok");
    }
    Ok(())
}

#[tokio::test]
async fn without_a_token_no_progress_is_sent() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let client = server.client(Era::Legacy).await?;
    client.create_tool("steps", CODE, json!({})).await?;
    let messages = messages(&client, call(None)).await?;
    assert_eq!(messages.len(), 1, "{messages:?}");
    Ok(())
}

#[tokio::test]
async fn progress_comes_over_stdio_too() -> Result<()> {
    let mut server = StdioServer::start(&[]).await?;
    let tool = json!({"name": "steps", "description": "Takes steps.", "code": CODE});
    server.call("dynamic.tool.create", json!({"tool": tool})).await?;
    let id = server.send("tools/call", call(Some("tok"))).await?;
    let mut messages = Vec::new();
    while let Some(message) = server.read().await? {
        let is_answer = message["id"] == id;
        if is_answer || message["method"] == "notifications/progress" {
            messages.push(message);
        }
        if is_answer {
            break;
        }
    }
    assert_steps_then_answer(&messages, "tok");
    Ok(())
}
