//! The sandbox sessions of the scripted executor: maps instead of containers.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::sandboxes_server::Sandboxes;
use dynamic_mcp_shared::job::SandboxSession;
use dynamic_mcp_shared::limits::TimeoutMs;
use futures::Stream;
use parking_lot::Mutex;
use tonic::{Request, Response, Status, Streaming};

pub const EPOCH: u64 = 1;

#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<BTreeMap<String, Session>>>);

struct Session {
    announced: SandboxSession,
    files: BTreeMap<String, Vec<u8>>,
    commands: Vec<String>,
}

impl Held {
    /// As a heartbeat has them.
    pub fn announced(&self) -> Vec<SandboxSession> {
        self.0
            .lock()
            .values()
            .map(|held| held.announced.clone())
            .collect()
    }

    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// They end, as when their containers die.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    pub fn has(&self, id: &str, epoch: u64) -> bool {
        epoch == EPOCH && self.0.lock().contains_key(id)
    }

    pub fn begin(&self, id: &str, command: &str) {
        if let Some(held) = self.0.lock().get_mut(id) {
            held.commands.push(command.to_owned());
        }
    }

    fn with<T>(
        &self,
        reference: Option<v1::SandboxRef>,
        work: impl FnOnce(&mut Session) -> T,
    ) -> Result<T, Status> {
        let reference = reference.unwrap_or_default();
        let mut all = self.0.lock();
        let held = all.get_mut(&reference.session_id).filter(|held| {
            reference.epoch == EPOCH
                && held.announced.tenant.as_str() == reference.tenant
                && held.announced.owner == reference.owner
        });
        held.map(work).ok_or_else(|| Status::not_found("no such session"))
    }
}

fn absolute(path: &str) -> Option<String> {
    let path = path.strip_prefix("/workspace/").unwrap_or(path);
    let inside = !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    inside.then(|| format!("/workspace/{path}"))
}

fn entry(path: &str, content: &[u8]) -> v1::FileEntry {
    v1::FileEntry {
        path: path.to_owned(),
        kind: v1::FileKind::File.into(),
        size_bytes: content.len() as u64,
        modified_ms: 0,
        mode: 0o644,
    }
}

fn problem(path: String, kind: v1::FileProblemKind) -> v1::FileProblem {
    v1::FileProblem {
        path,
        kind: kind.into(),
        message: "it can't be".to_owned(),
    }
}

#[tonic::async_trait]
impl Sandboxes for Held {
    type ReadFilesStream = Pin<Box<dyn Stream<Item = Result<v1::ReadFilesResponse, Status>> + Send>>;

    async fn open_sandbox(
        &self,
        request: Request<v1::OpenSandboxRequest>,
    ) -> Result<Response<v1::OpenSandboxResponse>, Status> {
        let request = request.into_inner();
        let announced = SandboxSession {
            id: request.session_id.parse().expect("an id"),
            tenant: request.tenant.parse().expect("a tenant"),
            owner: request.owner,
            image: request.image,
            timeout: TimeoutMs::new(request.timeout_ms.into()).expect("a time-out"),
            created_ms: 1_000,
            last_used_ms: 2_000,
        };
        let session = Session {
            announced,
            files: BTreeMap::new(),
            commands: Vec::new(),
        };
        self.0.lock().insert(request.session_id, session);
        let opened = v1::OpenedSandbox {
            epoch: EPOCH,
            created_ms: 1_000,
        };
        Ok(Response::new(v1::OpenSandboxResponse {
            result: Some(v1::open_sandbox_response::Result::Opened(opened)),
        }))
    }

    async fn stop_sandbox(
        &self,
        request: Request<v1::StopSandboxRequest>,
    ) -> Result<Response<v1::StopSandboxResponse>, Status> {
        let reference = request.into_inner().sandbox;
        let id = reference.clone().unwrap_or_default().session_id;
        let stopped = self.with(reference, |_| ()).is_ok();
        if stopped {
            self.0.lock().remove(&id);
        }
        Ok(Response::new(v1::StopSandboxResponse { stopped }))
    }

