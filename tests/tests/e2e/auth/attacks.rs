//! What those try who have no good token, over the wire.

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::issuer::{Signer, now};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::Scene;

fn encoded(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

#[tokio::test]
async fn no_forged_token_lets_anybody_in() -> Result<()> {
    let scene = Scene::start().await?;
    let issuer = &scene.issuer;
    let claims = issuer.claims(&json!({}));
    let signer = issuer.signer();
    let forger = Signer::new("first")?;
    let by_secret = |secret: &[u8]| {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(signer.kid.clone());
        encode(&header, &claims, &EncodingKey::from_secret(secret))
    };
    let honest = issuer.token(&json!({}))?;
    let (signed, signature) = honest.rsplit_once('.').unwrap_or_default();
    let tokens = [
        (
            "alg none",
            format!("{}.{}.", encoded(&json!({"alg": "none"})), encoded(&claims)),
        ),
        (
            "HMAC with the public key",
            by_secret(signer.jwk()?.to_string().as_bytes())?,
        ),
        ("HMAC with nothing", by_secret(b"")?),
        (
            "another's key by the same name",
            Signer::new("first")?.sign(&claims)?,
        ),
        ("no signature", format!("{signed}.")),
        ("another payload", {
            let payload = encoded(&issuer.claims(&json!({"tenant": "globex"})));
            let header = signed.split('.').next().unwrap_or_default();
            format!("{header}.{payload}.{signature}")
        }),
        (
            "another issuer",
            issuer.token(&json!({"iss": "https://evil.example"}))?,
        ),
        ("another audience", issuer.token(&json!({"aud": ["x", "y"]}))?),
        ("expired", issuer.token(&json!({"exp": now() - 60}))?),
        ("not yet", issuer.token(&json!({"nbf": now() + 60}))?),
        ("no tenant", issuer.token(&json!({"tenant": null}))?),
        ("a tenant with a path", issuer.token(&json!({"tenant": "a b"}))?),
        (
            "the owner of what all tenants share",
            issuer.token(&json!({"tenant": TenantId::shared().as_str()}))?,
        ),
        ("nobody", issuer.token(&json!({"sub": null}))?),
        ("too long", format!("{honest}{}", "a".repeat(20_000))),
        (
            "a key that it brings along",
            own_header(
                &forger,
                &json!({"alg": "ES256", "kid": "first", "jwk": forger.jwk()?}),
                &claims,
            )?,
        ),
        (
            "an address of a key",
            own_header(
                &forger,
                &json!({"alg": "ES256", "kid": "first", "jku": "http://127.0.0.1:1/jwks"}),
                &claims,
            )?,
        ),
        (
            "a key by a path",
            own_header(
                &forger,
                &json!({"alg": "ES256", "kid": "../../dev/null"}),
                &claims,
            )?,
        ),
        (
            "extensions that it calls critical",
            own_header(
                &signer,
                &json!({"alg": "ES256", "kid": "first", "crit": ["b64"], "b64": false}),
                &claims,
            )?,
        ),
        (
            "an algorithm said twice",
            signed_text(
                &signer,
                r#"{"alg":"none","alg":"ES256","kid":"first"}"#,
                &claims.to_string(),
            )?,
        ),
        (
            "a key said twice",
            signed_text(
                &signer,
                r#"{"alg":"ES256","kid":"none","kid":"first"}"#,
                &claims.to_string(),
            )?,
        ),
        ("claims that are no object", signed_text(&signer, HEADER, "[]")?),
        (
            "claims without end",
            signed_text(&signer, HEADER, &"[".repeat(5_000))?,
        ),
    ];
    for (what, token) in tokens {
        let answer = scene.answer(&token).await?;
        assert_eq!(answer.status(), 401, "{what}");
        let body = answer.text().await?;
        assert!(!body.contains(signature), "{what}: {body}");
        scene.neighbour_is_served().await?;
    }
    assert_eq!(scene.answer(&honest).await?.status(), 200);
    Ok(())
}

const HEADER: &str = r#"{"alg":"ES256","kid":"first"}"#;

fn own_header(signer: &Signer, header: &Value, claims: &Value) -> Result<String> {
    signed_text(signer, &header.to_string(), &claims.to_string())
}

/// Signed as it stands, whatever it says.
fn signed_text(signer: &Signer, header: &str, claims: &str) -> Result<String> {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &signer.key, Algorithm::ES256)?;
    Ok(format!("{signed}.{signature}"))
}

