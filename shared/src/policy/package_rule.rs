//! One entry of an allow or a block list: which packages, and which of their versions.

use std::fmt;
use std::str::FromStr;

use nodejs_semver::{Range, Version};
use serde::{Deserialize, Serialize};

use crate::packages::is_installable_name;

const MAX_CHARS: usize = 400;
const SHOWN_CHARS: usize = 80;

/// `lodash`, `lodash@<4.17.21`, `@scope/name`, `@scope/*`, `*`: versions as npm's own ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageRule {
    text: String,
    names: Names,
    /// `None`: every version.
    versions: Option<Range>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Names {
    All,
    /// With its `@` and `/`.
    Scope(String),
    One(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a package rule: allowed is {ALLOWED}")]
pub struct InvalidRule(String);

const ALLOWED: &str =
    "a name, @scope/name, @scope/* or *, each with an optional semver range behind an @, as lodash@<4.17.21";

/// For the command line, which says itself what it got.
pub(super) fn parse_rule(text: &str) -> Result<PackageRule, String> {
    text.parse().map_err(|_: InvalidRule| ALLOWED.to_owned())
}

impl PackageRule {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn concerns(&self, name: &str) -> bool {
        match &self.names {
            Names::All => true,
            Names::Scope(scope) => name.starts_with(scope.as_str()),
            Names::One(one) => one == name,
        }
    }

    pub fn is_of_every_version(&self) -> bool {
        self.versions.is_none()
    }

    /// As an entry of a block list: pre-releases are within the range around them, and a version that nobody can read
    /// is within every range.
    pub fn blocks(&self, name: &str, version: Option<&str>) -> bool {
        self.concerns(name)
            && self.versions.as_ref().is_none_or(|range| {
                parsed(version).is_none_or(|version| range.satisfies_with_prerelease(&version, true))
            })
    }

    /// As an entry of an allow list: a pre-release needs a range that names one, as for npm, and a version that nobody
    /// can read is within no range.
    pub fn allows(&self, name: &str, version: Option<&str>) -> bool {
        self.concerns(name)
            && self
                .versions
                .as_ref()
                .is_none_or(|range| parsed(version).is_some_and(|version| range.satisfies(&version)))
    }
}

/// The parser leaves out what it can't read beside something that it can; a rule with a slip in it must not pass for
/// another one. So each part has to be readable by itself.
fn whole_range(text: &str) -> Option<Range> {
    let readable = |part: &str| !part.is_empty() && Range::parse(part).is_ok();
    let alternative = |text: &str| match text.split_once(" - ") {
        Some((from, to)) => readable(from.trim()) && readable(to.trim()),
        None => {
            // An operator may stand apart from its version.
            let joined = text.split_whitespace().fold(String::new(), |mut joined, word| {
                if !joined.ends_with(['<', '>', '=', '^', '~']) {
                    joined.push(' ');
                }
                joined + word
            });
            !joined.is_empty() && joined.split_whitespace().all(readable)
        }
    };
    text.split("||")
        .all(alternative)
        .then(|| Range::parse(text).ok())?
}

/// npm's old names may hold a `*`; here it would be an accident.
fn is_name(name: &str) -> bool {
    is_installable_name(name) && !name.contains('*')
}

fn parsed(version: Option<&str>) -> Option<Version> {
    Version::parse(version?).ok()
}

impl FromStr for PackageRule {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let text = text.trim();
        let invalid = || InvalidRule(text.chars().take(SHOWN_CHARS).collect());
        if text.len() > MAX_CHARS {
            return Err(invalid());
        }
        // The first character is a scope's own @.
        let at = text.char_indices().skip(1).find(|(_, c)| *c == '@');
        let (name, range) = match at {
            Some((at, _)) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let names = match name.strip_suffix("/*") {
            _ if name == "*" => Names::All,
            Some(scope) if is_name(&format!("{scope}/x")) && scope.starts_with('@') => {
                Names::Scope(format!("{scope}/"))
            }
            None if is_name(name) => Names::One(name.to_owned()),
            _ => return Err(invalid()),
        };
        let versions = match range.map(str::trim) {
            None | Some("*") => None,
            // npm would take an empty one for every version; here it is an accident.
            Some("") => return Err(invalid()),
            Some(range) => Some(whole_range(range).ok_or_else(invalid)?),
        };
        Ok(Self {
            text: text.to_owned(),
            names,
            versions,
        })
    }
}

impl TryFrom<String> for PackageRule {
    type Error = InvalidRule;

    fn try_from(text: String) -> Result<Self, InvalidRule> {
        text.parse()
    }
}

impl From<PackageRule> for String {
    fn from(rule: PackageRule) -> String {
        rule.text
    }
}

impl fmt::Display for PackageRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(text: &str) -> PackageRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_a_scope_and_everything_are_rules_with_and_without_a_range() {
        for (text, name, version) in [
            ("left-pad", "left-pad", "1.3.0"),
            ("lodash@<4.17.21", "lodash", "4.17.20"),
            ("@s/a@^1.2 || 3.x", "@s/a", "3.9.0"),
            ("@s/*", "@s/anything", "0.0.1"),
            ("@s/*@*", "@s/anything", "0.0.1"),
            ("@s/*@>=2", "@s/anything", "2.0.0"),
            ("*", "whatever", "1.0.0"),
            ("*@0.x", "whatever", "0.4.1"),
            ("a@>= 1.2 < 2 || ~3.1", "a", "3.1.9"),
            ("a@1.2.3", "a", "1.2.3"),
            (" JSONStream@1.0.0 - 1.3.5 ", "JSONStream", "1.3.5"),
        ] {
            let rule = rule(text);
            assert!(rule.blocks(name, Some(version)), "{text}");
            assert!(rule.allows(name, Some(version)), "{text}");
        }
    }

    #[test]
    fn what_a_rule_does_not_name_is_not_its_matter() {
        for (text, name, version) in [
            ("left-pad", "left-pad2", "1.0.0"),
            ("lodash@<4.17.21", "lodash", "4.17.21"),
            ("lodash@<4.17.21", "lodash-es", "4.17.20"),
            ("@s/*", "@sx/a", "1.0.0"),
            ("@s/*", "s", "1.0.0"),
            ("@s/a", "@s/ab", "1.0.0"),
        ] {
            assert!(!rule(text).blocks(name, Some(version)), "{text}");
            assert!(!rule(text).allows(name, Some(version)), "{text}");
        }
    }

    #[test]
    fn a_doubtful_version_is_blocked_and_not_allowed() {
        let rule = rule("lodash@<4.17.21");
        for version in [Some("4.17.21-rc.1"), Some("latest"), Some(""), None] {
            assert!(rule.blocks("lodash", version), "{version:?}");
            assert!(!rule.allows("lodash", version), "{version:?}");
        }
        // Without a range no version matters.
        assert!("lodash".parse::<PackageRule>().unwrap().allows("lodash", None));
    }

    #[test]
    fn what_is_not_a_rule_is_refused_in_words() {
        for wrong in [
            "",
            "@",
            "@s",
            "@s/",
            "@/*",
            "a/*",
            "a/b",
            "**",
            "*/*",
            "a@",
            "a@latest",
            "a@npm:b@1",
            "a@1@2",
            "a b",
            "../a",
            "a@>=x<",
            "a@1.x || foo",
            "a@<4 foo",
            "a@foo <4",
            "a@<4foo",
            "a@1.2.3.4",
            "a@1.x ||",
            "a@1 - foo",
            "a@ - 1",
        ] {
            let error = wrong.parse::<PackageRule>().unwrap_err().to_string();
            assert!(error.contains("lodash@<4.17.21"), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_rule_is_written_as_it_was_read(text in "@?[a-z*./@ <>=^~0-9-]{0,30}") {
            if let Ok(rule) = text.parse::<PackageRule>() {
                prop_assert_eq!(rule.as_str(), text.trim());
                prop_assert_eq!(rule.to_string().parse::<PackageRule>(), Ok(rule));
            }
        }

        #[test]
        fn what_is_allowed_by_a_rule_would_be_blocked_by_it(
            range in "[<>=^~]{0,2}[0-9]{1,2}(\\.[0-9]{1,2}){0,2}",
            version in "[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}(-rc\\.[0-9])?",
        ) {
            if let Ok(rule) = format!("a@{range}").parse::<PackageRule>() {
                prop_assert!(!rule.allows("a", Some(&version)) || rule.blocks("a", Some(&version)));
            }
        }
    }
}
