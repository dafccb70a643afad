//! What HTTP shows around MCP: probes, metrics, headers, and what is refused before MCP sees it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::server::AllInOne;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

fn ping(client: &McpClient) -> RequestBuilder {
    client.prepare(&client.request("tools/list", json!({})))
}

async fn metric(server: &AllInOne, name: &str) -> Result<f64> {
    let text = Client::new()
        .get(format!("{}/metrics", server.base_url))
        .send()
        .await?
        .text()
        .await?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("{name} in\n{text}"))?.parse()?)
}

#[tokio::test]
async fn the_probes_say_that_it_lives_and_is_ready() -> Result<()> {
    let server = AllInOne::start(&[]).await?;
    let http = Client::new();
    let live = http.get(format!("{}/livez", server.base_url)).send().await?;
    assert_eq!(
        (live.status().as_u16(), live.json::<Value>().await?),
        (200, json!({"status": "ok"}))
    );
    let ready = http.get(format!("{}/readyz", server.base_url)).send().await?;
    assert_eq!(ready.status(), 200);
    let mut ready: Value = ready.json().await?;
    let executors = ready["executors"].take();
    assert_eq!(
        ready,
        json!({"ready": true, "status": "ready", "executors": null})
    );
    let runtimes: Vec<_> = executors.as_object().into_iter().flatten().collect();
    assert!(
        matches!(runtimes[..], [(_, runtimes)] if runtimes["isolate"].is_string()),
        "{executors}"
    );
    Ok(())
}

#[tokio::test]
async fn the_metrics_of_the_contract_are_there_by_name_from_the_first_scrape_on() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let response = Client::new()
        .get(format!("{}/metrics", server.base_url))
        .send()
        .await?;
    assert!(
        response.headers()["content-type"]
            .to_str()?
            .starts_with("text/plain"),
        "{response:?}"
    );
    for name in [
        "dynamic_mcp_http_sessions_active",
        "dynamic_mcp_http_sessions_created_total",
        "dynamic_mcp_http_sessions_expired_total",
        "dynamic_mcp_http_auth_success_total",
        "dynamic_mcp_http_auth_denied_total",
    ] {
        assert_eq!(metric(&server, name).await?, 0.0, "{name}");
    }
    assert!(metric(&server, "dynamic_mcp_process_uptime_seconds").await? < 60.0);
    Ok(())
}

#[tokio::test]
async fn legacy_sessions_are_counted_when_they_begin_end_and_expire() -> Result<()> {
    let server = AllInOne::start_without_pool(&[("MCP_HTTP_SESSION_TTL_SECONDS", "1")]).await?;
    let ended = server.client(Era::Legacy).await?;
    let left = server.client(Era::Legacy).await?;
    assert_eq!(
        metric(&server, "dynamic_mcp_http_sessions_created_total").await?,
        2.0
    );
    assert!(ended.end_session().await?.status().is_success());
    assert_eq!(
        ping(&ended).send().await?.status(),
        404,
        "a session that was ended is unknown"
    );
    eventually(Duration::from_secs(10), async || {
        let expired = metric(&server, "dynamic_mcp_http_sessions_expired_total").await?;
        let active = metric(&server, "dynamic_mcp_http_sessions_active").await?;
        ensure!(
            (expired, active) == (1.0, 0.0),
            "expired {expired}, active {active}"
        );
        Ok(())
    })
    .await;
    assert_eq!(
        ping(&left).send().await?.status(),
        404,
        "a session that expired is unknown"
    );
    Ok(())
}

#[tokio::test]
async fn every_answer_carries_the_hardening_headers_and_a_request_id_of_its_own() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let modern = server.client(Era::Modern).await?;
    let http = Client::new();
    let at = |path: &str| format!("{}{path}", server.base_url);
    // The tools may still be loading.
    eventually(Duration::from_secs(10), async || {
        match http.get(at("/readyz")).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let requests = [
        ("livez", http.get(at("/livez")), 200),
        ("readyz", http.get(at("/readyz")), 200),
        ("metrics", http.get(at("/metrics")), 200),
        ("a call", ping(&modern), 200),
        ("no such path", http.get(at("/nothing/here")), 404),
        ("no such method", http.put(at("/mcp")).body("x"), 405),
        (
            "a refused host",
            http.get(at("/mcp")).header("host", "evil.example"),
            403,
        ),
        (
            "no JSON",
            http.post(at("/mcp"))
                .header("accept", "application/json, text/event-stream")
                .header("content-type", "application/json")
                .body("{"),
            400,
        ),
    ];
    let mut ids = Vec::new();
    for (what, request, status) in requests {
        let response = request.send().await?;
        assert_eq!(response.status(), status, "{what}");
        for (header, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(response.headers().get(header).context(header)?, value, "{what}");
        }
        ids.push(
            response
                .headers()
                .get("x-request-id")
                .context(what)?
                .to_str()?
                .to_owned(),
        );
    }
    ids.sort();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id came twice");
    Ok(())
}

#[tokio::test]
async fn a_request_id_that_was_sent_comes_back_and_one_that_could_forge_a_log_line_does_not() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let id = async |sent: &str| -> Result<String> {
        let response = Client::new()
            .get(format!("{}/livez", server.base_url))
            .header("x-request-id", sent)
            .send()
            .await?;
        Ok(response.headers()["x-request-id"].to_str()?.to_owned())
    };
    assert_eq!(id("abc-123").await?, "abc-123");
    for wrong in ["two words", &"x".repeat(129)] {
        assert_ne!(id(wrong).await?, wrong);
    }
    Ok(())
}

