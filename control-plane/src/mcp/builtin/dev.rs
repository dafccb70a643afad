//! `dev.echo` and `time.now`: small tools that need no sandbox.

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use rmcp::model::{CallToolResult, Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::{Builtin, Call, Invocation, schemas};
use crate::mcp::arguments::{Arguments, BadArgument};
use crate::mcp::result;

pub(super) fn tools() -> Vec<Builtin> {
    let echo = Tool::new(
        "dev.echo",
        "Answers with the message it was given, for trying out a connection.",
        schemas::object(
            json!({
                "message": {"type": "string", "description": "What to send back."},
                "uppercase": {"type": "boolean", "default": false, "description": "In capital letters."}
            }),
            &["message"],
        ),
    )
    .with_title("Echo")
    .with_annotations(
        ToolAnnotations::new()
            .read_only(true)
            .idempotent(true)
            .open_world(false),
    );
    let now = Tool::new(
        "time.now",
        "The time now, in a time zone of the IANA database.",
        schemas::object(
            json!({
                "timeZone": {
                    "type": "string", "default": "UTC",
                    "description": "An IANA name: UTC, Europe/Berlin, Asia/Shanghai."
                }
            }),
            &[],
        ),
    )
    .with_title("Time")
    .with_annotations(
        ToolAnnotations::new()
            .read_only(true)
            .idempotent(false)
            .open_world(false),
    );
    vec![
        Builtin::new(echo, Call::Echo).hidden_in_mvp(),
        Builtin::new(now, Call::TimeNow).hidden_in_mvp(),
    ]
}

pub(super) fn echo(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["message", "uppercase"])?;
    let mut message = arguments.string("message")?;
    if arguments.optional_boolean("uppercase")?.unwrap_or(false) {
        message = message.to_uppercase();
    }
    // As JavaScript counts: in UTF-16 units.
    let length = message.encode_utf16().count();
    Ok(result::said(
        message.as_str(),
        json!({"message": message, "length": length}),
    ))
}

pub(super) fn time_now(invocation: Invocation<'_>) -> Result<CallToolResult, BadArgument> {
    let mut arguments = Arguments::new(invocation.arguments, &["timeZone"])?;
    let zone = arguments.optional_string("timeZone")?;
    Ok(result::shown(time_in(
        invocation.deps.clock.now(),
        zone.as_deref().unwrap_or("UTC"),
    )?))
}

fn time_in(now: DateTime<Utc>, name: &str) -> Result<Value, BadArgument> {
    let zone: Tz = name.parse().map_err(|_| {
        let shown: String = name.chars().take(60).collect();
        BadArgument::new(format!(
            "timeZone {shown:?} is invalid: it must be a name of the IANA time zone database, such as UTC or Europe/Berlin"
        ))
    })?;
    let iso = if zone == Tz::UTC {
        now.to_rfc3339_opts(SecondsFormat::Millis, true)
    } else {
        now.with_timezone(&zone)
            .to_rfc3339_opts(SecondsFormat::Millis, false)
    };
    Ok(json!({"iso": iso, "unixSeconds": now.timestamp(), "timeZone": name}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_784_894_400_250).expect("a time")
    }

    #[test]
    fn the_time_carries_the_offset_of_its_zone() {
        let utc = time_in(noon(), "UTC").expect("UTC");
        assert_eq!(
            utc,
            json!({"iso": "2026-07-24T12:00:00.250Z", "unixSeconds": 1_784_894_400, "timeZone": "UTC"})
        );
        let berlin = time_in(noon(), "Europe/Berlin").expect("a zone");
        assert_eq!(berlin["iso"], "2026-07-24T14:00:00.250+02:00");
    }

    #[test]
    fn an_unknown_zone_is_refused_by_name() {
        let error = time_in(noon(), "Mars/Base").unwrap_err().to_string();
        assert!(
            error.contains("Mars/Base") && error.contains("invalid"),
            "{error}"
        );
    }
}
