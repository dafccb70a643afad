//! The local files: every line in its place, every file where the one after it says it was, and every chain as long as the
//! other store has seen it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::content::sha256_hex;

use super::Verified;
use super::ledger::{Ledger, Proven};
use crate::audit::chain::{Hex128, KeyRing, Seal};
use crate::audit::files::{LINES_TO_THE_HEAD, Lines, open_all};
use crate::audit::jsonl::MAX_HEADS;
use crate::audit::record::{FileHead, Record, StoreKind};
use crate::audit::store::Anchor;

/// The anchors, read before the files are: these only go on.
pub(in crate::audit) struct Anchors {
    pub(in crate::audit) kind: StoreKind,
    pub(in crate::audit) all: Vec<Anchor>,
    /// When they were.
    pub(in crate::audit) read_at: DateTime<Utc>,
    /// Of the files that are verified.
    pub(in crate::audit) place: String,
}

/// # Errors
/// When there are no files, or they can't be read.
pub(in crate::audit) fn verify_files(
    path: &Path,
    keys: &KeyRing,
    anchors: Option<&Anchors>,
) -> io::Result<Verified> {
    let mut check = Check::new(path, keys);
    let all = anchors.map_or(&[][..], |anchors| &anchors.all);
    check.said_elsewhere = all
        .iter()
        .map(|anchor| (anchor.chain, (anchor.seq, anchor.mac)))
        .collect();
    let files = open_all(path)?;
    if files.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let last = files.len() - 1;
    for (index, (name, file)) in files.into_iter().enumerate() {
        check.file(&name, file, index == last)?;
    }
    Ok(check.end(last as u64 + 1, anchors))
}

/// No file is there. `None`: nor was one ever anchored from here.
pub(in crate::audit) fn gone(path: &Path, anchors: &Anchors) -> Option<Verified> {
    let chains = anchors
        .all
        .iter()
        .filter(|anchor| anchor.place == anchors.place)
        .count();
    let mut report = Verified::of(path.display().to_string());
    let what = format!("the files are gone; {chains} chains were anchored from here");
    report.find("", None, None, what);
    (chains > 0).then_some(report)
}

/// What stands between two newlines and is no sealed line.
struct Torn {
    at: String,
    bytes: u64,
    sha256: String,
}

struct Check<'k> {
    report: Verified,
    ledger: Ledger<'k>,
    /// Of the oldest file.
    oldest: Option<(FileHead, DateTime<Utc>)>,
    head: Option<FileHead>,
    torn: Option<Torn>,
    /// The last line of each chain at the beginning of the file that is read.
    before_file: BTreeMap<Hex128, u64>,
    anchored: BTreeMap<Hex128, u64>,
    /// Of each chain, the line whose code the other store has, and that code.
    said_elsewhere: BTreeMap<Hex128, (u64, Hex128)>,
    /// Of each chain, the last line that a later chain found there when it began.
    found_there: BTreeMap<Hex128, u64>,
}

impl<'k> Check<'k> {
    fn new(path: &Path, keys: &'k KeyRing) -> Self {
        Self {
            report: Verified::of(path.display().to_string()),
            ledger: Ledger::new(keys),
            oldest: None,
            head: None,
            torn: None,
            before_file: BTreeMap::new(),
            anchored: BTreeMap::new(),
            said_elsewhere: BTreeMap::new(),
            found_there: BTreeMap::new(),
        }
    }

    fn file(&mut self, name: &Path, file: File, is_newest: bool) -> io::Result<()> {
        let name = name
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut lines = Lines::new(BufReader::new(file));
        let (mut number, mut has_head) = (0, false);
        while let Some(piece) = lines.next()? {
            number += 1;
            let at = format!("{name}:{number}");
            let sealed = Seal::of(piece.bytes).filter(|_| piece.whole);
            let Some(seal) = sealed else {
                self.unsealed(at, piece.bytes, piece.whole, is_newest);
                continue;
            };
            let Some(proven) = self.ledger.take(&mut self.report, &at, seal, piece.bytes) else {
                self.untorn(None);
                continue;
            };
            self.untorn(proven.record.as_ref());
            self.first_of_its_chain(&at, &proven, has_head);
            self.after_what_was_there(&at, &proven);
            self.as_it_was_anchored(&at, seal);
            if let Some(Record::File(head)) = &proven.record {
                if has_head || number > LINES_TO_THE_HEAD {
                    self.report.find(
                        &at,
                        Some(seal.chain),
                        Some(seal.seq),
                        "another file's head stands in this one",
                    );
                } else {
                    self.head(&at, head, proven.at, seal.chain);
                }
                has_head = true;
            }
        }
        self.untorn(None);
        if !has_head {
            self.report.find(name, None, None, "the file's head is missing");
        }
        self.before_file = self
            .ledger
            .chains
            .iter()
            .map(|(&id, chain)| (id, chain.last.seq))
            .collect();
        Ok(())
    }

