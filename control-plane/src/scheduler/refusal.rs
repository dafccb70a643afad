//! Why a job got no place, in words for its caller.

use dynamic_mcp_shared::job::Runtime;

use super::fleet::Fleet;
use super::placement::{Need, NoPlace};
use super::{NeverStarted, Scheduled};

pub(super) struct PlacementRefusal {
    why: NoPlace,
    message: String,
}

impl PlacementRefusal {
    pub(super) fn new(why: NoPlace, need: Need<'_>, fleet: &Fleet) -> Self {
        let troubles = || match fleet.health().troubles.join("; ") {
            none if none.is_empty() => none,
            some => format!(" ({some})"),
        };
        let runtime = need.runtime();
        let message = match (why, need) {
            (NoPlace::NoNodes, _) => "no executor has joined; start one, or wait until it is up".to_owned(),
            (NoPlace::NoRuntime, _) => lacking(runtime, &fleet.offered()),
            (NoPlace::NotReady, _) => format!("no executor is ready for runtime \"{runtime}\"{}", troubles()),
            (NoPlace::NoImage, Need::Node { image }) => {
                format!("no executor has the image {image:?}{}", troubles())
            }
            (NoPlace::Full | NoPlace::NoImage, _) => "every executor is full; try again shortly".to_owned(),
        };
        Self { why, message }
    }

    pub(super) fn message(self) -> String {
        self.message
    }
}

/// That a runtime is nowhere in the fleet, what is, and how to get it.
pub fn lacking(runtime: Runtime, offered: &[Runtime]) -> String {
    let offered: Vec<_> = offered.iter().map(|runtime| runtime.as_str()).collect();
    let offered = match offered.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let how = match runtime {
        Runtime::Node => {
            "it needs a Docker Engine: install and start one (https://docs.docker.com/engine/install/); an \
             executor with MCP_EXECUTION_ENGINE=auto takes it up as soon as it answers"
        }
        Runtime::Isolate => {
            "it needs an executor on Linux that is started with MCP_EXECUTION_ENGINE auto or isolate and can wall in \
             a process as MCP_ISOLATE_MINIMUM asks"
        }
    };
    format!("no executor offers runtime \"{runtime}\" (offered: {offered}); {how}")
}

impl From<PlacementRefusal> for Scheduled {
    fn from(refusal: PlacementRefusal) -> Self {
        let kind = match refusal.why {
            NoPlace::NoNodes | NoPlace::NotReady | NoPlace::Full => NeverStarted::NoCapacity,
            NoPlace::NoRuntime | NoPlace::NoImage => NeverStarted::Unsatisfiable,
        };
        Scheduled::NeverStarted {
            kind,
            message: refusal.message,
        }
    }
}
