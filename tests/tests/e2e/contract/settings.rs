//! Settings: where they come from, which one wins, and that none is accepted and ignored.

use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::process::command;
use dynamic_mcp_tests::server::AllInOne;
use dynamic_mcp_tests::state::State;
use serde_json::{Value, json};

/// What the server says when it is started so, and ends by itself.
async fn run(settings: &[(&str, &str)], flags: &[&str]) -> Result<Output> {
    let state = State::new()?;
    let mut command = command("dynamic-mcp")?;
    command
        .current_dir(state.path())
        .env("MCP_STATE_DIR", state.path())
        .stdin(std::process::Stdio::null());
    command.env("MCP_EXECUTOR_STATE_DIR", state.path().join("executor"));
    command.envs(settings.iter().copied()).args(flags);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
    Ok(output.with_context(|| format!("with {settings:?} {flags:?} it went on"))??)
}

/// What it says on stderr when it does not start.
async fn refusal(settings: &[(&str, &str)], flags: &[&str]) -> Result<String> {
    let output = run(settings, flags).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "with {settings:?} {flags:?} it started: {said}"
    );
    assert_eq!(output.stdout, b"", "stdout is for MCP");
    Ok(said)
}

async fn config(server: &AllInOne) -> Result<Value> {
    server
        .client(Era::Modern)
        .await?
        .structured("system.runtime_config", json!({}))
        .await
}

