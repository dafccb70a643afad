//! The walls around a child, which of them hold, and what tier that makes. Pure: who finds out is `selftest`.

use std::fmt;
use std::str::FromStr;

/// One of the things that keep a child in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wall {
    /// Few system calls, and death for any other.
    Seccomp,
    /// No file and no port, by a security module.
    Landlock,
    /// Own processes, mounts, network, IPC, host name and users, and an empty root.
    Namespaces,
    /// No capability, and none to be had.
    Capabilities,
    /// No new descriptor, process or file; memory and processor time bounded.
    Limits,
    /// Not the machine's root.
    User,
    /// All isolates together have one limit of memory.
    MemoryGroup,
}

impl Wall {
    pub const ALL: [Wall; 7] = [
        Wall::Seccomp,
        Wall::Landlock,
        Wall::Namespaces,
        Wall::Capabilities,
        Wall::Limits,
        Wall::User,
        Wall::MemoryGroup,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Wall::Seccomp => "seccomp",
            Wall::Landlock => "landlock",
            Wall::Namespaces => "namespaces",
            Wall::Capabilities => "capabilities",
            Wall::Limits => "limits",
            Wall::User => "user",
            Wall::MemoryGroup => "memory_group",
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|wall| *wall as u8 == byte)
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found out about one wall, by running into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub wall: Wall,
    /// Why it doesn't hold; `None` when it does.
    pub lacking: Option<String>,
}

impl Finding {
    pub fn new(wall: Wall, found: Result<(), String>) -> Self {
        Self {
            wall,
            lacking: found.err(),
        }
    }

    pub fn holds(&self) -> bool {
        self.lacking.is_none()
    }
}

/// How well the isolates of a machine are walled in. The order is the one of trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Tier {
    /// The filter of system calls alone: what every machine must have.
    #[default]
    Seccomp,
    /// The filter and Landlock.
    Landlock,
    /// The filter, and namespaces with an empty root.
    Namespaces,
    /// All of them.
    Full,
}

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::Seccomp, Tier::Landlock, Tier::Namespaces, Tier::Full];

    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::Seccomp => "seccomp",
            Tier::Landlock => "landlock",
            Tier::Namespaces => "namespaces",
            Tier::Full => "full",
        }
    }

    /// The walls that make it.
    pub const fn needs(self) -> &'static [Wall] {
        match self {
            Tier::Seccomp => &[Wall::Seccomp],
            Tier::Landlock => &[Wall::Seccomp, Wall::Landlock],
            Tier::Namespaces => &[Wall::Seccomp, Wall::Namespaces],
            Tier::Full => &[Wall::Seccomp, Wall::Landlock, Wall::Namespaces],
        }
    }

    /// The highest tier that the findings allow; `None` when the filter itself doesn't hold, and nothing may run.
    pub fn of(findings: &[Finding]) -> Option<Self> {
        let holds = |wall: &Wall| findings.iter().any(|found| found.wall == *wall && found.holds());
        let mut tiers = Self::ALL.into_iter().rev();
        tiers.find(|tier| tier.needs().iter().all(holds))
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownTier(String);

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Tier::ALL.map(Tier::as_str).join(", ");
        write!(f, "{:?} is no tier of isolation; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownTier {}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Self, UnknownTier> {
        let found = Self::ALL.into_iter().find(|tier| tier.as_str() == text);
        found.ok_or_else(|| UnknownTier(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(holding: &[Wall]) -> Vec<Finding> {
        let found = |wall| {
            if holding.contains(&wall) {
                Ok(())
            } else {
                Err("refused".to_owned())
            }
        };
        Wall::ALL.map(|wall| Finding::new(wall, found(wall))).to_vec()
    }

    #[test]
    fn a_tier_is_what_its_walls_make() {
        for tier in Tier::ALL {
            assert_eq!(Tier::of(&findings(tier.needs())), Some(tier));
        }
    }

    #[test]
    fn without_the_filter_there_is_no_tier_whatever_else_holds() {
        assert_eq!(
            Tier::of(&findings(&[Wall::Landlock, Wall::Namespaces, Wall::Limits])),
            None
        );
        assert_eq!(Tier::of(&[]), None);
    }

    #[test]
    fn a_tier_is_read_as_it_is_written() {
        for tier in Tier::ALL {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        let error = "strong".parse::<Tier>().unwrap_err();
        assert!(error.to_string().contains("seccomp, landlock, namespaces, full"));
    }
}
