//! The tables `audit_events` and `audit_anchors`. Nothing of a tenant is read here but by a transaction that names the
//! tenant; verification, which looks across them, says so and needs a role that may.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, FromRow as _, PgConnection, PgPool, Postgres, Row as _, Transaction};
use tokio::time::timeout;

use super::{Anchor, StoreError, column, number};
use crate::audit::chain::{Hex128, Seal};
use crate::audit::columns::Columns;
use crate::postgres_pool;

const MAX_CONNECTIONS: u32 = 2;
const DEADLINE: Duration = Duration::from_secs(10);
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(2);
/// Dropping partitions waits for whoever reads them.
const RETENTION_DEADLINE: Duration = Duration::from_secs(60);
/// Partitions are made for as many months ahead.
const MONTHS_AHEAD: i32 = 2;

/// Cheap to clone.
#[derive(Clone)]
pub struct PostgresAudit {
    pool: PgPool,
}

/// A line as the database has it.
pub(in crate::audit) struct StoredLine {
    pub(in crate::audit) chain: String,
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) line: String,
    pub(in crate::audit) columns: Columns,
}

/// A line on its way.
pub(super) struct NewLine {
    pub(super) chain: Hex128,
    pub(super) seq: u64,
    pub(super) mac: Hex128,
    pub(super) line: String,
    pub(super) columns: Columns,
}

impl NewLine {
    /// `None`: nobody of ours wrote it, and the database could not hold it.
    pub(super) fn of(line: Vec<u8>) -> Option<Self> {
        let seal = Seal::of(&line)?;
        let (chain, seq, mac) = (seal.chain, seal.seq, seal.mac);
        let columns = Columns::of(&line)?;
        let line = String::from_utf8(line).ok()?;
        let holdable =
            i64::try_from(seq).is_ok_and(|seq| seq > 0) && !line.contains('\0') && !columns.has_nul();
        holdable.then_some(Self {
            chain,
            seq,
            mac,
            line,
            columns,
        })
    }
}

/// What the retention would take.
pub(super) struct Expiring {
    pub(super) before: DateTime<Utc>,
    pub(super) through: Vec<(Hex128, u64)>,
}

impl PostgresAudit {
    /// Of a database whose schema is migrated. It connects when it is used.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn new(url: &SecretString, schema: &str) -> Result<Self, StoreError> {
        // The text of a URL's fault could hold a part of it, the password included.
        let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| {
            StoreError::Config(
                "is not a URL of the form postgres://user:password@host:port/database".to_owned(),
            )
        })?;
        let options = options
            .application_name("dynamic-mcp-audit")
            .options([
                ("search_path", schema),
                ("lock_timeout", "5000"),
                // Of a replica that is gone without a word the others would wait for its locks.
                ("idle_in_transaction_session_timeout", "10000"),
            ])
            .disable_statement_logging();
        let pool = postgres_pool::options()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_DEADLINE)
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    pub(super) async fn make_partitions(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let made = sqlx::query("SELECT audit_make_partitions($1, $2)")
            .bind(now)
            .bind(MONTHS_AHEAD)
            .execute(&self.pool);
        in_time(DEADLINE, "make partitions of", made).await.map(drop)
    }

    /// How far the database has each of these chains.
    pub(super) async fn heads(&self, chains: &[Hex128]) -> Result<HashMap<Hex128, u64>, StoreError> {
        let chains: Vec<String> = chains.iter().map(Hex128::to_string).collect();
        let rows = sqlx::query("SELECT chain, seq FROM audit_anchors WHERE chain = ANY($1)")
            .bind(chains)
            .try_map(|row: PgRow| Ok((code(&row, "chain")?, number(row.try_get("seq")?))))
            .fetch_all(&self.pool);
        Ok(in_time(DEADLINE, "read the anchors of", rows)
            .await?
            .into_iter()
            .collect())
    }

    /// The lines and the anchors of their chains, or neither. What is there already stays as it is.
    pub(super) async fn append(&self, lines: &[NewLine], log: Hex128, place: &str) -> Result<(), StoreError> {
        let work = async {
            let mut transaction = self.pool.begin().await?;
            insert(&mut transaction, lines).await?;
            anchor(&mut transaction, lines, log, place).await?;
            transaction.commit().await
        };
        in_time(DEADLINE, "append to", work).await
    }

    pub(super) async fn expiring(&self, cutoff: DateTime<Utc>) -> Result<Option<Expiring>, StoreError> {
        let read = |row: PgRow| {
            let chain: Option<String> = row.try_get("expiring_chain")?;
            let chain = match chain {
                Some(_) => Some((code(&row, "expiring_chain")?, number(row.try_get("through")?))),
                None => None,
            };
            Ok((row.try_get::<DateTime<Utc>, _>("expires_before")?, chain))
        };
        let rows = sqlx::query("SELECT expires_before, expiring_chain, through FROM audit_expiring($1)")
            .bind(cutoff)
            .try_map(read)
            .fetch_all(&self.pool);
        let rows = in_time(RETENTION_DEADLINE, "look for old lines in", rows).await?;
        Ok(rows.first().map(|(before, _)| Expiring {
            before: *before,
            through: rows.iter().filter_map(|(_, chain)| *chain).collect(),
        }))
    }

    pub(super) async fn expire(&self, before: DateTime<Utc>) -> Result<i32, StoreError> {
        let dropped = sqlx::query_scalar("SELECT audit_expire($1)")
            .bind(before)
            .fetch_one(&self.pool);
        in_time(RETENTION_DEADLINE, "drop old lines of", dropped).await
    }

    /// One transaction in which everything stays as it is, and that names whose lines it reads.
    pub(in crate::audit) async fn reading(
        &self,
        setting: &'static str,
        value: &str,
    ) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begun = async {
            let mut transaction = self
                .pool
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await?;
            sqlx::query("SELECT set_config($1, $2, true)")
                .bind(setting)
                .bind(value)
                .execute(&mut *transaction)
                .await?;
            Ok(transaction)
        };
        in_time(DEADLINE, "read", begun).await
    }
}

