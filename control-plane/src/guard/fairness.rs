//! Who gets a slot that came free: one rule for the guard of one process and for the guard of a fleet, whose script is
//! tested against this one.

use std::cmp::Ordering;

/// A tenant of which calls wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) running: u32,
    /// How many may run.
    pub(super) limit: u32,
    /// At least 1.
    pub(super) weight: u32,
    /// A number that grows with each slot that is given, as of the last one that it got; 0 for none.
    pub(super) served: u64,
    /// When the first of those that wait came, as a number that grows with each.
    pub(super) front: u64,
}

/// Of the tenants that may have more, the one with the fewest running for its weight; of equal ones, who was served
/// the longest ago, so that they take turns even where there is one slot; then who came first.
pub(super) fn next<T>(waiting: impl Iterator<Item = (T, Waiting)>) -> Option<T> {
    let may = waiting.filter(|(_, tenant)| tenant.running < tenant.limit);
    let (key, _) = may.min_by(|(_, one), (_, other)| order(one, other))?;
    Some(key)
}

fn order(one: &Waiting, other: &Waiting) -> Ordering {
    // The quotients compared without a division, which would round.
    let [a, b] =
        [(one, other), (other, one)].map(|(of, by)| u64::from(of.running) * u64::from(by.weight.max(1)));
    a.cmp(&b)
        .then(one.served.cmp(&other.served))
        .then(one.front.cmp(&other.front))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(running: u32, weight: u32, served: u64) -> Waiting {
        Waiting {
            running,
            limit: 100,
            weight,
            served,
            front: served,
        }
    }

    fn chosen(waiting: &[Waiting]) -> Option<usize> {
        next(waiting.iter().copied().enumerate())
    }

    #[test]
    fn twice_the_weight_has_twice_as_many() {
        assert_eq!(chosen(&[tenant(2, 1, 1), tenant(3, 2, 2)]), Some(1));
        assert_eq!(chosen(&[tenant(1, 1, 1), tenant(3, 2, 2)]), Some(0));
    }

    #[test]
    fn of_equal_ones_who_was_served_the_longest_ago_is_next() {
        assert_eq!(chosen(&[tenant(1, 1, 8), tenant(1, 1, 7)]), Some(1));
    }

    #[test]
    fn who_has_its_share_waits_though_others_have_more() {
        let at_its_share = Waiting {
            limit: 1,
            ..tenant(1, 100, 0)
        };
        assert_eq!(chosen(&[at_its_share, tenant(50, 1, 9)]), Some(1));
        assert_eq!(chosen(&[at_its_share]), None);
    }

    proptest! {
        /// Slots go round among tenants that always have calls waiting, and calls end in any order.
        #[test]
        fn who_has_nothing_waits_for_one_slot_of_each_other_at_most(
            slots in 1_u32..12,
            weights in prop::collection::vec(1_u32..=5, 1..6),
            ends in prop::collection::vec(0_usize..1_000, 200..400),
        ) {
            let mut tenants: Vec<Waiting> = weights.iter().map(|&weight| tenant(0, weight, 0)).collect();
            let mut without = vec![0; tenants.len()];
            let mut running: Vec<usize> = Vec::new();
            let mut turn = 0;
            for end in ends {
                while running.len() < slots as usize {
                    let lucky = chosen(&tenants).expect("all may have more");
                    turn += 1;
                    (tenants[lucky].running, tenants[lucky].served) = (tenants[lucky].running + 1, turn);
                    running.push(lucky);
                    for (waited, tenant) in without.iter_mut().zip(&tenants) {
                        *waited = if tenant.running == 0 { *waited + 1 } else { 0 };
                        prop_assert!(*waited < tenants.len(), "{tenants:?}");
                    }
                }
                let ended = running.swap_remove(end % running.len());
                tenants[ended].running -= 1;
            }
        }

        #[test]
        fn slots_that_are_given_at_once_are_shared_by_weight(
            slots in 1_u32..60,
            weights in prop::collection::vec(1_u32..=5, 1..6),
        ) {
            let mut tenants: Vec<Waiting> = weights.iter().map(|&weight| tenant(0, weight, 0)).collect();
            for turn in 1..=slots {
                let lucky = chosen(&tenants).expect("all may have more");
                (tenants[lucky].running, tenants[lucky].served) = (tenants[lucky].running + 1, turn.into());
            }
            for one in &tenants {
                for other in &tenants {
                    // Without its last slot nobody has more for its weight than another.
                    prop_assert!(one.running.saturating_sub(1) * other.weight <= other.running * one.weight, "{tenants:?}");
                }
            }
        }
    }
}
