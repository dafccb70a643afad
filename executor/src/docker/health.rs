//! Whether the Engine can be relied on, asked on a timer and never on a job's path.
//!
//! ```text
//! unknown ──a good probe──▶ up ──can't be reached, or two slow probes──▶ down(reason) ──a good probe──▶ up
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::call::Availability;
use super::client::{EngineClient, EngineError};
use super::labels::ours;
use crate::metric_names;

pub const PROBE_EVERY: Duration = Duration::from_secs(2);
/// `ping` answers even when the Engine's own locks are stuck, so now and then something is asked that takes them.
const DEEP_EVERY: u32 = 3;
const PROBE: Duration = Duration::from_secs(5);
/// A loaded Engine may be slow once.
const SLOW_PROBES: u32 = 2;

pub struct Health {
    client: Arc<EngineClient>,
    state: watch::Sender<Option<String>>,
    probes: u32,
    slow: u32,
}

impl Health {
    pub fn new(client: Arc<EngineClient>) -> Self {
        Self {
            client,
            state: watch::Sender::new(Some("the container engine was not asked yet".to_owned())),
            probes: 0,
            slow: 0,
        }
    }

    pub fn availability(&self) -> Availability {
        self.state.subscribe()
    }

    /// Asks once and tells everybody what changed. Answers whether the Engine came (back) with this probe.
    pub async fn probe(&mut self) -> bool {
        let deep = self.probes.is_multiple_of(DEEP_EVERY);
        self.probes = self.probes.wrapping_add(1);
        let down = self.judge(self.ask(deep).await);
        metrics::gauge!(metric_names::ENGINE_UP).set(if down.is_none() { 1.0 } else { 0.0 });
        let was = self.state.borrow().clone();
        match (&was, &down) {
            (Some(_), None) => tracing::info!(engine = self.client.host(), "the container engine answers"),
            (None, Some(why)) => tracing::warn!(error = %why, "the container engine can't be used"),
            _ => {}
        }
        let came = was.is_some() && down.is_none();
        self.state.send_if_modified(|state| {
            let changed = *state != down;
            *state = down;
            changed
        });
        came
    }

    async fn ask(&self, deep: bool) -> Result<(), EngineError> {
        self.client.ping().await?;
        if deep {
            let step = "list containers";
            let asked = timeout(PROBE, self.client.list(&[ours()])).await;
            asked.unwrap_or(Err(EngineError::Deadline { step, after: PROBE }))?;
        }
        Ok(())
    }

    fn judge(&mut self, answer: Result<(), EngineError>) -> Option<String> {
        match answer {
            Ok(()) => {
                self.slow = 0;
                None
            }
            Err(error @ EngineError::Deadline { .. }) => {
                self.slow = self.slow.saturating_add(1);
                let was_down = self.state.borrow().is_some();
                (was_down || self.slow >= SLOW_PROBES).then(|| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(Arc::new(EngineClient::new(Some("/nonexistent.sock")).unwrap()))
    }

    fn slow() -> Result<(), EngineError> {
        Err(EngineError::Deadline {
            step: "ping",
            after: PROBE,
        })
    }

    #[test]
    fn one_slow_answer_is_forgiven_and_two_are_not() {
        let mut health = health();
        health.state.send_replace(None);
        assert_eq!(health.judge(slow()), None);
        assert!(health.judge(slow()).is_some());
        assert_eq!(health.judge(Ok(())), None);
        assert_eq!(health.judge(slow()), None);
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_down_at_once() {
        let mut health = health();
        assert!(!health.probe().await);
        assert!(
            health
                .availability()
                .borrow()
                .as_ref()
                .unwrap()
                .contains("no socket")
        );
    }
}