impl StoredLine {
    pub(in crate::audit) fn read(row: PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            chain: row.try_get("chain")?,
            seq: number(row.try_get("seq")?),
            line: row.try_get("line")?,
            columns: Columns::from_row(&row)?,
        })
    }
}

/// Every anchor, for a transaction of [`PostgresAudit::reading`].
pub(in crate::audit) async fn anchors(connection: &mut PgConnection) -> Result<Vec<Anchor>, StoreError> {
    let read = |row: PgRow| {
        Ok(Anchor {
            chain: code(&row, "chain")?,
            log: code(&row, "log")?,
            place: row.try_get("place")?,
            seq: number(row.try_get("seq")?),
            mac: code(&row, "mac")?,
            at: row.try_get("at")?,
        })
    };
    sqlx::query("SELECT chain, log, place, seq, mac, at FROM audit_anchors")
        .try_map(read)
        .fetch_all(connection)
        .await
        .map_err(StoreError::sql("read the anchors of"))
}

/// Whether this role reads the lines of all tenants, in a transaction that says that it verifies.
pub(in crate::audit) async fn may_see_all(connection: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT NOT row_security_active('audit_events'::regclass) OR EXISTS (
             SELECT FROM pg_catalog.pg_policy
             WHERE polrelid = 'audit_events'::regclass AND polcmd IN ('r', '*')
                 AND polname <> 'audit_events_of_the_tenant'
                 AND EXISTS (
                     SELECT FROM unnest(polroles) AS role
                     WHERE CASE WHEN role = 0 THEN true ELSE pg_has_role(current_user, role, 'USAGE') END
                 )
         )",
    )
    .fetch_one(connection)
    .await
    .map_err(StoreError::sql("look at the policies of"))
}

async fn insert(connection: &mut PgConnection, lines: &[NewLine]) -> Result<(), sqlx::Error> {
    let text = |part: fn(&Columns) -> &Option<String>| -> Vec<Option<&str>> {
        lines.iter().map(|line| part(&line.columns).as_deref()).collect()
    };
    // No conflict target: naming columns would need the right to read the rows of all tenants.
    sqlx::query(
        "INSERT INTO audit_events (chain, seq, at, line, phase, tenant_id, entry_id, action, target, subject, client,
             request_id, trace_id, verdict, outcome, reason, revision, duration_ms)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
             $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
             $15::text[], $16::text[], $17::bigint[], $18::double precision[])
         ON CONFLICT DO NOTHING",
    )
    .bind(lines.iter().map(|line| line.chain.to_string()).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| column(line.seq)).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.columns.at).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.line.as_str()).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.columns.phase.as_str()).collect::<Vec<_>>())
    .bind(text(|columns| &columns.tenant))
    .bind(text(|columns| &columns.id))
    .bind(text(|columns| &columns.action))
    .bind(text(|columns| &columns.target))
    .bind(text(|columns| &columns.subject))
    .bind(text(|columns| &columns.client))
    .bind(text(|columns| &columns.request_id))
    .bind(text(|columns| &columns.trace_id))
    .bind(text(|columns| &columns.verdict))
    .bind(text(|columns| &columns.outcome))
    .bind(text(|columns| &columns.reason))
    .bind(lines.iter().map(|line| line.columns.revision).collect::<Vec<_>>())
    .bind(lines.iter().map(|line| line.columns.duration_ms).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

async fn anchor(
    connection: &mut PgConnection,
    lines: &[NewLine],
    log: Hex128,
    place: &str,
) -> Result<(), sqlx::Error> {
    let mut last: HashMap<Hex128, &NewLine> = HashMap::new();
    for line in lines {
        let newest = last.entry(line.chain).or_insert(line);
        if line.seq > newest.seq {
            *newest = line;
        }
    }
    let mut last: Vec<_> = last.into_values().collect();
    // Two replicas that bring the same chains lock them in the same order.
    last.sort_unstable_by_key(|line| line.chain);
    sqlx::query(
        "INSERT INTO audit_anchors AS anchor (chain, log, place, seq, mac, at)
         SELECT chain, $5, $6, seq, mac, at
         FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::timestamptz[]) AS line (chain, seq, mac, at)
         ON CONFLICT (chain) DO UPDATE SET
             log = excluded.log, place = excluded.place, seq = excluded.seq, mac = excluded.mac, at = excluded.at
         WHERE excluded.seq > anchor.seq",
    )
    .bind(last.iter().map(|line| line.chain.to_string()).collect::<Vec<_>>())
    .bind(last.iter().map(|line| column(line.seq)).collect::<Vec<_>>())
    .bind(last.iter().map(|line| line.mac.to_string()).collect::<Vec<_>>())
    .bind(last.iter().map(|line| line.columns.at).collect::<Vec<_>>())
    .bind(log.to_string())
    .bind(place)
    .execute(connection)
    .await
    .map(drop)
}

fn code(row: &PgRow, name: &str) -> Result<Hex128, sqlx::Error> {
    let text: String = row.try_get(name)?;
    text.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

async fn in_time<T>(
    limit: Duration,
    step: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match timeout(limit, work).await {
        Ok(ended) => ended.map_err(StoreError::sql(step)),
        Err(_) => Err(StoreError::Timeout),
    }
}
