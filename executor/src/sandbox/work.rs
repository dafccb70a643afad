//! A job in a session: what it is allowed to be, and from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::ids::CommandId;
use dynamic_mcp_shared::job::{
    Finished, Job, JobEvent, Placement, RejectReason, Rejection, Runtime, SessionTask, Usage,
};
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::background::Background;
use super::captured::Cut;
use super::commands::{Commands, Ran};
use super::run_js;
use super::session::Seat;
use crate::capture::Capture;
use crate::engine::{Engine, PreparedJob};
use crate::metric_names;
use crate::verdict::{self, Verdict};

const MAX_COMMANDS: usize = 20;
/// The kernel takes 128 KiB as one argument.
const MAX_COMMAND_BYTES: usize = 100_000;

pub(super) struct SessionJob {
    job: Job,
    task: SessionTask,
    seat: Seat,
    tasks: TaskTracker,
    prepare: Duration,
}

/// Whether it is something that a session can do.
pub(super) fn check(job: &Job) -> Result<(), Rejection> {
    let refused = |message: String| {
        Err(Rejection {
            reason: RejectReason::Unsupported,
            message,
        })
    };
    if job.runtime != Runtime::Node {
        return refused("a sandbox session runs \"node\" and nothing else".to_owned());
    }
    let Some(SessionTask::Commands { commands, .. }) = job.session.as_ref().map(|work| &work.task) else {
        return Ok(());
    };
    if commands.len() > MAX_COMMANDS {
        let got = commands.len();
        return refused(format!(
            "{got} commands; at most {MAX_COMMANDS} are allowed at once"
        ));
    }
    for (index, command) in commands.iter().enumerate() {
        if command.len() > MAX_COMMAND_BYTES {
            let got = command.len();
            return refused(format!(
                "commands[{index}] is {got} bytes; at most {MAX_COMMAND_BYTES} are allowed: write a file and run that"
            ));
        }
        if command.contains('\0') {
            return refused(format!(
                "commands[{index}] holds a NUL byte, which no command line can"
            ));
        }
    }
    Ok(())
}

impl SessionJob {
    /// Installs what the job's code imports. Nothing of the user's runs.
    pub(super) async fn prepare(
        job: Job,
        seat: Seat,
        engine: &Arc<dyn Engine>,
        tasks: &TaskTracker,
    ) -> Result<Box<dyn PreparedJob>, Rejection> {
        let began = Instant::now();
        let Some(work) = job.session.clone() else {
            return Err(super::table::lost());
        };
        if let Some(lock) = &job.dependency_lock {
            seat.session.install(engine, lock).await?;
        }
        Ok(Box::new(Self {
            job,
            task: work.task,
            seat,
            tasks: tasks.clone(),
            prepare: began.elapsed(),
        }))
    }

    fn what(&self) -> &'static str {
        match &self.task {
            SessionTask::RunJs => "run_js",
            SessionTask::Commands { background: None, .. } => "commands",
            SessionTask::Commands {
                background: Some(_), ..
            } => "background",
        }
    }

    fn finished(&self, verdict: Verdict, capture: Capture, began: Instant) -> Finished {
        let (stdout, stderr) = capture.finish();
        let (duration, what) = (began.elapsed(), self.what());
        metrics::counter!(
            metric_names::SANDBOX_JOBS_TOTAL, "what" => what, "outcome" => verdict.outcome.as_str()
        )
        .increment(1);
        metrics::histogram!(metric_names::SANDBOX_JOB_SECONDS, "what" => what).record(duration.as_secs_f64());
        Finished {
            outcome: verdict.outcome,
            result: verdict.result,
            error: verdict.error,
            stdout,
            stderr,
            usage: Usage {
                duration,
                prepare: self.prepare,
            },
        }
    }

    async fn run_commands(
        &self,
        commands: Commands,
        events: mpsc::Sender<JobEvent>,
        cancel: &CancellationToken,
    ) -> (Verdict, Capture) {
        let max = self.job.max_output_bytes;
        let transcript = commands.transcript(max, events);
        let ran = commands
            .run(&self.seat.session.agent, max, &transcript, cancel)
            .await;
        let told = |skipped: usize| json!({"commands": transcript.reports(), "skipped": skipped});
        let cut_short = |skipped: usize, verdict: Verdict| Verdict {
            result: Some(told(skipped).to_string().into()),
            ..verdict
        };
        let verdict = match ran {
            Ok(Ran::Through { skipped }) => ok(&told(skipped)),
            Ok(Ran::Cut { by, skipped }) => match by {
                Cut::TimedOut => cut_short(skipped, verdict::timed_out(self.job.timeout.duration())),
                Cut::Killed => cut_short(skipped, verdict::cancelled()),
            },
            Err(lost) => verdict::interrupted(lost.to_string()),
        };
        (verdict, transcript.whole())
    }

    /// The commands go on when the job has ended.
    fn begin_in_background(self: Box<Self>, id: CommandId, commands: Commands) -> Finished {
        let began = Instant::now();
        let max = self.job.max_output_bytes;
        let session = Arc::clone(&self.seat.session);
        let transcript = commands.transcript_of_each(max);
        let background = Arc::new(Background::new(id, transcript, session.clock.now()));
        if let Err(refused) = session.remember(Arc::clone(&background)) {
            let verdict = verdict::failed(Outcome::NeverStarted, "SessionBusy", refused.message);
            return self.finished(verdict, Capture::new(0), began);
        }
        let verdict = ok(&json!({"commandId": background.id, "state": "running"}));
        let finished = self.finished(verdict, Capture::new(0), began);
        let seat = self.seat;
        let go_on = async move {
            let ran = commands
                .run(&session.agent, max, &background.transcript, &background.kill)
                .await;
            let ran = ran.unwrap_or(Ran::Cut {
                by: Cut::Killed,
                skipped: 0,
            });
            session.has_ended_in_background(&background, ran);
            drop(seat);
        };
        self.tasks.spawn(go_on.in_current_span());
        finished
    }
}

#[async_trait]
impl PreparedJob for SessionJob {
    fn placement(&self) -> Placement {
        Placement::Kept
    }

    #[tracing::instrument(skip_all, fields(job.id = %self.job.id, tenant = %self.job.tenant))]
    async fn run(
        self: Box<Self>,
        args: Bytes,
        events: mpsc::Sender<JobEvent>,
        cancel: CancellationToken,
    ) -> Finished {
        let began = Instant::now();
        let deadline = began + self.job.timeout.duration();
        match self.task.clone() {
            SessionTask::RunJs => {
                let session = &self.seat.session;
                let (verdict, capture) =
                    run_js::run(session, &self.job, &args, deadline, events, &cancel).await;
                self.finished(verdict, capture, began)
            }
            SessionTask::Commands {
                commands,
                continue_on_error,
                background,
            } => {
                let commands = Commands {
                    commands,
                    continue_on_error,
                    // What goes on in the background ends with its session, or when it is killed, unless its caller wants
                    // more.
                    deadline: background
                        .as_ref()
                        .is_none_or(|background| background.timed)
                        .then_some(deadline),
                };
                match background {
                    Some(background) => self.begin_in_background(background.id, commands),
                    None => {
                        let (verdict, capture) = self.run_commands(commands, events, &cancel).await;
                        self.finished(verdict, capture, began)
                    }
                }
            }
        }
    }
}

fn ok(result: &serde_json::Value) -> Verdict {
    Verdict {
        outcome: Outcome::Ok,
        result: Some(result.to_string().into()),
        error: None,
        reusable: true,
    }
}
