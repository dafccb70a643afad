//! The `Sandboxes` service: the life of sandbox sessions, their files, and what runs in their background.

mod transfer;

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::sandboxes_server::{Sandboxes as Service, SandboxesServer};
use dynamic_mcp_shared::ids::CommandId;
use dynamic_mcp_shared::join_token::{JoinToken, RequireToken};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{ByteSize, MAX_WIRE_MESSAGE_BYTES, TimeoutMs};
use dynamic_mcp_shared::policy::SandboxPolicy;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::sandbox::{CommandState, CommandStatus, Lost, OpenSession, Owned, Sandboxes, Session};
use transfer::{MAX_PATHS, read_files, write_files};

/// Chunks that wait for a caller that reads slowly.
const CHUNKS: usize = 4;
/// For a listing or the end of a command: beyond what the session's agent is given.
const ANSWER: Duration = Duration::from_secs(30);
/// For all files of one call.
const TRANSFER: Duration = Duration::from_secs(300);

#[derive(Clone)]
pub struct SandboxesService {
    sandboxes: Sandboxes,
    policy: Arc<SandboxPolicy>,
    lifecycle: Lifecycle,
}

impl SandboxesService {
    pub fn new(sandboxes: Sandboxes, policy: SandboxPolicy, lifecycle: Lifecycle) -> Self {
        Self {
            sandboxes,
            policy: Arc::new(policy),
            lifecycle,
        }
    }

    /// The service behind the join token and the wire's message size.
    pub fn into_server(self, token: &JoinToken) -> InterceptedService<SandboxesServer<Self>, RequireToken> {
        let server = SandboxesServer::new(self)
            .max_decoding_message_size(MAX_WIRE_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_WIRE_MESSAGE_BYTES);
        InterceptedService::new(server, token.require())
    }

    fn find(&self, sandbox: Option<v1::SandboxRef>) -> Result<Arc<Session>, Status> {
        let whose = owned(sandbox)?;
        self.sandboxes.find(&whose).ok_or_else(no_such_session)
    }

    fn wanted(&self, request: v1::OpenSandboxRequest) -> Result<OpenSession, Status> {
        let malformed =
            |field: &str, problem: String| Status::invalid_argument(format!("{field}: {problem}"));
        self.policy
            .check_image(&request.image)
            .map_err(|error| malformed("image", error.to_string()))?;
        let timeout = TimeoutMs::new(request.timeout_ms.into())
            .map_err(|error| malformed("timeout_ms", error.to_string()))?;
        for (field, seconds) in [
            ("idle_seconds", request.idle_seconds),
            ("max_seconds", request.max_seconds),
        ] {
            if seconds == 0 {
                return Err(malformed(field, "must be at least 1".to_owned()));
            }
        }
        Ok(OpenSession {
            id: request
                .session_id
                .parse()
                .map_err(|error: dynamic_mcp_shared::ids::InvalidId| {
                    malformed("session_id", error.to_string())
                })?,
            tenant: request
                .tenant
                .parse()
                .map_err(|error: dynamic_mcp_shared::ids::InvalidId| {
                    malformed("tenant", error.to_string())
                })?,
            owner: request.owner,
            image: request.image,
            timeout,
            idle: Duration::from_secs(request.idle_seconds.into()),
            lives: Duration::from_secs(request.max_seconds.into()),
            memory: (request.max_memory_bytes > 0).then_some(ByteSize(request.max_memory_bytes)),
        })
    }
}

#[tonic::async_trait]
impl Service for SandboxesService {
    type ReadFilesStream = ReceiverStream<Result<v1::ReadFilesResponse, Status>>;

    async fn open_sandbox(
        &self,
        request: Request<v1::OpenSandboxRequest>,
    ) -> Result<Response<v1::OpenSandboxResponse>, Status> {
        use v1::open_sandbox_response::Result as Answer;

        let wanted = self.wanted(request.into_inner())?;
        let opened = tokio::select! {
            opened = self.sandboxes.open(wanted) => opened,
            () = self.lifecycle.hard().cancelled() => return Err(shutting_down()),
        };
        let answer = match opened {
            Ok(session) => Answer::Opened(v1::OpenedSandbox {
                epoch: self.sandboxes.epoch(),
                created_ms: session.created_ms,
            }),
            Err(rejection) => {
                tracing::debug!(reason = rejection.reason.as_str(), message = %rejection.message, "no sandbox session was opened");
                Answer::Rejected(rejection.into())
            }
        };
        Ok(Response::new(v1::OpenSandboxResponse { result: Some(answer) }))
    }

    async fn stop_sandbox(
        &self,
        request: Request<v1::StopSandboxRequest>,
    ) -> Result<Response<v1::StopSandboxResponse>, Status> {
        let stopped = match owned(request.into_inner().sandbox) {
            Ok(whose) => timeout(ANSWER, self.sandboxes.stop(&whose))
                .await
                .map_err(|_| too_late())?,
            Err(status) if status.code() == Code::NotFound => false,
            Err(status) => return Err(status),
        };
        Ok(Response::new(v1::StopSandboxResponse { stopped }))
    }

