//! The books of the fleet.

use dynamic_mcp_shared::job::{ImageStatus, Runtime, RuntimeStatus};
use dynamic_mcp_shared::join_token::JoinToken;
use tonic::transport::Endpoint;

use super::*;

pub(crate) const IMAGE: &str = "node:lts-slim";
const NODE: Need<'static> = Need::Node { image: IMAGE };

pub(crate) fn status(slots: u32, running: u32) -> NodeStatus {
    let images = vec![ImageStatus {
        name: IMAGE.into(),
        present: true,
        warm: 0,
    }];
    NodeStatus {
        slots,
        running,
        runtimes: vec![RuntimeStatus {
            runtime: Runtime::Node,
            unavailable: None,
            sandbox: "runc".to_owned(),
        }],
        images,
        ..Default::default()
    }
}

pub(crate) fn join(
    fleet: &Arc<Fleet>,
    id: &ExecutorId,
    epoch: u64,
    status: NodeStatus,
) -> Result<Membership, OutOfDate> {
    fleet.join(info(id, epoch), channel(), StatusSource::Reported(status))
}

fn channel() -> ExecutorChannel {
    let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
    InterceptedService::new(channel, JoinToken::random().attach())
}

fn info(id: &ExecutorId, epoch: u64) -> NodeInfo {
    NodeInfo {
        id: id.clone(),
        epoch,
        version: String::new(),
        address: "http://127.0.0.1:9".to_owned(),
    }
}

/// Another replica tells of it now.
fn told(fleet: &Fleet, by: &ReplicaId, id: &ExecutorId, epoch: u64, status: NodeStatus) {
    fleet.told(by, info(id, epoch), status, Instant::now(), |_| {
        Some(channel().into())
    });
}

fn draining() -> NodeStatus {
    NodeStatus {
        draining: true,
        ..status(1, 0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_heard_of_gets_no_work_until_it_is() {
    let fleet = Arc::new(Fleet::default());
    let member = join(&fleet, &ExecutorId::generate(), 1, status(1, 0)).unwrap();
    tokio::time::advance(STALE_AFTER + Duration::from_millis(1)).await;
    assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::NotReady));
    member.heard(status(1, 0));
    assert!(fleet.reserve(NODE, &[]).is_ok());
}

#[tokio::test]
async fn a_reserved_slot_is_free_again_when_the_reservation_is_dropped() {
    let fleet = Arc::new(Fleet::default());
    let _member = join(&fleet, &ExecutorId::generate(), 1, status(1, 0)).unwrap();
    let reservation = fleet.reserve(NODE, &[]).unwrap();
    assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::Full));
    drop(reservation);
    assert!(fleet.reserve(NODE, &[]).is_ok());
}

#[tokio::test]
async fn a_job_counted_by_a_heartbeat_is_not_counted_twice() {
    let fleet = Arc::new(Fleet::default());
    let member = join(&fleet, &ExecutorId::generate(), 1, status(2, 0)).unwrap();
    let _mine = fleet.reserve(NODE, &[]).unwrap();
    member.heard(status(2, 1));
    assert!(fleet.reserve(NODE, &[]).is_ok());
}

#[tokio::test]
async fn an_older_epoch_can_not_take_the_place_of_a_newer_one() {
    let fleet = Arc::new(Fleet::default());
    let id = ExecutorId::generate();
    let old = join(&fleet, &id, 1, status(1, 0)).unwrap();
    let _new = join(&fleet, &id, 2, status(1, 0)).unwrap();
    assert!(join(&fleet, &id, 1, status(1, 0)).is_err());
    drop(old);
    assert_eq!(
        fleet.health().joined,
        1,
        "the successor stays when its predecessor's stream ends"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_another_replica_tells_of_gets_work_until_it_is_not_heard_of_and_is_forgotten_later() {
    let fleet = Arc::new(Fleet::default());
    let (other, id) = (ReplicaId::generate(), ExecutorId::generate());
    told(&fleet, &other, &id, 1, status(1, 0));
    assert!(fleet.reserve(NODE, &[]).is_ok());
    assert_eq!(fleet.nodes()[0].others, [other]);
    tokio::time::advance(STALE_AFTER + Duration::from_millis(1)).await;
    assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::NotReady));
    fleet.forget_lost();
    assert_eq!(fleet.nodes()[0].state, NodeState::Stale);
    tokio::time::advance(FORGOTTEN_AFTER).await;
    fleet.forget_lost();
    assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::NoNodes));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_joined_here_is_known_from_itself_while_it_is_heard_of() {
    let fleet = Arc::new(Fleet::default());
    let (other, id) = (ReplicaId::generate(), ExecutorId::generate());
    let member = join(&fleet, &id, 1, status(1, 0)).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    told(&fleet, &other, &id, 1, draining());
    assert!(fleet.reserve(NODE, &[]).is_ok(), "its own word counts");
    tokio::time::advance(STALE_AFTER).await;
    told(&fleet, &other, &id, 1, status(1, 0));
    assert!(
        fleet.reserve(NODE, &[]).is_ok(),
        "the other replica hears it still"
    );
    drop(member);
    assert!(fleet.reserve(NODE, &[]).is_ok(), "it is reached all the same");
    fleet.departed(&other, &id, 1);
    assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::NoNodes));
}

