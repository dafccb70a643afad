//! What is done to the cluster, in an order that the seed decides: every kind once before any comes again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::cluster::Cluster;
use crate::measured::measured;

/// For how long something is held still or cut off: longer than a call waits, some of them longer than a permit lasts.
const BRIEFLY: Duration = Duration::from_millis(1_500);
const AWHILE: Duration = Duration::from_secs(8);
const RECOVERY: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    ReplicaKilled,
    ReplicaTerminated,
    ReplicaHeldStill,
    ExecutorKilled,
    ExecutorTerminated,
    ExecutorCutOff,
    RedisEmptied,
    RedisHeldStill,
    PostgresCut,
}

const ALL: [Fault; 9] = [
    Fault::ReplicaKilled,
    Fault::ReplicaTerminated,
    Fault::ReplicaHeldStill,
    Fault::ExecutorKilled,
    Fault::ExecutorTerminated,
    Fault::ExecutorCutOff,
    Fault::RedisEmptied,
    Fault::RedisHeldStill,
    Fault::PostgresCut,
];

pub(super) struct Faults {
    random: StdRng,
    ahead: Vec<Fault>,
    made: BTreeMap<Fault, u32>,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            ahead: Vec::new(),
            made: BTreeMap::new(),
        }
    }

    /// Breaks something and mends it; returns when everything is ready again.
    pub(super) async fn make_one(&mut self, cluster: &mut Cluster) -> Result<()> {
        if self.ahead.is_empty() {
            self.ahead = ALL.to_vec();
            self.ahead.shuffle(&mut self.random);
        }
        let Some(fault) = self.ahead.pop() else {
            return Ok(());
        };
        let replica = self.random.random_range(0..cluster.replicas.len());
        let executor = self.random.random_range(0..cluster.executors.len());
        let began = Instant::now();
        make(fault, cluster, replica, executor).await?;
        tokio::select! {
            _took = cluster.until_ready(RECOVERY) => {}
            () = say_what_is_late(cluster) => {}
        }
        measured(format!(
            "{fault:?} (replica {replica}, executor {executor}): whole again after {:?}",
            began.elapsed()
        ));
        *self.made.entry(fault).or_default() += 1;
        Ok(())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.made).finish()
    }
}

/// For whoever looks for why a recovery took long. Never ends.
async fn say_what_is_late(cluster: &Cluster) {
    loop {
        tokio::time::sleep(LATE).await;
        for replica in &cluster.replicas {
            measured(format!("not all is ready yet: {:?}", replica.readyz().await));
        }
    }
}

async fn make(fault: Fault, cluster: &mut Cluster, replica: usize, executor: usize) -> Result<()> {
    match fault {
        Fault::ReplicaKilled => {
            cluster.kill_replica(replica).await;
            tokio::time::sleep(BRIEFLY).await;
            cluster.start_replica(replica).await
        }
        Fault::ReplicaTerminated => {
            cluster.terminate_replica(replica).await;
            cluster.start_replica(replica).await
        }
        Fault::ReplicaHeldStill => {
            cluster.replicas[replica].process().signal("STOP").await;
            tokio::time::sleep(AWHILE).await;
            cluster.replicas[replica].process().signal("CONT").await;
            Ok(())
        }
        Fault::ExecutorKilled => {
            cluster.kill_executor(executor).await;
            tokio::time::sleep(BRIEFLY).await;
            cluster.start_executor(executor).await
        }
        Fault::ExecutorTerminated => {
            cluster.terminate_executor(executor).await;
            cluster.start_executor(executor).await
        }
        Fault::ExecutorCutOff => {
            cluster.executors[executor].stall();
            tokio::time::sleep(AWHILE).await;
            cluster.executors[executor].flow();
            Ok(())
        }
        Fault::RedisEmptied => {
            cluster.redis.kill().await;
            tokio::time::sleep(BRIEFLY).await;
            cluster.restart_redis().await
        }
        Fault::RedisHeldStill => {
            cluster.redis.signal("STOP").await?;
            tokio::time::sleep(BRIEFLY).await;
            cluster.redis.signal("CONT").await
        }
        Fault::PostgresCut => {
            for link in cluster.replicas.iter().map(|replica| &replica.postgres) {
                link.cut();
            }
            tokio::time::sleep(BRIEFLY).await;
            for link in cluster.replicas.iter().map(|replica| &replica.postgres) {
                link.flow();
            }
            Ok(())
        }
    }
}
