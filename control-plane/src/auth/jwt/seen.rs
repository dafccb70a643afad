//! Tokens that have been found good, so that the next request with one of them costs a hash and a look.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::principal::Access;

/// Beyond these the ones that were not used for the longest are verified anew.
const MAX_TOKENS: u64 = 20_000;

/// Of the token, which itself is not kept.
pub type TokenDigest = [u8; 32];

pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// What stays true of a token. What does not, its expiry and its key, is looked at each time.
pub struct Verdict {
    pub access: Access,
    pub expires: DateTime<Utc>,
    /// The thumbprint of the key that signed it.
    pub key: String,
}

pub struct Seen(Cache<TokenDigest, Arc<Verdict>>);

impl Default for Seen {
    fn default() -> Self {
        Self(Cache::new(MAX_TOKENS))
    }
}

impl Seen {
    pub fn get(&self, token: &TokenDigest) -> Option<Arc<Verdict>> {
        self.0.get(token)
    }

    pub fn remember(&self, token: TokenDigest, verdict: Arc<Verdict>) {
        self.0.insert(token, verdict);
    }

    pub fn forget(&self, token: &TokenDigest) {
        self.0.invalidate(token);
    }
}
