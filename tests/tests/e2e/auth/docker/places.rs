//! How many sessions a tenant may have is its own matter: what another one has used up neither stands in its way nor is told.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{Field, open, said, told_of_call};

const AT_ONCE: usize = 6;

async fn refused(client: &McpClient) -> Result<String> {
    told_of_call(client, "sandbox.initialize", &json!({})).await
}

fn is_full(refused: &str, limit: u32) -> bool {
    let says = format!("all {limit} sandbox sessions of your tenant are open");
    refused.contains(r#""reason":"too_many_sessions""#) && refused.contains(&says)
}

#[tokio::test]
async fn a_tenant_gets_as_many_sessions_as_it_may_have_however_fast_it_asks_and_another_gets_its_own()
-> Result<()> {
    let field = Field::start_with(&[("MCP_TENANT_MAX_SANDBOXES", "1")]).await?;
    let alice = field.client(Era::Modern, &json!({})).await?;
    let bob = field.client(Era::Modern, &json!({"sub": "bob"})).await?;
    let globex = field.client(Era::Modern, &json!({"tenant": "globex"})).await?;

    let asking = (0..AT_ONCE).map(|_| said(&alice, "sandbox.initialize", json!({})));
    let answers = try_join_all(asking).await?;
    let (opened, full): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["ok"] == true);
    assert_eq!(opened.len(), 1, "{answers:?}");
    let reasons: Vec<_> = full.iter().map(|answer| &answer["reason"]).collect();
    assert_eq!(reasons, ["too_many_sessions"; AT_ONCE - 1], "{answers:?}");
    let id = &opened[0]["sessionId"];

    // Another subject of the tenant learns that its tenant has no more, and not who has what.
    let before = refused(&bob).await?;
    assert!(is_full(&before, 1), "{before}");
    assert!(!before.contains(id.as_str().unwrap_or_default()), "{before}");
    assert_eq!(own(&bob).await?, json!([]));
    assert_eq!(own(&globex).await?, json!([]));
    open(&globex).await?;
    assert_eq!(refused(&bob).await?, before);
    let theirs = refused(&globex).await?;
    assert_eq!(theirs, before, "one that is full is told the same as the other");

    alice.structured("sandbox.stop", json!({"sessionId": id})).await?;
    open(&bob).await?;
    field.stop().await
}

#[tokio::test]
async fn what_the_operator_lets_one_tenant_have_is_neither_taken_from_another_nor_given_to_it() -> Result<()>
{
    let field = Field::start().await?;
    // At one replica, where it holds at once.
    let at = async |change: Value| {
        let mut clients = field.clients(Era::Modern, &change).await?;
        anyhow::Ok(clients.swap_remove(0))
    };
    let scope = "mcp:call mcp:write mcp:admin";
    let operator = at(json!({"tenant": "ops", "sub": "op", "scope": scope})).await?;
    let acme = at(json!({})).await?;
    let globex = at(json!({"tenant": "globex"})).await?;
    let set = async |tenant: &str, most: u32| {
        let arguments = json!({"tenant": tenant, "settings": {"maxSandboxes": most}});
        operator.structured("system.tenant.set", arguments).await
    };
    set("acme", 1).await?;
    open(&acme).await?;
    let full = refused(&acme).await?;
    assert!(is_full(&full, 1), "{full}");
    for _ in 0..2 {
        open(&globex).await?;
    }
    set("globex", 2).await?;
    let full = refused(&globex).await?;
    assert!(is_full(&full, 2), "{full}");
    set("acme", 2).await?;
    open(&acme).await?;
    field.stop().await
}

/// The sessions that one is shown.
async fn own(client: &McpClient) -> Result<Value> {
    let listed = client.structured("sandbox.session.list", json!({})).await?;
    Ok(listed["sessions"].clone())
}
