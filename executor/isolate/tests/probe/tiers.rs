//! The tier that is claimed is the tier that is had: each wall that a tier is made of refuses, all by itself, what only
//! that wall refuses. `probe tier` prints the tier of the place where it is run, after having tried.

use std::process::ExitCode;

use dynamic_mcp_isolate::walls::{Tier, Wall};
use libtest_mimic::{Failed, Trial};

use crate::attacks::{self, Attack};
use crate::broker::{End, Zygote};

pub fn trials() -> impl Iterator<Item = Trial> {
    [Trial::test("tier::what_is_claimed_is_had", || {
        claimed_is_had().map(drop)
    })]
    .into_iter()
}

/// # Errors
/// The attack that a claimed wall let through.
fn claimed_is_had() -> Result<Option<Tier>, Failed> {
    let zygote = Zygote::start("full", "native");
    for found in &zygote.findings {
        if !found.holds() {
            continue;
        }
        for attack in attacks::all()
            .iter()
            .filter(|attack| attack.alone.contains(&found.wall))
        {
            refused_by(found.wall, attack)?;
        }
    }
    if Tier::of(&zygote.findings).is_some() {
        for attack in attacks::all() {
            attacks::at_full_lockdown(attack)?;
        }
    }
    Ok(Tier::of(&zygote.findings))
}

/// # Errors
/// When the wall alone lets the attack through.
pub fn refused_by(wall: Wall, attack: &Attack) -> Result<(), Failed> {
    let zygote = Zygote::start(wall.as_str(), "native");
    match zygote.call(attack.name).0 {
        End::Result(answer) if answer.starts_with('-') => Ok(()),
        other => Err(format!("{} gets past {wall} alone: {other:?}", attack.name).into()),
    }
}

/// Whether a wall can be had here at all, for a test of what it refuses.
pub fn is_had(wall: Wall) -> bool {
    let zygote = Zygote::start("full", "native");
    zygote
        .findings
        .iter()
        .any(|found| found.wall == wall && found.holds())
}

#[expect(clippy::print_stdout, reason = "it is asked to")]
pub fn show() -> ExitCode {
    let zygote = Zygote::start("full", "native");
    for found in &zygote.findings {
        println!("{}: {}", found.wall, found.lacking.as_deref().unwrap_or("holds"));
    }
    match claimed_is_had() {
        Ok(tier) => {
            println!("tier: {}", tier.map_or("none", Tier::as_str));
            ExitCode::SUCCESS
        }
        Err(failed) => {
            println!("not as claimed: {}", failed.message().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}
