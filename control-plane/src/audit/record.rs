//! Lines that are about the log itself, not about an action: where a chain begins and ends, where a file does, what is
//! missing and why that is no tampering. Sealed as all lines are.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::chain::Hex128;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum Record {
    /// The first line of a chain: a server started.
    Begun {
        version: String,
        /// Of the key that the chain is made with.
        key: String,
        /// What was the last line of the log then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Predecessor>,
    },
    /// The last line of a chain: the server ended in order.
    Ended {},
    /// The first line of a file (the second one where a chain begins with it).
    File(FileHead),
    /// Half a line stands before this one: its writer was killed, or the disk was full.
    Torn { bytes: u64, sha256: String },
    /// So many lines were never written, for want of a disk.
    Lost { lines: u64 },
    /// The other store has had an anchor of this chain.
    Anchored { store: StoreKind },
    /// Lines that the database does not have: their file went before they could be sent.
    Unsent { gaps: Vec<Gap> },
    /// What is older was dropped from the database, as the retention says.
    Retained {
        before: DateTime<Utc>,
        /// Of chains that go on after it: the last line that was dropped.
        through: BTreeMap<Hex128, u64>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Predecessor {
    pub(super) chain: Hex128,
    pub(super) seq: u64,
    pub(super) ts: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileHead {
    /// All files that followed one another at one place.
    pub(super) log: Hex128,
    /// Counts them, from 1.
    pub(super) number: u64,
    /// How many there are from now on, with this one.
    pub(super) kept: u64,
    /// The last line of each chain in the files before that may go on.
    pub(super) heads: BTreeMap<Hex128, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoreKind {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) chain: Hex128,
    pub(super) from: u64,
    pub(super) to: u64,
}

#[derive(Serialize)]
struct Stamped<'a> {
    ts: String,
    #[serde(flatten)]
    record: &'a Record,
}

impl Record {
    /// With its newline, and without its seal.
    pub(super) fn to_line(&self, now: DateTime<Utc>) -> Vec<u8> {
        let stamped = Stamped {
            ts: timestamp(now),
            record: self,
        };
        let mut bytes = Vec::with_capacity(256);
        // Strings, numbers and maps with string keys: nothing in it can fail, nor can a Vec.
        if serde_json::to_writer(&mut bytes, &stamped).is_err() {
            bytes.clear();
        }
        bytes.push(b'\n');
        bytes
    }

    /// `None` for an entry's line.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}

pub(super) fn timestamp(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_an_entry_is_none() {
        let chain = Hex128::random();
        let record = Record::File(FileHead {
            log: Hex128::random(),
            number: 3,
            kept: 2,
            heads: BTreeMap::from([(chain, 7)]),
        });
        let line = record.to_line(DateTime::UNIX_EPOCH);
        assert_eq!(Record::of(&line), Some(record));
        let text = String::from_utf8(line).unwrap();
        assert!(
            text.starts_with("{\"ts\":\"1970-01-01T00:00:00.000Z\",\"phase\":\"file\""),
            "{text}"
        );
        assert_eq!(Record::of(b"{\"phase\":\"opened\",\"id\":\"a\"}"), None);
        assert_eq!(
            Record::of(b"{\"phase\":\"ended\",\"seq\":1}"),
            Some(Record::Ended {})
        );
    }
}
