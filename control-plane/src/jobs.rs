//! The one function in which a job lives: validate → take a permit → open the audit entry → place → run → close the
//! audit entry → give the permit back. Every call of a tool, every ephemeral run and everything that is done in a sandbox
//! session goes through [`Jobs::run`].

mod locks;
mod looks;
mod report;
mod sandbox;

use std::sync::Arc;

use bytes::Bytes;
use dynamic_mcp_shared::ids::{JobId, TenantId};
use dynamic_mcp_shared::job::{Dependency, Isolation, Job, JobEvent, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{MAX_CODE_CHARS, TimeoutMs};
use dynamic_mcp_shared::policy;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use self::locks::LockCache;
use self::looks::Looks;
pub use self::report::JobReport;
use self::report::{CutOff, Ended};
pub use self::sandbox::{Exec, FilesToRead, FilesToWrite, InSession, NewSandbox, RunInSandbox};
use crate::audit::{Action, Audit, Entry, Verdict};
use crate::auth::AdminGate;
use crate::dependency_lock::Lock;
use crate::guard::{Guard, Permit, SILENCE_ENDS_CODE, Scope, Share};
use crate::metric_names::{self, Stage};
use crate::principal::Caller;
use crate::registry::RuntimeChoice;
use crate::registry::cache::{Tool, ToolCache};
use crate::registry::schema::{self, SchemaCheck};
use crate::runtimes::{Names, NoRuntime, Runtimes};
use crate::sandbox::Sandboxes;
use crate::scheduler::client::ResolveError;
use crate::scheduler::{NeverStarted, Scheduled, Scheduler};
use crate::tenant::Tenant;

/// A run that stores nothing.
#[derive(Debug, Clone)]
pub struct Ephemeral {
    pub code: String,
    pub args: Value,
    pub runtime: Option<RuntimeChoice>,
    pub image: Option<String>,
    pub dependencies: Vec<Dependency>,
    pub timeout_ms: Option<u64>,
}

/// What they work with.
pub struct JobsDeps {
    pub guard: Arc<dyn Guard>,
    /// For what holds for the caller's tenant.
    pub cache: Arc<ToolCache>,
    pub audit: Audit,
    pub scheduler: Arc<Scheduler>,
    pub runtimes: Arc<Runtimes>,
    pub sandboxes: Arc<Sandboxes>,
    /// For sandbox sessions.
    pub admin: AdminGate,
    pub lifecycle: Lifecycle,
}

pub struct Jobs {
    deps: JobsDeps,
    locks: LockCache,
    looks: Looks,
}

/// What is to run, its arguments checked.
struct Work {
    what: What,
    /// What holds for it.
    tenant: Arc<Tenant>,
    code: Bytes,
    runtime: Wanted,
    image: String,
    isolation: Isolation,
    dependencies: Vec<Dependency>,
    lock: Option<Lock>,
    timeout: TimeoutMs,
    args: Bytes,
}

/// What the code is to run on.
enum Wanted {
    Settled(Runtime),
    /// To be settled once the run has its permit, since reading code costs something.
    Open {
        given: Option<RuntimeChoice>,
        names: Names,
    },
}

/// Where it is counted and what the audit calls it.
#[derive(Clone)]
enum What {
    Tool(Arc<Tool>),
    /// An example of a tool that is about to be written.
    Example(Arc<Tool>),
    Ephemeral,
    Sandbox(SandboxDeed),
}

/// Something that is done with a sandbox session.
#[derive(Clone)]
struct SandboxDeed {
    /// Its tool, under which it is counted and audited.
    name: &'static str,
    /// The session's id.
    session: Option<String>,
    /// Sizes and counts: nothing of what was sent.
    details: Map<String, Value>,
}

impl Jobs {
    pub fn new(deps: JobsDeps) -> Self {
        let locks = LockCache::new(deps.scheduler.clone());
        Self {
            deps,
            locks,
            looks: Looks::default(),
        }
    }

    /// Calls a tool with what its `run(args)` is to get.
    pub async fn call_tool(
        &self,
        caller: &Caller,
        tool: &Arc<Tool>,
        args: Value,
        events: Option<mpsc::Sender<JobEvent>>,
    ) -> JobReport {
        let work = self.tool_work(caller, tool, &args).await;
        self.run_code(caller, What::Tool(tool.clone()), work, events)
            .await
    }

    /// The same with one that is not there yet.
    pub async fn try_tool(&self, caller: &Caller, tool: &Arc<Tool>, args: Value) -> JobReport {
        let what = What::Example(tool.clone());
        let work = self.tool_work(caller, tool, &args).await.map(|work| Work {
            what: what.clone(),
            ..work
        });
        self.run_code(caller, what, work, None).await
    }

    /// Runs code once and stores nothing.
    pub async fn run_ephemeral(
        &self,
        caller: &Caller,
        run: Ephemeral,
        events: Option<mpsc::Sender<JobEvent>>,
    ) -> JobReport {
        let work = self.ephemeral_work(caller, run).await;
        self.run_code(caller, What::Ephemeral, work, events).await
    }

    /// What holds for the caller's tenant right now.
    async fn tenant(&self, caller: &Caller) -> Result<Arc<Tenant>, Ended> {
        let tools = self.deps.cache.tools(&caller.principal.tenant).await;
        tools
            .map(|tools| tools.tenant().clone())
            .map_err(Ended::UnknownTenant)
    }

    async fn tool_work(&self, caller: &Caller, tool: &Arc<Tool>, args: &Value) -> Result<Work, Ended> {
        if let Some(schema) = &tool.input {
            schema
                .check(args)
                .map_err(|violations| Ended::InvalidInput(schema::describe("arguments", &violations)))?;
        }
        let spec = &tool.record.spec;
        let tenant = self.tenant(caller).await?;
        let policy = &tenant.policy;
        // Checked when the tool was written, and again here: a policy may have become stricter since.
        policy.check_isolation(spec.isolation)?;
        if spec.runs_on == Runtime::Node {
            policy.check_image(&spec.image)?;
            policy.check_dependencies(&spec.dependencies)?;
            if let Some(lock) = &tool.lock {
                lock.check(policy)?;
            }
        }
        Ok(Work {
            what: What::Tool(tool.clone()),
            code: tool.code.clone(),
            runtime: Wanted::Settled(spec.runs_on),
            image: spec.image.clone(),
            isolation: spec.isolation,
            dependencies: spec.dependencies.clone(),
            lock: tool.lock.clone(),
            timeout: spec.timeout_ms.min(policy.max_timeout()),
            args: json_bytes(args),
            tenant,
        })
    }

    async fn ephemeral_work(&self, caller: &Caller, run: Ephemeral) -> Result<Work, Ended> {
        let tenant = self.tenant(caller).await?;
        let policy = &tenant.policy;
        let code_chars = run.code.chars().count();
        if !(1..=MAX_CODE_CHARS).contains(&code_chars) {
            return Err(Ended::InvalidInput(format!(
                "code must have 1 to {MAX_CODE_CHARS} characters, got {code_chars}"
            )));
        }
        let timeout = match run.timeout_ms {
            Some(ms) => TimeoutMs::new(ms).map_err(|error| Ended::InvalidInput(error.to_string()))?,
            None => TimeoutMs::DEFAULT.min(policy.max_timeout()),
        };
        policy.check_timeout(timeout)?;
        let names = Names {
            image: run.image.is_some(),
            dependencies: !run.dependencies.is_empty(),
        };
        let image = match run.image {
            Some(image) => policy::parse_image(&image)
                .map_err(|allowed| Ended::InvalidInput(format!("image {image:?}: {allowed}")))?,
            None => policy.default_image().to_owned(),
        };
        if names.image {
            policy.check_image(&image)?;
        }
        policy.check_dependencies(&run.dependencies)?;
        Ok(Work {
            what: What::Ephemeral,
            code: run.code.into(),
            runtime: Wanted::Open {
                given: run.runtime,
                names,
            },
            image,
            isolation: Isolation::Call,
            dependencies: run.dependencies,
            lock: None,
            timeout,
            args: json_bytes(&run.args),
            tenant,
        })
    }

    async fn run_code(
        &self,
        caller: &Caller,
        what: What,
        work: Result<Work, Ended>,
        events: Option<mpsc::Sender<JobEvent>>,
    ) -> JobReport {
        let asked = work.map(|work| (Some(Share::from(&work.tenant.limits)), work));
        self.run(caller, what, asked, async |work, id, cancel| {
            let (job, args) = match self.job(caller, id, &work, &cancel).await {
                Ok(job) => (job, work.args),
                Err(ended) => return (ended, None),
            };
            let runtime = job.runtime;
            let ended = Ended::Scheduled(self.deps.scheduler.run(job, args, events, &cancel).await);
            (ended.checked(work.what.output()), Some(runtime))
        })
        .await
    }

    /// `work`: what is to be done, and of what share of the guard's permits it needs one. `body` does it, until it is told
    /// to stop, and says how it ended and on what it was to run, where it came so far.
    async fn run<T>(
        &self,
        caller: &Caller,
        what: What,
        work: Result<(Option<Share>, T), Ended>,
        body: impl AsyncFnOnce(T, JobId, CancellationToken) -> (Ended, Option<Runtime>),
    ) -> JobReport {
        let id = JobId::generate();
        let span =
            tracing::info_span!("job", job.id = %id, tenant = %caller.principal.tenant, tool = what.target());
        let started = Instant::now();
        // Keeps the process up until the answer is there, within the grace time of a shutdown.
        let _held = self.deps.lifecycle.hold();
        let admitted = self.admit(caller, &what, work).instrument(span.clone()).await;
        let (ended, runtime, entry) = match (admitted, self.deps.audit.begin(caller, what.action()).await) {
            (Ok((work, mut permit)), Ok(entry)) => {
                let cancel = caller.cancel.child_token();
                let body = body(work, id.clone(), cancel.clone());
                let revoked = permit.as_ref().map(|permit| permit.revoked());
                let run = self.execute(caller, cancel, revoked, body).instrument(span);
                let (ended, runtime) = run.await;
                if !ended.outcome().is_ok() {
                    mark_failed(&mut permit);
                }
                if let Some(permit) = permit
                    && ended.may_run_on()
                {
                    self.give_back_later(permit);
                }
                (ended, runtime, Some(entry))
            }
            (Ok((_, mut permit)), Err(unaudited)) => {
                mark_failed(&mut permit);
                (Ended::Unaudited(unaudited), None, None)
            }
            (Err(ended), entry) => (ended, None, entry.ok()),
        };
        let report = JobReport::new(id, ended, runtime, started.elapsed());
        if let Some(entry) = entry {
            close(entry, &report);
        }
        metrics::counter!(metric_names::CALLS, "kind" => what.kind(), "outcome" => report.outcome.as_str())
            .increment(1);
        Stage::Total.record(report.duration);
        report
    }

    /// When the executor has found the connection broken too, and ended the code: until then its slot is nobody else's.
    fn give_back_later(&self, permit: Box<dyn Permit>) {
        let hard = self.deps.lifecycle.hard().clone();
        self.deps.lifecycle.spawn(async move {
            let _either = tokio::time::timeout(SILENCE_ENDS_CODE, hard.cancelled()).await;
            drop(permit);
        });
    }

    /// Everything that can end a job before there is one.
    async fn admit<T>(
        &self,
        caller: &Caller,
        what: &What,
        work: Result<(Option<Share>, T), Ended>,
    ) -> Result<(T, Option<Box<dyn Permit>>), Ended> {
        let (share, work) = work?;
        if self.deps.lifecycle.soft().is_cancelled() {
            return Err(Ended::ShuttingDown);
        }
        let Some(share) = share else {
            return Ok((work, None));
        };
        let scope = Scope {
            tenant: caller.principal.tenant.clone(),
            name: what.scope(),
        };
        let asked = Instant::now();
        let permit = tokio::select! {
            biased;
            () = caller.cancel.cancelled() => return Err(Ended::Scheduled(Scheduled::Cancelled)),
            permit = self.deps.guard.acquire(&scope, share).instrument(tracing::info_span!("guard")) => permit,
        };
        let permit = match permit {
            Ok(permit) => permit,
            // A guard that takes leave refuses, too.
            Err(_) if self.deps.lifecycle.soft().is_cancelled() => return Err(Ended::ShuttingDown),
            Err(refusal) => return Err(Ended::Refused(refusal)),
        };
        Stage::Guard.record(asked.elapsed());
        Ok((work, Some(permit)))
    }

    /// Until it has ended, or is told to and has.
    async fn execute(
        &self,
        caller: &Caller,
        cancel: CancellationToken,
        revoked: Option<&CancellationToken>,
        body: impl Future<Output = (Ended, Option<Runtime>)>,
    ) -> (Ended, Option<Runtime>) {
        let revoked = async {
            match revoked {
                Some(revoked) => revoked.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(body);
        let hard = self.deps.lifecycle.hard();
        let mut is_revoked = false;
        let (ended, runtime) = tokio::select! {
            ended = &mut body => ended,
            () = hard.cancelled() => {
                cancel.cancel();
                body.await
            }
            () = revoked => {
                is_revoked = true;
                cancel.cancel();
                body.await
            }
        };
        // A shutdown ends requests as well, as their clients would.
        let ended = match (hard.is_cancelled(), caller.cancel.is_cancelled()) {
            (true, _) => ended.cut_off(CutOff::ShutDown),
            (false, false) if is_revoked => ended.cut_off(CutOff::Revoked),
            _ => ended,
        };
        (ended, runtime)
    }

    async fn job(
        &self,
        caller: &Caller,
        id: JobId,
        work: &Work,
        cancel: &CancellationToken,
    ) -> Result<Job, Ended> {
        let runtime = self.runtime(work).await?;
        let tenant = caller.principal.tenant.clone();
        // Only now it is known that the default image is what it runs in; a tool's own was checked before.
        if runtime == Runtime::Node && matches!(work.runtime, Wanted::Open { .. }) {
            work.tenant.policy.check_image(&work.image)?;
        }
        let lock = match (&work.lock, work.dependencies.is_empty()) {
            (None, false) => Some(
                self.resolve(&tenant, &work.image, &work.dependencies, &work.tenant, cancel)
                    .await?,
            ),
            (lock, _) => lock.clone(),
        };
        let (tool, content_hash, revision) = match &work.what {
            What::Tool(tool) | What::Example(tool) => (
                Some(tool.record.spec.name.to_string()),
                Some(tool.record.content_hash.clone()),
                tool.record.revision,
            ),
            What::Ephemeral | What::Sandbox(_) => (None, None, 0),
        };
        Ok(Job {
            id,
            tenant,
            tool,
            runtime,
            image: work.image.clone(),
            isolation: work.isolation,
            content_hash,
            revision,
            code: work.code.clone(),
            dependency_lock: lock.map(|lock| lock.bytes().clone()),
            timeout: work.timeout,
            max_memory: work.tenant.limits.memory(),
            max_output_bytes: work.tenant.policy.max_output_bytes(),
            session: None,
        })
    }

    async fn runtime(&self, work: &Work) -> Result<Runtime, Ended> {
        let (given, names) = match work.runtime {
            Wanted::Settled(runtime) => return Ok(runtime),
            Wanted::Open { given, names } => (given, names),
        };
        let code = String::from_utf8_lossy(&work.code);
        match self.deps.runtimes.choose(given, names, &code).await {
            Ok(chosen) => Ok(chosen.runs_on),
            Err(error @ NoRuntime::Contradiction { .. }) => Err(Ended::InvalidInput(error.to_string())),
            Err(error @ NoRuntime::NeedsDocker { .. }) => Err(Ended::Scheduled(Scheduled::NeverStarted {
                kind: NeverStarted::Unsatisfiable,
                message: error.to_string(),
            })),
        }
    }

    /// The lock of an ephemeral run, or of a tool that was imported without one.
    async fn resolve(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
        limits: &Tenant,
        cancel: &CancellationToken,
    ) -> Result<Lock, Ended> {
        let resolved = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Ended::Scheduled(Scheduled::Cancelled)),
            resolved = self.locks.resolve(tenant, image, dependencies) => resolved,
        };
        let lock = resolved.map_err(|error| match error {
            ResolveError::Refused(why) => Ended::InvalidInput(why),
            ResolveError::Unavailable(why) => Ended::Scheduled(Scheduled::NeverStarted {
                kind: NeverStarted::Refused,
                message: why,
            }),
        })?;
        lock.check(&limits.policy)?;
        Ok(lock)
    }
}

impl What {
    fn scope(&self) -> String {
        match self {
            What::Tool(tool) | What::Example(tool) => format!("dynamic.exec.{}", tool.record.spec.name),
            What::Ephemeral => "run_js_ephemeral".to_owned(),
            What::Sandbox(deed) => deed.name.to_owned(),
        }
    }

    fn target(&self) -> Option<&str> {
        match self {
            What::Tool(tool) | What::Example(tool) => Some(tool.record.spec.name.as_str()),
            What::Ephemeral => None,
            What::Sandbox(deed) => deed.session.as_deref(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            What::Tool(_) | What::Example(_) => "tool",
            What::Ephemeral => "ephemeral",
            What::Sandbox(_) => "sandbox",
        }
    }

    fn output(&self) -> Option<&SchemaCheck> {
        match self {
            What::Tool(tool) | What::Example(tool) => tool.output.as_ref(),
            What::Ephemeral | What::Sandbox(_) => None,
        }
    }

    fn action(&self) -> Action<'_> {
        let (name, revision) = match self {
            What::Tool(tool) => ("dynamic.exec", Some(tool.record.revision)),
            What::Example(tool) => ("dynamic.tool.example", Some(tool.record.revision)),
            What::Ephemeral => ("run_js_ephemeral", None),
            What::Sandbox(deed) => (deed.name, None),
        };
        let details = match self {
            What::Sandbox(deed) => deed.details.clone(),
            _ => Map::new(),
        };
        Action {
            name,
            target: self.target(),
            revision,
            details,
        }
    }
}

fn mark_failed(permit: &mut Option<Box<dyn Permit>>) {
    if let Some(permit) = permit {
        permit.mark_failed();
    }
}

fn close(mut entry: Entry, report: &JobReport) {
    if let Some(runtime) = report.runtime {
        entry.add("runtime", runtime.as_str());
    }
    entry.close(match report.reason {
        Some(reason) => Verdict::Refused(reason),
        None => Verdict::Ran {
            outcome: report.outcome,
            duration: report.duration,
        },
    });
}

#[expect(clippy::expect_used, reason = "a JSON value always serializes")]
fn json_bytes(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a JSON value serializes").into()
}
