//! What `tools/list` says of `dynamic.tool.*`.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::super::{Builtin, Call, schemas};
use super::CatalogTool;
use super::past::MAX_PAGE;

const CREATE: &str = "Creates a tool out of JavaScript. From then on tools/list shows it under its name to every client of \
this tenant, and each call of it runs in a sandbox.

`code` is the body of `async function run(args, ctx)`, run as a module: read `args`, use `await`, and return any JSON \
value. Throw an Error to fail; its message is what the caller reads. Import modules, and the packages in `dependencies`, \
with `await import('node:crypto')`. `ctx.progress(done, total?, message?)` tells a waiting caller how far it is. A call has \
no network and sees no files of the host. What it prints is returned beside the result.

`runtime` is what it runs on. Take `isolate` for plain JavaScript: data, text, dates, JSON, hashes, URLs; it starts in \
a millisecond and needs no Docker. Take `node` for npm packages, Node.js modules, process, Intl, and files under \
/workspace and /tmp. With `auto` the code decides.

Without `inputSchema` the tool is called as {\"args\": {...}}. With one, clients pass the arguments as the schema says, and \
they are checked before the code runs. With `outputSchema`, what it returns is checked too.

Example: {\"tool\": {\"name\": \"text.upper\", \"description\": \"Puts a text in capitals\", \"code\": \"return { upper: \
args.text.toUpperCase() };\", \"inputSchema\": {\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}}, \
\"required\": [\"text\"], \"additionalProperties\": false}}}

Answers with {tool: {name, revision, runtime, runsOn, …}, runtime: {requested, runsOn, why, warning?}} without the code. \
Clients that do not notice new tools can run it with \
dynamic.tool.call.";

const UPDATE: &str = "Changes a tool: `patch` names the fields to change, the others stay as they are; null takes away \
title, inputSchema or outputSchema. Each write makes a new revision, and calls that begin later run it. Pass \
expectedRevision to be sure that nobody wrote in between. A change of code, image, dependencies or runtime settles anew \
what an `auto` tool runs on. Answers with {tool: {…}, runtime?: {requested, runsOn, why, warning?}} without the code.";

const DELETE: &str = "Deletes a tool. Calls of it that already run are not interrupted. A tool made later under the same name \
goes on counting revisions.";

const ENABLE: &str = "Switches a tool on or off. A tool that is off is kept, but leaves tools/list and can't be called. \
Answers with {tool: {…}}.";

const GET: &str = "One tool in full, with its code, schemas, what it runs on, revision and times: {tool: {…}}. Disabled tools too.";

const HISTORY: &str = "What a tool was: its revisions, the newest first, with who wrote each and when, deleted tools too: {name, \
revisions: [{revision, action, contentHash, actor, createdAt, …}], nextBefore?}. Pass nextBefore as `before` for those \
before. Each can be compared with dynamic.tool.diff and had back with dynamic.tool.rollback.";

const DIFF: &str = "What changed from one revision of a tool to another: `code` is a unified diff, `changed` has the other \
fields, each {from, to}. `same` says whether both run the same thing.";

const ROLLBACK: &str = "Makes a tool what it was at an earlier revision, as a new revision; a deleted one is there again. It is \
refused when the policy does not allow what it was any more. Pass expectedRevision to be sure that nobody wrote in \
between. Answers with {tool: {…}} without the code.";

const LIST: &str = "All tools that were made with dynamic.tool.create, disabled ones too: {tools: [{…}]}. With includeCode \
their code as well. Those with visibility shared are the operator's; one of your own of the same name hides it.";

const CALL: &str = "Runs a tool by its name, for clients whose list of tools is not up to date. `args` is what its \
run(args) gets; it is checked against the tool's inputSchema, if there is one. With `revision` or `contentHash` it is \
refused if something else runs by now. The answer is that of the tool: \
structuredContent is {ok, result, durationMs, outcome, revision, …}.";

pub(in crate::mcp::builtin) fn tools() -> Vec<Builtin> {
    let mut tools = writers();
    tools.extend(readers());
    tools.push(caller());
    tools.extend(about_the_past());
    tools
}

fn writers() -> Vec<Builtin> {
    let mut tool = schemas::tool_parts();
    tool.insert("name".to_owned(), schemas::name());
    let create = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "tool": object(tool, &["name", "description", "code"])
        }),
        &["tool"],
    );
    let update = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name(),
            "patch": patch(),
            "expectedRevision": schemas::expected_revision()
        }),
        &["name", "patch"],
    );
    let delete = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name(),
            "expectedRevision": schemas::expected_revision()
        }),
        &["name"],
    );
    let enable = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name(),
            "enabled": {"type": "boolean", "description": "true: on, false: off."},
            "expectedRevision": schemas::expected_revision()
        }),
        &["name", "enabled"],
    );
    let adds = || {
        ToolAnnotations::new()
            .read_only(false)
            .destructive(false)
            .open_world(false)
    };
    let replaces = || {
        ToolAnnotations::new()
            .read_only(false)
            .destructive(true)
            .open_world(false)
    };
    [
        (
            CatalogTool::Create,
            Tool::new("dynamic.tool.create", CREATE, create),
            "Create a tool",
            adds().idempotent(false),
        ),
        (
            CatalogTool::Update,
            Tool::new("dynamic.tool.update", UPDATE, update),
            "Update a tool",
            replaces().idempotent(false),
        ),
        (
            CatalogTool::Delete,
            Tool::new("dynamic.tool.delete", DELETE, delete),
            "Delete a tool",
            replaces().idempotent(true),
        ),
        (
            CatalogTool::Enable,
            Tool::new("dynamic.tool.enable", ENABLE, enable),
            "Enable or disable a tool",
            replaces().idempotent(true),
        ),
    ]
    .into_iter()
    .map(|(call, tool, title, hints)| builtin(Call::Catalog(call), tool, title, hints))
    .collect()
}

