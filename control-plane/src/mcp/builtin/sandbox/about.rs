//! What `tools/list` says of `sandbox.*`.

use dynamic_mcp_shared::limits::TimeoutMs;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::super::{Builtin, Call, schemas};
use super::SandboxTool;

const INITIALIZE: &str = "Opens a sandbox session: a Linux container of your own without network, in which commands and \
JavaScript run one after the other and whose files under /workspace stay between calls. Answers with {sessionId, image, \
timeoutMs, idleSeconds, maxSeconds, expiresAt}. It ends with sandbox.stop, when it was not used for idleSeconds, or at \
expiresAt, and its files with it. Only you can use it.";

const EXEC: &str = "Runs shell commands (sh -c) in a sandbox session, in order, in /workspace; after one that fails the rest is \
skipped, unless continueOnError. Answers with {ok, outcome, durationMs, commands: [{command, exitCode, signal, stdout, stderr, …}], \
skipped}; a non-zero exitCode is no error of the call. Output comes as log messages and progress while it runs. With \
background: true it answers at once with {commandId}; sandbox.command.get shows how it goes on, and it ends with its session, \
or after timeoutMs if that is given.";

const RUN_JS: &str = "Runs JavaScript in a sandbox session with Node.js: `code` is the body of `async function run(args, ctx)`, \
in /workspace. Files persist between calls, and so do dependencies once installed. structuredContent is {ok, result, \
durationMs, outcome, stdout?, stderr?}.";

const STOP: &str = "Ends a sandbox session, with whatever runs in it and its files. Answers with {stopped}: false when there \
was no such session any more, which is no error.";

const LIST: &str = "Your sandbox sessions that are open: {sessions: [{id, image, createdAt, lastUsedAt}]}.";

const WRITE: &str = "Writes files into a sandbox session, many at once, under /workspace. Each is there whole or not at all. \
Directories are made as needed. Answers with {written: [{path, sizeBytes, …}], problems: [{path, kind, message}]}.";

const READ: &str = "Reads files of a sandbox session, many at once: {files: [{path, content, encoding, sizeBytes, …}], problems}. \
encoding is utf8 or base64; left out, each file comes as text if it is text. What lies under /workspace/out is offered as \
resources as well.";

const LIST_FILES: &str = "What lies in a directory of a sandbox session: {entries: [{path, kind, sizeBytes, modifiedMs, mode}], \
truncated}. At most 1000 entries.";

const GET: &str = "A command that was begun with background: true: {commandId, state: running|exited|killed|timed_out, startedAt, \
endedAt?, commands: [{command, exitCode, signal, stdout, stderr, …}]}.";

const KILL: &str = "Ends a command that was begun with background: true, and answers as sandbox.command.get does. One that has \
ended stays as it ended.";

