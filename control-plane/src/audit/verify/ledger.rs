//! What is known of each chain while its lines go by, in the order in which a store has them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{OpenEntry, Unclosed, Verified};
use crate::audit::chain::{ChainHead, Hex128, KeyRing, Seal};
use crate::audit::columns::Columns;
use crate::audit::record::{Predecessor, Record, StoreKind, timestamp};

/// Of one chain, no more than so many lines that don't verify are named.
const MAX_NAMED: usize = 20;

pub(super) struct Ledger<'k> {
    keys: &'k KeyRing,
    pub(super) chains: BTreeMap<Hex128, ChainSeen>,
}

#[derive(Debug, Default)]
pub(super) struct ChainSeen {
    pub(super) first_seq: u64,
    pub(super) last: ChainHead,
    pub(super) last_at: DateTime<Utc>,
    pub(super) ended: bool,
    /// Where, and since when the log says so.
    pub(super) anchored_in: Vec<(StoreKind, DateTime<Utc>)>,
    pub(super) after: Option<Predecessor>,
    /// Numbers that are not there, between the first and the last line.
    pub(super) gaps: Vec<(u64, u64)>,
    key: Option<String>,
    verified: u64,
    /// Lines that no key given made.
    broken: Vec<(String, u64)>,
    more_broken: u64,
    open: BTreeMap<String, OpenEntry>,
}

/// A line whose code is right.
pub(super) struct Proven<'a> {
    pub(super) seal: Seal<'a>,
    pub(super) record: Option<Record>,
    pub(super) at: DateTime<Utc>,
    /// The first of its chain that was met.
    pub(super) is_first: bool,
}

impl<'k> Ledger<'k> {
    pub(super) fn new(keys: &'k KeyRing) -> Self {
        Self {
            keys,
            chains: BTreeMap::new(),
        }
    }

    /// `None` where the line proves nothing.
    pub(super) fn take<'a>(
        &mut self,
        report: &mut Verified,
        at: &str,
        seal: Seal<'a>,
        line: &[u8],
    ) -> Option<Proven<'a>> {
        report.lines += 1;
        let is_first = !self.chains.contains_key(&seal.chain);
        let proven = self.keys.maker(&seal).is_some();
        let columns = Columns::of(line);
        let chain = self.chains.entry(seal.chain).or_default();
        chain.follow(report, at, &seal, is_first);
        let Some(columns) = columns.filter(|_| proven) else {
            chain.add_broken(at, seal.seq, line);
            return None;
        };
        chain.verified += 1;
        chain.last_at = columns.at;
        let record = Record::of(line);
        match &record {
            None => chain.entry(columns.clone()),
            Some(record) => chain.record(report, at, &seal, record),
        }
        if seal.seq == 1 && !matches!(record, Some(Record::Begun { .. })) {
            report.find(
                at,
                Some(seal.chain),
                Some(1),
                "the first line of a chain does not say that it begins",
            );
        }
        Some(Proven {
            seal,
            record,
            at: columns.at,
            is_first,
        })
    }

    /// What can be said of the chains once all lines went by.
    pub(super) fn close(&self, report: &mut Verified) {
        report.chains = self.chains.len() as u64;
        for (&id, chain) in &self.chains {
            chain.tell_broken(report, id);
            if !chain.ended || !chain.open.is_empty() {
                report.unclosed.push(Unclosed {
                    chain: id,
                    last_seq: chain.last.seq,
                    last_ts: timestamp(chain.last_at),
                    open: chain.open.values().cloned().collect(),
                });
            }
        }
    }
}

impl ChainSeen {
    fn follow(&mut self, report: &mut Verified, at: &str, seal: &Seal<'_>, is_first: bool) {
        let mut find = |what: String| report.find(at, Some(seal.chain), Some(seal.seq), what);
        if is_first {
            self.first_seq = seal.seq;
            self.last = seal.head();
            if seal.seq == 1 && seal.prev != Hex128::default() {
                find("the first line of a chain follows another one".to_owned());
            }
            return;
        }
        if self.ended {
            find("stands behind the end of its chain".to_owned());
        }
        if seal.seq <= self.last.seq {
            find(format!(
                "comes after line {} of its chain: it was moved or repeated",
                self.last.seq
            ));
            return;
        }
        if seal.seq == self.last.seq + 1 {
            if seal.prev != self.last.mac {
                find("does not follow the line before it in its chain".to_owned());
            }
        } else {
            self.gaps.push((self.last.seq + 1, seal.seq - 1));
        }
        self.last = seal.head();
    }

    fn add_broken(&mut self, at: &str, seq: u64, line: &[u8]) {
        if self.key.is_none()
            && let Some(Record::Begun { key, .. }) = Record::of(line)
        {
            self.key = Some(key);
        }
        if self.broken.len() < MAX_NAMED {
            self.broken.push((at.to_owned(), seq));
        } else {
            self.more_broken += 1;
        }
    }

    fn entry(&mut self, columns: Columns) {
        let Some(id) = columns.id else { return };
        match columns.phase.as_str() {
            "opened" => {
                let entry = OpenEntry {
                    id: id.clone(),
                    ts: timestamp(columns.at),
                    tenant: columns.tenant.unwrap_or_default(),
                    action: columns.action.unwrap_or_default(),
                    target: columns.target,
                };
                self.open.insert(id, entry);
            }
            _ => {
                self.open.remove(&id);
            }
        }
    }

    fn record(&mut self, report: &mut Verified, at: &str, seal: &Seal<'_>, record: &Record) {
        match record {
            Record::Begun { key, after, .. } => {
                self.key = Some(key.clone());
                self.after.clone_from(after);
                if seal.seq != 1 {
                    report.find(
                        at,
                        Some(seal.chain),
                        Some(seal.seq),
                        "a chain begins in its middle",
                    );
                }
            }
            Record::Ended {} => self.ended = true,
            Record::Anchored { store } => self.anchored_in.push((*store, self.last_at)),
            Record::Lost { lines } => report.notes.push(format!(
                "{at}: {lines} lines were lost for want of a disk, as the log itself says"
            )),
            Record::File(_) | Record::Torn { .. } | Record::Unsent { .. } | Record::Retained { .. } => {}
        }
    }

    fn tell_broken(&self, report: &mut Verified, id: Hex128) {
        let Some((at, seq)) = self.broken.first() else {
            return;
        };
        if self.verified == 0 {
            let key = self.key.as_deref().unwrap_or("it does not say which");
            let what = format!(
                "no line of this chain can be verified: it was rewritten, or its key was not given ({key})"
            );
            report.find(at.clone(), Some(id), Some(*seq), what);
            return;
        }
        for (at, seq) in &self.broken {
            report.find(
                at.clone(),
                Some(id),
                Some(*seq),
                "was changed: its code is not that of its bytes",
            );
        }
        report.further_findings += self.more_broken;
    }
}
