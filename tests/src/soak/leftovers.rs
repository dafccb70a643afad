//! What is held when nothing runs: of the processes as much as before the first fault, of everything else nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use redis::aio::MultiplexedConnection;
use serde_json::json;

use crate::client::Era;
use crate::cluster::Cluster;
use crate::eventually::eventually;
use crate::measured::measured;
use crate::processes::descendants_of;
use crate::resources::Resources;

const QUIET: Duration = Duration::from_secs(90);
/// Connections that a quiet process still winds up, or has opened anew.
const SLACK: u64 = 8;

/// The most that a process of either kind held when it was warm and quiet.
#[derive(Debug)]
pub(super) struct Baseline {
    replica: Held,
    executor: Held,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    descriptors: u64,
    threads: u64,
    family: u64,
    resident_mb: u64,
}

impl Held {
    fn of(pid: u32) -> Result<Self> {
        let resources = Resources::of(pid)?;
        Ok(Self {
            descriptors: resources.descriptors,
            threads: resources.threads,
            family: u64::try_from(descendants_of(pid).len())?,
            resident_mb: resources.resident_bytes >> 20,
        })
    }

    fn most(all: impl Iterator<Item = Result<Self>>) -> Result<Self> {
        let mut most = Self::default();
        for held in all {
            let held = held?;
            most.descriptors = most.descriptors.max(held.descriptors);
            most.threads = most.threads.max(held.threads);
            most.family = most.family.max(held.family);
            most.resident_mb = most.resident_mb.max(held.resident_mb);
        }
        Ok(most)
    }

    fn is_within(self, before: Self) -> bool {
        self.descriptors <= before.descriptors + SLACK
            && self.threads <= before.threads + SLACK
            && self.family <= before.family
    }
}

impl Baseline {
    pub(super) async fn of(cluster: &Cluster) -> Result<Self> {
        until_quiet(cluster).await;
        Self::now(cluster)
    }

    fn now(cluster: &Cluster) -> Result<Self> {
        let replicas = cluster.replicas.iter().map(|part| part.process().pid());
        let executors = cluster.executors.iter().map(|part| part.process().pid());
        Ok(Self {
            replica: Held::most(replicas.map(Held::of))?,
            executor: Held::most(executors.map(Held::of))?,
        })
    }

    pub(super) async fn hold_against(&self, cluster: &Cluster) -> Result<()> {
        until_quiet(cluster).await;
        eventually(QUIET, async || {
            let now = Self::now(cluster)?;
            ensure!(
                now.replica.is_within(self.replica) && now.executor.is_within(self.executor),
                "{self:?} before, {now:?} now"
            );
            Ok(())
        })
        .await;
        measured(format!("{self:?} before, {:?} after", Self::now(cluster)?));
        Ok(())
    }
}

/// By every replica's count, by the executors' own, and by the sessions that are open.
async fn until_quiet(cluster: &Cluster) {
    eventually(QUIET, async || {
        for replica in &cluster.replicas {
            let client = replica.client(Era::Modern).await?;
            let metrics = client.structured("system.guard_metrics", json!({})).await?;
            ensure!(metrics["activeExecutions"] == 0, "{metrics}");
            let fleet = client.structured("system.fleet", json!({})).await?;
            ensure!(fleet["totals"]["sandboxes"] == 0, "{fleet}");
        }
        for node in &cluster.executors {
            let running = node
                .ran()?
                .into_iter()
                .filter(|span| span.ended.is_none())
                .count();
            ensure!(running == 0, "{} runs {running} jobs", node.id()?);
        }
        Ok(())
    })
    .await;
}

pub(super) fn no_job_ran_twice(cluster: &Cluster) -> Result<()> {
    let mut jobs = Vec::new();
    for node in &cluster.executors {
        jobs.extend(node.ran_in_all_lives()?.into_iter().map(|span| span.job));
    }
    let count = jobs.len();
    jobs.sort_unstable();
    let twice: Vec<_> = jobs.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    ensure!(twice.is_empty(), "{twice:?} ran twice");
    measured(format!("the code of {count} jobs ran, of each once"));
    Ok(())
}

pub(super) async fn no_container(cluster: &Cluster) -> Result<()> {
    for node in &cluster.executors {
        let left = node.state().containers().await?;
        ensure!(left.is_empty(), "{} left {left:?}", node.id()?);
    }
    Ok(())
}

/// What of a key's name is of something that somebody holds: permits and who waits for one, executors, sessions of clients.
/// Windows and counts outlive what they count, and what is known of a sandbox session outlives the session.
const HELD: [&str; 5] = [":leases", ":queue", ":waiting", ":executor:", "mcp-session:"];
/// The sandbox sessions that count, each with the time until which it does.
const SANDBOXES: &str = ":sandbox}:all";

async fn open_sandboxes(key: &str, connection: &mut MultiplexedConnection) -> Result<u32> {
    let (seconds, _micros): (u64, u64) = redis::cmd("TIME").query_async(connection).await?;
    let now = seconds * 1_000;
    let counting = redis::cmd("ZCOUNT")
        .arg(key)
        .arg(now)
        .arg("+inf")
        .query_async(connection)
        .await?;
    Ok(counting)
}

/// What is kept there for a while keeps nothing that anybody holds, and goes by itself.
pub(super) async fn nothing_in_redis(cluster: &Cluster) -> Result<()> {
    eventually(QUIET, async || {
        let mut connection = cluster.redis.connect().await?;
        for key in cluster.redis.keys().await? {
            let (kind, ttl): (String, i64) = redis::pipe()
                .cmd("TYPE")
                .arg(&key)
                .cmd("PTTL")
                .arg(&key)
                .query_async(&mut connection)
                .await?;
            // Gone since it was listed.
            if ttl == -2 {
                continue;
            }
            ensure!(ttl > 0, "{key} ({kind}) has no time to live");
            ensure!(
                !HELD.iter().any(|part| key.contains(part)),
                "{key} ({kind}) is left"
            );
            if key.ends_with(SANDBOXES) {
                let open = open_sandboxes(&key, &mut connection).await?;
                ensure!(open == 0, "{open} sandbox sessions count in {key}");
            }
        }
        Ok(())
    })
    .await;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for key in cluster.redis.keys().await? {
        *kinds.entry(kind_of(&key)).or_default() += 1;
    }
    measured(format!("left in Redis until their time is over: {kinds:?}"));
    Ok(())
}

/// The key without what names one session or replica.
fn kind_of(key: &str) -> String {
    let named = |part: &&str| !part.starts_with("mcp-sbx-") && !part.starts_with("rep_");
    key.split(':').filter(named).collect::<Vec<_>>().join(":")
}
