//! A set of public keys (RFC 7517), as an issuer publishes it. Hostile until it is parsed.

use std::collections::HashSet;

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// With public keys only: what a client can sign itself proves nothing.
pub const TAKEN: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
const RSA: &[Algorithm] = TAKEN.split_at(6).0;
/// More than any issuer rotates through.
const MAX_KEYS: usize = 100;
/// 2,048 bits (RFC 7518, section 3.3), in base64url.
const MIN_RSA_CHARACTERS: usize = 342;

pub struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    pub decoding: DecodingKey,
    /// Of the key itself, whatever it is called (RFC 7638).
    pub thumbprint: String,
}

#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    thumbprints: HashSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    #[error("it is not a JWK set (RFC 7517): {0}")]
    NotASet(String),
    #[error("it has {0} keys; {MAX_KEYS} are read at most")]
    TooMany(usize),
    #[error(
        "none of its {0} keys can be used: they must be public keys for signatures, of RSA from 2,048 bits on, P-256, P-384 or Ed25519"
    )]
    NoneUsable(usize),
}

impl KeySet {
    /// Takes the keys that can be used, and leaves others: an issuer may publish what it has them for elsewhere.
    ///
    /// # Errors
    /// When it is no set of keys, or none of them can be used.
    pub fn parse(text: &[u8]) -> Result<Self, BadKeys> {
        #[derive(Deserialize)]
        struct Published {
            keys: Vec<Value>,
        }
        let published: Published =
            serde_json::from_slice(text).map_err(|error| BadKeys::NotASet(error.to_string()))?;
        let count = published.keys.len();
        if count > MAX_KEYS {
            return Err(BadKeys::TooMany(count));
        }
        let keys: Vec<Key> = published.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(BadKeys::NoneUsable(count));
        }
        let thumbprints = keys.iter().map(|key| key.thumbprint.clone()).collect();
        Ok(Self { keys, thumbprints })
    }

    pub fn all(&self) -> &[Key] {
        &self.keys
    }

    pub fn has(&self, thumbprint: &str) -> bool {
        self.thumbprints.contains(thumbprint)
    }

    /// Whether there is a key of that name, whatever it is for. Nameless tokens don't ask for a new one.
    pub fn knows(&self, kid: Option<&str>) -> bool {
        kid.is_none_or(|kid| self.keys.iter().any(|key| key.kid.as_deref() == Some(kid)))
    }

    /// The place of the one key that a token with this header can have been signed with.
    pub fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<usize> {
        let fits =
            |key: &Key| key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.as_deref() == kid);
        let mut fitting = self.keys.iter().enumerate().filter(|(_, key)| fits(key));
        let (place, _) = fitting.next()?;
        fitting.next().is_none().then_some(place)
    }
}

fn usable(published: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(published).ok()?;
    let common = &jwk.common;
    let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature))
        && common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !for_signatures {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if rsa.n.len() >= MIN_RSA_CHARACTERS => RSA.to_vec(),
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(ed) if ed.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
        _ => return None,
    };
    if let Some(only) = common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    (!algorithms.is_empty()).then_some(Key {
        kid: common.key_id.clone(),
        algorithms,
        decoding: DecodingKey::from_jwk(&jwk).ok()?,
        thumbprint: jwk.thumbprint(ThumbprintHash::SHA256).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A point of each curve that is one, so that some of what is made can be used.
    const ED25519: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn field() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just("OKP"),
            Just("EC"),
            Just("RSA"),
            Just("oct"),
            Just("Ed25519"),
            Just("P-256"),
            Just("X25519"),
            Just("sig"),
            Just("enc"),
            Just("EdDSA"),
            Just("HS256"),
            Just("none"),
            Just(ED25519),
            Just("AQAB"),
            Just("")
        ];
        prop_oneof![
            12 => text.prop_map(Value::from),
            1 => any::<i32>().prop_map(Value::from),
            1 => Just(Value::Null),
            1 => Just(json!(["verify"])),
            1 => Just(json!(["sign", "decrypt"])),
        ]
    }

    fn key() -> impl Strategy<Value = Value> {
        let names = prop::sample::select(
            &[
                "kty", "crv", "x", "y", "n", "e", "k", "d", "kid", "alg", "use", "key_ops", "x5c",
            ][..],
        );
        let good = json!({"kty": "OKP", "crv": "Ed25519", "kid": "one", "x": ED25519});
        prop::collection::vec((names, field()), 0..3).prop_map(move |changes| {
            let mut key = good.clone();
            for (name, value) in changes {
                key[name] = value;
            }
            key
        })
    }

    proptest! {
        #[test]
        fn of_any_set_only_public_keys_for_signatures_are_used(keys in prop::collection::vec(key(), 0..5)) {
            let text = json!({"keys": keys}).to_string();
            let Ok(set) = KeySet::parse(text.as_bytes()) else { return Ok(()) };
            prop_assert!((1..=keys.len()).contains(&set.all().len()));
            for used in set.all() {
                prop_assert!(!used.algorithms.is_empty() && used.algorithms.iter().all(|one| TAKEN.contains(one)));
                prop_assert!(set.has(&used.thumbprint));
                let published = keys.iter().filter(|key| key["kid"].as_str() == used.kid.as_deref());
                let for_signatures = |key: &Value| key["use"] != "enc" && key["kty"] != "oct" && key["alg"] != "HS256";
                prop_assert!(published.clone().any(for_signatures), "{}", text);
            }
        }

        #[test]
        fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = KeySet::parse(&bytes);
        }
    }
}
