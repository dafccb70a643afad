//! A server and callers that it must not serve.

use std::time::Duration;

use dynamic_mcp_shared::tls::{Identity, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;

use super::rig::{Side, ask, authority, executor, expired, good, not_yet_good};

fn assert_says(answer: Result<(), String>, expected: &str) {
    let said = answer.unwrap_err();
    assert!(said.contains(expected), "{expected:?} is not in {said:?}");
}

#[tokio::test]
async fn the_control_plane_gets_through_to_an_executor_and_the_other_way_round() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let one = Side::new(&ca, &good(executor("exe_one")));
    let served = one.serve(Role::ControlPlane).await;
    control.ask(&served.url(), executor("exe_one")).await.unwrap();
    let served = control.serve(Role::Executor).await;
    one.ask(&served.url(), Identity::ControlPlane).await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (ca, other) = (authority(), authority());
    let one = Side::new(&ca, &good(executor("exe_one")));
    let served = one.serve(Role::ControlPlane).await;
    let both = format!("{}{}", ca.certificate_pem(), other.certificate_pem());
    let impostor = Side::trusting(&both, &other, &good(Identity::ControlPlane));
    let answer = impostor.ask(&served.url(), executor("exe_one")).await;
    assert_says(answer, "trusts no authority of this side's certificate");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_so_is_one_that_is_not_yet_good() {
    let ca = authority();
    let one = Side::new(&ca, &good(executor("exe_one")));
    let served = one.serve(Role::ControlPlane).await;
    for request in [
        expired(Identity::ControlPlane),
        not_yet_good(Identity::ControlPlane),
    ] {
        let control = Side::new(&ca, &request);
        let answer = control.ask(&served.url(), executor("exe_one")).await;
        assert_says(answer, "expired, or is not good yet");
    }
}

#[tokio::test]
async fn an_executor_is_not_served_by_an_executor_nor_the_control_plane_by_itself() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let one = Side::new(&ca, &good(executor("exe_one")));
    let two = Side::new(&ca, &good(executor("exe_two")));
    let served = one.serve(Role::ControlPlane).await;
    for caller in [&one, &two] {
        let said = caller.ask(&served.url(), executor("exe_one")).await.unwrap_err();
        assert!(
            said.contains("permission") && said.contains("only the control plane may ask here"),
            "{said}"
        );
    }
    let served = control.serve(Role::Executor).await;
    let answer = control.ask(&served.url(), Identity::ControlPlane).await;
    assert_says(answer, "only an executor may ask here");
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let ca = authority();
    let one = Side::new(&ca, &good(executor("exe_one")));
    let served = one.serve(Role::ControlPlane).await;
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(one.dir.path().join("ca.pem")).unwrap();
    let der =
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem);
    roots.add(der.unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(served.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let error = stream.read(&mut [0; 64]).await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn plaintext_is_not_understood() {
    let ca = authority();
    let one = Side::new(&ca, &good(executor("exe_one")));
    let served = one.serve(Role::ControlPlane).await;
    let channel = Endpoint::from_shared(format!("http://{}", served.address))
        .unwrap()
        .connect_lazy();
    assert!(ask(&channel).await.is_err());
    let mut raw = TcpStream::connect(served.address).await.unwrap();
    raw.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let reading = raw.read_to_end(&mut said);
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap()
        .unwrap();
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
}
