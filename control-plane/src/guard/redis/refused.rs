//! Refusals by rate that are known to hold for a while, so that whoever comes again too early costs no round trip.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::super::advice::whole_ms;
use super::super::{ALL_SCOPES, GuardConfig, Refusal, Scope, Share};

/// Of how many that is remembered, and of how many scopes refusals are counted until they are told to Redis.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By tenant and scope; without a scope, of all of them together.
    until: HashMap<(String, Option<String>), Until>,
    counted: HashMap<Scope, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Until {
    at: Instant,
    /// What was allowed then. With another limit it no longer holds.
    limit: u32,
}

impl Refused {
    /// `of_tenant`: what its scopes may together was used up.
    pub(super) fn remember(&self, scope: &Scope, of_tenant: bool, limit: u32, wait: Duration) {
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.until.len() >= MOST {
            state.until.retain(|_, until| until.at > now);
        }
        if state.until.len() < MOST {
            let name = (!of_tenant).then(|| scope.name.clone());
            let until = Until {
                at: now + wait,
                limit,
            };
            state.until.insert((scope.tenant.to_string(), name), until);
        }
    }

    /// The refusal that is known to await this call. It is counted here.
    pub(super) fn look_up(&self, scope: &Scope, share: Share, config: &GuardConfig) -> Option<Refusal> {
        let mut state = self.0.lock();
        if state.until.is_empty() {
            return None;
        }
        let now = Instant::now();
        let limits = config.limits;
        let known = |name: Option<&str>, limit: u32| {
            let key = (scope.tenant.to_string(), name.map(str::to_owned));
            let until = state.until.get(&key)?;
            (until.at > now && until.limit == limit).then(|| (limit, until.at - now))
        };
        let of_scope =
            known(Some(&scope.name), limits.max_calls_per_window).map(|known| (&*scope.name, known));
        let of_tenant = || Some((ALL_SCOPES, known(None, share.max_calls_per_window?)?));
        let (name, (limit, wait)) = of_scope.or_else(of_tenant)?;
        let refusal = Refusal::Rate {
            scope: name.to_owned(),
            limit,
            window_ms: limits.window_ms,
            retry_after: whole_ms(wait),
        };
        state.count(scope, 1);
        Some(refusal)
    }

    /// What was counted since the last time.
    pub(super) fn counted(&self) -> Vec<(Scope, u64)> {
        self.0.lock().counted.drain().collect()
    }

    /// Redis did not take it: with the next.
    pub(super) fn count_again(&self, counted: &[(Scope, u64)]) {
        let mut state = self.0.lock();
        for (scope, many) in counted {
            state.count(scope, *many);
        }
    }
}

impl State {
    fn count(&mut self, scope: &Scope, many: u64) {
        if let Some(counted) = self.counted.get_mut(scope) {
            *counted += many;
        } else if self.counted.len() < MOST {
            self.counted.insert(scope.clone(), many);
        }
    }
}
