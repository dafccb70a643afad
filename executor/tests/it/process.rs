//! The executor's own process, from its start to its exit, seen from the wire and from outside.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Say;
use dynamic_mcp_proto::v1::executor_client::ExecutorClient;
use dynamic_mcp_shared::job::Job;
use dynamic_mcp_shared::join_token::{AttachToken, JoinToken};
use dynamic_mcp_shared::wire::{execute_request, start};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::isolate::processes::Family;
use crate::rig::{On, eventually, job};

const TOKEN: &str = "a-token-of-this-test-only";

on_every_engine![
    a_running_job_finishes_after_sigterm_and_no_sandbox_is_left,
    a_job_that_outlasts_the_grace_time_is_interrupted_and_its_sandbox_removed,
];

struct Process {
    on: On,
    child: Child,
    /// Of isolates, when it was told to end.
    family: Family,
    channel: Channel,
    state: tempfile::TempDir,
}

impl Process {
    async fn start(on: On, flags: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        // The port is free again when the listener is dropped, and nobody else asks for it meanwhile.
        let bind = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dynamic-mcp-executor"))
            .args(["--executor-bind", &bind.to_string(), "--sandbox-pool-min=1"])
            .args(["--execution-engine", on.setting()])
            .args(flags)
            .env("MCP_JOIN_TOKEN", TOKEN)
            .env("MCP_EXECUTOR_STATE_DIR", state.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let channel = Endpoint::from_shared(format!("http://{bind}"))
            .unwrap()
            .connect_lazy();
        let process = Self {
            on,
            child,
            family: Family::default(),
            channel,
            state,
        };
        eventually("a healthy executor", async || process.is_serving().await).await;
        process
    }

    async fn is_serving(&self) -> bool {
        use tonic_health::pb::health_check_response::ServingStatus;
        let mut health = tonic_health::pb::health_client::HealthClient::new(self.channel.clone());
        let request = tonic_health::pb::HealthCheckRequest {
            service: "dynamicmcp.v1.Executor".to_owned(),
        };
        let answer = health.check(request).await;
        answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
    }

    fn client(&self) -> ExecutorClient<InterceptedService<Channel, AttachToken>> {
        let token = JoinToken::new(&TOKEN.into()).unwrap();
        ExecutorClient::with_interceptor(self.channel.clone(), token.attach())
    }

    /// Prepares a job and starts it as soon as it is ready, trying again while no sandbox is.
    async fn run(
        &self,
        code: &str,
        args: &'static str,
    ) -> (mpsc::Sender<v1::ExecuteRequest>, Streaming<v1::ExecuteEvent>) {
        loop {
            let (say, requests) = mpsc::channel(4);
            let job = Job {
                runtime: self.on.runtime(),
                ..job(code)
            };
            say.send(execute_request(Say::Prepare(job.into()))).await.unwrap();
            let answer = self.client().execute(ReceiverStream::new(requests)).await;
            let mut events = answer.unwrap().into_inner();
            match events.message().await.unwrap().unwrap().message.unwrap() {
                Event::Ready(_) => {
                    say.send(start(args.into())).await.unwrap();
                    return (say, events);
                }
                // The image is looked for after the start.
                Event::Rejected(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                other => panic!("neither ready nor refused: {other:?}"),
            }
        }
    }

    /// What it runs calls in, whether or not it lives.
    fn sandboxes(&self) -> Vec<String> {
        match self.on {
            On::Docker => self.containers(),
            On::Isolate => {
                let alive = self.family.all().filter(|process| process.is_alive());
                alive.map(|process| process.pid.to_string()).collect()
            }
        }
    }

    fn containers(&self) -> Vec<String> {
        let executors = std::fs::read_dir(self.state.path().join("executors")).unwrap();
        let names = executors.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let id = names.into_iter().find(|name| name.starts_with("exe_")).unwrap();
        let filter = format!("label=executor={id}");
        let listed = Command::new("docker")
            .args(["ps", "-aq", "--filter", &filter])
            .output();
        let ids = String::from_utf8(listed.unwrap().stdout).unwrap();
        ids.split_whitespace().map(str::to_owned).collect()
    }

    fn terminate(&mut self) {
        self.family = Family::of(self.child.id());
        assert_eq!(
            self.family.children.is_empty(),
            self.on == On::Docker,
            "{:?}",
            self.family
        );
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }

    async fn assert_exits_cleanly(mut self) {
        let mut status = None;
        eventually("the executor's exit", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        assert!(status.unwrap().success());
        assert_eq!(self.sandboxes(), Vec::<String>::new());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn finished(events: &mut Streaming<v1::ExecuteEvent>) -> v1::Finished {
    match events.message().await.unwrap().unwrap().message.unwrap() {
        Event::Finished(finished) => finished,
        other => panic!("not the end: {other:?}"),
    }
}

async fn a_running_job_finishes_after_sigterm_and_no_sandbox_is_left(on: On) {
    let mut process = Process::start(on, &[]).await;
    let code = "await new Promise((done) => setTimeout(done, 1500)); return args.n + 1";
    let (_say, mut events) = process.run(code, r#"{"n": 1}"#).await;
    process.terminate();
    let finished = finished(&mut events).await;
    assert_eq!(finished.result_json.as_deref(), Some(&b"2"[..]));
    process.assert_exits_cleanly().await;
}

async fn a_job_that_outlasts_the_grace_time_is_interrupted_and_its_sandbox_removed(on: On) {
    let mut process = Process::start(on, &["--shutdown-grace-seconds=1"]).await;
    let (_say, mut events) = process.run("for (;;) {}", "{}").await;
    process.terminate();
    let finished = finished(&mut events).await;
    assert_eq!(finished.outcome(), v1::Outcome::Interrupted);
    process.assert_exits_cleanly().await;
}

#[test]
fn a_setting_that_is_wrong_ends_the_start_by_its_name() {
    for (flags, name) in [
        (&[][..], "MCP_JOIN_TOKEN"),
        (&["--join-token-file=/does/not/exist"], "MCP_JOIN_TOKEN_FILE"),
        (&["--sandbox-cpu-limit=0"], "--sandbox-cpu-limit"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_dynamic-mcp-executor"))
            .args(flags)
            .env_remove("MCP_JOIN_TOKEN")
            .output()
            .unwrap();
        assert!(!out.status.success());
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(name), "{said}");
    }
}
