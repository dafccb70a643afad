//! The index against a model that looks at every node.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;

const IMAGE: &str = "node:lts-slim";
const NODE: Need<'static> = Need::Node { image: IMAGE };

fn node(used: u32, slots: u32) -> Facts {
    Facts {
        slots,
        used,
        takes_work: true,
        runtimes: vec![Offer {
            runtime: Runtime::Node,
            ready: true,
        }],
        images: vec![image(IMAGE, 0)],
    }
}

fn image(name: &str, warm: u32) -> Image {
    Image {
        name: name.to_owned(),
        warm,
    }
}

fn index(nodes: &[Facts]) -> (Index, Vec<NodeKey>) {
    let mut index = Index::default();
    let keys = nodes.iter().map(|facts| index.insert(facts.clone())).collect();
    (index, keys)
}

/// Which of them gets a job.
fn chosen(nodes: &[Facts]) -> Result<usize, NoPlace> {
    let (index, keys) = index(nodes);
    let key = index.choose(NODE, &[], &mut SmallRng::seed_from_u64(1))?;
    Ok(keys.iter().position(|&known| known == key).expect("a known node"))
}

#[test]
fn each_lack_is_named() {
    assert_eq!(chosen(&[]), Err(NoPlace::NoNodes));
    let without_runtime = Facts {
        runtimes: Vec::new(),
        ..node(0, 1)
    };
    assert_eq!(chosen(&[without_runtime]), Err(NoPlace::NoRuntime));
    let away = Facts {
        takes_work: false,
        ..node(0, 1)
    };
    let down = Facts {
        runtimes: vec![Offer {
            runtime: Runtime::Node,
            ready: false,
        }],
        ..node(0, 1)
    };
    for not_ready in [away, down] {
        assert_eq!(chosen(&[not_ready]), Err(NoPlace::NotReady));
    }
    let without_image = Facts {
        images: vec![image("other", 1)],
        ..node(0, 1)
    };
    assert_eq!(chosen(&[without_image]), Err(NoPlace::NoImage));
    assert_eq!(chosen(&[node(1, 1)]), Err(NoPlace::Full));
}

