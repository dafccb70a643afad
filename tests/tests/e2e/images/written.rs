//! What the files promise each other. That needs no Engine.

use std::fs;

use dynamic_mcp_tests::compose::root;

const DOCKERFILES: [&str; 2] = ["Dockerfile.control", "Dockerfile.executor"];

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// From the first instruction to the end of the stage `build`.
fn shared_stages(dockerfile: &str) -> String {
    let text = text(dockerfile);
    let begin = text.find("ARG RUST_IMAGE").unwrap();
    let build = text.find("FROM dependencies AS build\n").unwrap();
    let end = text[build + 1..].find("\nFROM ").unwrap() + build + 1;
    let stages: Vec<&str> = text[begin..end]
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    stages.join("\n")
}

#[test]
fn both_dockerfiles_build_the_programs_in_the_same_stages() {
    let [control, executor] = DOCKERFILES.map(shared_stages);
    assert_eq!(control, executor);
}

#[test]
fn the_dockerfiles_build_with_the_toolchain_of_the_repository() {
    let toolchain = text("rust-toolchain.toml");
    let channel = toolchain
        .lines()
        .find_map(|line| line.strip_prefix("channel = "))
        .unwrap()
        .trim_matches('"');
    for dockerfile in DOCKERFILES {
        let expected = format!("ARG RUST_IMAGE=rust:{channel}-slim-bookworm");
        assert!(text(dockerfile).contains(&expected), "{dockerfile}: {expected}");
    }
}

#[test]
fn the_dockerfiles_know_every_crate_of_the_workspace() {
    let manifest = text("Cargo.toml");
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .unwrap();
    for member in members.trim_matches(['[', ']']).split(", ") {
        let member = member.trim_matches('"');
        let copied = format!("COPY {member}/Cargo.toml {member}/");
        let sent = format!("!{member}/Cargo.toml");
        for dockerfile in DOCKERFILES {
            assert!(text(dockerfile).contains(&copied), "{dockerfile}: {copied}");
        }
        assert!(text(".dockerignore").contains(&sent), ".dockerignore: {sent}");
    }
}

#[test]
fn the_compose_file_gives_nobody_the_socket_of_this_machines_engine_and_holds_no_password() {
    let compose = text("deploy/compose.yml");
    assert!(!compose.contains("/var/run/docker.sock") && !compose.contains("/run/docker.sock"));
    for line in compose.lines().filter(|line| line.contains("PASSWORD")) {
        assert!(line.contains("_FILE: /secrets/"), "{line}");
    }
}
