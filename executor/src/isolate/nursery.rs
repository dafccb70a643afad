//! Keeps one zygote that new children come from, and replaces it: when it has made many, when it is old, after a child of
//! it broke out of its rules, and when it dies. The new one is there before the old one goes.
//!
//! ```text
//! starting ──hello──▶ ready ──due──▶ ready (another; the old one ends with the last of its children)
//!    ▲ │refused         │died
//!    │ ▼                ▼
//!    └─ waiting ◀───────┘      the wait doubles with each failure
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dynamic_mcp_isolate::control::Settings;
use dynamic_mcp_isolate::walls::{Finding, Tier, Wall};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use super::child::CPU_SECONDS;
use super::config::IsolateConfig;
use super::memory::MemoryGroup;
use super::spawner::Spawner;
use super::zygote::{Zygote, ZygoteError};
use crate::metric_names;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked whether a zygote has made its share.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("isolates can't be run: {0}")]
    Zygote(#[from] ZygoteError),
    #[error("isolates can't be run: the thread that starts them could not be made")]
    Thread(#[source] std::io::Error),
    #[error(
        "isolates can't be run: system calls can't be filtered here ({0}), and nothing runs without that; use a kernel with seccomp, or MCP_EXECUTION_ENGINE=docker"
    )]
    NoFilter(String),
    #[error(
        "isolates are walled in as tier \"{found}\" here, and MCP_ISOLATE_MINIMUM asks for \"{minimum}\": {lacking}; {advice}"
    )]
    BelowMinimum {
        found: Tier,
        minimum: Tier,
        lacking: String,
        advice: String,
    },
}

#[derive(Clone)]
enum State {
    Ready(Arc<Zygote>),
    Waiting(String),
}

pub struct Nursery {
    config: Arc<IsolateConfig>,
    spawner: Spawner,
    /// Of all zygotes and their children; or why there is none.
    memory: Result<MemoryGroup, String>,
    state: watch::Sender<State>,
    due: Notify,
    tasks: TaskTracker,
}

impl Nursery {
    /// # Errors
    /// When this machine can't wall isolates in as well as it must.
    pub async fn start(config: Arc<IsolateConfig>, tasks: TaskTracker) -> Result<Arc<Self>, StartError> {
        let spawner = Spawner::new(config.program.clone()).map_err(StartError::Thread)?;
        let nursery = Self {
            memory: memory_group(&config),
            config,
            spawner,
            state: watch::Sender::new(State::Waiting("no zygote has started yet".to_owned())),
            due: Notify::new(),
            tasks,
        };
        let first = nursery.start_one().await?;
        nursery.state.send_replace(State::Ready(first));
        Ok(Arc::new(nursery))
    }

    /// The zygote for new children, when there is one.
    ///
    /// # Errors
    /// When there will be none any more.
    pub async fn zygote(&self) -> Result<Arc<Zygote>, String> {
        let mut state = self.state.subscribe();
        let ready = state.wait_for(|state| matches!(state, State::Ready(zygote) if !zygote.is_retired()));
        match ready.await.as_deref() {
            Ok(State::Ready(zygote)) => Ok(Arc::clone(zygote)),
            _ => Err(self.why_not()),
        }
    }

    /// The zygote of now.
    pub fn current(&self) -> Option<Arc<Zygote>> {
        match &*self.state.borrow() {
            State::Ready(zygote) => Some(Arc::clone(zygote)),
            State::Waiting(_) => None,
        }
    }

