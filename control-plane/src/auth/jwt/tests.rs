//! Tokens, honest and forged, against a verifier with a clock of its own.

use std::sync::LazyLock;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use bytes::Bytes;
use dynamic_mcp_shared::clock::ManualClock;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, encode};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::ResourceUrl;
use crate::principal::{Principal, Rights};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://mcp.example/mcp";

struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn es256(kid: &'static str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        Self {
            kid,
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(pkcs8.unwrap().as_ref()),
        }
    }

    fn es384(kid: &'static str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new());
        Self {
            kid,
            algorithm: Algorithm::ES384,
            key: EncodingKey::from_ec_der(pkcs8.unwrap().as_ref()),
        }
    }

    fn ed25519(kid: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new());
        Self {
            kid,
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(pkcs8.unwrap().as_ref()),
        }
    }

    fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        jwk
    }

    fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        header
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&self.header(), claims, &self.key).unwrap()
    }
}

static FIRST: LazyLock<Signer> = LazyLock::new(|| Signer::es256("first"));
static SECOND: LazyLock<Signer> = LazyLock::new(|| Signer::ed25519("second"));

/// What the issuer publishes now.
#[derive(Clone)]
struct Published(Arc<Mutex<Vec<Jwk>>>);

#[async_trait]
impl KeySource for Published {
    async fn fetch(&self) -> Result<Bytes, String> {
        Ok(json!({"keys": *self.0.lock()}).to_string().into())
    }
}

struct Rig {
    jwt: Jwt,
    clock: Arc<ManualClock>,
    published: Published,
    _lifecycle: Lifecycle,
}

impl Rig {
    async fn new(signers: &[&Signer]) -> Self {
        Self::with_tenant(signers, None).await
    }

    async fn with_tenant(signers: &[&Signer], tenant: Option<&str>) -> Self {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let clock = Arc::new(ManualClock::at(
            DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        ));
        let published = Published(Arc::new(Mutex::new(
            signers.iter().map(|signer| signer.jwk()).collect(),
        )));
        let refresh = Duration::from_secs(300);
        let keys = IssuerKeys::start(
            Box::new(published.clone()),
            refresh,
            Readiness::default(),
            &lifecycle,
        )
        .await;
        let rules = Rules {
            issuer: ISSUER.to_owned(),
            audience: AUDIENCE.to_owned(),
            tenant: tenant.map(|path| path.parse().unwrap()),
            leeway: Duration::from_secs(30),
        };
        let config = JwtConfig {
            rules,
            scopes: ScopeNames::default(),
            resource: ResourceUrl::Fixed(AUDIENCE.to_owned()),
        };
        Self {
            jwt: Jwt::new(config, keys, clock.clone()),
            clock,
            published,
            _lifecycle: lifecycle,
        }
    }

