//! One attempt at a job on one executor.
//!
//! ```text
//! Prepare ──▶ Ready ──▶ Start ──▶ Progress* ──▶ Finished
//!    │          │          │
//!    │          │          └─ stream broken, or silent past the deadline: interrupted, never tried again
//!    │          └─ cancelled: nothing ran
//!    └─ Rejected, stream broken, deadline: never started, may be tried elsewhere
//! ```

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Request;
use dynamic_mcp_proto::v1::executor_client::ExecutorClient;
use dynamic_mcp_proto::v1::resolve_dependencies_response::Result as Resolved;
use dynamic_mcp_proto::v1::{
    Cancel, DrainRequest, DrainResponse, ExecuteEvent, ExecuteRequest, Prepare, ResolveDependenciesRequest,
};
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Dependency, Finished, Job, JobEvent, Placement, RejectReason, Rejection};
use dynamic_mcp_shared::limits::MAX_WIRE_MESSAGE_BYTES;
use dynamic_mcp_shared::{propagation, wire};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};
use tracing::Instrument as _;

use super::fleet::{ExecutorChannel, Reservation};
use super::turns::AtNode;
use crate::metric_names;

/// What an executor gets beyond a job's own time-out to say how it ended: it enforces that time-out, this one only
/// notices that it is gone.
const FINISH_GRACE: Duration = Duration::from_secs(5);
/// What an answer may take to get here beyond what the executor waits.
const ANSWER_GRACE: Duration = Duration::from_millis(250);
/// What it gets to confirm a cancel, which destroys the sandbox.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub enum Attempt {
    Finished(Box<Finished>),
    NeverStarted {
        reason: RejectReason,
        message: String,
    },
    Interrupted {
        message: String,
    },
    /// Given up before the start was sent.
    Cancelled,
}

/// Whether a job waits at its node for a slot.
#[derive(Default)]
pub struct Waiting<'a> {
    pub(super) length: Duration,
    /// Given up when it has a slot; kept by one that was refused.
    pub(super) right: Option<AtNode<'a>>,
}

impl Waiting<'_> {
    pub(super) const fn at_node(&self) -> bool {
        !self.length.is_zero()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
}

pub async fn attempt(
    node: &Reservation,
    job: Job,
    args: Bytes,
    said: Option<mpsc::Sender<JobEvent>>,
    cancel: &CancellationToken,
    prepare_deadline: Duration,
    waiting: &mut Waiting<'_>,
) -> Attempt {
    let finish_deadline = job.timeout.duration() + FINISH_GRACE;
    let prepare = prepare(node.channel(), job, waiting.length)
        .instrument(tracing::info_span!("prepare", executor.id = %node.executor()));
    let mut prepare = pin!(tokio::time::timeout(prepare_deadline, prepare));
    let mut admitted = pin!(tokio::time::sleep(waiting.length + ANSWER_GRACE));
    let prepared = loop {
        tokio::select! {
            biased;
            // Dropping the stream is what tells the executor to give the sandbox back.
            () = cancel.cancelled() => return Attempt::Cancelled,
            prepared = &mut prepare => break prepared,
            // It would have been refused by now: what takes longer is to get a sandbox ready.
            () = &mut admitted, if waiting.right.is_some() => waiting.right = None,
        }
    };
    let conversation = match prepared {
        Ok(Ok(conversation)) => {
            waiting.right = None;
            conversation
        }
        Ok(Err(Rejection { reason, message })) => return Attempt::NeverStarted { reason, message },
        Err(_) => {
            let message = format!(
                "the executor prepared no sandbox within {} s",
                prepare_deadline.as_secs()
            );
            return Attempt::NeverStarted {
                reason: RejectReason::Engine,
                message,
            };
        }
    };
    let run = conversation.run(args, said, cancel, finish_deadline);
    run.instrument(tracing::info_span!("run", executor.id = %node.executor()))
        .await
}

/// A sandbox that waits for its start.
struct Conversation {
    requests: mpsc::Sender<ExecuteRequest>,
    events: Streaming<ExecuteEvent>,
}

async fn prepare(channel: ExecutorChannel, job: Job, wait: Duration) -> Result<Conversation, Rejection> {
    let runtime = job.runtime.as_str();
    let prepare = Prepare {
        wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        ..job.into()
    };
    // Prepare, start, cancel: never more than these.
    let (requests, outgoing) = mpsc::channel(3);
    let first = wire::execute_request(Request::Prepare(prepare));
    requests
        .try_send(first)
        .map_err(|_| lost("the request could not be queued"))?;
    let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
    propagation::inject(request.metadata_mut());
    let mut events = client(channel)
        .execute(request)
        .await
        .map_err(|status| {
            lost(&format!(
                "the executor could not be reached: {}",
                status.message()
            ))
        })?
        .into_inner();
    match next(&mut events).await.map_err(|message| lost(&message))? {
        Event::Ready(ready) => {
            if let Ok(placement) = Placement::try_from(ready.placement()) {
                metrics::counter!(metric_names::PLACEMENTS, "placement" => placement.as_str(), "runtime" => runtime).increment(1);
            }
            Ok(Conversation { requests, events })
        }
        Event::Rejected(rejected) => Err(rejected.into()),
        Event::Progress(_) | Event::Output(_) | Event::Finished(_) => {
            Err(lost("the executor answered out of turn"))
        }
    }
}

