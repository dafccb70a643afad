//! The issuer's keys: rotated, revoked, slow, hostile and gone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::issuer::{Answers, Issuer};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::Scene;

const BOUND: Duration = Duration::from_secs(40);
const REFRESH: (&str, &str) = ("MCP_AUTH_JWKS_REFRESH_SECONDS", "5");

async fn degraded(scene: &Scene) -> Result<Option<String>> {
    let ready: Value = reqwest::get(format!("{}/readyz", scene.server.base_url))
        .await?
        .json()
        .await?;
    Ok(ready["degraded"]["issuer"].as_str().map(str::to_owned))
}

async fn until_degraded(scene: &Scene, by: &str) {
    eventually(BOUND, async || {
        let why = degraded(scene).await?;
        ensure!(
            why.as_deref().is_some_and(|why| why.contains(by)),
            "{why:?}, not {by}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_new_key_is_taken_soon_and_a_revoked_one_is_worth_nothing_after_the_refresh() -> Result<()> {
    let scene = Scene::start_with(&[REFRESH]).await?;
    let old = scene.issuer.token(&json!({}))?;
    assert_eq!(scene.answer(&old).await?.status(), 200);
    scene.issuer.rotate("second")?;
    let new = scene.issuer.token(&json!({}))?;
    eventually(BOUND, async || {
        let status = scene.answer(&new).await?.status();
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await;
    assert_eq!(scene.answer(&old).await?.status(), 401);
    Ok(())
}

#[tokio::test]
async fn an_issuer_that_fails_in_any_way_leaves_the_keys_that_were_had() -> Result<()> {
    let scene = Scene::start_with(&[REFRESH]).await?;
    let token = scene.issuer.token(&json!({}))?;
    assert_eq!(scene.answer(&token).await?.status(), 200);
    for (answers, told) in [
        (Answers::Status(StatusCode::INTERNAL_SERVER_ERROR), "status 500"),
        (Answers::Huge, "longer than"),
        (Answers::Text("{\"keys\": []}".to_owned()), "none of its 0 keys"),
        (Answers::Text("<html>".to_owned()), "not a JWK set"),
        (
            Answers::Elsewhere("http://169.254.169.254/".to_owned()),
            "status 302",
        ),
        (Answers::Late(Duration::from_secs(60)), "no answer within"),
    ] {
        scene.issuer.answer(answers);
        until_degraded(&scene, told).await;
        assert_eq!(scene.answer(&token).await?.status(), 200, "{told}");
    }
    scene.issuer.answer(Answers::Keys);
    eventually(BOUND, async || {
        ensure!(degraded(&scene).await?.is_none(), "still degraded");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn no_key_set_makes_a_server_take_what_it_should_not_or_fall_over() -> Result<()> {
    let scene = Scene::start_with(&[REFRESH]).await?;
    let signer = scene.issuer.signer();
    let good = signer.jwk()?;
    let token = scene.issuer.token(&json!({}))?;
    let secret = json!({"kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"});
    let strange = json!([secret, {"kty": "RSA", "kid": "tiny", "n": "AQAB", "e": "AQAB"}, {"kty": "none"}, 7, null, [],
        {"kty": "EC", "crv": "P-256", "kid": "nowhere", "x": "AA", "y": "AA"}, good]);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("shared".to_owned());
    let by_secret = encode(
        &header,
        &scene.issuer.claims(&json!({})),
        &EncodingKey::from_secret(b"secret-secret-secret-secret-secret"),
    )?;
    let asked = scene.issuer.asked();
    scene
        .issuer
        .answer(Answers::Text(json!({"keys": strange}).to_string()));
    eventually(BOUND, async || {
        ensure!(scene.issuer.asked() > asked, "not fetched again yet");
        Ok(())
    })
    .await;
    assert_eq!(
        scene.answer(&by_secret).await?.status(),
        401,
        "a secret is no key"
    );
    assert_eq!(
        scene.answer(&token).await?.status(),
        200,
        "the good one among them is used"
    );
    for (keys, told) in [
        (json!({"keys": vec![good.clone(); 101]}).to_string(), "101 keys"),
        (json!({"keys": [secret]}).to_string(), "none of its 1 keys"),
        ("{\"keys\":".to_owned() + &"[".repeat(100_000), "not a JWK set"),
        ("{\"keys\": [], \"keys\": []}".to_owned(), "not a JWK set"),
        (
            format!("{{\"keys\": [\"{}\"]}}", "x".repeat(900_000)),
            "none of its 1 keys",
        ),
        ("\u{feff}{}".to_owned(), "not a JWK set"),
    ] {
        scene.issuer.answer(Answers::Text(keys));
        until_degraded(&scene, told).await;
        assert_eq!(scene.answer(&token).await?.status(), 200, "{told}");
        assert_eq!(scene.answer(&by_secret).await?.status(), 401, "{told}");
        scene.neighbour_is_served().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_whose_issuer_is_away_starts_and_says_that_it_can_let_nobody_in() -> Result<()> {
    let issuer = Issuer::start().await?;
    issuer.answer(Answers::Status(StatusCode::BAD_GATEWAY));
    let auth = issuer.settings();
    let settings: Vec<_> = auth.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = dynamic_mcp_tests::server::AllInOne::start_without_pool(&settings).await?;
    let scene = Scene { issuer, server };
    let token = scene.issuer.token(&json!({}))?;
    until_degraded(&scene, "status 502; nobody can be let in").await;
    let refused = scene.answer(&token).await?;
    assert_eq!(
        (
            refused.status().as_u16(),
            refused.headers().contains_key("retry-after")
        ),
        (503, true)
    );
    scene.issuer.answer(Answers::Keys);
    eventually(BOUND, async || {
        let status = scene.answer(&token).await?.status();
        ensure!(status == 200, "{status}");
        Ok(())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn tokens_that_name_keys_that_there_are_not_do_not_make_the_server_ask_for_each() -> Result<()> {
    let scene = Scene::start().await?;
    let forger = dynamic_mcp_tests::issuer::Signer::new("first")?;
    let began = Instant::now();
    for number in 0..50 {
        let mut signer = forger.clone();
        signer.kid = format!("no-such-{number}");
        let token = signer.sign(&scene.issuer.claims(&json!({})))?;
        assert_eq!(scene.answer(&token).await?.status(), 401);
    }
    let allowed = 2 + u32::try_from(began.elapsed().as_secs() / 5)?;
    assert!(scene.issuer.asked() <= allowed, "{} times", scene.issuer.asked());
    Ok(())
}
