//! One `Execute` stream, from its first message to its last.
//!
//! ```text
//! prepare ──▶ admitted ──▶ ready ──▶ start ──▶ running ──▶ finished
//!    │           │           │                    │
//!    │           │           └ no start in time: rejected, the sandbox is given back
//!    └───────────┴ refused: rejected              └ cancel, or the caller is gone: the job is cancelled
//! ```
//!
//! The caller is read from the first to the last moment: an unread stream would fill its connection's window and
//! stall every cancel beside it. Nothing here waits for a caller without a bound, so a slot always comes back.

use std::pin::pin;
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Said;
use dynamic_mcp_shared::job::{Finished, Job, JobEvent, RejectReason, Rejection, Runtime, ToolError};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::wire::execute_event;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::ExecutorService;
use crate::engine::PreparedJob;
use crate::metric_names;

/// Progress and output that wait for the stream; what comes beyond it is dropped.
const JOB_EVENT_BUFFER: usize = 16;
/// The most that a job may wait for a slot, whatever its control plane says.
const MAX_WAIT: Duration = Duration::from_secs(10);

type Events = mpsc::Sender<Result<v1::ExecuteEvent, Status>>;

pub(super) struct Conversation {
    service: ExecutorService,
    requests: Streaming<v1::ExecuteRequest>,
    events: Events,
}

/// How a conversation ends in which nothing ran.
enum End {
    Cancelled,
    Rejected(Rejection),
    /// The caller did not keep to the protocol.
    Fault(Box<Status>),
    /// Nobody is there to be told.
    Gone,
}

/// What the caller says while something else goes on.
enum Word {
    Start(bytes::Bytes),
    Cancel,
    /// The stream was closed or is broken.
    Gone,
}

impl Conversation {
    pub(super) fn new(
        service: ExecutorService,
        requests: Streaming<v1::ExecuteRequest>,
        events: Events,
    ) -> Self {
        Self {
            service,
            requests,
            events,
        }
    }

    pub(super) async fn hold(mut self) {
        let ended = match self.converse().await {
            Err(End::Cancelled) => Ok(cancelled_before_start()),
            other => other,
        };
        let last = match ended {
            Ok(finished) => {
                tracing::Span::current().record("outcome", finished.outcome.as_str());
                Ok(Event::Finished(finished.into()))
            }
            Err(End::Rejected(rejection)) => {
                let reason = rejection.reason.as_str();
                tracing::Span::current().record("outcome", "rejected");
                tracing::debug!(reason, message = %rejection.message, "job refused");
                metrics::counter!(metric_names::REJECTIONS_TOTAL, "reason" => reason).increment(1);
                Ok(Event::Rejected(rejection.into()))
            }
            Err(End::Fault(status)) => Err(*status),
            Err(End::Gone | End::Cancelled) => return,
        };
        let telling = self.events.send(last.map(execute_event));
        if timeout(self.service.deadlines.last_event, telling).await.is_err() {
            tracing::warn!("the caller did not take the job's end");
        }
    }

    async fn converse(&mut self) -> Result<Finished, End> {
        let (job, wait) = self.first_message().await?;
        let span = tracing::Span::current();
        span.record("job.id", job.id.as_str());
        span.record("tenant", job.tenant.as_str());
        let id = job.id.clone();
        check_policy(&self.service, &job)?;
        let capacity = self.service.capacity.clone();
        let slot = match &job.session {
            None if wait.is_zero() => capacity.admit(&job.id),
            None => self.unless_gone(capacity.admit_within(&job.id, wait)).await?,
            Some(_) => capacity.admit_in_session(&job.id),
        };
        let slot = slot.map_err(End::Rejected)?;
        let limit = job.timeout.duration() + self.service.deadlines.overrun;

        let prepared = self.prepare(job).await?;
        self.tell_ready(&*prepared)?;
        let args = self.start_message().await?;
        slot.mark_started();
        tracing::debug!(job.id = %id, "the code of a job begins");
        let finished = self.run(prepared, args, limit).await;
        tracing::debug!(job.id = %id, outcome = finished.outcome.as_str(), "the code of a job has ended");
        // Before the caller hears of the end: it may send the next job at once.
        drop(slot);
        Ok(finished)
    }

