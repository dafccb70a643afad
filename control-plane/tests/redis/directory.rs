//! The directory of sandbox sessions: what holds for the one in memory holds for the one in Redis, over two connections to it.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_control_plane::sandbox::{
    Announced, Claim, Directory, Found, Home, MemoryDirectory, Most, Owner, RedisDirectory, Session, Times,
};
use dynamic_mcp_shared::ids::{ExecutorId, SandboxId};
use dynamic_mcp_shared::limits::TimeoutMs;

use crate::rig::{Connected, config, connect};
use crate::server::Server;

const TIMES: Times = Times {
    opening: Duration::from_secs(60),
    announced: Duration::from_secs(60),
    kept: Duration::from_secs(600),
    filling: Duration::from_secs(60),
};
/// As good as no time at all.
const SHORT: Duration = Duration::from_millis(1);
const MOST: Most = Most {
    in_all: 3,
    of_tenant: 2,
};

/// Two handles on one directory, as two replicas have them.
struct Two {
    one: Arc<dyn Directory>,
    other: Arc<dyn Directory>,
    _redis: Option<(Server, Connected, Connected)>,
}

impl Two {
    fn memory(times: Times) -> Self {
        let one: Arc<dyn Directory> = Arc::new(MemoryDirectory::new(times));
        Self {
            other: one.clone(),
            one,
            _redis: None,
        }
    }

    async fn redis(times: Times) -> Self {
        let server = Server::start().await;
        let config = config(&server.url());
        let (one, other) = (connect(&config).await, connect(&config).await);
        Self {
            one: Arc::new(RedisDirectory::new(one.redis.clone(), times)),
            other: Arc::new(RedisDirectory::new(other.redis.clone(), times)),
            _redis: Some((server, one, other)),
        }
    }
}

fn session(tenant: &str, owner: &str) -> Session {
    Session {
        id: SandboxId::generate(),
        tenant: tenant.parse().unwrap(),
        owner: owner.to_owned(),
        image: "node:lts-slim".to_owned(),
        timeout: TimeoutMs::DEFAULT,
        home: Home {
            executor: ExecutorId::generate(),
            epoch: 7,
        },
        created_ms: 1,
        last_used_ms: 1,
    }
}

fn owner(tenant: &str, key: &str) -> Owner {
    Owner {
        tenant: tenant.parse().unwrap(),
        key: key.to_owned(),
    }
}

/// Each as a test of its own, for both.
macro_rules! suite {
    ($($(#[$doc:meta])* $name:ident ($times:expr) |$two:ident| $body:block)*) => {
        mod memory {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(Two::memory($times)).await; })*
        }
        mod shared {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(Two::redis($times).await).await; })*
        }
        $($(#[$doc])* async fn $name($two: Two) $body)*
    };
}

