//! What a tool's code runs on, and how that is chosen: by its author, by the operator's default, or by what the code asks
//! for. It knows what the fleet offers; where a job goes is the scheduler's matter.

mod choice;
mod code;
mod reader;
mod report;

use std::sync::Arc;

use dynamic_mcp_shared::job::Runtime;
use serde_json::Value;

use self::choice::Settled;
pub use self::choice::{Chosen, Names, NoRuntime};
use self::reader::Reader;
use crate::registry::RuntimeChoice;
use crate::scheduler;
use crate::scheduler::fleet::Fleet;

pub struct Runtimes {
    fleet: Arc<Fleet>,
    /// `MCP_DEFAULT_RUNTIME`; what the fleet offers decides where it is not set.
    default: Option<RuntimeChoice>,
    reader: Reader,
}

impl Runtimes {
    pub fn new(fleet: Arc<Fleet>, default: Option<RuntimeChoice>) -> Self {
        Self {
            fleet,
            default,
            reader: Reader::default(),
        }
    }

    /// What code runs on whose author asked for `given`, or for nothing.
    ///
    /// # Errors
    /// When what it names and what it asks for exclude each other, or it needs what is not there.
    pub async fn choose(
        &self,
        given: Option<RuntimeChoice>,
        names: Names,
        code: &str,
    ) -> Result<Chosen, NoRuntime> {
        let offered = self.fleet.offered();
        let mut chosen = match choice::settle(given, self.default, names, &offered)? {
            Settled::Already(chosen) => chosen,
            Settled::ByCode => match self.reader.obstacle(code).await {
                Some(obstacle) => Chosen::new(RuntimeChoice::Auto, Runtime::Node, obstacle.to_string()),
                None => {
                    let why = "it needs nothing that only Node.js has";
                    Chosen::new(RuntimeChoice::Auto, Runtime::Isolate, why)
                }
            },
        };
        if !offered.contains(&chosen.runs_on) {
            chosen.warning = Some(scheduler::lacking(chosen.runs_on, &offered));
        }
        Ok(chosen)
    }

    /// What is offered, by which executors and in which sandbox, for `system.runtime_config`.
    pub fn report(&self) -> Value {
        report::report(self.default, &self.fleet)
    }

    /// The same by executor, for `/readyz`.
    pub fn by_executor(&self) -> Value {
        report::by_executor(&self.fleet)
    }
}
