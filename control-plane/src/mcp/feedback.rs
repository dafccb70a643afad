//! What a running call tells its client before the answer is there: progress, when the client gave a token for it, and
//! what the code printed, when the client asked for log messages.

use std::time::Duration;

use dynamic_mcp_shared::job::Progress;
use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use tokio::sync::mpsc;

use super::logging::{Logging, SessionLevel};
use crate::jobs::JobReport;

/// Progress that waits to be sent; the code does not wait, so more than this is dropped.
const QUEUED_PROGRESS: usize = 16;
/// How long a finished call waits for a client to take its last progress.
const LAST_PROGRESS: Duration = Duration::from_millis(100);

/// For one call.
pub(super) struct Feedback {
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    logging: Option<Logging>,
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

    /// Runs a call and passes on what it sends into the channel that it is given, if anyone asked for it.
    pub(super) async fn during<F: Future>(
        &self,
        call: impl FnOnce(Option<mpsc::Sender<Progress>>) -> F,
    ) -> F::Output {
        let Some(token) = &self.token else {
            return Box::pin(call(None)).await;
        };
        let (sender, receiver) = mpsc::channel(QUEUED_PROGRESS);
        let mut call = Box::pin(call(Some(sender)));
        let mut forward = std::pin::pin!(self.forward(token, receiver));
        tokio::select! {
            output = &mut call => {
                // What the code said last is still on its way; a client that does not read must not hold the answer.
                let _unread = tokio::time::timeout(LAST_PROGRESS, forward).await;
                output
            }
            () = &mut forward => call.await,
        }
    }

    async fn forward(&self, token: &ProgressToken, mut receiver: mpsc::Receiver<Progress>) {
        let mut reached = f64::NEG_INFINITY;
        while let Some(said) = receiver.recv().await {
            // The specification wants each one to be more than the one before.
            if said.progress <= reached {
                continue;
            }
            reached = said.progress;
            let mut param = ProgressNotificationParam::new(token.clone(), said.progress);
            param.total = said.total;
            param.message = said.message;
            if self.peer.notify_progress(param).await.is_err() {
                return;
            }
        }
    }

    /// Sends what the code printed, as far as the client wants to read it.
    pub(super) async fn console(&self, report: &JobReport) {
        if let Some(logging) = &self.logging {
            logging.console(&self.peer, report).await;
        }
    }
}
