//! Puts the walls up around the process that calls it. Which ones, and whether they hold, others decide.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::BpfProgram;

use crate::sys;

/// Beyond the engine's own limit: the allocator's gaps, the call's code and arguments, the result.
const MEMORY_SLACK: u64 = 96 << 20;
/// How far a child gives way to everything else on the machine.
pub const NICE: i32 = 5;
/// How far one gives way whose call is long: to all others, and to the calls of its neighbours that are short.
pub const NICEST: i32 = 19;
/// The newest of which this code knows what is in it; an older kernel does what it can.
const LANDLOCK: ABI = ABI::V6;

/// What a child may use, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub address_space: u64,
    pub cpu_seconds: u64,
}

impl Bounds {
    /// `mapped`: what the zygote has mapped before it makes anything of its own.
    pub fn new(mapped: u64, memory_bytes: u64, cpu_seconds: u64) -> Self {
        let heap = memory_bytes.saturating_add(memory_bytes / 4);
        Self {
            address_space: mapped.saturating_add(heap).saturating_add(MEMORY_SLACK),
            cpu_seconds,
        }
    }
}

/// # Errors
/// The limit that could not be set.
pub fn limit(bounds: &Bounds) -> Result<(), String> {
    for (resource, most) in [
        (Resource::RLIMIT_AS, bounds.address_space),
        (Resource::RLIMIT_CPU, bounds.cpu_seconds),
        (Resource::RLIMIT_NPROC, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_STACK, 8 << 20),
        // Last: the channel stays open, and no other descriptor can come.
        (Resource::RLIMIT_NOFILE, 0),
    ] {
        setrlimit(resource, most, most).map_err(|error| format!("{resource:?}: {error}"))?;
    }
    Ok(())
}

/// # Errors
/// When the process can't be made to give way.
pub fn give_way() -> Result<(), String> {
    match rustix::process::setpriority_process(None, NICE) {
        // Who started this process has made it nicer than that, which only a privileged one could take back.
        Err(rustix::io::Errno::ACCESS) => Ok(()),
        done => done.map_err(|error| format!("nice: {error}")),
    }
}

/// Of a child of this process. Only a privileged one could take it back.
///
/// # Errors
/// When the child has just ended.
pub fn give_way_to_all(pid: i32) -> Result<(), String> {
    let child = rustix::process::Pid::from_raw(pid);
    rustix::process::setpriority_process(child, NICEST).map_err(|error| format!("nice: {error}"))?;
    // A nice process still has its slice to the end when another wakes up; an idle one leaves at once. Not every kernel
    // has that.
    let _nice_only = sys::leave_at_once(pid);
    Ok(())
}

/// A domain of this process's own that no file, no port, no abstract socket and no signal leaves.
///
/// # Errors
/// When the kernel has no Landlock, or refuses it.
pub fn landlock() -> Result<(), String> {
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|rules| rules.scope(Scope::from_all(LANDLOCK)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self())
        .map_err(|error| error.to_string())?;
    match restricted.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel has no Landlock, or it is switched off".to_owned()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Keeps these capabilities and gives up all others, for good.
///
/// # Errors
/// When the kernel refuses it.
pub fn keep_capabilities(kept: CapabilitySet) -> Result<(), String> {
    let held = rustix::thread::capabilities(None).map_err(|error| format!("capget: {error}"))?;
    let kept = held.permitted & kept;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).map_err(|error| format!("capset: {error}"))
}

/// No program that is executed later gets a capability. Programs can't be executed either way, so what the kernel
/// refuses here is no fault.
pub fn empty_bounding_set() {
    for capability in CapabilitySet::all() {
        let _refused = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let _old_kernel = rustix::thread::clear_ambient_capability_set();
}

/// From here on the process makes no other system calls than the program allows.
///
/// # Errors
/// When the kernel has no filters, or refuses this one.
pub fn filter(program: &BpfProgram) -> Result<(), String> {
    seccompiler::apply_filter(program).map_err(|error| error.to_string())
}