    async fn write_files(
        &self,
        request: Request<Streaming<v1::WriteFilesRequest>>,
    ) -> Result<Response<v1::WriteFilesResponse>, Status> {
        let mut messages = request.into_inner();
        let first = timeout(ANSWER, messages.message())
            .await
            .map_err(|_| too_late())??;
        let Some(v1::write_files_request::Message::Sandbox(sandbox)) = first.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("the first message must be sandbox"));
        };
        let session = self.find(Some(sandbox))?;
        let writing = write_files(&session, self.sandboxes.limits(), messages);
        let answer = tokio::select! {
            answer = timeout(TRANSFER, writing) => answer.map_err(|_| too_late())??,
            () = self.lifecycle.hard().cancelled() => return Err(shutting_down()),
        };
        Ok(Response::new(answer))
    }

    async fn read_files(
        &self,
        request: Request<v1::ReadFilesRequest>,
    ) -> Result<Response<Self::ReadFilesStream>, Status> {
        let request = request.into_inner();
        let session = self.find(request.sandbox)?;
        if request.paths.len() > MAX_PATHS {
            return Err(Status::invalid_argument(format!(
                "{} paths; at most {MAX_PATHS} are allowed at once",
                request.paths.len()
            )));
        }
        let limits = self.sandboxes.limits();
        let max_file = limits.max_file.0.min(request.max_file_bytes);
        let max_total = limits.max_transfer.0.min(request.max_total_bytes);
        let (chunks, stream) = mpsc::channel(CHUNKS);
        let hard = self.lifecycle.hard().clone();
        self.lifecycle.spawn(async move {
            let reading = read_files(&session, &request.paths, max_file, max_total, &chunks);
            let failed = tokio::select! {
                read = timeout(TRANSFER, reading) => match read {
                    Ok(Ok(())) => return,
                    Ok(Err(status)) => status,
                    Err(_) => too_late(),
                },
                () = chunks.closed() => return,
                () = hard.cancelled() => shutting_down(),
            };
            let _gone = chunks.try_send(Err(failed));
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Result<Response<v1::ListFilesResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(request.sandbox)?;
        let listing = async {
            let transfer = match request.peek {
                true => session.peek().await?,
                false => session.transfer().await?,
            };
            transfer
                .list(&request.path, request.recursive, request.max_entries)
                .await
        };
        let listed = timeout(ANSWER, listing)
            .await
            .map_err(|_| too_late())?
            .map_err(lost)?;
        Ok(Response::new(match listed {
            Ok(listing) => v1::ListFilesResponse {
                entries: listing.entries.into_iter().map(transfer::entry).collect(),
                truncated: listing.truncated,
                problem: None,
            },
            Err(problem) => v1::ListFilesResponse {
                problem: Some(transfer::problem(problem)),
                ..v1::ListFilesResponse::default()
            },
        }))
    }

    async fn get_command(
        &self,
        request: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::GetCommandResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(request.sandbox)?;
        let status = session.command(&command_id(&request.command_id)?).map(status);
        Ok(Response::new(v1::GetCommandResponse { status }))
    }

    async fn kill_command(
        &self,
        request: Request<v1::KillCommandRequest>,
    ) -> Result<Response<v1::KillCommandResponse>, Status> {
        let request = request.into_inner();
        let session = self.find(request.sandbox)?;
        let id = command_id(&request.command_id)?;
        let killed = timeout(ANSWER, session.kill_command(&id))
            .await
            .map_err(|_| too_late())?;
        let status = killed.map_err(lost)?.map(status);
        Ok(Response::new(v1::KillCommandResponse { status }))
    }
}

fn owned(sandbox: Option<v1::SandboxRef>) -> Result<Owned, Status> {
    let sandbox = sandbox.ok_or_else(|| Status::invalid_argument("sandbox: is missing"))?;
    // What is no id is the id of no session.
    let (Ok(id), Ok(tenant)) = (sandbox.session_id.parse(), sandbox.tenant.parse()) else {
        return Err(no_such_session());
    };
    Ok(Owned {
        id,
        epoch: sandbox.epoch,
        tenant,
        owner: sandbox.owner,
    })
}

fn command_id(text: &str) -> Result<CommandId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("command_id: {error}")))
}

fn status(status: CommandStatus) -> v1::CommandStatus {
    let state = match status.state {
        CommandState::Running => v1::CommandState::Running,
        CommandState::Exited => v1::CommandState::Exited,
        CommandState::Killed => v1::CommandState::Killed,
        CommandState::TimedOut => v1::CommandState::TimedOut,
    };
    v1::CommandStatus {
        command_id: status.id.into(),
        state: state.into(),
        commands_json: status.commands.into(),
        started_ms: status.started.timestamp_millis(),
        ended_ms: status.ended.map_or(0, |ended| ended.timestamp_millis()),
    }
}

/// Whatever is wrong with the reference: nobody learns of sessions that are not theirs.
fn no_such_session() -> Status {
    Status::not_found("there is no such sandbox session")
}

fn lost(lost: Lost) -> Status {
    Status::not_found(lost.to_string())
}

fn too_late() -> Status {
    Status::deadline_exceeded("the sandbox session did not do it in time")
}

fn shutting_down() -> Status {
    Status::unavailable("this executor is shutting down")
}
