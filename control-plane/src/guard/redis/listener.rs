//! What calls that wait here are told: published by the script that hands out a slot, and asked for now and then, since
//! what is published may be lost.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::store::Polled;
use super::waiters::Told;
use crate::redis::{Heard, Redis};

/// How often it is asked while somebody waits. It is the sign of life of those who do, too.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// How many are asked for in one script.
const BATCH: usize = 500;

/// Until a shutdown has let everything go.
pub(super) async fn listen(shared: Arc<Shared>, redis: Redis) {
    let mut subscription = redis.subscribe(vec![shared.store.channel()]);
    let mut due = tokio::time::interval(POLL_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            heard = subscription.next() => match heard {
                Heard::Message { payload, .. } => {
                    shared.hear(&payload);
                    continue;
                }
                Heard::Listening => {}
            },
            _ = due.tick() => {}
        }
        if shared.lifecycle.soft().is_cancelled() && shared.is_idle() {
            return;
        }
        shared.poll().await;
    }
}

impl Shared {
    fn hear(&self, payload: &[u8]) {
        let Ok(text) = std::str::from_utf8(payload) else {
            return;
        };
        if let Some(ticket) = text.strip_prefix('+') {
            self.waiters.tell(ticket, Told::Granted);
        } else if let Some(ticket) = text.strip_prefix('-') {
            self.waiters.tell(ticket, Told::GaveWay);
        }
    }

    async fn poll(&self) {
        for tickets in self.waiters.tickets().chunks(BATCH) {
            match self.store.poll(tickets).await {
                Ok(Some(polled)) => {
                    for (ticket, state) in tickets.iter().zip(polled) {
                        match state {
                            Polled::Waits => {}
                            Polled::Granted => self.waiters.tell_if_waiting(ticket, Told::Granted),
                            Polled::Gone => self.waiters.tell_if_waiting(ticket, Told::GaveWay),
                        }
                    }
                }
                Ok(None) => {
                    self.waiters.tell_all(Told::Anew);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "calls that wait for a slot can't be asked for");
                    self.waiters.tell_all(Told::Lost);
                    return;
                }
            }
        }
    }
}