    /// Why there is no zygote now.
    pub fn unavailable(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Ready(_) => None,
            State::Waiting(why) => Some(why.clone()),
        }
    }

    pub fn why_not(&self) -> String {
        self.unavailable()
            .unwrap_or_else(|| "no sandbox could be made in time".to_owned())
    }

    /// A child of this zygote did what it can't: whatever it may have learnt of its siblings' memory is made void.
    pub fn breached(&self, zygote: &Zygote) {
        metrics::counter!(metric_names::ISOLATE_BREACHES_TOTAL).increment(1);
        if !zygote.is_retired() {
            zygote.retire();
            self.due.notify_one();
        }
    }

    /// Replaces zygotes until it is told to stop. `changed` is called after each.
    pub async fn tend(self: Arc<Self>, changed: impl Fn()) {
        let mut wait = FIRST_WAIT;
        loop {
            let reason = self.until_due().await;
            match self.start_one().await {
                Ok(fresh) => {
                    wait = FIRST_WAIT;
                    metrics::counter!(metric_names::ZYGOTE_RENEWALS_TOTAL, "reason" => reason).increment(1);
                    if let State::Ready(old) = self.state.send_replace(State::Ready(fresh)) {
                        old.retire();
                    }
                    changed();
                }
                Err(error) => {
                    tracing::warn!(%error, "no new zygote could be started; it is tried again");
                    // One that only was due can go on; one that is gone or was breached can't.
                    let usable = self.current().is_some_and(|zygote| !zygote.is_retired());
                    if !usable {
                        self.state.send_replace(State::Waiting(error.to_string()));
                    }
                    sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Ends the zygote of now and waits until nothing of it is left. Those that were retired end with their children.
    pub async fn close(&self) {
        let last = self
            .state
            .send_replace(State::Waiting("the engine is stopping".to_owned()));
        if let State::Ready(zygote) = last {
            let (sender, ended) = tokio::sync::oneshot::channel();
            zygote.end(Some(sender));
            let _already_gone = ended.await;
        }
        if let Ok(group) = &self.memory {
            group.remove().await;
        }
    }

    /// Answers with the reason.
    async fn until_due(&self) -> &'static str {
        let Some(zygote) = self.current() else {
            return "none";
        };
        let renewal = self.config.renewal;
        let old = Instant::now() + renewal.after.saturating_sub(zygote.age());
        let mut gone = zygote.gone();
        let many = async {
            while zygote.children() < renewal.after_children {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            _ = gone.wait_for(|gone| *gone) => "died",
            () = self.due.notified() => "breach",
            () = sleep_until(old) => "age",
            () = many => "children",
        }
    }

    async fn start_one(&self) -> Result<Arc<Zygote>, StartError> {
        let began = Instant::now();
        let zygote = match self.try_start(None).await {
            // A new process without them: the one that failed half-way can't go back.
            Err(ZygoteError::Refused {
                wall: Wall::Namespaces,
                why,
            }) => {
                tracing::debug!(why, "no own namespaces for isolates");
                self.try_start(Some(why)).await?
            }
            other => other?,
        };
        judge(&zygote.findings, self.config.minimum)?;
        tracing::debug!(
            tier = zygote.tier.map(Tier::as_str),
            ready_ms = began.elapsed().as_millis(),
            "a zygote is ready"
        );
        metrics::histogram!(metric_names::ZYGOTE_START_SECONDS).record(began.elapsed().as_secs_f64());
        Ok(zygote)
    }

    /// `no_namespaces`: why there can't be any, when that was found out.
    async fn try_start(&self, no_namespaces: Option<String>) -> Result<Arc<Zygote>, ZygoteError> {
        let settings = Settings {
            memory_bytes: self.config.memory.0,
            cpu_seconds: CPU_SECONDS,
            namespaces: no_namespaces.is_none(),
        };
        let program = self.config.program.to_string_lossy();
        let memory = self.memory.as_ref().map_err(String::as_str);
        let mut zygote = Zygote::start(&self.spawner, &program, settings, memory, &self.tasks).await?;
        for found in &mut zygote.findings {
            if found.wall == Wall::Namespaces && no_namespaces.is_some() {
                found.lacking.clone_from(&no_namespaces);
            }
        }
        Ok(Arc::new(zygote))
    }
}

fn memory_group(config: &IsolateConfig) -> Result<MemoryGroup, String> {
    /// Engines of this process so far.
    static ENGINES: AtomicU64 = AtomicU64::new(0);
    let number = ENGINES.fetch_add(1, Ordering::Relaxed);
    let group = MemoryGroup::make(config.slots, config.memory.0, number)?;
    tracing::debug!(
        limit_bytes = group.limit(),
        "isolates have a control group of memory"
    );
    Ok(group)
}

/// Whether what was found is enough.
fn judge(findings: &[Finding], minimum: Tier) -> Result<(), StartError> {
    let lacking = |wall: Wall| {
        let found = findings.iter().find(|found| found.wall == wall);
        found.map_or_else(
            || Some("it was not tried".to_owned()),
            |found| found.lacking.clone(),
        )
    };
    let Some(found) = Tier::of(findings) else {
        return Err(StartError::NoFilter(lacking(Wall::Seccomp).unwrap_or_default()));
    };
    // Not by the order alone: of the two in the middle neither has the other's wall.
    let missing: Vec<(Wall, String)> = minimum
        .needs()
        .iter()
        .filter_map(|wall| Some((*wall, lacking(*wall)?)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing
        .iter()
        .map(|(wall, why)| format!("{wall} is lacking ({why})"))
        .collect();
    let advice = missing
        .iter()
        .map(|(wall, _)| advice(*wall))
        .collect::<Vec<_>>()
        .join("; ");
    Err(StartError::BelowMinimum {
        found,
        minimum,
        lacking: texts.join(", "),
        advice,
    })
}

fn advice(wall: Wall) -> &'static str {
    match wall {
        Wall::Namespaces => {
            "allow user namespaces (sysctl user.max_user_namespaces; in Docker a seccomp profile that has unshare and mount), or lower MCP_ISOLATE_MINIMUM"
        }
        Wall::Landlock => {
            "use a kernel from 5.13 on with \"landlock\" among its security modules (lsm=), or lower MCP_ISOLATE_MINIMUM"
        }
        _ => "lower MCP_ISOLATE_MINIMUM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(wall: Wall) -> Vec<Finding> {
        let found = |each| {
            if each == wall {
                Err("no luck".to_owned())
            } else {
                Ok(())
            }
        };
        Wall::ALL.map(|each| Finding::new(each, found(each))).to_vec()
    }

    #[test]
    fn a_machine_below_the_minimum_is_told_what_is_lacking_and_what_to_do() {
        let error = judge(&without(Wall::Namespaces), Tier::Full)
            .unwrap_err()
            .to_string();
        for part in [
            "\"landlock\"",
            "\"full\"",
            "namespaces is lacking (no luck)",
            "max_user_namespaces",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(judge(&without(Wall::Namespaces), Tier::Landlock).is_ok());
        assert!(judge(&without(Wall::MemoryGroup), Tier::Full).is_ok());
    }

    #[test]
    fn one_wall_does_not_stand_for_the_other() {
        assert!(judge(&without(Wall::Landlock), Tier::Landlock).is_err());
        assert!(judge(&without(Wall::Namespaces), Tier::Namespaces).is_err());
    }

    #[test]
    fn without_the_filter_nothing_runs() {
        let error = judge(&without(Wall::Seccomp), Tier::Seccomp).unwrap_err();
        assert!(matches!(error, StartError::NoFilter(why) if why == "no luck"));
    }
}
