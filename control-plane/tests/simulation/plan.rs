//! How large a run is, what goes wrong in it, and which bug is in it.

use crate::kernel::{Micros, SECOND};

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub replicas: usize,
    pub executors: usize,
    /// Of each executor.
    pub slots: u32,
    pub tenants: usize,
    /// Of the whole deployment, and of each tenant.
    pub limit: u32,
    pub tenant_limit: u32,
    pub max_waiting: u32,
    pub calls: usize,
    /// While calls arrive.
    pub duration: Micros,
    /// The longest that code runs; then its time-out comes.
    pub longest_run: Micros,
    /// How many things go wrong with all of it, and how many with single executors.
    pub faults: usize,
    pub executor_faults: usize,
    pub longest_fault: Micros,
    /// Whether Redis may lose what it holds.
    pub redis_forgets: bool,
    /// After how many scripts what the guard keeps is looked at.
    pub check_every: u64,
    pub planted: Option<Planted>,
    /// Whether what happens is printed.
    pub tells_story: bool,
}

/// A bug that is put in to see whether it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// What may have run is tried again.
    RetryAfterStart,
    /// Leases of replicas that are gone are never counted out.
    NoExpiry,
    /// The slot of a call whose executor was lost is given back while its code may still run there.
    GivesBackAtOnce,
    /// What comes free is not handed to who waits.
    NoHandOver,
    /// A replica goes on with leases that it could not renew.
    NoRevocation,
}

impl Planted {
    /// What of the scripts is replaced by what.
    pub fn in_scripts(self) -> Option<(&'static str, &'static str)> {
        match self {
            Planted::RetryAfterStart | Planted::GivesBackAtOnce | Planted::NoRevocation => None,
            Planted::NoExpiry => Some((
                "'ZRANGEBYSCORE', LEASES, '-inf', NOW,",
                "'ZRANGEBYSCORE', LEASES, '-inf', 0,",
            )),
            Planted::NoHandOver => Some(("while taken < SLOTS and queued > 0 do", "while false do")),
        }
    }
}

impl Plan {
    pub fn small(seed: u64) -> Self {
        Self {
            seed,
            replicas: 3,
            executors: 12,
            slots: 4,
            tenants: 4,
            limit: 12,
            tenant_limit: 8,
            max_waiting: 30,
            calls: 500,
            duration: 40 * SECOND,
            longest_run: 12 * SECOND,
            faults: 12,
            executor_faults: 12,
            longest_fault: 12 * SECOND,
            redis_forgets: seed % 4 == 3,
            check_every: 1,
            planted: None,
            tells_story: false,
        }
    }

    pub fn large(seed: u64) -> Self {
        Self {
            executors: 2_000,
            tenants: 50,
            limit: 4_000,
            tenant_limit: 2_000,
            max_waiting: 1_000,
            calls: 20_000,
            duration: 6 * SECOND,
            longest_run: 2 * SECOND,
            faults: 4,
            executor_faults: 200,
            longest_fault: 3 * SECOND,
            check_every: 200,
            ..Self::small(seed)
        }
    }

    pub fn with(self, planted: Planted) -> Self {
        Self {
            planted: Some(planted),
            ..self
        }
    }

    pub fn weight(&self, tenant: usize) -> u32 {
        1 + u32::try_from(tenant % 3).expect("it is below 3")
    }

    /// How long after the last call things may still be mended.
    pub fn aftermath(&self) -> Micros {
        self.longest_fault + SECOND
    }

    /// How long more may run than should when the store has forgotten who does: a replica that is cut off ends its calls
    /// when their leases do, and what was let in instead runs as long as it may.
    pub fn doubt(&self) -> Micros {
        8 * SECOND + self.longest_run
    }
}
