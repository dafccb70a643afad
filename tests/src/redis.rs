//! A Redis of a test's own, which it may kill, hold still and empty without taking anything from others.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const PASSWORD: &str = "of-the-redis-of-a-test";
/// Another process may take a port between its choice and its use.
const ATTEMPTS: usize = 5;
const START: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(2);

/// Keeps nothing on disk: what is started again is empty.
pub struct RedisServer {
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl RedisServer {
    /// # Errors
    /// When `redis-server` is not installed or does not start.
    pub async fn start() -> Result<Self> {
        let dir = TempDir::new()?;
        let (process, address) = run(&dir).await?;
        Ok(Self {
            process,
            address,
            dir,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        self.url_by(&self.address.to_string())
    }

    /// The same server, reached through another address.
    pub fn url_by(&self, address: &str) -> String {
        format!("redis://default:{PASSWORD}@{address}/0")
    }

    /// Ends it with SIGKILL and waits for that.
    pub async fn kill(&mut self) {
        let _already_dead = self.process.kill().await;
    }

    /// Starts an empty one instead, at another address.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await;
        (self.process, self.address) = run(&self.dir).await?;
        Ok(())
    }

    /// Sends a signal by its name: `STOP`, `CONT`.
    ///
    /// # Errors
    /// When it has ended, or `kill` can't be run.
    pub async fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.process.id().context("it has ended")?.to_string();
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid)
            .status()
            .await?;
        anyhow::ensure!(status.success(), "kill -{signal} redis-server");
        Ok(())
    }

    /// A connection to it, for a look at what the product keeps there.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn connect(&self) -> Result<MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        let connecting = client.get_multiplexed_async_connection();
        Ok(tokio::time::timeout(ANSWER, connecting).await??)
    }

    /// All keys, in order.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn keys(&self) -> Result<Vec<String>> {
        let mut keys: Vec<String> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut self.connect().await?)
            .await?;
        keys.sort_unstable();
        Ok(keys)
    }
}

async fn run(dir: &TempDir) -> Result<(Child, SocketAddr)> {
    for _ in 0..ATTEMPTS {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let mut process = Command::new("redis-server")
            .arg("-")
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("redis-server: run scripts/test, which installs it")?;
        let settings = format!(
            "bind 127.0.0.1\nport {}\nrequirepass {PASSWORD}\nsave \"\"\nappendonly no\n",
            address.port()
        );
        let mut stdin = process.stdin.take().context("its stdin")?;
        stdin.write_all(settings.as_bytes()).await?;
        drop(stdin);
        if answers(&mut process, address).await? {
            return Ok((process, address));
        }
    }
    bail!("redis-server found no port in {ATTEMPTS} attempts")
}

/// Whether it is there; not so when another process has its port.
async fn answers(process: &mut Child, address: SocketAddr) -> Result<bool> {
    let client = redis::Client::open(format!("redis://default:{PASSWORD}@{address}/0"))?;
    let pinging = async {
        loop {
            if process.try_wait()?.is_some() {
                return Ok(false);
            }
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd("PING")
                    .query_async::<()>(&mut connection)
                    .await
                    .is_ok()
            {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answered = tokio::time::timeout(START, pinging).await;
    answered.context("redis-server does not answer")?
}
