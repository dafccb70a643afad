//! `sandbox.*`: sessions, what runs in them, and their files. The work is that of the jobs.

mod about;
mod files;
mod shown;

use dynamic_mcp_shared::job::Dependency;
use rmcp::model::CallToolResult;
use serde_json::Value;

pub(super) use self::about::tools;
use super::Invocation;
use super::ephemeral::DEPENDENCIES;
use crate::jobs::{Exec, InSession, NewSandbox, RunInSandbox};
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::result::{self, Called};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SandboxTool {
    Initialize,
    Exec,
    RunJs,
    Stop,
    List,
    WriteFiles,
    ReadFiles,
    ListFiles,
    GetCommand,
    KillCommand,
}

const MILLISECONDS: &str = "a whole number of milliseconds";

pub(super) async fn call(
    tool: SandboxTool,
    invocation: Invocation<'_>,
) -> Result<CallToolResult, BadArgument> {
    match tool {
        SandboxTool::Initialize => initialize(invocation).await,
        SandboxTool::Exec => exec(invocation).await,
        SandboxTool::RunJs => run_js(invocation).await,
        SandboxTool::Stop => stop(invocation).await,
        SandboxTool::List => list(invocation).await,
        SandboxTool::WriteFiles => files::write(invocation).await,
        SandboxTool::ReadFiles => files::read(invocation).await,
        SandboxTool::ListFiles => files::list(invocation).await,
        SandboxTool::GetCommand => command(invocation, false).await,
        SandboxTool::KillCommand => command(invocation, true).await,
    }
}

fn in_session(arguments: &mut Arguments) -> Result<InSession, BadArgument> {
    Ok(InSession {
        admin_token: arguments.secret("adminToken")?,
        id: arguments.string("sessionId")?,
    })
}

async fn initialize(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken", "image", "timeoutMs"])?;
    let new = NewSandbox {
        admin_token: arguments.secret("adminToken")?,
        image: arguments.optional_string("image")?,
        timeout_ms: arguments.optional_integer("timeoutMs", 0, MILLISECONDS)?,
    };
    let report = invocation.deps.jobs.open_sandbox(invocation.caller, new).await;
    Ok(result::flattened(report, |_| None))
}

async fn exec(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        feedback,
        ..
    } = invocation;
    let allowed = &[
        "adminToken",
        "sessionId",
        "commands",
        "timeoutMs",
        "background",
        "continueOnError",
    ];
    let mut arguments = Arguments::new(arguments, allowed)?;
    let session = in_session(&mut arguments)?;
    let commands = "an array of 1 to 20 shell commands";
    let exec = Exec {
        commands: arguments
            .optional("commands", commands)?
            .ok_or_else(|| BadArgument::new(format!("commands is required and must be {commands}")))?,
        timeout_ms: arguments.optional_integer("timeoutMs", 0, MILLISECONDS)?,
        background: arguments.optional_boolean("background")?.unwrap_or(false),
        continue_on_error: arguments.optional_boolean("continueOnError")?.unwrap_or(false),
    };
    let report = feedback
        .while_printing(|sender| deps.jobs.exec(caller, session, exec, sender))
        .await;
    Ok(shown::commands(report))
}

async fn run_js(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        feedback,
        ..
    } = invocation;
    let allowed = &[
        "adminToken",
        "sessionId",
        "code",
        "args",
        "dependencies",
        "timeoutMs",
    ];
    let mut arguments = Arguments::new(arguments, allowed)?;
    let session = in_session(&mut arguments)?;
    let run = RunInSandbox {
        code: arguments.string("code")?,
        args: Value::Object(arguments.map("args")?),
        dependencies: arguments
            .optional::<Vec<Dependency>>("dependencies", DEPENDENCIES)?
            .unwrap_or_default(),
        timeout_ms: arguments.optional_integer("timeoutMs", 0, MILLISECONDS)?,
    };
    let report = feedback
        .during(|sender| deps.jobs.run_js(caller, session, run, sender))
        .await;
    feedback.console(&report).await;
    Ok(result::from_report(report, Called::default()))
}

async fn stop(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken", "sessionId"])?;
    let session = in_session(&mut arguments)?;
    let report = invocation
        .deps
        .jobs
        .stop_sandbox(invocation.caller, session)
        .await;
    Ok(result::flattened(report, |_| None))
}

async fn list(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken"])?;
    let token = arguments.secret("adminToken")?;
    let jobs = &invocation.deps.jobs;
    let report = jobs.list_sandboxes(invocation.caller, token.as_deref()).await;
    Ok(result::flattened(report, |_| None))
}

async fn command(invocation: Invocation<'_>, kill: bool) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken", "sessionId", "commandId"])?;
    let session = in_session(&mut arguments)?;
    let command = arguments.string("commandId")?;
    let jobs = &invocation.deps.jobs;
    let report = jobs
        .sandbox_command(invocation.caller, session, command, kill)
        .await;
    Ok(shown::commands(report))
}
