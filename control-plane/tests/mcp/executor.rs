//! An executor without an engine: a tool's code is the name of what it does.

use std::pin::Pin;
use std::sync::Arc;

use dynamic_mcp_control_plane::scheduler::fleet::{Fleet, Membership, NodeInfo, StatusSource};
use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Request;
use dynamic_mcp_proto::v1::executor_server::{Executor, ExecutorServer};
use dynamic_mcp_proto::v1::sandboxes_server::SandboxesServer;
use dynamic_mcp_shared::ids::ExecutorId;
use dynamic_mcp_shared::job::{ImageStatus, NodeStatus, Runtime, RuntimeStatus};
use dynamic_mcp_shared::join_token::JoinToken;
use dynamic_mcp_shared::wire::execute_event;
use futures::Stream;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Endpoint, Server};
use tonic::{Response, Status, Streaming};

use crate::sandboxes::{EPOCH, Held};

const IMAGE: &str = "node:lts-slim";

pub struct Joined {
    pub sandboxes: Held,
    _membership: Membership,
    _server: AbortOnDropHandle<()>,
}

/// Offers these runtimes, all of them available.
pub fn join(fleet: &Arc<Fleet>, runtimes: &[Runtime]) -> Joined {
    let sandboxes = Held::default();
    let (dialled, accepted) = mpsc::channel::<tokio::io::DuplexStream>(4);
    let incoming = tokio_stream::StreamExt::map(ReceiverStream::new(accepted), Ok::<_, std::io::Error>);
    let serve = Server::builder()
        .add_service(ExecutorServer::new(Scripted(sandboxes.clone())))
        .add_service(SandboxesServer::new(sandboxes.clone()))
        .serve_with_incoming(incoming);
    #[expect(clippy::disallowed_methods, reason = "aborted with the test")]
    let server = AbortOnDropHandle::new(tokio::spawn(
        async move { serve.await.expect("the executor serves") },
    ));
    let connector = tower::service_fn(move |_: http::Uri| {
        let dialled = dialled.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            dialled.send(theirs).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(ours))
        }
    });
    let channel = Endpoint::from_static("http://executor").connect_with_connector_lazy(connector);
    let channel = InterceptedService::new(channel, JoinToken::random().attach());
    let info = NodeInfo {
        id: ExecutorId::generate(),
        epoch: EPOCH,
        version: String::new(),
        address: String::new(),
    };
    let runtimes: Vec<_> = runtimes
        .iter()
        .map(|&runtime| RuntimeStatus {
            runtime,
            unavailable: None,
            sandbox: "test".to_owned(),
        })
        .collect();
    let held = sandboxes.clone();
    let status = move || NodeStatus {
        slots: 64,
        sandbox_slots: 64,
        sandboxes: held.announced(),
        runtimes: runtimes.clone(),
        images: vec![ImageStatus {
            name: IMAGE.into(),
            present: true,
            warm: 1,
        }],
        ..NodeStatus::default()
    };
    let membership = fleet
        .join(info, channel, StatusSource::Local(Box::new(status)))
        .expect("it joins");
    Joined {
        sandboxes,
        _membership: membership,
        _server: server,
    }
}

#[derive(Clone)]
struct Scripted(Held);

type Events = mpsc::Sender<Result<v1::ExecuteEvent, Status>>;

#[tonic::async_trait]
impl Executor for Scripted {
    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<v1::ExecuteEvent, Status>> + Send>>;

