//! Whether a job that a node did not start is tried on another one.

use dynamic_mcp_shared::job::RejectReason;

use super::NeverStarted;

/// On how many nodes a job that never started is tried.
pub const MAX_ATTEMPTS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Elsewhere,
    GiveUp,
}

/// After so many nodes, of which the last gave this reason. Only for what no node has started: what may have run is never
/// tried again.
pub fn next(reason: RejectReason, attempts: usize) -> Next {
    if attempts < MAX_ATTEMPTS && reason.worth_retrying_elsewhere() {
        Next::Elsewhere
    } else {
        Next::GiveUp
    }
}

/// What the caller is told when it ends with this.
pub fn kind(reason: RejectReason) -> NeverStarted {
    match reason {
        RejectReason::NoCapacity | RejectReason::Draining => NeverStarted::NoCapacity,
        RejectReason::Unsupported => NeverStarted::Unsatisfiable,
        RejectReason::Engine
        | RejectReason::Dependencies
        | RejectReason::SessionLost
        | RejectReason::SessionBusy => NeverStarted::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_node_might_take_is_tried_on_a_bounded_number_of_them() {
        assert_eq!(next(RejectReason::Engine, MAX_ATTEMPTS - 1), Next::Elsewhere);
        assert_eq!(next(RejectReason::Engine, MAX_ATTEMPTS), Next::GiveUp);
    }

    #[test]
    fn what_no_other_node_would_take_is_given_up_at_once() {
        assert_eq!(next(RejectReason::Dependencies, 1), Next::GiveUp);
    }
}
