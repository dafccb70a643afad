//! Entries in Postgres: one tenant's, which the transaction names for row-level security and the statement once more.

use sqlx::FromRow as _;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{Cursor, Entry, Filter, Page};
use crate::audit::columns::Columns;
use crate::audit::store::{PostgresAudit, StoreError};

/// Of one question, on the server.
const LONGEST_MS: &str = "8000";
/// The closing line is of the same time or later, but for a clock that was set back; the hour lets months be skipped.
const STATEMENT: &str = "
    SELECT opened.at, opened.phase, opened.tenant_id, opened.entry_id, opened.action, opened.target, opened.subject,
        opened.client, opened.request_id, opened.trace_id, closed.verdict, closed.outcome, closed.reason,
        coalesce(closed.revision, opened.revision) AS revision, closed.duration_ms,
        opened.chain, opened.seq, closed.entry_id IS NOT NULL AS is_closed
    FROM audit_events AS opened
    LEFT JOIN LATERAL (
        SELECT * FROM audit_events AS line
        WHERE line.entry_id = opened.entry_id AND line.phase = 'closed' AND line.tenant_id = opened.tenant_id
            AND line.at >= opened.at - interval '1 hour'
        LIMIT 1
    ) AS closed ON true
    WHERE opened.tenant_id = $1 AND opened.phase = 'opened'
        AND ($2::text IS NULL OR opened.action = $2)
        AND ($3::text IS NULL OR opened.target = $3)
        AND ($4::text IS NULL OR opened.subject = $4)
        AND ($5::text IS NULL OR opened.client = $5)
        AND ($6::text IS NULL OR closed.verdict = $6)
        AND ($7::text IS NULL OR closed.outcome = $7)
        AND ($8::text IS NULL OR opened.request_id = $8)
        AND ($9::text IS NULL OR opened.trace_id = $9)
        AND ($10::timestamptz IS NULL OR opened.at >= $10)
        AND ($11::timestamptz IS NULL OR opened.at < $11)
        AND ($12::timestamptz IS NULL OR (opened.at, opened.chain, opened.seq) < ($12, $13, $14))
    ORDER BY opened.at DESC, opened.chain DESC, opened.seq DESC
    LIMIT $15";

pub(in crate::audit) async fn search(
    store: &PostgresAudit,
    filter: &Filter,
    limit: usize,
    after: Option<Cursor>,
) -> Result<Page, StoreError> {
    let mut transaction = store.reading("app.tenant", &filter.tenant).await?;
    sqlx::query("SELECT set_config('statement_timeout', $1, true)")
        .bind(LONGEST_MS)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::sql("search"))?;
    let mut found = sqlx::query(STATEMENT)
        .bind(&filter.tenant)
        .bind(&filter.action)
        .bind(&filter.target)
        .bind(&filter.subject)
        .bind(&filter.client)
        .bind(&filter.verdict)
        .bind(&filter.outcome)
        .bind(&filter.request_id)
        .bind(&filter.trace_id)
        .bind(filter.since)
        .bind(filter.until)
        .bind(after.map(|cursor| cursor.at))
        .bind(after.map(|cursor| cursor.chain.to_string()))
        .bind(after.map(|cursor| i64::try_from(cursor.seq).unwrap_or(i64::MAX)))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1))
        .try_map(entry)
        .fetch_all(&mut *transaction)
        .await
        .map_err(StoreError::sql("search"))?;
    transaction.commit().await.map_err(StoreError::sql("search"))?;
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(Page {
        next: found.last().map(|(_, cursor)| *cursor).filter(|_| more),
        entries: found.into_iter().map(|(entry, _)| entry).collect(),
    })
}

fn entry(row: PgRow) -> Result<(Entry, Cursor), sqlx::Error> {
    let columns = Columns::from_row(&row)?;
    let chain: String = row.try_get("chain")?;
    let seq: i64 = row.try_get("seq")?;
    let cursor = Cursor {
        at: columns.at,
        chain: chain
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        seq: u64::try_from(seq).unwrap_or_default(),
    };
    let closed = row.try_get::<bool, _>("is_closed")?.then(|| columns.clone());
    Ok((Entry::new(columns, closed), cursor))
}
