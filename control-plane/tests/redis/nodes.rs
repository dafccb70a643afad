//! The nodes of a Redis Cluster.

use std::time::Duration;

use redis::Client;

use crate::server::{PASSWORD, Server, free_port};

const MEET: Duration = Duration::from_secs(15);
const SLOTS: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];

pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub async fn start() -> Self {
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

    pub async fn is_whole(&self, node: &Server) {
        let whole = async {
            loop {
                let info: String = ask(node, redis::cmd("CLUSTER").arg("INFO")).await;
                if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3") {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(MEET, whole).await.expect("the nodes meet");
    }
}

pub async fn ask<T: redis::FromRedisValue>(node: &Server, command: &redis::Cmd) -> T {
    let client = Client::open(node.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}
