//! One action from its opening line to its closing line.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::propagation::current_trace_id;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::line::{self, Closing, Line};
use super::redact::redact;
use super::{Action, Log, Unaudited, Verdict};
use crate::principal::{Caller, Principal};

/// Close it with what came of the action.
#[must_use = "an entry that is dropped is closed as abandoned"]
pub struct Entry(Option<Box<Open>>);

struct Open {
    log: Arc<Log>,
    id: String,
    principal: Arc<Principal>,
    request_id: String,
    trace_id: Option<String>,
    action: &'static str,
    target: Option<String>,
    revision: Option<u64>,
    details: Map<String, Value>,
    begun: Instant,
}

impl Entry {
    pub(super) async fn begin(
        log: Option<Arc<Log>>,
        caller: &Caller,
        action: Action<'_>,
    ) -> Result<Self, Unaudited> {
        let Some(log) = log else {
            return Ok(Self(None));
        };
        let mut details = action.details;
        redact(&mut details);
        let open = Open {
            id: log.next_id(),
            log,
            principal: Arc::clone(&caller.principal),
            request_id: caller.request_id.clone(),
            trace_id: current_trace_id(),
            action: action.name,
            target: action.target.map(str::to_owned),
            revision: action.revision,
            details,
            begun: Instant::now(),
        };
        let queue = Arc::clone(&open.log.queue);
        let awaited = queue.push_opening(&open.line(None))?;
        // Whoever gives up waiting drops it, which closes it.
        let entry = Self(Some(Box::new(open)));
        match queue.kept(awaited).await {
            Ok(()) => Ok(entry),
            Err(unaudited) => {
                // Its opening line may get into the file yet.
                entry.close(Verdict::Refused(Unaudited::REASON));
                Err(unaudited)
            }
        }
    }

    /// What was learned on the way is in the closing line.
    pub fn set_revision(&mut self, revision: u64) {
        if let Some(open) = &mut self.0 {
            open.revision = Some(revision);
        }
    }

    /// A further field of the closing line's details, redacted as those of the opening are.
    pub fn add(&mut self, key: &str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            let mut field = Map::from_iter([(key.to_owned(), value.into())]);
            redact(&mut field);
            open.details.append(&mut field);
        }
    }

    pub fn close(mut self, verdict: Verdict) {
        if let Some(open) = self.0.take() {
            open.write(Some(closing(&verdict, open.begun.elapsed())));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let closing = Closing {
                verdict: "abandoned",
                outcome: None,
                reason: None,
                duration: open.begun.elapsed(),
            };
            open.write(Some(closing));
        }
    }
}

impl Open {
    fn write(&self, closing: Option<Closing>) {
        self.log.queue.push(&self.line(closing));
    }

    fn line(&self, closing: Option<Closing>) -> Vec<u8> {
        let line = Line {
            id: &self.id,
            tenant: self.principal.tenant.as_str(),
            subject: &self.principal.subject,
            client: &self.principal.client,
            request_id: &self.request_id,
            trace_id: self.trace_id.as_deref(),
            action: self.action,
            target: self.target.as_deref(),
            revision: self.revision,
            details: &self.details,
            closing,
        };
        line::to_bytes(&line, self.log.clock.now(), self.log.max_line_bytes)
    }
}

fn closing(verdict: &Verdict, elapsed: Duration) -> Closing {
    let plain = Closing {
        verdict: "done",
        outcome: None,
        reason: None,
        duration: elapsed,
    };
    match *verdict {
        Verdict::Done => plain,
        Verdict::Ran { outcome, duration } => Closing {
            verdict: "ran",
            outcome: Some(outcome.as_str()),
            reason: None,
            duration,
        },
        Verdict::Refused(reason) => Closing {
            verdict: "refused",
            reason: Some(reason),
            ..plain
        },
        Verdict::Failed(reason) => Closing {
            verdict: "failed",
            reason: Some(reason),
            ..plain
        },
    }
}
