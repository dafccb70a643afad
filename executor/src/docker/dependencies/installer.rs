//! One run of the installer: a container is made, told what to do, listened to, and removed, however it ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::TenantId;
use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

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
/// A report holds a lock; anything beyond is not one of ours.
const MAX_REPORT_BYTES: usize = 16 << 20;

pub(super) struct Installer {
    pub client: Arc<EngineClient>,
    pub identity: Arc<Identity>,
    pub janitor: Arc<Janitor>,
    pub clock: Arc<dyn Clock>,
    /// PEM, read anew for each run: such a file is renewed while the executor runs.
    pub ca_bundle: Option<std::path::PathBuf>,
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
    /// Runs the installer once and answers with what it reports. `request` is its line without the certificates.
    pub(super) async fn run(
        &self,
        name: &str,
        purpose: Purpose<'_>,
        image: &str,
        tenant: Option<&TenantId>,
        mut request: Value,
    ) -> Result<Value, RunError> {
        if let Some(path) = &self.ca_bundle {
            request["ca"] = read_bundle(path).await?.into();
        }
        let expires = self.clock.now() + EXPIRES_AFTER;
        let labels = labels(&self.identity, labels::Kind::Install, name, tenant, expires);
        let body = container_config(purpose, image, labels);
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
        match timeout(DEADLINE, self.talk(name, &request)).await {
            Ok(answer) => answer,
            Err(_) => {
                let seconds = DEADLINE.as_secs();
                let text = format!("npm did not finish within {seconds} s");
                Err(ResolveError::Unavailable(text).into())
            }
        }
    }

    async fn talk(&self, name: &str, request: &Value) -> Result<Value, RunError> {
        let mut streams = self
            .client
            .attach(name)
            .await
            .map_err(|error| unavailable(&error))?;
        self.client
            .start(name)
            .await
            .map_err(|error| unavailable(&error))?;
        let line = format!("{request}\n");
        if streams.input.write_all(line.as_bytes()).await.is_err() || streams.input.flush().await.is_err() {
            return Err(self.explain_loss(name, &[]).await);
        }
        let (mut report, mut complaint) = (Vec::new(), Vec::new());
        // The input stays open to the end: its end is what tells the installer that nobody waits any more.
        while let Some(Ok(output)) = streams.output.next().await {
            match output {
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    report.extend_from_slice(&message);
                }
                LogOutput::StdErr { message } => complaint.extend_from_slice(&message),
                LogOutput::StdIn { .. } => {}
            }
            if report.ends_with(b"\n") || report.len() > MAX_REPORT_BYTES {
                break;
            }
            complaint.truncate(2_000);
        }
        match serde_json::from_slice(&report) {
            Ok(Report::Done(done)) => Ok(done),
            Ok(Report::Failed(failure)) if failure.code == "DMCP_NOT_OWNER" => Err(RunError::NotOwner),
            Ok(Report::Failed(failure)) => Err(failure.into_error().into()),
            Err(_) => Err(self.explain_loss(name, &complaint).await),
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
