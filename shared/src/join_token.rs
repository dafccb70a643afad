//! The secret that both planes share: without it an executor can't join, and nobody can send an executor work. While it is
//! rotated there are several: each side takes any of them and sends the first.
//!
//! ```text
//! old ──▶ old, new on both sides ──▶ new, old on both sides ──▶ new
//! ```

mod file;

use std::sync::Arc;

use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const HEADER: &str = "authorization";
/// Shorter ones can be guessed.
const MIN_CHARS: usize = 16;

/// Clones are the same, also after it was replaced.
#[derive(Debug, Clone)]
pub struct JoinToken(Arc<RwLock<Arc<Tokens>>>);

#[derive(Debug)]
struct Tokens {
    /// Empty: there is no need of one.
    accepted: Vec<SecretString>,
    sent: Option<MetadataValue<Ascii>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a join token must be at least {MIN_CHARS} characters of visible ASCII; several are separated by white space"
)]
pub struct InvalidJoinToken;

impl JoinToken {
    /// One token, or several with white space between them.
    ///
    /// # Errors
    /// When there is none, or one that is too easily guessed.
    pub fn new(secret: &SecretString) -> Result<Self, InvalidJoinToken> {
        Tokens::read(secret).map(Self::of)
    }

    /// For planes that know each other by their certificates: nothing is sent, and nothing is asked for.
    pub fn none() -> Self {
        Self::of(Tokens {
            accepted: Vec::new(),
            sent: None,
        })
    }

    /// A token nobody else knows, for the two planes of one process.
    pub fn random() -> Self {
        let text = format!(
            "{}{}",
            crate::ids::random_uuid().simple(),
            crate::ids::random_uuid().simple()
        );
        Self::of(Tokens::of(vec![SecretString::from(text)]))
    }

    pub fn is_needed(&self) -> bool {
        !self.0.read().accepted.is_empty()
    }

    /// Adds the token to every request.
    pub fn attach(&self) -> AttachToken {
        AttachToken(self.clone())
    }

    /// Refuses every request without the token.
    pub fn require(&self) -> RequireToken {
        RequireToken(self.clone())
    }

    fn of(tokens: Tokens) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(tokens))))
    }

    fn replace(&self, tokens: Tokens) {
        *self.0.write() = Arc::new(tokens);
    }
}

impl Tokens {
    fn read(secret: &SecretString) -> Result<Self, InvalidJoinToken> {
        let text = secret.expose_secret();
        let fits = |token: &&str| token.len() >= MIN_CHARS && token.bytes().all(|b| b.is_ascii_graphic());
        let tokens: Vec<&str> = text.split_ascii_whitespace().collect();
        if tokens.is_empty() || !tokens.iter().all(fits) {
            return Err(InvalidJoinToken);
        }
        Ok(Self::of(tokens.into_iter().map(SecretString::from).collect()))
    }

    #[expect(clippy::expect_used, reason = "`read` admits only visible ASCII")]
    fn of(accepted: Vec<SecretString>) -> Self {
        let sent = accepted.first().map(|first| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", first.expose_secret())
                .parse()
                .expect("visible ASCII is a header value");
            value.set_sensitive(true);
            value
        });
        Self { accepted, sent }
    }

    /// Takes as long for the first as for the last, and for none of them.
    fn accept(&self, given: &str) -> bool {
        let no = Choice::from(0);
        let known = self.accepted.iter().fold(no, |found, token| {
            found | token.expose_secret().as_bytes().ct_eq(given.as_bytes())
        });
        known.into()
    }
}

#[derive(Debug, Clone)]
pub struct AttachToken(JoinToken);

impl Interceptor for AttachToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(sent) = &self.0.0.read().sent {
            request.metadata_mut().insert(HEADER, sent.clone());
        }
        Ok(request)
    }
}

#[derive(Debug, Clone)]
pub struct RequireToken(JoinToken);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let tokens = self.0.0.read().clone();
        if tokens.accepted.is_empty() {
            return Ok(request);
        }
        let given = request
            .metadata()
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match given {
            Some(token) if tokens.accept(token) => Ok(request),
            Some(_) => Err(Status::unauthenticated(
                "the join token is none of those that this side was given",
            )),
            None => Err(Status::unauthenticated("this service needs the join token")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> JoinToken {
        JoinToken::new(&SecretString::from(text)).unwrap()
    }

    fn opens(theirs: &JoinToken, ours: &JoinToken) -> bool {
        let request = theirs.attach().call(Request::new(())).unwrap();
        ours.require().call(request).is_ok()
    }

    #[test]
    fn the_same_token_opens_and_another_or_none_does_not() {
        let ours = token("0123456789abcdef");
        assert!(opens(&token("0123456789abcdef"), &ours));
        assert!(!opens(&token("0123456789abcdeg"), &ours));
        assert!(!opens(&token("0123456789abcdef0"), &ours));
        assert!(!opens(&JoinToken::none(), &ours));
    }

    #[test]
    fn of_several_tokens_the_first_is_sent_and_any_is_taken() {
        let (old, new) = ("an-old-token-here", "a-new-token-there");
        let both = token(&format!("{old}\n{new}\n"));
        assert!(opens(&token(old), &both) && opens(&token(new), &both));
        assert!(opens(&both, &token(old)) && !opens(&both, &token(new)));
        assert!(!opens(&token("a-third-token-here"), &both));
    }

    #[test]
    fn who_needs_no_token_takes_everybody_and_sends_none() {
        let none = JoinToken::none();
        assert!(!none.is_needed());
        assert!(opens(&token("0123456789abcdef"), &none) && opens(&none, &none));
    }

    #[test]
    fn a_token_that_is_replaced_is_another_one_for_every_clone() {
        let ours = token("0123456789abcdef");
        let mut require = ours.require();
        ours.replace(Tokens::read(&SecretString::from("fedcba9876543210")).unwrap());
        let request = token("fedcba9876543210").attach().call(Request::new(())).unwrap();
        assert!(require.call(request).is_ok());
        assert!(!opens(&token("0123456789abcdef"), &ours));
    }

    #[test]
    fn a_short_token_is_refused_and_so_is_none_at_all() {
        for text in [
            "short",
            "",
            " \n",
            "0123456789abcdef short",
            "0123456789abcd\u{e9}f",
        ] {
            assert!(JoinToken::new(&SecretString::from(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_token_shows_in_debug() {
        let shown = format!("{:?}", token("0123456789abcdef"));
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}