impl Conversation {
    async fn run(
        mut self,
        args: Bytes,
        said: Option<mpsc::Sender<JobEvent>>,
        cancel: &CancellationToken,
        deadline: Duration,
    ) -> Attempt {
        if cancel.is_cancelled() {
            return Attempt::Cancelled;
        }
        if self.requests.try_send(wire::start(args)).is_err() {
            let message = "the executor went away before the start was sent".to_owned();
            return Attempt::NeverStarted {
                reason: RejectReason::Engine,
                message,
            };
        }
        let ended = tokio::select! {
            ended = tokio::time::timeout(deadline, finished(&mut self.events, said)) => ended,
            () = cancel.cancelled() => {
                // A full queue or a closed stream ends the job as well.
                let _closed = self.requests.try_send(wire::execute_request(Request::Cancel(Cancel {})));
                tokio::time::timeout(CANCEL_GRACE, finished(&mut self.events, None)).await
            }
        };
        match ended {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(message)) => Attempt::Interrupted { message },
            Err(_) => Attempt::Interrupted {
                message: "the executor did not say how the call ended".to_owned(),
            },
        }
    }
}

/// Drains the stream to its end: an unread one would fill the connection's window and stall its neighbours.
async fn finished(
    events: &mut Streaming<ExecuteEvent>,
    said: Option<mpsc::Sender<JobEvent>>,
) -> Result<Attempt, String> {
    loop {
        match next(events).await? {
            Event::Progress(message) => say(said.as_ref(), JobEvent::Progress(message.into())),
            Event::Output(message) => say(said.as_ref(), JobEvent::Output(message.into())),
            Event::Finished(message) => {
                let finished = Finished::try_from(message).map_err(|error| error.to_string())?;
                return Ok(Attempt::Finished(Box::new(finished)));
            }
            // The start came too late: the sandbox had been given back, and the executor vouches that nothing ran.
            Event::Rejected(rejected) => {
                let Rejection { reason, message } = rejected.into();
                return Ok(Attempt::NeverStarted { reason, message });
            }
            Event::Ready(_) => return Err("the executor answered out of turn".to_owned()),
        }
    }
}

/// Nobody waits for who does not listen.
fn say(said: Option<&mpsc::Sender<JobEvent>>, event: JobEvent) {
    if let Some(said) = said {
        let _full_or_gone = said.try_send(event);
    }
}

async fn next(events: &mut Streaming<ExecuteEvent>) -> Result<Event, String> {
    match events.message().await {
        Ok(Some(ExecuteEvent { message: Some(event) })) => Ok(event),
        Ok(Some(ExecuteEvent { message: None })) => Err("the executor sent an empty message".to_owned()),
        Ok(None) => Err("the executor ended the conversation".to_owned()),
        Err(status) => Err(format!(
            "the connection to the executor was lost: {}",
            status.message()
        )),
    }
}

pub async fn resolve_dependencies(
    node: &Reservation,
    tenant: &TenantId,
    image: &str,
    dependencies: &[Dependency],
    deadline: Duration,
) -> Result<Bytes, ResolveError> {
    let message = ResolveDependenciesRequest {
        tenant: tenant.to_string(),
        image: image.to_owned(),
        dependencies: dependencies.iter().cloned().map(Into::into).collect(),
    };
    let mut request = tonic::Request::new(message);
    propagation::inject(request.metadata_mut());
    let mut client = client(node.channel());
    let answer = tokio::time::timeout(deadline, client.resolve_dependencies(request))
        .await
        .map_err(|_| {
            ResolveError::Unavailable(format!(
                "the dependencies were not resolved within {} s",
                deadline.as_secs()
            ))
        })?;
    match answer.map(|response| response.into_inner().result) {
        Ok(Some(Resolved::Lock(lock))) => Ok(lock),
        Ok(Some(Resolved::Refused(why))) => Err(ResolveError::Refused(why)),
        Ok(None) => Err(ResolveError::Unavailable(
            "the executor sent an empty answer".to_owned(),
        )),
        Err(status) => Err(ResolveError::Unavailable(status.message().to_owned())),
    }
}

/// Why an executor was not told to leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDrained {
    #[error("the executor refused: {0}")]
    Refused(String),
    #[error("the executor did not answer: {0}")]
    NoAnswer(String),
}

/// Tells an executor to take no new work, finish what it has and leave.
pub async fn drain(
    node: &Reservation,
    reason: &str,
    deadline: Duration,
) -> Result<DrainResponse, NotDrained> {
    let request = DrainRequest {
        epoch: node.epoch(),
        reason: reason.to_owned(),
    };
    let mut client = client(node.channel());
    match tokio::time::timeout(deadline, client.drain(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
            Err(NotDrained::Refused(status.message().to_owned()))
        }
        Ok(Err(status)) => Err(NotDrained::NoAnswer(status.message().to_owned())),
        Err(_) => Err(NotDrained::NoAnswer(format!(
            "nothing within {} s",
            deadline.as_secs()
        ))),
    }
}

fn client(channel: ExecutorChannel) -> ExecutorClient<ExecutorChannel> {
    ExecutorClient::new(channel)
        .max_decoding_message_size(MAX_WIRE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_WIRE_MESSAGE_BYTES)
}

fn lost(message: &str) -> Rejection {
    Rejection {
        reason: RejectReason::Engine,
        message: message.to_owned(),
    }
}
