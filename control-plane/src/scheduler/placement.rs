//! Where a job goes: a pure function of what is known of the nodes.

use dynamic_mcp_shared::job::{Job, Runtime};
use rand::Rng;
use rand::seq::index::sample;

/// What a job needs of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    Node { image: &'a str },
    Isolate,
}

impl<'a> Need<'a> {
    pub fn of(job: &'a Job) -> Self {
        match job.runtime {
            Runtime::Node => Need::Node { image: &job.image },
            Runtime::Isolate => Need::Isolate,
        }
    }

    pub const fn runtime(self) -> Runtime {
        match self {
            Need::Node { .. } => Runtime::Node,
            Need::Isolate => Runtime::Isolate,
        }
    }
}

/// Whether a node has the runtime that a job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    Lacking,
    /// It can't run jobs now, and may again.
    Down,
    Ready,
}

/// A node as placement sees it, with one job's need in mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub slots: u32,
    /// Jobs it runs or is about to run, this replica's reservations included.
    pub used: u32,
    /// Fresh and not draining.
    pub takes_work: bool,
    pub runtime: Offer,
    /// Also where the runtime knows no images.
    pub has_image: bool,
    /// Sandboxes of the image that wait for a job.
    pub warm: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    NoNodes,
    /// No node offers the runtime, whatever else is the matter with it.
    NoRuntime,
    /// None of those that offer the runtime takes its work now.
    NotReady,
    /// None of those that take work has the image.
    NoImage,
    Full,
}

/// How many of the fitting nodes are compared: enough to avoid the busiest, few enough that replicas which see the same
/// picture don't all choose the same node.
const COMPARED: usize = 3;

/// Answers the index of the chosen node.
///
/// # Errors
/// Says what is lacking.
pub fn choose(candidates: &[Candidate], rng: &mut impl Rng) -> Result<usize, NoPlace> {
    let mut fitting: Vec<usize> = (0..candidates.len()).collect();
    let mut keep = |fits: fn(&Candidate) -> bool, otherwise: NoPlace| {
        fitting.retain(|&index| fits(&candidates[index]));
        if fitting.is_empty() {
            Err(otherwise)
        } else {
            Ok(())
        }
    };
    keep(|_| true, NoPlace::NoNodes)?;
    keep(|node| node.runtime != Offer::Lacking, NoPlace::NoRuntime)?;
    keep(
        |node| node.takes_work && node.runtime == Offer::Ready,
        NoPlace::NotReady,
    )?;
    keep(|node| node.has_image, NoPlace::NoImage)?;
    keep(|node| node.used < node.slots, NoPlace::Full)?;
    if fitting.iter().any(|&index| candidates[index].warm > 0) {
        fitting.retain(|&index| candidates[index].warm > 0);
    }
    sample(rng, fitting.len(), fitting.len().min(COMPARED))
        .into_iter()
        .map(|drawn| fitting[drawn])
        .min_by(|&a, &b| load(&candidates[a]).total_cmp(&load(&candidates[b])))
        .ok_or(NoPlace::NoNodes)
}

fn load(node: &Candidate) -> f64 {
    f64::from(node.used) / f64::from(node.slots.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn node(used: u32, slots: u32) -> Candidate {
        Candidate {
            slots,
            used,
            takes_work: true,
            runtime: Offer::Ready,
            has_image: true,
            warm: 0,
        }
    }

    fn chosen(candidates: &[Candidate]) -> Result<usize, NoPlace> {
        choose(candidates, &mut SmallRng::seed_from_u64(1))
    }

    #[test]
    fn each_lack_is_named() {
        assert_eq!(chosen(&[]), Err(NoPlace::NoNodes));
        let with = |runtime, takes_work| Candidate {
            runtime,
            takes_work,
            ..node(0, 1)
        };
        assert_eq!(chosen(&[with(Offer::Lacking, true)]), Err(NoPlace::NoRuntime));
        for not_ready in [with(Offer::Ready, false), with(Offer::Down, true)] {
            assert_eq!(chosen(&[not_ready]), Err(NoPlace::NotReady));
        }
        assert_eq!(
            chosen(&[Candidate {
                has_image: false,
                ..node(0, 1)
            }]),
            Err(NoPlace::NoImage)
        );
        assert_eq!(chosen(&[node(1, 1)]), Err(NoPlace::Full));
    }

    #[test]
    fn a_warm_node_is_preferred_to_an_emptier_cold_one() {
        let warm = Candidate {
            warm: 1,
            ..node(5, 10)
        };
        assert_eq!(chosen(&[node(0, 10), warm]), Ok(1));
    }

    #[test]
    fn of_a_few_the_least_loaded_is_taken() {
        assert_eq!(chosen(&[node(9, 10), node(1, 10), node(5, 10)]), Ok(1));
    }

    #[test]
    fn a_node_that_offers_the_runtime_and_is_away_is_worth_a_wait() {
        let away = Candidate {
            takes_work: false,
            ..node(0, 1)
        };
        let other = Candidate {
            runtime: Offer::Lacking,
            ..node(0, 1)
        };
        assert_eq!(chosen(&[other, away]), Err(NoPlace::NotReady));
    }

    fn any_node() -> impl Strategy<Value = Candidate> {
        let runtime = prop_oneof![Just(Offer::Lacking), Just(Offer::Down), Just(Offer::Ready)];
        (0..4u32, 0..5u32, any::<bool>(), runtime, any::<bool>(), 0..2u32).prop_map(
            |(slots, used, takes_work, runtime, has_image, warm)| Candidate {
                slots,
                used,
                takes_work,
                runtime,
                has_image,
                warm,
            },
        )
    }

    proptest! {
        #[test]
        fn a_chosen_node_can_take_the_job_and_a_refusal_means_that_none_can(
            nodes in proptest::collection::vec(any_node(), 0..8),
            seed in any::<u64>(),
        ) {
            let able = |node: &Candidate| {
                node.takes_work && node.runtime == Offer::Ready && node.has_image && node.used < node.slots
            };
            match choose(&nodes, &mut SmallRng::seed_from_u64(seed)) {
                Ok(index) => prop_assert!(able(&nodes[index])),
                Err(lack) => {
                    prop_assert!(!nodes.iter().any(able));
                    let offered = nodes.iter().any(|node| node.runtime != Offer::Lacking);
                    prop_assert_eq!(lack == NoPlace::NoNodes, nodes.is_empty());
                    prop_assert_eq!(lack == NoPlace::NoRuntime, !nodes.is_empty() && !offered);
                }
            }
        }
    }
}
