//! The lines in Postgres: as they were written, in columns that agree with them, without a gap that neither the retention
//! nor a lost backlog accounts for, and up to their anchors.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::PgConnection;

use super::Verified;
use super::files::missing;
use super::ledger::Ledger;
use crate::audit::chain::{Hex128, KeyRing, Seal};
use crate::audit::columns::Columns;
use crate::audit::record::{Gap, Record};
use crate::audit::store::{Anchor, StoreError, StoredLine};

/// What the log itself says is not in the database.
#[derive(Default)]
struct Excuses {
    retained_from: Option<DateTime<Utc>>,
    through: BTreeMap<Hex128, u64>,
    unsent: Vec<Gap>,
}

impl Excuses {
    fn learn(&mut self, record: &Record) {
        match record {
            Record::Retained { before, through } => {
                self.retained_from = self.retained_from.max(Some(*before));
                for (&chain, &seq) in through {
                    let known = self.through.entry(chain).or_default();
                    *known = (*known).max(seq);
                }
            }
            Record::Unsent { gaps } => self.unsent.extend_from_slice(gaps),
            _ => {}
        }
    }

    /// The first of these lines that ought to be there.
    fn owed(&self, chain: Hex128, from: u64, to: u64) -> Option<u64> {
        let mut next = from.max(self.through.get(&chain).map_or(0, |through| through + 1));
        while next <= to {
            let covers = |gap: &&Gap| gap.chain == chain && gap.from <= next && next <= gap.to;
            match self.unsent.iter().filter(covers).map(|gap| gap.to).max() {
                Some(end) => next = end + 1,
                None => return Some(next),
            }
        }
        None
    }

    fn are_old(&self, at: DateTime<Utc>) -> bool {
        self.retained_from.is_some_and(|from| at < from)
    }
}

/// `connection` may read the lines of all tenants, at one moment; `anchors` are of the same.
pub(in crate::audit) async fn verify_store(
    connection: &mut PgConnection,
    anchors: &[Anchor],
    keys: &KeyRing,
) -> Result<Verified, StoreError> {
    let mut report = Verified::of("Postgres");
    let mut ledger = Ledger::new(keys);
    let mut excuses = Excuses::default();
    let mut rows = sqlx::query(
        "SELECT chain, seq, at, line, phase, tenant_id, entry_id, action, target, subject, client, request_id,
             trace_id, verdict, outcome, reason, revision, duration_ms
         FROM audit_events ORDER BY chain, seq, at",
    )
    .try_map(StoredLine::read)
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(StoreError::sql("read"))? {
        let at = format!("audit_events {}/{}", row.chain, row.seq);
        let line = row.line.as_bytes();
        let Some(seal) = Seal::of(line) else {
            report.find(at, row.chain.parse().ok(), Some(row.seq), "is no line of the log");
            continue;
        };
        let agrees = seal.chain.to_string() == row.chain && seal.seq == row.seq;
        if !agrees || Columns::of(line).as_ref() != Some(&row.columns) {
            report.find(
                &at,
                Some(seal.chain),
                Some(seal.seq),
                "its columns do not agree with the line",
            );
        }
        if let Some(proven) = ledger.take(&mut report, &at, seal, line)
            && let Some(record) = &proven.record
        {
            excuses.learn(record);
        }
    }
    drop(rows);
    ledger.close(&mut report);
    compare(&mut report, &ledger, &excuses, anchors);
    Ok(report)
}

fn compare(report: &mut Verified, ledger: &Ledger<'_>, excuses: &Excuses, anchors: &[Anchor]) {
    let anchors: BTreeMap<Hex128, &Anchor> = anchors.iter().map(|anchor| (anchor.chain, anchor)).collect();
    for (&id, chain) in &ledger.chains {
        let before = (1, chain.first_seq.saturating_sub(1));
        for &(from, to) in std::iter::once(&before).chain(&chain.gaps) {
            if let Some(owed) = excuses.owed(id, from, to) {
                report.about_chain(id, owed, missing(owed, to));
            }
        }
        match anchors.get(&id) {
            None => report.about_chain(id, chain.last.seq, "the anchor of the chain is missing"),
            Some(anchor) if anchor.seq > chain.last.seq => {
                if let Some(owed) = excuses.owed(id, chain.last.seq + 1, anchor.seq) {
                    let what = missing(owed, anchor.seq) + ": the end of the chain was cut off";
                    report.about_chain(id, owed, what);
                }
            }
            Some(anchor) if (anchor.seq, anchor.mac) != (chain.last.seq, chain.last.mac) => {
                report.about_chain(id, anchor.seq, "the anchor of the chain is not its last line");
            }
            Some(_) => {}
        }
        if let Some(after) = &chain.after
            && ledger
                .chains
                .get(&after.chain)
                .is_none_or(|before| before.last.seq < after.seq)
            && !excuses.are_old(after.ts)
            && excuses.owed(after.chain, after.seq, after.seq).is_some()
        {
            let what = format!(
                "line {} was the last of its log when chain {id} began, and is missing",
                after.seq
            );
            report.about_chain(after.chain, after.seq, what);
        }
    }
    for anchor in anchors
        .values()
        .filter(|anchor| !ledger.chains.contains_key(&anchor.chain))
    {
        if !excuses.are_old(anchor.at) && excuses.owed(anchor.chain, 1, anchor.seq).is_some() {
            report.about_chain(anchor.chain, anchor.seq, missing(1, anchor.seq));
        }
    }
}
