//! An executor with sessions, as a control plane speaks to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_executor::grpc::Deadlines;
use dynamic_mcp_executor::node::Node;
use dynamic_mcp_executor::sandbox::SandboxLimits;
use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::execute_event::Message as Event;
use dynamic_mcp_proto::v1::execute_request::Message as Say;
use dynamic_mcp_proto::v1::executor_client::ExecutorClient;
use dynamic_mcp_proto::v1::read_files_response::Message as Read;
use dynamic_mcp_proto::v1::sandboxes_client::SandboxesClient;
use dynamic_mcp_proto::v1::write_files_request::Message as Write;
use dynamic_mcp_shared::ids::{CommandId, SandboxId, TenantId};
use dynamic_mcp_shared::job::{Finished, InBackground, Job, SessionTask, SessionWork};
use dynamic_mcp_shared::join_token::{AttachToken, JoinToken};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{ByteSize, MAX_WIRE_MESSAGE_BYTES};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::policy::{DEFAULT_IMAGE, SandboxPolicy};
use dynamic_mcp_shared::wire::{execute_request, start};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::docker::rig::DockerRig;
use crate::rig::{job, within};

type Sandboxes = SandboxesClient<InterceptedService<Channel, AttachToken>>;

/// What one file of a session may have here.
pub const MAX_FILE: u64 = 1 << 20;

pub struct SessionRig {
    pub docker: DockerRig,
    pub node: Arc<Node>,
    pub lifecycle: Lifecycle,
    channel: Channel,
    token: JoinToken,
}

/// A session that is open, as its owner knows it.
#[derive(Clone)]
pub struct Sandbox {
    pub wire: v1::SandboxRef,
    pub channel: Channel,
    pub token: JoinToken,
}

/// A job in a session that has been started.
pub struct Running {
    say: mpsc::Sender<v1::ExecuteRequest>,
    events: Streaming<v1::ExecuteEvent>,
    pub printed: Vec<v1::Output>,
}

impl SessionRig {
    pub async fn start() -> Self {
        Self::with(SandboxLimits {
            slots: 4,
            max_file: ByteSize(MAX_FILE),
            max_transfer: ByteSize(3 * MAX_FILE),
        })
        .await
    }

    pub async fn with(limits: SandboxLimits) -> Self {
        let mut config = crate::docker::dependencies::config();
        config.pool.floor = 0;
        let docker = DockerRig::without_waiting(config);
        crate::rig::eventually("the image", async || {
            docker.engine.status().images.iter().any(|image| image.present)
        })
        .await;
        let policy = SandboxPolicy::default();
        let engine = Arc::clone(&docker.engine);
        let node = Node::new(Arc::clone(&docker.identity), engine, 4, policy).with_sandboxes(limits);
        let (node, token) = (Arc::new(node), JoinToken::random());
        let lifecycle = Lifecycle::new(Duration::from_secs(10));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let incoming = TcpListenerStream::new(listener);
        node.serve(incoming, &token, Deadlines::default(), &lifecycle);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Self {
            docker,
            node,
            lifecycle,
            channel,
            token,
        }
    }

    pub fn sandboxes(&self) -> Sandboxes {
        SandboxesClient::with_interceptor(self.channel.clone(), self.token.attach())
    }

    pub fn request(&self) -> v1::OpenSandboxRequest {
        v1::OpenSandboxRequest {
            session_id: SandboxId::generate().into(),
            tenant: TenantId::default().into(),
            owner: "anna".to_owned(),
            image: DEFAULT_IMAGE.to_owned(),
            timeout_ms: 20_000,
            idle_seconds: 600,
            max_seconds: 3_600,
            max_memory_bytes: 0,
        }
    }

    pub async fn open(&self) -> Sandbox {
        self.open_as(self.request()).await.unwrap()
    }