#[tokio::test]
async fn of_a_claim_that_is_said_twice_the_last_counts_as_the_standard_has_it() -> Result<()> {
    let scene = Scene::start().await?;
    let claims = scene.issuer.claims(&json!({})).to_string();
    let tenant = "\"tenant\":\"acme\"";
    assert!(claims.contains(tenant), "{claims}");
    let author = scene.client(Era::Modern, json!({"tenant": "globex"})).await?;
    author.create_tool("of.globex", "return 1", json!({})).await?;
    for (twice, sees) in [
        (format!("{tenant},\"tenant\":\"globex\""), true),
        (format!("\"tenant\":\"globex\",{tenant}"), false),
    ] {
        let token = signed_text(&scene.issuer.signer(), HEADER, &claims.replace(tenant, &twice))?;
        let client = McpClient::connect_as(&scene.server.base_url, Era::Modern, Some(&token)).await?;
        let names = client.tool_names().await?;
        assert_eq!(names.contains(&"of.globex".to_owned()), sees, "{twice}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_taken_from_one_header_alone() -> Result<()> {
    let scene = Scene::start().await?;
    let token = scene.issuer.token(&json!({}))?;
    let client = scene.knock().await?;
    let message = client.request("tools/list", json!({}));
    let url = format!("{}/mcp", scene.server.base_url);
    let request = |url: &str| {
        reqwest::Client::new()
            .post(url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", Era::Modern.version())
            .header("mcp-method", "tools/list")
            .json(&message)
    };
    let in_address = request(&format!("{url}?access_token={token}"));
    for (what, request, status) in [
        ("in the address", in_address, 400),
        (
            "in the address too",
            request(&format!("{url}?access_token=x")).bearer_auth(&token),
            400,
        ),
        (
            "twice",
            request(&url).bearer_auth(&token).bearer_auth(&token),
            400,
        ),
        (
            "two in one",
            request(&url).header("authorization", format!("Bearer {token}, Bearer {token}")),
            400,
        ),
        (
            "as a password",
            request(&url).basic_auth("user", Some(&token)),
            401,
        ),
        (
            "in a cookie",
            request(&url).header("cookie", format!("access_token={token}")),
            401,
        ),
        (
            "in another header",
            request(&url).header("x-forwarded-authorization", format!("Bearer {token}")),
            401,
        ),
        ("where it belongs", request(&url).bearer_auth(&token), 200),
    ] {
        assert_eq!(request.send().await?.status(), status, "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_says_two_things_gets_nothing_that_its_token_does_not_allow() -> Result<()> {
    let scene = Scene::start().await?;
    let reader = scene.client(Era::Modern, json!({"scope": "mcp:call"})).await?;
    let good = reader.request(
        "tools/call",
        json!({"name": "dynamic.tool.create", "arguments": {
            "tool": {"name": "smuggled", "description": "d", "code": "return 1"}}}),
    );
    let text = good.to_string();
    let name = "\"name\":\"dynamic.tool.create\"";
    assert!(text.contains(name), "{text}");
    for body in [
        text.replace(name, &format!("\"name\":\"dev.echo\",{name}")),
        text.replace(name, &format!("{name},\"name\":\"dev.echo\"")),
        text.replace(
            "\"method\":\"tools/call\"",
            "\"method\":\"ping\",\"method\":\"tools/call\"",
        ),
        text.replace(name, "\"name\":\"dynamic\\u002etool.create\""),
    ] {
        let answer = reader.prepare(&good).body(body.clone()).send().await?;
        let expected = if body.contains("u002e") { 403 } else { 400 };
        assert_eq!(answer.status(), expected, "{body}");
    }
    let author = scene.client(Era::Modern, json!({})).await?;
    assert!(!author.tool_names().await?.contains(&"smuggled".to_owned()));
    Ok(())
}
