//! Finds what was changed, left out, put in, moved or cut off in either store, with nothing but the stores and the keys.
//!
//! A line proves itself by its code, its place by its number and the code before it. What a log of lines can't prove is
//! that its end is there: that is for the anchors in the other store, and for the head of the next file.

mod files;
mod ledger;
mod stored;

use serde::Serialize;

pub(super) use self::files::{Anchors, gone, verify_files};
pub(super) use self::stored::verify_store;
use super::chain::Hex128;

/// More would say nothing more.
const MAX_FINDINGS: usize = 200;

/// What came of one store.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    pub store: String,
    pub lines: u64,
    pub chains: u64,
    /// None: nothing was tampered with.
    pub findings: Vec<Finding>,
    /// There were more than are named.
    #[serde(skip_serializing_if = "is_zero")]
    pub further_findings: u64,
    /// Chains that were not closed: their servers run still, or were killed.
    pub unclosed: Vec<Unclosed>,
    /// What is as it should be, and an auditor should know.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `audit.jsonl.1:17`, or empty where it is about what is not there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Hex128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    pub what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unclosed {
    pub chain: Hex128,
    pub last_seq: u64,
    pub last_ts: String,
    /// Entries that were opened and not closed.
    pub open: Vec<OpenEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenEntry {
    pub id: String,
    pub ts: String,
    pub tenant: String,
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Verified {
    fn of(store: impl Into<String>) -> Self {
        Self {
            store: store.into(),
            ..Self::default()
        }
    }

    fn find(
        &mut self,
        at: impl Into<String>,
        chain: Option<Hex128>,
        seq: Option<u64>,
        what: impl Into<String>,
    ) {
        if self.findings.len() == MAX_FINDINGS {
            self.further_findings += 1;
            return;
        }
        self.findings.push(Finding {
            at: at.into(),
            chain,
            seq,
            what: what.into(),
        });
    }

    fn about_chain(&mut self, chain: Hex128, seq: u64, what: impl Into<String>) {
        self.find("", Some(chain), Some(seq), what);
    }
}
