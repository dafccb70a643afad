//! Tools that the operator shares with every tenant.

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use serde_json::{Value, json};

use super::{Scene, challenge};

struct Sharing {
    _scene: Scene,
    acme: McpClient,
    globex: McpClient,
    operator: McpClient,
}

impl Sharing {
    async fn start(era: Era) -> Result<Self> {
        let scene = Scene::start().await?;
        let operator = json!({"tenant": "ops", "scope": "mcp:call mcp:write mcp:admin"});
        Ok(Self {
            acme: scene.client(era, json!({"tenant": "acme"})).await?,
            globex: scene.client(era, json!({"tenant": "globex"})).await?,
            operator: scene.client(era, operator).await?,
            _scene: scene,
        })
    }

    async fn share(&self, name: &str, code: &str) -> Result<Value> {
        let tool = json!({"name": name, "description": "Shared.", "code": code});
        let arguments = json!({"visibility": "shared", "tool": tool});
        self.operator.structured("dynamic.tool.create", arguments).await
    }
}

#[tokio::test]
async fn every_tenant_sees_and_calls_it_and_its_own_of_that_name_wins() -> Result<()> {
    for era in Era::ALL {
        let sharing = Sharing::start(era).await?;
        let made = sharing.share("greet", "return 'from the operator'").await?;
        assert_eq!(made["tool"]["visibility"], "shared", "{made}");
        for client in [&sharing.acme, &sharing.globex, &sharing.operator] {
            ensure!(client.tool_names().await?.contains(&"greet".to_owned()));
            assert_eq!(
                client.structured("greet", json!({})).await?["result"],
                "from the operator"
            );
        }
        sharing
            .acme
            .create_tool("greet", "return 'our own'", json!({}))
            .await?;
        assert_eq!(
            sharing.acme.structured("greet", json!({})).await?["result"],
            "our own"
        );
        assert_eq!(
            sharing.globex.structured("greet", json!({})).await?["result"],
            "from the operator"
        );
        sharing
            .acme
            .structured("dynamic.tool.delete", json!({"name": "greet"}))
            .await?;
        assert_eq!(
            sharing.acme.structured("greet", json!({})).await?["result"],
            "from the operator"
        );
    }
    Ok(())
}

/// That the call is refused for want of the operator's scope when it is about what all tenants see.
async fn forbidden(client: &McpClient, tool: &str, mut arguments: Value) -> Result<()> {
    arguments["visibility"] = "shared".into();
    let params = json!({"name": tool, "arguments": arguments});
    let response = client.send(&client.request("tools/call", params)).await?;
    assert_eq!(response.status(), 403, "{tool}");
    let challenge = challenge(&response);
    ensure!(
        challenge.contains("lacks the scope mcp:admin\", scope=\"mcp:write mcp:admin\""),
        "{challenge}"
    );
    Ok(())
}

#[tokio::test]
async fn only_an_operator_changes_it_or_reads_its_code() -> Result<()> {
    let sharing = Sharing::start(Era::Modern).await?;
    sharing.share("greet", "return 'secret sauce'").await?;
    let draft = json!({"name": "other", "description": "d", "code": "return 1"});
    forbidden(&sharing.acme, "dynamic.tool.create", json!({"tool": draft})).await?;
    for (tool, arguments) in [
        (
            "dynamic.tool.update",
            json!({"name": "greet", "patch": {"code": "return 1"}}),
        ),
        ("dynamic.tool.delete", json!({"name": "greet"})),
        ("dynamic.tool.history", json!({"name": "greet"})),
    ] {
        let refused = sharing.acme.refusal(tool, arguments.clone()).await?;
        assert_eq!(refused, "there is no tool named \"greet\"", "{tool}");
        forbidden(&sharing.acme, tool, arguments).await?;
    }
    let seen = sharing
        .acme
        .structured("dynamic.tool.get", json!({"name": "greet"}))
        .await?;
    assert_eq!(
        (&seen["tool"]["visibility"], seen["tool"].get("code")),
        (&json!("shared"), None)
    );
    let listed = sharing
        .acme
        .structured("dynamic.tool.list", json!({"includeCode": true}))
        .await?;
    ensure!(!listed.to_string().contains("secret sauce"), "{listed}");
    let arguments = json!({"name": "greet", "visibility": "shared"});
    let whole = sharing.operator.structured("dynamic.tool.get", arguments).await?;
    assert_eq!(whole["tool"]["code"], "return 'secret sauce'");
    Ok(())
}

#[tokio::test]
async fn what_it_keeps_between_calls_is_kept_for_each_tenant() -> Result<()> {
    let sharing = Sharing::start(Era::Modern).await?;
    let counts = "globalThis.n = (globalThis.n ?? 0) + 1; return globalThis.n";
    let tool = json!({"name": "counts", "description": "Counts.", "code": counts, "isolation": "tool"});
    sharing
        .operator
        .structured(
            "dynamic.tool.create",
            json!({"visibility": "shared", "tool": tool}),
        )
        .await?;
    for client in [&sharing.acme, &sharing.globex] {
        for expected in [1, 2] {
            assert_eq!(client.structured("counts", json!({})).await?["result"], expected);
        }
    }
    Ok(())
}

#[tokio::test]
async fn clients_of_every_tenant_hear_that_it_came() -> Result<()> {
    for era in Era::ALL {
        let sharing = Sharing::start(era).await?;
        let mut heard = match era {
            Era::Legacy => sharing.acme.notifications().await?,
            Era::Modern => sharing.acme.listen().await?,
        };
        sharing.share("greet", "return 1").await?;
        heard
            .find(|event| event["method"] == "notifications/tools/list_changed")
            .await?;
    }
    Ok(())
}
