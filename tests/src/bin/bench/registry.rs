//! A registry of 10,000 tools in 1,000 tenants in Postgres: what a list costs, what a call pays to find its tool, and how soon
//! one replica shows what another one wrote. `TEST_POSTGRES_URL` says where (`scripts/services`).

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dynamic_mcp_control_plane::registry::cache::ToolCache;
use dynamic_mcp_control_plane::registry::{
    PostgresConfig, PostgresRegistry, Registry, RegistryError, ToolName, ToolSpec,
};
use dynamic_mcp_control_plane::tenant::{TenantDefaults, TenantLimits};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_tests::database::Schema;
use dynamic_mcp_tests::issuer::{Issuer, now};
use dynamic_mcp_tests::server::ControlPlane;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use crate::load::Samples;
use crate::report::{Goal, Report};
use crate::wire::{self, Connection};

const TENANTS: usize = 1_000;
const TOOLS: usize = 10_000;
/// Of every tenant but the first, which has the rest: many pages.
const TOOLS_EACH: usize = 9;
const WRITES_AT_ONCE: usize = 8;
const WRITE_ATTEMPTS: usize = 5;
const LOOKUPS: usize = 200_000;
const LISTS: usize = 2_000;
const CHANGES: usize = 300;

pub async fn measure(schema: Schema, report: &mut Report) -> Result<()> {
    let measured = Box::pin(measure_in(&schema, report)).await;
    schema.drop_it().await?;
    measured
}

async fn measure_in(schema: &Schema, report: &mut Report) -> Result<()> {
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let registry = connect(schema, &lifecycle).await?;
    fill(&*registry).await?;
    lookups(registry.clone(), &lifecycle, report).await?;
    lifecycle.begin_shutdown();
    registry.close().await;
    Box::pin(over_the_wire(schema, report)).await
}

async fn connect(schema: &Schema, lifecycle: &Lifecycle) -> Result<Arc<dyn Registry>> {
    let config = PostgresConfig {
        url: schema.url().into(),
        schema: schema.name().to_owned(),
        init_max_attempts: 1,
        init_backoff: Duration::ZERO,
    };
    let registry = PostgresRegistry::connect(config, Arc::new(SystemClock), lifecycle.clone()).await?;
    Ok(Arc::new(registry))
}

fn tenant(number: usize) -> Result<TenantId> {
    Ok(format!("tenant-{number:04}").parse()?)
}

fn tools_of(tenant: usize) -> usize {
    match tenant {
        0 => TOOLS - (TENANTS - 1) * TOOLS_EACH,
        _ => TOOLS_EACH,
    }
}

fn name(number: usize) -> String {
    format!("bench.tool-{number:04}")
}

async fn fill(registry: &dyn Registry) -> Result<()> {
    let all = (0..TENANTS).flat_map(|tenant| (0..tools_of(tenant)).map(move |tool| (tenant, tool)));
    let writes = futures::stream::iter(all.map(|(number, tool)| async move {
        let (tenant, spec) = (tenant(number)?, spec(tool)?);
        create(registry, &tenant, &spec).await
    }));
    writes.buffer_unordered(WRITES_AT_ONCE).try_collect().await
}

/// A database that is filled as fast as it can be has slow moments.
async fn create(registry: &dyn Registry, tenant: &TenantId, spec: &ToolSpec) -> Result<()> {
    let mut again = 0;
    loop {
        match registry.create(tenant, spec, TOOLS, "bench").await {
            Err(RegistryError::Unavailable { .. }) if again < WRITE_ATTEMPTS => again += 1,
            Err(RegistryError::AlreadyExists(_)) if again > 0 => return Ok(()),
            created => return Ok(created.map(drop)?),
        }
    }
}

fn spec(number: usize) -> Result<ToolSpec> {
    let spec = json!({
        "name": name(number),
        "description": "Makes a text loud, as often as is wanted, and says how long it came to be.",
        "code": crate::CODE,
        "runtime": "isolate",
        "runsOn": "isolate",
        "image": "node:lts-slim",
        "timeoutMs": 30_000,
        "dependencies": [],
        "inputSchema": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "minLength": 1, "description": "What to make loud."},
                "times": {"type": "integer", "minimum": 1, "maximum": 5},
                "mood": {"enum": ["calm", "loud"]},
            },
            "required": ["text"],
            "additionalProperties": false,
        },
        "enabled": true,
    });
    Ok(serde_json::from_value(spec)?)
}

/// Nothing is set for any of them.
fn defaults() -> Result<TenantDefaults> {
    Ok(TenantDefaults {
        limits: TenantLimits {
            max_tools: u32::try_from(TOOLS_EACH)?,
            max_concurrency: 8,
            max_calls_per_window: None,
            weight: 1,
            max_sessions: 1,
            max_sandboxes: 4,
            max_memory_mb: None,
        },
        policy: Arc::default(),
    })
}

