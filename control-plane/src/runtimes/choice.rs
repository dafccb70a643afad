//! The choice itself: a pure function of what was asked for, what the tool names and what the fleet offers.

use dynamic_mcp_shared::job::Runtime;

use crate::registry::RuntimeChoice;
use crate::scheduler;

/// What a tool names that only containers have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names {
    pub image: bool,
    pub dependencies: bool,
}

impl Names {
    fn anything(self) -> bool {
        self.image || self.dependencies
    }

    fn in_words(self) -> &'static str {
        match (self.image, self.dependencies) {
            (true, true) => "an image and dependencies",
            (true, false) => "an image",
            (false, _) => "dependencies",
        }
    }

    fn arguments(self) -> &'static str {
        match (self.image, self.dependencies) {
            (true, true) => "image and dependencies",
            (true, false) => "image",
            _ => "dependencies",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub requested: RuntimeChoice,
    pub runs_on: Runtime,
    /// In words for the author.
    pub why: String,
    /// That no executor offers it at this moment, and how to get one that does.
    pub warning: Option<String>,
}

impl Chosen {
    pub(super) fn new(requested: RuntimeChoice, runs_on: Runtime, why: impl Into<String>) -> Self {
        Self {
            requested,
            runs_on,
            why: why.into(),
            warning: None,
        }
    }
}

/// Why code can't have the runtime it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRuntime {
    #[error(
        "runtime \"isolate\" takes no {0}: leave {0} out (a patch takes the default image and dependencies [] for that), \
         or set runtime to \"node\", which needs Docker, or to \"auto\"",
        names.arguments()
    )]
    Contradiction { names: Names },
    #[error(
        "{} can be had with runtime \"node\" only, and {lacking}; or leave {} out",
        names.in_words(),
        names.arguments()
    )]
    NeedsDocker { names: Names, lacking: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    Already(Chosen),
    /// The code decides.
    ByCode,
}

/// `given`: what the author asked for; `default`: what the operator wants where an author asks for nothing.
///
/// # Errors
/// When what it names excludes what was asked for, or is not to be had.
pub(super) fn settle(
    given: Option<RuntimeChoice>,
    default: Option<RuntimeChoice>,
    names: Names,
    offered: &[Runtime],
) -> Result<Settled, NoRuntime> {
    let already = |requested, runs_on, why: &str| Ok(Settled::Already(Chosen::new(requested, runs_on, why)));
    let named = || format!("it names {}, which only Node.js has", names.in_words());
    match given {
        Some(RuntimeChoice::Isolate) if names.anything() => Err(NoRuntime::Contradiction { names }),
        Some(RuntimeChoice::Isolate) => already(RuntimeChoice::Isolate, Runtime::Isolate, "it was asked for"),
        Some(RuntimeChoice::Node) => already(RuntimeChoice::Node, Runtime::Node, "it was asked for"),
        Some(RuntimeChoice::Auto) if names.anything() => {
            already(RuntimeChoice::Auto, Runtime::Node, &named())
        }
        Some(RuntimeChoice::Auto) => Ok(Settled::ByCode),
        None if names.anything() => {
            let only_isolates = !offered.contains(&Runtime::Node) && offered.contains(&Runtime::Isolate);
            if only_isolates {
                let lacking = scheduler::lacking(Runtime::Node, offered);
                return Err(NoRuntime::NeedsDocker { names, lacking });
            }
            // Where the code is what decides, it does so again once nothing of the kind is named.
            let requested = match default {
                Some(RuntimeChoice::Auto) => RuntimeChoice::Auto,
                _ => RuntimeChoice::Node,
            };
            already(requested, Runtime::Node, &named())
        }
        None => {
            let (requested, why) = by_default(default, offered);
            match requested {
                RuntimeChoice::Node => already(requested, Runtime::Node, why),
                RuntimeChoice::Isolate => already(requested, Runtime::Isolate, why),
                RuntimeChoice::Auto => Ok(Settled::ByCode),
            }
        }
    }
}

/// What is taken where nobody asked for anything, and why. Docker that is there and down is still there: a tool must not
/// end up on another runtime for good because it was written in a bad minute.
pub(super) fn by_default(
    default: Option<RuntimeChoice>,
    offered: &[Runtime],
) -> (RuntimeChoice, &'static str) {
    match default {
        Some(default) => (default, "it is the default here (MCP_DEFAULT_RUNTIME)"),
        None if offered == [Runtime::Isolate] => (
            RuntimeChoice::Isolate,
            "it is the default where no executor has Docker",
        ),
        None => (RuntimeChoice::Node, "it is the default"),
    }
}

