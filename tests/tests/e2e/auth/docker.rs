//! Whose a sandbox session is: tokens of several tenants and subjects, real containers, and two replicas that share what
//! they know of sessions.

mod claims;
mod handles;
mod paths;
mod places;
mod strangers;
mod tokens;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_tests::client::{Era, McpClient, answer};
use dynamic_mcp_tests::cluster::{Cluster, Plan};
use dynamic_mcp_tests::eventually::eventually;
use dynamic_mcp_tests::issuer::Issuer;
use dynamic_mcp_tests::on::On;
use reqwest::Response;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(20);
/// What stands in the files of a session and is printed in it.
const SECRET: &str = "for its owner alone";
/// A session and a command that nobody ever had.
const NEVER: &str = "mcp-sbx-01900000-0000-7000-8000-0000000000ff";
const NEVER_COMMAND: &str = "cmd_019000000000700080000000000000ff";

/// Two replicas that take the tokens of an issuer's, and an executor with containers.
struct Field {
    issuer: Issuer,
    cluster: Cluster,
}

impl Field {
    async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    async fn start_with(further: &[(&str, &str)]) -> Result<Self> {
        let issuer = Issuer::start().await?;
        // What goes on in a session would hold up the end of its executor for that long.
        let plan = Plan::default().executor("MCP_SHUTDOWN_GRACE_SECONDS", "1");
        let mut plan = plan.replicas(2).executors(&[On::Docker]);
        for (name, value) in issuer.settings() {
            plan = plan.replica(name, &value);
        }
        for (name, value) in further {
            plan = plan.replica(name, value);
        }
        let cluster = Cluster::start(plan).await?;
        let field = Self { issuer, cluster };
        field.until_sessions_are_known().await?;
        Ok(field)
    }

    /// Of a directory that has just begun nobody can say yet what is not in it.
    async fn until_sessions_are_known(&self) -> Result<()> {
        for client in self.clients(Era::Modern, &json!({})).await? {
            eventually(SOON, async || {
                let of_none = json!({"sessionId": NEVER, "commands": ["true"]});
                let answer = said(&client, "sandbox.exec", of_none).await?;
                ensure!(answer["reason"] == "not_found", "{answer}");
                Ok(())
            })
            .await;
        }
        Ok(())
    }

    /// With a good token, changed; each of its requests goes to the next replica.
    async fn client(&self, era: Era, change: &Value) -> Result<McpClient> {
        let token = self.issuer.token(change)?;
        McpClient::connect_as(self.cluster.base_url(), era, Some(&token)).await
    }

    /// Of each replica one, with a good token, changed.
    async fn clients(&self, era: Era, change: &Value) -> Result<Vec<McpClient>> {
        let token = self.issuer.token(change)?;
        let mut clients = Vec::new();
        for replica in &self.cluster.replicas {
            clients.push(McpClient::connect_as(&replica.base_url(), era, Some(&token)).await?);
        }
        Ok(clients)
    }

    async fn stop(self) -> Result<()> {
        self.cluster.stop().await
    }
}

/// Alice of acme owns what there is: another tenant's subject of that name, and another subject of that tenant.
fn strangers() -> [Value; 2] {
    [json!({"tenant": "globex"}), json!({"sub": "mallory"})]
}

/// A session with files and a command that goes on.
struct Kept {
    owner: McpClient,
    id: String,
    command: String,
}

impl Kept {
    async fn begin(owner: McpClient) -> Result<Self> {
        let id = open(&owner).await?;
        let file = |path: &str| json!({"path": path, "content": SECRET});
        let files = json!({"sessionId": id, "files": [file("kept"), file("out/kept.txt")]});
        owner.structured("sandbox.fs.write", files).await?;
        let goes_on = json!({
            "sessionId": id,
            "commands": [format!("echo {SECRET}; while :; do sleep 1; done")],
            "background": true,
            "timeoutMs": 120_000,
        });
        let begun = owner.structured("sandbox.exec", goes_on).await?;
        let command = begun["commandId"].as_str();
        let command = command
            .with_context(|| format!("no command: {begun}"))?
            .to_owned();
        Ok(Self { owner, id, command })
    }

    /// Nothing is lost, changed or added, and what ran runs.
    async fn is_untouched(&self) -> Result<()> {
        self.has_its_files().await?;
        let which = json!({"sessionId": self.id, "commandId": self.command});
        let shown = self.owner.structured("sandbox.command.get", which).await?;
        assert_eq!(shown["state"], "running", "{shown}");
        Ok(())
    }

