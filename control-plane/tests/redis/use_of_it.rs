//! What it is used for, over one server with a password.

use dynamic_mcp_control_plane::redis::{Heard, Redis, RedisError};
use dynamic_mcp_shared::readiness::Readiness;
use redis::Script;
use std::time::Duration;

use crate::rig::{config, connect};
use crate::server::{PASSWORD, Server};

#[tokio::test]
async fn commands_pipelines_and_scripts_that_it_does_not_know_yet_come_back() {
    let server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    there.set("a", "1").await.unwrap();
    let both = redis::pipe().get("a").get("b").to_owned();
    let (a, b): (String, Option<String>) = there.redis.pipeline(&both).await.unwrap();
    assert_eq!((a.as_str(), b), ("1", None));
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let sum: i64 = there.redis.invoke(script.key("a").arg(2)).await.unwrap();
    assert_eq!(sum, 3);
}

#[tokio::test]
async fn a_command_that_is_wrong_is_refused_and_costs_no_connection() {
    let server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    there.set("a", "text").await.unwrap();
    let mut up = there.redis.up();
    up.mark_unchanged();
    let refused = there.redis.query::<i64>(redis::cmd("INCR").arg("a")).await;
    assert!(matches!(refused, Err(RedisError::Refused(_))), "{refused:?}");
    assert_eq!(there.get("a").await.unwrap().as_deref(), Some("text"));
    assert!(!up.has_changed().unwrap());
}

#[tokio::test]
async fn a_wrong_password_is_said_without_saying_it() {
    let server = Server::start().await;
    let url = server.url().replace(PASSWORD, "another-password");
    let there = connect(&config(&url)).await;
    assert_eq!(there.get("a").await, Err(RedisError::Away));
    let why = there.readiness.report().degraded["redis"].clone();
    assert!(
        why.contains("WRONGPASS") || why.contains("uthentication"),
        "{why}"
    );
    assert!(!why.contains("another-password"), "{why}");
}

#[tokio::test]
async fn what_is_published_is_heard_in_order() {
    let server = Server::start().await;
    let there = connect(&config(&server.url())).await;
    let mut subscription = there.redis.subscribe(vec!["news".into(), "other".into()]);
    assert_eq!(subscription.next().await, Heard::Listening);
    for number in 0..100 {
        there.publish("news", &number.to_string()).await;
    }
    for number in 0..100 {
        // Giving up again and again loses nothing.
        let heard = loop {
            if let Ok(heard) = tokio::time::timeout(Duration::from_micros(50), subscription.next()).await {
                break heard;
            }
        };
        let expected = Heard::Message {
            channel: "news".into(),
            payload: number.to_string().into(),
        };
        assert_eq!(heard, expected);
    }
}

#[tokio::test]
async fn an_address_that_can_not_be_one_is_named_by_its_setting() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("ca.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let with_ca = |file: &str| {
        let mut config = config("rediss://127.0.0.1:1/0");
        config.ca_file = Some(file.into());
        config
    };
    for (config, setting) in [
        (config("redis://a:6379,redis://b:6379"), "MCP_REDIS_URL"),
        (config("redis://"), "MCP_REDIS_URL"),
        (with_ca("/does/not/exist"), "MCP_REDIS_CA_FILE"),
        (with_ca(empty.to_str().unwrap()), "MCP_REDIS_CA_FILE"),
    ] {
        match Redis::start(&config, Readiness::default()).await {
            Err(RedisError::Config { setting: named, .. }) => assert_eq!(named, setting),
            other => panic!("{other:?}"),
        }
    }
}
