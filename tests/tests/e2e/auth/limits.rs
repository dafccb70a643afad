//! What the operator sets for one tenant holds for it at once, and for no other.

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use serde_json::{Value, json};

use super::Scene;

/// Runs until its time is up.
const ENDLESS: &str = "for (;;) {}";

/// Two tenants' clients, and the operator who is of neither.
struct Tenants {
    _scene: Scene,
    acme: McpClient,
    globex: McpClient,
    operator: McpClient,
}

impl Tenants {
    async fn start() -> Result<Self> {
        let scene = Scene::start().await?;
        let scope = "mcp:call mcp:write mcp:admin";
        Ok(Self {
            acme: scene.client(Era::Modern, json!({"tenant": "acme"})).await?,
            globex: scene.client(Era::Modern, json!({"tenant": "globex"})).await?,
            operator: scene
                .client(Era::Modern, json!({"tenant": "ops", "sub": "op", "scope": scope}))
                .await?,
            _scene: scene,
        })
    }

    async fn set(&self, settings: Value) -> Result<Value> {
        let arguments = json!({"tenant": "acme", "settings": settings});
        self.operator.structured("system.tenant.set", arguments).await
    }
}

/// How a call ended that gave no result.
async fn ended(client: &McpClient, tool: &str, arguments: Value) -> Result<Value> {
    Ok(client.call(tool, arguments).await?["structuredContent"].clone())
}

#[tokio::test]
async fn a_tenant_has_the_defaults_until_something_is_set_for_it() -> Result<()> {
    let tenants = Tenants::start().await?;
    let about = json!({"tenant": "acme"});
    let before = tenants
        .operator
        .structured("system.tenant.get", about.clone())
        .await?;
    assert_eq!(before["settings"], json!({}), "{before}");
    assert_eq!(before["limits"], before["defaults"]);
    assert_eq!(before["revision"], 0);
    let set = tenants.set(json!({"maxTools": 1, "maxTimeoutMs": 1000})).await?;
    assert_eq!(set["settings"], json!({"maxTools": 1, "maxTimeoutMs": 1000}));
    assert_eq!(
        (&set["limits"]["maxTools"], &set["revision"]),
        (&json!(1), &json!(1))
    );
    let set = tenants.set(json!({"maxTools": null})).await?;
    assert_eq!(set["settings"], json!({"maxTimeoutMs": 1000}));
    let globex = json!({"tenant": "globex"});
    let other = tenants.operator.structured("system.tenant.get", globex).await?;
    assert_eq!(other["limits"], before["defaults"], "{other}");
    Ok(())
}

