//! Looks at the files every few seconds, whatever replaced them: an editor, a rename, a symbolic link that now points
//! elsewhere. Says what became of it in the log, and to whoever shows how this process is.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::trust::{Look, Trust};
use crate::lifecycle::Lifecycle;

const INTERVAL: Duration = Duration::from_secs(2);
/// Of a certificate's time, what is left when the log begins to ask for another one.
const LAST_PART: i32 = 5;
const REMIND: Duration = Duration::from_secs(24 * 3600);

/// How it stands with this side's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub expires_at: DateTime<Utc>,
    /// In words for a person.
    pub trouble: Option<String>,
}

struct Watch {
    trust: Arc<Trust>,
    /// Why the files were refused at the last look.
    refused: Option<String>,
    /// The same, once the log has it.
    told: Option<String>,
    reminded: Option<Instant>,
}

impl Trust {
    /// Takes over what the files hold from now on, and tells how it stands, until the lifecycle's soft token.
    pub fn keep_current(self: &Arc<Self>, lifecycle: &Lifecycle, tell: impl Fn(&Condition) + Send + 'static) {
        let mut watch = Watch::new(self.clone());
        let stop = lifecycle.soft().clone();
        lifecycle.spawn(async move {
            tell(&watch.condition());
            let mut looks = interval(INTERVAL);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(looks.tick()).await.is_some() {
                let trust = watch.trust.clone();
                match tokio::task::spawn_blocking(move || trust.look()).await {
                    Ok(look) => tell(&watch.saw(look)),
                    Err(error) => tracing::error!(%error, "a look at the certificates failed"),
                }
            }
        });
    }
}

impl Watch {
    fn new(trust: Arc<Trust>) -> Self {
        Self {
            trust,
            refused: None,
            told: None,
            reminded: None,
        }
    }

    fn saw(&mut self, look: Look) -> Condition {
        let before = self.refused.take();
        match look {
            Look::Unchanged => self.told = None,
            Look::Replaced => {
                let expires_at = self.trust.certificate().not_after();
                tracing::info!(identity = %self.trust.identity(), %expires_at, "the certificates were replaced");
                self.told = None;
                self.reminded = None;
            }
            // Once is a set of which not every file has been written yet.
            Look::Refused(error) => {
                let why = error.to_string();
                if before.as_ref() == Some(&why) && self.told.as_ref() != Some(&why) {
                    tracing::warn!(%why, "new certificates are not taken; the old ones are used on");
                    self.told = Some(why.clone());
                }
                self.refused = Some(why);
            }
        }
        let condition = self.condition();
        self.remind(&condition);
        condition
    }

    fn condition(&self) -> Condition {
        let expires_at = self.trust.certificate().not_after();
        let expired = (expires_at <= self.trust.now()).then(|| {
            format!(
                "this side's certificate expired at {expires_at}: nobody accepts a new connection with it"
            )
        });
        let refused = self
            .told
            .as_ref()
            .map(|why| format!("new certificates are not taken: {why}"));
        let troubles: Vec<_> = expired.into_iter().chain(refused).collect();
        Condition {
            expires_at,
            trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
        }
    }

    fn remind(&mut self, condition: &Condition) {
        let certificate = self.trust.certificate();
        let lifetime = certificate.not_after() - certificate.not_before();
        let left = certificate.not_after() - self.trust.now();
        let due = self.reminded.is_none_or(|last| last.elapsed() >= REMIND);
        if left > lifetime / LAST_PART || !due {
            return;
        }
        self.reminded = Some(Instant::now());
        let (expires_at, hours) = (condition.expires_at, left.num_hours());
        if left > TimeDelta::zero() {
            tracing::warn!(%expires_at, hours_left = hours, "this side's certificate expires soon");
        } else {
            tracing::error!(%expires_at, "this side's certificate has expired");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::tls::authority::{Authority, Request};
    use crate::tls::{Identity, Role, TlsFiles};

    struct Scene {
        clock: Arc<ManualClock>,
        authority: Authority,
        files: TlsFiles,
        watch: Watch,
        _dir: tempfile::TempDir,
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_900_000_000, 0).unwrap()
    }

    fn request(identity: Identity, days: i64, host: &str) -> Request {
        Request {
            identity,
            hosts: vec![host.to_owned()],
            not_before: start(),
            not_after: start() + TimeDelta::days(days),
        }
    }

    fn executor() -> Identity {
        Identity::Executor("exe_one".parse().unwrap())
    }

    impl Scene {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = |name: &str| dir.path().join(name);
            let files = TlsFiles {
                ca: path("ca.pem"),
                cert: path("own.pem"),
                key: path("own.key"),
            };
            let authority = Authority::new(start(), start() + TimeDelta::days(1000)).unwrap();
            std::fs::write(&files.ca, authority.certificate_pem()).unwrap();
            let pair = authority.issue(&request(executor(), 10, "one")).unwrap();
            std::fs::write(&files.cert, &pair.certificate).unwrap();
            std::fs::write(&files.key, &pair.key).unwrap();
            let clock = Arc::new(ManualClock::at(start()));
            let trust = Trust::open(files.clone(), Role::Executor, clock.clone()).unwrap();
            Self {
                clock,
                authority,
                files,
                watch: Watch::new(trust),
                _dir: dir,
            }
        }

        fn write(&self, request: &Request) {
            let pair = self.authority.issue(request).unwrap();
            std::fs::write(&self.files.cert, &pair.certificate).unwrap();
            std::fs::write(&self.files.key, &pair.key).unwrap();
        }

        fn look(&mut self) -> Condition {
            let look = self.watch.trust.look();
            self.watch.saw(look)
        }

        /// What is said once it is sure that nobody is still writing.
        fn trouble(&mut self) -> String {
            assert_eq!(self.look().trouble, None, "the set may be half written");
            self.look().trouble.unwrap()
        }
    }

