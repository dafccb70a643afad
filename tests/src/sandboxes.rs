//! What runs the calls of an executor, seen from outside: containers in the Engine, or processes below its own.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::docker::running_containers_of;
use crate::eventually::eventually;
use crate::on::On;
use crate::process::Process;
use crate::processes::descendants_of;
use crate::state::State;

/// Long enough for the isolates that wait to be made.
const QUIET: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(20);

/// With containers it counts on a server without a pool: all that run are calls.
pub enum Sandboxes {
    Containers {
        executor: String,
    },
    Processes {
        executor: u32,
        /// Those that wait for calls, and what makes them.
        waiting: usize,
    },
}

impl Sandboxes {
    /// Of an executor that runs nothing yet.
    ///
    /// # Errors
    /// When it has no identity yet.
    pub async fn of(on: On, process: &Process, state: &State) -> Result<Self> {
        let executor = process.pid();
        match on {
            On::Docker => Ok(Self::Containers {
                executor: state.executor()?,
            }),
            On::Isolate => Ok(Self::Processes {
                executor,
                waiting: settled(executor).await,
            }),
        }
    }

    /// How many calls run.
    ///
    /// # Errors
    /// When the Engine does not answer.
    pub async fn running(&self) -> Result<usize> {
        match self {
            Self::Containers { executor } => Ok(running_containers_of(executor).await?.len()),
            Self::Processes { executor, waiting } => {
                Ok(descendants_of(*executor).len().saturating_sub(*waiting))
            }
        }
    }

    /// Waits until so many calls run; answers how long it took.
    ///
    /// # Panics
    /// When it does not come within the limit.
    pub async fn until_running(&self, count: usize, limit: Duration) -> Duration {
        eventually(limit, async || {
            let running = self.running().await?;
            ensure!(running == count, "{running} calls run, not {count}");
            Ok(())
        })
        .await
    }
}

/// How many processes are there when their number doesn't change any more.
async fn settled(executor: u32) -> usize {
    let looked = async || {
        let before = descendants_of(executor);
        tokio::time::sleep(QUIET).await;
        let now = descendants_of(executor);
        // One that keeps the zygote, the zygote, and one that waits.
        ensure!(now.len() >= 3 && now == before, "{before:?} became {now:?}");
        Ok(())
    };
    eventually(LIMIT, looked).await;
    descendants_of(executor).len()
}
