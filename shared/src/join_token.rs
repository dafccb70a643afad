//! The secret that both planes share: without it an executor can't join, and nobody can send an executor work.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const HEADER: &str = "authorization";
/// Shorter ones can be guessed.
const MIN_CHARS: usize = 16;

#[derive(Debug, Clone)]
pub struct JoinToken(SecretString);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the join token must be at least {MIN_CHARS} characters of visible ASCII")]
pub struct InvalidJoinToken;

impl JoinToken {
    pub fn new(secret: SecretString) -> Result<Self, InvalidJoinToken> {
        let text = secret.expose_secret();
        let ok = text.len() >= MIN_CHARS && text.bytes().all(|b| b.is_ascii_graphic());
        if ok {
            Ok(Self(secret))
        } else {
            Err(InvalidJoinToken)
        }
    }

    /// A token nobody else knows, for the two planes of one process.
    pub fn random() -> Self {
        let text = format!(
            "{}{}",
            crate::ids::random_uuid().simple(),
            crate::ids::random_uuid().simple()
        );
        Self(SecretString::from(text))
    }

    /// Adds the token to every request.
    #[expect(clippy::expect_used, reason = "`new` admits only visible ASCII")]
    pub fn attach(&self) -> AttachToken {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.0.expose_secret())
            .parse()
            .expect("visible ASCII is a header value");
        value.set_sensitive(true);
        AttachToken(value)
    }

    /// Refuses every request without the token.
    pub fn require(&self) -> RequireToken {
        RequireToken(self.clone())
    }
}

#[derive(Debug, Clone)]
pub struct AttachToken(MetadataValue<Ascii>);

impl Interceptor for AttachToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(HEADER, self.0.clone());
        Ok(request)
    }
}

#[derive(Debug, Clone)]
pub struct RequireToken(JoinToken);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request
            .metadata()
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let expected = self.0.0.expose_secret().as_bytes();
        match given {
            Some(token) if bool::from(token.as_bytes().ct_eq(expected)) => Ok(request),
            Some(_) => Err(Status::unauthenticated(
                "the join token is not the one this side was given",
            )),
            None => Err(Status::unauthenticated("this service needs the join token")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> JoinToken {
        JoinToken::new(SecretString::from(text.to_owned())).unwrap()
    }

    #[test]
    fn the_same_token_opens_and_another_does_not() {
        let request = token("0123456789abcdef").attach().call(Request::new(())).unwrap();
        let metadata = request.metadata().clone();
        assert!(token("0123456789abcdef").require().call(request).is_ok());
        let mut again = Request::new(());
        *again.metadata_mut() = metadata;
        assert!(token("0123456789abcdeg").require().call(again).is_err());
        assert!(
            token("0123456789abcdef")
                .require()
                .call(Request::new(()))
                .is_err()
        );
    }

    #[test]
    fn a_short_token_is_refused() {
        assert!(JoinToken::new(SecretString::from("short".to_owned())).is_err());
    }
}
