//! Removes containers that nobody owns any more: those of this executor's earlier lives, of executors that died, and
//! those that slipped away from this one (a create that answered after its deadline).
//!
//! Of an executor of another state directory nobody here knows whether it lives. But a sandbox ends by itself when its
//! executor dies, and a living one removes what has ended within seconds: so one that has ended, and still is there at
//! a second look, is nobody's.

use std::collections::HashSet;
use std::sync::Arc;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use chrono::{DateTime, Utc};
use dynamic_mcp_shared::clock::Clock;
use parking_lot::Mutex;

use super::client::{EngineClient, EngineError};
use super::janitor::{Doomed, Janitor};
use super::labels::{Ownership, ours};
use crate::identity::{Holder, Identity};
use crate::metric_names;

/// A container that was made and not started for so long will not be: every step of its making has a deadline.
const MAKING: chrono::Duration = chrono::Duration::minutes(2);

pub struct Reaper {
    pub client: Arc<EngineClient>,
    pub identity: Arc<Identity>,
    pub janitor: Arc<Janitor>,
    pub clock: Arc<dyn Clock>,
    /// Sandboxes that had ended at the last look, by name.
    pub ended: Mutex<HashSet<String>>,
}

impl Reaper {
    /// One look at everything of ours in the Engine. Answers with how many containers it gave to the janitor.
    ///
    /// # Errors
    /// When the Engine doesn't tell what there is.
    pub async fn sweep(&self) -> Result<usize, EngineError> {
        let now = self.clock.now();
        let mut reaped = 0;
        let before = std::mem::take(&mut *self.ended.lock());
        for container in self.client.list(&[ours()]).await? {
            let Some(name) = name_of(&container) else {
                continue;
            };
            let ownership = Ownership::read(container.labels.as_ref().unwrap_or(&Default::default()));
            let holder = self.holder(&ownership).await;
            let owned = self.janitor.owns(name);
            let has_ended = ownership.is_sandbox && has_ended(&container, now);
            if has_ended {
                self.ended.lock().insert(name.to_owned());
            }
            let left_over = has_ended && before.contains(name) && !owned;
            if !left_over && !is_orphan(&ownership, &self.identity, owned, holder, now) {
                continue;
            }
            tracing::info!(
                container = name,
                executor.id = ownership.executor.as_ref().map(tracing::field::display),
                epoch = ownership.epoch,
                "a container that nobody owns any more is removed"
            );
            metrics::counter!(metric_names::CONTAINERS_REAPED_TOTAL).increment(1);
            self.janitor.own(name);
            self.janitor.remove(Doomed {
                name: name.to_owned(),
                busy: true,
                room: None,
            });
            reaped += 1;
        }
        Ok(reaped)
    }

    /// Looking takes a file lock, so it is not done on a worker thread.
    async fn holder(&self, ownership: &Ownership) -> Holder {
        let Some(executor) = ownership.executor.clone() else {
            return Holder::Unknown;
        };
        if executor == self.identity.id {
            return Holder::Alive;
        }
        let identity = Arc::clone(&self.identity);
        let looked = tokio::task::spawn_blocking(move || identity.holder(&executor)).await;
        looked.unwrap_or(Holder::Unknown)
    }
}

/// `owned`: whether this process has it in hand. An owner removes its containers before they expire, so that an
/// expired one is anybody's.
fn is_orphan(ownership: &Ownership, me: &Identity, owned: bool, holder: Holder, now: DateTime<Utc>) -> bool {
    if owned {
        return false;
    }
    let expired = ownership.expires.is_some_and(|expires| expires < now);
    if ownership.executor.as_ref() != Some(&me.id) {
        return expired || holder == Holder::Dead;
    }
    // This process holds the id, so its other epochs have ended. Only sandboxes are kept count of by name.
    expired || ownership.epoch != Some(me.epoch) || ownership.is_sandbox
}

