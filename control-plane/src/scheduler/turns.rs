//! Who of those that wait for a node looks for one next. Tenants take turns, and what one tenant wants goes in the order in
//! which it came, so that one with many calls waits for others as they do for it. Each need has a line of its own: none
//! waits for a node that it has no use for.
//!
//! Slots that come free are taken by other replicas too, who may hear of them first. So one of each line waits at a node
//! itself, where those of all replicas take turns.

use std::collections::{HashMap, HashSet, VecDeque};

use dynamic_mcp_shared::ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::placement::Need;

#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Default)]
struct State {
    /// By need; those in which somebody waits.
    lines: HashMap<String, Line>,
    next: u64,
    /// Needs of which one waits at a node.
    at_nodes: HashSet<String>,
}

/// Tenants in the order of their turns, each with its own in theirs.
#[derive(Default)]
struct Line(VecDeque<(TenantId, VecDeque<u64>)>);

/// A place in a line, left when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    line: String,
    tenant: TenantId,
    number: u64,
    served: bool,
}

impl Turns {
    pub(super) fn nobody_waits(&self, need: Need<'_>) -> bool {
        !self.state.lock().lines.contains_key(name(need))
    }

    /// `number`: what it was given when it waited first; it is where it was when it waits again.
    pub(super) fn wait(&self, need: Need<'_>, tenant: &TenantId, number: &mut Option<u64>) -> Turn<'_> {
        let mut state = self.state.lock();
        let next = state.next;
        state.next += 1;
        let number = *number.get_or_insert(next);
        let line = state.lines.entry(name(need).to_owned()).or_default();
        line.join(tenant, number);
        Turn {
            turns: self,
            line: name(need).to_owned(),
            tenant: tenant.clone(),
            number,
            served: false,
        }
    }

    /// The right to wait at a node, which one has at a time.
    pub(super) fn at_node(&self, need: Need<'_>) -> Option<AtNode<'_>> {
        let name = name(need).to_owned();
        let is_free = self.state.lock().at_nodes.insert(name.clone());
        is_free.then(|| AtNode {
            turns: self,
            name,
            is_used: false,
        })
    }

    /// Completes when somebody left a line.
    pub(super) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }
}

/// Held by who waits at a node, until it has a slot.
pub(super) struct AtNode<'a> {
    turns: &'a Turns,
    name: String,
    /// Somebody waited with it: its end is news to those who would.
    pub(super) is_used: bool,
}

impl Drop for AtNode<'_> {
    fn drop(&mut self) {
        self.turns.state.lock().at_nodes.remove(&self.name);
        if self.is_used {
            self.turns.moved.notify_waiters();
        }
    }
}

impl Turn<'_> {
    pub(super) fn has_come(&self) -> bool {
        let state = self.turns.state.lock();
        let line = state.lines.get(&self.line);
        line.and_then(Line::first) == Some(self.number)
    }

    /// It got what it waited for, so that others of its tenant wait until all tenants had a turn.
    pub(super) fn got_it(mut self) {
        self.served = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        if let Some(line) = state.lines.get_mut(&self.line) {
            line.leave(&self.tenant, self.number, self.served);
            if line.0.is_empty() {
                state.lines.remove(&self.line);
            }
        }
        drop(state);
        self.turns.moved.notify_waiters();
    }
}

impl Line {
    fn join(&mut self, tenant: &TenantId, number: u64) {
        match self.0.iter_mut().find(|(known, _)| known == tenant) {
            Some((_, own)) => own.insert(own.partition_point(|&other| other < number), number),
            None => self.0.push_back((tenant.clone(), VecDeque::from([number]))),
        }
    }

    fn first(&self) -> Option<u64> {
        self.0.front()?.1.front().copied()
    }

    fn leave(&mut self, tenant: &TenantId, number: u64, served: bool) {
        let Some(at) = self.0.iter().position(|(known, _)| known == tenant) else {
            return;
        };
        let own = &mut self.0[at].1;
        own.retain(|&waiting| waiting != number);
        let is_last = own.is_empty();
        if is_last || served {
            let left = self.0.remove(at);
            self.0.extend(left.filter(|_| !is_last));
        }
    }
}

/// No image has an empty name.
fn name(need: Need<'_>) -> &str {
    match need {
        Need::Node { image } => image,
        Need::Isolate => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().expect("a tenant")
    }

    fn next(waiting: &mut Vec<(&'static str, Turn<'_>)>) -> &'static str {
        let at = waiting.iter().position(|(_, turn)| turn.has_come());
        let (who, turn) = waiting.remove(at.expect("somebody is next"));
        turn.got_it();
        who
    }

    #[test]
    fn tenants_take_turns_and_each_goes_in_its_own_order() {
        let turns = Turns::default();
        let mut waiting: Vec<_> = [
            ("many", "m1"),
            ("many", "m2"),
            ("many", "m3"),
            ("few", "f1"),
            ("one", "o1"),
        ]
        .map(|(of, who)| (who, turns.wait(Need::Isolate, &tenant(of), &mut None)))
        .into();
        let order: Vec<_> = (0..5).map(|_| next(&mut waiting)).collect();
        assert_eq!(order, ["m1", "f1", "o1", "m2", "m3"]);
        assert!(turns.nobody_waits(Need::Isolate));
    }

    #[test]
    fn who_gives_up_costs_its_tenant_no_turn() {
        let turns = Turns::default();
        let given_up = turns.wait(Need::Isolate, &tenant("one"), &mut None);
        let next = turns.wait(Need::Isolate, &tenant("one"), &mut None);
        let other = turns.wait(Need::Isolate, &tenant("other"), &mut None);
        drop(given_up);
        assert!(next.has_come() && !other.has_come());
    }

    #[test]
    fn who_was_sent_back_goes_before_those_of_its_tenant_who_came_later() {
        let turns = Turns::default();
        let mut number = None;
        let sent = turns.wait(Need::Isolate, &tenant("one"), &mut number);
        let later = turns.wait(Need::Isolate, &tenant("one"), &mut None);
        sent.got_it();
        let sent_back = turns.wait(Need::Isolate, &tenant("one"), &mut number);
        assert!(sent_back.has_come() && !later.has_come());
    }

    #[test]
    fn one_of_each_need_waits_at_a_node() {
        let turns = Turns::default();
        let one = turns.at_node(Need::Isolate);
        for _ in 0..2 {
            assert!(one.is_some() && turns.at_node(Need::Isolate).is_none());
        }
        let image = Need::Node {
            image: "node:lts-slim",
        };
        assert!(turns.at_node(image).is_some());
        drop(one);
        assert!(turns.at_node(Need::Isolate).is_some());
    }

    #[test]
    fn nobody_waits_for_a_node_that_it_has_no_use_for() {
        let turns = Turns::default();
        let _isolate = turns.wait(Need::Isolate, &tenant("one"), &mut None);
        let image = Need::Node {
            image: "node:lts-slim",
        };
        assert!(turns.nobody_waits(image));
        assert!(turns.wait(image, &tenant("other"), &mut None).has_come());
    }
}
