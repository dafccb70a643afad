//! What an executor is asked of its sandbox sessions beside the work in them. Every question has a deadline.

use std::time::Duration;

use bytes::BytesMut;
use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::open_sandbox_response::Result as Opened;
use dynamic_mcp_proto::v1::read_files_response::Message as ReadMessage;
use dynamic_mcp_proto::v1::sandboxes_client::SandboxesClient;
use dynamic_mcp_proto::v1::write_files_request::Message as WriteMessage;
use dynamic_mcp_shared::job::{RejectReason, Rejection};
use dynamic_mcp_shared::limits::{ByteSize, MAX_WIRE_MESSAGE_BYTES};
use dynamic_mcp_shared::propagation;
use serde_json::Value;
use tonic::{Code, Status};

use super::fleet::{ExecutorChannel, Reservation};
use crate::sandbox::{
    FileEntry, FileKind, FileLimits, FileProblem, FileProblemKind, Listing, NewFile, ReadFile, Session,
    Written,
};

/// For what an executor does without touching a container.
const SHORT: Duration = Duration::from_secs(10);
/// For files: the largest call at a modest pace.
const FILES: Duration = Duration::from_secs(60);
/// What one message of a stream of files carries.
const CHUNK: usize = 64 * 1024;

/// How long a session may be idle, and how long it may live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    pub idle: Duration,
    pub max: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionCallError {
    /// The executor does not have it.
    #[error("the executor does not have it any more")]
    Lost,
    /// It did nothing, and says why.
    #[error("{0}")]
    Refused(String),
    /// What it did is not known.
    #[error("{0}")]
    Unclear(String),
}

impl From<Status> for SessionCallError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::NotFound => SessionCallError::Lost,
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Unimplemented => SessionCallError::Refused(status.message().to_owned()),
            _ => SessionCallError::Unclear(status.message().to_owned()),
        }
    }
}

/// Why no session was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOpened {
    /// The executor has none of that name.
    Rejected(Rejection),
    /// It may have one: it is to be stopped.
    Unclear(String),
}

/// Answers when it was opened.
pub async fn open(
    node: &Reservation,
    session: &Session,
    lifetime: Lifetime,
    max_memory: Option<ByteSize>,
    deadline: Duration,
) -> Result<i64, NotOpened> {
    let message = v1::OpenSandboxRequest {
        session_id: session.id.to_string(),
        tenant: session.tenant.to_string(),
        owner: session.owner.clone(),
        image: session.image.clone(),
        timeout_ms: session.timeout.as_millis(),
        idle_seconds: seconds(lifetime.idle),
        max_seconds: seconds(lifetime.max),
        max_memory_bytes: max_memory.map_or(0, |size| size.0),
    };
    let mut client = client(node.channel());
    let answer = tokio::time::timeout(deadline, client.open_sandbox(traced(message))).await;
    let answer = match answer {
        Err(_) => return Err(NotOpened::Unclear(late(deadline))),
        Ok(Err(status)) => match SessionCallError::from(status) {
            SessionCallError::Refused(message) => {
                let reason = RejectReason::Unsupported;
                return Err(NotOpened::Rejected(Rejection { reason, message }));
            }
            error => return Err(NotOpened::Unclear(error.to_string())),
        },
        Ok(Ok(answer)) => answer.into_inner(),
    };
    match answer.result {
        Some(Opened::Opened(opened)) if opened.epoch == session.home.epoch => Ok(opened.created_ms),
        Some(Opened::Opened(_)) => Err(NotOpened::Unclear(
            "the executor was restarted meanwhile".to_owned(),
        )),
        Some(Opened::Rejected(rejected)) => Err(NotOpened::Rejected(rejected.into())),
        None => Err(NotOpened::Unclear("the executor sent an empty answer".to_owned())),
    }
}

/// Answers whether it was there until now.
pub async fn stop(node: &Reservation, session: &Session) -> Result<bool, SessionCallError> {
    let message = v1::StopSandboxRequest {
        sandbox: Some(reference(session)),
    };
    let mut client = client(node.channel());
    match within(SHORT, client.stop_sandbox(traced(message))).await {
        Ok(answer) => Ok(answer.stopped),
        Err(SessionCallError::Lost) => Ok(false),
        Err(error) => Err(error),
    }
}