    #[test]
    fn a_new_set_is_taken_and_its_expiry_told() {
        let mut scene = Scene::new();
        scene.write(&request(executor(), 20, "one"));
        let condition = scene.look();
        assert_eq!(condition.expires_at, start() + TimeDelta::days(20));
        assert_eq!(condition.trouble, None);
    }

    #[test]
    fn a_half_written_set_is_not_taken_and_the_whole_one_then_is() {
        let mut scene = Scene::new();
        let pair = scene.authority.issue(&request(executor(), 20, "one")).unwrap();
        std::fs::write(&scene.files.key, &pair.key).unwrap();
        assert!(scene.trouble().contains("MCP_TLS_KEY_FILE"));
        std::fs::write(&scene.files.cert, &pair.certificate).unwrap();
        let condition = scene.look();
        assert_eq!(
            (condition.expires_at, condition.trouble),
            (start() + TimeDelta::days(20), None)
        );
    }

    #[test]
    fn what_is_no_better_than_the_old_set_is_refused_with_the_reason() {
        type Change = fn(&Scene);
        let cases: [(&str, Change); 6] = [
            ("expired at", |scene| {
                scene.write(&Request {
                    not_after: start(),
                    not_before: start() - TimeDelta::days(1),
                    ..request(executor(), 0, "one")
                });
                scene.clock.advance(TimeDelta::seconds(1));
            }),
            ("the control plane's", |scene| {
                scene.write(&request(Identity::ControlPlane, 20, "one"));
            }),
            ("begun as executor exe_one", |scene| {
                let other = Identity::Executor("exe_two".parse().unwrap());
                scene.write(&request(other, 20, "one"));
            }),
            ("good for two, and not for one", |scene| {
                scene.write(&request(executor(), 20, "two"));
            }),
            ("not of an authority", |scene| {
                let other = Authority::new(start(), start() + TimeDelta::days(9)).unwrap();
                std::fs::write(&scene.files.ca, other.certificate_pem()).unwrap();
            }),
            ("can't be read", |scene| {
                std::fs::remove_file(&scene.files.ca).unwrap()
            }),
        ];
        for (reason, change) in cases {
            let mut scene = Scene::new();
            scene.watch.trust.must_cover("one").unwrap();
            change(&scene);
            let trouble = scene.trouble();
            assert!(trouble.contains(reason), "{reason}: {trouble}");
            assert_eq!(scene.look().expires_at, start() + TimeDelta::days(10), "{reason}");
        }
    }

    #[test]
    fn an_expired_certificate_is_a_trouble_until_it_is_replaced() {
        let mut scene = Scene::new();
        scene.clock.advance(TimeDelta::days(10));
        assert!(scene.look().trouble.unwrap().contains("expired"));
        scene.write(&request(executor(), 20, "one"));
        assert_eq!(scene.look().trouble, None);
    }

    #[test]
    fn files_that_are_as_they_were_are_no_trouble_any_more() {
        let mut scene = Scene::new();
        let before = std::fs::read(&scene.files.ca).unwrap();
        std::fs::write(&scene.files.ca, "nothing").unwrap();
        assert!(scene.trouble().contains("MCP_TLS_CA_FILE"));
        std::fs::write(&scene.files.ca, before).unwrap();
        assert_eq!(scene.look().trouble, None);
    }
}
