//! Epochs, in the fleet and in Redis itself.

use std::collections::HashMap;

use dynamic_mcp_shared::ids::ExecutorId;
use redis::Script;

use crate::rig::Replica;
use crate::server::Server;

#[tokio::test]
async fn a_restarted_executor_takes_the_place_of_its_past_on_every_replica() {
    let server = Server::start().await;
    let (one, other) = (
        Replica::start(&server.url()).await,
        Replica::start(&server.url()).await,
    );
    let id = ExecutorId::generate();
    let past = one.join(&id, 1).unwrap();
    other.sees(&id, "known", |node| node.is_some()).await;
    let _now = other.join(&id, 2).unwrap();
    one.sees(&id, "of epoch 2", |node| {
        node.is_some_and(|node| node.info.epoch == 2)
    })
    .await;
    assert!(past.superseded().is_cancelled());
    drop(past);
    assert_eq!(one.node(&id).unwrap().info.epoch, 2);
    assert!(one.join(&id, 1).is_err(), "a ghost is not let in anywhere");
}

/// Writes a record as a replica does that knows of no newer epoch.
async fn announce(replica: &Replica, id: &ExecutorId, by: &str, epoch: u64, said: &str) {
    let keys = replica.redis.keys();
    let script = Script::new(include_str!("../../src/roster/announce.lua"));
    let mut call = script.key(keys.fleet_index());
    call.key(keys.fleet_record(id));
    call.arg(by).arg(3_000).arg("nowhere").arg("");
    call.arg(id.as_str()).arg(epoch).arg(said);
    replica.redis.invoke::<()>(&call).await.unwrap();
}

async fn withdraw(replica: &Replica, id: &ExecutorId, by: &str, epoch: u64) {
    let keys = replica.redis.keys();
    let script = Script::new(include_str!("../../src/roster/withdraw.lua"));
    let mut call = script.key(keys.fleet_index());
    call.key(keys.fleet_record(id));
    call.arg(by).arg(id.as_str()).arg(epoch).arg("nowhere").arg("");
    replica.redis.invoke::<()>(&call).await.unwrap();
}

async fn record(replica: &Replica, id: &ExecutorId) -> HashMap<String, String> {
    let key = replica.redis.keys().fleet_record(id);
    replica.redis.query(redis::cmd("HGETALL").arg(key)).await.unwrap()
}

#[tokio::test]
async fn an_older_epoch_never_overwrites_a_newer_one_and_a_newer_one_leaves_nothing_of_the_older() {
    let server = Server::start().await;
    let replica = Replica::start(&server.url()).await;
    let id = ExecutorId::generate();
    announce(&replica, &id, "rep_a", 9, "nine").await;
    announce(&replica, &id, "rep_b", 10, "ten").await;
    announce(&replica, &id, "rep_a", 9, "nine again").await;
    let kept = record(&replica, &id).await;
    assert_eq!((kept["epoch"].as_str(), kept["record"].as_str()), ("10", "ten"));
    assert!(
        kept.contains_key("rep_b") && !kept.contains_key("rep_a"),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_record_is_taken_away_by_its_last_replica_alone_and_only_in_its_own_epoch() {
    let server = Server::start().await;
    let replica = Replica::start(&server.url()).await;
    let id = ExecutorId::generate();
    announce(&replica, &id, "rep_a", 2, "two").await;
    announce(&replica, &id, "rep_b", 2, "two").await;
    withdraw(&replica, &id, "rep_a", 1).await;
    assert_eq!(record(&replica, &id).await.len(), 4, "of another epoch");
    withdraw(&replica, &id, "rep_a", 2).await;
    assert_eq!(record(&replica, &id).await.len(), 3, "the other replica holds it");
    withdraw(&replica, &id, "rep_b", 2).await;
    assert!(record(&replica, &id).await.is_empty());
}

#[tokio::test]
async fn everything_in_redis_ends_by_itself() {
    let server = Server::start().await;
    let replica = Replica::start(&server.url()).await;
    announce(&replica, &ExecutorId::generate(), "rep_a", 1, "one").await;
    let keys: Vec<String> = replica.redis.query(redis::cmd("KEYS").arg("*")).await.unwrap();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        let left: i64 = replica.redis.query(redis::cmd("PTTL").arg(&key)).await.unwrap();
        assert!((1..=3_000).contains(&left), "{key} has {left} ms");
    }
}
