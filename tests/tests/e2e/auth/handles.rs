//! Whatever is handed out to one is to anybody else as what never was: a guess, a leak or a log is worth nothing.

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::client::{Era, McpClient, with};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::Scene;

/// Longer than it takes to cancel, and to ask a few questions.
const A_WHILE: &str = "await new Promise(done => setTimeout(done, 1500)); return 'all of it'";

/// Everybody who is not alice at acme with the client `tests`.
fn strangers() -> [Value; 3] {
    [
        json!({"tenant": "globex"}),
        json!({"sub": "mallory"}),
        json!({"client_id": "other"}),
    ]
}

/// What it is, and its request about a session of that id.
type Attempt<'a> = (&'a str, &'a dyn Fn(&str) -> RequestBuilder);

#[tokio::test]
async fn a_session_is_neither_read_nor_resumed_nor_ended_nor_written_to_by_a_stranger() -> Result<()> {
    let scene = Scene::start().await?;
    let alice = scene.client(Era::Legacy, json!({})).await?;
    let session = alice.session().context("a session")?.to_owned();
    let mut stream = alice.notifications().await?;
    for stranger in strangers() {
        let token = scene.issuer.token(&stranger)?;
        let request = |method: Method, session: &str| {
            reqwest::Client::new()
                .request(method, format!("{}/mcp", scene.server.base_url))
                .bearer_auth(&token)
                .header("accept", "application/json, text/event-stream")
                .header("mcp-protocol-version", Era::Legacy.version())
                .header("mcp-session-id", session)
        };
        let list = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/list"});
        let cancelled =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        let answered = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
        let tries: [Attempt; 8] = [
            ("GET", &|id| request(Method::GET, id)),
            ("GET to resume", &|id| {
                request(Method::GET, id).header("last-event-id", "0")
            }),
            ("GET to resume a request", &|id| {
                request(Method::GET, id).header("last-event-id", "0/1")
            }),
            ("DELETE", &|id| request(Method::DELETE, id)),
            ("POST", &|id| request(Method::POST, id).json(&list)),
            ("POST of a notification", &|id| {
                request(Method::POST, id).json(&cancelled)
            }),
            ("POST of an answer", &|id| {
                request(Method::POST, id).json(&answered)
            }),
            ("two sessions", &|id| {
                request(Method::POST, id)
                    .header("mcp-session-id", &session)
                    .json(&list)
            }),
        ];
        for (what, attempt) in tries {
            let theirs = attempt(&session).send().await?;
            let never = attempt("00000000-0000-4000-8000-000000000000").send().await?;
            assert_eq!(theirs.status(), 404, "{what} as {stranger}");
            assert_eq!(never.status(), 404, "{what} as {stranger}");
            assert_eq!(theirs.text().await?, never.text().await?, "{what} as {stranger}");
        }
    }
    // It goes on, and its stream has missed nothing.
    alice.create_tool("after.all", "return 1", json!({})).await?;
    stream
        .find(|message| message["method"] == "notifications/tools/list_changed")
        .await?;
    scene.neighbour_is_served().await
}

#[tokio::test]
async fn a_call_is_cancelled_by_nobody_but_its_sender() -> Result<()> {
    let scene = Scene::start().await?;
    for era in Era::ALL {
        let alice = scene.client(era, json!({})).await?;
        let call = alice.request(
            "tools/call",
            json!({"name": "run_js_ephemeral", "arguments": {"code": A_WHILE}}),
        );
        let id = call["id"].as_u64().context("an id")?;
        let meddle = async {
            for stranger in strangers() {
                let stranger = scene.client(era, stranger).await?;
                let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                    "params": {"requestId": id, "reason": "mine"}});
                stranger.send(&cancel).await?;
            }
            anyhow::Ok(())
        };
        let called = async { dynamic_mcp_tests::client::answer(alice.send(&call).await?, id).await };
        let (ended, meddled) = tokio::join!(called, meddle);
        meddled?;
        let ended = ended?;
        assert_eq!(
            ended["result"]["structuredContent"]["result"], "all of it",
            "{era:?}: {ended}"
        );
    }
    scene.neighbour_is_served().await
}

