//! What replicas know of executors together: each tells of those that have joined it and hears of the others, through
//! Redis. An executor that has joined any replica can be reached from all of them.
//!
//! ```text
//! Join stream ──▶ Fleet ──announce──▶ Redis: a record that ends by itself, and news ──follow──▶ Fleet of each other one
//! ```
//!
//! A record is worth no more than who can write to Redis: with certificates nobody but the executor that it names can
//! answer at its address. Nobody waits for Redis here. While it is away each replica goes on with the executors that
//! have joined it, and with what it knew of the others for as long as that is fresh; a Redis that comes back empty is
//! filled again by the next heartbeats.

mod announce;
mod follow;
mod record;
mod store;

use std::sync::Arc;

use dynamic_mcp_shared::ids::ReplicaId;
use parking_lot::Mutex;

use self::follow::Follower;
use self::store::Store;
use crate::grpc::Admission;
use crate::redis::{Redis, Subscription};
use crate::scheduler::fleet::Fleet;

pub struct Roster {
    redis: Redis,
    store: Store,
    follower: Follower,
    news: Subscription,
}

impl Roster {
    /// Reads what the others know.
    pub async fn open(
        fleet: Arc<Fleet>,
        redis: Redis,
        admission: Arc<Admission>,
        replica: ReplicaId,
    ) -> Self {
        let store = Store::new(redis.clone(), replica.clone());
        let follower = Follower {
            fleet,
            store: store.clone(),
            admission,
            replica,
            refused: Mutex::default(),
        };
        follower.read_all().await;
        Self {
            news: redis.subscribe(vec![redis.keys().fleet_news()]),
            redis,
            store,
            follower,
        }
    }

    /// Tells and hears for as long as it is polled. Executors that have joined here need that while this replica drains
    /// as well: the others go on using them.
    pub async fn keep(self) {
        let fleet = self.follower.fleet.clone();
        tokio::join!(
            announce::announce(&fleet, &self.store, self.redis.up()),
            self.follower.follow(self.news),
        );
    }
}