    pub async fn open_as(&self, request: v1::OpenSandboxRequest) -> Result<Sandbox, v1::Rejected> {
        use v1::open_sandbox_response::Result as Answer;

        let opened = self.sandboxes().open_sandbox(request.clone()).await.unwrap();
        match opened.into_inner().result.unwrap() {
            Answer::Rejected(rejected) => Err(rejected),
            Answer::Opened(opened) => Ok(Sandbox {
                wire: v1::SandboxRef {
                    session_id: request.session_id,
                    epoch: opened.epoch,
                    tenant: request.tenant,
                    owner: request.owner,
                },
                channel: self.channel.clone(),
                token: self.token.clone(),
            }),
        }
    }

    /// Containers of this executor that stay.
    pub async fn containers(&self) -> Vec<String> {
        self.docker.sandboxes().await
    }

    /// Ends the executor as SIGTERM does, and looks for what it left.
    pub async fn finish(self) {
        self.lifecycle.begin_shutdown();
        assert!(self.lifecycle.finish().await);
        self.docker.finish().await;
    }
}

impl Sandbox {
    pub fn client(&self) -> Sandboxes {
        SandboxesClient::with_interceptor(self.channel.clone(), self.token.attach())
    }

    pub fn id(&self) -> SandboxId {
        self.wire.session_id.parse().unwrap()
    }

    pub fn job(&self, task: SessionTask) -> Job {
        Job {
            tenant: self.wire.tenant.parse().unwrap(),
            session: Some(SessionWork {
                session: self.id(),
                owner: self.wire.owner.clone(),
                epoch: self.wire.epoch,
                task,
            }),
            ..job("")
        }
    }

    pub async fn begin(&self, job: Job) -> Result<Running, v1::Rejected> {
        self.begin_with(job, "{}").await
    }

    pub async fn begin_with(&self, job: Job, args: &str) -> Result<Running, v1::Rejected> {
        let (say, requests) = mpsc::channel(8);
        let executor = ExecutorClient::with_interceptor(self.channel.clone(), self.token.attach());
        let mut executor = executor.max_decoding_message_size(MAX_WIRE_MESSAGE_BYTES);
        let prepare = execute_request(Say::Prepare(job.into()));
        say.send(prepare).await.unwrap();
        let events = executor.execute(ReceiverStream::new(requests)).await;
        let mut events = events.unwrap().into_inner();
        match events.message().await.unwrap().unwrap().message.unwrap() {
            Event::Ready(_) => {}
            Event::Rejected(rejected) => return Err(rejected),
            other => panic!("neither ready nor refused: {other:?}"),
        }
        say.send(start(Bytes::copy_from_slice(args.as_bytes())))
            .await
            .unwrap();
        Ok(Running {
            say,
            events,
            printed: Vec::new(),
        })
    }

    pub async fn run(&self, job: Job) -> Finished {
        self.begin(job).await.unwrap().end().await
    }

    /// The report of one command that is to end by itself.
    pub async fn sh(&self, command: &str) -> Value {
        let finished = self.run(self.job(commands(&[command]))).await;
        reports(&finished)["commands"][0].clone()
    }

    /// A command that has not ended after so long is ended.
    pub async fn sh_within(&self, command: &str, ms: u64) -> Finished {
        self.run(within(self.job(commands(&[command])), ms)).await
    }

    pub async fn stop(&self) -> bool {
        let request = v1::StopSandboxRequest {
            sandbox: Some(self.wire.clone()),
        };
        self.client()
            .stop_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .stopped
    }

    pub async fn write(&self, files: &[(&str, &[u8])]) -> v1::WriteFilesResponse {
        let mut messages = vec![Write::Sandbox(self.wire.clone())];
        for (path, content) in files {
            messages.push(Write::File(v1::FileHeader {
                path: (*path).to_owned(),
                size_bytes: content.len() as u64,
                mode: 0,
            }));
            let chunks = content.chunks(100_000).map(Bytes::copy_from_slice);
            messages.extend(chunks.map(Write::Chunk));
        }
        let messages = messages.into_iter().map(|message| v1::WriteFilesRequest {
            message: Some(message),
        });
        let messages: Vec<_> = messages.collect();
        let answer = self.client().write_files(tokio_stream::iter(messages)).await;
        answer.unwrap().into_inner()
    }

