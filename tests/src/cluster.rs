//! A whole deployment of a test's own: replicas of the control plane behind a balancer to which nothing sticks, executors,
//! a Redis and a schema in Postgres. Any of them can be killed, held still, started again or cut off.
//!
//! ```text
//! client ─▶ balancer ─▶ replica ─┬─[link]─▶ Redis
//!                        ▲   │   └─[link]─▶ Postgres
//!              [a link of │   │ [a link of
//!               each pair]│   ▼  each executor]
//!                        executor
//! ```
//!
//! Each link is a proxy. What is started again listens elsewhere, and its links lead there. Everything ends with the
//! cluster, however its test ends.

mod node;
mod plan;
mod replica;

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{Era, McpClient};
use crate::database::Schema;
use crate::eventually::eventually;
use crate::redis::RedisServer;
use crate::round_robin::RoundRobin;

pub use self::node::{Node, Span};
pub use self::plan::Plan;
pub use self::replica::Replica;

/// For what every part does by itself, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const AUDIT_KEY: &str = "a key of no value: only the tests of one cluster chain with it";

pub struct Cluster {
    pub replicas: Vec<Replica>,
    pub executors: Vec<Node>,
    pub redis: RedisServer,
    front: RoundRobin,
    schema: Schema,
    /// What replicas share beside their databases.
    _files: TempDir,
}

impl Cluster {
    /// Starts it; returns when every replica serves and every executor has joined each of them.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(plan: Plan) -> Result<Self> {
        let schema = Schema::new()?;
        let (redis, postgres) = tokio::try_join!(RedisServer::start(), schema.address())?;
        let files = TempDir::new()?;
        let key = files.path().join("audit.key");
        std::fs::write(&key, AUDIT_KEY)?;
        std::fs::set_permissions(&key, Permissions::from_mode(0o600))?;

