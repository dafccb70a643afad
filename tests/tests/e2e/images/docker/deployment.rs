//! The compose file as it is written: two control planes behind the proxy, two executors with an Engine each.

use std::time::Duration;

use anyhow::{Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::compose::Compose;
use dynamic_mcp_tests::eventually::eventually;
use futures::future::try_join_all;
use serde_json::json;

const CONTROLS: [&str; 2] = ["control-1", "control-2"];
const EXECUTORS: [&str; 2] = ["executor-1", "executor-2"];
const ENGINES: [&str; 2] = ["engine-1", "engine-2"];
const IMAGE: &str = "node:lts-slim";
const SOON: Duration = Duration::from_secs(120);

const SLOW: &str = "await new Promise((resolve) => setTimeout(resolve, 5000)); return 'done';";

// One test, since a deployment takes a minute to come up: each part is a question of its own to the same one.
#[tokio::test(flavor = "multi_thread")]
async fn the_deployment_of_the_compose_file_serves_clients_through_its_proxy_and_drains() -> Result<()> {
    let compose = Compose::new().await?;
    compose.up(&ENGINES).await?;
    eventually(SOON, || all_healthy(&compose, &ENGINES)).await;
    // Engines here may not reach an image registry.
    try_join_all(ENGINES.map(|engine| compose.give_image(engine, IMAGE))).await?;
    compose.up(&[]).await?;
    let servers = [CONTROLS, EXECUTORS].concat();
    let took = eventually(SOON, || all_healthy(&compose, &servers)).await;
    println!("healthy {took:?} after the last service was started");

    everything_is_walled_in(&compose).await?;
    executors_reach_no_store(&compose).await?;
    let client = McpClient::connect(&compose.url().await?, Era::Modern).await?;
    eventually(SOON, || both_runtimes_are_offered(&client)).await;
    what_one_replica_made_the_others_have(&compose, &client).await?;
    running_calls_end_before_their_server_does(&compose, &client).await
}

async fn all_healthy(compose: &Compose, services: &[&str]) -> Result<()> {
    for service in services {
        let health = compose.inspect(service, "{{json .State.Health}}").await?;
        ensure!(health.contains(r#""Status":"healthy""#), "{service}: {health}");
    }
    Ok(())
}

async fn everything_is_walled_in(compose: &Compose) -> Result<()> {
    for service in [CONTROLS, EXECUTORS].concat() {
        let format = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} \
                      {{.HostConfig.Privileged}}";
        let walls = compose.inspect(service, format).await?;
        ensure!(
            walls == "true [ALL] [no-new-privileges:true] false",
            "{service}: {walls}"
        );
        let script = "id -u; touch /written 2>/dev/null && echo written; find /secrets -name ca.key";
        let inside = compose.exec(service, &["sh", "-c", script]).await?;
        ensure!(inside == "65532", "{service}: {inside}");
    }
    Ok(())
}

async fn executors_reach_no_store(compose: &Compose) -> Result<()> {
    for store in ["postgres", "redis"] {
        compose.exec("control-1", &["getent", "hosts", store]).await?;
        for executor in EXECUTORS {
            let found = compose.exec(executor, &["getent", "hosts", store]).await;
            ensure!(found.is_err(), "{executor} knows {store}: {found:?}");
        }
    }
    Ok(())
}

async fn both_runtimes_are_offered(client: &McpClient) -> Result<()> {
    for runtime in ["node", "isolate"] {
        let arguments = json!({"code": "return 1;", "runtime": runtime});
        let answer = client.structured("run_js_ephemeral", arguments).await?;
        ensure!(answer["result"] == 1, "{answer}");
    }
    Ok(())
}

async fn what_one_replica_made_the_others_have(compose: &Compose, client: &McpClient) -> Result<()> {
    for runtime in ["node", "isolate"] {
        let name = format!("images.double-{runtime}");
        client
            .create_tool(&name, "return args.n * 2;", json!({"runtime": runtime}))
            .await?;
        let mut replicas = Vec::new();
        for control in CONTROLS {
            replicas.push(McpClient::connect(&compose.replica_url(control).await?, Era::Modern).await?);
        }
        for replica in replicas.iter().chain([client]) {
            eventually(SOON, || has_tool(replica, &name)).await;
        }
        // As many times as the proxy has replicas, and once more.
        for _ in 0..3 {
            has_tool(client, &name).await?;
            let answer = client.structured(&name, json!({"args": {"n": 21}})).await?;
            ensure!(answer["result"] == 42 && answer["runtime"] == runtime, "{answer}");
        }
    }
    Ok(())
}

async fn has_tool(client: &McpClient, name: &str) -> Result<()> {
    let names = client.tool_names().await?;
    ensure!(
        names.iter().any(|listed| listed == name),
        "{name} is not in {names:?}"
    );
    Ok(())
}

/// Calls are under way on what is told to stop: first a control plane, then an executor.
async fn running_calls_end_before_their_server_does(compose: &Compose, client: &McpClient) -> Result<()> {
    client
        .create_tool("images.slow", SLOW, json!({"runtime": "node"}))
        .await?;
    // The second replica is the only one by the time the executor stops, so that it counts all calls.
    for (service, counted_by) in [("control-1", "control-1"), ("executor-1", "control-2")] {
        let counting = McpClient::connect(&compose.replica_url(counted_by).await?, Era::Modern).await?;
        let calls = try_join_all((0..4).map(|_| client.structured("images.slow", json!({"args": {}}))));
        let stop = async {
            eventually(SOON, || some_calls_run(&counting)).await;
            compose.run(&["stop", service]).await
        };
        let (answers, _stopped) = tokio::try_join!(calls, stop)?;
        for answer in answers {
            ensure!(answer["outcome"] == "ok", "{service} stopped: {answer}");
        }
        let code = compose.inspect(service, "{{.State.ExitCode}}").await?;
        ensure!(code == "0", "{service} ended with {code}");
        let answer = client
            .structured("images.double-isolate", json!({"args": {"n": 4}}))
            .await?;
        ensure!(answer["result"] == 8, "without {service}: {answer}");
    }
    let left = compose
        .exec("engine-1", &["docker", "ps", "--all", "--quiet"])
        .await?;
    ensure!(left.is_empty(), "the executor that stopped left {left}");
    Ok(())
}

async fn some_calls_run(replica: &McpClient) -> Result<()> {
    let metrics = replica.structured("system.guard_metrics", json!({})).await?;
    ensure!(
        metrics["activeExecutions"].as_u64().unwrap_or_default() >= 2,
        "{metrics}"
    );
    Ok(())
}
