//! A sliding window as a log of beginnings: exact, where two counters with an average between them are not.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// At most `limit` beginnings in any half-open span of time as long as `length`.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLimit {
    pub(super) limit: u32,
    pub(super) length: Duration,
}

/// The beginnings within the last window, oldest first, and the places held for calls that still wait to begin.
#[derive(Debug, Default)]
pub(super) struct Window {
    begun: VecDeque<Instant>,
    held: usize,
}

impl Window {
    /// Holds a place, if there is one, until [`Self::begin`] or [`Self::release`].
    ///
    /// # Errors
    /// How long it takes until a place may be free; `None` when every place is held by a call that waits to begin.
    pub(super) fn hold(&mut self, now: Instant, rule: WindowLimit) -> Result<(), Option<Duration>> {
        self.forget_old(now, rule.length);
        if self.begun.len() + self.held < rule.limit as usize {
            self.held += 1;
            return Ok(());
        }
        let oldest = self.begun.front();
        Err(oldest.map(|&begun| rule.length.saturating_sub(now.duration_since(begun))))
    }

    /// Turns a held place into a beginning. It counts from now and not from when it was held, since what is limited
    /// is how many calls begin, and they may have waited for different times.
    pub(super) fn begin(&mut self, now: Instant) {
        debug_assert!(self.held > 0, "a call begins on a place that it holds");
        self.held = self.held.saturating_sub(1);
        self.begun.push_back(now);
    }

    /// Gives a held place back.
    pub(super) fn release(&mut self) {
        debug_assert!(self.held > 0, "only a held place is given back");
        self.held = self.held.saturating_sub(1);
    }

    /// Whether forgetting it changes no decision.
    pub(super) fn is_idle(&mut self, now: Instant, length: Duration) -> bool {
        self.forget_old(now, length);
        self.begun.is_empty() && self.held == 0
    }

    fn forget_old(&mut self, now: Instant, length: Duration) {
        while self
            .begun
            .front()
            .is_some_and(|&begun| now.duration_since(begun) >= length)
        {
            self.begun.pop_front();
        }
        // A burst should not keep its memory for the life of the scope.
        if self.begun.is_empty() && self.begun.capacity() > 1_024 {
            self.begun.shrink_to(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: Duration = Duration::from_millis(100);

    fn rule(limit: u32) -> WindowLimit {
        WindowLimit {
            limit,
            length: LENGTH,
        }
    }

    proptest! {
        /// Against the definition: a call is let in exactly when fewer than `limit` were in the last window.
        #[test]
        fn a_call_is_let_in_exactly_when_the_window_has_room(
            limit in 1_u32..6,
            steps in prop::collection::vec(0_u64..60, 1..200),
        ) {
            let mut window = Window::default();
            let mut now = Instant::now();
            let mut begun: Vec<Instant> = Vec::new();
            for step in steps {
                now += Duration::from_millis(step);
                let recent = begun.iter().filter(|&&at| now.duration_since(at) < LENGTH).count();
                match window.hold(now, rule(limit)) {
                    Ok(()) => {
                        prop_assert!(recent < limit as usize);
                        window.begin(now);
                        begun.push(now);
                    }
                    Err(wait) => {
                        prop_assert_eq!(recent, limit as usize);
                        let wait = wait.expect("nothing is held");
                        let later = now + wait;
                        let then = begun.iter().filter(|&&at| later.duration_since(at) < LENGTH).count();
                        prop_assert!(then < limit as usize, "a retry after {wait:?} would be refused again");
                    }
                }
            }
        }
    }

    #[test]
    fn a_place_given_back_is_free_at_once() {
        let mut window = Window::default();
        let now = Instant::now();
        assert_eq!(window.hold(now, rule(1)), Ok(()));
        assert_eq!(window.hold(now, rule(1)), Err(None));
        window.release();
        assert_eq!(window.hold(now, rule(1)), Ok(()));
    }

    #[test]
    fn a_call_counts_from_its_beginning_not_from_its_wait() {
        let mut window = Window::default();
        let start = Instant::now();
        assert_eq!(window.hold(start, rule(1)), Ok(()));
        window.begin(start + LENGTH);
        let later = start + LENGTH + LENGTH / 2;
        assert_eq!(window.hold(later, rule(1)), Err(Some(LENGTH / 2)));
    }
}
