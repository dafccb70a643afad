//! Limits are checked once, where they come in, and are types from then on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {allowed}, got {got}")]
pub struct OutOfRange {
    pub what: &'static str,
    pub allowed: String,
    pub got: String,
}

/// How long a job may take, in whole milliseconds: 1,000 to 120,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct TimeoutMs(u32);

impl TimeoutMs {
    pub const MIN: TimeoutMs = TimeoutMs(1_000);
    pub const MAX: TimeoutMs = TimeoutMs(120_000);
    pub const DEFAULT: TimeoutMs = TimeoutMs(30_000);

    pub fn new(ms: u64) -> Result<Self, OutOfRange> {
        match u32::try_from(ms) {
            Ok(ms) if (Self::MIN.0..=Self::MAX.0).contains(&ms) => Ok(Self(ms)),
            _ => Err(OutOfRange {
                what: "timeoutMs",
                allowed: format!("an integer from {} to {}", Self::MIN.0, Self::MAX.0),
                got: ms.to_string(),
            }),
        }
    }

    pub const fn as_millis(self) -> u32 {
        self.0
    }

    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0 as u64)
    }
}

impl Default for TimeoutMs {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u64> for TimeoutMs {
    type Error = OutOfRange;

    fn try_from(ms: u64) -> Result<Self, OutOfRange> {
        Self::new(ms)
    }
}

impl From<TimeoutMs> for u64 {
    fn from(timeout: TimeoutMs) -> u64 {
        u64::from(timeout.0)
    }
}

impl fmt::Display for TimeoutMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// A number of bytes, written as Docker writes it: `512m`, `1g`, `65536`, `64k` (binary multiples).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = OutOfRange;

    fn from_str(text: &str) -> Result<Self, OutOfRange> {
        let invalid = || OutOfRange {
            what: "a size",
            allowed: "a whole number of bytes with an optional suffix b, k, m or g".to_owned(),
            got: format!("{text:?}"),
        };
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor: u64 = match &lower[digits.len()..] {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            _ => return Err(invalid()),
        };
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        number.checked_mul(factor).map(ByteSize).ok_or_else(invalid)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n % (1 << 30) == 0 => write!(f, "{}g", n >> 30),
            n if n > 0 && n % (1 << 20) == 0 => write!(f, "{}m", n >> 20),
            n if n > 0 && n % (1 << 10) == 0 => write!(f, "{}k", n >> 10),
            n => write!(f, "{n}"),
        }
    }
}

/// Bytes of printed output that one call keeps when nothing else is configured.
pub const DEFAULT_MAX_OUTPUT_BYTES: u64 = 200_000;

/// Bytes of one file of a sandbox session when nothing else is configured.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 10 << 20;

/// Bytes of all files of one call of a sandbox session.
pub const MAX_TRANSFER_BYTES: u64 = 64 << 20;

/// The largest code, in characters.
pub const MAX_CODE_CHARS: usize = 200_000;

/// The largest message on the wire between the planes: a job's arguments or its result, with room to spare.
pub const MAX_WIRE_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_outside_the_contract_is_refused_with_the_range() {
        let error = TimeoutMs::new(999).unwrap_err().to_string();
        assert_eq!(error, "timeoutMs must be an integer from 1000 to 120000, got 999");
        assert!(TimeoutMs::new(120_001).is_err());
        assert_eq!(TimeoutMs::new(1_000).unwrap().as_millis(), 1_000);
    }

    #[test]
    fn sizes_read_as_docker_reads_them() {
        assert_eq!("512m".parse(), Ok(ByteSize(512 << 20)));
        assert_eq!("1G".parse(), Ok(ByteSize(1 << 30)));
        assert_eq!("65536".parse(), Ok(ByteSize(65_536)));
        for wrong in ["", "m", "-1", "1.5g", "10t", "99999999999999999999g"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
        assert_eq!(ByteSize(512 << 20).to_string(), "512m");
    }
}
