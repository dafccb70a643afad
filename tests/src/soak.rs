//! Mixed work on a whole cluster while its parts are killed, held still, started again and cut off, and in the end a look at
//! what is on record and what is left: every call has one outcome, and nothing that a call or a fault had taken is still held.
//!
//! What is done and what is broken follows from a seed, which is printed; when it meets what does not.

mod callers;
mod faults;
mod journal;
mod leftovers;
mod record;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use crate::client::Era;
use crate::cluster::{Cluster, Plan};
use crate::measured::measured;
use crate::on::On;

use self::callers::Caller;
use self::faults::Faults;
use self::journal::Journal;
use self::leftovers::Baseline;

/// Callers of each era.
const CALLERS: usize = 4;
/// What grows to its size before anything is counted.
const WARM_UP: Duration = Duration::from_secs(5);
const RECOVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub struct Soak {
    pub length: Duration,
    /// From one fault to the next one; what a fault itself takes is in it.
    pub fault_every: Duration,
    pub seed: u64,
    pub executors: Vec<On>,
}

impl Soak {
    /// # Errors
    /// When a call was answered wrongly, has no or more than one outcome on record, or something is left.
    pub async fn run(&self) -> Result<()> {
        measured(format!("soak of {:?} with seed {}", self.length, self.seed));
        let mut cluster = Cluster::start(self.plan()).await?;
        let journal = Journal::new(self.seed);
        callers::make_tools(&cluster).await?;
        // Whatever has to grow once has grown before anything is counted.
        self.call(&cluster, &journal, WARM_UP).await?;
        cluster.until_ready(RECOVERY).await;
        let baseline = Baseline::of(&cluster).await?;

        self.call_under_faults(&mut cluster, &journal).await?;

        let took = cluster.until_ready(RECOVERY).await;
        measured(format!("everything was ready {took:?} after the last fault"));
        let result = self.look_at_what_is_left(&mut cluster, &journal, &baseline).await;
        result.with_context(|| format!("with seed {}", self.seed))?;
        cluster.stop().await
    }

    fn plan(&self) -> Plan {
        Plan::default()
            .executors(&self.executors)
            .replica("MCP_TOOL_MAX_CONCURRENCY", "16")
            // What a client could not end, since nobody answered it, ends by itself while the rest is looked at.
            .replica("MCP_HTTP_SESSION_TTL_SECONDS", "30")
            .replica("MCP_SANDBOX_SESSION_TIMEOUT_SECONDS", "15")
            .replica("MCP_SANDBOX_SESSION_MAX_SECONDS", "60")
    }

    async fn call_under_faults(&self, cluster: &mut Cluster, journal: &Journal) -> Result<()> {
        let stop = CancellationToken::new();
        let mut faults = Faults::new(self.seed);
        let until = Instant::now() + self.length;
        let callers = self.callers(cluster.base_url());
        let calls = async {
            let working = callers.into_iter().map(|caller| caller.work(journal, &stop));
            futures::future::try_join_all(working).await
        };
        let breaking = async {
            // However it ends, so do the calls.
            let _ended = stop.clone().drop_guard();
            while Instant::now() < until {
                let next = Instant::now() + self.fault_every;
                faults.make_one(cluster).await?;
                tokio::time::sleep(next.saturating_duration_since(Instant::now())).await;
            }
            anyhow::Ok(())
        };
        tokio::try_join!(calls, breaking)?;
        measured(format!("faults: {faults}"));
        Ok(())
    }

    async fn call(&self, cluster: &Cluster, journal: &Journal, time: Duration) -> Result<()> {
        let stop = CancellationToken::new();
        let callers = self.callers(cluster.base_url());
        let working = callers.into_iter().map(|caller| caller.work(journal, &stop));
        let timer = async {
            tokio::time::sleep(time).await;
            stop.cancel();
        };
        let (worked, ()) = tokio::join!(futures::future::try_join_all(working), timer);
        worked.map(drop)
    }

    fn callers(&self, base_url: &str) -> Vec<Caller> {
        let eras = [Era::Modern, Era::Legacy].into_iter();
        let docker = self.executors.contains(&On::Docker);
        let numbered = eras
            .flat_map(|era| (0..CALLERS).map(move |_| era))
            .zip(self.seed..);
        numbered
            .map(|(era, seed)| Caller::new(base_url, era, seed, docker))
            .collect()
    }

    async fn look_at_what_is_left(
        &self,
        cluster: &mut Cluster,
        journal: &Journal,
        baseline: &Baseline,
    ) -> Result<()> {
        baseline.hold_against(cluster).await?;
        leftovers::no_job_ran_twice(cluster)?;
        cluster.stop_executors().await;
        leftovers::no_container(cluster).await?;
        cluster.stop_replicas().await;
        leftovers::nothing_in_redis(cluster).await?;
        record::agrees(journal, cluster.schema()).await
    }
}
