//! What a running call tells its client before the answer is there: progress, when the client gave a token for it, and
//! what the code printed, when the client asked for log messages.

mod printed;

use std::time::Duration;

use dynamic_mcp_shared::job::{JobEvent, Output, Progress};
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use tokio::sync::mpsc;

use self::printed::Printed;
use super::logging::{Logging, SessionLevel};
use crate::jobs::JobReport;

/// What waits to be sent; the code does not wait, so more than this is dropped.
const QUEUED_PROGRESS: usize = 16;
const QUEUED_OUTPUT: usize = 256;
/// Pieces of output that one call tells of; all of it is in the result, as far as its cap allows.
const MAX_PIECES: usize = 2_000;
/// How long a finished call waits for a client to take its last progress.
const LAST_PROGRESS: Duration = Duration::from_millis(100);

/// For one call.
pub(super) struct Feedback {
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    logging: Option<Logging>,
}

/// What the client has been told of one call.
#[derive(Default)]
struct Told {
    reached: Option<f64>,
    printed: Printed,
    pieces: usize,
}

impl Feedback {
    /// `session`: what the client of a legacy session set for all its requests.
    pub(super) fn new(cx: &RequestContext<RoleServer>, session: &SessionLevel) -> Self {
        Self {
            peer: cx.peer.clone(),
            token: cx.meta.get_progress_token(),
            logging: Logging::of(cx, session),
        }
    }

    /// Runs a call and passes on the progress that it sends into the channel that it is given, if anyone asked for it.
    pub(super) async fn during<F: Future>(
        &self,
        call: impl FnOnce(Option<mpsc::Sender<JobEvent>>) -> F,
    ) -> F::Output {
        if self.token.is_none() {
            return Box::pin(call(None)).await;
        }
        self.passing_on(QUEUED_PROGRESS, call).await
    }

    /// The same with what it prints, as it comes: as log messages, and as progress of one that counts bytes, since it has no
    /// other.
    pub(super) async fn while_printing<F: Future>(
        &self,
        call: impl FnOnce(Option<mpsc::Sender<JobEvent>>) -> F,
    ) -> F::Output {
        if self.token.is_none() && self.logging.is_none() {
            return Box::pin(call(None)).await;
        }
        self.passing_on(QUEUED_OUTPUT, call).await
    }

    async fn passing_on<F: Future>(
        &self,
        queued: usize,
        call: impl FnOnce(Option<mpsc::Sender<JobEvent>>) -> F,
    ) -> F::Output {
        let (sender, receiver) = mpsc::channel(queued);
        let mut call = Box::pin(call(Some(sender)));
        let mut forward = std::pin::pin!(self.forward(receiver));
        tokio::select! {
            output = &mut call => {
                // What the code said last is still on its way; a client that does not read must not hold the answer.
                let _unread = tokio::time::timeout(LAST_PROGRESS, forward).await;
                output
            }
            () = &mut forward => call.await,
        }
    }

    async fn forward(&self, mut receiver: mpsc::Receiver<JobEvent>) {
        let mut told = Told::default();
        while let Some(event) = receiver.recv().await {
            let sent = match event {
                JobEvent::Progress(progress) => self.progress(&mut told, progress).await,
                JobEvent::Output(output) => self.output(&mut told, output).await,
            };
            if sent.is_none() {
                return;
            }
        }
    }

    /// `None`: nobody is there to be told.
    async fn progress(&self, told: &mut Told, said: Progress) -> Option<()> {
        let Some(token) = &self.token else { return Some(()) };
        // The specification wants each one to be more than the one before.
        if told.reached.is_some_and(|reached| said.progress <= reached) {
            return Some(());
        }
        told.reached = Some(said.progress);
        let mut param = ProgressNotificationParam::new(token.clone(), said.progress);
        param.total = said.total;
        param.message = said.message;
        self.peer.notify_progress(param).await.ok()
    }

    async fn output(&self, told: &mut Told, output: Output) -> Option<()> {
        if told.pieces >= MAX_PIECES {
            return Some(());
        }
        told.pieces += 1;
        let text = told.printed.text(&output);
        if text.is_empty() {
            return Some(());
        }
        let printed = Progress {
            progress: told.printed.bytes() as f64,
            total: None,
            message: Some(text.clone()),
        };
        self.progress(told, printed).await?;
        match &self.logging {
            Some(logging) => logging.printed(&self.peer, output.stream, text).await,
            None => Some(()),
        }
    }

    /// Sends what the code printed, as far as the client wants to read it.
    pub(super) async fn console(&self, report: &JobReport) {
        if let Some(logging) = &self.logging {
            logging.console(&self.peer, report).await;
        }
    }
}
