//! Whom an executor with a certificate serves.

use std::path::Path;

use chrono::TimeDelta;
use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use dynamic_mcp_shared::tls::authority::{Authority, Request};
use dynamic_mcp_shared::tls::{self, Connector, Identity, TlsFiles, Trust};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;

fn open(authority: &Authority, dir: &Path, identity: Identity) -> Arc<Trust> {
    let now = SystemClock.now();
    let role = identity.role();
    let pair = authority
        .issue(&Request {
            identity,
            hosts: vec!["127.0.0.1".to_owned()],
            not_before: now - TimeDelta::days(1),
            not_after: now + TimeDelta::days(1),
        })
        .unwrap();
    let path = |name: &str| dir.join(name);
    let files = TlsFiles {
        ca: path("ca.pem"),
        cert: path("cert.pem"),
        key: path("cert.key"),
    };
    std::fs::write(&files.ca, authority.certificate_pem()).unwrap();
    std::fs::write(&files.cert, pair.certificate).unwrap();
    std::fs::write(&files.key, pair.key).unwrap();
    Trust::open(files, role, Arc::new(SystemClock)).unwrap()
}

fn executor(id: &str) -> Identity {
    Identity::Executor(id.parse().unwrap())
}

#[tokio::test]
async fn an_executor_serves_the_control_plane_and_no_other_executor() {
    let now = SystemClock.now();
    let authority = Authority::new(now - TimeDelta::days(1), now + TimeDelta::days(1)).unwrap();
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let own = open(&authority, dirs[0].path(), executor("exe_one"));
    let control_plane = open(&authority, dirs[1].path(), Identity::ControlPlane);
    let neighbour = open(&authority, dirs[2].path(), executor("exe_two"));

    let state = tempfile::tempdir().unwrap();
    let identity = Identity::clone(own.identity());
    let Identity::Executor(id) = &identity else {
        panic!("another role");
    };
    let held = Arc::new(crate::identity::Identity::claim_as(state.path(), id).unwrap());
    let engine = Arc::new(FakeEngine::willing());
    let node = Arc::new(Node::new(held, engine, 2, SandboxPolicy::default()));
    let lifecycle = Lifecycle::new(Duration::from_secs(10));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let incoming = tls::incoming(listener, Some(own));
    node.serve(incoming, &JoinToken::none(), SHORT, &lifecycle);

    let channel = |caller: Arc<Trust>| {
        let connector = Connector::new(caller, identity.clone());
        tls::endpoint(&url)
            .unwrap()
            .connect_with_connector_lazy(connector)
    };
    let request = v1::ResolveDependenciesRequest {
        tenant: "default".to_owned(),
        image: "node:lts-slim".to_owned(),
        dependencies: Vec::new(),
    };
    let mut client = ExecutorClient::new(channel(control_plane));
    client.resolve_dependencies(request.clone()).await.unwrap();

    let refused = channel(neighbour);
    let mut client = ExecutorClient::new(refused.clone());
    let status = client.resolve_dependencies(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("executor exe_two's"), "{status}");
    let (_say, requests) = mpsc::channel(1);
    let status = client.execute(ReceiverStream::new(requests)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut health = HealthClient::new(refused);
    let status = health.check(HealthCheckRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "not even how it is");
}
