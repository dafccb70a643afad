//! The volumes that packages are installed in: how they are named, and when one is nobody's any more.
//!
//! Whoever uses a volume leaves the time in the state directory, so that the collector of any executor of that
//! directory knows. Executors elsewhere are not seen there; their volumes are left until they expire.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Duration, Utc};
use dynamic_mcp_shared::content::{canonical_json, sha256_hex};
use dynamic_mcp_shared::ids::TenantId;

use super::lock::CheckedLock;
use crate::identity::Holder;

/// A volume that no call has used for so long is removed; the next call installs it anew.
const KEEP: Duration = Duration::hours(24);
/// After this an unused volume is anybody's, whoever made it.
pub(super) const EXPIRES_AFTER: Duration = Duration::days(30);

/// The image as the Engine knows it, not as a tag names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageId {
    pub id: String,
    /// `linux/amd64`: an image of several platforms has one id.
    pub platform: String,
}

/// The same for the same tenant, registry, image and lock, on any executor; different for anything else.
pub(super) fn key(tenant: &TenantId, registry: &str, image: &ImageId, lock: &CheckedLock) -> String {
    let parts = serde_json::json!([tenant.as_str(), registry, image.id, image.platform, lock.as_str()]);
    let mut hash = sha256_hex(canonical_json(&parts).as_bytes());
    hash.truncate(32);
    hash
}

pub(super) fn volume_name(key: &str) -> String {
    format!("dmcp-deps-{key}")
}

/// One name for all that would fill the same volume: the Engine lets only one of them be.
pub(super) fn container_name(key: &str) -> String {
    format!("dmcp-install-{key}")
}

/// When volumes were last used, as files of the state directory.
#[derive(Debug)]
pub(super) struct Uses {
    folder: PathBuf,
}

impl Uses {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join("dependencies"),
        }
    }

    pub(super) async fn record(&self, volume: &str, now: DateTime<Utc>) -> io::Result<()> {
        tokio::fs::create_dir_all(&self.folder).await?;
        tokio::fs::write(self.folder.join(volume), now.to_rfc3339()).await
    }

    /// `None` when no executor of this state directory has used it, as far as can be read.
    pub(super) async fn last(&self, volume: &str) -> Option<DateTime<Utc>> {
        let text = tokio::fs::read_to_string(self.folder.join(volume)).await.ok()?;
        let time = DateTime::parse_from_rfc3339(text.trim()).ok()?;
        Some(time.with_timezone(&Utc))
    }

    pub(super) async fn forget(&self, volume: &str) {
        // One that is not there was never used from here.
        let _absent = tokio::fs::remove_file(self.folder.join(volume)).await;
    }
}

/// What the collector knows of a volume.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub made: Option<DateTime<Utc>>,
    pub expires: Option<DateTime<Utc>>,
    pub last_use: Option<DateTime<Utc>>,
    /// Of the executor that made it.
    pub maker: Holder,
}

/// Whether nobody needs it any more. The Engine refuses to remove one that a container still has.
pub(super) fn is_unused(candidate: &Candidate, now: DateTime<Utc>) -> bool {
    let recent = |time: Option<DateTime<Utc>>| time.is_some_and(|time| now - time < KEEP);
    if recent(candidate.made) || recent(candidate.last_use) {
        return false;
    }
    match candidate.maker {
        Holder::Alive | Holder::Dead => true,
        Holder::Unknown => candidate.expires.is_some_and(|expires| expires < now),
    }
}

#[cfg(test)]
mod tests {
    use dynamic_mcp_shared::policy::SandboxPolicy;

    use super::*;
    use crate::docker::dependencies::lock::Registry;

    fn lock(version: &str) -> CheckedLock {
        let url = format!("https://npm.internal/a/-/a-{version}.tgz");
        let text = serde_json::json!({"lockfileVersion": 3, "packages": {
            "": {}, "node_modules/a": {"version": version, "resolved": url, "integrity": "sha512-A"},
        }});
        let registry = Registry::parse("https://npm.internal/").unwrap();
        let policy = SandboxPolicy::default();
        CheckedLock::parse(text.to_string().as_bytes(), &registry, &policy).unwrap()
    }

    fn image(id: &str, platform: &str) -> ImageId {
        ImageId {
            id: id.to_owned(),
            platform: platform.to_owned(),
        }
    }

    #[test]
    fn everything_that_an_install_depends_on_is_in_its_name() {
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let of = |t: &str, registry: &str, image: &ImageId, version: &str| {
            key(&tenant(t), registry, image, &lock(version))
        };
        let (amd, arm) = (image("sha256:1", "linux/amd64"), image("sha256:1", "linux/arm64"));
        let base = of("one", "r", &amd, "1.0.0");
        assert_eq!(base, of("one", "r", &amd, "1.0.0"));
        for other in [
            of("two", "r", &amd, "1.0.0"),
            of("one", "s", &amd, "1.0.0"),
            of("one", "r", &arm, "1.0.0"),
            of("one", "r", &image("sha256:2", "linux/amd64"), "1.0.0"),
            of("one", "r", &amd, "1.0.1"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_volume_goes_when_nobody_used_it_for_a_day_and_its_maker_is_known() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let hours_ago = |hours| Some(now - Duration::hours(hours));
        let old = Candidate {
            made: hours_ago(100),
            expires: Some(now + Duration::days(20)),
            last_use: hours_ago(25),
            maker: Holder::Alive,
        };
        let with = |change: fn(&mut Candidate, DateTime<Utc>)| {
            let mut candidate = old.clone();
            change(&mut candidate, now);
            is_unused(&candidate, now)
        };
        assert!(is_unused(&old, now));
        assert!(with(|old, _| old.maker = Holder::Dead));
        assert!(with(|old, _| old.last_use = None));
        assert!(!with(|old, now| old.last_use = Some(now - Duration::hours(1))));
        assert!(!with(|old, now| old.made = Some(now - Duration::minutes(1))));
        assert!(!with(|old, _| old.maker = Holder::Unknown));
        assert!(with(|old, now| {
            old.maker = Holder::Unknown;
            old.expires = Some(now - Duration::seconds(1));
        }));
    }

    #[tokio::test]
    async fn the_last_use_is_kept_for_other_processes() {
        let state = tempfile::tempdir().unwrap();
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let uses = Uses::new(state.path());
        assert_eq!(uses.last("v").await, None);
        uses.record("v", now).await.unwrap();
        assert_eq!(Uses::new(state.path()).last("v").await, Some(now));
        uses.forget("v").await;
        assert_eq!(uses.last("v").await, None);
    }
}