pub async fn write_files(
    node: &Reservation,
    session: &Session,
    files: Vec<NewFile>,
) -> Result<Written, SessionCallError> {
    let first = write_message(WriteMessage::Sandbox(reference(session)));
    let messages = std::iter::once(first).chain(files.into_iter().flat_map(file_messages));
    let mut client = client(node.file_channel());
    let answer = within(FILES, client.write_files(traced(tokio_stream::iter(messages)))).await?;
    Ok(Written {
        written: answer.written.into_iter().map(entry).collect(),
        problems: answer.problems.into_iter().map(problem).collect(),
    })
}

fn file_messages(file: NewFile) -> impl Iterator<Item = v1::WriteFilesRequest> {
    let header = v1::FileHeader {
        path: file.path,
        size_bytes: file.content.len() as u64,
        mode: file.mode.unwrap_or(0),
    };
    let mut rest = file.content;
    let chunks = std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| write_message(WriteMessage::Chunk(rest.split_to(rest.len().min(CHUNK)))))
    });
    std::iter::once(write_message(WriteMessage::File(header))).chain(chunks)
}

fn write_message(message: WriteMessage) -> v1::WriteFilesRequest {
    v1::WriteFilesRequest {
        message: Some(message),
    }
}

/// One for each of `paths`, in their order. What an executor sends beyond that or the limits is not taken.
pub async fn read_files(
    node: &Reservation,
    session: &Session,
    paths: Vec<String>,
    limits: FileLimits,
) -> Result<Vec<ReadFile>, SessionCallError> {
    let asked = paths.len();
    let message = v1::ReadFilesRequest {
        sandbox: Some(reference(session)),
        paths,
        max_file_bytes: limits.max_file_bytes,
        max_total_bytes: limits.max_total_bytes,
    };
    let mut client = client(node.file_channel());
    let reading = async {
        let mut answers = client.read_files(traced(message)).await?.into_inner();
        let mut files = Reading::new(asked, limits);
        while let Some(answer) = answers.message().await? {
            files.take(answer)?;
        }
        files.finish()
    };
    match tokio::time::timeout(FILES, reading).await {
        Ok(read) => read,
        Err(_) => Err(SessionCallError::Unclear(late(FILES))),
    }
}

struct Reading {
    /// How many files are to come, each as itself or as a problem.
    asked: usize,
    files: Vec<ReadFile>,
    current: Option<(FileEntry, BytesMut)>,
    limits: FileLimits,
    total: u64,
}

impl Reading {
    fn new(asked: usize, limits: FileLimits) -> Self {
        Self {
            asked,
            files: Vec::new(),
            current: None,
            limits,
            total: 0,
        }
    }

    fn take(&mut self, answer: v1::ReadFilesResponse) -> Result<(), SessionCallError> {
        match answer.message {
            Some(ReadMessage::File(file)) => {
                self.end_file();
                self.expect_another()?;
                self.current = Some((entry(file), BytesMut::new()));
            }
            Some(ReadMessage::Chunk(chunk)) => {
                let (_, content) = self.current.as_mut().ok_or_else(|| {
                    SessionCallError::Unclear("the executor answered out of turn".to_owned())
                })?;
                self.total += chunk.len() as u64;
                content.extend_from_slice(&chunk);
                if self.total > self.limits.max_total_bytes
                    || content.len() as u64 > self.limits.max_file_bytes
                {
                    return Err(too_much());
                }
            }
            Some(ReadMessage::Problem(wrong)) => {
                // Of a file that is not whole it says why; one that is whole stays, and it is the next one's.
                if let Some(whole) = self.current.take().filter(is_whole) {
                    self.files.push(read(whole));
                }
                self.expect_another()?;
                self.files.push(ReadFile::Problem(problem(wrong)));
            }
            None => {}
        }
        Ok(())
    }

    fn expect_another(&self) -> Result<(), SessionCallError> {
        if self.files.len() < self.asked {
            Ok(())
        } else {
            Err(too_much())
        }
    }

    fn end_file(&mut self) {
        if let Some(current) = self.current.take() {
            self.files.push(read(current));
        }
    }

    fn finish(mut self) -> Result<Vec<ReadFile>, SessionCallError> {
        self.end_file();
        if self.files.len() < self.asked {
            let text = "the executor did not answer for every file";
            return Err(SessionCallError::Unclear(text.to_owned()));
        }
        Ok(self.files)
    }
}

fn is_whole((entry, content): &(FileEntry, BytesMut)) -> bool {
    content.len() as u64 == entry.size_bytes
}

