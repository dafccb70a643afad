//! The tier that is claimed is the tier that is had: each wall that a tier is made of refuses, all by itself, what only
//! that wall refuses. `probe tier` prints the tier of the place where it is run, after having tried.

use std::process::{Command, ExitCode, Output};

use dynamic_mcp_isolate::walls::{Tier, Wall};
use libtest_mimic::{Failed, Trial};

use crate::attacks::{self, Attack};
use crate::broker::{End, Zygote};

pub fn trials() -> impl Iterator<Item = Trial> {
    let here = Trial::test("tier::what_is_claimed_is_had", || claimed_is_had().map(drop));
    let nobody = Trial::test("tier::of_an_ordinary_user", || {
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let shown = Command::new("setpriv")
            .args(user)
            .args([&program(), "tier"])
            .output()?;
        is_as_claimed(&shown, &["full", "namespaces", "landlock", "seccomp"])
    })
    .with_ignored_flag(!nix::unistd::geteuid().is_root());
    let docker = contained("runc", &["landlock", "seccomp"]);
    let gvisor = contained("runsc", &["seccomp"]);
    [here, nobody, docker, gvisor].into_iter()
}

/// In a container with the engine's own defaults.
fn contained(runtime: &'static str, tiers: &'static [&'static str]) -> Trial {
    Trial::test(format!("docker::tier_under_{runtime}"), move || {
        let volume = format!("{}:/probe:ro", program());
        let shown = Command::new("docker")
            .args(["run", "--rm", "--runtime", runtime, "-v", &volume])
            .args(["debian:bookworm-slim", "/probe", "tier"])
            .output()?;
        is_as_claimed(&shown, tiers)
    })
}

fn program() -> String {
    std::env::current_exe().unwrap_or_default().display().to_string()
}

/// What `probe tier` printed, elsewhere.
fn is_as_claimed(shown: &Output, tiers: &[&str]) -> Result<(), Failed> {
    let text = String::from_utf8_lossy(&shown.stdout);
    let tier = text.lines().find_map(|line| line.strip_prefix("tier: "));
    if shown.status.success() && tier.is_some_and(|tier| tiers.contains(&tier)) {
        return Ok(());
    }
    Err(format!("{text}{}", String::from_utf8_lossy(&shown.stderr)).into())
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
