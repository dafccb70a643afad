//! A Redis Cluster of three nodes.

use std::collections::HashSet;

use dynamic_mcp_control_plane::redis::{Heard, RedisConfig};
use redis::{Client, Script};

use crate::rig::{SOON, config, connect};
use crate::server::{PASSWORD, Server, free_port};

const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in SLOTS {
            let (port, bus) = (free_port().await, free_port().await);
            let settings = format!(
                "port {port}\ncluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\n\
                 requirepass {PASSWORD}\nmasterauth {PASSWORD}\n"
            );
            let node = Server::start_with(port, settings).await;
            nodes.push((node, bus));
        }
        for (index, (node, _)) in nodes.iter().enumerate() {
            let (first, last) = SLOTS[index];
            ask::<()>(
                node,
                redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last),
            )
            .await;
            for (other, bus) in &nodes {
                let meet = redis::cmd("CLUSTER")
                    .arg("MEET")
                    .arg("127.0.0.1")
                    .arg(other.port)
                    .arg(bus)
                    .to_owned();
                ask::<()>(node, &meet).await;
            }
        }
        let cluster = Self {
            nodes: nodes.into_iter().map(|(node, _)| node).collect(),
        };
        for node in &cluster.nodes {
            cluster.is_whole(node).await;
        }
        cluster
    }

    async fn is_whole(&self, node: &Server) {
        let whole = async {
            loop {
                let info: String = ask(node, redis::cmd("CLUSTER").arg("INFO")).await;
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, whole).await.expect("the nodes meet");
    }

    fn config(&self) -> RedisConfig {
        let urls: Vec<_> = self.nodes.iter().map(Server::url).collect();
        RedisConfig {
            is_cluster: true,
            ..config(&urls.join(","))
        }
    }
}

async fn ask<T: redis::FromRedisValue>(node: &Server, command: &redis::Cmd) -> T {
    let client = Client::open(node.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn keys_live_on_all_nodes_and_a_script_on_that_of_its_group() {
    let cluster = Cluster::start().await;
    let there = connect(&cluster.config()).await;
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
    let there = connect(&cluster.config()).await;
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
    let there = connect(&cluster.config()).await;
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
