//! A server that only speaks TLS, with a certificate of a private authority.

use std::path::PathBuf;

use dynamic_mcp_control_plane::redis::{Heard, RedisConfig, RedisError};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::rig::{config, connect};
use crate::server::{PASSWORD, Server, free_port};

struct Encrypted {
    server: Server,
    dir: TempDir,
}

impl Encrypted {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &Issuer::new(ca, &ca_key)).unwrap();
        for (name, text) in [
            ("ca.pem", ca_certificate.pem()),
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let port = free_port().await;
        let settings = format!(
            "port 0\ntls-port {port}\ntls-auth-clients no\nrequirepass {PASSWORD}\n\
             tls-cert-file {0}/cert.pem\ntls-key-file {0}/key.pem\ntls-ca-cert-file {0}/ca.pem\n",
            dir.path().display()
        );
        Self {
            server: Server::start_with(port, settings).await,
            dir,
        }
    }

    fn config(&self, ca_file: Option<PathBuf>) -> RedisConfig {
        let url = self.server.url().replace("redis://", "rediss://");
        RedisConfig {
            ca_file,
            ..config(&url)
        }
    }
}

#[tokio::test]
async fn commands_and_what_is_published_come_through() {
    let encrypted = Encrypted::start().await;
    let ca = encrypted.dir.path().join("ca.pem");
    let there = connect(&encrypted.config(Some(ca))).await;
    there.set("a", "1").await.unwrap();
    assert_eq!(there.get("a").await.unwrap().as_deref(), Some("1"));
    let mut subscription = there.redis.subscribe(vec!["news".into()]);
    assert_eq!(subscription.next().await, Heard::Listening);
    there.publish("news", "1").await;
    assert!(matches!(subscription.next().await, Heard::Message { payload, .. } if payload == b"1"));
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_nobody_named_is_not_taken() {
    let encrypted = Encrypted::start().await;
    let there = connect(&encrypted.config(None)).await;
    assert_eq!(there.get("a").await, Err(RedisError::Away));
    let why = there.readiness.report().degraded["redis"].clone();
    assert!(why.contains("certificate"), "{why}");
}
