//! What a token lets its bearer do.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::eventually::eventually;
use serde_json::{Value, json};

use super::{Scene, challenge};

#[tokio::test]
async fn each_scope_lets_do_what_it_is_for_and_the_challenge_names_what_is_missing() -> Result<()> {
    let scene = Scene::start().await?;
    let author = scene.client(Era::Modern, json!({})).await?;
    author
        .create_tool("doubled", "return args.n * 2", json!({}))
        .await?;
    let draft = json!({"tool": {"name": "other", "description": "d", "code": "return 1"}});
    let calls: [(&str, &str, Value, &str); 8] = [
        ("tools/list", "", json!({}), "mcp:call"),
        ("tools/call", "doubled", json!({"args": {"n": 4}}), "mcp:call"),
        (
            "tools/call",
            "run_js_ephemeral",
            json!({"code": "return 1"}),
            "mcp:call",
        ),
        ("tools/call", "dynamic.tool.create", draft, "mcp:write"),
        (
            "tools/call",
            "dynamic.tool.get",
            json!({"name": "doubled"}),
            "mcp:write",
        ),
        (
            "tools/call",
            "dynamic.tool.delete",
            json!({"name": "doubled"}),
            "mcp:write",
        ),
        ("tools/call", "system.runtime_config", json!({}), "mcp:admin"),
        ("tools/call", "system.audit.query", json!({}), "mcp:admin"),
    ];
    for era in Era::ALL {
        for (method, tool, arguments, scope) in &calls {
            let params = json!({"name": tool, "arguments": arguments});
            // With every scope but the one.
            let others: Vec<_> = ["mcp:call", "mcp:write", "mcp:sandbox", "mcp:admin"]
                .into_iter()
                .filter(|other| other != scope)
                .collect();
            let lacking = scene.client(era, json!({"scope": others.join(" ")})).await?;
            let response = lacking.send(&lacking.request(method, params)).await?;
            assert_eq!(response.status(), 403, "{tool} {era:?}");
            let header = challenge(&response);
            let expected = format!(
                "Bearer error=\"insufficient_scope\", error_description=\"the access token lacks the scope {scope}\", \
                 scope=\"{scope}\", resource_metadata="
            );
            assert!(header.starts_with(&expected), "{header}");
        }
    }
    // Nothing of it was done.
    let client = scene.client(Era::Modern, json!({})).await?;
    assert_eq!(
        client.structured("doubled", json!({"args": {"n": 4}})).await?["result"],
        8
    );
    let admin = scene.client(Era::Modern, json!({"scope": "mcp:admin"})).await?;
    let config = admin.structured("system.runtime_config", json!({})).await?;
    assert_eq!(config["auth"]["mode"], "jwt", "{config}");
    Ok(())
}

#[tokio::test]
async fn what_a_token_may_not_do_is_in_the_audit_as_refused() -> Result<()> {
    let scene = Scene::start().await?;
    let reader = scene
        .client(Era::Modern, json!({"scope": "mcp:call", "sub": "reader"}))
        .await?;
    let draft =
        json!({"tool": {"name": "wanted", "description": "d", "code": "return 'must-not-be-written'"}});
    let calls = [
        ("dynamic.tool.create", draft, Some("wanted")),
        ("dynamic.tool.delete", json!({"name": "wanted"}), Some("wanted")),
        (
            "dynamic.tool.delete",
            json!({"name": "must not be written"}),
            None,
        ),
        ("dynamic.tool.list", json!({}), None),
        ("system.runtime_config", json!({}), None),
    ];
    for (tool, arguments, _) in &calls {
        let message = reader.request("tools/call", json!({"name": tool, "arguments": arguments}));
        assert_eq!(reader.send(&message).await?.status(), 403, "{tool}");
    }
    let nobody = scene
        .client(Era::Modern, json!({"scope": "mcp:write", "sub": "nobody"}))
        .await?;
    let message = nobody.request("tools/call", json!({"name": "some.tool"}));
    assert_eq!(nobody.send(&message).await?.status(), 403);

    let mut expected: Vec<_> = calls
        .iter()
        .map(|(tool, _, target)| ("reader", *tool, *target))
        .collect();
    expected.push(("nobody", "dynamic.exec", Some("some.tool")));
    let expected = json!(expected);
    eventually(Duration::from_secs(10), async || {
        let text = std::fs::read_to_string(scene.server.state().join("audit.jsonl"))?;
        ensure!(!text.contains("must-not-be-written") && !text.contains("must not be written"));
        let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let refused: Vec<_> = lines
            .iter()
            .filter(|line| {
                (&line["verdict"], &line["reason"]) == (&json!("refused"), &json!("insufficient_scope"))
            })
            .map(|line| json!([line["subject"], line["action"], line["target"]]))
            .collect();
        ensure!(json!(refused) == expected, "{refused:?}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn scopes_have_the_names_that_the_operator_gives_them() -> Result<()> {
    let scene = Scene::start_with(&[
        ("MCP_AUTH_SCOPE_CALL", "tools.read"),
        ("MCP_AUTH_SCOPE_WRITE", "tools.read"),
        ("MCP_AUTH_REQUIRED_SCOPES", "openid profile"),
    ])
    .await?;
    let response = scene
        .answer(&scene.issuer.token(&json!({"scope": "tools.read openid"}))?)
        .await?;
    assert_eq!(response.status(), 403);
    assert!(
        challenge(&response).contains("lacks the scope profile\", scope=\"openid profile tools.read\""),
        "{}",
        challenge(&response)
    );
    let good = json!({"scope": null, "scp": ["openid", "profile", "tools.read"]});
    let client = scene.client(Era::Legacy, good).await?;
    client.create_tool("mine", "return 1", json!({})).await?;
    assert_eq!(client.structured("mine", json!({})).await?["result"], 1);
    Ok(())
}

#[tokio::test]
async fn the_right_to_call_alone_does_not_show_the_configuration_as_a_resource() -> Result<()> {
    let scene = Scene::start().await?;
    let client = scene.client(Era::Modern, json!({})).await?;
    let read = |uri: &str| client.request("resources/read", json!({"uri": uri}));
    assert_eq!(
        client
            .send(&read("dynamic://service/runtime-config"))
            .await?
            .status(),
        403
    );
    assert_eq!(client.send(&read("dynamic://metrics/guard")).await?.status(), 200);
    Ok(())
}