async fn is_refused(response: Response, named: &str) -> Result<()> {
    assert_eq!(response.status(), 403);
    let body: Value = response.json().await?;
    assert_eq!(body["jsonrpc"], "2.0", "{body}");
    assert!(body["error"]["message"].to_string().contains(named), "{body}");
    Ok(())
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_on_every_path() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let modern = server.client(Era::Modern).await?;
    is_refused(
        ping(&modern).header("host", "evil.example").send().await?,
        "evil.example",
    )
    .await?;
    is_refused(
        ping(&modern)
            .header("origin", "https://evil.example")
            .send()
            .await?,
        "evil.example",
    )
    .await?;
    is_refused(ping(&modern).header("origin", "null").send().await?, "null").await?;
    for origin in ["http://localhost:3000", "http://127.0.0.1:6274"] {
        assert_eq!(
            ping(&modern).header("origin", origin).send().await?.status(),
            200,
            "{origin}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn hosts_and_origins_that_the_operator_allows_are_served() -> Result<()> {
    let settings = [
        ("MCP_HTTP_ALLOWED_HOSTS", "mcp.example"),
        ("MCP_HTTP_ALLOWED_ORIGINS", "https://app.example"),
    ];
    let server = AllInOne::start_without_pool(&settings).await?;
    let modern = server.client(Era::Modern).await?;
    let request = ping(&modern)
        .header("host", "mcp.example")
        .header("origin", "https://app.example");
    assert_eq!(request.send().await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused_with_the_limit_and_one_at_it_is_not() -> Result<()> {
    let server = AllInOne::start_without_pool(&[("MCP_HTTP_MAX_REQUEST_BYTES", "4096")]).await?;
    for era in Era::ALL {
        let client = server.client(era).await?;
        let message = |length: usize| {
            let message = client.request(
                "tools/call",
                json!({"name": "dev.echo", "arguments": {"message": ""}}),
            );
            let padding = "x".repeat(length - message.to_string().len());
            let mut message = message;
            message["params"]["arguments"]["message"] = json!(padding);
            message
        };
        assert_eq!(
            client.send(&message(4_096)).await?.status(),
            200,
            "{}",
            client.describe()
        );
        let refused = client.send(&message(4_097)).await?;
        assert_eq!(refused.status(), 413, "{}", client.describe());
        let body: Value = refused.json().await?;
        assert!(body["error"]["message"].to_string().contains("4096"), "{body}");
    }
    Ok(())
}

#[tokio::test]
async fn the_default_body_limit_holds_the_longest_code() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    // Each of these takes four bytes.
    let code = format!("return 1;//{}", "\u{1f600}".repeat(200_000 - 11));
    client.create_tool("longest", &code, json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn the_endpoint_can_be_moved() -> Result<()> {
    let server = AllInOne::start_without_pool(&[("MCP_PATH", "/tools/mcp")]).await?;
    let moved = McpClient::connect(&format!("{}/tools", server.base_url), Era::Legacy).await?;
    assert!(!moved.tool_names().await?.is_empty());
    let old = server.client(Era::Modern).await?;
    assert_eq!(ping(&old).send().await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn a_session_that_nobody_began_is_not_found() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let legacy = server.client(Era::Legacy).await?;
    let invented = Client::new()
        .post(format!("{}/mcp", server.base_url))
        .header("accept", "application/json, text/event-stream")
        .header("mcp-session-id", "invented")
        .json(&legacy.request("tools/list", json!({})));
    assert_eq!(invented.send().await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn a_request_of_the_newest_era_must_name_in_its_headers_what_its_body_does() -> Result<()> {
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let message = client.request(
        "tools/call",
        json!({"name": "dev.echo", "arguments": {"message": "a"}}),
    );
    let post = || {
        Client::new()
            .post(format!("{}/mcp", server.base_url))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
    };
    let wrong = [
        post()
            .header("mcp-method", "tools/list")
            .header("mcp-name", "dev.echo"),
        post()
            .header("mcp-method", "tools/call")
            .header("mcp-name", "time.now"),
        post().header("mcp-name", "dev.echo"),
    ];
    for request in wrong {
        let response = request.json(&message).send().await?;
        assert_eq!(response.status(), 400);
        assert_eq!(response.json::<Value>().await?["error"]["code"], -32_020);
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_version_or_method_of_the_newest_era_has_the_status_that_its_text_asks_for() -> Result<()>
{
    let server = AllInOne::start_without_pool(&[]).await?;
    let client = server.client(Era::Modern).await?;
    let mut message = client.request("tools/list", json!({}));
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let response = Client::new()
        .post(format!("{}/mcp", server.base_url))
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2099-01-01")
        .header("mcp-method", "tools/list")
        .json(&message)
        .send()
        .await?;
    assert_eq!(response.status(), 400);
    assert_eq!(response.json::<Value>().await?["error"]["code"], -32_022);
    let response = client.send(&client.request("no/such/method", json!({}))).await?;
    assert_eq!(response.status(), 404);
    assert_eq!(response.json::<Value>().await?["error"]["code"], -32_601);
    Ok(())
}
