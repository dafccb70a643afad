//! A session is its owner's for as long as the owner has a token for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::issuer::now;
use dynamic_mcp_tests::running::Running;
use reqwest::Response;
use serde_json::{Value, json};

use super::{Field, Kept, asks};
use crate::auth::challenge;

const BOUND: Duration = Duration::from_secs(60);
const LEEWAY: (&str, &str) = ("MCP_AUTH_LEEWAY_SECONDS", "0");
const REFRESH: (&str, &str) = ("MCP_AUTH_JWKS_REFRESH_SECONDS", "5");
/// Known among all processes by its last word, which who looks for it does not write so.
const GOES_ON: &str = "echo begun; exec sleep 98765";
const LOOK: &str = "grep -al '9876[5]' /proc/[0-9]*/cmdline | wc -l";

/// Of everything that can be asked about the session, and of its file.
async fn answers(client: &McpClient, kept: &Kept) -> Result<Vec<(String, Response)>> {
    let mut answers = Vec::new();
    for (tool, arguments) in asks(&kept.id, &kept.command) {
        let params = json!({"name": tool, "arguments": arguments});
        let message = client.request("tools/call", params);
        answers.push((tool.to_owned(), client.send(&message).await?));
    }
    let uri = kept.address("out/kept.txt");
    let message = client.request("resources/read", json!({"uri": uri}));
    answers.push((uri, client.send(&message).await?));
    Ok(answers)
}

async fn status(client: &McpClient) -> Result<u16> {
    let message = client.request("tools/list", json!({}));
    Ok(client.send(&message).await?.status().as_u16())
}

async fn until_status(client: &McpClient, expected: u16) {
    eventually(BOUND, async || {
        let status = status(client).await?;
        ensure!(status == expected, "{status}, not {expected}");
        Ok(())
    })
    .await;
}

/// At each replica.
async fn are_turned_away(field: &Field, kept: &Kept) -> Result<()> {
    for replica in &field.cluster.replicas {
        let client = kept.owner.by(&replica.base_url());
        for (what, answer) in answers(&client, kept).await? {
            assert_eq!(answer.status(), 401, "{what}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_session_is_of_no_use_to_its_owner_without_the_scope_for_it() -> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let others = json!({"scope": "mcp:call mcp:write mcp:admin"});
    for era in Era::ALL {
        let lacking = field.client(era, &others).await?;
        let mut answers = answers(&lacking, &kept).await?;
        for tool in ["sandbox.initialize", "sandbox.session.list"] {
            let message = lacking.request("tools/call", json!({"name": tool, "arguments": {}}));
            answers.push((tool.to_owned(), lacking.send(&message).await?));
        }
        for (what, answer) in answers {
            assert_eq!(answer.status(), 403, "{what}, {era:?}");
            let expected = "Bearer error=\"insufficient_scope\", error_description=\"the access token lacks the scope \
                            mcp:sandbox\", scope=\"mcp:sandbox\", resource_metadata=";
            let challenge = challenge(&answer);
            assert!(challenge.starts_with(expected), "{what}, {era:?}: {challenge}");
        }
        let resources = lacking.ask("resources/list", json!({})).await?;
        assert!(!resources.to_string().contains(&kept.id), "{era:?}: {resources}");
    }
    kept.is_untouched().await?;
    field.stop().await
}

#[tokio::test]
async fn a_revoked_token_is_worth_nothing_to_the_session_that_it_began_and_the_owners_next_one_is()
-> Result<()> {
    let field = Field::start_with(&[REFRESH]).await?;
    let mut kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    field.issuer.rotate("second")?;
    for client in field.clients(Era::Modern, &json!({})).await? {
        until_status(&client, 200).await;
    }
    are_turned_away(&field, &kept).await?;
    kept.owner = field.client(Era::Modern, &json!({})).await?;
    kept.is_untouched().await?;
    field.stop().await
}

#[tokio::test]
async fn with_an_expired_token_its_command_ends_and_the_session_waits_for_the_owners_next_one() -> Result<()>
{
    let field = Field::start_with(&[LEEWAY]).await?;
    let next = field.client(Era::Modern, &json!({})).await?;
    // As long as it may take to open a session and to begin two commands.
    let short = json!({"exp": now() + 20});
    let mut kept = Kept::begin(field.client(Era::Modern, &short).await?).await?;
    let goes_on = json!({"sessionId": kept.id, "commands": [GOES_ON], "timeoutMs": 120_000});
    let _command = Running::start(&kept.owner, "sandbox.exec", goes_on).await?;
    let running = async || {
        let look = json!({"sessionId": kept.id, "commands": [LOOK]});
        let seen = next.structured("sandbox.exec", look).await?;
        count(&seen)
    };
    eventually(BOUND, async || {
        ensure!(running().await? > 0, "it has not begun");
        Ok(())
    })
    .await;

    until_status(&kept.owner, 401).await;
    are_turned_away(&field, &kept).await?;
    eventually(BOUND, async || {
        let running = running().await?;
        ensure!(running == 0, "{running} of its processes run");
        Ok(())
    })
    .await;
    kept.owner = next;
    kept.has_its_files().await?;
    field.stop().await
}

fn count(seen: &Value) -> Result<u32> {
    let printed = seen["commands"][0]["stdout"].as_str().context("a count")?;
    Ok(printed.trim().parse()?)
}
