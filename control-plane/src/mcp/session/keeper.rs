//! What is looked after while sessions last: those in use stay known, those idle for too long go, and those that ended
//! elsewhere end here.

use std::sync::Arc;

use futures::StreamExt as _;
use rmcp::ServerHandler;
use tokio::time::{Instant, MissedTickBehavior};

use super::bus::Held;
use super::{Session, SessionLimits, Sessions};
use crate::metric_names;

/// Sessions that are asked about at once.
const AT_ONCE: usize = 16;

pub(super) async fn keep<H: ServerHandler>(sessions: Arc<Sessions<H>>) {
    let mut tick = tokio::time::interval(SessionLimits::look_every(sessions.limits.ttl));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = Instant::now();
    loop {
        let is_due = tokio::select! {
            () = sessions.stop.cancelled() => return,
            _ = tick.tick() => false,
            // All of them: what they were written to may have been emptied.
            () = sessions.missed.notified() => true,
        };
        let since = std::mem::replace(&mut looked, Instant::now());
        tokio::select! {
            () = sessions.stop.cancelled() => return,
            () = sessions.look(since, is_due) => {}
        }
    }
}

impl<H: ServerHandler> Sessions<H> {
    /// Something may have passed unheard.
    pub(super) fn look_again(&self) {
        self.missed.notify_one();
        for session in self.all() {
            session.wake(false);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.open.lock().all()
    }

    async fn look(&self, since: Instant, at_all: bool) {
        let expired = self.open.lock().idle_for(self.limits.ttl);
        for id in expired {
            metrics::counter!(metric_names::HTTP_SESSIONS_EXPIRED).increment(1);
            self.drop_copy(&id).await;
        }
        let was_used = |session: &Session| session.idle_for().is_none() || session.activity.last() >= since;
        let used: Vec<_> = self
            .all()
            .into_iter()
            .filter(|session| at_all || was_used(session))
            .collect();
        let held = futures::stream::iter(used)
            .map(async |session| self.hold(&session).await.then_some(session))
            .buffer_unordered(AT_ONCE);
        let held: Vec<_> = held.filter_map(std::future::ready).collect().await;
        let uses: Vec<_> = held.iter().map(|session| session.used()).collect();
        if let Err(error) = self.bus.report(&uses).await {
            tracing::debug!(%error, "the other replicas can't be told which sessions are in use");
        }
    }

    /// Whether it is still one.
    async fn hold(&self, session: &Session) -> bool {
        let held = match self.bus.hold(&session.id).await {
            Ok(Held::Unknown) => session.write(&*self.bus).await,
            held => held,
        };
        match held {
            Ok(Held::Ended) => {
                self.drop_copy(&session.id).await;
                false
            }
            Ok(Held::Here) => true,
            Ok(Held::Unknown) => false,
            Err(error) => {
                tracing::debug!(%error, "the other replicas can't be told that a session lives");
                false
            }
        }
    }
}