/// What a call pays to find its tool, on a replica that knows all tenants.
async fn lookups(registry: Arc<dyn Registry>, lifecycle: &Lifecycle, report: &mut Report) -> Result<()> {
    let cache = ToolCache::new(registry, defaults()?, lifecycle);
    let tenants = (0..TENANTS).map(tenant).collect::<Result<Vec<_>>>()?;
    for tenant in &tenants {
        cache.tools(tenant).await?;
    }
    let names = (0..TOOLS_EACH)
        .map(|number| Ok(name(number).parse()?))
        .collect::<Result<Vec<ToolName>>>()?;
    let mut taken = Vec::with_capacity(LOOKUPS);
    let started = Instant::now();
    for number in 0..LOOKUPS {
        let (tenant, name) = (&tenants[number % TENANTS], &names[number % TOOLS_EACH]);
        let begun = Instant::now();
        let tools = cache.tools(tenant).await?;
        black_box(tools.callable(name).context("a tool that is there")?);
        taken.push(begun.elapsed());
    }
    let samples = Samples::new(taken, started.elapsed());
    report.row("a call finds its tool among 10,000 of 1,000 tenants", &samples);
    let micros = samples.p50().as_secs_f64() * 1e6;
    report.goal(Goal::at_most("a call finds its tool, p50, µs", micros, 10.0));
    Ok(())
}

async fn over_the_wire(schema: &Schema, report: &mut Report) -> Result<()> {
    let issuer = Issuer::start().await?;
    let (one, other) = tokio::try_join!(replica(schema, &issuer), replica(schema, &issuer))?;
    let tokens = (0..TENANTS)
        .map(|number| issuer.token(&json!({"tenant": tenant(number)?.as_str(), "exp": now() + 7_200})))
        .collect::<Result<Vec<_>>>()?;
    let list = |token: &String| wire::request_as(token, "tools/list", &json!({}), None);
    let lists: Vec<_> = tokens.iter().map(list).collect();
    let mut connection = Connection::open(&one.base_url).await?;
    let first = listed(&mut connection, &lists, TENANTS).await?;
    report.row("`tools/list`, of a tenant that was not asked for before", &first);
    let known = listed(&mut connection, &lists, LISTS).await?;
    report.row("`tools/list`, of one tenant after the other", &known);
    let full = listed(&mut connection, &lists[..1], LISTS).await?;
    report.row("`tools/list`, a full page of 100 tools", &full);
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    report.goal(Goal::at_most(
        "`tools/list`, first page, p50, ms",
        millis(known.p50()),
        3.0,
    ));
    report.goal(Goal::at_most(
        "`tools/list`, full page, p50, ms",
        millis(full.p50()),
        3.0,
    ));

    let told = changes(&other, &mut connection, &tokens, &lists).await?;
    report.row("a write, until the other replica lists what it wrote", &told);
    let slowest = millis(told.percentile(0.99));
    report.goal(Goal::at_most(
        "a change reaches the other replica, p99, ms",
        slowest,
        100.0,
    ));
    one.stop().await;
    other.stop().await;
    Ok(())
}

async fn replica(schema: &Schema, issuer: &Issuer) -> Result<ControlPlane> {
    let auth = issuer.settings();
    let auth = auth.iter().map(|(name, value)| (*name, value.as_str()));
    let database = [
        ("MCP_DYNAMIC_BACKEND", "postgres"),
        ("MCP_DYNAMIC_PG_URL", schema.url()),
        ("MCP_DYNAMIC_PG_SCHEMA", schema.name()),
    ];
    let settings: Vec<_> = auth.chain(database).collect();
    ControlPlane::start(&settings).await
}

/// So many lists, of each tenant in turn.
async fn listed(connection: &mut Connection, lists: &[Vec<u8>], count: usize) -> Result<Samples> {
    let mut taken = Vec::with_capacity(count);
    let started = Instant::now();
    for request in lists.iter().cycle().take(count) {
        let begun = Instant::now();
        connection.ask(request).await?;
        taken.push(begun.elapsed());
    }
    Ok(Samples::new(taken, started.elapsed()))
}

/// From the beginning of a write at one replica until the other one, asked over and over, shows it: no less than what a client
/// waits for.
async fn changes(
    writer: &ControlPlane,
    reader: &mut Connection,
    tokens: &[String],
    lists: &[Vec<u8>],
) -> Result<Samples> {
    const UPDATE: &str = "dynamic.tool.update";
    let mut connection = Connection::open(&writer.base_url).await?;
    let mut taken = Vec::with_capacity(CHANGES);
    let started = Instant::now();
    for number in 1..=CHANGES {
        let description = format!("Was changed for the time number {number}.");
        let change = json!({"name": name(0), "patch": {"description": description}});
        let params = json!({"name": UPDATE, "arguments": change});
        let write = wire::request_as(&tokens[number], "tools/call", &params, Some(UPDATE));
        let begun = Instant::now();
        connection.call(&write).await?;
        while !wire::contains(reader.ask(&lists[number]).await?, description.as_bytes()) {
            tokio::task::yield_now().await;
        }
        taken.push(begun.elapsed());
    }
    Ok(Samples::new(taken, started.elapsed()))
}
