//! Who asks is what the token says. What a request says of that besides, wherever it says it, changes nothing.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient, with};
use serde_json::{Value, json};

use super::{
    Field, Kept, NEVER, NEVER_COMMAND, asks, fields_of, is_of_none, settled, strangers, told_of_call,
};

const HEADERS: [(&str, &str); 6] = [
    ("x-tenant", "acme"),
    ("x-tenant-id", "acme"),
    ("x-subject", "alice"),
    ("x-forwarded-user", "alice"),
    ("x-session-affinity", "acme"),
    ("cookie", "tenant=acme; subject=alice"),
];

/// To be the owner, and to be sent where its session lives.
fn claims(kept: &Kept, executor: &str) -> Value {
    json!({
        "tenant": "acme",
        "tenantId": "acme",
        "subject": "alice",
        "sub": "alice",
        "principal": {"tenant": "acme", "subject": "alice", "client": "tests"},
        "owner": {"tenant": "acme", "subject": "alice"},
        "executorId": executor,
        "executor": executor,
        "epoch": 1,
        "home": {"executor": executor, "epoch": 1},
        "sessionKey": kept.id,
        "affinityKey": kept.id,
        "dynamic-mcp/tenant": "acme",
        "dynamic-mcp/sessionId": kept.id,
        "mcp-session-id": kept.id,
    })
}

/// What is answered to one who claims everything beside the arguments.
async fn claiming(client: &McpClient, claims: &Value, tool: &str, arguments: &Value) -> Result<String> {
    let params = json!({"name": tool, "arguments": arguments, "_meta": claims});
    let message = client.request("tools/call", params);
    let mut request = client.prepare(&message);
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    settled(&message, request.send().await?).await
}

#[tokio::test]
async fn a_claim_beside_the_arguments_opens_nothing_of_somebody_elses_and_nothing_for_somebody_else()
-> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let claims = claims(&kept, &field.cluster.executors[0].id()?);
    let never = asks(NEVER, NEVER_COMMAND);
    for stranger in strangers() {
        for era in Era::ALL {
            let client = field.client(era, &stranger).await?;
            for ((tool, of_it), (_, of_none)) in asks(&kept.id, &kept.command).iter().zip(&never) {
                let theirs = claiming(&client, &claims, tool, of_it).await?;
                assert!(
                    is_of_none(tool, &theirs),
                    "{tool} as {stranger}, {era:?}: {theirs}"
                );
                let theirs = theirs
                    .replace(&kept.id, NEVER)
                    .replace(&kept.command, NEVER_COMMAND);
                let nobodys = told_of_call(&client, tool, of_none).await?;
                assert_eq!(theirs, nobodys, "{tool} as {stranger}, {era:?}");
            }
        }
        // What it opens is its own.
        let client = field.client(Era::Modern, &stranger).await?;
        claiming(&client, &claims, "sandbox.initialize", &json!({})).await?;
        let own = client.structured("sandbox.session.list", json!({})).await?;
        assert_eq!(fields_of(&own["sessions"], "id").len(), 1, "{stranger}: {own}");
        let alices = kept.owner.structured("sandbox.session.list", json!({})).await?;
        assert_eq!(
            fields_of(&alices["sessions"], "id"),
            [kept.id.as_str()],
            "{alices}"
        );
    }
    kept.is_untouched().await?;
    field.stop().await
}

#[tokio::test]
async fn a_claim_among_the_arguments_is_refused_by_name_and_nothing_is_done() -> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let mut claims = claims(&kept, &field.cluster.executors[0].id()?);
    claims["_meta"] = claims.clone();
    let stranger = field.client(Era::Modern, &json!({"tenant": "globex"})).await?;
    for client in [&stranger, &kept.owner] {
        let mut asked = asks(&kept.id, &kept.command);
        asked.push(("sandbox.initialize", json!({})));
        asked.push(("sandbox.session.list", json!({})));
        for (tool, arguments) in &asked {
            for (name, value) in claims.as_object().into_iter().flatten() {
                let mut claim = json!({});
                claim[name] = value.clone();
                let refused = client.refusal(tool, with(arguments.clone(), claim)).await?;
                let says = format!("{name} is not an argument of this tool; allowed: adminToken");
                assert!(refused.starts_with(&says), "{tool}: {refused}");
            }
        }
    }
    let opened = stranger.structured("sandbox.session.list", json!({})).await?;
    assert_eq!(opened["sessions"], json!([]), "{opened}");
    kept.is_untouched().await?;
    field.stop().await
}
