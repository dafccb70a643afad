//! Requests that a server and whatever stands in front of it could read differently, byte by byte. Each is one thing here, or
//! nothing.

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::raw::{Answer, exchange, post};
use serde_json::{Value, json};

use super::Scene;

const ERA: &str = "mcp-protocol-version: 2026-07-28";
const CALL: &str = "mcp-method: tools/call";
const WHO: &str = "mcp-name: dynamic.tool.list";

/// A call that shows whose tools one sees: those of `acme` are `of.acme`, and likewise.
fn question() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "dynamic.tool.list", "arguments": {},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": Era::Modern.version(),
            "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }})
    .to_string()
}

struct Field {
    scene: Scene,
    /// Header lines with the tokens of either.
    acme: String,
    globex: String,
}

impl Field {
    async fn start() -> Result<Self> {
        let scene = Scene::start().await?;
        for tenant in ["acme", "globex"] {
            let client = scene.client(Era::Modern, json!({"tenant": tenant})).await?;
            client
                .create_tool(&format!("of.{tenant}"), "return 1", json!({}))
                .await?;
        }
        let bearer = |tenant: &str| -> Result<String> {
            Ok(format!(
                "Bearer {}",
                scene.issuer.token(&json!({"tenant": tenant}))?
            ))
        };
        let (acme, globex) = (bearer("acme")?, bearer("globex")?);
        Ok(Self { scene, acme, globex })
    }

    async fn send(&self, bytes: impl AsRef<[u8]>) -> Result<Vec<Answer>> {
        exchange(&self.scene.server.base_url, bytes).await
    }

    /// The question with these header lines besides those that it needs.
    async fn ask(&self, headers: &[&str]) -> Result<Answer> {
        let headers = [&[ERA, CALL, WHO], headers].concat();
        let mut answers = self.send(post("/mcp", &headers, &question())).await?;
        ensure!(answers.len() == 1, "{answers:?}");
        Ok(answers.remove(0))
    }
}

fn seen(answer: &Answer) -> Result<Value> {
    Ok(answer.json()?["result"]["structuredContent"]["tools"][0]["name"].clone())
}

#[tokio::test]
async fn who_sends_is_said_by_one_header_and_by_nothing_beside_it() -> Result<()> {
    let field = Field::start().await?;
    let (acme, globex) = (&field.acme, &field.globex);
    let good = format!("authorization: {acme}");
    let theirs = format!("authorization: {globex}");
    for (what, headers, status) in [
        ("two tokens", vec![good.clone(), theirs.clone()], 400),
        ("the other way round", vec![theirs.clone(), good.clone()], 400),
        (
            "one of them in capitals",
            vec![good.clone(), theirs.replace("auth", "AUTH")],
            400,
        ),
        (
            "a second empty one",
            vec![good.clone(), "authorization:".to_owned()],
            400,
        ),
        ("joined by a comma", vec![format!("{good}, {globex}")], 400),
        (
            "another scheme in front",
            vec![format!("authorization: Basic dTpw, {acme}")],
            401,
        ),
        (
            "another scheme besides",
            vec!["authorization: Basic dTpw".to_owned(), good.clone()],
            400,
        ),
        ("folded", vec![good.replacen("Bearer ", "Bearer\r\n ", 1)], 400),
        (
            "folded by a tab",
            vec![good.replacen("Bearer ", "Bearer\r\n\t", 1)],
            400,
        ),
        ("a space before the colon", vec![good.replacen(':', " :", 1)], 400),
        ("a space before the name", vec![format!(" {good}")], 400),
        (
            "a carriage return within",
            vec![good.replacen("Bearer ", "Bearer \r", 1)],
            400,
        ),
        (
            "a NUL within",
            vec![good.replacen("Bearer ", "Bearer \0", 1)],
            400,
        ),
        ("nothing", vec![], 401),
    ] {
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let answer = field.ask(&headers).await?;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(!answer.body.contains("of."), "{what}: {answer:?}");
    }
    for beside in [
        format!("x-forwarded-authorization: {globex}"),
        format!("proxy-authorization: {globex}"),
        format!("x-access-token: {globex}"),
        format!("cookie: access_token={globex}; authorization={globex}"),
        "x-tenant: globex\r\nx-tenant-id: globex\r\ntenant: globex".to_owned(),
        "x-forwarded-user: root\r\nx-remote-user: root\r\nx-forwarded-for: 127.0.0.1".to_owned(),
        "x-original-url: /livez\r\nx-rewrite-url: /livez".to_owned(),
        "x-http-method-override: DELETE\r\nx-method-override: DELETE".to_owned(),
        format!("mcp-session-id: {}", "x".repeat(4_000)),
    ] {
        let answer = field.ask(&[&good, &beside]).await?;
        assert_eq!(
            (answer.status, seen(&answer)?),
            (200, json!("of.acme")),
            "{beside}: {answer:?}"
        );
        let alone = field.ask(&[&beside]).await?;
        assert_eq!(alone.status, 401, "{beside}: {alone:?}");
    }
    field.scene.neighbour_is_served().await
}

