//! Follows the file that the token came from, so that it is rotated without a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tokio::time::{MissedTickBehavior, interval};

use super::{JoinToken, Tokens};
use crate::lifecycle::Lifecycle;

const INTERVAL: Duration = Duration::from_secs(2);

impl JoinToken {
    /// Takes over what that file holds from now on, until the lifecycle's soft token. What holds no token is not taken.
    pub fn keep_current(&self, file: PathBuf, lifecycle: &Lifecycle) {
        let token = self.clone();
        let stop = lifecycle.soft().clone();
        lifecycle.spawn(async move {
            let mut seen = None;
            let mut looks = interval(INTERVAL);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(looks.tick()).await.is_some() {
                let path = file.clone();
                let Ok(look) = tokio::task::spawn_blocking(move || look(&path)).await else {
                    continue;
                };
                if seen.as_ref() == Some(&look.seen) {
                    continue;
                }
                let first = seen.replace(look.seen).is_none();
                match look.tokens {
                    Ok(tokens) => {
                        let count = tokens.accepted.len();
                        token.replace(tokens);
                        if !first {
                            tracing::info!(tokens = count, "the join token was replaced");
                        }
                    }
                    Err(why) => {
                        tracing::warn!(%why, file = %file.display(), "MCP_JOIN_TOKEN_FILE: the old join token is used on");
                    }
                }
            }
        });
    }
}

struct Look {
    /// What a change is told by, without keeping the secret.
    seen: Vec<u8>,
    tokens: Result<Tokens, String>,
}

fn look(file: &Path) -> Look {
    match std::fs::read_to_string(file).map(SecretString::from) {
        Ok(text) => Look {
            seen: Sha256::digest(secrecy::ExposeSecret::expose_secret(&text)).to_vec(),
            tokens: Tokens::read(&text).map_err(|error| error.to_string()),
        },
        Err(error) => Look {
            seen: error.to_string().into_bytes(),
            tokens: Err(format!("it can't be read: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_apart_from_its_successor_and_from_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef\nfedcba9876543210\n").unwrap();
        let first = look(file.path());
        assert_eq!(first.tokens.unwrap().accepted.len(), 2);
        assert_eq!(look(file.path()).seen, first.seen);
        std::fs::write(file.path(), "short").unwrap();
        let second = look(file.path());
        assert_ne!(second.seen, first.seen);
        assert!(second.tokens.is_err());
        assert!(look(Path::new("/does/not/exist")).tokens.is_err());
    }
}
