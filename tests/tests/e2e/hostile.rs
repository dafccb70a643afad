//! Code that means harm. Each attempt has the outcome that its author is told, and a neighbour that is called while it runs
//! is answered, rightly and soon. One suite over both engines; `docker` and `isolate` hold what only code there can try.

mod docker;
mod endings;
mod isolate;
mod loops;
mod memory;
mod output;
mod patched;
mod results;
mod state;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient};
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

const SETTINGS: [(&str, &str); 4] = [
    ("MCP_SANDBOX_POOL_MIN", "2"),
    ("MCP_SANDBOX_POOL_MAX", "4"),
    // Memory bombs get there sooner.
    ("MCP_SANDBOX_MEMORY_LIMIT", "256m"),
    ("MCP_TOOL_MAX_CALLS_PER_WINDOW", "100000"),
];
/// A neighbour's call takes milliseconds with a warm container and a second without one, on a busy machine.
const PROMPT: Duration = Duration::from_secs(20);
/// Enough to see that the neighbour lives; each costs the Engine a container.
const NEIGHBOUR_CALLS: usize = 5;

/// A server with hostile code in it.
struct Ward {
    server: AllInOne,
    client: McpClient,
}

impl Ward {
    async fn start(on: On) -> Result<Self> {
        let server = AllInOne::start(&[&SETTINGS, on.settings()].concat()).await?;
        let client = server.client(Era::Modern).await?;
        client
            .create_tool("neighbour", "return args.n * 2;", json!({}))
            .await?;
        Ok(Self { server, client })
    }

    /// Runs the code for at most that time, and calls the neighbour until it has ended. Answers its structured content.
    async fn run(&self, code: &str, timeout: Duration) -> Result<Value> {
        let timeout_ms = u64::try_from(timeout.as_millis())?;
        let hostile = self
            .client
            .call("run_js_ephemeral", json!({"code": code, "timeoutMs": timeout_ms}));
        self.beside_the_neighbour(hostile)
            .await
            .with_context(|| format!("beside {code}"))
    }

    async fn beside_the_neighbour(&self, hostile: impl Future<Output = Result<Value>>) -> Result<Value> {
        let (ended, _slowest) = tokio::try_join!(hostile, self.call_the_neighbour())?;
        Ok(ended["structuredContent"].clone())
    }

    async fn call_the_neighbour(&self) -> Result<Duration> {
        let mut slowest = Duration::ZERO;
        for n in 0..NEIGHBOUR_CALLS {
            let called = Instant::now();
            let answer = self
                .client
                .structured("neighbour", json!({"args": {"n": n}}))
                .await?;
            ensure!(
                answer["result"] == json!(n * 2),
                "the neighbour answered {answer}"
            );
            slowest = slowest.max(called.elapsed());
        }
        ensure!(slowest < PROMPT, "the neighbour had to wait for {slowest:?}");
        measured(format!("the neighbour's slowest answer: {slowest:?}"));
        Ok(slowest)
    }

    async fn stop(self) {
        self.server.stop().await;
    }
}

/// The outcome, and the error's text where there is one.
fn told(ended: &Value) -> (&str, &str) {
    (
        ended["outcome"].as_str().unwrap_or_default(),
        ended["error"].as_str().unwrap_or_default(),
    )
}

/// Asserts the outcome, and what the error's text has to contain.
#[track_caller]
fn assert_ended(ended: &Value, outcome: &str, error: &str) {
    let (got, text) = told(ended);
    assert!(
        got == outcome && text.contains(error),
        "not {outcome} with {error:?}, but {ended:#}"
    );
}

/// For code that ends by itself.
const LONG: Duration = Duration::from_secs(60);
/// For code that doesn't.
const SHORT: Duration = Duration::from_secs(2);
