//! The wires between the processes: each pair's messages arrive in order and after a while, and while a pair is cut they
//! are held back, as TCP does. Whether somebody still listens when they arrive is not known here.

use std::collections::{BTreeMap, HashMap};

use crate::kernel::{Kernel, MS, Micros};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Redis,
    Replica(usize),
    Executor(usize),
}

/// Both ends, the lesser first.
type Pair = (Place, Place);

pub struct Network<M> {
    /// The cuts that last, each with its number.
    cut: BTreeMap<Pair, u64>,
    cuts: u64,
    /// When the last message of each direction arrives.
    arrives: HashMap<(Place, Place), Micros>,
    held: BTreeMap<Pair, Vec<(Place, Place, M)>>,
}

impl<M> Network<M> {
    pub fn new() -> Self {
        Self {
            cut: BTreeMap::new(),
            cuts: 0,
            arrives: HashMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// The number of the cut that parts the two, if one does.
    pub fn cut_between(&self, one: Place, other: Place) -> Option<u64> {
        self.cut.get(&pair(one, other)).copied()
    }

    pub fn cut(&mut self, one: Place, other: Place) -> u64 {
        self.cuts += 1;
        *self.cut.entry(pair(one, other)).or_insert(self.cuts)
    }

    /// Ends a cut; what was held back is on its way again.
    pub fn heal<E>(
        &mut self,
        one: Place,
        other: Place,
        kernel: &mut Kernel<E>,
        event: impl Fn(Place, Place, M) -> E,
    ) {
        self.cut.remove(&pair(one, other));
        for (from, to, message) in self.held.remove(&pair(one, other)).unwrap_or_default() {
            self.send(from, to, message, kernel, &event);
        }
    }

    pub fn send<E>(
        &mut self,
        from: Place,
        to: Place,
        message: M,
        kernel: &mut Kernel<E>,
        event: impl Fn(Place, Place, M) -> E,
    ) {
        if self.cut_between(from, to).is_some() {
            self.held
                .entry(pair(from, to))
                .or_default()
                .push((from, to, message));
            return;
        }
        let arrives = kernel.now() + delay(kernel);
        let last = self.arrives.entry((from, to)).or_default();
        *last = arrives.max(*last + 1);
        kernel.at(*last, event(from, to, message));
    }
}

fn pair(one: Place, other: Place) -> Pair {
    if one < other { (one, other) } else { (other, one) }
}

/// Mostly a fraction of a millisecond; now and then a packet is lost and sent again.
fn delay<E>(kernel: &mut Kernel<E>) -> Micros {
    match kernel.index(1_000) {
        0 => kernel.between(200 * MS, 700 * MS),
        1..=10 => kernel.between(5 * MS, 50 * MS),
        _ => kernel.between(100, MS),
    }
}
