//! What makes a line of the audit provable: it ends with the id of its chain, its number in it, the code of the line
//! before it and its own, an HMAC-SHA-256 over everything that stands before that code, cut to 128 bits.
//!
//! ```text
//! {"ts":…,"phase":"opened",…,"chain":"<32 hex>","seq":7,"prev":"<32 hex>","mac":"<32 hex>"}
//! └──────────────────── what the code covers, to the byte ──────────────┘
//! ```
//!
//! Without the key no line can be changed or made; a line that is missing, twice there or elsewhere breaks the numbers.

mod key;

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::key::KeyError;
pub(super) use self::key::{AuditKey, KeyRing};

/// The most that a seal makes a line longer.
pub(super) const SEAL_BYTES: usize = 153;

const CHAIN: &[u8] = b",\"chain\":\"";
const SEQ: &[u8] = b"\",\"seq\":";
const PREV: &[u8] = b",\"prev\":\"";
const MAC: &[u8] = b"\",\"mac\":\"";
const END: &[u8] = b"\"}";
const HEX_CHARS: usize = 32;
const MAX_SEQ_DIGITS: usize = 20;

/// A chain's id, or a code: printed as 32 lower-case hexadecimal digits and read as nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex128([u8; 16]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 32 lower-case hexadecimal digits")]
pub struct NotHex;

impl Hex128 {
    pub(super) fn random() -> Self {
        Self(dynamic_mcp_shared::ids::random_uuid().into_bytes())
    }

    fn from_digits(digits: &[u8]) -> Option<Self> {
        let lower_case = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if !digits.iter().all(lower_case) {
            return None;
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for Hex128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hex128 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hex128 {
    type Err = NotHex;

    fn from_str(text: &str) -> Result<Self, NotHex> {
        Self::from_digits(text.as_bytes()).ok_or(NotHex)
    }
}

impl TryFrom<String> for Hex128 {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        text.parse()
    }
}

impl From<Hex128> for String {
    fn from(value: Hex128) -> String {
        value.to_string()
    }
}

/// The last line of a chain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ChainHead {
    /// 0 before the first line.
    pub(super) seq: u64,
    pub(super) mac: Hex128,
}

/// Seals one line after the other.
#[derive(Debug)]
pub(super) struct Chain {
    key: AuditKey,
    id: Hex128,
    head: ChainHead,
}

impl Chain {
    pub(super) fn new(key: AuditKey) -> Self {
        Self {
            key,
            id: Hex128::random(),
            head: ChainHead::default(),
        }
    }

    pub(super) const fn id(&self) -> Hex128 {
        self.id
    }

    pub(super) fn key_id(&self) -> &str {
        self.key.id()
    }

    pub(super) const fn head(&self) -> ChainHead {
        self.head
    }

    /// Back to where it was: what was sealed since has not been written.
    pub(super) fn rewind(&mut self, head: ChainHead) {
        self.head = head;
    }

    /// Appends `line`, a JSON object and its newline, to `out` with its seal.
    pub(super) fn seal(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let object = line.strip_suffix(b"}\n").unwrap_or(line);
        let begin = out.len();
        out.extend_from_slice(object);
        let seq = self.head.seq + 1;
        // Writing to a Vec does not fail.
        let _infallible = write!(
            out,
            ",\"chain\":\"{}\",\"seq\":{seq},\"prev\":\"{}",
            self.id, self.head.mac
        );
        let mac = self.key.code(&out[begin..]);
        let _infallible = write!(out, "\",\"mac\":\"{mac}\"}}");
        out.push(b'\n');
        self.head = ChainHead { seq, mac };
    }
}

/// What the end of a line says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal<'a> {
    /// What its code covers.
    pub(super) covered: &'a [u8],
    pub(super) chain: Hex128,
    pub(super) seq: u64,
    pub(super) prev: Hex128,
    pub(super) mac: Hex128,
}

impl<'a> Seal<'a> {
    /// Of a line without its newline. `None`: it does not end as a sealed line does, to the byte.
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        let (rest, mac) = digits(line.strip_suffix(END)?)?;
        let covered = rest.strip_suffix(MAC)?;
        let (rest, prev) = digits(covered)?;
        let rest = rest.strip_suffix(PREV)?;
        let (rest, seq) = number(rest)?;
        let (rest, chain) = digits(rest.strip_suffix(SEQ)?)?;
        let object = rest.strip_suffix(CHAIN)?;
        object.starts_with(b"{").then_some(Self {
            covered,
            chain,
            seq,
            prev,
            mac,
        })
    }

    pub(super) const fn head(&self) -> ChainHead {
        ChainHead {
            seq: self.seq,
            mac: self.mac,
        }
    }
}

fn digits(text: &[u8]) -> Option<(&[u8], Hex128)> {
    let (rest, digits) = text.split_at_checked(text.len().checked_sub(HEX_CHARS)?)?;
    Some((rest, Hex128::from_digits(digits)?))
}

/// A decimal number as it is printed: without leading zeros.
fn number(text: &[u8]) -> Option<(&[u8], u64)> {
    let count = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = text.split_at(text.len() - count);
    let as_printed = (1..=MAX_SEQ_DIGITS).contains(&count) && digits[0] != b'0';
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    as_printed.then_some((rest, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> (Chain, Vec<u8>) {
        let mut chain = Chain::new(AuditKey::for_tests(1));
        let mut line = Vec::new();
        chain.seal(b"{\"a\":1}\n", &mut Vec::new());
        chain.seal(b"{\"a\":2}\n", &mut line);
        line.pop();
        (chain, line)
    }

    #[test]
    fn a_seal_is_read_back() {
        let (chain, line) = sealed();
        let seal = Seal::of(&line).unwrap();
        assert_eq!((seal.chain, seal.seq), (chain.id(), 2));
        assert_eq!(seal.head(), chain.head());
        assert!(AuditKey::for_tests(1).made(&seal));
        assert!(!AuditKey::for_tests(2).made(&seal));
        assert!(line.len() - b"{\"a\":2}".len() <= SEAL_BYTES);
    }

    #[test]
    fn any_other_byte_breaks_it() {
        let (_, line) = sealed();
        let key = AuditKey::for_tests(1);
        for index in 0..line.len() {
            for change in [0x01, 0x20, 0x80] {
                let mut line = line.clone();
                line[index] ^= change;
                let holds = Seal::of(&line).is_some_and(|seal| key.made(&seal));
                assert!(!holds, "byte {index} ^ {change:#x}");
            }
        }
    }
}
