//! It goes away, and comes back.

use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::redis::{Heard, RedisError};

use crate::rig::{SOON, config, connect};
use crate::server::Server;

#[tokio::test]
async fn a_killed_server_is_noticed_nobody_waits_for_it_and_it_is_used_again_when_it_is_back() {
    let mut server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    assert!(*there.redis.up().borrow() && !there.is_degraded());

    server.kill().await;
    let noticed = there.until(false).await;
    assert!(there.is_degraded());
    let asked = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(there.get("a").await, Err(RedisError::Away));
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "a command waited");

    server.start_again().await;
    let back = there.until(true).await;
    there.set("a", "1").await.unwrap();
    assert!(!there.is_degraded());
    println!("a killed server was noticed after {noticed:?} and used again {back:?} after its return");
}

#[tokio::test]
async fn a_server_that_no_longer_answers_costs_a_command_its_deadline_and_the_next_nothing() {
    let server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    server.stall().await;
    let asked = Instant::now();
    assert!(there.get("a").await.unwrap_err().is_loss());
    assert!(asked.elapsed() < Duration::from_secs(5));
    there.until(false).await;
    assert_eq!(there.get("a").await, Err(RedisError::Away));
    server.resume().await;
    there.until(true).await;
    assert_eq!(there.get("a").await, Ok(None));
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_used_as_soon_as_it_is() {
    let mut server = Server::start().await;
    server.kill().await;
    let there = connect(&config(&server.url())).await;
    assert!(there.is_degraded());
    server.start_again().await;
    there.until(true).await;
    there.set("a", "1").await.unwrap();
}

#[tokio::test]
async fn a_subscription_says_that_it_may_have_missed_something_after_a_server_died() {
    let mut server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    let mut subscription = there.redis.subscribe(vec!["news".into()]);
    assert_eq!(subscription.next().await, Heard::Listening);
    server.kill().await;
    there.until(false).await;
    server.start_again().await;
    let heard = tokio::time::timeout(SOON, subscription.next()).await;
    assert_eq!(heard, Ok(Heard::Listening));
    there.until(true).await;
    there.publish("news", "1").await;
    assert!(matches!(subscription.next().await, Heard::Message { payload, .. } if payload == b"1"));
}

#[tokio::test]
async fn a_subscription_notices_a_connection_on_which_nobody_answers_any_more() {
    let server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    let mut subscription = there.redis.subscribe(vec!["news".into()]);
    assert_eq!(subscription.next().await, Heard::Listening);
    server.stall().await;
    // Its caller does other things as well, so no single wait is long enough to find out.
    let stalled = Instant::now();
    let mut resumed = false;
    loop {
        if let Ok(heard) = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await {
            assert_eq!(heard, Heard::Listening);
            break;
        }
        if !resumed && stalled.elapsed() > Duration::from_secs(3) {
            server.resume().await;
            resumed = true;
        }
        assert!(stalled.elapsed() < SOON, "the loss was not noticed");
    }
    assert!(resumed, "nobody could listen to a stalled server");
}
