//! Whether what the guard keeps in Redis is right: looked at after a script has run, and when all is over.

use std::collections::BTreeMap;

use super::World;
use super::guard::lease;
use super::store::{Ask, Script, key};
use crate::keyspace::Reply;

/// Of a tenant, as the scripts write it.
struct Lane {
    running: u32,
    waiting: u32,
    limit: u32,
    weight: u32,
}

impl World {
    /// After a script that gives slots or takes them back.
    pub fn check_books(&mut self, handed_to: &[String]) {
        let lanes = self.lanes();
        let taken: u32 = lanes.values().map(|lane| lane.running).sum();
        let waiting: u32 = lanes.values().map(|lane| lane.waiting).sum();
        let (leases, queue) = (self.members("leases"), self.members("queue"));
        if leases.len() != taken as usize || queue.len() != waiting as usize {
            let (leases, queue) = (leases.len(), queue.len());
            self.truth.broken(format!(
                "lanes count {taken} running and {waiting} waiting of {leases} and {queue}"
            ));
        }
        for (tenant, lane) in &lanes {
            if lane.waiting > 0 && lane.running < lane.limit && taken < self.plan.limit {
                self.truth.broken(format!(
                    "{tenant} waits, and has {} of {taken} slots taken",
                    lane.running
                ));
            }
        }
        for lucky in handed_to.iter().filter_map(|tenant| lanes.get(tenant)) {
            for (tenant, other) in &lanes {
                let may = other.waiting > 0 && other.running < other.limit;
                // Without its last slot nobody has more for its weight than another that still waits.
                if may && (lucky.running - 1) * other.weight > other.running * lucky.weight {
                    self.truth
                        .broken(format!("a slot was handed to another though {tenant} has fewer"));
                }
            }
        }
    }

    /// When all calls have ended and their leases have run out.
    pub fn check_books_at_the_end(&mut self) {
        self.store.ahead += lease();
        let ask = Ask::new(Script::Poll, "", &self.plan);
        self.runs_script(&ask);
        for name in ["leases", "lanes", "queue", "waiting"] {
            let left = self.store.keyspace.command(&[b"EXISTS", &key(name)]);
            if !matches!(left, Ok(Reply::Int(0))) {
                let members = self.members(name);
                self.truth.broken(format!("in the end {name} holds {members:?}"));
            }
        }
        for tenant in 0..self.plan.tenants {
            let held = self.members(&format!("held:t{tenant}:run"));
            let now = self.store.keyspace.now_ms();
            let live: Vec<_> = held.iter().filter(|(_, until)| *until > now).collect();
            if !live.is_empty() {
                self.truth
                    .broken(format!("in the end places are held for {live:?}"));
            }
        }
        let immortal: Vec<_> = self
            .store
            .keyspace
            .live_keys()
            .filter(|(_, expires)| !expires)
            .map(|(key, _)| String::from_utf8_lossy(key).into_owned())
            .collect();
        if !immortal.is_empty() {
            self.truth
                .broken(format!("keys that live for ever: {immortal:?}"));
        }
    }

    fn lanes(&mut self) -> BTreeMap<String, Lane> {
        let stored = strings(self.store.keyspace.command(&[b"HGETALL", &key("lanes")]).ok());
        let pairs = stored.chunks(2).map(|pair| {
            let numbers: Vec<u32> = pair[1].split(' ').map(|number| number.parse().unwrap()).collect();
            let lane = Lane {
                running: numbers[0],
                waiting: numbers[1],
                limit: numbers[2],
                weight: numbers[3],
            };
            (pair[0].clone(), lane)
        });
        pairs.collect()
    }

    /// Of a sorted set, with their scores.
    fn members(&mut self, name: &str) -> Vec<(String, u64)> {
        let all = self
            .store
            .keyspace
            .command(&[b"ZRANGE", &key(name), b"0", b"-1", b"WITHSCORES"]);
        strings(all.ok())
            .chunks(2)
            .map(|pair| (pair[0].clone(), pair[1].parse().unwrap()))
            .collect()
    }
}

fn strings(reply: Option<Reply>) -> Vec<String> {
    let Some(Reply::Array(items)) = reply else {
        return Vec::new();
    };
    let text = |item| match item {
        Reply::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?} is no text"),
    };
    items.into_iter().map(text).collect()
}
