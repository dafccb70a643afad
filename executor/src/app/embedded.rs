//! An executor inside the control plane's process. It is served by the same gRPC service as any other, over a channel
//! that never leaves memory, so there is one way to run code.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context as _;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::NodeStatus;
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::policy::SandboxPolicy;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::build_node;
use crate::cli::EngineArgs;
use crate::grpc::Deadlines;
use crate::node::{CONNECTION_WINDOW, Node, STREAM_WINDOW};

/// Bytes between the two ends of a connection before a writer waits.
const PIPE_BYTES: usize = 1 << 20;
/// Connections that wait to be accepted; a channel makes one and replaces it when it breaks.
const PENDING_CONNECTIONS: usize = 4;

/// Cheap to clone; all clones are the same executor.
#[derive(Clone)]
pub struct EmbeddedExecutor {
    node: Arc<Node>,
    channel: Channel,
    join_token: JoinToken,
    /// Its own, because it must serve on while the control plane finishes its calls.
    lifecycle: Lifecycle,
    control_plane: Lifecycle,
}

/// Starts an executor in this process. It serves until [`EmbeddedExecutor::shutdown`], whatever the lifecycle says;
/// only the lifecycle's hard token ends its jobs early.
///
/// # Errors
/// When the settings contradict each other or the state directory can't be used. An engine that does not answer is no
/// error: the status says that the node is not ready.
pub async fn embedded(
    args: &EngineArgs,
    policy: &SandboxPolicy,
    lifecycle: &Lifecycle,
) -> anyhow::Result<EmbeddedExecutor> {
    let own = Lifecycle::new(lifecycle.grace());
    let node = build_node(args, policy, None, &own).await?;
    EmbeddedExecutor::over(Arc::new(node), own, lifecycle.clone())
}

impl EmbeddedExecutor {
    pub(crate) fn over(
        node: Arc<Node>,
        lifecycle: Lifecycle,
        control_plane: Lifecycle,
    ) -> anyhow::Result<Self> {
        let (dialled, accepted) = mpsc::channel(PENDING_CONNECTIONS);
        let join_token = JoinToken::random();
        node.serve(
            ReceiverStream::new(accepted).map(Ok::<_, io::Error>),
            &join_token,
            Deadlines::default(),
            &lifecycle,
        );
        Ok(Self {
            node,
            channel: dial(dialled)?,
            join_token,
            lifecycle,
            control_plane,
        })
    }

    /// Where its `Executor` service is; every request needs [`Self::join_token`].
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn join_token(&self) -> &JoinToken {
        &self.join_token
    }

    pub fn id(&self) -> &ExecutorId {
        &self.node.identity().id
    }

    pub fn epoch(&self) -> u64 {
        self.node.identity().epoch
    }

    /// A snapshot that costs nothing.
    pub fn status(&self) -> NodeStatus {
        self.node.status()
    }

    /// From now on it refuses jobs; what runs goes on.
    pub fn drain(&self) {
        self.node.drain();
    }

    /// Lets running jobs finish within the grace time, stops serving and removes every container. To be called when
    /// the control plane has finished its calls.
    pub async fn shutdown(&self) {
        self.lifecycle.begin_shutdown();
        let mut finishing = pin!(self.lifecycle.finish());
        let finished = tokio::select! {
            finished = &mut finishing => finished,
            () = self.control_plane.hard().cancelled() => {
                self.lifecycle.hard().cancel();
                finishing.await
            }
        };
        if !finished {
            tracing::warn!("some tasks of the embedded executor did not end in time");
        }
        self.node.shutdown_engine().await;
    }
}

/// A channel whose every connection is a new pair of pipes: a broken one is replaced like any other.
fn dial(dialled: mpsc::Sender<DuplexStream>) -> anyhow::Result<Channel> {
    let connector = service_fn(move |_address: http::Uri| {
        let dialled = dialled.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let gone = |_| io::Error::other("the embedded executor has stopped");
            dialled.send(theirs).await.map_err(gone)?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    let endpoint = Endpoint::from_shared("http://executor")
        .context("the embedded executor's name")?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    Ok(endpoint.connect_with_connector_lazy(connector))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use dynamic_mcp_proto::v1;
    use dynamic_mcp_proto::v1::executor_client::ExecutorClient;
    use tonic::Code;

    use super::*;
    use crate::engine::fake::FakeEngine;
    use crate::identity::Identity;

    #[tokio::test]
    async fn it_answers_over_memory_until_it_is_shut_down_and_then_removes_its_sandboxes() {
        let state = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::claim(state.path()).unwrap());
        let engine = FakeEngine::willing();
        let node = Node::new(identity, Arc::new(engine.clone()), 2, SandboxPolicy::default());
        let own = Lifecycle::new(Duration::from_secs(5));
        let control_plane = Lifecycle::new(Duration::from_secs(5));
        let executor = EmbeddedExecutor::over(Arc::new(node), own, control_plane.clone()).unwrap();
        let mut client = ExecutorClient::with_interceptor(executor.channel(), executor.join_token().attach());
        let request = v1::ResolveDependenciesRequest {
            tenant: "default".to_owned(),
            image: "node:lts-slim".to_owned(),
            dependencies: Vec::new(),
        };

        // The control plane's drain is not the executor's: calls that it still has must find it.
        control_plane.begin_shutdown();
        assert!(client.resolve_dependencies(request.clone()).await.is_ok());
        executor.shutdown().await;
        assert_eq!(engine.shut_down.load(Ordering::SeqCst), 1);
        let refused = client.resolve_dependencies(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
    }
}