#[tokio::test]
async fn a_setting_that_contradicts_another_stops_the_start_with_its_name() -> Result<()> {
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("MCP_REQUIRE_ADMIN_TOKEN", "true")], "MCP_REQUIRE_ADMIN_TOKEN"),
        (&[("MCP_DYNAMIC_BACKEND", "postgres")], "MCP_DYNAMIC_BACKEND"),
        (
            &[("MCP_DYNAMIC_PG_URL", "postgres://localhost/x")],
            "MCP_DYNAMIC_PG_URL",
        ),
        (&[("MCP_FLEET_BIND", "127.0.0.1:0")], "MCP_JOIN_TOKEN"),
        (
            &[
                ("MCP_AUDIT_MAX_FILE_BYTES", "10000"),
                ("MCP_AUDIT_MAX_EVENT_BYTES", "20000"),
            ],
            "MCP_AUDIT_MAX_EVENT_BYTES",
        ),
    ];
    for (settings, name) in cases {
        let said = refusal(settings, &[]).await?;
        assert!(said.contains(name), "{name}: {said}");
    }
    let said = refusal(&[], &["--join-token", "a-token-of-enough-letters"]).await?;
    assert!(
        said.contains("MCP_JOIN_TOKEN") && said.contains("no effect"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_wrong_value_is_refused_with_variable_flag_what_is_allowed_and_what_came() -> Result<()> {
    let wrong = [
        ("MCP_TRANSPORT", "--transport", "carrier-pigeon", "stdio, http"),
        ("MCP_PROFILE", "--profile", "large", "enterprise or mvp"),
        (
            "MCP_TOOL_MAX_CONCURRENCY",
            "--tool-max-concurrency",
            "0",
            "1..=100000",
        ),
        (
            "MCP_HTTP_MAX_REQUEST_BYTES",
            "--http-max-request-bytes",
            "16777217",
            "16777216",
        ),
        (
            "MCP_SANDBOX_MEMORY_LIMIT",
            "--sandbox-memory-limit",
            "much",
            "bytes",
        ),
        (
            "MCP_SANDBOX_MAX_TIMEOUT_MS",
            "--sandbox-max-timeout-ms",
            "120001",
            "120000",
        ),
    ];
    for (variable, flag, value, allowed) in wrong {
        for said in [
            refusal(&[(variable, value)], &[]).await?,
            refusal(&[], &[flag, value]).await?,
        ] {
            for part in [variable, flag, value, allowed] {
                assert!(said.contains(part), "{part} in {said}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_mcp_variable_is_warned_about_by_name() -> Result<()> {
    let mut server = AllInOne::start_without_pool(&[("MCP_TOOL_MAX_CONCURENCY", "3")]).await?;
    let line = server
        .process
        .logged("no setting has this name; it is ignored")
        .await?;
    assert_eq!(
        (&line["level"], &line["variable"]),
        (&json!("WARN"), &json!("MCP_TOOL_MAX_CONCURENCY"))
    );
    Ok(())
}

#[tokio::test]
async fn flags_win_over_the_environment_and_the_environment_over_a_dotenv_file() -> Result<()> {
    let state = State::new()?;
    let dotenv =
        "MCP_TOOL_MAX_CONCURRENCY=11\nMCP_TOOL_MAX_CALLS_PER_WINDOW=12\nMCP_TOOL_RATE_WINDOW_MS=13000\n";
    std::fs::write(state.path().join(".env"), dotenv)?;
    let settings = [
        ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "22"),
        ("MCP_TOOL_RATE_WINDOW_MS", "23000"),
    ];
    let server = AllInOne::start_with(state, &settings, &["--tool-rate-window-ms", "33000"]).await?;
    let guard = config(&server).await?["guard"].clone();
    assert_eq!(
        (
            &guard["maxConcurrency"],
            &guard["maxCallsPerWindow"],
            &guard["windowMs"]
        ),
        (&json!(11), &json!(22), &json!(33_000))
    );
    Ok(())
}

#[tokio::test]
async fn an_empty_variable_counts_as_not_set() -> Result<()> {
    let server = AllInOne::start_without_pool(&[
        ("MCP_TOOL_MAX_CONCURRENCY", ""),
        ("MCP_AUTH_MODE", ""),
        ("MCP_REDIS_URL", ""),
    ])
    .await?;
    assert_eq!(config(&server).await?["guard"]["maxConcurrency"], 8);
    Ok(())
}

#[tokio::test]
async fn the_defaults_are_those_of_the_contract() -> Result<()> {
    let server = AllInOne::start_in(State::new()?, &[]).await?;
    let config = config(&server).await?;
    let expected = [
        ("/profile", json!("enterprise")),
        ("/http/host", json!("127.0.0.1")),
        ("/http/path", json!("/mcp")),
        ("/http/sessionTtlSeconds", json!(1_800)),
        ("/http/maxRequestBytes", json!(1_048_576)),
        ("/dynamic/backend", json!("file")),
        ("/dynamic/maxTools", json!(256)),
        ("/dynamic/readOnly", json!(false)),
        ("/guard/maxConcurrency", json!(8)),
        ("/guard/maxCallsPerWindow", json!(300)),
        ("/guard/windowMs", json!(60_000)),
        ("/audit/enabled", json!(true)),
        ("/audit/maxEventBytes", json!(20_000)),
        ("/audit/maxFileBytes", json!(10_000_000)),
        ("/audit/maxFiles", json!(5)),
        ("/sandbox/allowedImages", json!(["node:lts-slim"])),
        (
            "/sandbox/blockedPackages",
            json!(["child_process", "node-pty", "npm", "pm2"]),
        ),
        ("/sandbox/maxDependencies", json!(32)),
        ("/sandbox/maxOutputBytes", json!(200_000)),
        ("/sandbox/maxTimeoutMs", json!(120_000)),
        ("/engine/memoryLimit", json!("512m")),
        ("/engine/cpuLimit", json!(1.0)),
        ("/engine/engine", json!("auto")),
    ];
    for (pointer, value) in expected {
        assert_eq!(config.pointer(pointer), Some(&value), "{pointer} in {config}");
    }
    Ok(())
}

#[tokio::test]
async fn help_and_version_are_printed_and_start_nothing() -> Result<()> {
    let help = run(&[], &["--help"]).await?;
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in [
        "--transport",
        "--dynamic-pg-url",
        "--tool-max-concurrency",
        "--sandbox-memory-limit",
        "--audit-file",
    ] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
    let version = run(&[], &["--version"]).await?;
    assert_eq!(
        String::from_utf8_lossy(&version.stdout).trim(),
        format!("dynamic-mcp {}", env!("CARGO_PKG_VERSION"))
    );
    Ok(())
}
