//! `dynamic-mcp-executor health`: whether the executor of this state directory can run anything. For a container's health
//! check, which can't ask over the network: an executor serves nobody but the control plane there. So a running one answers on
//! a socket in its own part of the state directory, to whoever may read that.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::lifecycle::Lifecycle;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::identity;
use crate::node::Node;

/// Shorter than what an image gives its health check.
const DEADLINE: Duration = Duration::from_secs(3);
/// After a failure to accept, as a lack of file descriptors is.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// More than any answer has.
const LONGEST_ANSWER: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error(
        "MCP_EXECUTOR_STATE_DIR: {} can't be read; health is to have the settings of the executor", .path.display()
    )]
    StateDir { path: PathBuf, source: io::Error },
    #[error("no executor of {} answers", .state_dir.display())]
    NoneAnswers { state_dir: PathBuf },
    #[error("not ready: {0}")]
    NotReady(String),
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    ready: bool,
    /// What it can't do, and why.
    troubles: Vec<String>,
}

/// Answers who asks until `stop`. A socket that can't be made is said in the log, and costs nothing else.
pub fn answer(node: Arc<Node>, lifecycle: &Lifecycle, stop: CancellationToken) {
    let path = socket(node.identity().dir());
    match listen(&path) {
        Ok(listener) => {
            lifecycle.spawn(async move {
                stop.run_until_cancelled(serve(listener, &node)).await;
            });
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "`dynamic-mcp-executor health` will find no answer");
        }
    }
}

/// Asks every executor that runs in the state directory, and says how they are.
///
/// # Errors
/// When none answers, or one of them can run nothing.
pub async fn check(state_dir: &Path) -> Result<String, HealthError> {
    let dirs = identity::dirs(state_dir).map_err(|source| HealthError::StateDir {
        path: state_dir.to_owned(),
        source,
    })?;
    let mut answers = Vec::new();
    for dir in dirs {
        // An executor that has ended leaves its socket behind.
        if let Ok(Ok(answer)) = timeout(DEADLINE, ask(&socket(dir))).await {
            answers.push(answer);
        }
    }
    if answers.is_empty() {
        return Err(HealthError::NoneAnswers {
            state_dir: state_dir.to_owned(),
        });
    }
    let ready = answers.iter().all(|answer| answer.ready);
    let troubles: Vec<String> = answers.into_iter().flat_map(|answer| answer.troubles).collect();
    match (ready, troubles.is_empty()) {
        (true, true) => Ok("ready".to_owned()),
        (true, false) => Ok(format!("ready, but for {}", troubles.join("; "))),
        (false, _) => Err(HealthError::NotReady(troubles.join("; "))),
    }
}

fn socket(dir: PathBuf) -> PathBuf {
    dir.join("health")
}

/// The lock of the directory is held, so that what is there is a predecessor's.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// One after the other: each is a line of text, and who does not take it is left after the deadline.
async fn serve(listener: UnixListener, node: &Node) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let text = serde_json::to_vec(&report(node)).unwrap_or_default();
                let _gone_already = timeout(DEADLINE, stream.write_all(&text)).await;
            }
            Err(error) => {
                tracing::warn!(%error, "a question for this executor's health was not heard");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn report(node: &Node) -> Answer {
    let status = node.status();
    let draining = status.draining.then(|| "draining".to_owned());
    Answer {
        ready: status.is_ready() && !status.draining,
        troubles: draining.into_iter().chain(status.troubles()).collect(),
    }
}

async fn ask(socket: &Path) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket).await?;
    let mut text = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::policy::SandboxPolicy;

    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::identity::Identity;

    /// An executor of its own state directory that answers until the token is cancelled.
    struct Scene {
        state: tempfile::TempDir,
        node: Arc<Node>,
        lifecycle: Lifecycle,
        stop: CancellationToken,
    }

    impl Scene {
        fn new(engine: FakeEngine) -> Self {
            let state = tempfile::tempdir().unwrap();
            let identity = Arc::new(Identity::claim(state.path()).unwrap());
            let node = Node::new(identity, Arc::new(engine), 2, SandboxPolicy::default());
            let scene = Self {
                state,
                node: Arc::new(node),
                lifecycle: Lifecycle::new(Duration::from_secs(5)),
                stop: CancellationToken::new(),
            };
            answer(Arc::clone(&scene.node), &scene.lifecycle, scene.stop.clone());
            scene
        }

        async fn check(&self) -> Result<String, HealthError> {
            check(self.state.path()).await
        }
    }

    #[tokio::test]
    async fn an_executor_that_can_run_something_is_healthy() {
        assert_eq!(Scene::new(FakeEngine::willing()).check().await.unwrap(), "ready");
    }

    #[tokio::test]
    async fn one_that_drains_is_not() {
        let scene = Scene::new(FakeEngine::willing());
        scene.node.capacity().drain();
        let error = scene.check().await.unwrap_err();
        assert_eq!(error.to_string(), "not ready: draining");
    }

    #[tokio::test]
    async fn one_that_has_ended_leaves_nothing_that_answers_and_its_successor_does() {
        let scene = Scene::new(FakeEngine::willing());
        scene.stop.cancel();
        scene.lifecycle.begin_shutdown();
        assert!(scene.lifecycle.finish().await);
        let error = scene.check().await.unwrap_err();
        assert!(matches!(error, HealthError::NoneAnswers { .. }), "{error}");
        answer(
            Arc::clone(&scene.node),
            &Lifecycle::new(Duration::ZERO),
            CancellationToken::new(),
        );
        assert_eq!(scene.check().await.unwrap(), "ready");
    }

    #[tokio::test]
    async fn a_state_directory_that_is_not_there_is_named() {
        let error = check(Path::new("/does/not/exist")).await.unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }
}
