//! Bodies that are too large, too deep or say two things at once.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use serde_json::{Value, json};

use super::Scene;

/// The status of an answer to that body, and what it says.
async fn posted(client: &McpClient, like: &Value, body: String) -> Result<(u16, Value)> {
    let answer = client.prepare(like).body(body).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

#[tokio::test]
async fn a_body_that_says_a_thing_twice_is_refused_wherever_it_does() -> Result<()> {
    let scene = Scene::start().await?;
    for era in Era::ALL {
        let client = scene.client(era, json!({})).await?;
        let echo = client.request(
            "tools/call",
            json!({"name": "dev.echo", "arguments": {"message": "one"}}),
        );
        let text = echo.to_string();
        for (field, doubled) in [
            ("\"jsonrpc\":\"2.0\"", "\"jsonrpc\":\"2.0\""),
            ("\"method\":\"tools/call\"", "\"method\":\"tools/list\""),
            ("\"name\":\"dev.echo\"", "\"name\":\"dynamic.tool.create\""),
            ("\"name\":\"dev.echo\"", "\"n\\u0061me\":\"dynamic.tool.create\""),
            ("\"message\":\"one\"", "\"message\":\"two\""),
            ("\"params\":", "\"params\":null,\"params\":"),
        ] {
            assert!(text.contains(field), "{field} in {text}");
            let body = match doubled.strip_suffix(':') {
                Some(_) => text.replace(field, doubled),
                None => text.replace(field, &format!("{field},{doubled}")),
            };
            let (status, said) = posted(&client, &echo, body.clone()).await?;
            assert_eq!(
                (status, &said["error"]["code"]),
                (400, &json!(-32_600)),
                "{body}: {said}"
            );
            let message = said["error"]["message"].as_str().unwrap_or_default();
            assert!(message.ends_with(" is there twice in one object"), "{message}");
        }
        assert_eq!(client.send(&echo).await?.status(), 200);
        scene.neighbour_is_served().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_nests_without_end_is_refused_before_anything_reads_it() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let echo = client.request(
        "tools/call",
        json!({"name": "dev.echo", "arguments": {"message": "DEEP"}}),
    );
    let text = echo.to_string();
    let nested = |open: &str, close: &str, depth: usize| {
        text.replace(
            "\"DEEP\"",
            &format!("{}1{}", open.repeat(depth), close.repeat(depth)),
        )
    };
    for body in [
        nested("[", "]", 200),
        nested("[", "]", 400_000),
        nested("{\"a\":", "}", 100_000),
        "[".repeat(900_000),
        "{\"method\":".repeat(80_000),
    ] {
        let (status, said) = posted(&client, &echo, body).await?;
        assert_eq!((status, &said["error"]["code"]), (400, &json!(-32_600)), "{said}");
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("nested more than 100 deep"), "{message}");
        scene.neighbour_is_served().await?;
    }
    // What is only somewhat deep is read, and judged by what it means.
    let (status, said) = posted(&client, &echo, nested("[", "]", 50)).await?;
    assert_eq!(
        (status, &said["result"]["isError"]),
        (200, &json!(true)),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_the_limit_whether_it_announces_it_or_not() -> Result<()> {
    let scene = Scene::start_with(&[("MCP_HTTP_MAX_REQUEST_BYTES", "65536")]).await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let big = client.request(
        "tools/call",
        json!({"name": "dev.echo", "arguments": {"message": "x".repeat(70_000)}}),
    );
    let chunk = bytes::Bytes::from(vec![b' '; 8 << 10]);
    let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    for request in [
        client.prepare(&big),
        client.prepare(&big).body(reqwest::Body::wrap_stream(endless)),
    ] {
        // The server may hang up before all of it was sent, which not every client survives.
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status(), 413);
            let said: Value = answer.json().await?;
            assert!(said["error"]["message"].to_string().contains("65536"), "{said}");
        }
        scene.neighbour_is_served().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_json_is_a_parse_error_whoever_sends_it() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let like = client.request("tools/list", json!({}));
    for (body, code) in [
        ("", -32_700),
        ("{", -32_700),
        ("\u{feff}{}", -32_700),
        ("{\"jsonrpc\": NaN}", -32_700),
        ("{\"jsonrpc\": \"2.0\",}", -32_700),
        ("{\"a\": \"\\ud800\"}", -32_600),
        ("[]", -32_600),
        ("null", -32_600),
        ("1e999", -32_600),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", -32_600),
    ] {
        let (status, said) = posted(&client, &like, body.to_owned()).await?;
        assert_eq!(
            (status, &said["error"]["code"]),
            (400, &json!(code)),
            "{body:?}: {said}"
        );
    }
    let answer = client
        .prepare(&like)
        .body(vec![b'{', 0xff, 0xfe, b'}'])
        .send()
        .await?;
    assert_eq!(answer.status(), 400);
    scene.neighbour_is_served().await
}