    /// Each path's content, or why there is none.
    pub async fn read(&self, paths: &[&str]) -> Vec<Result<Vec<u8>, v1::FileProblem>> {
        let request = v1::ReadFilesRequest {
            sandbox: Some(self.wire.clone()),
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            max_file_bytes: u64::MAX,
            max_total_bytes: u64::MAX,
        };
        let mut answers = self.client().read_files(request).await.unwrap().into_inner();
        let mut files: Vec<Result<Vec<u8>, v1::FileProblem>> = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            match answer.message.unwrap() {
                Read::File(_) => files.push(Ok(Vec::new())),
                Read::Chunk(chunk) => files.last_mut().unwrap().as_mut().unwrap().extend(chunk),
                Read::Problem(problem) => files.push(Err(problem)),
            }
        }
        files
    }

    pub async fn list(&self, path: &str, recursive: bool, max_entries: u32) -> v1::ListFilesResponse {
        let request = v1::ListFilesRequest {
            sandbox: Some(self.wire.clone()),
            path: path.to_owned(),
            recursive,
            max_entries,
            peek: false,
        };
        self.client().list_files(request).await.unwrap().into_inner()
    }

    pub async fn get(&self, command: &CommandId) -> Option<v1::CommandStatus> {
        let request = v1::GetCommandRequest {
            sandbox: Some(self.wire.clone()),
            command_id: command.to_string(),
        };
        self.client()
            .get_command(request)
            .await
            .unwrap()
            .into_inner()
            .status
    }

    pub async fn kill(&self, command: &CommandId) -> Option<v1::CommandStatus> {
        let request = v1::KillCommandRequest {
            sandbox: Some(self.wire.clone()),
            command_id: command.to_string(),
        };
        self.client()
            .kill_command(request)
            .await
            .unwrap()
            .into_inner()
            .status
    }
}

impl Running {
    /// The first output that comes.
    pub async fn first_output(&mut self) -> v1::Output {
        match self.events.message().await.unwrap().unwrap().message.unwrap() {
            Event::Output(output) => output,
            other => panic!("no output: {other:?}"),
        }
    }

    pub async fn cancel(&self) {
        self.say
            .send(execute_request(Say::Cancel(v1::Cancel {})))
            .await
            .unwrap();
    }

    pub async fn end(mut self) -> Finished {
        self.end_and_output().await.0
    }

    pub async fn end_and_output(&mut self) -> (Finished, Vec<v1::Output>) {
        loop {
            let event = self.events.message().await.unwrap().unwrap().message.unwrap();
            match event {
                Event::Output(output) => self.printed.push(output),
                Event::Progress(_) => {}
                Event::Finished(finished) => {
                    return (
                        Finished::try_from(finished).unwrap(),
                        std::mem::take(&mut self.printed),
                    );
                }
                other => panic!("neither output nor an end: {other:?}"),
            }
        }
    }
}

pub fn commands(commands: &[&str]) -> SessionTask {
    SessionTask::Commands {
        commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        continue_on_error: false,
        background: None,
    }
}

pub fn background(command: &str) -> (CommandId, SessionTask) {
    let id = CommandId::generate();
    let task = SessionTask::Commands {
        commands: vec![command.to_owned()],
        continue_on_error: false,
        background: Some(InBackground {
            id: id.clone(),
            timed: false,
        }),
    };
    (id, task)
}

/// What became of commands that were ended before their end.
pub fn cut_short(finished: &Finished, outcome: Outcome) -> Value {
    assert_eq!(finished.outcome, outcome, "{:?}", finished.error);
    serde_json::from_slice(finished.result.as_ref().unwrap()).unwrap()
}

/// The result of commands that ran as far as they should.
pub fn reports(finished: &Finished) -> Value {
    assert_eq!(finished.outcome, Outcome::Ok, "{:?}", finished.error);
    serde_json::from_slice(finished.result.as_ref().unwrap()).unwrap()
}
