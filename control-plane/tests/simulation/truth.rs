//! What really happened, seen from above: no part of the simulated system can look here. Everything that must hold is
//! checked as it happens; the first thing that does not hold ends the run.

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel::{Micros, SECOND};

/// A call, from its arrival to its one outcome. Also the number of its job: a call has one.
pub type Call = usize;
pub type Tenant = usize;

/// How a call ended, as its client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// It ran to its end, or to its time-out.
    Finished,
    Cancelled,
    NeverStarted,
    /// No node that is there could ever run it.
    Unsatisfiable,
    Interrupted,
    /// All slots are taken, or the rate is used up.
    Refused,
    /// Nobody can tell whether there is a slot.
    StoreLost,
    /// The connection to the replica broke.
    ReplicaGone,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

#[derive(Default)]
pub struct Truth {
    pub now: Micros,
    limit: usize,
    tenant_limits: Vec<usize>,
    tenants: Vec<Tenant>,
    arrived: BTreeSet<Call>,
    /// Where each job's code began to run.
    ran: BTreeMap<Call, (usize, u64)>,
    running: BTreeSet<Call>,
    told: BTreeMap<Call, (Micros, Told)>,
    /// While the store has forgotten who runs, more may run than should.
    excess_until: Micros,
    pub most_running: usize,
    /// Whether what happens is printed.
    pub tells_story: bool,
    violations: Vec<Violation>,
}

impl Truth {
    pub fn new(limit: usize, tenant_limits: Vec<usize>, tenants: Vec<Tenant>) -> Self {
        Self {
            limit,
            tenant_limits,
            tenants,
            ..Self::default()
        }
    }

    pub fn broken(&mut self, what: impl Into<String>) {
        let what = format!("at {:.6} s: {}", self.now as f64 / SECOND as f64, what.into());
        self.violations.push(Violation(what));
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        if self.tells_story {
            println!("{:12.6} {}", self.now as f64 / SECOND as f64, what());
        }
    }

    pub fn violation(&self) -> Option<&Violation> {
        self.violations.first()
    }

    pub fn arrives(&mut self, call: Call) {
        self.arrived.insert(call);
    }

    pub fn starts(&mut self, call: Call, executor: usize, epoch: u64) {
        self.note(|| {
            format!(
                "job {call} runs on executor {executor}, {} run",
                self.running.len() + 1
            )
        });
        if let Some((other, other_epoch)) = self.ran.insert(call, (executor, epoch)) {
            self.broken(format!(
                "job {call} runs on executor {executor} (epoch {epoch}) and ran on {other} (epoch {other_epoch})"
            ));
        }
        if let Some((_, Told::NeverStarted | Told::Unsatisfiable | Told::Refused | Told::StoreLost)) =
            self.told.get(&call)
        {
            self.broken(format!(
                "job {call} runs though its client was told that it never started"
            ));
        }
        self.running.insert(call);
        self.most_running = self.most_running.max(self.running.len());
        self.check_limits(call);
    }

    fn check_limits(&mut self, call: Call) {
        if self.now < self.excess_until {
            return;
        }
        if self.running.len() > self.limit {
            let running = self.running.clone();
            self.broken(format!(
                "{} jobs run, and {} may: {running:?}, the last is {call}",
                running.len(),
                self.limit
            ));
        }
        let tenant = self.tenants[call];
        let of_tenant = self
            .running
            .iter()
            .filter(|&&call| self.tenants[call] == tenant)
            .count();
        let limit = self.tenant_limits[tenant];
        if of_tenant > limit {
            self.broken(format!(
                "{of_tenant} jobs of tenant {tenant} run, and {limit} may"
            ));
        }
    }

    /// Its code runs no more.
    pub fn ends(&mut self, call: Call) {
        self.running.remove(&call);
        self.note(|| format!("job {call} runs no more, {} run", self.running.len()));
    }

    pub fn tell(&mut self, call: Call, told: Told) {
        self.note(|| format!("call {call} is told {told:?}"));
        if let Some((_, before)) = self.told.insert(call, (self.now, told)) {
            self.broken(format!(
                "the client of call {call} was told {before:?} and then {told:?}"
            ));
        }
        let never = matches!(
            told,
            Told::NeverStarted | Told::Unsatisfiable | Told::Refused | Told::StoreLost
        );
        if let (true, Some((executor, _))) = (never, self.ran.get(&call)) {
            let executor = *executor;
            self.broken(format!(
                "job {call} ran on executor {executor} and its client was told {told:?}"
            ));
        }
    }

    /// Until then the store may not know all that run.
    pub fn excuse_excess(&mut self, until: Micros) {
        self.excess_until = self.excess_until.max(until);
    }

    /// Whether every call that came has its outcome, and nothing runs.
    pub fn is_at_rest(&self) -> bool {
        self.arrived.len() == self.told.len() && self.running.is_empty()
    }

    /// When nothing happens any more.
    pub fn check_end(&mut self) {
        let silent: Vec<_> = self
            .arrived
            .iter()
            .filter(|call| !self.told.contains_key(call))
            .copied()
            .collect();
        if !silent.is_empty() {
            self.broken(format!("calls without an outcome: {silent:?}"));
        }
        if !self.running.is_empty() {
            let running = self.running.clone();
            self.broken(format!("jobs that never end: {running:?}"));
        }
    }

    /// How often each outcome was told.
    pub fn outcomes(&self) -> BTreeMap<Told, usize> {
        let mut outcomes = BTreeMap::new();
        for (_, told) in self.told.values() {
            *outcomes.entry(*told).or_default() += 1;
        }
        outcomes
    }
}