suite! {
    a_session_is_found_everywhere_once_it_is_open(TIMES) |two| {
        let new = session("acme", "ann");
        assert_eq!(two.one.claim(&new, MOST).await, Ok(Claim::Made));
        assert_eq!(two.other.find(&new.id).await, Ok(None), "it is opening");
        let opened = Session { created_ms: 5, ..new };
        assert_eq!(two.one.settle(&opened).await, Ok(true));
        assert_eq!(two.other.find(&opened.id).await, Ok(Some(Found::Open(opened.clone()))));
        assert_eq!(two.other.of_owner(&owner("acme", "ann")).await, Ok(vec![opened]));
        assert_eq!(two.other.of_owner(&owner("acme", "bob")).await, Ok(vec![]));
        assert_eq!(two.other.of_owner(&owner("globex", "ann")).await, Ok(vec![]));
    }

    no_more_are_claimed_than_there_may_be(TIMES) |two| {
        let sessions: Vec<_> = ["acme", "acme", "acme", "globex", "initech"].map(|tenant| session(tenant, "ann")).to_vec();
        let mut claims = Vec::new();
        for (index, session) in sessions.iter().enumerate() {
            let by = if index % 2 == 0 { &two.one } else { &two.other };
            claims.push(by.claim(session, MOST).await.unwrap());
        }
        assert_eq!(claims, [Claim::Made, Claim::Made, Claim::TenantFull, Claim::Made, Claim::Full]);
        two.one.end(&sessions[0]).await.unwrap();
        assert_eq!(two.other.claim(&sessions[4], MOST).await, Ok(Claim::Made), "a place is free again");
    }

    many_who_claim_at_once_get_as_many_as_there_may_be(TIMES) |two| {
        let claims = (0..12).map(|index| {
            let by = if index % 2 == 0 { two.one.clone() } else { two.other.clone() };
            async move { by.claim(&session(&format!("tenant{index}"), "ann"), MOST).await.unwrap() }
        });
        let claims = futures::future::join_all(claims).await;
        assert_eq!(claims.iter().filter(|claim| **claim == Claim::Made).count(), 3);
    }

    what_has_ended_says_so_and_can_not_be_brought_back(TIMES) |two| {
        let old = session("acme", "ann");
        two.one.claim(&old, MOST).await.unwrap();
        two.one.settle(&old).await.unwrap();
        assert_eq!(two.other.end(&old).await, Ok(true));
        assert_eq!(two.one.end(&old).await, Ok(false), "once is enough");
        assert_eq!(two.one.find(&old.id).await, Ok(Some(Found::Ended(old.clone()))));
        assert_eq!(two.one.of_owner(&owner("acme", "ann")).await, Ok(vec![]));
        assert_eq!(two.one.announce(&old).await, Ok(Announced::Unwanted));
        assert_eq!(two.one.settle(&old).await, Ok(false));
    }

    an_emptied_directory_fills_again_from_what_executors_announce(TIMES) |two| {
        let held = session("acme", "ann");
        assert_eq!(two.one.announce(&held).await, Ok(Announced::Known));
        assert_eq!(two.other.find(&held.id).await, Ok(Some(Found::Open(held.clone()))));
        let used = Session { last_used_ms: 9, ..held };
        assert_eq!(two.other.announce(&used).await, Ok(Announced::Known));
        assert_eq!(two.one.of_owner(&owner("acme", "ann")).await, Ok(vec![used]));
        for claim in [Claim::Made, Claim::TenantFull] {
            assert_eq!(two.one.claim(&session("acme", "ann"), MOST).await, Ok(claim), "it counts");
        }
    }

    a_session_has_one_home(TIMES) |two| {
        let here = session("acme", "ann");
        two.one.announce(&here).await.unwrap();
        let restarted = Home { epoch: 8, ..here.home.clone() };
        let elsewhere = Home { executor: ExecutorId::generate(), epoch: 7 };
        for home in [restarted, elsewhere] {
            let other = Session { home, ..here.clone() };
            assert_eq!(two.other.announce(&other).await, Ok(Announced::Unwanted));
            assert_eq!(two.other.settle(&other).await, Ok(false));
            assert_eq!(two.other.end(&other).await, Ok(false), "it has not ended at home");
            assert_eq!(two.one.find(&here.id).await, Ok(Some(Found::Open(here.clone()))));
        }
    }

    a_claim_that_was_never_settled_gives_its_place_back_and_its_session_is_unwanted(Times { opening: SHORT, ..TIMES }) |two| {
        let stuck = session("acme", "ann");
        two.one.claim(&stuck, Most { in_all: 1, of_tenant: 1 }).await.unwrap();
        tokio::time::sleep(SHORT * 10).await;
        assert_eq!(two.one.settle(&stuck).await, Ok(false), "it came too late");
        assert_eq!(two.other.announce(&stuck).await, Ok(Announced::Unwanted));
        let next = session("acme", "ann");
        assert_eq!(two.other.claim(&next, Most { in_all: 1, of_tenant: 1 }).await, Ok(Claim::Made));
    }

    what_nobody_announces_any_more_does_not_count_and_is_known_all_the_same(Times { announced: SHORT, ..TIMES }) |two| {
        let silent = session("acme", "ann");
        two.one.claim(&silent, MOST).await.unwrap();
        two.one.settle(&silent).await.unwrap();
        tokio::time::sleep(SHORT * 10).await;
        assert_eq!(two.other.of_owner(&owner("acme", "ann")).await, Ok(vec![]));
        assert_eq!(two.other.claim(&session("acme", "ann"), Most { in_all: 1, of_tenant: 1 }).await, Ok(Claim::Made));
        assert_eq!(two.other.find(&silent.id).await, Ok(Some(Found::Open(silent))));
    }
}

#[tokio::test]
async fn every_key_of_it_has_a_time_to_live() {
    let two = Two::redis(TIMES).await;
    let (open, ended) = (session("acme", "ann"), session("acme", "ann"));
    for session in [&open, &ended] {
        two.one.claim(session, MOST).await.unwrap();
        two.one.settle(session).await.unwrap();
    }
    two.one.end(&ended).await.unwrap();
    two.one.generation().await.unwrap();
    let (_, connected, _) = two._redis.as_ref().unwrap();
    let keys: Vec<String> = connected.redis.query(redis::cmd("KEYS").arg("*")).await.unwrap();
    assert_eq!(keys.len(), 6, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("{test:sandbox}:"), "{key}");
        let left: i64 = connected.redis.query(redis::cmd("PTTL").arg(&key)).await.unwrap();
        assert!(left > 0, "{key}");
    }
}

#[tokio::test]
async fn one_that_was_emptied_fills_for_a_while_and_is_another_one() {
    let two = Two::redis(Times {
        filling: SHORT,
        ..TIMES
    })
    .await;
    assert_eq!(
        two.one.is_filling().await,
        Ok(true),
        "nobody has announced anything"
    );
    let first = two.one.generation().await.unwrap();
    assert_eq!(two.other.generation().await, Ok(first));
    tokio::time::sleep(SHORT * 10).await;
    assert_eq!(two.other.is_filling().await, Ok(false));
    let (_, connected, _) = two._redis.as_ref().unwrap();
    connected
        .redis
        .query::<()>(&redis::cmd("FLUSHALL"))
        .await
        .unwrap();
    assert_eq!(two.one.is_filling().await, Ok(true));
    assert_ne!(two.other.generation().await, Ok(first));
}

#[tokio::test]
async fn a_directory_that_has_just_begun_to_fill_is_filling() {
    let two = Two::redis(TIMES).await;
    two.one.generation().await.unwrap();
    assert_eq!(two.other.is_filling().await, Ok(true));
}

#[tokio::test]
async fn without_redis_nobody_is_told_that_a_session_never_was() {
    let mut two = Two::redis(TIMES).await;
    let known = session("acme", "ann");
    two.one.announce(&known).await.unwrap();
    let (server, _, _) = two._redis.as_mut().unwrap();
    server.kill().await;
    assert!(two.one.find(&known.id).await.is_err());
    assert!(two.one.of_owner(&owner("acme", "ann")).await.is_err());
    assert!(two.one.claim(&known, MOST).await.is_err());
}
