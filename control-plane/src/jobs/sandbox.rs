//! What is done with sandbox sessions, as jobs.
//!
//! To open one, to run something in it and to move files takes one of the guard's permits, each under the name of its tool:
//! it is work, on an executor, and is bounded like other work. To stop, to list and to look at a command or to end it takes
//! none: that is how somebody gets out of having too much of the rest.

use std::sync::Arc;

use bytes::Bytes;
use dynamic_mcp_shared::ids::{CommandId, JobId, SandboxId};
use dynamic_mcp_shared::job::{
    Dependency, InBackground, Isolation, Job, JobEvent, RejectReason, Runtime, SessionTask, SessionWork,
};
use dynamic_mcp_shared::limits::{DEFAULT_MAX_OUTPUT_BYTES, MAX_CODE_CHARS, TimeoutMs};
use dynamic_mcp_shared::policy;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Ended, JobReport, Jobs, SandboxDeed, What, json_bytes};
use crate::guard::Share;
use crate::principal::Caller;
use crate::sandbox::{FileEntry, NewFile, Owner, ReadFile, SandboxError, Session, Wanted};
use crate::scheduler::client::Attempt;
use crate::scheduler::fleet::Reservation;
use crate::scheduler::session_client::time;
use crate::scheduler::{NeverStarted, Scheduled};
use crate::tenant::Tenant;

pub const MAX_COMMANDS: usize = 20;
pub const MAX_COMMAND_CHARS: usize = 20_000;
pub const MAX_FILES: usize = 200;
pub const MAX_LISTED: u32 = 1_000;

/// A session that is to be opened.
#[derive(Debug, Clone, Default)]
pub struct NewSandbox {
    pub admin_token: Option<String>,
    pub image: Option<String>,
    pub timeout_ms: Option<u64>,
}

/// Which session is meant, as its caller says.
#[derive(Debug, Clone, Default)]
pub struct InSession {
    pub admin_token: Option<String>,
    pub id: String,
}

pub struct Exec {
    pub commands: Vec<String>,
    pub timeout_ms: Option<u64>,
    pub background: bool,
    pub continue_on_error: bool,
}

pub struct RunInSandbox {
    pub code: String,
    pub args: Value,
    pub dependencies: Vec<Dependency>,
    pub timeout_ms: Option<u64>,
}

pub type FilesToWrite = Vec<NewFile>;
pub type FilesToRead = Vec<String>;

/// Work in a session, checked as far as can be without looking at the session.
struct SessionJob {
    tenant: Arc<Tenant>,
    task: SessionTask,
    code: Bytes,
    args: Bytes,
    dependencies: Vec<Dependency>,
    timeout: Option<TimeoutMs>,
}

impl Jobs {
    pub async fn open_sandbox(&self, caller: &Caller, new: NewSandbox) -> JobReport {
        let owner = Owner::of(&caller.principal);
        let what = deed(
            "sandbox.initialize",
            None,
            json!({"image": new.image, "timeoutMs": new.timeout_ms}),
        );
        let wanted = self.wanted(caller, new).await;
        self.run(caller, what, wanted, async |wanted, _, cancel| {
            let opened = tokio::select! {
                biased;
                () = cancel.cancelled() => return (Ended::Scheduled(Scheduled::Cancelled), None),
                opened = self.deps.sandboxes.open(&owner, &wanted) => opened,
            };
            let ended = opened.map_or_else(Ended::from, |session| {
                Ended::Done(json_bytes(&self.opened(&session)))
            });
            (ended, Some(Runtime::Node))
        })
        .await
    }

    async fn wanted(&self, caller: &Caller, new: NewSandbox) -> Result<(Option<Share>, Wanted), Ended> {
        self.allowed(new.admin_token.as_deref())?;
        let tenant = self.tenant(caller).await?;
        let policy = &tenant.policy;
        let image = match new.image {
            Some(image) => policy::parse_image(&image)
                .map_err(|allowed| Ended::InvalidInput(format!("image {image:?}: {allowed}")))?,
            None => policy.default_image().to_owned(),
        };
        policy.check_image(&image)?;
        let timeout = match timeout(&tenant, new.timeout_ms)? {
            Some(timeout) => timeout,
            None => TimeoutMs::DEFAULT.min(policy.max_timeout()),
        };
        let wanted = Wanted {
            image,
            timeout,
            max_memory: tenant.limits.memory(),
            max_of_tenant: tenant.limits.max_sandboxes,
        };
        Ok((Some(Share::from(&tenant.limits)), wanted))
    }

