//! Who may join, and the way back to it. A certificate says which executor somebody is and where it is reached: whoever
//! could say so freely would have the code of all tenants sent to itself.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::tls::{self, Certificate, Connector, Identity, Trust};
use http::Uri;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;

use super::KEEP_ALIVE;
use crate::scheduler::fleet::{ExecutorChannel, Ways};

const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// HTTP/2's default window is 64 KiB: one large result would stall every call beside it.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

pub struct Admission {
    pub join_token: JoinToken,
    /// `None`: plaintext.
    pub trust: Option<Arc<Trust>>,
    /// Plaintext may leave this machine.
    pub insecure: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("{0:?} is not an address of the form {1}://host:port")]
    Address(String, &'static str),
    #[error("{}", tls::in_plaintext(.0))]
    Plaintext(String),
    #[error("no certificate was shown")]
    NoCertificate,
    #[error(
        "the certificate is {of}'s, and {id} wants to join: an executor joins as the one that its certificate names"
    )]
    OtherExecutor { of: String, id: ExecutorId },
    #[error(
        "the certificate is good for {known}, and not for {host}, where the executor says that it is reached: \
         dynamic-mcp certs executor --id {id} --host {host} --force"
    )]
    OtherHost {
        known: String,
        host: String,
        id: ExecutorId,
    },
}

impl From<NotAdmitted> for Status {
    fn from(error: NotAdmitted) -> Self {
        let text = error.to_string();
        match error {
            NotAdmitted::Address(..) => Status::invalid_argument(text),
            NotAdmitted::NoCertificate => Status::unauthenticated(text),
            NotAdmitted::Plaintext(_) | NotAdmitted::OtherExecutor { .. } | NotAdmitted::OtherHost { .. } => {
                Status::permission_denied(text)
            }
        }
    }
}

impl Admission {
    /// Whether an executor is the one that it says, and is reached where it says.
    pub(super) fn check(
        &self,
        id: &ExecutorId,
        address: &str,
        certificate: Option<&Certificate>,
    ) -> Result<Uri, NotAdmitted> {
        let uri = self.reachable(address)?;
        if self.trust.is_none() {
            return Ok(uri);
        }
        let host = uri.host().unwrap_or_default();
        let certificate = certificate.ok_or(NotAdmitted::NoCertificate)?;
        match certificate.identity() {
            Ok(Identity::Executor(named)) if named == id => {}
            other => {
                return Err(NotAdmitted::OtherExecutor {
                    of: other.map_or_else(|_| "nobody".to_owned(), ToString::to_string),
                    id: id.clone(),
                });
            }
        }
        if !certificate.covers(host) {
            return Err(NotAdmitted::OtherHost {
                known: certificate.hosts().join(", "),
                host: host.to_owned(),
                id: id.clone(),
            });
        }
        Ok(uri)
    }

    /// The way to an executor that has joined another replica. Who says so is not believed: with certificates nobody but
    /// that executor can answer there, at a host that its certificate is good for. With a join token alone who can write
    /// to Redis can name any address.
    pub(crate) fn channel_to(&self, id: &ExecutorId, address: &str) -> Result<Ways, NotAdmitted> {
        let uri = self.reachable(address)?;
        self.ways(id, &uri)
            .map_err(|_| NotAdmitted::Address(address.to_owned(), self.scheme()))
    }

    fn scheme(&self) -> &'static str {
        if self.trust.is_some() { "https" } else { "http" }
    }

    /// Whether it is an address that this control plane may connect to at all.
    fn reachable(&self, address: &str) -> Result<Uri, NotAdmitted> {
        let scheme = self.scheme();
        let uri: Uri = address
            .parse()
            .ok()
            .filter(|uri: &Uri| uri.scheme_str() == Some(scheme))
            .ok_or_else(|| NotAdmitted::Address(address.to_owned(), scheme))?;
        let stays_here = || tls::is_loopback(uri.host().unwrap_or_default());
        if self.trust.is_some() || self.insecure || stays_here() {
            Ok(uri)
        } else {
            Err(NotAdmitted::Plaintext(address.to_owned()))
        }
    }

    pub(super) fn ways(&self, id: &ExecutorId, address: &Uri) -> Result<Ways, tonic::transport::Error> {
        Ok(Ways {
            jobs: self.channel(id, address)?,
            files: self.channel(id, address)?,
        })
    }

    /// Connects when it is first used, and to no other executor than that one.
    fn channel(&self, id: &ExecutorId, address: &Uri) -> Result<ExecutorChannel, tonic::transport::Error> {
        let endpoint = tls::endpoint(&address.to_string())?
            .connect_timeout(CONNECT_DEADLINE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .tcp_nodelay(true);
        let channel = match &self.trust {
            None => endpoint.connect_lazy(),
            Some(trust) => {
                let peer = Identity::Executor(id.clone());
                endpoint.connect_with_connector_lazy(Connector::new(trust.clone(), peer))
            }
        };
        Ok(InterceptedService::new(channel, self.join_token.attach()))
    }
}