        let shared = [
            ("MCP_AUDIT_KEY_FILE", key.display().to_string()),
            ("MCP_DYNAMIC_BACKEND", "postgres".to_owned()),
            ("MCP_DYNAMIC_PG_SCHEMA", schema.name().to_owned()),
            // How many a quick machine makes while it waits for something is not what is tested.
            ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "1000000".to_owned()),
        ];
        let mut replicas = Vec::new();
        for _ in 0..plan.replicas {
            replicas.push(Replica::new(&redis, postgres, &schema, &shared, &plan).await?);
        }
        let mut executors = Vec::new();
        for on in &plan.executors {
            executors.push(Node::new(*on, plan.replicas, &plan).await?);
        }
        let mut cluster = Self {
            replicas,
            executors,
            redis,
            front: RoundRobin::before(Vec::new()).await?,
            schema,
            _files: files,
        };
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// Where clients connect.
    pub fn base_url(&self) -> &str {
        &self.front.base_url
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Through the balancer.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn client(&self, era: Era) -> Result<McpClient> {
        McpClient::connect(self.base_url(), era).await
    }

    /// Makes a tool; returns when every replica that is up shows it.
    ///
    /// # Errors
    /// When no replica can be reached.
    ///
    /// # Panics
    /// When it is refused for long: a database that others load too may be late once.
    pub async fn make_tool(&self, name: &str, code: &str, further: Value) -> Result<()> {
        let client = self.client(Era::Modern).await?;
        eventually(SOON, async || {
            let names = client.tool_names().await?;
            if !names.iter().any(|listed| listed == name) {
                client.create_tool(name, code, further.clone()).await?;
            }
            anyhow::Ok(())
        })
        .await;
        for replica in self.replicas.iter().filter(|replica| replica.is_up()) {
            let client = replica.client(Era::Modern).await?;
            eventually(SOON, async || {
                let names = client.tool_names().await?;
                ensure!(
                    names.iter().any(|listed| listed == name),
                    "{name} is not in {names:?}"
                );
                Ok(())
            })
            .await;
        }
        Ok(())
    }

    /// Ends a replica with SIGKILL. The balancer is not told.
    pub async fn kill_replica(&mut self, index: usize) {
        self.replicas[index].kill().await;
    }

    /// Sends a replica SIGTERM and waits for its end. The balancer is not told: its connections are refused meanwhile.
    ///
    /// # Panics
    /// When it does not end in order.
    pub async fn terminate_replica(&mut self, index: usize) {
        self.replicas[index].terminate().await;
    }

    /// Waits until a replica that was told to has ended.
    ///
    /// # Errors
    /// When it does not end in time, with success.
    pub async fn replica_ended(&mut self, index: usize) -> Result<()> {
        self.replicas[index].ended(SOON).await
    }

    /// Waits until an executor that was told to has ended.
    ///
    /// # Errors
    /// When it does not end in time, with success.
    pub async fn executor_ended(&mut self, index: usize) -> Result<()> {
        self.executors[index].ended(SOON).await
    }

    /// Starts a replica that was ended, with the state that it left.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_replica(&mut self, index: usize) -> Result<()> {
        self.replicas[index].start().await?;
        self.lead_to_replicas()
    }

    /// Ends an executor with SIGKILL.
    pub async fn kill_executor(&mut self, index: usize) {
        self.executors[index].kill().await;
    }

    /// Sends an executor SIGTERM and waits for its end.
    ///
    /// # Panics
    /// When it does not end in order.
    pub async fn terminate_executor(&mut self, index: usize) {
        self.executors[index].terminate().await;
    }

    /// Starts an executor that was ended, with the state that it left; returns when it has joined every replica that is up.
    ///
    /// # Errors
    /// When it does not start or join.
    pub async fn start_executor(&mut self, index: usize) -> Result<()> {
        let node = &mut self.executors[index];
        node.start().await?;
        node.joined(self.replicas.iter().filter(|replica| replica.is_up()).count())
            .await
    }

    /// Starts an empty Redis instead of the one that is there, or was.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart_redis(&mut self) -> Result<()> {
        self.redis.restart().await?;
        for replica in &self.replicas {
            replica.redis.aim(self.redis.address());
        }
        Ok(())
    }

    /// Waits until every replica that is up says that nothing is degraded; answers how long it took.
    pub async fn until_ready(&self, limit: Duration) -> Duration {
        let began = std::time::Instant::now();
        for replica in self.replicas.iter().filter(|replica| replica.is_up()) {
            replica.until("ready", None, limit).await;
        }
        began.elapsed()
    }

    /// Ends all parts in order, and takes the schema away.
    ///
    /// # Errors
    /// When the database does not answer.
    ///
    /// # Panics
    /// When a part does not end by itself, with success.
    pub async fn stop(mut self) -> Result<()> {
        self.stop_executors().await;
        self.stop_replicas().await;
        self.schema.drop_it().await
    }

    /// Ends the executors in order.
    ///
    /// # Panics
    /// When one does not end by itself, with success.
    pub async fn stop_executors(&mut self) {
        join_all(self.executors.iter_mut().map(Node::terminate)).await;
    }

    /// Ends the replicas in order.
    ///
    /// # Panics
    /// When one does not end by itself, with success.
    pub async fn stop_replicas(&mut self) {
        join_all(self.replicas.iter_mut().map(Replica::terminate)).await;
    }

    async fn start_all(&mut self) -> Result<()> {
        let executors = try_join_all(self.executors.iter_mut().map(Node::start));
        let replicas = try_join_all(self.replicas.iter_mut().map(Replica::start));
        // Neither waits for the other: an executor's links take its connections and hold them until a replica is there.
        let both = async { tokio::try_join!(executors, replicas) };
        both.await?;
        self.lead_to_replicas()?;
        let count = self.replicas.len();
        try_join_all(self.executors.iter_mut().map(|node| node.joined(count))).await?;
        self.until_ready(SOON).await;
        Ok(())
    }

    /// Lets the balancer and the executors' links lead to where the replicas listen now; where one is down, to where it was.
    fn lead_to_replicas(&self) -> Result<()> {
        let addresses: Vec<SocketAddr> = self.replicas.iter().filter_map(Replica::address).collect();
        self.front.set(addresses);
        for (index, replica) in self.replicas.iter().enumerate() {
            let Some(address) = replica.fleet_address() else {
                continue;
            };
            for node in &self.executors {
                node.joins[index].aim(address);
            }
        }
        Ok(())
    }
}
