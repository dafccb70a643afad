//! Who is at the other end of an accepted connection, as requests on it see it.

use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::certificate::Certificate;
use super::identity::{Identity, Role};

/// In the extensions of every request that came over [`super::incoming`].
#[derive(Debug, Clone)]
pub struct Peer(Option<Arc<Certificate>>);

impl Peer {
    pub(super) fn plaintext() -> Self {
        Self(None)
    }

    pub(super) fn of(certificate: Certificate) -> Self {
        Self(Some(Arc::new(certificate)))
    }

    /// The certificate of whoever asks. `None`: it came in plaintext, or from this very process.
    pub fn certificate<T>(request: &Request<T>) -> Option<Arc<Certificate>> {
        request.extensions().get::<Self>()?.0.clone()
    }
}

/// Refuses the requests of everybody else who has a certificate. A listener is in plaintext only where that is allowed.
#[derive(Debug, Clone, Copy)]
pub struct OnlyFrom(pub Role);

impl Interceptor for OnlyFrom {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let Some(certificate) = Peer::certificate(&request) else {
            return Ok(request);
        };
        let whose = match certificate.identity() {
            Ok(identity) if identity.role() == self.0 => return Ok(request),
            Ok(identity) => format!("{identity}'s"),
            Err(why) => format!("nobody's ({why})"),
        };
        tracing::warn!(identity = whose, wanted = %self.0, "a request with another one's certificate was refused");
        Err(Status::permission_denied(format!(
            "only {} may ask here, and the certificate is {whose}: {} makes one",
            self.0,
            self.0.command()
        )))
    }
}

/// Whether a certificate is that one's.
pub(super) fn check(certificate: &Certificate, wanted: &Identity) -> Result<(), String> {
    match certificate.identity() {
        Ok(identity) if identity == wanted => Ok(()),
        Ok(identity) => Err(format!("{identity} answers there, not {wanted}")),
        Err(why) => Err(format!("{wanted} does not answer there: {why}")),
    }
}