    fn opened(&self, session: &Session) -> Value {
        let config = self.deps.sandboxes.config();
        let max_life = i64::try_from(config.max_life.as_millis()).unwrap_or(i64::MAX);
        json!({
            "sessionId": session.id,
            "image": session.image,
            "timeoutMs": session.timeout,
            "idleSeconds": config.idle.as_secs(),
            "maxSeconds": config.max_life.as_secs(),
            "expiresAt": time(session.created_ms.saturating_add(max_life)),
        })
    }

    /// Shell commands, one after the other.
    pub async fn exec(
        &self,
        caller: &Caller,
        session: InSession,
        exec: Exec,
        events: Option<mpsc::Sender<JobEvent>>,
    ) -> JobReport {
        let bytes: usize = exec.commands.iter().map(String::len).sum();
        let details = json!({"commandCount": exec.commands.len(), "commandBytes": bytes, "background": exec.background});
        let what = deed("sandbox.exec", Some(&session.id), details);
        let work = self.exec_work(caller, &session, exec).await;
        self.run_session_job(caller, what, session.id, work, events).await
    }

    async fn exec_work(&self, caller: &Caller, session: &InSession, exec: Exec) -> Result<SessionJob, Ended> {
        self.allowed(session.admin_token.as_deref())?;
        let count = exec.commands.len();
        if !(1..=MAX_COMMANDS).contains(&count) {
            let text = format!("commands must have 1 to {MAX_COMMANDS} entries, got {count}");
            return Err(Ended::InvalidInput(text));
        }
        for (index, command) in exec.commands.iter().enumerate() {
            let chars = command.chars().count();
            if !(1..=MAX_COMMAND_CHARS).contains(&chars) || command.contains('\0') {
                return Err(Ended::InvalidInput(format!(
                    "commands[{index}] must have 1 to {MAX_COMMAND_CHARS} characters, none of them NUL, got {chars}"
                )));
            }
        }
        let tenant = self.tenant(caller).await?;
        Ok(SessionJob {
            timeout: timeout(&tenant, exec.timeout_ms)?,
            tenant,
            task: SessionTask::Commands {
                commands: exec.commands,
                continue_on_error: exec.continue_on_error,
                background: exec.background.then(|| InBackground {
                    id: CommandId::generate(),
                    timed: exec.timeout_ms.is_some(),
                }),
            },
            code: Bytes::new(),
            args: Bytes::from_static(b"{}"),
            dependencies: Vec::new(),
        })
    }

    /// JavaScript, with the session's files.
    pub async fn run_js(
        &self,
        caller: &Caller,
        session: InSession,
        run: RunInSandbox,
        events: Option<mpsc::Sender<JobEvent>>,
    ) -> JobReport {
        let details = json!({"codeBytes": run.code.len(), "dependencyCount": run.dependencies.len()});
        let what = deed("sandbox.run_js", Some(&session.id), details);
        let work = self.run_js_work(caller, &session, run).await;
        self.run_session_job(caller, what, session.id, work, events).await
    }

    async fn run_js_work(
        &self,
        caller: &Caller,
        session: &InSession,
        run: RunInSandbox,
    ) -> Result<SessionJob, Ended> {
        self.allowed(session.admin_token.as_deref())?;
        let chars = run.code.chars().count();
        if !(1..=MAX_CODE_CHARS).contains(&chars) {
            return Err(Ended::InvalidInput(format!(
                "code must have 1 to {MAX_CODE_CHARS} characters, got {chars}"
            )));
        }
        let tenant = self.tenant(caller).await?;
        tenant.policy.check_dependencies(&run.dependencies)?;
        Ok(SessionJob {
            timeout: timeout(&tenant, run.timeout_ms)?,
            tenant,
            task: SessionTask::RunJs,
            code: run.code.into(),
            args: json_bytes(&run.args),
            dependencies: run.dependencies,
        })
    }

    async fn run_session_job(
        &self,
        caller: &Caller,
        what: What,
        session: String,
        work: Result<SessionJob, Ended>,
        events: Option<mpsc::Sender<JobEvent>>,
    ) -> JobReport {
        let asked = work.map(|work| (Some(Share::from(&work.tenant.limits)), work));
        self.run(caller, what, asked, async |work, id, cancel| {
            let done = Box::pin(self.in_session(caller, id, &session, work, events, &cancel));
            let ended = done.await;
            (ended.unwrap_or_else(|ended| ended), Some(Runtime::Node))
        })
        .await
    }

