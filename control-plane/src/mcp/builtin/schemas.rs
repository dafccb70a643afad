//! JSON Schemas of arguments, with the limits of the contract, in the one place where they are written for clients.
//! What is enforced is enforced by the use cases; these tell an agent how to be right the first time.

use std::sync::Arc;

use dynamic_mcp_shared::limits::{MAX_CODE_CHARS, TimeoutMs};
use dynamic_mcp_shared::policy::{DEFAULT_IMAGE, MAX_DEPENDENCIES};
use rmcp::model::JsonObject;
use serde_json::{Value, json};

/// Only these properties; those in `required` must be there.
pub(super) fn object(properties: Value, required: &[&str]) -> Arc<JsonObject> {
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties);
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    Arc::new(schema)
}

pub(super) fn nothing() -> Arc<JsonObject> {
    object(json!({}), &[])
}

pub(super) fn admin_token() -> Value {
    json!({
        "type": "string",
        "description": "The operator's token. Needed only where the server was started with one."
    })
}

pub(super) fn visibility() -> Value {
    json!({
        "type": "string",
        "enum": ["tenant", "shared"],
        "default": "tenant",
        "description": "Whose tools are meant: those of your own tenant, or those that the operator shares with all \
            tenants. shared is for operators."
    })
}

pub(super) fn name() -> Value {
    json!({
        "type": "string",
        "pattern": "^[a-zA-Z][a-zA-Z0-9._:-]{2,63}$",
        "description": "3 to 64 letters, digits, '.', '_', ':' or '-', the first a letter. Names that begin with \
            dynamic., sandbox. or system., those of built-in tools, and what looks like either are reserved."
    })
}

pub(super) fn expected_revision() -> Value {
    json!({
        "type": "integer",
        "minimum": 1,
        "description": "Write only if the tool still has this revision; otherwise the answer is a conflict that names \
            the actual one. Without it the last write wins."
    })
}

pub(super) fn revision(description: &str) -> Value {
    json!({"type": "integer", "minimum": 1, "description": description})
}

pub(super) fn code() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_CODE_CHARS,
        "description": "JavaScript: the body of `async function run(args, ctx)`. Return any JSON value. \
            Use `await import('…')` for modules. Example: const { text } = args; return { upper: text.toUpperCase() };"
    })
}

pub(super) fn runtime() -> Value {
    json!({
        "type": "string",
        "enum": ["node", "isolate", "auto"],
        "description": "What the code runs on. isolate: JavaScript alone, in a millisecond and without Docker; it \
            has no npm packages, no files, no process, no fetch, no Intl, and of the modules only the likes of \
            node:crypto, node:util, node:url, node:path, node:events, node:buffer and node:assert. node: Node.js with \
            all its modules, dependencies and image; needs Docker. auto: isolate where the code asks for nothing that it \
            lacks, otherwise node; the answer says which and why. Leave it out for the server's default. With image or \
            dependencies it is node."
    })
}

pub(super) fn image() -> Value {
    json!({
        "type": "string",
        "pattern": "^[a-zA-Z0-9][a-zA-Z0-9_.:/-]{0,199}$",
        "description": format!("Container image; it must be on the operator's list. Usually {DEFAULT_IMAGE}; leave it out.")
    })
}

pub(super) fn timeout_ms() -> Value {
    json!({
        "type": "integer",
        "minimum": TimeoutMs::MIN.as_millis(),
        "maximum": TimeoutMs::MAX.as_millis(),
        "default": TimeoutMs::DEFAULT.as_millis(),
        "description": "How long one call may take, in milliseconds; then it is killed (outcome timed_out)."
    })
}

pub(super) fn dependencies() -> Value {
    json!({
        "type": "array",
        "maxItems": MAX_DEPENDENCIES,
        "description": "npm packages to import. They are resolved now, installed without install scripts, and mounted \
            read-only; a call itself has no network.",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "As in the registry: lodash, @scope/package"},
                "version": {"type": "string", "description": "A semver range or tag: ^4.17.0, 1.x, latest"}
            },
            "required": ["name", "version"],
            "additionalProperties": false
        }
    })
}

/// The parts of a tool that its author decides, but its name.
pub(super) fn tool_parts() -> JsonObject {
    let parts = json!({
        "title": {"type": "string", "minLength": 1, "maxLength": 120, "description": "A short name for people."},
        "description": {
            "type": "string", "minLength": 1, "maxLength": 4000,
            "description": "What the tool does and what its arguments mean; clients choose a tool by it."
        },
        "code": code(),
        "runtime": runtime(),
        "image": image(),
        "timeoutMs": timeout_ms(),
        "dependencies": dependencies(),
        "enabled": {"type": "boolean", "default": true, "description": "A disabled tool is kept but neither listed nor callable."},
        "isolation": {
            "type": "string", "enum": ["call", "tool"], "default": "call",
            "description": "call: every call gets a fresh sandbox. tool: calls of this revision may share one, one after \
                the other, with the module loaded once, which is faster; whatever the code keeps in globals or files \
                is then seen by later callers."
        },
        "inputSchema": {
            "type": "object",
            "description": "JSON Schema 2020-12 of the arguments, with type object at its root. Clients then call the \
                tool with these arguments directly, and run() gets them as args, already checked. Without it the \
                tool is called as {\"args\": {...}} and nothing is checked."
        },
        "outputSchema": {
            "type": "object",
            "description": "JSON Schema 2020-12 of what the code returns, with type object at its root. The result is \
                checked, and is then the call's structuredContent as it is."
        },
        "examples": {
            "type": "array",
            "maxItems": 10,
            "description": "Calls that are run now, each in a sandbox. If one fails, or its result is not what it expects, \
                nothing is written and the answer says why. They run again whenever the tool is changed.",
            "items": {
                "type": "object",
                "properties": {
                    "args": {"type": "object", "description": "What run() gets as args."},
                    "expect": {"description": "The result; left out, any will do."}
                },
                "required": ["args"],
                "additionalProperties": false
            }
        }
    });
    match parts {
        Value::Object(parts) => parts,
        _ => JsonObject::new(),
    }
}
