//! What was done, looked for by an operator: entries, each with what came of it, the newest first.

mod files;
mod postgres;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub(super) use self::files::search as search_files;
pub(super) use self::postgres::search as search_postgres;
use super::chain::Hex128;
use super::columns::Columns;
use super::record::timestamp;

/// All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub tenant: String,
    pub action: Option<String>,
    pub target: Option<String>,
    pub subject: Option<String>,
    pub client: Option<String>,
    pub verdict: Option<String>,
    pub outcome: Option<String>,
    pub request_id: Option<String>,
    pub trace_id: Option<String>,
    /// Opened then or later.
    pub since: Option<DateTime<Utc>>,
    /// Opened before then.
    pub until: Option<DateTime<Utc>>,
}

/// The entries after this one, towards the past. Opaque to whoever gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    at: DateTime<Utc>,
    chain: Hex128,
    seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of an earlier answer")]
pub struct NoCursor;

#[derive(Debug, Default)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Cursor>,
}

/// An opening line, and its closing line where there is one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub id: String,
    pub opened_at: String,
    /// `open` or `closed`.
    pub state: &'static str,
    pub tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
}

impl Filter {
    /// Whether an entry is wanted, by its opening line and its closing one.
    fn wants(&self, opened: &Columns, closed: Option<&Columns>) -> bool {
        let is = |wanted: &Option<String>, got: &Option<String>| wanted.is_none() || wanted == got;
        let came_of_it = |part: fn(&Columns) -> &Option<String>, wanted: &Option<String>| {
            wanted.is_none() || closed.is_some_and(|closed| part(closed) == wanted)
        };
        opened.tenant.as_ref() == Some(&self.tenant)
            && is(&self.action, &opened.action)
            && is(&self.target, &opened.target)
            && is(&self.subject, &opened.subject)
            && is(&self.client, &opened.client)
            && is(&self.request_id, &opened.request_id)
            && is(&self.trace_id, &opened.trace_id)
            && came_of_it(|columns| &columns.verdict, &self.verdict)
            && came_of_it(|columns| &columns.outcome, &self.outcome)
            && self.since.is_none_or(|since| opened.at >= since)
            && self.until.is_none_or(|until| opened.at < until)
    }
}

impl Entry {
    fn new(opened: Columns, closed: Option<Columns>) -> Self {
        let revision = closed.as_ref().and_then(|closed| closed.revision);
        let state = if closed.is_some() { "closed" } else { "open" };
        let (verdict, outcome, reason, duration_ms) = closed
            .map(|closed| (closed.verdict, closed.outcome, closed.reason, closed.duration_ms))
            .unwrap_or_default();
        Self {
            id: opened.id.unwrap_or_default(),
            opened_at: timestamp(opened.at),
            state,
            tenant: opened.tenant.unwrap_or_default(),
            subject: opened.subject,
            client: opened.client,
            request_id: opened.request_id,
            trace_id: opened.trace_id,
            action: opened.action,
            target: opened.target,
            revision: revision.or(opened.revision),
            verdict,
            outcome,
            reason,
            duration_ms,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:x}-{}-{:x}",
            self.at.timestamp_millis(),
            self.chain,
            self.seq
        )
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(NoCursor);
        let at = i64::from_str_radix(part()?, 16).map_err(|_| NoCursor)?;
        let chain = part()?.parse().map_err(|_| NoCursor)?;
        let seq = u64::from_str_radix(part()?, 16).map_err(|_| NoCursor)?;
        let at = DateTime::from_timestamp_millis(at).ok_or(NoCursor)?;
        Ok(Self { at, chain, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_none() {
        let cursor = Cursor {
            at: DateTime::from_timestamp_millis(1_234_567).unwrap(),
            chain: Hex128::random(),
            seq: 99,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", "1-2-3", "zz", "1-0123456789abcdef0123456789abcdef-", "--"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(NoCursor), "{wrong}");
        }
    }
}