    async fn execute(
        &self,
        request: tonic::Request<Streaming<v1::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let (events, stream) = mpsc::channel(4);
        let held = self.0.clone();
        #[expect(clippy::disallowed_methods, reason = "ends with its stream")]
        tokio::spawn(async move {
            if let Err(status) = play(request.into_inner(), &events, &held).await {
                let _gone = events.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn drain(
        &self,
        _: tonic::Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        Ok(Response::new(v1::DrainResponse::default()))
    }

    async fn resolve_dependencies(
        &self,
        request: tonic::Request<v1::ResolveDependenciesRequest>,
    ) -> Result<Response<v1::ResolveDependenciesResponse>, Status> {
        if request
            .into_inner()
            .dependencies
            .iter()
            .any(|one| one.name == "endless")
        {
            std::future::pending::<()>().await;
        }
        let refused = v1::resolve_dependencies_response::Result::Refused("no such package".to_owned());
        Ok(Response::new(v1::ResolveDependenciesResponse {
            result: Some(refused),
        }))
    }
}

async fn play(
    mut requests: Streaming<v1::ExecuteRequest>,
    events: &Events,
    held: &Held,
) -> Result<(), Status> {
    let prepare = requests.message().await?.and_then(|request| request.message);
    let Some(Request::Prepare(prepare)) = prepare else {
        return Ok(());
    };
    if let Some(session) = &prepare.session
        && !held.has(&session.session_id, session.epoch)
    {
        let rejected = v1::Rejected {
            reason: v1::RejectReason::SessionLost.into(),
            message: "it is not here".to_owned(),
        };
        return say(events, Event::Rejected(rejected)).await;
    }
    let placement = v1::Placement::Warm.into();
    say(events, Event::Ready(v1::Ready { placement })).await?;
    let start = requests.message().await?.and_then(|request| request.message);
    let Some(Request::Start(start)) = start else {
        return Ok(());
    };
    if let Some(v1::SessionWork {
        session_id,
        work: Some(v1::session_work::Work::Commands(work)),
        ..
    }) = prepare.session
    {
        let finished = commands(&mut requests, events, held, &session_id, work).await?;
        return say(events, Event::Finished(finished)).await;
    }
    let finished = match std::str::from_utf8(&prepare.code).unwrap_or_default() {
        "echo" => ok(start.args_json),
        "print" => v1::Finished {
            stdout: Some(output("to stdout")),
            stderr: Some(output("to stderr")),
            ..ok("null".into())
        },
        "throw" => v1::Finished {
            outcome: v1::Outcome::Threw.into(),
            error: Some(v1::ToolError {
                name: "TypeError".into(),
                message: "no".into(),
                stack: String::new(),
            }),
            ..v1::Finished::default()
        },
        "progress" => progress(events, 3).await?,
        "flood" => progress(events, 500).await?,
        "hang" => {
            requests.message().await?;
            v1::Finished {
                outcome: v1::Outcome::Cancelled.into(),
                ..v1::Finished::default()
            }
        }
        "break" => return Err(Status::unavailable("killed")),
        code => return Err(Status::internal(format!("no such script: {code}"))),
    };
    say(events, Event::Finished(finished)).await
}

async fn progress(events: &Events, count: u32) -> Result<v1::Finished, Status> {
    for step in 1..=count {
        let progress = v1::Progress {
            progress: step.into(),
            total: Some(count.into()),
            message: Some(format!("step {step}")),
        };
        say(events, Event::Progress(progress)).await?;
    }
    Ok(ok(r#""done""#.into()))
}

fn ok(result: bytes::Bytes) -> v1::Finished {
    v1::Finished {
        outcome: v1::Outcome::Ok.into(),
        result_json: Some(result),
        ..v1::Finished::default()
    }
}

fn output(text: &'static str) -> v1::CapturedOutput {
    v1::CapturedOutput {
        head: text.into(),
        tail: Default::default(),
        total_bytes: text.len() as u64,
    }
}

async fn say(events: &Events, event: Event) -> Result<(), Status> {
    events
        .send(Ok(execute_event(event)))
        .await
        .map_err(|_| Status::cancelled("gone"))
}

/// A command prints its own text; `fail` fails, and `hang` does not end by itself.
async fn commands(
    requests: &mut Streaming<v1::ExecuteRequest>,
    events: &Events,
    held: &Held,
    session: &str,
    work: v1::ShellCommands,
) -> Result<v1::Finished, Status> {
    if !work.background_id.is_empty() {
        held.begin(session, &work.background_id);
        let begun = json!({"commandId": work.background_id, "state": "running"});
        return Ok(ok(begun.to_string().into()));
    }
    let mut done = Vec::new();
    for (index, command) in work.commands.iter().enumerate() {
        if command == "hang" {
            requests.message().await?;
            return Ok(v1::Finished {
                outcome: v1::Outcome::Cancelled.into(),
                ..v1::Finished::default()
            });
        }
        let output = v1::Output {
            stream: v1::OutputStream::Stdout.into(),
            data: command.clone().into(),
            command: u32::try_from(index).unwrap_or_default(),
        };
        say(events, Event::Output(output)).await?;
        let code = u32::from(command == "fail");
        done.push(
            json!({"command": command, "exitCode": code, "signal": null, "stdout": command, "stderr": ""}),
        );
    }
    Ok(ok(json!({"commands": done, "skipped": 0}).to_string().into()))
}
