//! Keeps the other store up with the files: a round whenever lines were written, and a last one at the end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{AnchorFile, PostgresAudit, StoreError};
use crate::audit::Audit;
use crate::audit::store::anchors::Anchoring;
use crate::audit::store::sender::Sender;
use crate::metric_names;

/// A round at least so often, for lines that other processes wrote, and for what is due by the calendar.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(1);
const LAST_ROUNDS_DEADLINE: Duration = Duration::from_secs(5);
const PART: &str = "audit_store";

/// What takes the files to the other store, step by step.
#[async_trait]
pub(super) trait Follower: Send {
    /// Answers whether there is more to do at once.
    async fn round(&mut self) -> Result<bool, StoreError>;
}

pub struct Keeper {
    follower: Option<Arc<Mutex<Box<dyn Follower>>>>,
}

impl Keeper {
    /// Anchors in a file.
    pub fn anchoring(
        audit: &Audit,
        anchors: AnchorFile,
        readiness: Readiness,
        lifecycle: &Lifecycle,
    ) -> Self {
        let make = |audit: &Audit| Some(Box::new(Anchoring::new(audit, anchors)?) as Box<dyn Follower>);
        Self::start(audit, make, Duration::from_secs(1), readiness, lifecycle)
    }

    /// Lines and anchors in Postgres; lines older than `retention` are dropped there.
    pub fn sending(
        audit: &Audit,
        store: PostgresAudit,
        retention: chrono::Duration,
        readiness: Readiness,
        lifecycle: &Lifecycle,
    ) -> Self {
        let make = |audit: &Audit| Some(Box::new(Sender::new(audit, store, retention)?) as Box<dyn Follower>);
        Self::start(audit, make, Duration::from_millis(200), readiness, lifecycle)
    }

    fn start(
        audit: &Audit,
        make: impl FnOnce(&Audit) -> Option<Box<dyn Follower>>,
        rest: Duration,
        readiness: Readiness,
        lifecycle: &Lifecycle,
    ) -> Self {
        let (Some(log), Some(follower)) = (audit.0.clone(), make(audit)) else {
            return Self { follower: None };
        };
        let follower = Arc::new(Mutex::new(follower));
        let (mine, stop) = (follower.clone(), lifecycle.soft().clone());
        let mut reached = log.queue.reached();
        lifecycle.spawn(async move {
            let rounds = async {
                let mut pause = FIRST_RETRY;
                loop {
                    let ended = mine.lock().await.round().await;
                    report(&readiness, ended.as_ref().err());
                    match ended {
                        Ok(true) => continue,
                        Ok(false) => pause = FIRST_RETRY,
                        Err(_) => {
                            sleep(pause).await;
                            pause = (pause * 2).min(LAST_RETRY);
                            continue;
                        }
                    }
                    sleep(rest).await;
                    // In vain when nothing was written.
                    let _idle = timeout(AT_LEAST_EVERY, reached.changed()).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = rounds => {}
            }
        });
        Self {
            follower: Some(follower),
        }
    }

    /// For when the log is closed: takes its last lines over. Answers whether all are there.
    pub async fn finish(self) -> bool {
        let Some(follower) = self.follower else {
            return true;
        };
        let until = Instant::now() + LAST_ROUNDS_DEADLINE;
        let rounds = async {
            let mut follower = follower.lock().await;
            loop {
                match follower.round().await {
                    Ok(true) => {}
                    Ok(false) => return true,
                    Err(error) => {
                        tracing::warn!(
                            error = error.explained(),
                            "the audit's store lacks the last lines"
                        );
                        return false;
                    }
                }
            }
        };
        tokio::time::timeout_at(until, rounds).await.unwrap_or(false)
    }
}

fn report(readiness: &Readiness, fault: Option<&StoreError>) {
    match fault {
        None => {
            if readiness.restore(PART) {
                tracing::info!("the audit's store keeps up again");
            }
        }
        Some(error) => {
            metrics::counter!(metric_names::AUDIT_ERRORS, "kind" => "store").increment(1);
            if readiness.degrade(PART, error.explained()) {
                tracing::error!(
                    error = error.explained(),
                    "the audit's store lags behind; the files are written on"
                );
            }
        }
    }
}
