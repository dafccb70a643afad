//! Access tokens that are JSON Web Tokens of one issuer (RFC 7519, RFC 9068).

mod claims;
mod issuer_keys;
mod keys;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::clock::Clock;
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::claims::Verified;
pub use self::claims::{ClaimPath, Rules};
pub use self::issuer_keys::{IssuerKeys, KeySource};
use self::keys::{Key, KeySet};
use self::seen::{Seen, Verdict};
use super::{Challenger, Denied, ResourceUrl, ScopeNames};
use crate::principal::{Access, Right, Rights};

#[derive(Debug, Clone)]
pub struct JwtConfig {
    pub rules: Rules,
    pub scopes: ScopeNames,
    pub resource: ResourceUrl,
}

pub struct Jwt {
    rules: Rules,
    keys: Arc<IssuerKeys>,
    seen: Seen,
    challenger: Challenger,
    clock: Arc<dyn Clock>,
}

impl Jwt {
    pub fn new(config: JwtConfig, keys: Arc<IssuerKeys>, clock: Arc<dyn Clock>) -> Self {
        let JwtConfig {
            rules,
            scopes,
            resource,
        } = config;
        Self {
            challenger: Challenger {
                resource,
                issuer: rules.issuer.clone(),
                scopes,
            },
            rules,
            keys,
            seen: Seen::default(),
            clock,
        }
    }

    pub(super) fn challenger(&self) -> &Challenger {
        &self.challenger
    }

    fn scopes(&self) -> &ScopeNames {
        &self.challenger.scopes
    }

    /// The denial of one that has not all of these rights.
    pub(super) fn lacking(&self, has: Rights, needs: Rights) -> Denied {
        let scopes = self.scopes();
        let missing = needs.iter().filter(|right| !has.has(*right));
        Denied::Scope {
            missing: missing.map(|right| scopes.of(right).to_owned()).collect(),
            needed: scopes.needed(needs),
        }
    }

    /// # Errors
    /// Why the token does not let anybody in.
    pub async fn verify(&self, token: &str) -> Result<Access, Denied> {
        let keys = self.keys.current().ok_or(Denied::NoKeys)?;
        let digest = seen::digest(token);
        if let Some(verdict) = self.seen.get(&digest) {
            // A key that the issuer has taken back vouches for nothing any more.
            if keys.has(&verdict.key) {
                return self.still_good(&verdict);
            }
            self.seen.forget(&digest);
        }
        let header = read_header(token)?;
        let (keys, key) = self.key_for(keys, &header).await?;
        let key = &keys.all()[key];
        let verified = self.check(token, &header, key)?;
        let verdict = Arc::new(Verdict {
            access: self.access(&verified)?,
            expires: verified.expires,
            key: key.thumbprint.clone(),
        });
        self.seen.remember(digest, verdict.clone());
        self.still_good(&verdict)
    }

    /// The place of the key in its set, which may be a newer one than was there.
    async fn key_for(&self, keys: Arc<KeySet>, header: &Header) -> Result<(Arc<KeySet>, usize), Denied> {
        let kid = header.kid.as_deref();
        if let Some(found) = keys.find(kid, header.alg) {
            return Ok((keys, found));
        }
        if keys.knows(kid) {
            return Err(no_key(kid, header.alg));
        }
        // Issued with a key that is newer than what was fetched last.
        let keys = self.keys.after_unknown().await.ok_or(Denied::NoKeys)?;
        match keys.find(kid, header.alg) {
            Some(found) => Ok((keys, found)),
            None => Err(no_key(kid, header.alg)),
        }
    }

    fn check(&self, token: &str, header: &Header, key: &Key) -> Result<Verified, Denied> {
        let mut validation = Validation::new(header.alg);
        // The claims are looked at by rules of our own, which say what was wrong; this is the signature.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = decode::<Map<String, Value>>(token, &key.decoding, &validation);
        let claims = decoded
            .map_err(|_| Denied::Invalid("the signature of the access token is not the issuer's".to_owned()))?
            .claims;
        let verified = self.rules.check(&claims, self.clock.now());
        verified.map_err(|wrong| Denied::Invalid(wrong.to_string()))
    }

    fn access(&self, verified: &Verified) -> Result<Access, Denied> {
        let lacking = verified.scopes.lacking(&self.scopes().always);
        if !lacking.is_empty() {
            return Err(Denied::Scope {
                missing: lacking,
                needed: self.scopes().needed(Right::Call),
            });
        }
        Ok(Access {
            principal: Arc::new(verified.principal.clone()),
            rights: self.scopes().rights(&verified.scopes),
            until: None,
        })
    }

    fn still_good(&self, verdict: &Verdict) -> Result<Access, Denied> {
        let left = time_left(verdict.expires, self.rules.leeway, self.clock.now());
        let left = left.ok_or_else(|| Denied::Invalid(claims::Wrong::Expired.to_string()))?;
        Ok(Access {
            until: Instant::now().checked_add(left),
            ..verdict.access.clone()
        })
    }
}

fn time_left(expires: DateTime<Utc>, leeway: Duration, now: DateTime<Utc>) -> Option<Duration> {
    let left = (expires - now).to_std().ok();
    match left {
        Some(left) => Some(left.saturating_add(leeway)),
        None => leeway
            .checked_sub((now - expires).to_std().ok()?)
            .filter(|left| !left.is_zero()),
    }
}

/// What a header may ask for is little: an algorithm that we know, and a key by its name. Keys, addresses of keys and
/// certificates that it brings along are not looked at.
fn read_header(token: &str) -> Result<Header, Denied> {
    let header = decode_header(token).map_err(|_| {
        Denied::Invalid(
            "the access token is not a JSON Web Token, or its algorithm is none that is taken here (RS256, RS384, RS512, \
             PS256, PS384, PS512, ES256, ES384, EdDSA)"
                .to_owned(),
        )
    })?;
    if !keys::TAKEN.contains(&header.alg) {
        return Err(Denied::Invalid(format!(
            "access tokens that are signed with {:?} are not taken",
            header.alg
        )));
    }
    if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        let why = "the access token's header asks for extensions that are not supported here";
        return Err(Denied::Invalid(why.to_owned()));
    }
    Ok(header)
}

fn no_key(kid: Option<&str>, algorithm: Algorithm) -> Denied {
    let shown: String = kid.unwrap_or_default().chars().take(80).collect();
    Denied::Invalid(match kid {
        Some(_) => format!("the issuer has no key {shown:?} for {algorithm:?}"),
        None => format!(
            "the access token names no key (kid), and the issuer has not exactly one for {algorithm:?}"
        ),
    })
}

#[cfg(test)]
mod tests;
