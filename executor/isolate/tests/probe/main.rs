//! Attacks from within: native code in the place of a child's body, after the lockdown, tries what no tool's code could
//! even say. Each attempt is a trial at full lockdown, and one for each wall that must refuse it all by itself.
//!
//! This program is its own zygote. `PROBE_TABLE=1` prints what came of each attack behind each wall.

#![expect(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod attacks;
mod broker;
mod native;
mod rows;
mod tiers;

use std::process::ExitCode;

use dynamic_mcp_isolate::body::Body;
use dynamic_mcp_isolate::script::Script;
use dynamic_mcp_isolate::{Walls, ZYGOTE_ARGUMENT, enter_with};
use libtest_mimic::{Arguments, Trial};

use crate::native::Native;

/// Which walls a zygote of this program has, as its second argument says.
fn walls(mode: &str) -> Walls {
    let none = Walls::none();
    match mode {
        "full" => Walls::all(),
        "namespaces" => Walls {
            namespaces: true,
            ..none
        },
        "landlock" => Walls {
            landlock: true,
            ..none
        },
        // With namespaces, for only there is something to be given up.
        "capabilities" => Walls {
            namespaces: true,
            capabilities: true,
            ..none
        },
        "limits" => Walls { limits: true, ..none },
        other => {
            let mut walls = Walls::all();
            let without = other.strip_prefix("without:").unwrap_or_default();
            let allowed = walls
                .allowed
                .iter_mut()
                .flatten()
                .filter(|row| row.name != without);
            walls.allowed = Some(allowed.map(|row| *row).collect());
            walls
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments
        .get(1)
        .is_some_and(|argument| argument == ZYGOTE_ARGUMENT)
    {
        let mut native = Native;
        let mut script = Script::default();
        let body: &mut dyn Body = match arguments[3].as_str() {
            "native" => &mut native,
            _ => &mut script,
        };
        enter_with(&walls(&arguments[2]), body);
    }
    if arguments.get(1).is_some_and(|argument| argument == "tier") {
        return tiers::show();
    }
    if std::env::var_os("PROBE_TABLE").is_some() {
        attacks::print_table();
    }
    let trials: Vec<Trial> = attacks::trials()
        .chain(rows::trials())
        .chain(tiers::trials())
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