#[tokio::test]
async fn a_subscription_is_ended_by_nobody_but_its_subscriber() -> Result<()> {
    let scene = Scene::start().await?;
    let alice = scene.client(Era::Modern, json!({})).await?;
    let mut stream = alice.listen().await?;
    let acknowledged = stream.next().await?.context("an acknowledgement")?;
    let subscription = &acknowledged["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert!(!subscription.is_null(), "{acknowledged}");
    for stranger in strangers() {
        let stranger = scene.client(Era::Modern, stranger).await?;
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": subscription}});
        stranger.send(&cancel).await?;
        // One of the same name is another one.
        let mut own = stranger.listen().await?;
        own.next().await?.context("an acknowledgement")?;
    }
    alice.create_tool("still.told", "return 1", json!({})).await?;
    stream
        .find(|message| message["method"] == "notifications/tools/list_changed")
        .await?;
    scene.neighbour_is_served().await
}

#[tokio::test]
async fn a_cursor_says_nothing_in_the_hands_of_another_tenant() -> Result<()> {
    let scene = Scene::start().await?;
    let acme = scene.client(Era::Modern, json!({})).await?;
    for number in 0..90 {
        acme.create_tool(
            &format!("secret.{number:03}"),
            "return 1",
            json!({"runtime": "isolate"}),
        )
        .await?;
    }
    let page = acme.ask("tools/list", json!({})).await?;
    let cursor = page["nextCursor"].as_str().context("a second page")?;
    let globex = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    globex.create_tool("own.tool", "return 1", json!({})).await?;
    globex.create_tool("zoo.tool", "return 1", json!({})).await?;
    let page = async |cursor: &str| globex.ask_raw("tools/list", json!({"cursor": cursor})).await;
    let with_theirs = page(cursor).await?["result"].clone();
    // The same place in the order, by a name that nobody ever had.
    let never: String = "1rsecret.~".bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(with_theirs, page(&never).await?["result"]);
    let names: Vec<_> = with_theirs["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["zoo.tool"]);
    for made_up in [
        "",
        "0",
        "../acme",
        &cursor[..cursor.len() - 1],
        &cursor.replace("31", "32"),
    ] {
        assert_eq!(page(made_up).await?["error"]["code"], -32_602, "{made_up}");
    }
    scene.neighbour_is_served().await
}

/// What a call of a built-in tool is answered, with the name of the tool it is about taken out.
async fn about(client: &McpClient, tool: &str, name: &str, further: &Value) -> Result<String> {
    let arguments = with(json!({"name": name}), further.clone());
    let answer = client.call(tool, arguments).await?;
    Ok(answer.to_string().replace(name, "NAME"))
}

#[tokio::test]
async fn revisions_hashes_and_pins_of_another_tenant_are_of_tools_that_never_were() -> Result<()> {
    let scene = Scene::start().await?;
    let acme = scene.client(Era::Modern, json!({})).await?;
    let made = acme.create_tool("secret.one", "return 'acme'", json!({})).await?;
    let patch = json!({"name": "secret.one", "patch": {"code": "return 'acme again'"}});
    acme.structured("dynamic.tool.update", patch).await?;
    let hash = made["tool"]["contentHash"].as_str().context("a hash")?;
    let globex = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    for (tool, further) in [
        ("dynamic.tool.history", json!({})),
        ("dynamic.tool.history", json!({"before": 2, "limit": 1})),
        ("dynamic.tool.diff", json!({"from": 1, "to": 2})),
        ("dynamic.tool.rollback", json!({"to": 1})),
        ("dynamic.tool.rollback", json!({"to": 1, "expectedRevision": 2})),
        (
            "dynamic.tool.update",
            json!({"patch": {"title": "t"}, "expectedRevision": 2}),
        ),
        ("dynamic.tool.delete", json!({"expectedRevision": 2})),
        ("dynamic.tool.call", json!({"revision": 1})),
        ("dynamic.tool.call", json!({"contentHash": hash})),
    ] {
        assert_eq!(
            about(&globex, tool, "secret.one", &further).await?,
            about(&globex, tool, "never.was", &further).await?,
            "{tool} {further}"
        );
    }
    // A tool of its own by that name begins anew, and what was pinned of the other is only a wrong pin.
    globex
        .create_tool("secret.one", "return 'globex'", json!({}))
        .await?;
    let history = globex
        .structured("dynamic.tool.history", json!({"name": "secret.one"}))
        .await?;
    assert_eq!(
        history["revisions"].as_array().map(Vec::len),
        Some(1),
        "{history}"
    );
    let made_up = "f".repeat(64);
    let refused = |pin: &str| {
        globex.refusal(
            "dynamic.tool.call",
            json!({"name": "secret.one", "contentHash": pin}),
        )
    };
    let (theirs, never) = (refused(hash).await?, refused(&made_up).await?);
    assert_eq!(theirs.replace(hash, "PIN"), never.replace(&made_up, "PIN"));
    let pinned = globex
        .refusal("dynamic.tool.call", json!({"name": "secret.one", "revision": 2}))
        .await?;
    assert!(pinned.contains("revision 1, not the pinned 2"), "{pinned}");
    let answer = acme.structured("secret.one", json!({})).await?;
    assert_eq!(answer["result"], "acme again");
    scene.neighbour_is_served().await
}

#[tokio::test]
async fn an_address_of_a_resource_or_a_completion_shows_ones_own_and_leads_nowhere_else() -> Result<()> {
    let scene = Scene::start().await?;
    let acme = scene.client(Era::Modern, json!({})).await?;
    acme.create_tool("secret.tool", "return 1", json!({})).await?;
    acme.structured("secret.tool", json!({})).await?;
    let globex = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    let fresh = scene.client(Era::Modern, json!({"tenant": "fresh"})).await?;
    let guard = json!({"uri": "dynamic://metrics/guard"});
    let read = async |client: &McpClient| client.ask("resources/read", guard.clone()).await;
    assert_eq!(read(&globex).await?, read(&fresh).await?);
    assert_ne!(read(&acme).await?, read(&fresh).await?);
    for uri in [
        "dynamic://metrics/guard/acme",
        "dynamic://metrics/guard?tenant=acme",
        "dynamic://metrics/guard#acme",
        "dynamic://acme@metrics/guard",
        "dynamic://metrics/../metrics/guard",
        "dynamic://metrics//guard",
        "DYNAMIC://metrics/guard",
        "dynamic://metrics/guard%00",
        "dynamic://tools/secret.tool",
        "dynamic://service/Runtime-config",
        "file:///etc/passwd",
        "http://169.254.169.254/",
        "",
    ] {
        let answer = globex.ask_raw("resources/read", json!({"uri": uri})).await?;
        assert_eq!(
            (&answer["error"]["code"], &answer["error"]["data"]["uri"]),
            (&json!(-32_602), &json!(uri)),
            "{answer}"
        );
    }
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": "tool-call-checklist"},
        "argument": {"name": "toolName", "value": "secret"},
    });
    let completed = globex.ask("completion/complete", complete.clone()).await?;
    assert_eq!(completed["completion"]["values"], json!([]), "{completed}");
    let completed = acme.ask("completion/complete", complete).await?;
    assert_eq!(completed["completion"]["values"], json!(["secret.tool"]));
    scene.neighbour_is_served().await
}
