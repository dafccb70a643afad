//! An Engine that hangs or goes away, made so by a proxy in front of the real one, and the runtimes beside runc.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_executor::docker::config::DockerConfig;
use dynamic_mcp_executor::identity::Identity;
use dynamic_mcp_shared::job::RejectReason;
use dynamic_mcp_shared::outcome::Outcome;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::rig::{DockerRig, small};
use crate::rig::{eventually, failure, job, kept, result, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Nothing passes, and nobody is told.
    Frozen,
    /// Every connection breaks, and new ones do at once.
    Cut,
}

struct Proxy {
    socket: PathBuf,
    line: watch::Sender<Line>,
    _work: JoinSet<()>,
}

impl Proxy {
    fn start(dir: &Path) -> Self {
        let socket = dir.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (line, watched) = watch::channel(Line::Open);
        let mut work = JoinSet::new();
        work.spawn(accept(listener, watched));
        Self {
            socket,
            line,
            _work: work,
        }
    }

    fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn accept(listener: UnixListener, line: watch::Receiver<Line>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let line = line.clone();
        connections.spawn(async move {
            let Ok(engine) = UnixStream::connect("/var/run/docker.sock").await else {
                return;
            };
            let ((from_client, to_client), (from_engine, to_engine)) =
                (client.into_split(), engine.into_split());
            let both = async {
                tokio::join!(
                    pass(from_client, to_engine, line.clone()),
                    pass(from_engine, to_client, line.clone())
                )
            };
            let mut cut = line.clone();
            tokio::select! {
                _ = both => {}
                _ = cut.wait_for(|line| *line == Line::Cut) => {}
            }
        });
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        if line.wait_for(|line| *line == Line::Open).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

struct Scene {
    _dir: tempfile::TempDir,
    proxy: Proxy,
    rig: DockerRig,
}

async fn behind_a_proxy() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(dir.path());
    let config = DockerConfig {
        host: Some(proxy.socket.to_str().unwrap().to_owned()),
        ..small()
    };
    let rig = DockerRig::over(config, Identity::claim(dir.path()).unwrap());
    rig.until_ready().await;
    Scene {
        _dir: dir,
        proxy,
        rig,
    }
}

async fn ends_interrupted_and_recovers(line: Line, within: Duration) {
    let Scene { proxy, rig, _dir } = behind_a_proxy().await;
    let prepared = rig
        .prepare(job("await new Promise((r) => setTimeout(r, 18_000))"))
        .await;
    let fault = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.set(line);
    };
    let began = Instant::now();
    let (finished, ()) = tokio::join!(run(prepared, json!({})), fault);
    failure(&finished, Outcome::Interrupted);
    assert!(began.elapsed() < within, "{:?}", began.elapsed());
    eventually("the status says so", async || {
        !rig.engine.status().runtimes[0].is_available()
    })
    .await;
    let refused = timeout(Duration::from_secs(1), rig.engine.prepare(job("return 1")))
        .await
        .unwrap();
    assert_eq!(refused.err().unwrap().reason, RejectReason::Engine);

    proxy.set(Line::Open);
    rig.until_ready().await;
    assert_eq!(result(&rig.call("return 1").await), 1);
    eventually("no container slipped away", async || {
        rig.sandboxes().await.len() <= 2
    })
    .await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_goes_away_interrupts_and_comes_back() {
    ends_interrupted_and_recovers(Line::Cut, Duration::from_secs(6)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_interrupts_and_comes_back() {
    ends_interrupted_and_recovers(Line::Frozen, Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_sandbox_of_an_engine_that_hangs() {
    let Scene { proxy, rig, _dir } = behind_a_proxy().await;
    proxy.set(Line::Frozen);
    let engine = Arc::clone(&rig.engine);
    // More than there are, so that some wait for one to be made.
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        let engine = Arc::clone(&engine);
        waiting.spawn(async move { engine.prepare(job("return 1")).await });
    }
    let answers = timeout(Duration::from_secs(20), waiting.join_all())
        .await
        .unwrap();
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(refused.clone().count() >= 1);
    assert!(
        refused
            .clone()
            .all(|rejection| rejection.reason == RejectReason::Engine)
    );
    drop(answers);
    proxy.set(Line::Open);
    rig.until_ready().await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_runtime_of_the_engine_runs_tools() {
    let listed = Command::new("docker")
        .args([
            "info",
            "--format",
            "{{range $name, $_ := .Runtimes}}{{$name}} {{end}}",
        ])
        .output()
        .unwrap()
        .stdout;
    let listed = String::from_utf8(listed).unwrap();
    for runtime in ["runc", "crun", "runsc"] {
        if !listed.split_whitespace().any(|name| name == runtime) {
            continue;
        }
        let rig = DockerRig::with(DockerConfig {
            runtime: Some(runtime.to_owned()),
            ..small()
        })
        .await;
        assert_eq!(rig.engine.status().runtimes[0].sandbox, runtime);
        let code =
            "globalThis.n = (globalThis.n ?? 0) + 1; console.error('e'); return [args.a, globalThis.n]";
        for n in 1..=2 {
            let finished = rig.run(kept("runtime", code), json!({"a": 5})).await;
            assert_eq!(result(&finished), json!([5, n]), "{runtime}");
            assert_eq!(finished.stderr.to_text(), "e\n", "{runtime}");
        }
        failure(&rig.call("process.exit(3)").await, Outcome::Threw);
        rig.finish().await;
    }
}