#[tokio::test]
async fn where_a_request_ends_is_beyond_doubt_or_it_is_the_last_of_its_connection() -> Result<()> {
    let field = Field::start().await?;
    let body = question();
    let length = body.len();
    let hidden = post(
        "/mcp",
        &[ERA, CALL, WHO, &format!("authorization: {}", field.globex)],
        &body,
    );
    let head = |lines: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n\
             content-type: application/json\r\n{ERA}\r\n{CALL}\r\n{WHO}\r\nauthorization: {}\r\n{lines}\r\n\r\n",
            field.acme
        )
    };
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (what, bytes) in [
        (
            "both lengths",
            format!(
                "{}{chunked}{hidden}",
                head(&format!(
                    "content-length: {}\r\ntransfer-encoding: chunked",
                    chunked.len()
                ))
            ),
        ),
        (
            "both, the other way round",
            format!(
                "{}{chunked}{hidden}",
                head("transfer-encoding: chunked\r\ncontent-length: 3")
            ),
        ),
    ] {
        let answers = field.send(bytes).await?;
        assert_eq!(answers.len(), 1, "{what}: {answers:?}");
        assert_eq!(
            (answers[0].status, seen(&answers[0])?),
            (200, json!("of.acme")),
            "{what}"
        );
    }
    for (what, lines) in [
        (
            "two lengths",
            format!("content-length: {length}\r\ncontent-length: 3"),
        ),
        ("a list of lengths", format!("content-length: {length}, 3")),
        ("a signed length", format!("content-length: +{length}")),
        ("a hexadecimal length", format!("content-length: {length:#x}")),
        ("a negative length", "content-length: -1".to_owned()),
        (
            "a length beyond any",
            "content-length: 99999999999999999999999".to_owned(),
        ),
        (
            "an encoding that is none",
            "transfer-encoding: xchunked".to_owned(),
        ),
        (
            "chunks that are not the last",
            "transfer-encoding: chunked, identity".to_owned(),
        ),
        (
            "chunks of something",
            "transfer-encoding: chunked\r\ntransfer-encoding: gzip".to_owned(),
        ),
    ] {
        let answers = field.send(format!("{}{body}{hidden}", head(&lines))).await?;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [400], "{what}: {answers:?}");
    }
    for (what, chunks) in [
        ("a chunk of no size", format!("zz\r\n{body}\r\n0\r\n\r\n")),
        (
            "a chunk beyond any",
            format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a chunk that is longer than it says",
            format!("3\r\n{body}\r\n0\r\n\r\n"),
        ),
    ] {
        let answers = field
            .send(format!("{}{chunks}{hidden}", head("transfer-encoding: chunked")))
            .await?;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [400], "{what}: {answers:?}");
    }
    // Two requests that follow each other in order are two, each its own sender's.
    let first = format!("{}{body}", head(&format!("content-length: {length}")));
    let answers = field.send(format!("{first}{hidden}")).await?;
    let seen: Vec<_> = answers.iter().map(seen).collect::<Result<_>>()?;
    assert_eq!(seen, ["of.acme", "of.globex"]);
    field.scene.neighbour_is_served().await
}

#[tokio::test]
async fn what_is_no_request_of_http_1_is_answered_or_closed_and_never_taken_for_one() -> Result<()> {
    let field = Field::start().await?;
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET /mcp\r\n\r\n",
        b"POST /mcp HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let answers = field.send(bytes).await?;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert!(matches!(statuses[..], [] | [400]), "{bytes:?}: {answers:?}");
    }
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let answers = field
        .send(format!("GET /livez HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"))
        .await?;
    assert_eq!(answers[0].status, 431, "{answers:?}");
    field.scene.neighbour_is_served().await
}

#[tokio::test]
async fn a_host_or_an_origin_is_what_the_connection_says_and_nothing_that_was_forwarded() -> Result<()> {
    let field = Field::start().await?;
    let good = format!("authorization: {}", field.acme);
    for (what, headers, status) in [
        ("another host besides", vec!["host: evil.example"], 403),
        ("its own host twice", vec!["host: localhost"], 200),
        ("another origin", vec!["origin: https://evil.example"], 403),
        (
            "two origins",
            vec!["origin: http://localhost", "origin: https://evil.example"],
            403,
        ),
        ("an origin that is none", vec!["origin: null"], 403),
        (
            "an origin in disguise",
            vec!["origin: http://localhost@evil.example"],
            403,
        ),
        (
            "one that was forwarded",
            vec![
                "x-forwarded-host: evil.example",
                "forwarded: host=evil.example;proto=https",
            ],
            200,
        ),
    ] {
        let headers = [&[good.as_str()], &headers[..]].concat();
        let answer = field.ask(&headers).await?;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    // What tells where to get a token can't be made to point elsewhere.
    let forwarded = field
        .ask(&[
            "x-forwarded-host: evil.example",
            "x-forwarded-proto: https",
            "forwarded: host=evil.example",
        ])
        .await?;
    assert_eq!(forwarded.status, 401);
    assert!(!format!("{forwarded:?}").contains("evil"), "{forwarded:?}");
    let target = post("http://evil.example/mcp", &[ERA, CALL, WHO, &good], &question());
    assert_eq!(field.send(target).await?[0].status, 403);
    let target = post("http://localhost/mcp", &[ERA, CALL, WHO, &good], &question());
    assert_eq!(field.send(target).await?[0].status, 200);
    field.scene.neighbour_is_served().await
}
