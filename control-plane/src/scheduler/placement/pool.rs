//! The nodes that could take jobs of one kind.

use std::collections::HashMap;

use rand::Rng;
use rand::seq::index::sample;

use super::NodeKey;

#[derive(Debug, Default)]
pub(super) struct Pool {
    /// How many nodes could run such a job, full ones included.
    pub(super) able: Members,
    /// Those of them with a free slot.
    pub(super) open: Members,
    /// Those of these with a warm sandbox.
    pub(super) warm: Members,
}

impl Pool {
    pub(super) fn put(&mut self, key: NodeKey, is_open: bool, is_warm: bool) {
        self.able.set(key, true);
        self.place(key, is_open, is_warm);
    }

    pub(super) fn place(&mut self, key: NodeKey, is_open: bool, is_warm: bool) {
        self.open.set(key, is_open);
        self.warm.set(key, is_open && is_warm);
    }

    pub(super) fn take_out(&mut self, key: NodeKey) {
        self.able.set(key, false);
        self.place(key, false, false);
    }
}

/// A set of which some can be drawn at random without a look at the others.
#[derive(Debug, Default)]
pub(super) struct Members {
    keys: Vec<NodeKey>,
    places: HashMap<NodeKey, usize>,
}

impl Members {
    /// At most so many, each once.
    pub(super) fn draw(&self, count: usize, rng: &mut impl Rng) -> impl Iterator<Item = NodeKey> {
        let count = count.min(self.keys.len());
        sample(rng, self.keys.len(), count)
            .into_iter()
            .map(|place| self.keys[place])
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    fn set(&mut self, key: NodeKey, member: bool) {
        match (self.places.get(&key).copied(), member) {
            (None, true) => {
                self.places.insert(key, self.keys.len());
                self.keys.push(key);
            }
            (Some(place), false) => {
                self.places.remove(&key);
                self.keys.swap_remove(place);
                if let Some(&moved) = self.keys.get(place) {
                    self.places.insert(moved, place);
                }
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}