#[tokio::test]
async fn the_number_of_tools_is_limited_for_the_one_tenant() -> Result<()> {
    let tenants = Tenants::start().await?;
    tenants.set(json!({"maxTools": 1})).await?;
    for client in [&tenants.acme, &tenants.globex] {
        client.create_tool("first", "return 1", json!({})).await?;
    }
    let second = json!({"tool": {"name": "second", "description": "d", "code": "return 1"}});
    let refused = tenants.acme.refusal("dynamic.tool.create", second).await?;
    assert_eq!(
        refused,
        "1 tools exist already, the most allowed here; delete one first, or ask the operator for more"
    );
    tenants
        .globex
        .create_tool("second", "return 1", json!({}))
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_tenant_that_is_stopped_runs_nothing_and_others_go_on() -> Result<()> {
    let tenants = Tenants::start().await?;
    for client in [&tenants.acme, &tenants.globex] {
        client.create_tool("one", "return 1", json!({})).await?;
    }
    tenants.set(json!({"maxConcurrency": 0})).await?;
    let refused = ended(&tenants.acme, "one", json!({})).await?;
    assert_eq!(refused["outcome"], "never_started", "{refused}");
    assert_eq!(refused["reason"], "concurrency_limited", "{refused}");
    ensure!(
        refused["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("the operator has stopped this tenant")),
        "{refused}"
    );
    assert_eq!(tenants.globex.structured("one", json!({})).await?["result"], 1);
    tenants.set(json!({"maxConcurrency": null})).await?;
    assert_eq!(tenants.acme.structured("one", json!({})).await?["result"], 1);
    Ok(())
}

#[tokio::test]
async fn the_calls_of_all_tools_together_are_limited_for_the_one_tenant() -> Result<()> {
    let tenants = Tenants::start().await?;
    tenants.set(json!({"maxCallsPerWindow": 2})).await?;
    for client in [&tenants.acme, &tenants.globex] {
        for name in ["one", "two"] {
            client.create_tool(name, "return 1", json!({})).await?;
            assert_eq!(client.structured(name, json!({})).await?["result"], 1);
        }
    }
    let run = json!({"code": "return 1"});
    let refused = ended(&tenants.acme, "run_js_ephemeral", run.clone()).await?;
    assert_eq!(refused["reason"], "rate_limited", "{refused}");
    ensure!(refused["retryAfterMs"].as_u64() > Some(0), "{refused}");
    let limits = tenants.acme.structured("system.guard_metrics", json!({})).await?["limits"].clone();
    assert_eq!(limits["maxTenantCallsPerWindow"], 2, "{limits}");
    let ran = tenants.globex.structured("run_js_ephemeral", run).await?;
    assert_eq!(ran["result"], 1);
    Ok(())
}

#[tokio::test]
async fn time_and_memory_of_a_call_are_limited_for_the_one_tenant() -> Result<()> {
    let tenants = Tenants::start().await?;
    let hoards = "const all = []; for (let n = 0; n < 90; n += 1) all.push(new Uint8Array(1 << 20).fill(1)); return all.length";
    for client in [&tenants.acme, &tenants.globex] {
        client
            .create_tool("endless", ENDLESS, json!({"timeoutMs": 3000}))
            .await?;
        client.create_tool("hoards", hoards, json!({})).await?;
    }
    tenants.set(json!({"maxTimeoutMs": 1000})).await?;
    let slow = ended(&tenants.acme, "endless", json!({})).await?;
    assert_eq!(slow["outcome"], "timed_out", "{slow}");
    ensure!(slow["durationMs"].as_u64() < Some(2_900), "{slow}");
    tenants
        .set(json!({"maxTimeoutMs": null, "maxMemoryMb": 64}))
        .await?;
    let large = ended(&tenants.acme, "hoards", json!({})).await?;
    assert_eq!(large["outcome"], "out_of_memory", "{large}");
    assert_eq!(
        large["error"], "the code needed more than its memory limit of 64m",
        "{large}"
    );
    assert_eq!(
        tenants.globex.structured("hoards", json!({})).await?["result"],
        90
    );
    Ok(())
}

#[tokio::test]
async fn the_oldest_idle_session_of_a_tenant_makes_room_for_its_next() -> Result<()> {
    let scene = Scene::start_with(&[("MCP_TENANT_MAX_SESSIONS", "2")]).await?;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(scene.client(Era::Legacy, json!({})).await?);
    }
    let other = scene.client(Era::Legacy, json!({"tenant": "globex"})).await?;
    let is_open = async |client: &McpClient| {
        let answer = client.send(&client.request("tools/list", json!({}))).await;
        answer.map(|answer| answer.status().is_success())
    };
    assert!(!is_open(&sessions[0]).await?);
    for client in [&sessions[1], &sessions[2], &other] {
        assert!(is_open(client).await?);
    }
    Ok(())
}

#[tokio::test]
async fn what_a_tenant_may_have_is_for_operators_to_see_and_to_set() -> Result<()> {
    let tenants = Tenants::start().await?;
    for (tool, arguments) in [
        ("system.tenant.get", json!({})),
        ("system.tenant.set", json!({"settings": {"maxTools": 100_000}})),
        ("system.fleet", json!({})),
        ("system.fleet.drain", json!({"executorId": "exe_one"})),
    ] {
        let params = json!({"name": tool, "arguments": arguments});
        let response = tenants
            .acme
            .send(&tenants.acme.request("tools/call", params))
            .await?;
        assert_eq!(response.status(), 403, "{tool}");
    }
    for (settings, says) in [
        (json!({}), "settings must name at least one of maxTools"),
        (
            json!({"tools": 1}),
            "settings has no \"tools\"; there are maxTools",
        ),
        (
            json!({"maxTools": "all"}),
            "settings.maxTools must be a whole number, 0 or more, or null",
        ),
    ] {
        let answer = tenants
            .operator
            .call(
                "system.tenant.set",
                json!({"tenant": "acme", "settings": settings}),
            )
            .await?;
        let text = answer["content"][0]["text"].as_str().unwrap_or_default();
        ensure!(text.contains(says), "{answer}");
    }
    let arguments = json!({"tenant": "*", "settings": {"maxTools": 1}});
    let refused = tenants.operator.refusal("system.tenant.set", arguments).await?;
    ensure!(
        refused.starts_with("tenant must have 1 to 128 letters"),
        "{refused}"
    );
    let stale = json!({"tenant": "acme", "settings": {"maxTools": 1}, "expectedRevision": 7});
    let answer = tenants.operator.call("system.tenant.set", stale).await?;
    assert_eq!(answer["structuredContent"]["kind"], "conflict", "{answer}");
    Ok(())
}

#[tokio::test]
async fn what_a_tenants_policy_forbids_stops_its_old_tools_and_no_other_tenants() -> Result<()> {
    let tenants = Tenants::start().await?;
    let keeps = json!({"isolation": "tool"});
    for client in [&tenants.acme, &tenants.globex] {
        client.create_tool("kept", "return 1", keeps.clone()).await?;
        assert_eq!(client.structured("kept", json!({})).await?["result"], 1);
    }
    tenants.set(json!({"allowToolIsolation": false})).await?;
    let refused = ended(&tenants.acme, "kept", json!({})).await?;
    assert_eq!(
        (&refused["outcome"], &refused["reason"]),
        (&json!("never_started"), &json!("policy")),
        "{refused}"
    );
    let text = "isolation \"tool\" is not allowed by the tenant's policy (allowToolIsolation); use \"call\"";
    ensure!(
        refused.to_string().contains(&text.replace('"', "\\\"")),
        "{refused}"
    );
    let tool = json!({"name": "again", "description": "d", "code": "return 1", "isolation": "tool"});
    let refused = tenants
        .acme
        .refusal("dynamic.tool.create", json!({"tool": tool}))
        .await?;
    ensure!(refused.contains("the tenant's policy"), "{refused}");
    assert_eq!(tenants.globex.structured("kept", json!({})).await?["result"], 1);
    Ok(())
}