    async fn write_files(
        &self,
        request: Request<Streaming<v1::WriteFilesRequest>>,
    ) -> Result<Response<v1::WriteFilesResponse>, Status> {
        use v1::write_files_request::Message;
        let mut messages = request.into_inner();
        let (mut reference, mut files) = (None, Vec::<(String, Vec<u8>)>::new());
        while let Some(message) = messages.message().await? {
            match message.message {
                Some(Message::Sandbox(sandbox)) => reference = Some(sandbox),
                Some(Message::File(header)) => files.push((header.path, Vec::new())),
                Some(Message::Chunk(chunk)) => files.last_mut().expect("a file").1.extend_from_slice(&chunk),
                None => {}
            }
        }
        if files.iter().any(|(path, _)| path == "break") {
            return Err(Status::unavailable("killed"));
        }
        let answer = self.with(reference, |held| {
            let mut answer = v1::WriteFilesResponse::default();
            for (path, content) in files {
                match absolute(&path) {
                    Some(path) => {
                        answer.written.push(entry(&path, &content));
                        held.files.insert(path, content);
                    }
                    None => answer.problems.push(problem(path, v1::FileProblemKind::Outside)),
                }
            }
            answer
        })?;
        Ok(Response::new(answer))
    }

    async fn read_files(
        &self,
        request: Request<v1::ReadFilesRequest>,
    ) -> Result<Response<Self::ReadFilesStream>, Status> {
        use v1::read_files_response::Message;
        let request = request.into_inner();
        let messages = self.with(request.sandbox, |held| {
            let mut messages = Vec::new();
            for path in request.paths {
                let found = absolute(&path).and_then(|path| Some((path.clone(), held.files.get(&path)?)));
                match found {
                    None => messages.push(Message::Problem(problem(path, v1::FileProblemKind::NotFound))),
                    Some((path, content)) => {
                        messages.push(Message::File(entry(&path, content)));
                        let chunks = content
                            .chunks(3)
                            .map(|chunk| Message::Chunk(chunk.to_vec().into()));
                        messages.extend(chunks);
                    }
                }
            }
            messages
        })?;
        let messages = messages.into_iter().map(|message| {
            Ok(v1::ReadFilesResponse {
                message: Some(message),
            })
        });
        Ok(Response::new(Box::pin(futures::stream::iter(
            messages.collect::<Vec<_>>(),
        ))))
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Result<Response<v1::ListFilesResponse>, Status> {
        let request = request.into_inner();
        let answer = self.with(request.sandbox, |held| v1::ListFilesResponse {
            entries: held
                .files
                .iter()
                .filter(|(path, _)| path.starts_with(&request.path))
                .map(|(path, content)| entry(path, content))
                .collect(),
            ..Default::default()
        })?;
        Ok(Response::new(answer))
    }

    async fn get_command(
        &self,
        request: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::GetCommandResponse>, Status> {
        let request = request.into_inner();
        let known = self.with(request.sandbox, |held| {
            held.commands.contains(&request.command_id)
        })?;
        Ok(Response::new(v1::GetCommandResponse {
            status: known.then(|| status(request.command_id, v1::CommandState::Running)),
        }))
    }

    async fn kill_command(
        &self,
        request: Request<v1::KillCommandRequest>,
    ) -> Result<Response<v1::KillCommandResponse>, Status> {
        let request = request.into_inner();
        let known = self.with(request.sandbox, |held| {
            held.commands.contains(&request.command_id)
        })?;
        Ok(Response::new(v1::KillCommandResponse {
            status: known.then(|| status(request.command_id, v1::CommandState::Killed)),
        }))
    }
}

fn status(command_id: String, state: v1::CommandState) -> v1::CommandStatus {
    v1::CommandStatus {
        command_id,
        state: state.into(),
        commands_json: r#"[{"command":"sleep 9","exitCode":null,"signal":null,"stdout":"","stderr":""}]"#
            .into(),
        started_ms: 1_000,
        ended_ms: 0,
    }
}
