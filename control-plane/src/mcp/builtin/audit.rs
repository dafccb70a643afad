//! `system.audit.query`: what was done, for those who answer for the deployment.

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::ids::TenantId;
use rmcp::model::{CallToolResult, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{Builtin, Call, Invocation, schemas};
use crate::audit::{Cursor, Filter};
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::result;

const PAGE: u64 = 50;
const MAX_PAGE: u64 = 500;
const COUNT: &str = "a whole number from 1 to 500";
const TENANT: &str = "the id of a tenant";
const TIME: &str = "a time as 2026-01-31T12:00:00Z";
const CURSOR: &str = "the nextCursor of an earlier answer";
const ARGUMENTS: &[&str] = &[
    "adminToken",
    "tenant",
    "action",
    "target",
    "subject",
    "client",
    "verdict",
    "outcome",
    "requestId",
    "traceId",
    "since",
    "until",
    "limit",
    "cursor",
];

pub(super) fn tools() -> Vec<Builtin> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let time =
        |description: &str| json!({"type": "string", "format": "date-time", "description": description});
    let properties = json!({
        "adminToken": schemas::admin_token(),
        "tenant": text("Whose entries; your own tenant's if left out."),
        "action": text("Such as dynamic.exec (a call of a tool), run_js_ephemeral, dynamic.tool.create."),
        "target": text("The name of the tool."),
        "subject": text("Who did it."),
        "client": text("With which client."),
        "verdict": text("done, ran, refused, failed or abandoned."),
        "outcome": text("Of what ran: ok, threw, timed_out and so on."),
        "requestId": text("The x-request-id of the request."),
        "traceId": text("The trace that the request belonged to."),
        "since": time("Begun then or later."),
        "until": time("Begun before then."),
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": PAGE},
        "cursor": text("nextCursor of an earlier answer, with the same filters, for what comes after it."),
    });
    let query = Tool::new(
        "system.audit.query",
        "What was done on this server, by whom and with what outcome, the newest first: one entry for each action, without \
         code, arguments or results. An entry whose state is open has not ended, or its server was killed.",
        schemas::object(properties, &[]),
    )
    .with_title("Query the audit")
    .with_raw_output_schema(schemas::object(
        json!({
            "entries": {"type": "array", "items": {"type": "object"}},
            "nextCursor": {"type": "string"}
        }),
        &["entries"],
    ))
    .with_annotations(ToolAnnotations::new().read_only(true).open_world(false));
    vec![Builtin::new(query, Call::AuditQuery).hidden_in_mvp()]
}

pub(super) async fn query(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let Invocation {
        deps,
        caller,
        arguments,
        ..
    } = invocation;
    let mut arguments = Arguments::new(arguments, ARGUMENTS)?;
    let token = arguments.secret("adminToken")?;
    let tenant: Option<TenantId> = arguments.optional("tenant", TENANT)?;
    let filter = Filter {
        tenant: tenant.map_or_else(|| caller.principal.tenant.to_string(), String::from),
        action: arguments.optional_string("action")?,
        target: arguments.optional_string("target")?,
        subject: arguments.optional_string("subject")?,
        client: arguments.optional_string("client")?,
        verdict: arguments.optional_string("verdict")?,
        outcome: arguments.optional_string("outcome")?,
        request_id: arguments.optional_string("requestId")?,
        trace_id: arguments.optional_string("traceId")?,
        since: time(&mut arguments, "since")?,
        until: time(&mut arguments, "until")?,
    };
    let limit = arguments
        .optional_integer("limit", 1, COUNT)?
        .unwrap_or(PAGE)
        .min(MAX_PAGE);
    let cursor = match arguments.optional_string("cursor")? {
        None => None,
        Some(text) => {
            let wrong = |_| BadArgument::new(format!("cursor must be {CURSOR}"));
            Some(text.parse::<Cursor>().map_err(wrong)?)
        }
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = deps
        .trail
        .query(caller, token.as_deref(), filter, limit, cursor)
        .await;
    Ok(match found {
        Ok(page) => {
            let mut answer = json!({"entries": page.entries});
            if let Some(next) = page.next {
                answer["nextCursor"] = Value::from(next.to_string());
            }
            result::shown(answer)
        }
        Err(error) => result::refused(error.to_string(), error.kind()),
    })
}

fn time(arguments: &mut Arguments, name: &'static str) -> Result<Option<DateTime<Utc>>, BadArgument> {
    arguments.optional(name, TIME)
}
