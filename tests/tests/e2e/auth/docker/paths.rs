//! Paths that try to leave the workspace: by their names, and by links that the session's own code made.

use anyhow::Result;
use dynamic_mcp_tests::client::Era;
use serde_json::{Value, json};

use super::{Field, fields_of, open, said, told};

/// Leads everywhere from where files are looked for.
const LINKS: &str = "mkdir -p out folder; ln -s /etc etc; ln -s / root; ln -s . self; ln -s /etc/passwd passwd; \
    ln -s /proc/self/environ environ; ln -s /proc/1/environ first; ln -s passwd twice; ln -s folder/../../etc/passwd dotted; \
    ln -s /tmp/target link; ln -s /etc/passwd out/passwd; ln -s / out/root; echo kept > kept";

/// The kinds of what was wrong, by path.
fn problems(said: &Value) -> Vec<(&str, &str)> {
    let problems = &said["problems"];
    let paths = fields_of(problems, "path");
    paths.into_iter().zip(fields_of(problems, "kind")).collect()
}

/// What stands in the files that it was tried to reach.
fn tells_of_the_system(text: &str) -> bool {
    ["root:", "PATH=", "/bin/"]
        .iter()
        .any(|piece| text.contains(piece))
}

#[tokio::test]
async fn no_path_and_no_link_leads_a_reader_or_a_writer_out_of_the_workspace() -> Result<()> {
    let field = Field::start().await?;
    let client = field.client(Era::Modern, &json!({})).await?;
    let id = open(&client).await?;
    let exec = |command: &str| json!({"sessionId": id, "commands": [command]});
    client.structured("sandbox.exec", exec(LINKS)).await?;

    let read_in_vain = [
        ("/etc/passwd", "outside"),
        ("//etc/passwd", "outside"),
        ("/proc/self/environ", "outside"),
        ("/workspaces/x", "outside"),
        ("../etc/passwd", "outside"),
        ("folder/../../etc/passwd", "outside"),
        ("/workspace/../etc/passwd", "outside"),
        ("passwd", "outside"),
        ("environ", "outside"),
        ("first", "outside"),
        ("twice", "outside"),
        ("dotted", "outside"),
        ("etc/passwd", "outside"),
        ("root/proc/self/environ", "outside"),
        ("self/kept", "outside"),
        ("out/passwd", "outside"),
        ("out/root/etc/passwd", "outside"),
        ("kept\0", "refused"),
        ("kept\0/../../etc/passwd", "refused"),
        ("%2e%2e/etc/passwd", "not_found"),
        ("..\\etc\\passwd", "not_found"),
        ("file:///etc/passwd", "not_found"),
        ("~/../etc/passwd", "outside"),
    ];
    let paths: Vec<_> = read_in_vain.iter().map(|(path, _)| path).collect();
    let read = said(
        &client,
        "sandbox.fs.read",
        json!({"sessionId": id, "paths": paths}),
    )
    .await?;
    assert_eq!(
        (&read["ok"], &read["files"]),
        (&json!(false), &json!([])),
        "{read}"
    );
    assert_eq!(problems(&read), read_in_vain, "{read}");
    assert!(!tells_of_the_system(&read.to_string()), "{read}");

    for path in [
        "/",
        "/etc",
        "/proc/self",
        "..",
        "/workspace/..",
        "etc",
        "root",
        "self/folder",
        "folder\0",
    ] {
        let arguments = json!({"sessionId": id, "path": path, "recursive": true});
        let listed = said(&client, "sandbox.fs.list", arguments).await?;
        let refused = (&listed["reason"], listed.get("entries"));
        assert_eq!(refused, (&json!("refused"), None), "{path}: {listed}");
    }

    let written_in_vain = [
        ("/tmp/x", "outside"),
        ("../tmp/x", "outside"),
        ("/workspace/../tmp/x", "outside"),
        ("root/tmp/x", "outside"),
        ("out/root/tmp/x", "outside"),
        ("self/x", "outside"),
        ("x\0", "refused"),
    ];
    let files = written_in_vain.map(|(path, _)| json!({"path": path, "content": "x"}));
    let written = said(
        &client,
        "sandbox.fs.write",
        json!({"sessionId": id, "files": files}),
    )
    .await?;
    assert_eq!(
        (&written["ok"], &written["written"]),
        (&json!(false), &json!([])),
        "{written}"
    );
    assert_eq!(problems(&written), written_in_vain, "{written}");
    // A link is replaced, and nothing comes to where it led.
    let files = json!([{"path": "link", "content": "x"}]);
    client
        .structured("sandbox.fs.write", json!({"sessionId": id, "files": files}))
        .await?;
    let look = exec("ls -A /tmp; test -e x || test -L link || cat link");
    let seen = client.structured("sandbox.exec", look).await?;
    assert_eq!(seen["commands"][0]["stdout"], "x", "{seen}");
    field.stop().await
}

#[tokio::test]
async fn no_link_makes_a_resource_of_what_is_outside_of_out() -> Result<()> {
    let field = Field::start().await?;
    let client = field.client(Era::Modern, &json!({})).await?;
    let id = open(&client).await?;
    let all_of_out = "rm -rf out; ln -s /etc out";
    for (links, paths) in [
        (LINKS, ["passwd", "root/etc/passwd", "root/workspace/kept"]),
        (all_of_out, ["passwd", "hostname", "default/../passwd"]),
    ] {
        let exec = json!({"sessionId": id, "commands": [links]});
        client.structured("sandbox.exec", exec).await?;
        let listed = client.ask("resources/list", json!({})).await?;
        assert!(!listed.to_string().contains("sandbox://"), "{links}: {listed}");
        for path in paths {
            let uri = format!("sandbox://{id}/out/{path}");
            let answer = told(&client, "resources/read", json!({"uri": uri})).await?;
            assert!(
                answer.contains("there is no resource with this URI"),
                "{path}: {answer}"
            );
            assert!(!tells_of_the_system(&answer), "{path}: {answer}");
        }
    }
    field.stop().await
}
