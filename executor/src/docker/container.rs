//! One sandbox from its making to its end. Dropping it is enough: the janitor removes it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use chrono::{DateTime, Utc};
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use super::client::{EngineClient, EngineError};
use super::config::DockerConfig;
use super::conversation::{Channel, Said, call_header};
use super::frames::{FrameParser, Kind, Nonce};
use super::janitor::{Doomed, Janitor};
use super::labels::{self, labels};
use super::outcome::Exit;
use super::policy::{SandboxShape, container_config};
use crate::capture;
use crate::identity::Identity;
use crate::kept::Keepable;
use crate::metric_names;

/// A sandbox never gets older than this, so that its `expires` label is a promise.
pub const MAX_AGE: Duration = Duration::from_secs(50 * 60);
/// What a container is labelled with: its greatest age, the longest call and time to remove it.
const EXPIRES_AFTER: chrono::Duration = chrono::Duration::minutes(60);
/// From the container's start to the runner's first frame.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// For the Engine to notice that a container has ended after its streams have.
const EXIT: Duration = Duration::from_secs(5);
/// Stray output that is thrown away between two calls before a container is given up as too loud.
const MAX_STRAY_CHUNKS: usize = 64;

pub struct Container {
    pub shape: SandboxShape,
    output: Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>,
    input: Pin<Box<dyn AsyncWrite + Send>>,
    born: Instant,
    /// While a call runs in it.
    pub busy: bool,
    client: Arc<EngineClient>,
    lease: Lease,
}

/// The name of a container that may exist. Giving it back removes the container, at whatever stage its making was.
pub(super) struct Lease {
    pub name: String,
    pub busy: bool,
    pub room: Option<OwnedSemaphorePermit>,
    pub janitor: Arc<Janitor>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.janitor.remove(Doomed {
            name: std::mem::take(&mut self.name),
            busy: self.busy,
            room: self.room.take(),
        });
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.lease.busy = self.busy;
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("the sandbox's runner did not start: {0}")]
    Runner(String),
}

/// What a container is made with.
#[derive(Clone)]
pub struct Maker {
    pub client: Arc<EngineClient>,
    pub config: Arc<DockerConfig>,
    pub identity: Arc<Identity>,
    pub janitor: Arc<Janitor>,
}

impl Maker {
    pub async fn make(
        &self,
        shape: SandboxShape,
        room: OwnedSemaphorePermit,
        now: DateTime<Utc>,
    ) -> Result<Container, MakeError> {
        let name = format!("dynamic-mcp-{}", &Nonce::fresh().as_str()[..20]);
        self.janitor.own(&name);
        let lease = Lease {
            name: name.clone(),
            busy: false,
            room: Some(room),
            janitor: Arc::clone(&self.janitor),
        };
        let labels = labels(
            &self.identity,
            labels::Kind::Sandbox,
            &name,
            None,
            now + EXPIRES_AFTER,
        );
        let body = container_config(&shape, &self.config, labels);
        let id = self.client.create(&name, body).await?;
        metrics::counter!(metric_names::CONTAINERS_CREATED_TOTAL).increment(1);
        let streams = self.client.attach(&id).await?;
        self.client.start(&id).await?;
        let mut container = Container {
            shape,
            output: streams.output,
            input: streams.input,
            born: Instant::now(),
            busy: false,
            client: Arc::clone(&self.client),
            lease,
        };
        match timeout(HANDSHAKE, container.shake_hands()).await {
            Ok(Ok(())) => Ok(container),
            Ok(Err(why)) => Err(MakeError::Runner(why)),
            Err(_) => Err(MakeError::Runner(format!(
                "no answer within {} s",
                HANDSHAKE.as_secs()
            ))),
        }
    }
}

impl Container {
    pub fn name(&self) -> &str {
        &self.lease.name
    }

    async fn shake_hands(&mut self) -> Result<(), String> {
        let nonce = Nonce::fresh();
        let hello = call_header(&nonce, None, 0, 0, false);
        self.write(hello.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut parser = FrameParser::new(&nonce, 1_000);
        // An image that prints before the runner speaks is allowed to; one that can't run it says why.
        let mut printed = Vec::new();
        loop {
            match self.next().await {
                Said::Closed => return Err(String::from_utf8_lossy(&printed).trim().to_owned()),
                Said::Printed(_, bytes) => {
                    let frames = parser.feed(&bytes, |out| {
                        let room = 1_000_usize.saturating_sub(printed.len());
                        printed.extend_from_slice(&out[..out.len().min(room)]);
                    });
                    if frames.iter().any(|frame| frame.kind == Kind::Ready) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

impl Channel for Container {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.input.write_all(bytes).await?;
        self.input.flush().await
    }

    async fn next(&mut self) -> Said {
        loop {
            match self.output.next().await {
                Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                    return Said::Printed(capture::Stream::Stdout, message);
                }
                Some(Ok(LogOutput::StdErr { message })) => {
                    return Said::Printed(capture::Stream::Stderr, message);
                }
                Some(Ok(LogOutput::StdIn { .. })) => {}
                Some(Err(_)) | None => return Said::Closed,
            }
        }
    }

    /// How a container whose streams have ended has ended itself.
    async fn exit(&mut self) -> Result<Exit, String> {
        let (client, name) = (Arc::clone(&self.client), self.name().to_owned());
        let ended = async {
            client.wait(&name, EXIT).await?;
            client.inspect(&name).await
        };
        let inspected = ended.await.map_err(|error: EngineError| error.to_string())?;
        let state = inspected.state.unwrap_or_default();
        Ok(Exit {
            code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
        })
    }
}

impl Keepable for Container {
    fn too_old(&self) -> bool {
        self.born.elapsed() > MAX_AGE
    }

    fn is_quiet(&mut self) -> bool {
        for _ in 0..MAX_STRAY_CHUNKS {
            match self.next().now_or_never() {
                None => return true,
                Some(Said::Closed) => return false,
                Some(Said::Printed(..)) => {}
            }
        }
        false
    }
}
