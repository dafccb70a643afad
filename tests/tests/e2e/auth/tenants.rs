//! What belongs to one tenant does not exist for another.

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::Era;
use reqwest::Method;
use serde_json::{Value, json};

use super::Scene;

#[tokio::test]
async fn a_tool_is_there_for_its_own_tenant_alone() -> Result<()> {
    let scene = Scene::start().await?;
    for era in Era::ALL {
        let name = format!("secret.{}", era.version());
        let acme = scene.client(era, json!({})).await?;
        acme.create_tool(&name, "return 'acme'", json!({})).await?;
        let globex = scene.client(era, json!({"tenant": "globex"})).await?;
        assert!(!globex.tool_names().await?.contains(&name));
        for (tool, arguments) in [
            ("dynamic.tool.get", json!({"name": name})),
            ("dynamic.tool.call", json!({"name": name})),
            (
                "dynamic.tool.update",
                json!({"name": name, "patch": {"code": "return 1"}}),
            ),
            ("dynamic.tool.enable", json!({"name": name, "enabled": false})),
            ("dynamic.tool.delete", json!({"name": name})),
        ] {
            let never = arguments.to_string().replace(&name, "no.such.tool");
            let never: Value = serde_json::from_str(&never)?;
            let refused = globex.refusal(tool, arguments).await?;
            let expected = globex.refusal(tool, never).await?.replace("no.such.tool", &name);
            assert_eq!(refused, expected, "{tool}");
        }
        // Its own of the same name is another one.
        globex.create_tool(&name, "return 'globex'", json!({})).await?;
        assert_eq!(acme.structured(&name, json!({})).await?["result"], "acme");
        assert_eq!(globex.structured(&name, json!({})).await?["result"], "globex");
        assert_eq!(
            globex.structured("dynamic.tool.list", json!({})).await?["tools"][0]["revision"],
            1
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_tenant_calls_is_counted_for_itself_alone() -> Result<()> {
    let scene = Scene::start().await?;
    let acme = scene.client(Era::Modern, json!({})).await?;
    acme.create_tool("busy", "return 1", json!({})).await?;
    acme.structured("busy", json!({})).await?;
    let globex = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    let seen = globex.structured("system.guard_metrics", json!({})).await?;
    assert_eq!(seen["scopes"], json!([]), "{seen}");
    Ok(())
}

#[tokio::test]
async fn a_kept_sandbox_serves_its_own_tenant_alone() -> Result<()> {
    let scene = Scene::start().await?;
    let counts = "globalThis.n = (globalThis.n ?? 0) + 1; return globalThis.n";
    let acme = scene.client(Era::Modern, json!({})).await?;
    let globex = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    for client in [&acme, &globex] {
        client
            .create_tool("counts", counts, json!({"isolation": "tool"}))
            .await?;
        assert_eq!(client.structured("counts", json!({})).await?["result"], 1);
    }
    Ok(())
}

#[tokio::test]
async fn the_audit_names_who_did_it() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene
        .client(
            Era::Modern,
            json!({"tenant": "globex", "sub": "bob", "client_id": "ide"}),
        )
        .await?;
    client.create_tool("made", "return 1", json!({})).await?;
    let text = std::fs::read_to_string(scene.server.state().join("audit.jsonl"))?;
    let line = text
        .lines()
        .find(|line| line.contains("dynamic.tool.create"))
        .context("an entry")?;
    let entry: Value = serde_json::from_str(line)?;
    assert_eq!(
        (&entry["tenant"], &entry["subject"], &entry["client"]),
        (&json!("globex"), &json!("bob"), &json!("ide")),
        "{entry}"
    );
    Ok(())
}

#[tokio::test]
async fn a_session_is_its_beginners_alone_and_is_not_there_for_anybody_else() -> Result<()> {
    let scene = Scene::start().await?;
    for stranger in [
        json!({"tenant": "globex"}),
        json!({"sub": "bob"}),
        json!({"client_id": "other"}),
    ] {
        let mut client = scene.client(Era::Legacy, json!({})).await?;
        let token = scene.issuer.token(&stranger)?;
        client.bear(&token);
        let message = client.request("tools/list", json!({}));
        let refused = client.send(&message).await?;
        assert_eq!(refused.status(), 404, "{stranger}");
        let body: Value = refused.json().await?;
        let never_was = |method| {
            reqwest::Client::new()
                .request(method, format!("{}/mcp", scene.server.base_url))
                .bearer_auth(&token)
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", Era::Legacy.version())
                .header("mcp-session-id", "never-was")
        };
        let never = never_was(Method::POST).json(&message).send().await?;
        assert_eq!(never.status(), 404);
        assert_eq!(body, never.json::<Value>().await?, "{stranger}");
        assert_eq!(never_was(Method::DELETE).send().await?.status(), 404);
        assert!(client.notifications().await.is_err());
        assert_eq!(client.end_session().await?.status(), 404);
        // Another token of the same one's goes on.
        client.bear(&scene.issuer.token(&json!({"jti": "another"}))?);
        assert!(!client.tool_names().await?.is_empty());
    }
    Ok(())
}

#[tokio::test]
async fn a_change_is_told_to_the_clients_of_its_own_tenant_alone() -> Result<()> {
    let scene = Scene::start().await?;
    let listener = scene.client(Era::Modern, json!({})).await?;
    let mut stream = listener.listen().await?;
    stream.next().await?.context("an acknowledgement")?;
    let globex = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    globex.create_tool("theirs", "return 1", json!({})).await?;
    let silent = tokio::time::timeout(std::time::Duration::from_millis(500), stream.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    let own = scene.client(Era::Modern, json!({"sub": "bob"})).await?;
    own.create_tool("ours", "return 1", json!({})).await?;
    let told = stream.next().await?.context("a change")?;
    assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    Ok(())
}
