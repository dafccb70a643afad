//! What the files promise each other. That needs no Engine.

use std::fs;

use anyhow::{Context as _, Result};
use dynamic_mcp_tests::compose::root;

const DOCKERFILES: [&str; 2] = ["Dockerfile.control", "Dockerfile.executor"];

fn text(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// What both Dockerfiles have in common, as far as it decides what is in the cache: up to the end of the stage `build`.
fn shared_stages(dockerfile: &str) -> Result<Vec<String>> {
    let text = text(dockerfile)?;
    let (_, built) = text
        .split_once("FROM dependencies AS build\n")
        .with_context(|| format!("{dockerfile} has no stage `build`"))?;
    let after = built.find("\nFROM ").context("a stage after it")?;
    let end = text.len() - built.len() + after;
    let instructions = text[..end]
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    Ok(instructions.map(str::to_owned).collect())
}

/// The value in the first line that begins so.
fn value<'a>(text: &'a str, begin: &str) -> Result<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(begin))
        .with_context(|| format!("no line begins with {begin}"))
}

#[test]
fn both_dockerfiles_build_the_programs_in_the_same_stages() -> Result<()> {
    let [control, executor] = DOCKERFILES.map(shared_stages);
    assert_eq!(control?, executor?);
    Ok(())
}

#[test]
fn the_dockerfiles_build_with_the_toolchain_of_the_repository() -> Result<()> {
    let toolchain = text("rust-toolchain.toml")?;
    let channel = value(&toolchain, "channel = ")?.trim_matches('"');
    for dockerfile in DOCKERFILES {
        let expected = format!("ARG RUST_IMAGE=rust:{channel}-slim-bookworm");
        assert!(text(dockerfile)?.contains(&expected), "{dockerfile}: {expected}");
    }
    Ok(())
}

#[test]
fn the_dockerfiles_know_every_crate_of_the_workspace() -> Result<()> {
    let manifest = text("Cargo.toml")?;
    let members = value(&manifest, "members = ")?;
    for member in members.trim_matches(['[', ']']).split(", ") {
        let member = member.trim_matches('"');
        let copied = format!("COPY {member}/Cargo.toml {member}/");
        let sent = format!("!{member}/Cargo.toml");
        for dockerfile in DOCKERFILES {
            assert!(text(dockerfile)?.contains(&copied), "{dockerfile}: {copied}");
        }
        assert!(text(".dockerignore")?.contains(&sent), ".dockerignore: {sent}");
    }
    Ok(())
}

#[test]
fn the_compose_file_gives_nobody_the_socket_of_this_machines_engine_and_holds_no_password() -> Result<()> {
    let compose = text("deploy/compose.yml")?;
    assert!(!compose.contains("/var/run/docker.sock") && !compose.contains("/run/docker.sock"));
    for line in compose.lines().filter(|line| line.contains("PASSWORD")) {
        assert!(line.contains("_FILE: /secrets/"), "{line}");
    }
    Ok(())
}
