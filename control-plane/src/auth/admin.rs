//! The token that dangerous operations need where there is no better identity.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// Why somebody may not, in words for that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub &'static str);

#[derive(Debug, Clone, Default)]
pub struct AdminGate(Option<SecretString>);

impl AdminGate {
    /// `None` lets everybody through.
    pub fn new(token: Option<SecretString>) -> Self {
        Self(token)
    }

    /// # Errors
    /// When a token is needed and the one given is not it. The comparison takes the same time for every token of a length.
    pub fn check(&self, given: Option<&str>) -> Result<(), Forbidden> {
        let Some(expected) = &self.0 else { return Ok(()) };
        match given {
            None => Err(Forbidden("this operation needs the argument adminToken")),
            Some(token) if bool::from(token.as_bytes().ct_eq(expected.expose_secret().as_bytes())) => Ok(()),
            Some(_) => Err(Forbidden("adminToken is not the one this server was given")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_configured_token_opens() {
        let gate = AdminGate::new(Some(SecretString::from("correct horse".to_owned())));
        assert!(gate.check(Some("correct horse")).is_ok());
        assert!(gate.check(Some("correct hors")).is_err());
        assert!(gate.check(None).is_err());
        assert!(AdminGate::default().check(None).is_ok());
    }

    proptest! {
        #[test]
        fn a_token_opens_if_it_is_the_same_to_the_last_byte(expected in ".{1,20}", given in ".{0,20}") {
            let gate = AdminGate::new(Some(SecretString::from(expected.clone())));
            prop_assert_eq!(gate.check(Some(&given)).is_ok(), given == expected);
            prop_assert!(gate.check(Some(&expected)).is_ok());
            let longer = expected + "x";
            prop_assert!(gate.check(Some(&longer)).is_err());
        }
    }
}