    /// The job, and for how long it may wait for a slot.
    async fn first_message(&mut self) -> Result<(Job, Duration), End> {
        let first = timeout(self.service.deadlines.prepare_message, self.requests.message()).await;
        match first {
            Err(_) => Err(fault(Status::deadline_exceeded(
                "no prepare message came in time",
            ))),
            Ok(Err(_) | Ok(None)) => Err(End::Gone),
            Ok(Ok(Some(request))) => match request.message {
                Some(Said::Prepare(prepare)) => {
                    let wait = Duration::from_millis(prepare.wait_ms.into()).min(MAX_WAIT);
                    let job = Job::try_from(prepare)
                        .map_err(|malformed| rejected(RejectReason::Unsupported, malformed.to_string()))?;
                    Ok((job, wait))
                }
                _ => Err(fault(Status::invalid_argument(
                    "the first message must be prepare",
                ))),
            },
        }
    }

    async fn prepare(&mut self, job: Job) -> Result<Box<dyn PreparedJob>, End> {
        let (engine, sandboxes) = (self.service.engine.clone(), self.service.sandboxes.clone());
        let deadline = self.service.deadlines.prepare;
        let preparing = async move {
            match &job.session {
                None => engine.prepare(job).await,
                Some(_) => sandboxes.prepare(job).await,
            }
        };
        match self.unless_gone(timeout(deadline, preparing)).await? {
            Ok(prepared) => prepared.map_err(End::Rejected),
            Err(_) => Err(rejected(
                RejectReason::Engine,
                format!("no sandbox was ready within {} s", deadline.as_secs()),
            )),
        }
    }

    /// What is done before the start, for as long as somebody waits for it.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::select! {
            done = work => Ok(done),
            word = listen(&mut self.requests, &self.events) => Err(match word {
                Word::Cancel => End::Cancelled,
                Word::Gone => End::Gone,
                Word::Start(_) => fault(Status::failed_precondition("start came before ready")),
            }),
            () = self.service.lifecycle.hard().cancelled() => Err(shutting_down()),
        }
    }

    fn tell_ready(&self, prepared: &dyn PreparedJob) -> Result<(), End> {
        let ready = v1::Ready {
            placement: v1::Placement::from(prepared.placement()).into(),
        };
        // The buffer is empty until now, so only a caller that is gone makes this fail.
        self.events
            .try_send(Ok(execute_event(Event::Ready(ready))))
            .map_err(|_| End::Gone)
    }

    async fn start_message(&mut self) -> Result<bytes::Bytes, End> {
        let deadline = self.service.deadlines.start_message;
        let word = tokio::select! {
            word = timeout(deadline, listen(&mut self.requests, &self.events)) => word,
            () = self.service.lifecycle.hard().cancelled() => return Err(shutting_down()),
        };
        match word {
            Ok(Word::Start(args)) => Ok(args),
            Ok(Word::Cancel) => Err(End::Cancelled),
            Ok(Word::Gone) => Err(End::Gone),
            Err(_) => Err(rejected(
                RejectReason::NoCapacity,
                format!(
                    "no start came within {} ms of ready; the sandbox was given back",
                    deadline.as_millis()
                ),
            )),
        }
    }

    async fn run(&mut self, prepared: Box<dyn PreparedJob>, args: bytes::Bytes, limit: Duration) -> Finished {
        if serde_json::from_slice::<serde::de::IgnoredAny>(&args).is_err() {
            let error = ToolError::new("InvalidInput", "the arguments are not JSON");
            return Finished::failed(Outcome::InvalidInput, error);
        }
        let cancel = CancellationToken::new();
        let (said, mut heard) = mpsc::channel(JOB_EVENT_BUFFER);
        let mut running = pin!(timeout(limit, prepared.run(args, said, cancel.clone())));
        let hard = self.service.lifecycle.hard().clone();
        let (mut listening, mut speaking, mut aborted) = (true, true, false);
        let finished = loop {
            tokio::select! {
                finished = &mut running => break finished.unwrap_or_else(|_| overran(limit)),
                event = heard.recv(), if speaking => match event {
                    Some(event) => self.tell(event),
                    None => speaking = false,
                },
                word = listen(&mut self.requests, &self.events), if listening => match word {
                    Word::Start(_) => tracing::warn!("a second start was ignored"),
                    Word::Cancel => cancel.cancel(),
                    Word::Gone => {
                        listening = false;
                        cancel.cancel();
                    }
                },
                () = hard.cancelled(), if !cancel.is_cancelled() => {
                    aborted = true;
                    cancel.cancel();
                }
            }
        };
        while let Ok(event) = heard.try_recv() {
            self.tell(event);
        }
        if aborted && finished.outcome == Outcome::Cancelled {
            return shut_down_while_running(finished);
        }
        finished
    }

    /// One place stays free for the end of the job.
    fn tell(&self, event: JobEvent) {
        if self.events.capacity() > 1 {
            let event = match event {
                JobEvent::Progress(progress) => Event::Progress(progress.into()),
                JobEvent::Output(output) => Event::Output(output.into()),
            };
            let _full_or_gone = self.events.try_send(Ok(execute_event(event)));
        }
    }
}

