//! Clients of both eras that call, write, give up and come back, and check what they are answered.

mod session;

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::journal::{Journal, Told};
use crate::client::{Era, McpClient, answer};
use crate::cluster::Cluster;

/// A replica that is held still answers nobody.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(40);
/// What follows a call that was refused or lost.
const BACK_OFF: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Quick,
    Slow,
    Throw,
    GiveUp,
    Ephemeral,
    Write,
    Container,
    Session,
}

/// As often as it stands here.
const MIX: [Deed; 15] = [
    Deed::Quick,
    Deed::Quick,
    Deed::Quick,
    Deed::Quick,
    Deed::Quick,
    Deed::Slow,
    Deed::Slow,
    Deed::Throw,
    Deed::GiveUp,
    Deed::Ephemeral,
    Deed::Ephemeral,
    Deed::Write,
    Deed::Write,
    Deed::Container,
    Deed::Session,
];

pub(super) struct Caller {
    base_url: String,
    era: Era,
    random: StdRng,
    /// Whether some executor makes containers.
    docker: bool,
    /// Of the tool that it alone writes.
    own_tool: String,
}

/// The tools that all callers use.
pub(super) async fn make_tools(cluster: &Cluster) -> Result<()> {
    let isolate = |further: Value| crate::client::with(json!({"runtime": "isolate"}), further);
    let slow = "await new Promise((done) => setTimeout(done, 300)); return args.n;";
    cluster
        .make_tool("quick", "return args.n;", isolate(json!({})))
        .await?;
    cluster.make_tool("slow", slow, isolate(json!({}))).await?;
    cluster
        .make_tool("thrower", "throw new Error('as it should');", isolate(json!({})))
        .await?;
    if cluster
        .executors
        .iter()
        .any(|node| node.on == crate::on::On::Docker)
    {
        cluster
            .make_tool("container", "return args.n;", json!({"runtime": "node"}))
            .await?;
    }
    Ok(())
}

impl Caller {
    pub(super) fn new(base_url: &str, era: Era, seed: u64, docker: bool) -> Self {
        Self {
            base_url: base_url.to_owned(),
            era,
            random: StdRng::seed_from_u64(seed),
            docker,
            own_tool: format!(
                "written.{}.{seed}",
                if era == Era::Legacy { "legacy" } else { "modern" }
            ),
        }
    }

    /// Works until it is told to stop. A session that is lost is begun anew.
    pub(super) async fn work(mut self, journal: &Journal, stop: &CancellationToken) -> Result<()> {
        let mut client = None;
        while !stop.is_cancelled() {
            let Some(connected) = &client else {
                client = self.connect().await;
                continue;
            };
            let deed = self.next_deed();
            let went_on = self.act(connected, deed, journal).await?;
            if went_on {
                tokio::time::sleep(PAUSE).await;
            } else {
                tokio::time::sleep(BACK_OFF).await;
                if self.era == Era::Legacy && !is_alive(connected).await {
                    let _unheard = tokio::time::timeout(PATIENCE, connected.end_session()).await;
                    client = None;
                }
            }
        }
        if let Some(client) = client.filter(|_| self.era == Era::Legacy) {
            client.end_session().await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Option<McpClient> {
        let connecting = McpClient::connect(&self.base_url, self.era);
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        let client = connected.ok().and_then(Result::ok);
        if client.is_none() {
            tokio::time::sleep(BACK_OFF).await;
        }
        client
    }

    fn next_deed(&mut self) -> Deed {
        match MIX.choose(&mut self.random) {
            Some(Deed::Container | Deed::Session) if !self.docker => Deed::Quick,
            Some(deed) => *deed,
            None => Deed::Quick,
        }
    }

    /// Answers whether it was answered as on a good day.
    async fn act(&mut self, client: &McpClient, deed: Deed, journal: &Journal) -> Result<bool> {
        let n: u32 = self.random.random();
        let args = json!({"args": {"n": n}});
        let (tool, arguments, expected) = match deed {
            Deed::Quick => ("quick", args, Some("ok")),
            Deed::Slow => ("slow", args, Some("ok")),
            Deed::Container => ("container", args, Some("ok")),
            Deed::Throw => ("thrower", args, Some("threw")),
            Deed::GiveUp => ("slow", args, None),
            Deed::Ephemeral => {
                let run = json!({"code": "return args.n;", "args": {"n": n}, "runtime": "isolate"});
                ("run_js_ephemeral", run, Some("ok"))
            }
            Deed::Write => return self.write(client, journal).await,
            Deed::Session => return session::live(client, n, journal).await,
        };
        let patience = if expected.is_some() {
            PATIENCE
        } else {
            Duration::from_millis(self.random.random_range(5..250))
        };
        let answered = call(client, tool, arguments, journal, patience).await?;
        let Some(content) = answered else {
            return Ok(expected.is_none());
        };
        let outcome = content["outcome"].as_str().unwrap_or_default();
        let on_a_bad_day = ["never_started", "interrupted", "cancelled"];
        ensure!(
            Some(outcome) == expected || expected.is_none() || on_a_bad_day.contains(&outcome),
            "{tool} answered {content}"
        );
        ensure!(
            outcome != "ok" || content["result"] == n,
            "{tool} of {n} answered {content}"
        );
        Ok(Some(outcome) == expected)
    }

    async fn write(&mut self, client: &McpClient, journal: &Journal) -> Result<bool> {
        let name = &self.own_tool;
        let draft =
            json!({"name": name, "description": "Written.", "code": "return 1;", "runtime": "isolate"});
        let (tool, arguments) = match self.random.random_range(0..3) {
            0 => ("dynamic.tool.create", json!({"tool": draft})),
            1 => (
                "dynamic.tool.update",
                json!({"name": name, "patch": {"description": "Changed."}}),
            ),
            _ => ("dynamic.tool.delete", json!({"name": name})),
        };
        Ok(call(client, tool, arguments, journal, PATIENCE).await?.is_some())
    }
}

/// Whether a session answers.
async fn is_alive(client: &McpClient) -> bool {
    let pinged = tokio::time::timeout(PATIENCE, client.ask("ping", json!({}))).await;
    pinged.is_ok_and(|answer| answer.is_ok())
}

/// The structured content of the answer; nothing when there was none, in time or at all.
async fn call(
    client: &McpClient,
    tool: &str,
    arguments: Value,
    journal: &Journal,
    patience: Duration,
) -> Result<Option<Value>> {
    let message = client.request("tools/call", json!({"name": tool, "arguments": arguments}));
    let id = message["id"].as_u64().unwrap_or_default();
    let request_id = journal.request_id();
    let asked = async {
        let request = client.prepare(&message).header("x-request-id", &request_id);
        answer(request.send().await?, id).await
    };
    let Ok(Ok(said)) = tokio::time::timeout(patience, asked).await else {
        return Ok(None);
    };
    let content = said["result"]["structuredContent"].clone();
    let told = match (&said["error"], content["outcome"].as_str()) {
        (Value::Null, Some(outcome)) => Told::Outcome(outcome.to_owned()),
        (Value::Null, None) => Told::Written(said["result"]["isError"] != true),
        (error, _) => Told::Error(format!("{} {}", error["code"], error["message"])),
    };
    let was_error = matches!(told, Told::Error(_));
    journal.told(request_id, told);
    Ok((!was_error).then_some(content))
}
