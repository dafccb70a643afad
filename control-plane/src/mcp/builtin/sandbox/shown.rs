//! What became of commands, for a program and for a person.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::Value;

use crate::jobs::JobReport;
use crate::mcp::result;

/// A command that failed is no failure of the call: its exit code is what was asked for.
pub(super) fn commands(report: JobReport) -> CallToolResult {
    let mut result = result::flattened(report, |_| None);
    let commands = result
        .structured_content
        .as_ref()
        .and_then(|shown| shown["commands"].as_array());
    let words: Vec<_> = commands.into_iter().flatten().map(in_words).collect();
    if !words.is_empty() {
        result.content.push(ContentBlock::text(words.join("\n")));
    }
    result
}

fn in_words(command: &Value) -> String {
    let text = |name: &str| command[name].as_str().unwrap_or_default();
    let mut words = format!("$ {}\n", text("command"));
    for stream in ["stdout", "stderr"] {
        let printed = text(stream);
        words.push_str(printed);
        if !printed.is_empty() && !printed.ends_with('\n') {
            words.push('\n');
        }
    }
    words.push_str(&match (&command["exitCode"], &command["signal"]) {
        (Value::Number(code), _) => format!("[exit code {code}]"),
        (_, Value::String(signal)) => format!("[ended by {signal}]"),
        _ => "[runs]".to_owned(),
    });
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_person_reads_what_a_terminal_would_have_shown() {
        let command =
            json!({"command": "ls", "exitCode": 2, "signal": null, "stdout": "a\n", "stderr": "no"});
        assert_eq!(in_words(&command), "$ ls\na\nno\n[exit code 2]");
        let killed =
            json!({"command": "yes", "exitCode": null, "signal": "SIGKILL", "stdout": "", "stderr": ""});
        assert_eq!(in_words(&killed), "$ yes\n[ended by SIGKILL]");
    }
}
