//! A `redis-server` of a test's own, which it may stall and kill.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const START: Duration = Duration::from_secs(10);
pub const PASSWORD: &str = "a-password-of-this-test";

pub struct Server {
    child: Child,
    pub port: u16,
    settings: String,
    dir: TempDir,
}

impl Server {
    /// With a password.
    pub async fn start() -> Self {
        let port = free_port().await;
        Self::start_with(port, format!("port {port}\nrequirepass {PASSWORD}\n")).await
    }

    /// `settings` say on which port it listens, and how.
    pub async fn start_with(port: u16, settings: String) -> Self {
        let dir = TempDir::new().unwrap();
        let child = spawn(&settings, &dir).await;
        let server = Self {
            child,
            port,
            settings,
            dir,
        };
        server.listening().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    /// Connections stay open, new ones are taken, and nobody answers on them.
    pub async fn stall(&self) {
        self.signal("STOP").await;
    }

    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// On the same port, and with nothing in it.
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.settings, &self.dir).await;
        self.listening().await;
    }

    async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .await;
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    async fn listening(&self) {
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "redis-server did not start:\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn spawn(settings: &str, dir: &TempDir) -> Child {
    let mut child = Command::new("redis-server")
        .arg("-")
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is there: scripts/services installs it");
    let own = format!(
        "bind 127.0.0.1\nsave \"\"\nappendonly no\ndir {0}\nlogfile {0}/log\n{settings}",
        dir.path().display()
    );
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(own.as_bytes()).await.unwrap();
    child
}