/// A part of a file is nothing that anybody asked for.
fn read(file: (FileEntry, BytesMut)) -> ReadFile {
    if is_whole(&file) {
        let (entry, content) = file;
        let content = content.freeze();
        return ReadFile::Read { entry, content };
    }
    ReadFile::Problem(FileProblem {
        path: file.0.path,
        kind: FileProblemKind::Refused,
        message: "it was cut short while it was read; read it again".to_owned(),
    })
}

fn too_much() -> SessionCallError {
    SessionCallError::Unclear("the executor sent more than was asked for".to_owned())
}

pub async fn list_files(
    node: &Reservation,
    session: &Session,
    path: String,
    recursive: bool,
    max_entries: u32,
    peek: bool,
) -> Result<Listing, SessionCallError> {
    let message = v1::ListFilesRequest {
        sandbox: Some(reference(session)),
        path,
        recursive,
        max_entries,
        peek,
    };
    let mut client = client(node.channel());
    let answer = within(SHORT, client.list_files(traced(message))).await?;
    Ok(Listing {
        entries: answer.entries.into_iter().map(entry).collect(),
        truncated: answer.truncated,
        problem: answer.problem.map(problem),
    })
}

/// `None`: there is no such command.
pub async fn get_command(
    node: &Reservation,
    session: &Session,
    command_id: String,
) -> Result<Option<Value>, SessionCallError> {
    let message = v1::GetCommandRequest {
        sandbox: Some(reference(session)),
        command_id,
    };
    let mut client = client(node.channel());
    let answer = within(SHORT, client.get_command(traced(message))).await?;
    Ok(answer.status.map(command))
}

/// Ends a command; `None`: there is no such.
pub async fn kill_command(
    node: &Reservation,
    session: &Session,
    command_id: String,
) -> Result<Option<Value>, SessionCallError> {
    let message = v1::KillCommandRequest {
        sandbox: Some(reference(session)),
        command_id,
    };
    let mut client = client(node.channel());
    let answer = within(SHORT, client.kill_command(traced(message))).await?;
    Ok(answer.status.map(command))
}

fn command(status: v1::CommandStatus) -> Value {
    let state = match status.state() {
        v1::CommandState::Running | v1::CommandState::Unspecified => "running",
        v1::CommandState::Exited => "exited",
        v1::CommandState::Killed => "killed",
        v1::CommandState::TimedOut => "timed_out",
    };
    let commands: Value =
        serde_json::from_slice(&status.commands_json).unwrap_or_else(|_| Value::Array(Vec::new()));
    // An executor may send the whole result of the job, as it would have been.
    let commands = match commands {
        Value::Object(mut result) => result.remove("commands").unwrap_or_default(),
        list => list,
    };
    let mut shown = serde_json::json!({
        "commandId": status.command_id,
        "state": state,
        "startedAt": time(status.started_ms),
        "commands": commands,
    });
    if status.ended_ms > 0 {
        shown["endedAt"] = time(status.ended_ms);
    }
    shown
}

/// As the contract writes times.
pub fn time(ms: i64) -> Value {
    let time = chrono::DateTime::from_timestamp_millis(ms);
    time.map_or(Value::Null, |time| {
        time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()
    })
}

fn entry(entry: v1::FileEntry) -> FileEntry {
    FileEntry {
        kind: match entry.kind() {
            v1::FileKind::File => FileKind::File,
            v1::FileKind::Directory => FileKind::Directory,
            v1::FileKind::Symlink => FileKind::Symlink,
            v1::FileKind::Other | v1::FileKind::Unspecified => FileKind::Other,
        },
        path: entry.path,
        size_bytes: entry.size_bytes,
        modified_ms: entry.modified_ms,
        mode: entry.mode,
    }
}

fn problem(problem: v1::FileProblem) -> FileProblem {
    FileProblem {
        kind: match problem.kind() {
            v1::FileProblemKind::NotFound => FileProblemKind::NotFound,
            v1::FileProblemKind::Outside => FileProblemKind::Outside,
            v1::FileProblemKind::TooLarge => FileProblemKind::TooLarge,
            v1::FileProblemKind::NoSpace => FileProblemKind::NoSpace,
            v1::FileProblemKind::WrongKind => FileProblemKind::WrongKind,
            v1::FileProblemKind::Refused | v1::FileProblemKind::Unspecified => FileProblemKind::Refused,
        },
        path: problem.path,
        message: problem.message,
    }
}

fn reference(session: &Session) -> v1::SandboxRef {
    v1::SandboxRef {
        session_id: session.id.to_string(),
        epoch: session.home.epoch,
        tenant: session.tenant.to_string(),
        owner: session.owner.clone(),
    }
}