    fn claims(&self, change: Value) -> Value {
        let now = self.clock.now().timestamp();
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "client_id": "desktop", "scope": "mcp:call",
            "iat": now, "exp": now + 600,
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    /// Of a token of the first signer's with these changes.
    async fn with(&self, change: Value) -> Result<Access, Denied> {
        self.jwt.verify(&FIRST.sign(&self.claims(change))).await
    }

    async fn refused(&self, token: &str) -> String {
        match self.jwt.verify(token).await {
            Err(Denied::Invalid(why)) => why,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_honest_token_tells_who_its_bearer_is_and_what_they_may() {
    let rig = Rig::new(&[&FIRST]).await;
    let access = rig.with(json!({})).await.unwrap();
    assert_eq!(
        *access.principal,
        Principal {
            tenant: "default".parse().unwrap(),
            subject: "alice".to_owned(),
            client: "desktop".to_owned()
        }
    );
    assert_eq!(access.rights, [Right::Call].into_iter().collect::<Rights>());
    let left = access.until.unwrap() - Instant::now();
    assert_eq!(left, Duration::from_secs(630), "with the leeway");
}

#[tokio::test(start_paused = true)]
async fn every_algorithm_of_a_public_key_is_taken() {
    let p384 = Signer::es384("p384");
    let rig = Rig::new(&[&FIRST, &SECOND, &p384]).await;
    for signer in [&*FIRST, &*SECOND, &p384] {
        let token = signer.sign(&rig.claims(json!({})));
        assert!(rig.jwt.verify(&token).await.is_ok(), "{:?}", signer.algorithm);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_named_by_the_first_claim_that_does() {
    let rig = Rig::new(&[&FIRST]).await;
    let client = async |change| rig.with(change).await.unwrap().principal.client.clone();
    assert_eq!(client(json!({"azp": "other"})).await, "desktop");
    assert_eq!(client(json!({"client_id": null, "azp": "other"})).await, "other");
    assert_eq!(client(json!({"client_id": null})).await, "alice");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_missing_or_wrong_is_named() {
    let rig = Rig::new(&[&FIRST]).await;
    let now = rig.clock.now().timestamp();
    for (change, expected) in [
        (json!({"iss": "https://evil.example"}), "another issuer"),
        (json!({"iss": [ISSUER]}), "no claim iss"),
        (json!({"iss": null}), "no claim iss"),
        (json!({"aud": "https://other.example"}), "another audience"),
        (json!({"aud": null}), "another audience"),
        (json!({"aud": []}), "another audience"),
        (json!({"aud": format!("{AUDIENCE}/")}), "another audience"),
        (json!({"exp": now - 31}), "has expired"),
        (json!({"exp": null}), "no claim exp"),
        (json!({"exp": "never"}), "no claim exp"),
        (json!({"exp": 1e300}), "no claim exp"),
        (json!({"nbf": now + 31}), "not valid yet"),
        (json!({"iat": now + 31}), "not valid yet"),
        (json!({"nbf": "soon"}), "no claim nbf"),
        (json!({"sub": null}), "no claim sub"),
        (json!({"sub": ""}), "no claim sub"),
        (json!({"sub": "a\nb"}), "no claim sub"),
        (json!({"sub": "x".repeat(300)}), "no claim sub"),
    ] {
        let why = rig.refused(&FIRST.sign(&rig.claims(change.clone()))).await;
        assert!(why.contains(expected), "{change}: {why}");
    }
    assert!(rig.with(json!({"aud": ["x", AUDIENCE]})).await.is_ok());
    assert!(rig.with(json!({"exp": now - 29, "nbf": now + 29})).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_where_the_operator_says() {
    let flat = Rig::with_tenant(&[&FIRST], Some("tenant")).await;
    assert_eq!(
        flat.with(json!({"tenant": "acme"}))
            .await
            .unwrap()
            .principal
            .tenant
            .as_str(),
        "acme"
    );
    let nested = Rig::with_tenant(&[&FIRST], Some("/org/id")).await;
    let access = nested.with(json!({"org": {"id": "acme"}})).await.unwrap();
    assert_eq!(access.principal.tenant.as_str(), "acme");
    for wrong in [
        json!({}),
        json!({"tenant": ""}),
        json!({"tenant": 7}),
        json!({"tenant": "a b"}),
        json!({"tenant": ["acme"]}),
    ] {
        let why = flat.refused(&FIRST.sign(&flat.claims(wrong.clone()))).await;
        assert!(why.contains("no claim tenant"), "{wrong}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_signed_by_the_issuer_is_refused() {
    let rig = Rig::new(&[&FIRST]).await;
    let claims = rig.claims(json!({}));
    let forger = Signer::es256("first");
    assert!(rig.refused(&forger.sign(&claims)).await.contains("signature"));

    let honest = FIRST.sign(&claims);
    let (signed, signature) = honest.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let other = FIRST.sign(&rig.claims(json!({"sub": "mallory"})));
    let other_payload = other.split('.').nth(1).unwrap();
    assert!(
        rig.refused(&format!("{header}.{other_payload}.{signature}"))
            .await
            .contains("signature")
    );
    assert!(rig.refused(&format!("{signed}.")).await.contains("signature"));
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_that_a_client_can_use_itself_is_refused() {
    let rig = Rig::new(&[&FIRST]).await;
    let claims = rig.claims(json!({}));
    let encoded = |value: &Value| base64url(value.to_string().as_bytes());
    for none in ["none", "None", "NONE", ""] {
        let token = format!(
            "{}.{}.",
            encoded(&json!({"alg": none, "kid": "first"})),
            encoded(&claims)
        );
        assert!(rig.refused(&token).await.contains("algorithm"), "{none}");
    }
    // The public key's own bytes as a shared secret.
    let public = serde_json::to_vec(&FIRST.jwk()).unwrap();
    for secret in [&public[..], b"", b"first"] {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("first".to_owned());
        let token = encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
        assert!(rig.refused(&token).await.contains("HS256"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_is_used_for_its_own_algorithm_only() {
    let rig = Rig::new(&[&FIRST]).await;
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("first".to_owned());
    let token = encode(&header, &rig.claims(json!({})), &SECOND.key).unwrap();
    let why = rig.refused(&token).await;
    assert!(why.contains("no key \"first\" for EdDSA"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn keys_and_extensions_in_a_header_are_not_followed() {
    let rig = Rig::new(&[&FIRST]).await;
    let forger = Signer::es256("first");
    let mut header = forger.header();
    header.jwk = Some(forger.jwk());
    header.jku = Some("https://evil.example/jwks".to_owned());
    let token = encode(&header, &rig.claims(json!({})), &forger.key).unwrap();
    assert!(rig.refused(&token).await.contains("signature"));

    let mut header = FIRST.header();
    header.crit = Some(vec!["exp".to_owned()]);
    let token = encode(&header, &rig.claims(json!({})), &FIRST.key).unwrap();
    assert!(rig.refused(&token).await.contains("extensions"));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_token_is_told_so() {
    let rig = Rig::new(&[&FIRST]).await;
    for token in [
        "",
        "a",
        "a.b",
        "a.b.c",
        "..",
        "a.b.c.d",
        "e30.e30.e30",
        &"x".repeat(10_000),
    ] {
        assert!(
            rig.refused(token).await.contains("not a JSON Web Token"),
            "{token}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_key_s_name_is_taken_while_there_is_no_doubt() {
    let rig = Rig::new(&[&FIRST, &SECOND]).await;
    let nameless = |signer: &Signer| {
        encode(
            &Header::new(signer.algorithm),
            &rig.claims(json!({})),
            &signer.key,
        )
        .unwrap()
    };
    assert!(rig.jwt.verify(&nameless(&FIRST)).await.is_ok());
    let third = Signer::es256("third");
    let rig = Rig::new(&[&FIRST, &third]).await;
    assert!(rig.refused(&nameless(&FIRST)).await.contains("names no key"));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_new_key_is_taken_and_one_of_a_key_that_is_gone_is_not() {
    let rig = Rig::new(&[&FIRST]).await;
    let old = FIRST.sign(&rig.claims(json!({})));
    assert!(rig.jwt.verify(&old).await.is_ok());
    *rig.published.0.lock() = vec![SECOND.jwk()];
    tokio::time::sleep(Duration::from_secs(6)).await;
    let new = SECOND.sign(&rig.claims(json!({})));
    assert!(rig.jwt.verify(&new).await.is_ok(), "its key is looked for");
    // Seen before, and worth nothing now.
    assert!(rig.refused(&old).await.contains("no key \"first\""));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_seen_before_expires_all_the_same() {
    let rig = Rig::new(&[&FIRST]).await;
    let token = FIRST.sign(&rig.claims(json!({})));
    for _ in 0..2 {
        assert!(rig.jwt.verify(&token).await.is_ok());
    }
    rig.clock.advance(chrono::Duration::seconds(629));
    let left = rig.jwt.verify(&token).await.unwrap().until.unwrap() - Instant::now();
    assert_eq!(left, Duration::from_secs(1));
    rig.clock.advance(chrono::Duration::seconds(1));
    assert!(rig.refused(&token).await.contains("expired"));
}

#[tokio::test(start_paused = true)]
async fn scopes_that_every_token_needs_are_named_all_at_once() {
    let mut rig = Rig::new(&[&FIRST]).await;
    rig.jwt.challenger.scopes.always = vec!["openid".to_owned(), "mcp:call".to_owned()];
    assert!(rig.with(json!({"scope": "mcp:call openid"})).await.is_ok());
    assert_eq!(
        rig.with(json!({"scope": null})).await.unwrap_err(),
        Denied::Scope {
            missing: vec!["openid".to_owned(), "mcp:call".to_owned()],
            needed: vec!["openid".to_owned(), "mcp:call".to_owned()],
        }
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_but_the_token_itself_is_it(at in 0_usize..1_000, byte in "[A-Za-z0-9._=-]", cut in any::<bool>()) {
        with_rig(|rig| async move {
            let honest = FIRST.sign(&rig.claims(json!({})));
            let at = at % honest.len();
            let mut other = honest.clone();
            other.replace_range(at..=at, if cut { "" } else { &byte });
            // What the last character has beyond the signature's bytes is not part of it, and another spelling of those is
            // refused all the same.
            assert_eq!(rig.jwt.verify(&other).await.is_ok(), other == honest, "{other}");
        });
    }

    #[test]
    fn any_text_and_any_claims_are_judged(
        text in "[A-Za-z0-9_-]{0,40}[.]?[A-Za-z0-9_-]{0,40}[.]?[A-Za-z0-9_-]{0,40}",
        name in prop::sample::select(&["iss", "aud", "exp", "nbf", "iat", "sub", "client_id", "scope", "scp"][..]),
        value in prop_oneof![
            Just(Value::Null), any::<bool>().prop_map(Value::from), any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from), ".{0,8}".prop_map(Value::from), Just(json!([])), Just(json!({"a": []})),
        ],
    ) {
        with_rig(|rig| async move {
            assert!(rig.jwt.verify(&text).await.is_err());
            if let Ok(access) = rig.with(json!({name: value})).await {
                let Principal { tenant, subject, client } = &*access.principal;
                assert_eq!(tenant.as_str(), "default");
                assert!(!subject.is_empty() && !client.is_empty());
                assert!(!(subject.clone() + client).contains(char::is_control));
            }
        });
    }
}

fn with_rig<F: Future<Output = ()>>(test: impl FnOnce(Rig) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { test(Rig::new(&[&FIRST]).await).await });
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
