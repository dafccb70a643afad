//! What one is told who is not let in, and where to get a token.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Scene, challenge};

#[tokio::test]
async fn without_a_token_one_is_told_where_to_get_one() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.knock().await?;
    let response = client.send(&client.request("tools/list", json!({}))).await?;
    assert_eq!(response.status(), 401);
    let base = &scene.server.base_url;
    assert_eq!(
        challenge(&response),
        format!(
            "Bearer scope=\"mcp:call\", resource_metadata=\"{base}/.well-known/oauth-protected-resource/mcp\""
        )
    );
    let body: Value = response.json().await?;
    assert_eq!(body["error"]["code"], -32_001, "{body}");

    let expected = json!({
        "resource": format!("{base}/mcp"),
        "authorization_servers": [scene.issuer.url],
        "scopes_supported": ["mcp:call", "mcp:write", "mcp:sandbox", "mcp:admin"],
        "bearer_methods_supported": ["header"],
        "resource_name": "dynamic-mcp",
    });
    for path in ["", "/mcp"] {
        let metadata = reqwest::get(format!("{base}/.well-known/oauth-protected-resource{path}")).await?;
        assert_eq!(metadata.json::<Value>().await?, expected, "{path}");
    }
    // Probes and metrics are for those who run the server.
    for path in ["livez", "readyz", "metrics"] {
        assert_eq!(
            reqwest::get(format!("{base}/{path}")).await?.status(),
            200,
            "{path}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_metadata_is_where_the_challenge_says_whatever_path_clients_see() -> Result<()> {
    let scene = Scene::start_with(&[("MCP_AUTH_RESOURCE", "https://mcp.example/tools/mcp")]).await?;
    let client = scene.knock().await?;
    let response = client.send(&client.request("tools/list", json!({}))).await?;
    let told = "resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/tools/mcp\"";
    assert!(challenge(&response).contains(told), "{}", challenge(&response));
    let here = format!(
        "{}/.well-known/oauth-protected-resource/tools/mcp",
        scene.server.base_url
    );
    let metadata: Value = reqwest::get(here).await?.json().await?;
    assert_eq!(metadata["resource"], "https://mcp.example/tools/mcp");
    Ok(())
}

#[tokio::test]
async fn every_way_to_the_endpoint_needs_a_token() -> Result<()> {
    let scene = Scene::start().await?;
    let url = format!("{}/mcp", scene.server.base_url);
    let http = reqwest::Client::new();
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}});
    for request in [
        http.get(&url).header("accept", "text/event-stream"),
        http.delete(&url).header("mcp-session-id", "x"),
        http.post(&url).json(&initialize),
        http.post(&url).body("no json"),
        http.put(&url),
    ] {
        assert_eq!(request.send().await?.status(), 401);
    }
    Ok(())
}

#[tokio::test]
async fn a_token_that_does_not_do_is_told_why_in_header_and_body() -> Result<()> {
    let scene = Scene::start().await?;
    let response = scene
        .answer(&scene.issuer.token(&json!({"aud": "another"}))?)
        .await?;
    assert_eq!(response.status(), 401);
    let header = challenge(&response).to_owned();
    let why = "the access token is for another audience";
    assert!(
        header.starts_with(&format!(
            "Bearer error=\"invalid_token\", error_description=\"{why}\", scope="
        )),
        "{header}"
    );
    let body: Value = response.json().await?;
    assert_eq!(
        (&body["error"]["code"], &body["error"]["message"]),
        (&json!(-32_002), &json!(why))
    );
    Ok(())
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_the_challenge() -> Result<()> {
    let scene = Scene::start_with(&[("MCP_HTTP_ALLOWED_ORIGINS", "https://app.example")]).await?;
    let client = scene.knock().await?;
    let request = client.prepare(&client.request("tools/list", json!({})));
    let response = request.header("origin", "https://app.example").send().await?;
    assert_eq!(response.status(), 401);
    let exposed = response.headers()["access-control-expose-headers"].to_str()?;
    assert!(exposed.contains("WWW-Authenticate"), "{exposed}");
    Ok(())
}
