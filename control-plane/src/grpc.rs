//! The `Fleet` service: executors join here. It translates; [`crate::scheduler::fleet`] keeps the books.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1::fleet_server::{Fleet as FleetRpc, FleetServer};
use dynamic_mcp_proto::v1::join_request::Message as Incoming;
use dynamic_mcp_proto::v1::join_response::Message as Outgoing;
use dynamic_mcp_proto::v1::{JoinRequest, JoinResponse, Register, Registered};
use dynamic_mcp_shared::job::NodeStatus;
use dynamic_mcp_shared::join_token::{JoinToken, RequireToken};
use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::scheduler::fleet::{Fleet, HEARTBEAT_INTERVAL, Membership, NodeInfo, STALE_AFTER, StatusSource};

const REGISTER_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
/// A cut network is noticed after two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// HTTP/2's default window is 64 KiB: one large result would stall every call beside it.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Serves until it is stopped. That is not the lifecycle's matter: jobs that end within the grace time of a shutdown may
/// still need executors, and nobody should wait for the service itself.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    fleet: Arc<Fleet>,
    token: JoinToken,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let members = TaskTracker::new();
    let service = FleetService {
        fleet,
        token: token.clone(),
        members: members.clone(),
        stop: stop.clone(),
    };
    let service: InterceptedService<_, RequireToken> =
        FleetServer::with_interceptor(service, token.require());
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .tcp_nodelay(true)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await;
    members.close();
    members.wait().await;
    served
}

struct FleetService {
    fleet: Arc<Fleet>,
    token: JoinToken,
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
        let mut incoming = request.into_inner();
        let register = match tokio::time::timeout(REGISTER_DEADLINE, incoming.message()).await {
            Ok(Ok(Some(JoinRequest {
                message: Some(Incoming::Register(register)),
            }))) => register,
            Ok(Ok(_)) => return Err(Status::invalid_argument("the first message must be `register`")),
            Ok(Err(status)) => return Err(status),
            Err(_) => return Err(Status::deadline_exceeded("no `register` came")),
        };
        let (info, status, channel) = self.admit(register)?;
        let id = info.id.clone();
        let runtimes: Vec<_> = status
            .runtimes
            .iter()
            .map(|offered| offered.runtime.as_str())
            .collect();
        tracing::info!(executor.id = %id, executor.epoch = info.epoch, executor.runtimes = runtimes.join(","), "an executor joined");
        let member = self
            .fleet
            .join(info, channel, StatusSource::Reported(status))
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
            let why = tokio::select! {
                why = listen(&mut incoming, &member) => why,
                () = outgoing.closed() => "it closed the stream".to_owned(),
                () = stop.cancelled() => "this control plane stops".to_owned(),
            };
            tracing::info!(executor.id = %id, reason = why, "an executor left");
            drop(member);
        };
        self.members.spawn(stay.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

impl FleetService {
    fn admit(
        &self,
        register: Register,
    ) -> Result<(NodeInfo, NodeStatus, crate::scheduler::fleet::ExecutorChannel), Status> {
        let invalid = |error: &dyn std::fmt::Display| Status::invalid_argument(error.to_string());
        let status = register
            .status
            .ok_or_else(|| Status::invalid_argument("`status` is missing"))?;
        let status = NodeStatus::try_from(status).map_err(|error| invalid(&error))?;
        let id = register.executor_id.parse().map_err(|error| invalid(&error))?;
        let channel = channel_to(&register.address)
            .map_err(|error| Status::invalid_argument(format!("address {:?}: {error}", register.address)))?;
        let info = NodeInfo {
            id,
            epoch: register.epoch,
            version: register.version,
        };
        Ok((
            info,
            status,
            InterceptedService::new(channel, self.token.attach()),
        ))
    }
}

/// Reads heartbeats until there are no more; answers why.
async fn listen(incoming: &mut Streaming<JoinRequest>, member: &Membership) -> String {
    loop {
        match tokio::time::timeout(STALE_AFTER * 3, incoming.message()).await {
            Ok(Ok(Some(JoinRequest {
                message: Some(Incoming::Heartbeat(heartbeat)),
            }))) => match heartbeat.status.map(NodeStatus::try_from) {
                Some(Ok(status)) => member.heard(status),
                Some(Err(error)) => return error.to_string(),
                None => return "a heartbeat without a status".to_owned(),
            },
            Ok(Ok(Some(_))) => return "a message out of turn".to_owned(),
            Ok(Ok(None)) => return "it left".to_owned(),
            Ok(Err(status)) => return format!("the stream broke: {}", status.message()),
            Err(_) => return "its heartbeats ceased".to_owned(),
        }
    }
}

fn channel_to(address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}
