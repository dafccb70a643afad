//! The `Fleet` service: executors join here. It translates; [`crate::scheduler::fleet`] keeps the books.

mod admission;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1::fleet_server::{Fleet as FleetRpc, FleetServer};
use dynamic_mcp_proto::v1::join_request::Message as Incoming;
use dynamic_mcp_proto::v1::join_response::Message as Outgoing;
use dynamic_mcp_proto::v1::{JoinRequest, JoinResponse, Register, Registered};
use dynamic_mcp_shared::job::NodeStatus;
use dynamic_mcp_shared::join_token::RequireToken;
use dynamic_mcp_shared::tls::{self, Certificate, OnlyFrom, Peer, Role};
use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::InterceptorLayer;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

pub use self::admission::Admission;
use self::admission::NotAdmitted;
use crate::scheduler::fleet::{
    Fleet, HEARTBEAT_INTERVAL, Membership, NodeInfo, STALE_AFTER, StatusSource, Ways,
};

const REGISTER_DEADLINE: Duration = Duration::from_secs(10);
/// A cut network is noticed after two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Serves until it is stopped. That is not the lifecycle's matter: jobs that end within the grace time of a shutdown may
/// still need executors, and nobody should wait for the service itself.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    fleet: Arc<Fleet>,
    admission: Arc<Admission>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let members = TaskTracker::new();
    let token = admission.join_token.require();
    let incoming = tls::incoming(listener, admission.trust.clone());
    let service = FleetService {
        fleet,
        admission,
        members: members.clone(),
        stop: stop.clone(),
    };
    let service: InterceptedService<_, RequireToken> = FleetServer::with_interceptor(service, token);
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .layer(InterceptorLayer::new(OnlyFrom(Role::Executor)))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await;
    members.close();
    members.wait().await;
    served
}

struct FleetService {
    fleet: Arc<Fleet>,
    admission: Arc<Admission>,
    members: TaskTracker,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl FleetRpc for FleetService {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<JoinResponse, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let certificate = Peer::certificate(&request);
        let mut incoming = request.into_inner();
        let register = match tokio::time::timeout(REGISTER_DEADLINE, incoming.message()).await {
            Ok(Ok(Some(JoinRequest {
                message: Some(Incoming::Register(register)),
            }))) => register,
            Ok(Ok(_)) => return Err(Status::invalid_argument("the first message must be `register`")),
            Ok(Err(status)) => return Err(status),
            Err(_) => return Err(Status::deadline_exceeded("no `register` came")),
        };
        let (info, status, ways) = self.admit(register, certificate.as_deref())?;
        let id = info.id.clone();
        let runtimes: Vec<_> = status
            .runtimes
            .iter()
            .map(|offered| offered.runtime.as_str())
            .collect();
        tracing::info!(executor.id = %id, executor.epoch = info.epoch, executor.runtimes = runtimes.join(","), "an executor joined");
        let member = self
            .fleet
            .join(info, ways, StatusSource::Reported(status))
            .map_err(|error| Status::failed_precondition(error.to_string()))?;

        let (outgoing, responses) = mpsc::channel(4);
        let interval = u32::try_from(HEARTBEAT_INTERVAL.as_millis()).unwrap_or(u32::MAX);
        let registered = Outgoing::Registered(Registered {
            heartbeat_interval_ms: interval,
        });
        let _gone = outgoing
            .send(Ok(JoinResponse {
                message: Some(registered),
            }))
            .await;
        let stop = self.stop.clone();
        let stay = async move {
            let ended = tokio::select! {
                ended = listen(&mut incoming, &member) => ended,
                () = outgoing.closed() => Ended::Lost("it closed the stream".to_owned()),
                () = member.superseded().cancelled() => {
                    Ended::Here("another stream of it has taken the place of this one")
                }
                () = stop.cancelled() => Ended::Here("this control plane stops"),
            };
            match ended {
                Ended::Left => {
                    tracing::info!(executor.id = %id, "an executor left");
                    member.lost();
                }
                Ended::Lost(reason) => {
                    tracing::info!(executor.id = %id, reason, "an executor is no longer joined");
                    member.lost();
                }
                Ended::Here(reason) => {
                    tracing::info!(executor.id = %id, reason, "the stream of an executor ended here");
                }
            }
        };
        self.members.spawn(stay.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

impl FleetService {
    fn admit(
        &self,
        register: Register,
        certificate: Option<&Certificate>,
    ) -> Result<(NodeInfo, NodeStatus, Ways), Status> {
        let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let status = register
            .status
            .ok_or_else(|| Status::invalid_argument("`status` is missing"))?;
        let status = NodeStatus::try_from(status).map_err(|error| invalid(&error))?;
        let id = register.executor_id.parse().map_err(|error| invalid(&error))?;
        let refused = |error: NotAdmitted| {
            tracing::warn!(executor.id = %id, address = register.address, why = %error, "an executor was refused");
            Status::from(error)
        };
        let address = self
            .admission
            .check(&id, &register.address, certificate)
            .map_err(refused)?;
        let ways = self
            .admission
            .ways(&id, &address)
            .map_err(|error| invalid(&error))?;
        let info = NodeInfo {
            id,
            epoch: register.epoch,
            version: register.version,
            address: register.address,
        };
        Ok((info, status, ways))
    }
}

/// How a stream ended.
enum Ended {
    /// The executor said goodbye.
    Left,
    /// It may be there still, but is not heard.
    Lost(String),
    /// By this replica, which says nothing about the executor.
    Here(&'static str),
}

/// Reads heartbeats until there are no more.
async fn listen(incoming: &mut Streaming<JoinRequest>, member: &Membership) -> Ended {
    let lost = |why: &str| Ended::Lost(why.to_owned());
    loop {
        match tokio::time::timeout(STALE_AFTER * 3, incoming.message()).await {
            Ok(Ok(Some(JoinRequest {
                message: Some(Incoming::Heartbeat(heartbeat)),
            }))) => match heartbeat.status.map(NodeStatus::try_from) {
                Some(Ok(status)) => member.heard(status),
                Some(Err(error)) => return Ended::Lost(error.to_string()),
                None => return lost("a heartbeat without a status"),
            },
            Ok(Ok(Some(_))) => return lost("a message out of turn"),
            Ok(Ok(None)) => return Ended::Left,
            Ok(Err(status)) => return Ended::Lost(format!("the stream broke: {}", status.message())),
            Err(_) => return lost("its heartbeats ceased"),
        }
    }
}
