//! One run of the installer: a container is made, told what to do, listened to, and removed, however it ends.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::{AttachContainerResults, LogOutput};
use bytes::Bytes;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::TenantId;
use futures::{Stream, StreamExt as _};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::egress::{Channels, Decoder, Egress, Frame, Garbled, Kind, Resolver};
use super::lock::Registry;
use super::npm::Failure;
use super::profile::{Purpose, container_config};
use crate::docker::client::{EngineClient, EngineError};
use crate::docker::janitor::{Doomed, Janitor};
use crate::docker::labels::{self, labels};
use crate::engine::ResolveError;
use crate::identity::Identity;

/// For npm, from the container's start to its report.
pub(super) const DEADLINE: Duration = Duration::from_secs(120);
/// At this age its executor has removed it.
const EXPIRES_AFTER: chrono::Duration = chrono::Duration::minutes(10);
const MAX_COMPLAINT_BYTES: usize = 2_000;

pub(super) struct Installer {
    pub client: Arc<EngineClient>,
    pub identity: Arc<Identity>,
    pub janitor: Arc<Janitor>,
    pub clock: Arc<dyn Clock>,
    /// PEM, read anew for each run: such a file is renewed while the executor runs.
    pub ca_bundle: Option<std::path::PathBuf>,
    pub resolver: Arc<dyn Resolver>,
    /// Private networks in which a registry may be.
    pub networks: Arc<[IpNet]>,
}

/// What is to be run.
#[derive(Clone)]
pub(super) struct Run<'a> {
    pub name: &'a str,
    pub purpose: Purpose<'a>,
    pub image: &'a str,
    pub tenant: Option<&'a TenantId>,
    /// All that it reaches; `None`: nothing.
    pub registry: Option<&'a Registry>,
    /// The installer's line without what is added here.
    pub request: Value,
}

/// How a run failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// A container of this name is there: somebody does the same right now.
    #[error("a container of this name is there already")]
    NameTaken,
    /// It ended without a report: killed, or removed by somebody else.
    #[error("the install container ended without a report")]
    Lost,
    /// The volume belongs to somebody else.
    #[error("the volume can't be written")]
    NotOwner,
    #[error(transparent)]
    Failed(#[from] ResolveError),
}

/// What a run says at its end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Report {
    Done(Value),
    Failed(Failure),
}

/// The name of a container that may exist; dropping it has the container removed.
struct Lease {
    name: String,
    janitor: Arc<Janitor>,
    ours: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ours {
            self.janitor.remove(Doomed {
                name: std::mem::take(&mut self.name),
                busy: true,
                room: None,
            });
        }
    }
}