    async fn in_session(
        &self,
        caller: &Caller,
        id: JobId,
        session: &str,
        work: SessionJob,
        events: Option<mpsc::Sender<JobEvent>>,
        cancel: &CancellationToken,
    ) -> Result<Ended, Ended> {
        let owner = Owner::of(&caller.principal);
        let (session, node) = self.deps.sandboxes.reach(&owner, session).await?;
        let policy = &work.tenant.policy;
        // It may have become stricter since the session was opened.
        policy.check_image(&session.image)?;
        let lock = match work.dependencies.as_slice() {
            [] => None,
            some => {
                let tenant = &caller.principal.tenant;
                let lock = self
                    .resolve(tenant, &session.image, some, &work.tenant, cancel)
                    .await?;
                Some(lock.bytes().clone())
            }
        };
        let timeout = work
            .timeout
            .unwrap_or_else(|| session.timeout.min(policy.max_timeout()));
        let job = Job {
            id,
            tenant: session.tenant.clone(),
            tool: None,
            runtime: Runtime::Node,
            image: session.image.clone(),
            isolation: Isolation::Call,
            content_hash: None,
            revision: 0,
            code: work.code,
            dependency_lock: lock,
            timeout,
            max_output_bytes: policy.max_output_bytes(),
            max_memory: work.tenant.limits.memory(),
            session: Some(SessionWork {
                session: session.id.clone(),
                owner: owner.key,
                epoch: session.home.epoch,
                task: work.task,
            }),
        };
        let scheduler = &self.deps.scheduler;
        let attempt = scheduler
            .run_in_session(&node, job, work.args, events, cancel)
            .await;
        Ok(self.ended(&session, &node, attempt).await)
    }

    async fn ended(&self, session: &Session, node: &Reservation, attempt: Attempt) -> Ended {
        let executor = node.executor().clone();
        match attempt {
            Attempt::Finished(finished) => Ended::Scheduled(Scheduled::Finished { executor, finished }),
            Attempt::Interrupted { message } => {
                Ended::Scheduled(Scheduled::Interrupted { executor, message })
            }
            Attempt::Cancelled => Ended::Scheduled(Scheduled::Cancelled),
            Attempt::NeverStarted { reason, message } => match reason {
                RejectReason::SessionLost => self.deps.sandboxes.lost(session, message).await.into(),
                RejectReason::SessionBusy => SandboxError::Busy.into(),
                RejectReason::Engine => {
                    // The way to it broke, or its executor did: which of the two shows with the next call.
                    SandboxError::Unreachable { why: message }.into()
                }
                RejectReason::NoCapacity
                | RejectReason::Draining
                | RejectReason::Unsupported
                | RejectReason::Dependencies => Ended::Scheduled(Scheduled::NeverStarted {
                    kind: NeverStarted::Refused,
                    message,
                }),
            },
        }
    }

    /// Ends a session. One that is not there has been stopped.
    pub async fn stop_sandbox(&self, caller: &Caller, session: InSession) -> JobReport {
        let what = deed("sandbox.stop", Some(&session.id), json!({}));
        self.control(caller, what, session.admin_token.as_deref(), async |owner| {
            let stopped = self.deps.sandboxes.stop(&owner, &session.id).await?;
            Ok(json!({"stopped": stopped}))
        })
        .await
    }

    pub async fn list_sandboxes(&self, caller: &Caller, admin_token: Option<&str>) -> JobReport {
        let what = deed("sandbox.session.list", None, json!({}));
        self.control(caller, what, admin_token, async |owner| {
            let sessions = self.deps.sandboxes.list(&owner).await?;
            let shown = sessions.iter().map(|session| {
                json!({
                    "id": session.id,
                    "image": session.image,
                    "createdAt": time(session.created_ms),
                    "lastUsedAt": time(session.last_used_ms),
                })
            });
            Ok(json!({"sessions": shown.collect::<Vec<_>>()}))
        })
        .await
    }

    /// A command in the background, with what it printed; `kill` ends it first.
    pub async fn sandbox_command(
        &self,
        caller: &Caller,
        session: InSession,
        command: String,
        kill: bool,
    ) -> JobReport {
        let name = if kill {
            "sandbox.command.kill"
        } else {
            "sandbox.command.get"
        };
        let what = deed(name, Some(&session.id), json!({}));
        let most_output = match self.tenant(caller).await {
            Ok(tenant) => tenant.policy.max_output_bytes(),
            // Who gets out of too much of the rest does not wait for the registry.
            Err(_) => DEFAULT_MAX_OUTPUT_BYTES,
        };
        self.control(caller, what, session.admin_token.as_deref(), async |owner| {
            let sandboxes = &self.deps.sandboxes;
            let command: CommandId = match command.parse() {
                Ok(command) => command,
                // Whether the session is there is told before what is in it.
                Err(_) => {
                    sandboxes.reach(&owner, &session.id).await?;
                    return Err(SandboxError::UnknownCommand);
                }
            };
            let shown = match kill {
                true => sandboxes.kill_command(&owner, &session.id, &command).await?,
                false => {
                    let _look = self.looks.begin(&owner)?;
                    sandboxes.command(&owner, &session.id, &command).await?
                }
            };
            let mut shown = shown.ok_or(SandboxError::UnknownCommand)?;
            cut_output(&mut shown, most_output);
            Ok(shown)
        })
        .await
    }

