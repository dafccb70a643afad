//! `sandbox.fs.*`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rmcp::model::{CallToolResult, ContentBlock, JsonObject};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Invocation;
use super::in_session;
use crate::jobs::JobReport;
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::result;
use crate::sandbox::{FileProblem, FileProblemKind, NewFile, ReadFile};

const FILES: &str = "an array of {path, content, encoding?, mode?}";
const PATHS: &str = "an array of paths";
const ENCODINGS: &str = "\"utf8\" or \"base64\"";
const MAX_MODE: u32 = 0o777;

#[derive(Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Utf8,
    Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Encoding,
    mode: Option<u32>,
}

impl File {
    fn decoded(self, index: usize) -> Result<NewFile, BadArgument> {
        if self.mode.is_some_and(|mode| mode > MAX_MODE) {
            let text = format!("files[{index}].mode must be permission bits, 0 to 511 (octal 777)");
            return Err(BadArgument::new(text));
        }
        let content = match self.encoding {
            Encoding::Utf8 => Bytes::from(self.content),
            Encoding::Base64 => STANDARD.decode(&self.content).map(Bytes::from).map_err(|_| {
                BadArgument::new(format!(
                    "files[{index}].content is not base64, as its encoding says"
                ))
            })?,
        };
        Ok(NewFile {
            path: self.path,
            content,
            mode: self.mode,
        })
    }
}

pub(super) async fn write(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["adminToken", "sessionId", "files"])?;
    let session = in_session(&mut arguments)?;
    let files: Vec<File> = arguments
        .optional("files", FILES)?
        .ok_or_else(|| BadArgument::new(format!("files is required and must be {FILES}")))?;
    let files = files
        .into_iter()
        .enumerate()
        .map(|(index, file)| file.decoded(index));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let report = invocation
        .deps
        .jobs
        .write_files(invocation.caller, session, files)
        .await;
    Ok(with_problems(report, "written"))
}

pub(super) async fn read(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let allowed = &["adminToken", "sessionId", "paths", "encoding"];
    let mut arguments = Arguments::new(invocation.arguments, allowed)?;
    let session = in_session(&mut arguments)?;
    let paths: Vec<String> = arguments
        .optional("paths", PATHS)?
        .ok_or_else(|| BadArgument::new(format!("paths is required and must be {PATHS}")))?;
    let encoding: Option<Encoding> = arguments.optional("encoding", ENCODINGS)?;
    let (mut report, files) = invocation
        .deps
        .jobs
        .read_files(invocation.caller, session, paths)
        .await;
    if report.outcome.is_ok() {
        let (mut read, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            match shown(file, encoding) {
                Ok(file) => read.push(file),
                Err(problem) => problems.push(problem),
            }
        }
        report.result = Some(json!({"files": read, "problems": problems}).to_string().into());
    }
    Ok(without_contents(with_problems(report, "read")))
}

/// What is in the files stands in the structure: in words as well, it would be in memory and on the wire twice.
fn without_contents(mut result: CallToolResult) -> CallToolResult {
    let Some(Value::Object(shown)) = &result.structured_content else {
        return result;
    };
    let listed = |name: &str| shown.get(name).and_then(Value::as_array).into_iter().flatten();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let read = listed("files").map(|file| {
        let (path, encoding) = (text(file, "path"), text(file, "encoding"));
        format!("{path} ({} bytes, {encoding})", file["sizeBytes"])
    });
    let problems = listed("problems").map(|one| format!("{}: {}", text(one, "path"), text(one, "message")));
    let words: Vec<_> = read.chain(problems).collect();
    if let Some(json) = result.content.first_mut().filter(|_| !words.is_empty()) {
        *json = ContentBlock::text(words.join("\n"));
    }
    result
}

/// Without an encoding that was asked for: text where it is text.
fn shown(file: ReadFile, encoding: Option<Encoding>) -> Result<Value, FileProblem> {
    let (entry, content) = match file {
        ReadFile::Read { entry, content } => (entry, content),
        ReadFile::Problem(problem) => return Err(problem),
    };
    let text = match encoding {
        Some(Encoding::Base64) => None,
        _ => std::str::from_utf8(&content).ok(),
    };
    let (content, encoding) = match (text, encoding) {
        (Some(text), _) => (text.to_owned(), "utf8"),
        (None, Some(Encoding::Utf8)) => {
            return Err(FileProblem {
                path: entry.path,
                kind: FileProblemKind::Refused,
                message: "it is not UTF-8; read it with encoding base64".to_owned(),
            });
        }
        (None, _) => (STANDARD.encode(&content), "base64"),
    };
    let mut shown = json!(entry);
    shown["content"] = content.into();
    shown["encoding"] = encoding.into();
    Ok(shown)
}

pub(super) async fn list(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let allowed = &["adminToken", "sessionId", "path", "recursive"];
    let mut arguments = Arguments::new(invocation.arguments, allowed)?;
    let session = in_session(&mut arguments)?;
    let path = arguments
        .optional_string("path")?
        .unwrap_or_else(|| "/workspace".to_owned());
    let recursive = arguments.optional_boolean("recursive")?.unwrap_or(false);
    let jobs = &invocation.deps.jobs;
    let report = jobs.list_files(invocation.caller, session, path, recursive).await;
    Ok(result::flattened(report, |_| None))
}

/// The call has failed when one of its files has; what there is of the others stands in it all the same.
fn with_problems(report: JobReport, done: &str) -> CallToolResult {
    result::flattened(report, |fields: &JsonObject| {
        let problems = fields.get("problems")?.as_array()?;
        let first = problems.first()?;
        let text = |name: &str| first[name].as_str().unwrap_or_default();
        let (path, message) = (text("path"), text("message"));
        Some(match problems.len() {
            1 => format!("{path} could not be {done}: {message}"),
            count => format!("{count} files could not be {done}; the first: {path}: {message}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{FileEntry, FileKind};

    fn file(content: &'static [u8]) -> ReadFile {
        ReadFile::Read {
            entry: FileEntry {
                path: "/workspace/a".to_owned(),
                kind: FileKind::File,
                size_bytes: content.len() as u64,
                modified_ms: 0,
                mode: 0o644,
            },
            content: Bytes::from_static(content),
        }
    }

    #[test]
    fn text_comes_as_text_and_the_rest_as_base64() {
        let text = shown(file("é".as_bytes()), None).unwrap();
        assert_eq!(
            (&text["content"], &text["encoding"]),
            (&json!("é"), &json!("utf8"))
        );
        let binary = shown(file(b"\xff\x00"), None).unwrap();
        assert_eq!(
            (&binary["content"], &binary["encoding"]),
            (&json!("/wA="), &json!("base64"))
        );
        let asked = shown(file(b"a"), Some(Encoding::Base64)).unwrap();
        assert_eq!(asked["content"], "YQ==");
        assert!(shown(file(b"\xff"), Some(Encoding::Utf8)).is_err());
    }

    #[test]
    fn what_is_not_base64_is_refused_with_its_place() {
        let file = File {
            path: "a".to_owned(),
            content: "%".to_owned(),
            encoding: Encoding::Base64,
            mode: None,
        };
        let refused = file.decoded(3).err().map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.starts_with("files[3].content")));
    }
}