#[cfg(test)]
mod tests {
    use RuntimeChoice::{Auto, Isolate, Node};
    use proptest::prelude::*;

    use super::*;

    const NOTHING: Names = Names {
        image: false,
        dependencies: false,
    };
    const DEPENDENCIES: Names = Names {
        image: false,
        dependencies: true,
    };
    const BOTH: Names = Names {
        image: true,
        dependencies: true,
    };

    fn on(
        given: Option<RuntimeChoice>,
        default: Option<RuntimeChoice>,
        names: Names,
        offered: &[Runtime],
    ) -> Option<(RuntimeChoice, Runtime)> {
        match settle(given, default, names, offered).unwrap() {
            Settled::Already(chosen) => Some((chosen.requested, chosen.runs_on)),
            Settled::ByCode => None,
        }
    }

    #[test]
    fn without_a_word_from_anybody_docker_is_taken_where_it_is() {
        let isolates = [Runtime::Isolate];
        assert_eq!(
            on(None, None, NOTHING, &Runtime::ALL),
            Some((Node, Runtime::Node))
        );
        assert_eq!(on(None, None, NOTHING, &[]), Some((Node, Runtime::Node)));
        assert_eq!(
            on(None, None, NOTHING, &isolates),
            Some((Isolate, Runtime::Isolate))
        );
    }

    #[test]
    fn the_operators_default_is_taken_where_an_author_says_nothing() {
        let all = &Runtime::ALL;
        assert_eq!(
            on(None, Some(Isolate), NOTHING, all),
            Some((Isolate, Runtime::Isolate))
        );
        assert_eq!(on(None, Some(Auto), NOTHING, all), None);
        assert_eq!(
            on(Some(Node), Some(Isolate), NOTHING, all),
            Some((Node, Runtime::Node))
        );
    }

    #[test]
    fn what_only_containers_have_means_node() {
        let all = &Runtime::ALL;
        assert_eq!(
            on(None, Some(Isolate), DEPENDENCIES, all),
            Some((Node, Runtime::Node))
        );
        assert_eq!(
            on(None, Some(Auto), DEPENDENCIES, all),
            Some((Auto, Runtime::Node))
        );
        assert_eq!(on(Some(Auto), None, BOTH, all), Some((Auto, Runtime::Node)));
    }

    #[test]
    fn a_contradiction_names_both_sides_and_the_ways_out() {
        let refused = settle(Some(Isolate), None, BOTH, &Runtime::ALL).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "runtime \"isolate\" takes no image and dependencies: leave image and dependencies out (a patch takes the \
             default image and dependencies [] for that), or set runtime to \"node\", which needs Docker, or to \"auto\""
        );
    }

    #[test]
    fn without_docker_what_needs_it_is_refused_with_the_way_to_get_it() {
        let refused = settle(None, None, DEPENDENCIES, &[Runtime::Isolate])
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("dependencies can be had with runtime \"node\" only, and no executor offers"),
            "{refused}"
        );
        assert!(
            refused.contains("Docker Engine") && refused.ends_with("or leave dependencies out"),
            "{refused}"
        );
    }

    proptest! {
        #[test]
        fn nothing_that_names_what_containers_have_lands_on_an_isolate(
            given in prop::option::of(prop::sample::select(vec![Node, Isolate, Auto])),
            default in prop::option::of(prop::sample::select(vec![Node, Isolate, Auto])),
            image in any::<bool>(),
            dependencies in any::<bool>(),
            offered in prop::sample::subsequence(Runtime::ALL.to_vec(), 0..=2),
        ) {
            let names = Names { image, dependencies };
            match settle(given, default, names, &offered) {
                Ok(Settled::Already(chosen)) => {
                    prop_assert!(chosen.runs_on == Runtime::Node || !names.anything());
                    prop_assert!(given.is_none_or(|given| given == chosen.requested));
                }
                Ok(Settled::ByCode) => prop_assert!(!names.anything()),
                Err(_) => prop_assert!(names.anything() && given != Some(Node)),
            }
        }
    }
}