/// Or was never started, and never will be.
fn has_ended(container: &ContainerSummary, now: DateTime<Utc>) -> bool {
    let made = container.created.and_then(|at| DateTime::from_timestamp(at, 0));
    match container.state {
        Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD) => true,
        Some(ContainerSummaryStateEnum::CREATED) => made.is_some_and(|made| now - made > MAKING),
        _ => false,
    }
}

fn name_of(container: &ContainerSummary) -> Option<&str> {
    let name = container.names.as_ref()?.first()?;
    Some(name.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::ids::ExecutorId;

    use super::*;

    struct Scene {
        _state: tempfile::TempDir,
        me: Identity,
        now: DateTime<Utc>,
    }

    impl Scene {
        fn new() -> Self {
            let state = tempfile::tempdir().unwrap();
            let me = Identity::claim(state.path()).unwrap();
            Self {
                _state: state,
                me,
                now: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            }
        }

        fn mine(&self) -> Ownership {
            Ownership {
                executor: Some(self.me.id.clone()),
                epoch: Some(self.me.epoch),
                is_sandbox: true,
                expires: Some(self.now + chrono::Duration::minutes(1)),
            }
        }

        fn theirs(&self) -> Ownership {
            Ownership {
                executor: Some(ExecutorId::generate()),
                ..self.mine()
            }
        }

        fn reaps(&self, ownership: &Ownership, owned: bool, holder: Holder) -> bool {
            is_orphan(ownership, &self.me, owned, holder, self.now)
        }
    }

    #[test]
    fn what_is_in_hand_stays_and_what_slipped_away_goes() {
        let scene = Scene::new();
        assert!(!scene.reaps(&scene.mine(), true, Holder::Alive));
        assert!(scene.reaps(&scene.mine(), false, Holder::Alive));
    }

    #[test]
    fn an_earlier_life_is_over() {
        let scene = Scene::new();
        let earlier = Ownership {
            epoch: Some(scene.me.epoch - 1),
            is_sandbox: false,
            ..scene.mine()
        };
        assert!(scene.reaps(&earlier, false, Holder::Alive));
    }

    #[test]
    fn an_install_of_this_life_stays_until_it_expires() {
        let scene = Scene::new();
        let install = Ownership {
            is_sandbox: false,
            ..scene.mine()
        };
        assert!(!scene.reaps(&install, false, Holder::Alive));
        let expired = Ownership {
            expires: Some(scene.now - chrono::Duration::seconds(1)),
            ..install
        };
        assert!(scene.reaps(&expired, false, Holder::Alive));
    }

    #[test]
    fn another_executors_container_goes_only_when_it_is_dead_or_expired() {
        let scene = Scene::new();
        assert!(!scene.reaps(&scene.theirs(), false, Holder::Alive));
        assert!(!scene.reaps(&scene.theirs(), false, Holder::Unknown));
        assert!(scene.reaps(&scene.theirs(), false, Holder::Dead));
        let expired = Ownership {
            expires: Some(scene.now - chrono::Duration::seconds(1)),
            ..scene.theirs()
        };
        assert!(scene.reaps(&expired, false, Holder::Unknown));
    }

    #[test]
    fn what_waits_for_its_start_has_not_ended_until_it_never_will() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let container = |state, seconds_ago: i64| ContainerSummary {
            state: Some(state),
            created: Some(1_800_000_000 - seconds_ago),
            ..ContainerSummary::default()
        };
        assert!(!has_ended(
            &container(ContainerSummaryStateEnum::CREATED, 60),
            now
        ));
        assert!(has_ended(
            &container(ContainerSummaryStateEnum::CREATED, 121),
            now
        ));
        assert!(has_ended(&container(ContainerSummaryStateEnum::EXITED, 1), now));
        assert!(!has_ended(
            &container(ContainerSummaryStateEnum::RUNNING, 9_999),
            now
        ));
    }

    #[test]
    fn a_container_with_damaged_labels_is_left_alone() {
        let scene = Scene::new();
        let damaged = Ownership {
            executor: None,
            epoch: None,
            is_sandbox: false,
            expires: None,
        };
        assert!(!scene.reaps(&damaged, false, Holder::Unknown));
    }
}
