//! Who may join, over the real fleet service: an executor is who its certificate says, where its certificate says.
#![expect(clippy::expect_used, reason = "a test that can't be set up fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use dynamic_mcp_control_plane::grpc::{self, Admission};
use dynamic_mcp_control_plane::scheduler::fleet::Fleet;
use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::fleet_client::FleetClient;
use dynamic_mcp_proto::v1::join_request::Message;
use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::tls::authority::{Authority, Request};
use dynamic_mcp_shared::tls::{self, Connector, Identity, TlsFiles, Trust};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

const TOKEN: &str = "a-join-token-of-this-test";

/// A control plane that executors join, and the authority of both.
struct Scene {
    authority: Authority,
    dir: TempDir,
    fleet: Arc<Fleet>,
    address: String,
    encrypted: bool,
    _stop: DropGuard,
    _serving: AbortOnDropHandle<()>,
}

/// What an executor says to the control plane.
struct Says<'a> {
    id: &'a str,
    address: &'a str,
    token: JoinToken,
}

impl Default for Says<'_> {
    fn default() -> Self {
        Self {
            id: "exe_one",
            address: "https://one:8790",
            token: JoinToken::none(),
        }
    }
}

/// In the fleet for as long as it is kept.
struct Joined {
    _requests: mpsc::Sender<v1::JoinRequest>,
    _answers: Streaming<v1::JoinResponse>,
}

fn token() -> JoinToken {
    JoinToken::new(&TOKEN.into()).expect("a token")
}

fn open(authority: &Authority, dir: &Path, identity: Identity, hosts: &[&str]) -> Arc<Trust> {
    let now = SystemClock.now();
    let role = identity.role();
    let pair = authority
        .issue(&Request {
            identity,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            not_before: now - TimeDelta::days(1),
            not_after: now + TimeDelta::days(1),
        })
        .expect("a certificate");
    let files = TlsFiles {
        ca: dir.join("ca.pem"),
        cert: dir.join("cert.pem"),
        key: dir.join("cert.key"),
    };
    std::fs::write(&files.ca, authority.certificate_pem()).expect("written");
    std::fs::write(&files.cert, pair.certificate).expect("written");
    std::fs::write(&files.key, pair.key).expect("written");
    Trust::open(files, role, Arc::new(SystemClock)).expect("a good certificate")
}

impl Scene {
    async fn encrypted(join_token: JoinToken) -> Self {
        Self::new(true, join_token, false).await
    }

    async fn plaintext(insecure: bool) -> Self {
        Self::new(false, token(), insecure).await
    }

    async fn new(encrypted: bool, join_token: JoinToken, insecure: bool) -> Self {
        let now = SystemClock.now();
        let authority = Authority::new(now - TimeDelta::days(2), now + TimeDelta::days(2));
        let (authority, dir) = (
            authority.expect("an authority"),
            tempfile::tempdir().expect("a directory"),
        );
        let trust = encrypted.then(|| open(&authority, dir.path(), Identity::ControlPlane, &["127.0.0.1"]));
        let fleet = Arc::new(Fleet::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let stop = CancellationToken::new();
        let admission = Arc::new(Admission {
            join_token,
            trust,
            insecure,
        });
        let serve = grpc::serve(listener, fleet.clone(), admission, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "aborted with the test")]
        let serving = tokio::spawn(async move { serve.await.expect("it serves") });
        Self {
            authority,
            dir,
            fleet,
            address,
            encrypted,
            _stop: stop.drop_guard(),
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    async fn channel(&self, certificate: &Identity) -> Channel {
        if !self.encrypted {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address));
            return endpoint.expect("an address").connect_lazy();
        }
        let dir = self.dir.path().join("executor");
        std::fs::create_dir_all(&dir).expect("a directory");
        let trust = open(
            &self.authority,
            &dir,
            certificate.clone(),
            &["one", "10.0.0.1", "127.0.0.1"],
        );
        let connector = Connector::new(trust, Identity::ControlPlane);
        let endpoint = tls::endpoint(&format!("https://{}", self.address)).expect("an address");
        endpoint.connect_with_connector_lazy(connector)
    }

    /// Joins with a certificate of executor one.
    async fn join(&self, says: Says<'_>) -> Result<Joined, Status> {
        let one = Identity::Executor("exe_one".parse().expect("an id"));
        self.join_with(&one, says).await
    }