    fn unsealed(&mut self, at: String, bytes: &[u8], whole: bool, is_newest: bool) {
        self.untorn(None);
        if !whole && is_newest {
            let bytes = bytes.len();
            self.report.notes.push(format!(
                "{at}: the file ends in half a line of {bytes} bytes: its writer was killed, or is at work"
            ));
            return;
        }
        self.torn = Some(Torn {
            at,
            bytes: bytes.len() as u64,
            sha256: sha256_hex(bytes),
        });
    }

    /// Half a line is none of ours unless the writer that came next says so.
    fn untorn(&mut self, next: Option<&Record>) {
        match (self.torn.take(), next) {
            (None, Some(Record::Torn { .. })) => {
                self.report
                    .find("", None, None, "half a line that the log speaks of is gone");
            }
            (None, _) => {}
            (Some(torn), Some(Record::Begun { .. })) => self.torn = Some(torn),
            (Some(torn), Some(Record::Torn { bytes, sha256 }))
                if torn.bytes == *bytes && torn.sha256 == *sha256 =>
            {
                self.report.notes.push(format!(
                    "{}: half a line of {bytes} bytes was left by a writer that was killed",
                    torn.at
                ));
            }
            (Some(torn), _) => self.report.find(torn.at, None, None, "is no line of the log"),
        }
    }

    fn first_of_its_chain(&mut self, at: &str, proven: &Proven<'_>, has_head: bool) {
        let seal = proven.seal;
        if !proven.is_first || seal.seq == 1 {
            return;
        }
        // The head of the oldest file itself may be the first that is met of its chain.
        let own = match &proven.record {
            Some(Record::File(head)) if !has_head => Some(head),
            _ => None,
        };
        let known = own.or(self.oldest.as_ref().map(|(head, _)| head));
        if known.and_then(|head| head.heads.get(&seal.chain)) != Some(&(seal.seq - 1)) {
            let what = format!(
                "lines 1 to {} of its chain are missing, and no retention took them",
                seal.seq - 1
            );
            self.report.find(at, Some(seal.chain), Some(seal.seq), what);
        }
    }

    /// Who has the key can make a whole chain anew, and can't make the other store say so.
    fn as_it_was_anchored(&mut self, at: &str, seal: Seal<'_>) {
        if let Some(&(seq, mac)) = self.said_elsewhere.get(&seal.chain)
            && seq == seal.seq
            && mac != seal.mac
        {
            let what = "is not the line that was anchored";
            self.report.find(at, Some(seal.chain), Some(seq), what);
        }
    }

    /// The order of lines of two chains is nobody's but where one began.
    fn after_what_was_there(&mut self, at: &str, proven: &Proven<'_>) {
        let seal = proven.seal;
        if self
            .found_there
            .get(&seal.chain)
            .is_some_and(|found| seal.seq <= *found)
        {
            let what = "stands after the beginning of a chain that found it there: it was moved";
            self.report.find(at, Some(seal.chain), Some(seal.seq), what);
        }
        if let Some(Record::Begun {
            after: Some(after), ..
        }) = &proven.record
        {
            let found = self.found_there.entry(after.chain).or_default();
            *found = after.seq.max(*found);
        }
    }

    fn head(&mut self, at: &str, head: &FileHead, ts: DateTime<Utc>, writer: Hex128) {
        match &self.head {
            None => self.oldest = Some((head.clone(), ts)),
            Some(before) => {
                if before.log != head.log || before.number + 1 != head.number {
                    let what = format!(
                        "file {} of log {} follows file {} of log {}: one is missing or was moved",
                        head.number, head.log, before.number, before.log
                    );
                    self.report.find(at, None, None, what);
                }
                self.compare_heads(at, head, writer);
            }
        }
        self.head = Some(head.clone());
    }

