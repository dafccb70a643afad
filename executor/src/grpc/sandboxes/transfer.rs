//! Files between the wire and a session, a chunk at a time: nothing is read from one side before the other has taken what
//! came before.

use std::sync::Arc;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::read_files_response::Message as Read;
use dynamic_mcp_proto::v1::write_files_request::Message as Write;
use dynamic_mcp_shared::limits::ByteSize;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::lost;
use crate::sandbox::{
    FileEntry, FileHeader, FileKind, FileProblem, FileProblemKind, Lost, SandboxLimits, Session, Transfer,
    Writing,
};

/// Files of one call.
pub(super) const MAX_PATHS: usize = 1_000;

type Chunks = mpsc::Sender<Result<v1::ReadFilesResponse, Status>>;

/// The files of one call as they are written, one after the other.
struct Incoming<'a> {
    transfer: &'a Transfer<'a>,
    limits: SandboxLimits,
    total: u64,
    /// The file that chunks are of; absent when it can't be written.
    current: Option<Writing>,
    answer: v1::WriteFilesResponse,
    files: usize,
}

pub(super) async fn write_files(
    session: &Arc<Session>,
    limits: SandboxLimits,
    mut messages: Streaming<v1::WriteFilesRequest>,
) -> Result<v1::WriteFilesResponse, Status> {
    let transfer = session.transfer().await.map_err(lost)?;
    let mut incoming = Incoming {
        transfer: &transfer,
        limits,
        total: 0,
        current: None,
        answer: v1::WriteFilesResponse::default(),
        files: 0,
    };
    while let Some(message) = messages.message().await? {
        match message.message {
            Some(Write::File(header)) => {
                incoming.finish().await.map_err(lost)?;
                incoming.begin(header).await?;
            }
            Some(Write::Chunk(chunk)) => incoming.push(&chunk).await?,
            Some(Write::Sandbox(_)) => {
                return Err(Status::invalid_argument(
                    "sandbox: is the first message and no other",
                ));
            }
            // Of a newer protocol than this one.
            None => {}
        }
    }
    incoming.finish().await.map_err(lost)?;
    Ok(incoming.answer)
}

impl Incoming<'_> {
    async fn begin(&mut self, header: v1::FileHeader) -> Result<(), Status> {
        self.files += 1;
        if self.files > MAX_PATHS {
            return Err(Status::invalid_argument(format!(
                "at most {MAX_PATHS} files are allowed at once"
            )));
        }
        let header = FileHeader {
            path: header.path,
            size: header.size_bytes,
            mode: header.mode,
        };
        let (max_file, max_total) = (self.limits.max_file, self.limits.max_transfer);
        if header.size > max_file.0 {
            let got = header.size;
            let message =
                format!("it is {got} bytes; at most {max_file} are allowed (MCP_SANDBOX_MAX_FILE_BYTES)");
            self.refuse(header.path, message);
            return Ok(());
        }
        if self.total.saturating_add(header.size) > max_total.0 {
            let message = format!(
                "with it the files of this call are more than the {max_total} that are allowed at once"
            );
            self.refuse(header.path, message);
            return Ok(());
        }
        self.total += header.size;
        match self.transfer.write(&header).await.map_err(lost)? {
            Ok(writing) => self.current = Some(writing),
            Err(why) => self.answer.problems.push(problem(why)),
        }
        Ok(())
    }

    /// Of a file that could not be written nothing more is asked.
    async fn push(&mut self, chunk: &[u8]) -> Result<(), Status> {
        if let Some(writing) = &mut self.current
            && let Err(why) = writing.push(chunk).await.map_err(lost)?
        {
            self.current = None;
            self.answer.problems.push(problem(why));
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Lost> {
        if let Some(writing) = self.current.take() {
            match writing.commit().await? {
                Ok(written) => self.answer.written.push(entry(written)),
                Err(why) => self.answer.problems.push(problem(why)),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, path: String, message: String) {
        let kind = FileProblemKind::TooLarge;
        self.answer
            .problems
            .push(problem(FileProblem { path, kind, message }));
    }
}

pub(super) async fn read_files(
    session: &Arc<Session>,
    paths: &[String],
    max_file: u64,
    max_total: u64,
    chunks: &Chunks,
) -> Result<(), Status> {
    let transfer = session.transfer().await.map_err(lost)?;
    let mut left = max_total;
    for path in paths {
        let mut reading = match transfer.read(path, max_file).await.map_err(lost)? {
            Ok(reading) if reading.entry.size <= left => reading,
            Ok(reading) => {
                let message = format!(
                    "it is {} bytes, and with it the files of this call are more than the {} that are allowed at once",
                    reading.entry.size,
                    ByteSize(max_total)
                );
                let why = FileProblem {
                    path: path.clone(),
                    kind: FileProblemKind::TooLarge,
                    message,
                };
                tell(chunks, Read::Problem(problem(why))).await?;
                continue;
            }
            Err(why) => {
                tell(chunks, Read::Problem(problem(why))).await?;
                continue;
            }
        };
        left -= reading.entry.size;
        tell(chunks, Read::File(entry(reading.entry.clone()))).await?;
        loop {
            match reading.next().await.map_err(lost)? {
                Ok(Some(chunk)) => tell(chunks, Read::Chunk(chunk)).await?,
                Ok(None) => break,
                Err(why) => {
                    tell(chunks, Read::Problem(problem(why))).await?;
                    break;
                }
            }
        }
    }
    Ok(())
}

async fn tell(chunks: &Chunks, message: Read) -> Result<(), Status> {
    let message = v1::ReadFilesResponse {
        message: Some(message),
    };
    let gone = |_| Status::cancelled("the caller is gone");
    chunks.send(Ok(message)).await.map_err(gone)
}

pub(super) fn entry(entry: FileEntry) -> v1::FileEntry {
    let kind = match entry.kind {
        FileKind::File => v1::FileKind::File,
        FileKind::Directory => v1::FileKind::Directory,
        FileKind::Symlink => v1::FileKind::Symlink,
        FileKind::Other => v1::FileKind::Other,
    };
    v1::FileEntry {
        path: entry.path,
        kind: kind.into(),
        size_bytes: entry.size,
        modified_ms: entry.modified_ms,
        mode: entry.mode,
    }
}

pub(super) fn problem(problem: FileProblem) -> v1::FileProblem {
    let kind = match problem.kind {
        FileProblemKind::NotFound => v1::FileProblemKind::NotFound,
        FileProblemKind::Outside => v1::FileProblemKind::Outside,
        FileProblemKind::TooLarge => v1::FileProblemKind::TooLarge,
        FileProblemKind::NoSpace => v1::FileProblemKind::NoSpace,
        FileProblemKind::WrongKind => v1::FileProblemKind::WrongKind,
        FileProblemKind::Refused => v1::FileProblemKind::Refused,
    };
    v1::FileProblem {
        path: problem.path,
        kind: kind.into(),
        message: problem.message,
    }
}
