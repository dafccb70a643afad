//! How calls scale with executors and replicas, and what it costs a call that a second replica is there: the shared limits
//! are then in Redis.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::database::Schema;
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::redis::RedisServer;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use dynamic_mcp_tests::state::State;
use futures::future::{join_all, try_join_all};
use serde_json::json;

use crate::load::{self, Samples};
use crate::report::{Goal, Report};
use crate::wire::Connection;
use crate::{CLIENTS, CODE, LIMITS, call};

const TOOL: &str = "bench.fleet";
const TIME: Duration = Duration::from_secs(8);
const SETTLED: Duration = Duration::from_secs(30);
const EXECUTORS: [usize; 3] = [1, 2, 4];
const REPLICAS: [usize; 2] = [1, 3];
/// One client asks one deployment and then the other, so that a busy moment of the machine is both's.
const ROUNDS: usize = 20;
const CALLS_A_ROUND: usize = 100;
/// More than one client can use, so that the processor is what bounds.
const MANY_SLOTS: &str = "64";
/// Of a node that is full while its processor is not: what waits for others, as most tools do.
const FEW_SLOTS: &str = "4";
const WAITS: &str = "await new Promise((resolve) => setTimeout(resolve, 100)); return 1;";

pub async fn measure(report: &mut Report) -> Result<()> {
    for replicas in REPLICAS {
        for executors in EXECUTORS {
            let deployment = Deployment::start(replicas, executors, true, MANY_SLOTS, CODE).await?;
            let samples = deployment.together().await?;
            let what = format!("isolate, {replicas} replicas, {executors} executors, {CLIENTS} clients");
            report.row(&what, &samples);
            deployment.stop().await?;
        }
    }
    for executors in EXECUTORS {
        let deployment = Deployment::start(3, executors, true, FEW_SLOTS, WAITS).await?;
        let samples = deployment.together().await?;
        let what = format!(
            "a call that waits 100 ms, 3 replicas, {executors} executors with {FEW_SLOTS} slots each, {CLIENTS} clients"
        );
        report.row(&what, &samples);
        deployment.stop().await?;
    }
    second_replica(report).await
}

async fn second_replica(report: &mut Report) -> Result<()> {
    let (alone, shared) = tokio::try_join!(
        Deployment::start(1, 1, false, MANY_SLOTS, CODE),
        Deployment::start(2, 1, true, MANY_SLOTS, CODE)
    )?;
    let request = call(TOOL);
    let mut connections = [
        Connection::open(&alone.replicas[0].base_url).await?,
        Connection::open(&shared.replicas[0].base_url).await?,
    ];
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (connection, taken) in connections.iter_mut().zip(&mut taken) {
            let samples = load::one_by_one(connection, &request, CALLS_A_ROUND, Duration::ZERO).await?;
            taken.extend(samples.into_taken());
        }
    }
    let [one, two] = taken.map(|taken| {
        let busy = taken.iter().sum();
        Samples::new(taken, busy)
    });
    report.row("isolate, 1 replica without Redis, 1 client", &one);
    report.row("isolate, 2 replicas, 1 client", &two);
    let cost = two.p50().as_secs_f64() - one.p50().as_secs_f64();
    report.goal(Goal::at_most(
        "what a second replica costs a call, p50, ms",
        cost * 1e3,
        1.0,
    ));
    alone.stop().await?;
    shared.stop().await
}

/// Without anything between its parts, unlike the clusters of the tests.
struct Deployment {
    replicas: Vec<ControlPlane>,
    executors: Vec<Executor>,
    schema: Schema,
    _redis: RedisServer,
}

impl Deployment {
    async fn start(
        replicas: usize,
        executors: usize,
        over_redis: bool,
        slots: &str,
        code: &str,
    ) -> Result<Self> {
        let (schema, redis) = (Schema::new()?, RedisServer::start().await?);
        let url = redis.url();
        let mut settings = vec![
            ("MCP_DYNAMIC_BACKEND", "postgres"),
            ("MCP_DYNAMIC_PG_URL", schema.url()),
            ("MCP_DYNAMIC_PG_SCHEMA", schema.name()),
            ("MCP_DEFAULT_RUNTIME", "isolate"),
        ];
        settings.extend(LIMITS);
        if over_redis {
            settings.push(("MCP_REDIS_URL", url.as_str()));
        }
        let replicas = try_join_all((0..replicas).map(|_| ControlPlane::start(&settings))).await?;
        let urls: Vec<_> = replicas
            .iter()
            .map(|replica| replica.fleet_url.as_str())
            .collect();
        let engine = [("MCP_EXECUTION_ENGINE", "isolate"), ("MCP_SANDBOX_SLOTS", slots)];
        let mut joined = Vec::new();
        for _ in 0..executors {
            let mut executor = Executor::begin_at(State::new()?, &urls.join(","), &engine)?;
            executor.process.logged("joined the control plane").await?;
            joined.push(executor);
        }
        let deployment = Self {
            replicas,
            executors: joined,
            schema,
            _redis: redis,
        };
        deployment.make_tool(code).await?;
        Ok(deployment)
    }

    /// Returns when every replica has called it.
    async fn make_tool(&self, code: &str) -> Result<()> {
        let first = self.replicas.first().context("a replica")?;
        first.ready().await?;
        let client = first.client(Era::Modern).await?;
        client
            .create_tool(TOOL, code, json!({"runtime": "isolate"}))
            .await?;
        for replica in &self.replicas {
            replica.ready().await?;
            let client = replica.client(Era::Modern).await?;
            eventually(SETTLED, async || {
                let answer = client.call(TOOL, json!({"args": {"text": "hello"}})).await?;
                ensure!(answer["isError"] != true, "{answer}");
                Ok(())
            })
            .await;
        }
        Ok(())
    }

    /// The clients are spread over the replicas.
    async fn together(&self) -> Result<Samples> {
        let request = call(TOOL);
        let each = CLIENTS / self.replicas.len();
        let further = CLIENTS % self.replicas.len();
        let shares = self.replicas.iter().enumerate().map(|(index, replica)| {
            let clients = each + usize::from(index < further);
            load::together(&replica.base_url, &request, clients, TIME)
        });
        let taken = try_join_all(shares).await?;
        Ok(Samples::new(
            taken.into_iter().flat_map(Samples::into_taken).collect(),
            TIME,
        ))
    }

    async fn stop(self) -> Result<()> {
        join_all(self.executors.into_iter().map(Executor::stop)).await;
        join_all(self.replicas.into_iter().map(ControlPlane::stop)).await;
        self.schema.drop_it().await
    }
}
