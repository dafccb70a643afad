//! What another tenant, and another subject of the same one, is answered about a session: what it would be about none.

use anyhow::Result;
use dynamic_mcp_tests::client::{Era, McpClient};
use serde_json::{Value, json};

use super::{
    Field, Kept, NEVER, NEVER_COMMAND, SECRET, asks, fields_of, is_of_none, said, strangers, told,
    told_of_call,
};

/// That the session and its command are to every tool as those that never were.
async fn have_none(clients: &[McpClient], kept: &Kept, who: &Value) -> Result<()> {
    let never = asks(NEVER, NEVER_COMMAND);
    for client in clients {
        for ((tool, of_it), (_, of_none)) in asks(&kept.id, &kept.command).iter().zip(&never) {
            let theirs = told_of_call(client, tool, of_it).await?;
            assert!(is_of_none(tool, &theirs), "{tool} as {who}: {theirs}");
            let theirs = theirs
                .replace(&kept.id, NEVER)
                .replace(&kept.command, NEVER_COMMAND);
            let never = told_of_call(client, tool, of_none).await?;
            assert_eq!(theirs, never, "{tool} as {who}, {}", client.describe());
        }
    }
    Ok(())
}

#[tokio::test]
async fn to_every_tool_and_replica_a_strangers_session_is_one_that_never_was_also_when_it_has_ended()
-> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    for stranger in strangers() {
        for era in Era::ALL {
            have_none(&field.clients(era, &stranger).await?, &kept, &stranger).await?;
        }
        kept.is_untouched().await?;
    }

    let which = json!({"sessionId": kept.id});
    let stopped = kept.owner.structured("sandbox.stop", which.clone()).await?;
    assert_eq!(stopped["stopped"], true, "{stopped}");
    for stranger in strangers() {
        have_none(&field.clients(Era::Modern, &stranger).await?, &kept, &stranger).await?;
    }
    // Who had it is told what became of it.
    let lost = said(&kept.owner, "sandbox.fs.list", which).await?;
    assert_eq!(lost["reason"], "session_lost", "{lost}");
    field.stop().await
}

#[tokio::test]
async fn no_list_and_no_address_shows_a_session_or_its_files_to_anybody_but_its_owner() -> Result<()> {
    let field = Field::start().await?;
    let kept = Kept::begin(field.client(Era::Modern, &json!({})).await?).await?;
    let file = kept.address("out/kept.txt");
    // Whatever client its owner comes with.
    let elsewhere = field.client(Era::Legacy, &json!({"client_id": "other"})).await?;
    for own in [&kept.owner, &elsewhere] {
        let listed = own.structured("sandbox.session.list", json!({})).await?;
        assert_eq!(
            fields_of(&listed["sessions"], "id"),
            [kept.id.as_str()],
            "{listed}"
        );
        let resources = own.ask("resources/list", json!({})).await?;
        assert!(resources.to_string().contains(&file), "{resources}");
        let read = own.ask("resources/read", json!({"uri": file})).await?;
        assert_eq!(read["contents"][0]["text"], SECRET, "{read}");
    }

    for era in Era::ALL {
        // Has nothing, and is of a tenant that has nothing.
        let nobody = field
            .client(era, &json!({"tenant": "nobody", "sub": "nobody"}))
            .await?;
        let no_sessions = told_of_call(&nobody, "sandbox.session.list", &json!({})).await?;
        let no_files = told(&nobody, "resources/list", json!({})).await?;
        for stranger in strangers() {
            for client in field.clients(era, &stranger).await? {
                let sessions = told_of_call(&client, "sandbox.session.list", &json!({})).await?;
                assert_eq!(sessions, no_sessions, "{stranger}, {era:?}");
                let files = told(&client, "resources/list", json!({})).await?;
                assert_eq!(files, no_files, "{stranger}, {era:?}");
                for path in ["out/kept.txt", "out/no.txt", "kept"] {
                    let uri = kept.address(path);
                    let theirs = told(&client, "resources/read", json!({"uri": uri})).await?;
                    let uri = uri.replace(&kept.id, NEVER);
                    let never = told(&client, "resources/read", json!({"uri": uri})).await?;
                    assert_eq!(
                        theirs.replace(&kept.id, NEVER),
                        never,
                        "{stranger}, {era:?}: {path}"
                    );
                }
            }
        }
    }
    kept.is_untouched().await?;
    field.stop().await
}
