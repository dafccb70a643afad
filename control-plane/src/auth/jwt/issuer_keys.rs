//! The issuer's keys: fetched at the start, again every few minutes, and when a token names one that is not among them.
//! An issuer that is away leaves the keys as they are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::keys::KeySet;

/// For the whole answer of an issuer, slow ones included.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);
/// Between two fetches, whatever tokens ask for: anybody can name a key that there is not.
const PAUSE: Duration = Duration::from_secs(5);
/// How `/readyz` calls it.
const PART: &str = "issuer";

/// Where the keys are published.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// # Errors
    /// Why there is no answer, or none that can be one.
    async fn fetch(&self) -> Result<Bytes, String>;
}

pub struct IssuerKeys {
    source: Box<dyn KeySource>,
    refresh: Duration,
    readiness: Readiness,
    lifecycle: Lifecycle,
    current: RwLock<Option<Arc<KeySet>>>,
    /// When the last fetch ended; held during one.
    fetched: Mutex<Option<Instant>>,
}

impl IssuerKeys {
    /// Fetches once before it answers, so that who is served has had the keys if they could be had, and for as long as the
    /// lifecycle lasts; `refresh` is how old the keys get.
    pub async fn start(
        source: Box<dyn KeySource>,
        refresh: Duration,
        readiness: Readiness,
        lifecycle: &Lifecycle,
    ) -> Arc<Self> {
        let keys = Arc::new(Self {
            source,
            refresh,
            readiness,
            lifecycle: lifecycle.clone(),
            current: RwLock::default(),
            fetched: Mutex::default(),
        });
        let ok = keys.look().await;
        let (kept, stop) = (keys.clone(), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            stop.run_until_cancelled(kept.keep_fresh(ok)).await;
        });
        keys
    }

    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.current.read().clone()
    }

    /// The keys after a look for newer ones, unless there was one just now. Many who ask together wait for one fetch, which
    /// ends though those who asked go away: otherwise each of them would begin another.
    pub async fn after_unknown(self: &Arc<Self>) -> Option<Arc<KeySet>> {
        let keys = self.clone();
        let looked = self.lifecycle.spawn(async move {
            let mut fetched = keys.fetched.lock().await;
            if fetched.is_none_or(|at| at.elapsed() >= PAUSE) {
                keys.fetch(&mut fetched).await;
            }
        });
        let _panicked = looked.await;
        self.current()
    }

    async fn keep_fresh(&self, mut ok: bool) {
        loop {
            let pause = if ok { self.refresh } else { PAUSE.min(self.refresh) };
            tokio::time::sleep(pause).await;
            ok = self.look().await;
        }
    }

    async fn look(&self) -> bool {
        self.fetch(&mut *self.fetched.lock().await).await
    }

    async fn fetch(&self, fetched: &mut Option<Instant>) -> bool {
        let got = timeout(FETCH_DEADLINE, self.source.fetch()).await;
        *fetched = Some(Instant::now());
        let got = got.unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH_DEADLINE.as_secs())));
        match got.and_then(|text| KeySet::parse(&text).map_err(|error| error.to_string())) {
            Ok(keys) => {
                *self.current.write() = Some(Arc::new(keys));
                if self.readiness.restore(PART) {
                    tracing::info!("the issuer's keys can be had again");
                }
                true
            }
            Err(why) => {
                let meanwhile = match self.current() {
                    Some(_) => "those that were had before are used on",
                    None => "nobody can be let in",
                };
                let problem = format!("its keys can't be had: {why}; {meanwhile}");
                if self.readiness.degrade(PART, &problem) {
                    tracing::warn!(reason = problem, "the issuer of access tokens");
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const GOOD: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "one",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    const NEWER: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "two",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    struct Scripted(parking_lot::Mutex<VecDeque<Result<&'static str, &'static str>>>);

    #[async_trait]
    impl KeySource for Scripted {
        async fn fetch(&self) -> Result<Bytes, String> {
            let next = self.0.lock().pop_front();
            match next {
                Some(Ok(text)) => Ok(Bytes::from_static(text.as_bytes())),
                Some(Err(why)) => Err(why.to_owned()),
                None => std::future::pending().await,
            }
        }
    }

    async fn keys(answers: &[Result<&'static str, &'static str>]) -> (Arc<IssuerKeys>, Readiness) {
        let readiness = Readiness::default();
        let source = Box::new(Scripted(parking_lot::Mutex::new(
            answers.iter().copied().collect(),
        )));
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        let keys = IssuerKeys::start(source, Duration::from_secs(300), readiness.clone(), &lifecycle).await;
        (keys, readiness)
    }

    fn degraded(readiness: &Readiness) -> Option<String> {
        readiness.report().degraded.get(PART).cloned()
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_is_away_leaves_the_keys_as_they_were() {
        let (keys, readiness) = keys(&[Ok(GOOD), Err("refused"), Ok("{}"), Ok(NEWER)]).await;
        assert!(keys.current().is_some_and(|keys| keys.knows(Some("one"))));
        assert_eq!(degraded(&readiness), None);
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert!(keys.current().is_some_and(|keys| keys.knows(Some("one"))));
        assert!(degraded(&readiness).is_some_and(|why| why.contains("refused; those that were had before")));
        tokio::time::sleep(PAUSE).await;
        assert!(degraded(&readiness).is_some());
        tokio::time::sleep(PAUSE).await;
        assert!(
            keys.current()
                .is_some_and(|keys| keys.knows(Some("two")) && !keys.knows(Some("one")))
        );
        assert_eq!(degraded(&readiness), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_is_looked_for_once_in_a_while_whoever_asks_for_it() {
        let (keys, _) = keys(&[Ok(GOOD), Ok(GOOD), Ok(NEWER)]).await;
        // The look at the start was just now.
        assert!(
            keys.after_unknown()
                .await
                .is_some_and(|keys| !keys.knows(Some("two")))
        );
        tokio::time::sleep(PAUSE).await;
        for _ in 0..100 {
            assert!(
                keys.after_unknown()
                    .await
                    .is_some_and(|keys| !keys.knows(Some("two")))
            );
        }
        tokio::time::sleep(PAUSE).await;
        assert!(
            keys.after_unknown()
                .await
                .is_some_and(|keys| keys.knows(Some("two")))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_and_goes_away_does_not_let_the_next_one_ask_again() {
        let (keys, _) = keys(&[Ok(GOOD)]).await;
        tokio::time::sleep(PAUSE).await;
        // The issuer is silent from here on.
        for _ in 0..3 {
            let asked = tokio::time::timeout(Duration::from_millis(10), keys.after_unknown()).await;
            assert!(asked.is_err());
        }
        tokio::time::sleep(FETCH_DEADLINE).await;
        let begun = Instant::now();
        assert!(keys.after_unknown().await.is_some());
        assert_eq!(begun.elapsed(), Duration::ZERO, "it was looked for just now");
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_never_answers_is_given_up() {
        let (keys, readiness) = keys(&[]).await;
        assert!(keys.current().is_none());
        assert!(degraded(&readiness).is_some_and(|why| why.contains("no answer within 5 s; nobody")));
    }
}
