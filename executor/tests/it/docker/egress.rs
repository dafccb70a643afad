//! What an install reaches: a registry of the test's own, on loopback, and nothing beside it.

use std::net::SocketAddr;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dynamic_mcp_executor::docker::config::DockerConfig;
use dynamic_mcp_executor::engine::ResolveError;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::dependencies::Packages;
use super::rig::small;
use super::server::{Answer, Server};

fn config(registry: &Server, networks: &[&str]) -> DockerConfig {
    DockerConfig {
        npm_registry: Some(format!("http://{}/", registry.address)),
        npm_registry_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        ..small()
    }
}

/// A package as a registry serves it.
#[derive(Clone)]
struct Package {
    name: &'static str,
    dependencies: Value,
    archive: Vec<u8>,
}

impl Package {
    fn new(name: &'static str, dependencies: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("package");
        std::fs::create_dir(&folder).unwrap();
        let manifest =
            json!({"name": name, "version": "1.0.0", "dependencies": dependencies, "main": "index.js"});
        std::fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
        std::fs::write(folder.join("index.js"), "module.exports = 'from inside';").unwrap();
        let packed = Command::new("tar")
            .args(["-czf", "-", "-C"])
            .arg(dir.path())
            .arg("package")
            .output()
            .unwrap();
        assert!(packed.status.success());
        Self {
            name,
            dependencies,
            archive: packed.stdout,
        }
    }

    fn answer(&self, registry: SocketAddr, path: &str) -> Option<Answer> {
        let name = self.name;
        let archive = format!("/{name}/-/{name}-1.0.0.tgz");
        if path == archive {
            return Some(Answer::of(self.archive.clone()));
        }
        let integrity = format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(&self.archive)));
        let about = json!({"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
            "name": name, "version": "1.0.0", "dependencies": self.dependencies,
            "dist": {"tarball": format!("http://{registry}{archive}"), "integrity": integrity},
        }}});
        (path == format!("/{name}")).then(|| Answer::of(about.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_ones_own_is_reached_where_the_operator_says_that_it_is() {
    let package = Package::new("inside", json!({}));
    let registry = Server::start(move |address, path| package.answer(address, path));
    let packages = Packages::with(config(&registry, &["127.0.0.0/8"])).await;
    let lock = packages.resolve(&[("inside", "^1.0.0")]).await.unwrap();
    let code = "return (await import('inside')).default";
    assert_eq!(packages.run(&lock, code).await, "from inside");
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_at_an_address_of_the_inside_is_not_dialled_unless_the_operator_says_so() {
    let registry = Server::start(|_, _| None);
    let packages = Packages::with(config(&registry, &["10.0.0.0/8"])).await;
    let ResolveError::Unavailable(why) = packages.resolve(&[("inside", "1")]).await.unwrap_err() else {
        panic!("not the author's fault")
    };
    assert!(
        why.contains("127.0.0.1") && why.contains("MCP_SANDBOX_NPM_REGISTRY_NETWORKS"),
        "{why}"
    );
    assert_eq!(registry.connections(), 0);
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_wants_something_from_elsewhere_is_refused_and_elsewhere_hears_nothing() {
    let elsewhere = Server::start(|_, _| Some(Answer::of("stolen")));
    let evil = format!("http://{}/evil.tgz", elsewhere.address);
    let package = Package::new("inside", json!({"evil": evil}));
    let registry = Server::start(move |address, path| package.answer(address, path));
    let packages = Packages::with(config(&registry, &["127.0.0.0/8"])).await;
    let why = packages.refusal(&[("inside", "1")]).await;
    assert!(why.contains(&elsewhere.address.to_string()), "{why}");
    assert_eq!(elsewhere.connections(), 0);
    packages.finish().await;
}
