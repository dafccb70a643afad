//! Handles that are guessed, mangled, or made to mean something to whatever they are passed on to. In the hands of the owner,
//! who has the most to find.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use serde_json::{Value, json};

use super::{Field, Kept, NEVER, NEVER_COMMAND, asks, is_of_none, told, told_of_call};

/// What is not that handle, though it looks like it, holds it, or would be read as it by somebody careless.
fn mangled(prefix: &str, handle: &str) -> Vec<String> {
    let bare = handle.strip_prefix(prefix).unwrap_or(handle);
    let mut all: Vec<String> = [
        "", " ", ".", "..", "../..", "/", "*", "?", "{}", "\0", "\n", "null", "0", "%00",
    ]
    .map(str::to_owned)
    .into();
    all.extend(
        [
            "../../etc/passwd",
            "'; return 1 --",
            "\r\n*1\r\n$8\r\nFLUSHALL\r\n",
            "$(id)",
            "${jndi:x}",
        ]
        .map(str::to_owned),
    );
    all.extend(
        ["", "*", "?", "[0-9a-f]*", "{acme}", "../x", "\0", "\n", "é"].map(|rest| format!("{prefix}{rest}")),
    );
    all.extend([
        bare.to_owned(),
        handle.to_uppercase(),
        format!("{prefix}{}", bare.to_uppercase()),
        format!("{}{bare}", prefix.to_uppercase()),
        handle[..handle.len() - 1].to_owned(),
        format!("{}*", &handle[..handle.len() - 1]),
        format!("{handle}0"),
        format!("{handle}{handle}"),
        format!("{handle},{handle}"),
        format!("{{{handle}}}"),
        format!("\"{handle}\""),
        format!("../{handle}"),
        format!("{handle}/../{handle}"),
        format!("{handle}/."),
        format!("{handle}:state"),
        format!("\u{feff}{handle}"),
        format!("{handle}\u{200b}"),
        // A full-width form of its first letter.
        format!("\u{ff4d}{}", &handle[1..]),
    ]);
    for around in [" ", "\t", "\n", "\r\n", "\0", "*", "%20", "%00"] {
        all.extend([format!("{around}{handle}"), format!("{handle}{around}")]);
    }
    all.extend([format!("{prefix}{}", "a".repeat(65)), "a".repeat(100_000)]);
    all
}

async fn answers(client: &McpClient, asked: &[(&str, Value)]) -> Result<Vec<String>> {
    let mut answers = Vec::new();
    for (tool, arguments) in asked {
        answers.push(told_of_call(client, tool, arguments).await?);
    }
    Ok(answers)
}

fn shown(handle: &str) -> String {
    handle.chars().take(80).collect()
}

#[tokio::test]
async fn what_is_not_exactly_the_handle_of_a_session_is_that_of_none() -> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let of_none = asks(NEVER, &kept.command);
    let never = answers(&kept.owner, &of_none).await?;
    for ((tool, _), told) in of_none.iter().zip(&never) {
        assert!(is_of_none(tool, told), "{tool}: {told}");
    }
    for handle in mangled("mcp-sbx-", &kept.id) {
        let asked = asks(&handle, &kept.command);
        assert_eq!(answers(&kept.owner, &asked).await?, never, "{:?}", shown(&handle));
    }
    for handle in [
        json!(null),
        json!(0),
        json!(true),
        json!([kept.id]),
        json!({"$ne": null}),
    ] {
        for (tool, mut arguments) in asks(&kept.id, &kept.command) {
            arguments["sessionId"] = handle.clone();
            let refused = kept.owner.refusal(tool, arguments).await?;
            let says = refused.starts_with("sessionId must be a string, got ");
            assert!(says, "{tool} with {handle}: {refused}");
        }
    }
    kept.is_untouched().await?;
    field.stop().await
}

#[tokio::test]
async fn what_is_not_exactly_the_handle_of_a_command_of_that_session_is_that_of_none() -> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let of_same_owner = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let of_other = Kept::begin(field.client(Era::Modern, &json!({"tenant": "globex"})).await?).await?;
    let others = [&of_same_owner, &of_other].map(|other| other.command.clone());
    let about = |command: &str| json!({"sessionId": kept.id, "commandId": command});
    for tool in ["sandbox.command.get", "sandbox.command.kill"] {
        let never = told_of_call(&kept.owner, tool, &about(NEVER_COMMAND)).await?;
        let says = "the sandbox session has no command with this commandId";
        assert!(never.contains(says), "{tool}: {never}");
        for command in mangled("cmd_", &kept.command).iter().chain(&others) {
            let told = told_of_call(&kept.owner, tool, &about(command)).await?;
            assert_eq!(told, never, "{tool} with {:?}", shown(command));
        }
    }
    for each in [&kept, &of_same_owner, &of_other] {
        each.is_untouched().await?;
    }
    field.stop().await
}

#[tokio::test]
async fn an_address_that_is_not_exactly_that_of_a_file_under_out_leads_nowhere() -> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let id = &kept.id;
    let upper = id.to_uppercase();
    for uri in [
        kept.address("kept"),
        kept.address("out"),
        kept.address("out/"),
        kept.address("out/../kept"),
        kept.address("out/%2e%2e/kept"),
        kept.address("out/..%2Fkept"),
        kept.address("out//workspace/kept"),
        kept.address("out/%2Fetc%2Fpasswd"),
        kept.address("out/kept.txt%00"),
        kept.address("out/kept.txt?x=1"),
        kept.address("out/kept.txt#x"),
        kept.address("OUT/kept.txt"),
        kept.address("../out/kept.txt"),
        format!("sandbox://{upper}/out/kept.txt"),
        format!("sandbox://{id}%00/out/kept.txt"),
        format!("sandbox://{id}:80/out/kept.txt"),
        format!("sandbox://alice@{id}/out/kept.txt"),
        format!("sandbox://{id}/../{id}/out/kept.txt"),
        format!("sandbox:///{id}/out/kept.txt"),
        format!("sandbox://{{{id}}}/out/kept.txt"),
        format!("SANDBOX://{id}/out/kept.txt"),
        "sandbox://*/out/kept.txt".to_owned(),
        "sandbox:///out/kept.txt".to_owned(),
        "sandbox://".to_owned(),
    ] {
        let answer = told(&kept.owner, "resources/read", json!({"uri": uri})).await?;
        let says = "there is no resource with this URI";
        assert!(answer.contains(says), "{uri}: {answer}");
    }
    kept.is_untouched().await?;
    field.stop().await
}