impl Installer {
    /// Runs the installer once and answers with what it reports.
    pub(super) async fn run(&self, run: Run<'_>) -> Result<Value, RunError> {
        let Run { name, image, .. } = run;
        let mut request = run.request;
        if let Some(path) = &self.ca_bundle {
            request["ca"] = read_bundle(path).await?.into();
        }
        if let Some(registry) = run.registry {
            request["registry"] = registry.url().into();
        }
        let expires = self.clock.now() + EXPIRES_AFTER;
        let labels = labels(&self.identity, labels::Kind::Install, name, run.tenant, expires);
        let body = container_config(run.purpose, image, labels);
        let mut lease = Lease {
            name: name.to_owned(),
            janitor: Arc::clone(&self.janitor),
            ours: true,
        };
        if let Err(error) = self.client.create(name, body).await {
            let taken = matches!(error, EngineError::Conflict { .. });
            lease.ours = !taken;
            return Err(if taken {
                RunError::NameTaken
            } else {
                unavailable(&error)
            });
        }
        self.janitor.own(name);
        let egress = run.registry.map(|registry| {
            let (networks, resolver) = (Arc::clone(&self.networks), Arc::clone(&self.resolver));
            Arc::new(Egress::new(registry.endpoint().clone(), networks, resolver))
        });
        let ended = match timeout(DEADLINE, self.talk(name, &request, egress.clone())).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = DEADLINE.as_secs();
                let text = format!("npm did not finish within {seconds} s");
                Err(ResolveError::Unavailable(text).into())
            }
        };
        match (ended, egress.and_then(|egress| egress.explanation())) {
            // npm only knows that it got no answer.
            (Err(RunError::Failed(_)), Some(explained)) => Err(explained.into()),
            (ended, _) => ended,
        }
    }

    async fn talk(
        &self,
        name: &str,
        request: &Value,
        egress: Option<Arc<Egress>>,
    ) -> Result<Value, RunError> {
        let streams = self.client.attach(name).await;
        let AttachContainerResults { input, output } = streams.map_err(|error| unavailable(&error))?;
        self.client
            .start(name)
            .await
            .map_err(|error| unavailable(&error))?;
        let (channels, frames) = match egress.map(Channels::new) {
            Some((channels, frames)) => (Some(channels), Some(frames)),
            None => (None, None),
        };
        // Side by side: neither may wait for the container to do the other. The input stays open to the end: its end is
        // what tells the installer that nobody waits any more.
        let heard = tokio::select! {
            biased;
            heard = listen(output, channels) => heard,
            never = tell(input, format!("{request}\n").into(), frames) => match never {},
        };
        if heard.garbled {
            let text = "the installer said what it does not say";
            return Err(ResolveError::Unavailable(text.to_owned()).into());
        }
        match heard.report.map(|report| serde_json::from_slice(&report)) {
            Some(Ok(Report::Done(done))) => Ok(done),
            Some(Ok(Report::Failed(failure))) if failure.code == "DMCP_NOT_OWNER" => Err(RunError::NotOwner),
            Some(Ok(Report::Failed(failure))) => Err(failure.into_error().into()),
            Some(Err(_)) | None => Err(self.explain_loss(name, &heard.complaint).await),
        }
    }

    /// Why a container ended without a report, as far as the Engine knows.
    async fn explain_loss(&self, name: &str, complaint: &[u8]) -> RunError {
        let Ok(inspected) = self.client.inspect(name).await else {
            return RunError::Lost;
        };
        if inspected
            .state
            .is_some_and(|state| state.oom_killed == Some(true))
        {
            let text = "the packages take more memory to install than an install has";
            return ResolveError::Refused(text.to_owned()).into();
        }
        let complaint = String::from_utf8_lossy(complaint);
        match complaint.trim() {
            "" => RunError::Lost,
            said => ResolveError::Unavailable(format!("the installer failed: {said}")).into(),
        }
    }
}

/// What a container said until it ended or reported.
#[derive(Default)]
struct Heard {
    report: Option<Bytes>,
    complaint: Vec<u8>,
    garbled: bool,
}

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;
type Input = Pin<Box<dyn AsyncWrite + Send>>;

async fn listen(mut output: Output, mut channels: Option<Channels>) -> Heard {
    let mut heard = Heard::default();
    let mut decoder = Decoder::default();
    while let Some(Ok(said)) = output.next().await {
        match said {
            LogOutput::StdOut { message } | LogOutput::Console { message } => decoder.push(&message),
            LogOutput::StdErr { message } => {
                let room = MAX_COMPLAINT_BYTES.saturating_sub(heard.complaint.len());
                heard.complaint.extend(message.into_iter().take(room));
            }
            LogOutput::StdIn { .. } => {}
        }
        match understand(&mut decoder, channels.as_mut()) {
            Ok(None) => {}
            Ok(report) => {
                heard.report = report;
                break;
            }
            Err(Garbled) => {
                heard.garbled = true;
                break;
            }
        }
    }
    heard
}

/// Hands on what the frames so far carry, up to the report.
fn understand(decoder: &mut Decoder, mut channels: Option<&mut Channels>) -> Result<Option<Bytes>, Garbled> {
    while let Some(frame) = decoder.frame()? {
        match (frame.kind, channels.as_mut()) {
            (Kind::Report, _) => return Ok(Some(frame.payload)),
            (_, Some(channels)) => channels.receive(frame)?,
            (_, None) => return Err(Garbled),
        }
    }
    Ok(None)
}

/// Never ends: whether the container still listens, its output tells.
async fn tell(mut input: Input, request: Bytes, mut frames: Option<mpsc::Receiver<Frame>>) -> Infallible {
    let mut next = Some(request);
    while let Some(bytes) = next {
        if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
            break;
        }
        next = match &mut frames {
            Some(frames) => frames.recv().await.map(|frame| frame.encode()),
            None => None,
        };
    }
    std::future::pending().await
}

pub(super) fn unavailable(error: &EngineError) -> RunError {
    RunError::Failed(ResolveError::Unavailable(error.to_string()))
}

async fn read_bundle(path: &Path) -> Result<String, ResolveError> {
    tokio::fs::read_to_string(path).await.map_err(|error| {
        ResolveError::Unavailable(format!(
            "MCP_SANDBOX_CA_BUNDLE: {} can't be read: {error}",
            path.display()
        ))
    })
}
