//! `run_js_ephemeral`: code that runs once and is not kept.

use dynamic_mcp_shared::job::Dependency;
use rmcp::model::{CallToolResult, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{Builtin, Call, Invocation, schemas};
use crate::jobs::Ephemeral;
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::result::{self, Called};

pub(super) const RUNTIMES: &str = "\"node\", \"isolate\" or \"auto\"";
/// What a list of dependencies has to be, for the author of one that is something else.
pub(super) const DEPENDENCIES: &str = "an array of {name, version}";

pub(super) fn tools() -> Vec<Builtin> {
    let run = Tool::new(
        "run_js_ephemeral",
        "Runs JavaScript once in a sandbox of its own and stores nothing. `code` is the body of \
         `async function run(args, ctx)`: return any JSON value, throw an Error to fail, import modules with \
         `await import('…')`. There is no network. On runtime node, files can be written under /workspace and /tmp. \
         structuredContent is {ok, result, durationMs, outcome, runtime, stdout?, stderr?}.",
        schemas::object(
            json!({
                "code": schemas::code(),
                "args": {"type": "object", "default": {}, "description": "What run() gets as args."},
                "runtime": schemas::runtime(),
                "image": schemas::image(),
                "dependencies": schemas::dependencies(),
                "timeoutMs": schemas::timeout_ms()
            }),
            &["code"],
        ),
    )
    .with_title("Run JavaScript once")
    .with_annotations(ToolAnnotations::new().read_only(false).destructive(false).idempotent(false).open_world(false));
    vec![Builtin::new(run, Call::RunEphemeral)]
}

pub(super) async fn call(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        feedback,
        ..
    } = invocation;
    let mut arguments = Arguments::new(
        arguments,
        &["code", "args", "runtime", "image", "dependencies", "timeoutMs"],
    )?;
    let run = Ephemeral {
        code: arguments.string("code")?,
        args: Value::Object(arguments.map("args")?),
        runtime: arguments.optional("runtime", RUNTIMES)?,
        image: arguments.optional_string("image")?,
        dependencies: arguments
            .optional::<Vec<Dependency>>("dependencies", DEPENDENCIES)?
            .unwrap_or_default(),
        timeout_ms: arguments.optional_integer("timeoutMs", 0, "a whole number of milliseconds")?,
    };
    let report = feedback
        .during(|sender| deps.jobs.run_ephemeral(caller, run, sender))
        .await;
    feedback.console(&report).await;
    Ok(result::from_report(report, Called::default()))
}
