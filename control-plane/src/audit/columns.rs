//! What a line says, as the database has it in columns.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row as _};

/// Of an entry's line or a record; a record has few of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Columns {
    #[serde(rename = "ts")]
    pub(super) at: DateTime<Utc>,
    pub(super) phase: String,
    pub(super) tenant: Option<String>,
    pub(super) id: Option<String>,
    pub(super) action: Option<String>,
    pub(super) target: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) client: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) verdict: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) revision: Option<i64>,
    pub(super) duration_ms: Option<f64>,
}

impl Columns {
    /// `None`: it is no line of the log.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// What the database can't hold, nor the log: it has no control characters.
    pub(super) fn has_nul(&self) -> bool {
        let texts = [
            Some(&self.phase),
            self.tenant.as_ref(),
            self.id.as_ref(),
            self.action.as_ref(),
            self.target.as_ref(),
            self.subject.as_ref(),
            self.client.as_ref(),
            self.request_id.as_ref(),
            self.trace_id.as_ref(),
            self.verdict.as_ref(),
            self.outcome.as_ref(),
            self.reason.as_ref(),
        ];
        texts.into_iter().flatten().any(|text| text.contains('\0'))
    }
}

impl FromRow<'_, PgRow> for Columns {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            at: row.try_get("at")?,
            phase: row.try_get("phase")?,
            tenant: row.try_get("tenant_id")?,
            id: row.try_get("entry_id")?,
            action: row.try_get("action")?,
            target: row.try_get("target")?,
            subject: row.try_get("subject")?,
            client: row.try_get("client")?,
            request_id: row.try_get("request_id")?,
            trace_id: row.try_get("trace_id")?,
            verdict: row.try_get("verdict")?,
            outcome: row.try_get("outcome")?,
            reason: row.try_get("reason")?,
            revision: row.try_get("revision")?,
            duration_ms: row.try_get("duration_ms")?,
        })
    }
}
