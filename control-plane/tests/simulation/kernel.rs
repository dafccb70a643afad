//! Virtual time: what happens next, and the one source of chance. Nothing here knows what the events are.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Microseconds since the simulation began.
pub type Micros = u64;

pub const MS: Micros = 1_000;
pub const SECOND: Micros = 1_000 * MS;

pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).expect("fewer than 2^64")
}

pub struct Kernel<E> {
    now: Micros,
    scheduled: u64,
    queue: BinaryHeap<Scheduled<E>>,
    rng: SmallRng,
}

struct Scheduled<E> {
    at: Micros,
    /// Of events of one moment the first scheduled comes first, so that a seed has one story.
    order: u64,
    event: E,
}

impl<E> Kernel<E> {
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            scheduled: 0,
            queue: BinaryHeap::new(),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    pub fn now(&self) -> Micros {
        self.now
    }

    pub fn after(&mut self, delay: Micros, event: E) {
        self.at(self.now + delay, event);
    }

    /// A moment that has passed means now.
    pub fn at(&mut self, at: Micros, event: E) {
        let (at, order) = (at.max(self.now), self.scheduled);
        self.scheduled += 1;
        self.queue.push(Scheduled { at, order, event });
    }

    /// The next event, at whose moment it is now; `None` when nothing will ever happen.
    pub fn next(&mut self) -> Option<E> {
        let next = self.queue.pop()?;
        self.now = next.at;
        Some(next.event)
    }

    /// A seed for another source of chance.
    pub fn draw(&mut self) -> u64 {
        self.rng.random()
    }

    pub fn between(&mut self, least: Micros, most: Micros) -> Micros {
        self.rng.random_range(least..=most)
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub fn index(&mut self, length: usize) -> usize {
        self.rng.random_range(0..length)
    }
}

impl<E> Ord for Scheduled<E> {
    /// The heap gives the greatest, so the earliest is that.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}
