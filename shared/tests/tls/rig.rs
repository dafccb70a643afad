//! Two sides that speak gRPC over connections of ours, with certificates as a test wants them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dynamic_mcp_shared::clock::{Clock as _, ManualClock, SystemClock};
use dynamic_mcp_shared::tls::authority::{Authority, Request};
use dynamic_mcp_shared::tls::{self, Connector, Identity, OnlyFrom, Role, TlsFiles, Trust, whole_story};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::InterceptorLayer;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

pub const HOST: &str = "127.0.0.1";

/// One side's files.
pub struct Side {
    pub dir: TempDir,
    pub trust: Arc<Trust>,
}

pub struct Served {
    pub address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

pub fn authority() -> Authority {
    let now = SystemClock.now();
    Authority::new(now - TimeDelta::days(100), now + TimeDelta::days(100)).unwrap()
}

pub fn executor(id: &str) -> Identity {
    Identity::Executor(id.parse().unwrap())
}

/// Good today, here.
pub fn good(identity: Identity) -> Request {
    let now = SystemClock.now();
    Request {
        identity,
        hosts: vec![HOST.to_owned()],
        not_before: now - TimeDelta::days(1),
        not_after: now + TimeDelta::days(1),
    }
}

pub fn expired(identity: Identity) -> Request {
    let now = SystemClock.now();
    Request {
        not_before: now - TimeDelta::days(9),
        not_after: now - TimeDelta::days(8),
        ..good(identity)
    }
}

pub fn not_yet_good(identity: Identity) -> Request {
    let now = SystemClock.now();
    Request {
        not_before: now + TimeDelta::days(8),
        not_after: now + TimeDelta::days(9),
        ..good(identity)
    }
}

impl Side {
    /// Signed by that authority, and trusting it.
    pub fn new(authority: &Authority, request: &Request) -> Self {
        Self::trusting(authority.certificate_pem(), authority, request)
    }

    /// Believes that its certificate is good: no side would start with another.
    pub fn trusting(bundle: &str, authority: &Authority, request: &Request) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), bundle, authority, request);
        let noon = request.not_before + (request.not_after - request.not_before) / 2;
        let trust = open(dir.path(), request.identity.role(), noon);
        Self { dir, trust }
    }

    pub fn replace(&self, bundle: &str, authority: &Authority, request: &Request) {
        write(self.dir.path(), bundle, authority, request);
    }

    /// A server that lets in only that role.
    pub async fn serve(&self, only: Role) -> Served {
        let listener = TcpListener::bind((HOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, health) = tonic_health::server::health_reporter();
        let incoming = tls::incoming(listener, Some(self.trust.clone()));
        let serving = Server::builder()
            .layer(InterceptorLayer::new(OnlyFrom(only)))
            .add_service(health)
            .serve_with_incoming(incoming);
        #[expect(clippy::disallowed_methods, reason = "aborted with the test")]
        let server = tokio::spawn(async move { serving.await.unwrap() });
        Served {
            address,
            _server: AbortOnDropHandle::new(server),
        }
    }

    /// A channel to whoever is at that address, meaning that one.
    pub fn channel(&self, address: &str, meant: Identity) -> Channel {
        let connector = Connector::new(self.trust.clone(), meant);
        tls::endpoint(address)
            .unwrap()
            .connect_with_connector_lazy(connector)
    }

    /// Connects and asks; answers what a person would be told.
    pub async fn ask(&self, address: &str, meant: Identity) -> Result<(), String> {
        ask(&self.channel(address, meant)).await
    }
}

impl Served {
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

pub async fn ask(channel: &Channel) -> Result<(), String> {
    let asking = async {
        let mut client = HealthClient::new(channel.clone());
        let answer = client.check(HealthCheckRequest::default()).await;
        answer.map(drop).map_err(|status| {
            let causes = std::error::Error::source(&status).map(whole_story);
            format!(
                "{}: {}",
                status.code(),
                causes.unwrap_or_else(|| status.message().to_owned())
            )
        })
    };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .unwrap()
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles {
        ca: dir.join("ca.pem"),
        cert: dir.join("own.pem"),
        key: dir.join("own.key"),
    }
}

fn write(dir: &Path, bundle: &str, authority: &Authority, request: &Request) {
    let pair = authority.issue(request).unwrap();
    let files = files(dir);
    std::fs::write(files.ca, bundle).unwrap();
    std::fs::write(files.key, pair.key).unwrap();
    std::fs::write(files.cert, pair.certificate).unwrap();
}

fn open(dir: &Path, role: Role, now: DateTime<Utc>) -> Arc<Trust> {
    Trust::open(files(dir), role, Arc::new(ManualClock::at(now))).unwrap()
}