pub(in crate::mcp::builtin) fn tools() -> Vec<Builtin> {
    let hints = |read_only: bool, idempotent: bool| {
        ToolAnnotations::new()
            .read_only(read_only)
            .destructive(false)
            .idempotent(idempotent)
            .open_world(false)
    };
    let ends = || hints(false, true).destructive(true);
    let tool = |tool,
                name: &'static str,
                title: &str,
                text: &'static str,
                fields: Value,
                required: &[&str],
                hints| {
        let shown = Tool::new(name, text, schemas::object(fields, required));
        let shown = shown.with_title(title).with_annotations(hints);
        Builtin::new(shown, Call::Sandbox(tool)).hidden_in_mvp()
    };
    let in_session = |fields: Value| {
        let mut all = json!({"adminToken": schemas::admin_token(), "sessionId": session_id()});
        if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
            all.extend(fields);
        }
        all
    };
    let new =
        json!({"adminToken": schemas::admin_token(), "image": schemas::image(), "timeoutMs": timeout_ms()});
    let of_command = in_session(
        json!({"commandId": {"type": "string", "description": "What sandbox.exec answered with."}}),
    );
    use SandboxTool as T;
    vec![
        tool(
            T::Initialize,
            "sandbox.initialize",
            "Open a sandbox session",
            INITIALIZE,
            new,
            &[],
            hints(false, false),
        ),
        tool(
            T::Exec,
            "sandbox.exec",
            "Run shell commands",
            EXEC,
            in_session(exec()),
            &["sessionId", "commands"],
            ends().idempotent(false),
        ),
        tool(
            T::RunJs,
            "sandbox.run_js",
            "Run JavaScript in a session",
            RUN_JS,
            in_session(run_js()),
            &["sessionId", "code"],
            ends().idempotent(false),
        ),
        tool(
            T::Stop,
            "sandbox.stop",
            "End a sandbox session",
            STOP,
            in_session(json!({})),
            &["sessionId"],
            ends(),
        ),
        tool(
            T::List,
            "sandbox.session.list",
            "List sandbox sessions",
            LIST,
            json!({"adminToken": schemas::admin_token()}),
            &[],
            hints(true, true),
        ),
        tool(
            T::WriteFiles,
            "sandbox.fs.write",
            "Write files",
            WRITE,
            in_session(files()),
            &["sessionId", "files"],
            ends(),
        ),
        tool(
            T::ReadFiles,
            "sandbox.fs.read",
            "Read files",
            READ,
            in_session(paths()),
            &["sessionId", "paths"],
            hints(true, true),
        ),
        tool(
            T::ListFiles,
            "sandbox.fs.list",
            "List files",
            LIST_FILES,
            in_session(directory()),
            &["sessionId"],
            hints(true, true),
        ),
        tool(
            T::GetCommand,
            "sandbox.command.get",
            "Look at a background command",
            GET,
            of_command.clone(),
            &["sessionId", "commandId"],
            hints(true, true),
        ),
        tool(
            T::KillCommand,
            "sandbox.command.kill",
            "End a background command",
            KILL,
            of_command,
            &["sessionId", "commandId"],
            ends(),
        ),
    ]
}

fn session_id() -> Value {
    json!({"type": "string", "description": "The sessionId that sandbox.initialize answered with."})
}

fn timeout_ms() -> Value {
    json!({
        "type": "integer",
        "minimum": TimeoutMs::MIN.as_millis(),
        "maximum": TimeoutMs::MAX.as_millis(),
        "description": "How long one call in the session may take, in milliseconds; then what runs is killed (outcome \
            timed_out), and the session stays. Of a call that names none it is the session's, but in the background there is none."
    })
}

fn exec() -> Value {
    json!({
        "commands": {
            "type": "array", "minItems": 1, "maxItems": 20,
            "items": {"type": "string", "minLength": 1, "maxLength": 20_000}
        },
        "timeoutMs": timeout_ms(),
        "background": {"type": "boolean", "default": false, "description": "Answer as soon as the commands have begun."},
        "continueOnError": {"type": "boolean", "default": false, "description": "Go on after a command that failed."}
    })
}

fn run_js() -> Value {
    json!({
        "code": schemas::code(),
        "args": {"type": "object", "default": {}, "description": "What run() gets as args."},
        "dependencies": schemas::dependencies(),
        "timeoutMs": timeout_ms()
    })
}

fn files() -> Value {
    json!({
        "files": {
            "type": "array", "minItems": 1, "maxItems": 200,
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Relative to /workspace, or beginning with it."},
                    "content": {"type": "string"},
                    "encoding": {"type": "string", "enum": ["utf8", "base64"], "default": "utf8"},
                    "mode": {"type": "integer", "minimum": 0, "maximum": 511, "description": "Permission bits; 420 (octal 644) if left out."}
                },
                "required": ["path", "content"],
                "additionalProperties": false
            }
        }
    })
}

fn paths() -> Value {
    json!({
        "paths": {"type": "array", "minItems": 1, "maxItems": 200, "items": {"type": "string"}},
        "encoding": {"type": "string", "enum": ["utf8", "base64"]}
    })
}

fn directory() -> Value {
    json!({
        "path": {"type": "string", "default": "/workspace"},
        "recursive": {"type": "boolean", "default": false}
    })
}