fn readers() -> Vec<Builtin> {
    let get = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name()
        }),
        &["name"],
    );
    let list = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "includeCode": {"type": "boolean", "default": false, "description": "With the code of each."}
        }),
        &[],
    );
    let reads = || {
        ToolAnnotations::new()
            .read_only(true)
            .idempotent(true)
            .open_world(false)
    };
    vec![
        builtin(
            Call::Catalog(CatalogTool::Get),
            Tool::new("dynamic.tool.get", GET, get),
            "Get a tool",
            reads(),
        ),
        builtin(
            Call::Catalog(CatalogTool::List),
            Tool::new("dynamic.tool.list", LIST, list),
            "List tools",
            reads(),
        ),
    ]
}

/// Beyond what it takes to make tools and to call them.
fn about_the_past() -> impl Iterator<Item = Builtin> {
    let history = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name(),
            "before": schemas::revision("Only revisions below this one."),
            "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20, "description": "How many."}
        }),
        &["name"],
    );
    let diff = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name(),
            "from": schemas::revision("The earlier of the two, as a rule."),
            "to": schemas::revision("The other one.")
        }),
        &["name", "from", "to"],
    );
    let rollback = schemas::object(
        json!({
            "adminToken": schemas::admin_token(),
            "visibility": schemas::visibility(),
            "name": schemas::name(),
            "to": schemas::revision("The revision to go back to."),
            "expectedRevision": schemas::expected_revision()
        }),
        &["name", "to"],
    );
    let hints = ToolAnnotations::new().open_world(false);
    let reads = hints.clone().read_only(true).idempotent(true);
    let replaces = hints.read_only(false).destructive(true).idempotent(false);
    [
        builtin(
            Call::Catalog(CatalogTool::History),
            Tool::new("dynamic.tool.history", HISTORY, history),
            "History of a tool",
            reads.clone(),
        ),
        builtin(
            Call::Catalog(CatalogTool::Diff),
            Tool::new("dynamic.tool.diff", DIFF, diff),
            "Compare two revisions of a tool",
            reads,
        ),
        builtin(
            Call::Catalog(CatalogTool::Rollback),
            Tool::new("dynamic.tool.rollback", ROLLBACK, rollback),
            "Roll a tool back",
            replaces,
        ),
    ]
    .into_iter()
    .map(Builtin::hidden_in_mvp)
}

fn caller() -> Builtin {
    let call = schemas::object(
        json!({
            "name": schemas::name(),
            "args": {"type": "object", "default": {}, "description": "What run() gets as args."},
            "revision": schemas::revision("Only if this is the revision that runs now."),
            "contentHash": {"type": "string", "description": "Only if what runs now has this contentHash."}
        }),
        &["name"],
    );
    let hints = ToolAnnotations::new()
        .read_only(false)
        .destructive(false)
        .idempotent(false)
        .open_world(false);
    builtin(
        Call::ByName,
        Tool::new("dynamic.tool.call", CALL, call),
        "Call a tool by name",
        hints,
    )
}

fn builtin(call: Call, tool: Tool, title: &str, hints: ToolAnnotations) -> Builtin {
    Builtin::new(tool.with_title(title).with_annotations(hints), call)
}

/// Everything but the name, none of it required, and `null` for what can be taken away.
fn patch() -> Value {
    let mut parts = schemas::tool_parts();
    for (part, kind) in [
        ("title", "string"),
        ("inputSchema", "object"),
        ("outputSchema", "object"),
    ] {
        if let Some(Value::Object(schema)) = parts.get_mut(part) {
            schema.insert("type".to_owned(), json!([kind, "null"]));
        }
    }
    for schema in parts.values_mut().filter_map(Value::as_object_mut) {
        // A default would read as what a patch without the field does.
        schema.remove("default");
    }
    let mut patch = object(parts, &[]);
    patch["minProperties"] = 1.into();
    patch
}

fn object(properties: JsonObject, required: &[&str]) -> Value {
    Value::Object(
        schemas::object(Value::Object(properties), required)
            .as_ref()
            .clone(),
    )
}