    /// Without a permit.
    async fn control(
        &self,
        caller: &Caller,
        what: What,
        admin_token: Option<&str>,
        body: impl AsyncFnOnce(Owner) -> Result<Value, SandboxError>,
    ) -> JobReport {
        let asked = self
            .allowed(admin_token)
            .map(|()| (None, Owner::of(&caller.principal)));
        self.run(caller, what, asked, async |owner, _, _| {
            let ended = body(owner).await;
            let ended = ended.map_or_else(Ended::from, |done| Ended::Done(json_bytes(&done)));
            (ended, None)
        })
        .await
    }

    /// Answers `{written, problems}`.
    pub async fn write_files(&self, caller: &Caller, session: InSession, files: FilesToWrite) -> JobReport {
        let bytes: usize = files.iter().map(|file| file.content.len()).sum();
        let details = json!({"fileCount": files.len(), "fileBytes": bytes});
        let what = deed("sandbox.fs.write", Some(&session.id), details);
        let limits = self.deps.sandboxes.config().files;
        let too_large = files
            .iter()
            .find(|file| file.content.len() as u64 > limits.max_file_bytes);
        let checked = match too_large {
            Some(file) => Err(Ended::InvalidInput(format!(
                "file {:?} has {} bytes; one file may have {} (MCP_SANDBOX_MAX_FILE_BYTES), and a request as a whole what \
                 MCP_HTTP_MAX_REQUEST_BYTES allows",
                shown(&file.path),
                file.content.len(),
                limits.max_file_bytes
            ))),
            None => count("files", files.len()),
        };
        let id = session.id.clone();
        self.with_files(caller, what, &session, checked, async |owner| {
            let written = self.deps.sandboxes.write_files(&owner, &id, files).await?;
            Ok(json!({"written": written.written, "problems": written.problems}))
        })
        .await
    }

    /// The files as they are; the report has `{read, problems}` without what is in them.
    pub async fn read_files(
        &self,
        caller: &Caller,
        session: InSession,
        paths: FilesToRead,
    ) -> (JobReport, Vec<ReadFile>) {
        let what = deed(
            "sandbox.fs.read",
            Some(&session.id),
            json!({"fileCount": paths.len()}),
        );
        let checked = count("paths", paths.len());
        let id = session.id.clone();
        let mut files = Vec::new();
        let report = self
            .with_files(caller, what, &session, checked, async |owner| {
                files = self.deps.sandboxes.read_files(&owner, &id, paths).await?;
                Ok(json!({}))
            })
            .await;
        (report, files)
    }

    /// Answers `{entries, truncated}`.
    pub async fn list_files(
        &self,
        caller: &Caller,
        session: InSession,
        path: String,
        recursive: bool,
    ) -> JobReport {
        let what = deed(
            "sandbox.fs.list",
            Some(&session.id),
            json!({"recursive": recursive}),
        );
        let id = session.id.clone();
        self.with_files(caller, what, &session, Ok(()), async |owner| {
            let sandboxes = &self.deps.sandboxes;
            let listing = sandboxes
                .list_files(&owner, &id, path, recursive, MAX_LISTED, false)
                .await?;
            match listing.problem {
                Some(problem) => Err(SandboxError::Refused { why: problem.message }),
                None => Ok(json!({"entries": listing.entries, "truncated": listing.truncated})),
            }
        })
        .await
    }

    /// What lies in a directory of each of the caller's sessions, as far as it can be told now: for a list of names only, so it
    /// leaves no entry in the audit and takes no permit.
    ///
    /// # Errors
    /// When the caller has such lists made already, as many as may be at once.
    pub async fn files_in(
        &self,
        caller: &Caller,
        directory: &str,
    ) -> Result<Vec<(SandboxId, FileEntry)>, SandboxError> {
        if self.allowed(None).is_err() {
            return Ok(Vec::new());
        }
        let owner = Owner::of(&caller.principal);
        let _look = self.looks.begin(&owner)?;
        let sandboxes = &self.deps.sandboxes;
        let sessions = sandboxes.list(&owner).await.unwrap_or_default();
        let listings = sessions.iter().map(async |session| {
            let path = directory.to_owned();
            let listed = sandboxes
                .list_files(&owner, session.id.as_str(), path, true, MAX_LISTED, true)
                .await;
            let entries = listed.map(|listing| listing.entries).unwrap_or_default();
            entries
                .into_iter()
                .map(|entry| (session.id.clone(), entry))
                .collect::<Vec<_>>()
        });
        let listings = futures::future::join_all(listings).await;
        Ok(listings.into_iter().flatten().collect())
    }