    async fn join_with(&self, certificate: &Identity, says: Says<'_>) -> Result<Joined, Status> {
        let mut client = FleetClient::with_interceptor(self.channel(certificate).await, says.token.attach());
        let (requests, outgoing) = mpsc::channel(4);
        let register = v1::Register {
            executor_id: says.id.to_owned(),
            epoch: 1,
            address: says.address.to_owned(),
            version: String::new(),
            status: Some(v1::NodeStatus {
                slots: 1,
                ..v1::NodeStatus::default()
            }),
        };
        let message = Some(Message::Register(register));
        requests.send(v1::JoinRequest { message }).await.expect("room");
        let joining = client.join(ReceiverStream::new(outgoing));
        let answers = tokio::time::timeout(Duration::from_secs(30), joining).await;
        let mut answers = answers.expect("an answer in time")?.into_inner();
        answers.message().await?;
        Ok(Joined {
            _requests: requests,
            _answers: answers,
        })
    }

    async fn assert_refused(&self, says: Says<'_>, code: Code, why: &str) {
        let status = self.join(says).await.err().expect("it is refused");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(why), "{why:?} is not in {status}");
        assert_eq!(self.fleet.health().joined, 0, "it is in the fleet all the same");
    }
}

#[tokio::test]
async fn an_executor_joins_as_who_and_where_its_certificate_says() {
    let scene = Scene::encrypted(JoinToken::none()).await;
    for address in ["https://one:8790", "https://10.0.0.1:1", "https://ONE:2"] {
        let says = Says {
            address,
            ..Says::default()
        };
        let _joined = scene.join(says).await.expect(address);
        assert_eq!(scene.fleet.health().joined, 1);
    }
}

#[tokio::test]
async fn the_id_of_another_executor_is_not_to_be_had() {
    let scene = Scene::encrypted(token()).await;
    let says = Says {
        id: "exe_two",
        token: token(),
        ..Says::default()
    };
    let why = "the certificate is executor exe_one's, and exe_two wants to join";
    scene.assert_refused(says, Code::PermissionDenied, why).await;
}

#[tokio::test]
async fn the_address_of_another_executor_is_not_to_be_had() {
    let scene = Scene::encrypted(token()).await;
    for (address, host) in [
        ("https://two:8790", "two"),
        ("https://10.0.0.2:1", "10.0.0.2"),
        ("https://one.example:1", "one.example"),
        ("https://one@two:1", "two"),
    ] {
        let says = Says {
            address,
            token: token(),
            ..Says::default()
        };
        let why = format!("not for {host},");
        scene.assert_refused(says, Code::PermissionDenied, &why).await;
    }
}

#[tokio::test]
async fn with_certificates_nothing_is_said_in_plaintext() {
    let scene = Scene::encrypted(JoinToken::none()).await;
    for address in ["http://one:8790", "one:8790", "https://", "ftp://one", ""] {
        let says = Says {
            address,
            ..Says::default()
        };
        scene
            .assert_refused(says, Code::InvalidArgument, "https://host:port")
            .await;
    }
}

#[tokio::test]
async fn the_control_planes_own_certificate_joins_nothing() {
    let scene = Scene::encrypted(JoinToken::none()).await;
    let refused = scene.join_with(&Identity::ControlPlane, Says::default()).await;
    let status = refused.err().expect("it is refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().contains("only an executor may ask here"),
        "{status}"
    );
}

#[tokio::test]
async fn a_join_token_is_needed_besides_where_there_is_one() {
    let scene = Scene::encrypted(token()).await;
    let why = "needs the join token";
    scene
        .assert_refused(Says::default(), Code::Unauthenticated, why)
        .await;
    let wrong = Says {
        token: JoinToken::random(),
        ..Says::default()
    };
    scene
        .assert_refused(wrong, Code::Unauthenticated, "none of those")
        .await;
    let right = Says {
        token: token(),
        ..Says::default()
    };
    let _joined = scene.join(right).await.expect("the token");
}

#[tokio::test]
async fn without_certificates_an_executor_is_on_this_machine_unless_it_is_allowed_elsewhere() {
    let says = |address: &'static str| Says {
        address,
        token: token(),
        ..Says::default()
    };
    let scene = Scene::plaintext(false).await;
    let why = "certificates";
    scene
        .assert_refused(says("http://10.0.0.1:1"), Code::PermissionDenied, why)
        .await;
    scene
        .assert_refused(
            says("https://127.0.0.1:1"),
            Code::InvalidArgument,
            "http://host:port",
        )
        .await;
    for address in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
        let _joined = scene.join(says(address)).await.expect(address);
    }
    let scene = Scene::plaintext(true).await;
    let _joined = scene
        .join(says("http://10.0.0.1:1"))
        .await
        .expect("it is allowed");
}