fn traced<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    propagation::inject(request.metadata_mut());
    request
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, SessionCallError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(SessionCallError::Unclear(late(deadline))),
    }
}

fn late(deadline: Duration) -> String {
    format!("the executor did not answer within {} s", deadline.as_secs())
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn client(channel: ExecutorChannel) -> SandboxesClient<ExecutorChannel> {
    SandboxesClient::new(channel)
        .max_decoding_message_size(MAX_WIRE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_WIRE_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const LIMITS: FileLimits = FileLimits {
        max_file_bytes: 4,
        max_total_bytes: 6,
    };

    fn said(message: ReadMessage) -> v1::ReadFilesResponse {
        v1::ReadFilesResponse {
            message: Some(message),
        }
    }

    fn file(path: &str, size_bytes: u64) -> v1::ReadFilesResponse {
        said(ReadMessage::File(v1::FileEntry {
            path: path.to_owned(),
            size_bytes,
            ..Default::default()
        }))
    }

    fn chunk(content: &'static str) -> v1::ReadFilesResponse {
        said(ReadMessage::Chunk(content.into()))
    }

    fn wrong(message: &str) -> v1::ReadFilesResponse {
        said(ReadMessage::Problem(v1::FileProblem {
            message: message.to_owned(),
            ..Default::default()
        }))
    }

    /// What is in each file, or what is wrong with it.
    fn all(
        asked: usize,
        messages: impl IntoIterator<Item = v1::ReadFilesResponse>,
    ) -> Result<Vec<Result<Bytes, String>>, SessionCallError> {
        let mut reading = Reading::new(asked, LIMITS);
        for message in messages {
            reading.take(message)?;
        }
        let files = reading.finish()?.into_iter().map(|file| match file {
            ReadFile::Read { content, .. } => Ok(content),
            ReadFile::Problem(problem) => Err(problem.message),
        });
        Ok(files.collect())
    }

    #[test]
    fn a_file_is_put_together_from_its_chunks() {
        let read = all(2, [file("a", 3), chunk("ab"), chunk("c"), file("empty", 0)]);
        assert_eq!(read, Ok(vec![Ok("abc".into()), Ok("".into())]));
    }

    #[test]
    fn a_part_of_a_file_is_not_taken_for_the_file() {
        let cut_short = |read: Result<Vec<Result<Bytes, String>>, _>, at: usize| {
            let files = read.unwrap();
            matches!(&files[at], Err(message) if message.contains("cut short"))
        };
        assert!(cut_short(all(1, [file("a", 3), chunk("ab")]), 0), "at the end");
        let next = [file("a", 3), chunk("ab"), file("b", 1), chunk("b")];
        assert!(cut_short(all(2, next), 0), "before another one");
        let longer = [file("a", 1), chunk("ab")];
        assert!(cut_short(all(1, longer), 0), "it grew");
        let said_why = [file("a", 3), chunk("ab"), wrong("it was removed"), wrong("none")];
        let expected = vec![Err("it was removed".to_owned()), Err("none".to_owned())];
        assert_eq!(all(2, said_why), Ok(expected));
        let whole = [file("a", 2), chunk("ab"), wrong("none")];
        assert_eq!(all(2, whole), Ok(vec![Ok("ab".into()), Err("none".to_owned())]));
    }

    #[test]
    fn an_executor_can_not_send_more_than_it_was_asked_for() {
        let of_one = [file("a", 4), chunk("abcd"), chunk("abcd")];
        assert!(all(1, of_one).is_err(), "of one file");
        let of_two = [file("a", 4), chunk("abcd"), file("b", 4), chunk("abcd")];
        assert!(all(2, of_two).is_err(), "in all");
        assert!(all(1, [chunk("abcd")]).is_err(), "of no file");
        assert!(all(1, [file("a", 0), file("b", 0)]).is_err(), "files");
        assert!(all(1, [file("a", 0), wrong("no")]).is_err(), "problems");
        assert!(all(1, []).is_err(), "nor less");
    }

    #[test]
    fn a_large_file_goes_in_chunks_that_make_it_up() {
        let content = Bytes::from(vec![7; CHUNK + 1]);
        let new = NewFile {
            path: "a".to_owned(),
            content,
            mode: None,
        };
        let sizes: Vec<usize> = file_messages(new)
            .filter_map(|message| match message.message {
                Some(WriteMessage::Chunk(chunk)) => Some(chunk.len()),
                _ => None,
            })
            .collect();
        assert_eq!(sizes, [CHUNK, 1]);
    }
}
