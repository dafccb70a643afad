//! Files under `/workspace/out` of a caller's sandbox sessions: `sandbox://<sessionId>/out/<path>`. Where the server asks for
//! an admin token, which a resource can't carry, there are none.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::ErrorData;
use rmcp::model::{CacheScope, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::json;

use super::unknown;
use crate::jobs::{InSession, JobReport};
use crate::mcp::McpDeps;
use crate::principal::Caller;
use crate::sandbox::{FileKind, ReadFile, SandboxError};

pub(in crate::mcp) const SCHEME: &str = "sandbox://";
/// In the container.
const DIRECTORY: &str = "/workspace/out";

pub(in crate::mcp) fn template() -> ResourceTemplate {
    ResourceTemplate::new("sandbox://{sessionId}/out/{+path}", "sandbox-file")
        .with_title("A file of a sandbox session")
        .with_description("A file that something in your sandbox session wrote under /workspace/out.")
}

pub(super) async fn list(deps: &McpDeps, caller: &Caller) -> Result<Vec<Resource>, ErrorData> {
    let files = deps.jobs.files_in(caller, DIRECTORY).await.map_err(busy)?;
    let files = files.into_iter().filter(|(_, file)| file.kind == FileKind::File);
    let resources = files
        .filter_map(|(session, file)| {
            let path = file.path.strip_prefix(DIRECTORY)?.strip_prefix('/')?;
            let name = path.rsplit('/').next().unwrap_or(path);
            let uri = format!("{SCHEME}{session}/out/{}", encode(path));
            let resource = Resource::new(uri, name)
                .with_title(path)
                .with_size(file.size_bytes);
            Some(resource.with_mime_type(mime_type(path)))
        })
        .collect();
    Ok(resources)
}

fn busy(error: SandboxError) -> ErrorData {
    let wait = error.retry_after().unwrap_or_default().as_millis();
    let data = json!({"reason": error.reason(), "retryAfterMs": u64::try_from(wait).unwrap_or(u64::MAX)});
    ErrorData::internal_error(error.to_string(), Some(data))
}

pub(super) async fn read(
    deps: &McpDeps,
    caller: &Caller,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let (session, path) = parse(uri).ok_or_else(|| unknown(uri))?;
    let session = InSession {
        admin_token: None,
        id: session.to_owned(),
    };
    let mime_type = mime_type(&path);
    let path = format!("{DIRECTORY}/{path}");
    let (report, files) = deps.jobs.read_files(caller, session, vec![path]).await;
    let contents = match files.into_iter().next() {
        Some(ReadFile::Read { content, .. }) => match String::from_utf8(content.to_vec()) {
            Ok(text) => ResourceContents::text(text, uri),
            Err(_) => ResourceContents::blob(STANDARD.encode(&content), uri),
        },
        Some(ReadFile::Problem(problem)) => {
            use crate::sandbox::FileProblemKind::{NotFound, Outside, WrongKind};
            return Err(match problem.kind {
                NotFound | Outside | WrongKind => unknown(uri),
                _ => ErrorData::invalid_params(problem.message, None),
            });
        }
        None => return Err(failed(uri, &report)),
    };
    Ok(ReadResourceResult::new(vec![contents.with_mime_type(mime_type)])
        .with_ttl_ms(0)
        .with_cache_scope(CacheScope::Private))
}

/// A session that is gone, or is somebody else's, has no resources.
fn failed(uri: &str, report: &JobReport) -> ErrorData {
    match (report.reason, &report.error) {
        (Some("not_found" | "session_lost" | "forbidden"), _) | (_, None) => unknown(uri),
        (_, Some(error)) => ErrorData::internal_error(error.message.clone(), None),
    }
}

/// The session's id and the path below the directory.
fn parse(uri: &str) -> Option<(&str, String)> {
    let (session, path) = uri.strip_prefix(SCHEME)?.split_once("/out/")?;
    let path = decode(path)?;
    let confined = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    (confined && !path.contains('\0')).then_some((session, path))
}

/// RFC 3986: what is not unreserved is written as its bytes in hex, but the slash.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = if first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            after
        } else {
            bytes.push(first);
            after
        };
    }
    String::from_utf8(bytes).ok()
}

fn mime_type(path: &str) -> &'static str {
    let extension = path.rsplit('/').next().and_then(|name| name.rsplit_once('.'));
    match extension
        .map(|(_, extension)| extension.to_ascii_lowercase())
        .as_deref()
    {
        Some("json") => "application/json",
        Some("html" | "htm") => "text/html",
        Some("md") => "text/markdown",
        Some("csv") => "text/csv",
        Some("txt" | "log" | "js" | "mjs" | "ts") => "text/plain",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("pdf") => "application/pdf",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uri_that_leads_out_of_the_directory_is_none() {
        for wrong in [
            "sandbox://a/out/../x",
            "sandbox://a/out/b/%2e%2e/%2e%2e/x",
            "sandbox://a/out/..%2Fx",
            "sandbox://a/out//etc/passwd",
            "sandbox://a/out/",
            "sandbox://a/in/x",
            "sandbox://a/out/%0",
            "sandbox://a/out/%ff",
            "sandbox://a/out/a%00b",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(
            parse("sandbox://a/out/b/c%20d.txt"),
            Some(("a", "b/c d.txt".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn every_path_comes_back_from_its_uri(path in "[^/\0]{1,9}(/[^/\0]{1,9}){0,3}") {
            prop_assume!(path.split('/').all(|part| part != "." && part != ".."));
            let uri = format!("{SCHEME}s/out/{}", encode(&path));
            prop_assert_eq!(parse(&uri), Some(("s", path)));
            prop_assert!(uri.is_ascii());
        }
    }
}