#[test]
fn a_warm_node_is_preferred_to_an_emptier_cold_one() {
    let warm = Facts {
        images: vec![image(IMAGE, 1)],
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
    let away = Facts {
        takes_work: false,
        ..node(0, 1)
    };
    let other = Facts {
        runtimes: Vec::new(),
        ..node(0, 1)
    };
    assert_eq!(chosen(&[other, away]), Err(NoPlace::NotReady));
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Facts),
    Update(prop::sample::Index, Facts),
    SetUsed(prop::sample::Index, u32),
    Remove(prop::sample::Index),
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let offer = |runtime| {
        prop_oneof![
            Just(None),
            any::<bool>().prop_map(move |ready| Some(Offer { runtime, ready }))
        ]
    };
    let image = |name| {
        prop_oneof![
            Just(None),
            (0..2u32).prop_map(move |warm| Some(image(name, warm)))
        ]
    };
    let images = (image(IMAGE), image("other"));
    let offers = (offer(Runtime::Node), offer(Runtime::Isolate));
    (0..4u32, 0..5u32, any::<bool>(), offers, images).prop_map(
        |(slots, used, takes_work, (node, isolate), (one, other))| Facts {
            slots,
            used,
            takes_work,
            runtimes: node.into_iter().chain(isolate).collect(),
            images: one.into_iter().chain(other).collect(),
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => any_facts().prop_map(Step::Insert),
        2 => (which(), any_facts()).prop_map(|(which, facts)| Step::Update(which, facts)),
        2 => (which(), 0..5u32).prop_map(|(which, used)| Step::SetUsed(which, used)),
        1 => which().prop_map(Step::Remove),
    ]
}

/// Every node by its key, the plain way.
#[derive(Default)]
struct Model(Vec<(NodeKey, Facts)>);

impl Model {
    fn apply(&mut self, index: &mut Index, step: Step) {
        match step {
            Step::Insert(facts) => self.0.push((index.insert(facts.clone()), facts)),
            Step::Update(..) | Step::SetUsed(..) | Step::Remove(_) if self.0.is_empty() => {}
            Step::Update(which, facts) => {
                let place = which.index(self.0.len());
                index.update(self.0[place].0, facts.clone());
                self.0[place].1 = facts;
            }
            Step::SetUsed(which, used) => {
                let place = which.index(self.0.len());
                index.set_used(self.0[place].0, used);
                self.0[place].1.used = used;
            }
            Step::Remove(which) => {
                let (key, _) = self.0.remove(which.index(self.0.len()));
                index.remove(key);
            }
        }
    }

    /// What a look at each node says: those that can take it, or what is lacking.
    fn fitting(&self, need: Need<'_>, tried: &[NodeKey]) -> Result<Vec<&(NodeKey, Facts)>, NoPlace> {
        let mut left: Vec<_> = self.0.iter().filter(|(key, _)| !tried.contains(key)).collect();
        let offer = |facts: &Facts| {
            let mut offers = facts.runtimes.iter();
            offers.find(|offer| offer.runtime == need.runtime()).copied()
        };
        let mut keep = |fits: &dyn Fn(&Facts) -> bool, otherwise: NoPlace| {
            left.retain(|(_, facts)| fits(facts));
            if left.is_empty() { Err(otherwise) } else { Ok(()) }
        };
        keep(&|_| true, NoPlace::NoNodes)?;
        keep(&|facts| offer(facts).is_some(), NoPlace::NoRuntime)?;
        let is_ready = |facts: &Facts| facts.takes_work && offer(facts).is_some_and(|offer| offer.ready);
        keep(&is_ready, NoPlace::NotReady)?;
        let has_image = |facts: &Facts| match need {
            Need::Isolate => true,
            Need::Node { image } => facts.images.iter().any(|known| known.name == image),
        };
        keep(&has_image, NoPlace::NoImage)?;
        keep(&|facts| facts.used < facts.slots, NoPlace::Full)?;
        Ok(left)
    }
}

fn is_warm(facts: &Facts, need: Need<'_>) -> bool {
    match need {
        Need::Isolate => false,
        Need::Node { image } => facts
            .images
            .iter()
            .any(|known| known.name == image && known.warm > 0),
    }
}

proptest! {
    #[test]
    fn a_chosen_node_can_take_the_job_and_a_refusal_names_what_is_lacking_everywhere(
        steps in proptest::collection::vec(any_step(), 0..40),
        tried in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        seed in any::<u64>(),
    ) {
        let (mut index, mut model) = (Index::default(), Model::default());
        for step in steps {
            model.apply(&mut index, step);
        }
        prop_assert_eq!(index.len(), model.0.len());
        let mut tried: Vec<_> = tried
            .iter()
            .filter(|_| !model.0.is_empty())
            .map(|which| model.0[which.index(model.0.len())].0)
            .collect();
        tried.sort();
        tried.dedup();
        for need in [NODE, Need::Node { image: "other" }, Need::Node { image: "nobody's" }, Need::Isolate] {
            let chosen = index.choose(need, &tried, &mut SmallRng::seed_from_u64(seed));
            match model.fitting(need, &tried) {
                Err(lack) => prop_assert_eq!(chosen, Err(lack)),
                Ok(fitting) => {
                    let key = chosen.expect("some node can take it");
                    let taken = fitting.iter().find(|(known, _)| *known == key);
                    let (_, facts) = taken.expect("a node that can take it");
                    let any_warm = fitting.iter().any(|(_, facts)| is_warm(facts, need));
                    prop_assert_eq!(is_warm(facts, need), any_warm, "warm ones come first");
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_of_nodes_that_are_gone(steps in proptest::collection::vec(any_step(), 0..40)) {
        let (mut index, mut model) = (Index::default(), Model::default());
        for step in steps {
            model.apply(&mut index, step);
        }
        for (key, _) in model.0 {
            index.remove(key);
        }
        prop_assert!(index.is_empty() && index.images.is_empty() && index.isolates.able.len() == 0);
        prop_assert!(Runtime::ALL.into_iter().all(|runtime| !index.offers(runtime)));
    }
}
