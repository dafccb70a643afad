//! A Redis Cluster of three nodes.

use std::collections::HashSet;

use dynamic_mcp_control_plane::redis::{Heard, RedisConfig};
use redis::Script;

use crate::nodes::{Cluster, ask};
use crate::rig::{SOON, config, connect};
use crate::server::Server;

fn configured(cluster: &Cluster) -> RedisConfig {
    let urls: Vec<_> = cluster.nodes.iter().map(Server::url).collect();
    RedisConfig {
        is_cluster: true,
        ..config(&urls.join(","))
    }
}

#[tokio::test]
async fn keys_live_on_all_nodes_and_a_script_on_that_of_its_group() {
    let cluster = Cluster::start().await;
    let there = connect(&configured(&cluster)).await;
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]); return redis.call('INCR', KEYS[2])");
    for group in 0..20 {
        let keys = (format!("{{test:{group}}}:a"), format!("{{test:{group}}}:b"));
        let mut invocation = script.prepare_invoke();
        invocation.key(&keys.0).key(&keys.1).arg(group);
        assert_eq!(there.redis.invoke::<i64>(&invocation).await.unwrap(), 1);
        let both = redis::pipe().get(&keys.0).get(&keys.1).to_owned();
        assert_eq!(
            there.redis.pipeline::<(i64, i64)>(&both).await.unwrap(),
            (group, 1)
        );
    }
    for node in &cluster.nodes {
        let held: u32 = ask(node, &redis::cmd("DBSIZE")).await;
        assert!(held > 0, "a node holds nothing");
    }
}

#[tokio::test]
async fn what_is_published_through_any_node_is_heard_by_all() {
    let cluster = Cluster::start().await;
    let there = connect(&configured(&cluster)).await;
    let mut subscriptions: Vec<_> = (0..3)
        .map(|_| there.redis.subscribe(vec!["{test:fleet}:news".into()]))
        .collect();
    for subscription in &mut subscriptions {
        assert_eq!(subscription.next().await, Heard::Listening);
    }
    let sent: HashSet<String> = (0..12).map(|number| number.to_string()).collect();
    for message in &sent {
        there.publish("{test:fleet}:news", message).await;
    }
    for subscription in &mut subscriptions {
        let mut heard = HashSet::new();
        while heard != sent {
            let next = tokio::time::timeout(SOON, subscription.next())
                .await
                .expect("it is heard");
            let Heard::Message { payload, .. } = next else {
                continue;
            };
            heard.insert(String::from_utf8(payload).unwrap());
        }
    }
}

#[tokio::test]
async fn a_lost_node_is_noticed_and_the_cluster_is_used_again_when_it_is_back() {
    let mut cluster = Cluster::start().await;
    let there = connect(&configured(&cluster)).await;
    there.set("{test:1}:a", "1").await.unwrap();
    cluster.nodes[1].kill().await;
    there.until(false).await;
    cluster.nodes[1].start_again().await;
    for node in &cluster.nodes {
        cluster.is_whole(node).await;
    }
    there.until(true).await;
    for group in 0..20 {
        there.set(&format!("{{test:{group}}}:a"), "1").await.unwrap();
    }
}