    async fn has_its_files(&self) -> Result<()> {
        let both = json!({"sessionId": self.id, "paths": ["kept", "out/kept.txt"]});
        let read = self.owner.structured("sandbox.fs.read", both).await?;
        let contents = fields_of(&read["files"], "content");
        assert_eq!(contents, [SECRET, SECRET], "{read}");
        let all = json!({"sessionId": self.id, "recursive": true});
        let listed = self.owner.structured("sandbox.fs.list", all).await?;
        let mut paths = fields_of(&listed["entries"], "path");
        paths.sort_unstable();
        let expected = ["/workspace/kept", "/workspace/out", "/workspace/out/kept.txt"];
        assert_eq!(paths, expected, "{listed}");
        Ok(())
    }

    /// By which a resource of it is asked for; those that there are begin with `out/`.
    fn address(&self, path: &str) -> String {
        format!("sandbox://{}/{path}", self.id)
    }
}

/// Every tool about a session, with arguments that would read it, change it or end it.
fn asks(id: &str, command: &str) -> Vec<(&'static str, Value)> {
    let read = "return (await import('node:fs')).readFileSync('kept', 'utf8')";
    let files = json!([{"path": "kept", "content": "a stranger's"}, {"path": "left", "content": ""}]);
    vec![
        (
            "sandbox.exec",
            json!({"sessionId": id, "commands": ["cat kept; rm -rf kept out"]}),
        ),
        (
            "sandbox.exec",
            json!({"sessionId": id, "commands": ["touch left"], "background": true}),
        ),
        ("sandbox.run_js", json!({"sessionId": id, "code": read})),
        ("sandbox.fs.write", json!({"sessionId": id, "files": files})),
        (
            "sandbox.fs.read",
            json!({"sessionId": id, "paths": ["kept", "out/kept.txt"]}),
        ),
        ("sandbox.fs.list", json!({"sessionId": id, "recursive": true})),
        (
            "sandbox.command.get",
            json!({"sessionId": id, "commandId": command}),
        ),
        (
            "sandbox.command.kill",
            json!({"sessionId": id, "commandId": command}),
        ),
        ("sandbox.stop", json!({"sessionId": id})),
    ]
}

/// Whether it is the answer about a session that is not there: to stop one is no error.
fn is_of_none(tool: &str, told: &str) -> bool {
    told.contains(match tool {
        "sandbox.stop" => r#""stopped":false"#,
        _ => r#""reason":"not_found""#,
    })
}

async fn open(client: &McpClient) -> Result<String> {
    let opened = client.structured("sandbox.initialize", json!({})).await?;
    let id = opened["sessionId"].as_str();
    Ok(id.with_context(|| format!("no session: {opened}"))?.to_owned())
}

/// What a call says that is structured, whether it went well or not.
async fn said(client: &McpClient, tool: &str, arguments: Value) -> Result<Value> {
    Ok(client.call(tool, arguments).await?["structuredContent"].clone())
}

/// All that a call is answered, as [`told`] has it.
async fn told_of_call(client: &McpClient, tool: &str, arguments: &Value) -> Result<String> {
    let params = json!({"name": tool, "arguments": arguments});
    told(client, "tools/call", params).await
}

/// All that a request is answered, with its status, but for what is another each time: its number, its job's, and how long
/// it took.
async fn told(client: &McpClient, method: &str, params: Value) -> Result<String> {
    let message = client.request(method, params);
    settled(&message, client.send(&message).await?).await
}

async fn settled(message: &Value, response: Response) -> Result<String> {
    let status = response.status();
    let mut whole = answer(response, message["id"].as_u64().context("an id")?).await?;
    ensure!(!status.is_server_error(), "{status}: {whole}");
    whole["id"] = Value::Null;
    let said = &whole["result"]["structuredContent"];
    let job = said["jobId"].as_str().unwrap_or("job_").to_owned();
    let took = format!(" in {} ms", said["durationMs"]);
    if let Some(duration) = whole.pointer_mut("/result/structuredContent/durationMs") {
        *duration = json!(0);
    }
    let text = format!("{status} {whole}");
    Ok(text.replace(&job, "JOB").replace(&took, " in 0 ms"))
}

/// That field of each object of a list, where it is a text.
fn fields_of<'a>(list: &'a Value, name: &str) -> Vec<&'a str> {
    let objects = list.as_array().into_iter().flatten();
    objects.filter_map(|object| object[name].as_str()).collect()
}