    /// What the file's head says of the files before it.
    fn compare_heads(&mut self, at: &str, head: &FileHead, writer: Hex128) {
        for (&id, chain) in self.ledger.chains.iter().filter(|(id, _)| **id != writer) {
            let was = self.before_file.get(&id).copied().unwrap_or_default();
            let said = head.heads.get(&id).copied();
            let dropped = chain.ended || head.heads.len() >= MAX_HEADS;
            if said.is_some_and(|said| said != was) || (said.is_none() && was > 0 && !dropped) {
                let said = said.map_or("ended".to_owned(), |said| format!("at line {said}"));
                let what = format!("its chain was {said} where this file begins, and is at line {was}");
                self.report.find(at, Some(id), Some(was), what);
            }
        }
    }

    fn end(mut self, files: u64, anchors: Option<&Anchors>) -> Verified {
        self.ledger.close(&mut self.report);
        let chains = std::mem::take(&mut self.ledger.chains);
        for (&id, chain) in &chains {
            for &(from, to) in &chain.gaps {
                self.report.about_chain(id, from, missing(from, to));
            }
            if let Some(after) = &chain.after
                && chains
                    .get(&after.chain)
                    .is_none_or(|before| before.last.seq < after.seq)
                && !self.may_be_gone(after.chain, after.seq, after.ts)
            {
                let what = format!(
                    "line {} was the last of the log when chain {id} began, and is missing",
                    after.seq
                );
                self.report.about_chain(after.chain, after.seq, what);
            }
        }
        if let Some(head) = &self.head
            && files < head.kept
        {
            let what = format!(
                "{} files are there of the {} that the newest one tells of",
                files, head.kept
            );
            self.report.find("", None, None, what);
        }
        self.ledger.chains = chains;
        match anchors {
            Some(anchors) => self.compare_anchors(anchors),
            None => self
                .report
                .notes
                .push("without anchors: whether the end of the log was cut off can't be said".to_owned()),
        }
        self.report
    }

    /// Whether it was written before the oldest file that is kept.
    fn may_be_gone(&self, chain: Hex128, seq: u64, at: DateTime<Utc>) -> bool {
        self.oldest.as_ref().is_some_and(|(head, begun)| {
            head.number > 1 && (at < *begun || head.heads.get(&chain).is_some_and(|&last| last >= seq))
        })
    }

    fn compare_anchors(&mut self, anchors: &Anchors) {
        let Some(log) = self.head.as_ref().map(|head| head.log) else {
            return;
        };
        for anchor in anchors.all.iter().filter(|anchor| anchor.log == log) {
            self.anchored.insert(anchor.chain, anchor.seq);
            match self.ledger.chains.get(&anchor.chain) {
                Some(chain) if chain.last.seq >= anchor.seq => {}
                Some(chain) => {
                    let what = missing(chain.last.seq + 1, anchor.seq) + ": the end of the chain was cut off";
                    self.report.about_chain(anchor.chain, anchor.seq, what);
                }
                None if self.may_be_gone(anchor.chain, anchor.seq, anchor.at) => {}
                None => {
                    let what = format!(
                        "the chain was anchored at line {}, and none of it is there",
                        anchor.seq
                    );
                    self.report.about_chain(anchor.chain, anchor.seq, what);
                }
            }
        }
        self.compare_places(anchors, log);
        let unanchored = |id: &Hex128| !self.anchored.contains_key(id);
        for (&id, chain) in self.ledger.chains.iter().filter(|(id, _)| unanchored(id)) {
            let was_anchored =
                |(kind, at): &(StoreKind, DateTime<Utc>)| *kind == anchors.kind && *at < anchors.read_at;
            if chain.anchored_in.iter().any(was_anchored) {
                let what = "the chain was anchored, and the other store does not have its anchor any more";
                self.report.about_chain(id, chain.last.seq, what);
            } else {
                self.report.notes.push(format!(
                    "chain {id} is not anchored: whether its end was cut off can't be said"
                ));
            }
        }
    }

    /// Files that were taken away and begun anew. Postgres has the lines themselves.
    fn compare_places(&mut self, anchors: &Anchors, log: Hex128) {
        let mut others: Vec<Hex128> = anchors
            .all
            .iter()
            .filter(|anchor| anchor.log != log && anchor.place == anchors.place)
            .map(|anchor| anchor.log)
            .collect();
        others.sort_unstable();
        others.dedup();
        for other in others {
            let what = format!(
                "another log ({other}) was in this place and was anchored from here; its files are gone"
            );
            match anchors.kind {
                StoreKind::Sqlite => self.report.find("", None, None, what),
                StoreKind::Postgres => self.report.notes.push(what),
            }
        }
    }
}

pub(super) fn missing(from: u64, to: u64) -> String {
    if from == to {
        format!("line {from} of the chain is missing")
    } else {
        format!("lines {from} to {to} of the chain are missing")
    }
}