#[tokio::test]
async fn a_newer_epoch_that_another_replica_tells_of_ends_the_stream_of_the_older_one() {
    let fleet = Arc::new(Fleet::default());
    let (other, id) = (ReplicaId::generate(), ExecutorId::generate());
    let old = join(&fleet, &id, 1, status(1, 0)).unwrap();
    let of_old = fleet.reserve(NODE, &[]).unwrap();
    told(&fleet, &other, &id, 2, status(1, 0));
    assert!(old.superseded().is_cancelled());
    old.heard(draining());
    let of_new = fleet.reserve(NODE, &[]).unwrap();
    assert_eq!((of_old.epoch(), of_new.epoch()), (1, 2));
    drop(of_old);
    assert_eq!(
        fleet.reserve(NODE, &[]).err(),
        Some(NoPlace::Full),
        "an old job frees no new slot"
    );
    drop(old);
    told(&fleet, &other, &id, 1, draining());
    assert!(join(&fleet, &id, 1, status(1, 0)).is_err());
    assert_eq!(fleet.nodes()[0].info.epoch, 2);
}

#[tokio::test]
async fn only_the_last_of_two_streams_of_one_executor_counts() {
    let fleet = Arc::new(Fleet::default());
    let id = ExecutorId::generate();
    let first = join(&fleet, &id, 1, status(1, 0)).unwrap();
    let second = join(&fleet, &id, 1, status(1, 0)).unwrap();
    assert!(first.superseded().is_cancelled() && !second.superseded().is_cancelled());
    first.heard(draining());
    drop(first);
    assert!(fleet.reserve(NODE, &[]).is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_lives_on_one_executor_goes_there_or_hears_why_not() {
    let fleet = Arc::new(Fleet::default());
    let id = ExecutorId::generate();
    let unknown = fleet.pinned(&id, 1).err();
    assert_eq!(unknown, Some(NotThere::Unknown(id.clone())));
    let member = join(&fleet, &id, 2, status(1, 1)).unwrap();
    assert!(matches!(
        fleet.pinned(&id, 1).err(),
        Some(NotThere::OtherEpoch { current: 2, .. })
    ));
    let pinned = fleet.pinned(&id, 2).expect("a full node too");
    assert_eq!((pinned.executor(), pinned.epoch()), (&id, 2));
    member.heard(draining());
    assert!(fleet.pinned(&id, 2).is_ok(), "what is there may end there");
    tokio::time::advance(STALE_AFTER + Duration::from_millis(1)).await;
    assert!(matches!(fleet.pinned(&id, 2).err(), Some(NotThere::Stale { .. })));
}

#[tokio::test]
async fn work_for_one_executor_takes_no_slot() {
    let fleet = Arc::new(Fleet::default());
    let id = ExecutorId::generate();
    let _member = join(&fleet, &id, 1, status(1, 0)).unwrap();
    let _session = fleet.pinned(&id, 1).unwrap();
    let job = fleet.reserve(NODE, &[]).unwrap();
    drop(fleet.pinned(&id, 1).unwrap());
    assert_eq!(fleet.reserve(NODE, &[]).err(), Some(NoPlace::Full));
    drop(job);
    assert!(fleet.reserve(NODE, &[]).is_ok());
}

#[tokio::test]
async fn every_word_of_an_executor_on_its_own_stream_is_handed_on() {
    let fleet = Arc::new(Fleet::default());
    let mut heartbeats = fleet.heartbeats();
    let (other, id) = (ReplicaId::generate(), ExecutorId::generate());
    let member = join(&fleet, &id, 3, status(1, 0)).unwrap();
    told(&fleet, &other, &ExecutorId::generate(), 1, status(1, 0));
    member.heard(status(1, 1));
    for running in [0, 1] {
        let heartbeat = heartbeats.recv().await.unwrap();
        assert_eq!((&heartbeat.executor, heartbeat.epoch), (&id, 3));
        assert_eq!(heartbeat.status.running, running);
    }
    assert!(heartbeats.try_recv().is_err(), "others tell of their own");
}

#[tokio::test]
async fn others_are_told_of_what_has_joined_here_and_of_what_is_heard_here_no_more() {
    let fleet = Arc::new(Fleet::default());
    let (other, id) = (ReplicaId::generate(), ExecutorId::generate());
    let ended_here = join(&fleet, &ExecutorId::generate(), 1, status(1, 0)).unwrap();
    assert!(fleet.news().is_empty(), "there is nobody to tell");
    fleet.tell_all();
    assert_eq!(fleet.news().heard.len(), 1);
    let member = join(&fleet, &id, 1, status(1, 0)).unwrap();
    told(&fleet, &other, &ExecutorId::generate(), 1, status(1, 0));
    let news = fleet.news();
    assert_eq!(
        news.heard.iter().map(|told| &told.info.id).collect::<Vec<_>>(),
        [&id]
    );
    assert!(fleet.news().is_empty());
    drop(ended_here);
    assert!(fleet.news().is_empty(), "it is there as before");
    member.lost();
    assert_eq!(fleet.news().departed, [(id, 1)]);
}

#[tokio::test]
async fn of_an_executor_that_is_back_at_once_others_hear_that_it_is_here() {
    let fleet = Arc::new(Fleet::default());
    fleet.tell_all();
    let id = ExecutorId::generate();
    join(&fleet, &id, 1, status(1, 0)).unwrap().lost();
    let _back = join(&fleet, &id, 1, status(1, 0)).unwrap();
    let news = fleet.news();
    assert_eq!(news.heard.len(), 1);
    assert_eq!(news.departed, []);
}