    async fn with_files(
        &self,
        caller: &Caller,
        what: What,
        session: &InSession,
        checked: Result<(), Ended>,
        body: impl AsyncFnOnce(Owner) -> Result<Value, SandboxError>,
    ) -> JobReport {
        let asked = async {
            self.allowed(session.admin_token.as_deref())?;
            checked?;
            let tenant = self.tenant(caller).await?;
            Ok((Some(Share::from(&tenant.limits)), Owner::of(&caller.principal)))
        };
        self.run(caller, what, asked.await, async |owner, _, cancel| {
            let done = tokio::select! {
                biased;
                () = cancel.cancelled() => return (Ended::Scheduled(Scheduled::Cancelled), None),
                done = body(owner) => done,
            };
            let ended = done.map_or_else(Ended::from, |done| Ended::Done(json_bytes(&done)));
            (ended, None)
        })
        .await
    }

    fn allowed(&self, admin_token: Option<&str>) -> Result<(), Ended> {
        self.deps.admin.check(admin_token).map_err(Ended::NotAllowed)
    }
}

fn deed(name: &'static str, session: Option<&str>, details: Value) -> What {
    // What can't be the id of one is nobody's, and may be anything.
    let session = session.and_then(|id| id.parse::<SandboxId>().ok());
    let details: Map<_, _> = match details {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    };
    What::Sandbox(SandboxDeed {
        name,
        session: session.map(String::from),
        details,
    })
}

/// All commands together show no more than one call may print.
fn cut_output(shown: &mut Value, most: u64) {
    let mut left = usize::try_from(most).unwrap_or(usize::MAX);
    let commands = shown.get_mut("commands").and_then(Value::as_array_mut);
    for command in commands.into_iter().flatten().filter_map(Value::as_object_mut) {
        for (stream, truncated) in [
            ("stdout", "stdoutTruncatedBytes"),
            ("stderr", "stderrTruncatedBytes"),
        ] {
            let Some(Value::String(text)) = command.get_mut(stream) else {
                continue;
            };
            let mut kept = left.min(text.len());
            while !text.is_char_boundary(kept) {
                kept -= 1;
            }
            left -= kept;
            let cut = text.len() - kept;
            if cut > 0 {
                text.truncate(kept);
                text.push_str(&format!("\n[... {cut} bytes left out ...]"));
                let before = command.get(truncated).and_then(Value::as_u64).unwrap_or(0);
                command.insert(truncated.to_owned(), (before + cut as u64).into());
            }
        }
    }
}

fn timeout(tenant: &Tenant, ms: Option<u64>) -> Result<Option<TimeoutMs>, Ended> {
    let Some(ms) = ms else { return Ok(None) };
    let timeout = TimeoutMs::new(ms).map_err(|error| Ended::InvalidInput(error.to_string()))?;
    tenant.policy.check_timeout(timeout)?;
    Ok(Some(timeout))
}

fn count(what: &str, count: usize) -> Result<(), Ended> {
    if (1..=MAX_FILES).contains(&count) {
        Ok(())
    } else {
        let text = format!("{what} must have 1 to {MAX_FILES} entries, got {count}");
        Err(Ended::InvalidInput(text))
    }
}

fn shown(path: &str) -> String {
    path.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_together_show_no_more_than_one_call_may_print() {
        let mut shown = json!({"commands": [
            {"stdout": "ab", "stderr": "c"},
            {"stdout": "dé", "stderr": "f", "stdoutTruncatedBytes": 2},
            {"stdout": "", "stderr": "g"},
        ]});
        cut_output(&mut shown, 5);
        let cut = |count: u32, kept: &str| format!("{kept}\n[... {count} bytes left out ...]");
        assert_eq!(
            shown["commands"],
            json!([
                {"stdout": "ab", "stderr": "c"},
                {"stdout": cut(2, "d"), "stderr": "f", "stdoutTruncatedBytes": 4},
                {"stdout": "", "stderr": cut(1, ""), "stderrTruncatedBytes": 1},
            ])
        );
        let mut without = json!({"commandId": "cmd_1"});
        cut_output(&mut without, 0);
        assert_eq!(without, json!({"commandId": "cmd_1"}));
    }
}
