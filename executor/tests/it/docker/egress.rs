//! What an install reaches: a registry of the test's own, on loopback, and nothing beside it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use dynamic_mcp_executor::docker::config::DockerConfig;
use dynamic_mcp_executor::engine::ResolveError;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::dependencies::Packages;
use super::rig::small;

/// Answers on a free port of loopback, in a thread that ends with the test's process.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// `answer`: from the address of the server and a path to a body.
    fn start(answer: impl Fn(SocketAddr, &str) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
                serve(stream.unwrap(), |path| answer(address, path));
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn config(&self, networks: &[&str]) -> DockerConfig {
        DockerConfig {
            npm_registry: Some(format!("http://{}/", self.address)),
            npm_registry_networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            ..small()
        }
    }
}

/// One request of one connection; a client that breaks off gets nothing.
fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> Option<Vec<u8>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    let (status, body) = match answer(path) {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", b"{}".to_vec()),
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _gone = stream.write_all(&[head.as_bytes(), &body].concat());
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

    fn answer(&self, registry: SocketAddr, path: &str) -> Option<Vec<u8>> {
        let name = self.name;
        let archive = format!("/{name}/-/{name}-1.0.0.tgz");
        if path == archive {
            return Some(self.archive.clone());
        }
        let integrity = format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(&self.archive)));
        let about = json!({"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
            "name": name, "version": "1.0.0", "dependencies": self.dependencies,
            "dist": {"tarball": format!("http://{registry}{archive}"), "integrity": integrity},
        }}});
        (path == format!("/{name}")).then(|| about.to_string().into_bytes())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_of_ones_own_is_reached_where_the_operator_says_that_it_is() {
    let package = Package::new("inside", json!({}));
    let registry = Server::start(move |address, path| package.answer(address, path));
    let packages = Packages::with(registry.config(&["127.0.0.0/8"])).await;
    let lock = packages.resolve(&[("inside", "^1.0.0")]).await.unwrap();
    let code = "return (await import('inside')).default";
    assert_eq!(packages.run(&lock, code).await, "from inside");
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_at_an_address_of_the_inside_is_not_dialled_unless_the_operator_says_so() {
    let registry = Server::start(|_, _| None);
    let packages = Packages::with(registry.config(&["10.0.0.0/8"])).await;
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
    let elsewhere = Server::start(|_, _| Some(b"stolen".to_vec()));
    let evil = format!("http://{}/evil.tgz", elsewhere.address);
    let package = Package::new("inside", json!({"evil": evil}));
    let registry = Server::start(move |address, path| package.answer(address, path));
    let packages = Packages::with(registry.config(&["127.0.0.0/8"])).await;
    let why = packages.refusal(&[("inside", "1")]).await;
    assert!(why.contains(&elsewhere.address.to_string()), "{why}");
    assert_eq!(elsewhere.connections(), 0);
    packages.finish().await;
}
