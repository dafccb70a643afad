//! Replicas, each with a fleet of its own, and executors that join one of them.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_control_plane::grpc::Admission;
use dynamic_mcp_control_plane::redis::{Redis, RedisConfig};
use dynamic_mcp_control_plane::roster::Roster;
use dynamic_mcp_control_plane::scheduler::fleet::{
    Fleet, Membership, NodeInfo, NodeView, OutOfDate, StatusSource,
};
use dynamic_mcp_shared::ids::{ExecutorId, ReplicaId};
use dynamic_mcp_shared::job::{NodeStatus, Runtime, RuntimeStatus};
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Endpoint;

/// Generous: it says that something comes at all.
pub const SOON: Duration = Duration::from_secs(15);
pub const HERE: &str = "http://127.0.0.1:9";

pub struct Replica {
    pub id: ReplicaId,
    pub fleet: Arc<Fleet>,
    pub redis: Redis,
    _stop: DropGuard,
    _roster: JoinSet<()>,
}

impl Replica {
    pub async fn start(url: &str) -> Self {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let config = RedisConfig {
            url: url.into(),
            is_cluster: false,
            ca_file: None,
            prefix: "test".to_owned(),
        };
        let redis = Redis::start(&config, Readiness::default()).await.unwrap();
        let admission = Arc::new(Admission {
            join_token: JoinToken::random(),
            trust: None,
            insecure: false,
        });
        let (id, fleet) = (ReplicaId::generate(), Arc::new(Fleet::default()));
        let roster = Roster::open(fleet.clone(), redis.clone(), admission, id.clone()).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(roster.keep());
        Self {
            id,
            fleet,
            redis,
            _stop: lifecycle.soft().clone().drop_guard(),
            _roster: tasks,
        }
    }

    pub fn join(&self, id: &ExecutorId, epoch: u64) -> Result<Membership, OutOfDate> {
        self.join_at(id, epoch, HERE)
    }

    pub fn join_at(&self, id: &ExecutorId, epoch: u64, address: &str) -> Result<Membership, OutOfDate> {
        let channel = Endpoint::from_static(HERE).connect_lazy();
        let channel = InterceptedService::new(channel, JoinToken::random().attach());
        let info = NodeInfo {
            id: id.clone(),
            epoch,
            version: "1".to_owned(),
            address: address.to_owned(),
        };
        self.fleet.join(info, channel, StatusSource::Reported(status(4)))
    }

    /// As this replica sees it.
    pub fn node(&self, id: &ExecutorId) -> Option<NodeView> {
        let mut nodes = self.fleet.nodes().into_iter();
        nodes.find(|node| node.info.id == *id)
    }

    /// Waits until this replica sees it so; a node that is not there is `None`.
    pub async fn sees(&self, id: &ExecutorId, what: &str, is_so: impl Fn(Option<&NodeView>) -> bool) {
        let seen = async {
            while !is_so(self.node(id).as_ref()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(SOON, seen).await;
        assert!(seen.is_ok(), "never {what}: {:?}", self.node(id));
    }
}

pub fn status(slots: u32) -> NodeStatus {
    NodeStatus {
        slots,
        runtimes: vec![RuntimeStatus {
            runtime: Runtime::Isolate,
            unavailable: None,
            sandbox: "namespaces".to_owned(),
        }],
        ..NodeStatus::default()
    }
}

/// Says how it is, as often as an executor does, until it is dropped.
pub fn heartbeats(member: Membership) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            member.heard(status(4));
        }
    });
    tasks
}
