//! A session is nobody else's, at whichever replica it is asked for.

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::cluster::Cluster;
use dynamic_mcp_tests::issuer::Issuer;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{echoes, everywhere, is_list_changed, plan};

const NEVER: &str = "00000000-0000-4000-8000-000000000000";

/// Everybody who is not alice at acme with the client `tests`.
fn strangers() -> [Value; 3] {
    [
        json!({"tenant": "globex"}),
        json!({"sub": "mallory"}),
        json!({"client_id": "other"}),
    ]
}

/// Ids that an event could have: of the stream, of a request's, of a replica that does not exist, and of no stream at all.
const EVENTS: [&str; 6] = [
    "0",
    "1-1",
    "99999999999999-9",
    "rep_00000000000000000000000000000000/0/0",
    "0/0",
    "../../etc/passwd",
];

fn request(base_url: &str, token: &str, method: &Method, session: &str) -> RequestBuilder {
    reqwest::Client::new()
        .request(method.clone(), format!("{base_url}/mcp"))
        .bearer_auth(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", Era::Legacy.version())
        .header("mcp-session-id", session)
}

async fn cluster_of(issuer: &Issuer) -> Result<Cluster> {
    let plan = issuer
        .settings()
        .iter()
        .fold(plan(), |plan, (name, value)| plan.replica(name, value));
    Cluster::start(plan).await
}

#[tokio::test]
async fn to_a_stranger_a_session_is_as_one_that_never_was_at_every_replica() -> Result<()> {
    let issuer = Issuer::start().await?;
    let cluster = cluster_of(&issuer).await?;
    let token = issuer.token(&json!({}))?;
    let alice = McpClient::connect_as(&cluster.replicas[0].base_url(), Era::Legacy, Some(&token)).await?;
    let session = alice.session().context("a session")?;
    let copies = everywhere(&cluster, &alice);
    let mut stream = copies[1].notifications().await?;
    let list = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"});
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let answer = json!({"jsonrpc": "2.0", "id": "rep_0.0", "result": {}});
    for stranger in strangers() {
        let token = issuer.token(&stranger)?;
        for replica in &cluster.replicas {
            let at = replica.base_url();
            let ask = |method: &Method, body: Option<&Value>, event: Option<&str>, id: &str| {
                let mut asked = request(&at, &token, method, id);
                if let Some(body) = body {
                    asked = asked.json(body);
                }
                if let Some(event) = event {
                    asked = asked.header("last-event-id", event);
                }
                asked.send()
            };
            let mut tries = vec![
                (Method::GET, None, None),
                (Method::DELETE, None, None),
                (Method::POST, Some(&list), None),
                (Method::POST, Some(&cancel), None),
                (Method::POST, Some(&answer), None),
            ];
            tries.extend(EVENTS.map(|event| (Method::GET, None, Some(event))));
            for (method, body, event) in tries {
                let theirs = ask(&method, body, event, session).await?;
                let never = ask(&method, body, event, NEVER).await?;
                assert_eq!(
                    (theirs.status().as_u16(), never.status().as_u16()),
                    (404, 404),
                    "{method} {event:?} as {stranger}"
                );
                assert_eq!(
                    theirs.text().await?,
                    never.text().await?,
                    "{method} as {stranger}"
                );
            }
        }
    }
    // It goes on, and its stream has missed nothing.
    for copy in &copies {
        echoes(copy).await?;
    }
    copies[2]
        .create_tool("after.all", "return 1", json!({"runtime": "isolate"}))
        .await?;
    stream.find(is_list_changed).await?;
    cluster.stop().await
}

#[tokio::test]
async fn made_up_names_lead_nowhere_and_cost_nothing() -> Result<()> {
    let issuer = Issuer::start().await?;
    let cluster = cluster_of(&issuer).await?;
    let token = issuer.token(&json!({}))?;
    let alice = McpClient::connect_as(cluster.base_url(), Era::Legacy, Some(&token)).await?;
    for copy in everywhere(&cluster, &alice) {
        echoes(&copy).await?;
    }
    let before = cluster.redis.keys().await?.len();
    for number in 0..100 {
        // Answers to replicas that do not exist.
        let made_up = format!("rep_{number:032x}.0");
        let answer = json!({"jsonrpc": "2.0", "id": made_up, "result": {}});
        assert_eq!(alice.send(&answer).await?.status(), 202);
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": made_up, "progress": 1}});
        assert_eq!(alice.send(&progress).await?.status(), 202);
        // Sessions that do not exist.
        for id in [
            format!("00000000-0000-4000-8000-{number:012x}"),
            format!("{number}*"),
        ] {
            let asked = request(cluster.base_url(), &token, &Method::GET, &id);
            assert_eq!(asked.send().await?.status(), 404, "{id}");
        }
    }
    // Of a stream that nobody has: it has nothing to say, and ends.
    for event in &EVENTS[3..] {
        let mut stream = alice.read_on(Some(event)).await?;
        assert!(stream.next().await?.is_none(), "{event}");
    }
    let after = cluster.redis.keys().await?;
    assert!(after.len() <= before, "{before} keys became {after:?}");
    echoes(&alice).await?;
    cluster.stop().await
}