/// The caller's next word. A caller that reads no more is gone even if its side of the stream is still open.
async fn listen(requests: &mut Streaming<v1::ExecuteRequest>, events: &Events) -> Word {
    loop {
        let message = tokio::select! {
            message = requests.message() => message,
            () = events.closed() => return Word::Gone,
        };
        match message {
            Err(_) | Ok(None) => return Word::Gone,
            Ok(Some(request)) => match request.message {
                Some(Said::Start(start)) => return Word::Start(start.args_json),
                Some(Said::Cancel(_)) => return Word::Cancel,
                Some(Said::Prepare(_)) => tracing::warn!("a second prepare was ignored"),
                // Of a newer protocol than this one.
                None => {}
            },
        }
    }
}

/// The control plane has checked the same; this node does not take its word for it.
fn check_policy(service: &ExecutorService, job: &Job) -> Result<(), End> {
    let policy = &service.policy;
    let image = match job.runtime {
        Runtime::Node => policy.check_image(&job.image),
        Runtime::Isolate => Ok(()),
    };
    image
        .and_then(|()| policy.check_timeout(job.timeout))
        .and_then(|()| policy.check_isolation(job.isolation))
        .map_err(|error| rejected(RejectReason::Unsupported, error.to_string()))?;
    if job.max_output_bytes > policy.max_output_bytes {
        let (got, max) = (job.max_output_bytes, policy.max_output_bytes);
        return Err(rejected(
            RejectReason::Unsupported,
            format!("output of {got} bytes is above this executor's {max} (MCP_SANDBOX_MAX_OUTPUT_BYTES)"),
        ));
    }
    Ok(())
}

fn rejected(reason: RejectReason, message: impl Into<String>) -> End {
    let message = message.into();
    End::Rejected(Rejection { reason, message })
}

fn fault(status: Status) -> End {
    End::Fault(Box::new(status))
}

fn shutting_down() -> End {
    rejected(RejectReason::Draining, "this executor is shutting down")
}

fn cancelled_before_start() -> Finished {
    let error = ToolError::new("Cancelled", "the call was cancelled before it started");
    Finished::failed(Outcome::Cancelled, error)
}

/// Nobody asked for this end, so it is not a cancel. What the job printed until then stays in it.
fn shut_down_while_running(finished: Finished) -> Finished {
    let error = ToolError::new("Interrupted", "the executor was shut down while the job ran");
    Finished {
        outcome: Outcome::Interrupted,
        error: Some(error),
        ..finished
    }
}

/// The engine enforces the job's own time-out; that it did not answer long after is a fault of the platform.
fn overran(limit: Duration) -> Finished {
    tracing::error!(limit_s = limit.as_secs(), "the engine did not end a job");
    let error = ToolError::new("Interrupted", "the engine stopped answering while the job ran");
    Finished::failed(Outcome::Interrupted, error)
}
