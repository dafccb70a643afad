//! What a token says, and what of it has to be so. The signature is somebody else's affair.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::ids::TenantId;
use serde_json::{Map, Value};

use crate::auth::Scopes;
use crate::principal::Principal;

/// Of a subject or a client, which are written into every audit entry.
const MAX_NAME_BYTES: usize = 256;

#[derive(Debug, Clone)]
pub struct Rules {
    pub issuer: String,
    pub audience: String,
    /// Where a token names its tenant; without it everybody is of the tenant `default`.
    pub tenant: Option<ClaimPath>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
}

/// A claim's name, or a JSON Pointer (RFC 6901) to one within another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

impl FromStr for ClaimPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=200).contains(&text.len()) && !text.contains(char::is_whitespace) && text != "/" {
            Ok(Self(text.to_owned()))
        } else {
            Err("the name of a claim, as tenant, or a JSON Pointer to one, as /org/id".to_owned())
        }
    }
}

impl ClaimPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let Some(pointer) = self.0.strip_prefix('/') else {
            return claims.get(&self.0);
        };
        let mut steps = pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"));
        let first = claims.get(&steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(&step))
    }
}

/// A token that is what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub principal: Principal,
    pub scopes: Scopes,
    pub expires: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("the access token has expired")]
    Expired,
    #[error("the access token is not valid yet")]
    NotYet,
    #[error("the access token was issued by another issuer")]
    Issuer,
    #[error("the access token is for another audience")]
    Audience,
    #[error("the access token has no claim {0}, or not of the right kind")]
    Claim(String),
}

impl Rules {
    /// # Errors
    /// The first claim that is not as it has to be.
    pub fn check(&self, claims: &Map<String, Value>, now: DateTime<Utc>) -> Result<Verified, Wrong> {
        if text(claims, "iss")? != self.issuer {
            return Err(Wrong::Issuer);
        }
        if !self.is_for_us(claims) {
            return Err(Wrong::Audience);
        }
        let leeway = chrono::Duration::from_std(self.leeway).unwrap_or_default();
        let expires = time(claims, "exp")?.ok_or_else(|| Wrong::Claim("exp".to_owned()))?;
        if expires + leeway <= now {
            return Err(Wrong::Expired);
        }
        for not_before in ["nbf", "iat"] {
            if time(claims, not_before)?.is_some_and(|from| from > now + leeway) {
                return Err(Wrong::NotYet);
            }
        }
        let subject = text(claims, "sub")?;
        let client = ["client_id", "azp"]
            .into_iter()
            .find_map(|name| text(claims, name).ok())
            .unwrap_or_else(|| subject.clone());
        Ok(Verified {
            principal: Principal {
                tenant: self.tenant_of(claims)?,
                subject,
                client,
            },
            scopes: Scopes::of(claims.get("scope"), claims.get("scp")),
            expires,
        })
    }

    fn is_for_us(&self, claims: &Map<String, Value>) -> bool {
        match claims.get("aud") {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(audiences)) => audiences.iter().any(|audience| *audience == *self.audience),
            _ => false,
        }
    }

    fn tenant_of(&self, claims: &Map<String, Value>) -> Result<TenantId, Wrong> {
        let Some(path) = &self.tenant else {
            return Ok(TenantId::default());
        };
        let named = path.of(claims).and_then(Value::as_str);
        named
            .and_then(|tenant| tenant.parse().ok())
            .ok_or_else(|| Wrong::Claim(path.as_str().to_owned()))
    }
}

fn text(claims: &Map<String, Value>, name: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::Claim(name.to_owned());
    let text = claims.get(name).and_then(Value::as_str).ok_or_else(wrong)?;
    let fits = (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned()).ok_or_else(wrong)
}

/// Seconds since 1970, maybe with a fraction (RFC 7519, "NumericDate").
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>, Wrong> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| seconds.is_finite() && seconds.abs() < 1e11);
    #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
    let millis = seconds.map(|seconds| (seconds * 1e3) as i64);
    let time = millis.and_then(DateTime::from_timestamp_millis);
    time.map(Some).ok_or_else(|| Wrong::Claim(name.to_owned()))
}
