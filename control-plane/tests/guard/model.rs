//! The scripts against a model that is plain enough to be seen through: the same calls come and go, and the same get slots.

use std::collections::BTreeMap;
use std::time::Duration;

use dynamic_mcp_control_plane::guard::{Guard as _, Lease, Permit, RedisGuardConfig, Share};
use dynamic_mcp_control_plane::redis::RedisConfig;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::rig::{ALL, SOON, closed, config, redis_config, replica_of, scope};
use crate::server::Server;

const SLOTS: usize = 4;
/// Slots that each may have, and its weight.
const TENANTS: [(u32, u32); 3] = [(4, 1), (4, 3), (1, 2)];

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Of that tenant a call comes.
    Come(usize),
    /// Of those that run that one ends, counted from the oldest.
    End(usize),
}

#[derive(Default)]
struct Model {
    turn: u64,
    /// Calls by number, with their tenant.
    running: Vec<(usize, usize)>,
    waiting: Vec<(usize, usize)>,
    served: [u64; TENANTS.len()],
}

impl Model {
    fn of(calls: &[(usize, usize)], tenant: usize) -> u32 {
        u32::try_from(calls.iter().filter(|(_, of)| *of == tenant).count()).unwrap()
    }

    fn come(&mut self, call: usize, tenant: usize) {
        if self.running.len() < SLOTS && Self::of(&self.running, tenant) < TENANTS[tenant].0 {
            self.start(call, tenant);
        } else {
            self.waiting.push((call, tenant));
        }
    }

    fn end(&mut self, index: usize) -> usize {
        let (call, tenant) = self.running.remove(index);
        self.hand_out();
        // Of who has nothing and wants nothing, nothing is remembered.
        if Self::of(&self.running, tenant) + Self::of(&self.waiting, tenant) == 0 {
            self.served[tenant] = 0;
        }
        call
    }

    fn hand_out(&mut self) {
        while self.running.len() < SLOTS {
            let may = self
                .waiting
                .iter()
                .enumerate()
                .filter(|(_, (_, tenant))| Self::of(&self.running, *tenant) < TENANTS[*tenant].0);
            let next = may.min_by(|(i, (_, a)), (j, (_, b))| {
                let share =
                    |tenant: usize| f64::from(Self::of(&self.running, tenant)) / f64::from(TENANTS[tenant].1);
                share(*a)
                    .total_cmp(&share(*b))
                    .then(self.served[*a].cmp(&self.served[*b]))
                    .then(i.cmp(j))
            });
            let Some((index, _)) = next else { return };
            let (call, tenant) = self.waiting.remove(index);
            self.start(call, tenant);
        }
    }

    fn start(&mut self, call: usize, tenant: usize) {
        self.turn += 1;
        self.served[tenant] = self.turn;
        self.running.push((call, tenant));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scripts_give_slots_to_the_calls_that_the_rule_says() {
    let server = Server::start().await;
    let mut runner = TestRunner::deterministic();
    let step = prop_oneof![
        3 => (0..TENANTS.len()).prop_map(Step::Come),
        2 => (0..100_usize).prop_map(Step::End),
    ];
    let steps = prop::collection::vec(step, 60);
    for case in 0..12 {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        let prefix = format!("model-{case}");
        follow(&redis_config(&server.url(), &prefix), &steps).await;
    }
}

async fn follow(redis: &RedisConfig, steps: &[Step]) {
    let lease = Lease {
        length: Duration::from_secs(60),
        sign: Duration::from_secs(60),
        ..Lease::default()
    };
    let guarded = RedisGuardConfig {
        lease,
        ..closed(config(u32::try_from(SLOTS).unwrap()))
    };
    // Which of the two a call comes to makes no difference.
    let replicas = [replica_of(redis, guarded).await, replica_of(redis, guarded).await];
    let (begins, mut begun) = mpsc::unbounded_channel();
    let mut calls = JoinSet::new();
    let mut model = Model::default();
    let mut running: BTreeMap<usize, Box<dyn Permit>> = BTreeMap::new();
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Come(tenant) => {
                model.come(number, tenant);
                let (guard, begins) = (replicas[number % 2].guard.clone(), begins.clone());
                let (max_concurrency, weight) = TENANTS[tenant];
                let share = Share {
                    max_concurrency,
                    weight,
                    ..ALL
                };
                calls.spawn(async move {
                    let permit = guard.acquire(&scope(&format!("t{tenant}"), "a"), share).await;
                    begins.send((number, permit.unwrap())).unwrap();
                });
            }
            Step::End(_) if model.running.is_empty() => {}
            Step::End(which) => {
                let ended = model.end(which % model.running.len());
                drop(running.remove(&ended).expect("it runs"));
            }
        }
        let expected: Vec<usize> = {
            let mut numbers: Vec<_> = model.running.iter().map(|(call, _)| *call).collect();
            numbers.sort_unstable();
            numbers
        };
        while running.len() < expected.len() {
            let next = tokio::time::timeout(SOON, begun.recv()).await;
            let (number, permit) = next.expect("a slot is given").unwrap();
            running.insert(number, permit);
        }
        assert_eq!(
            running.keys().copied().collect::<Vec<_>>(),
            expected,
            "after step {number}: {steps:?}"
        );
        replicas[0]
            .until_waiting(u32::try_from(model.waiting.len()).unwrap())
            .await;
    }
    calls.shutdown().await;
}
