use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::tls::{Role, TlsFiles, Trust};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: CertsCommand,
}

fn parse(dir: &Path, arguments: &[&str]) -> Result<CertsCommand, clap::Error> {
    let (command, further) = arguments.split_first().unwrap();
    let dir = format!("--dir={}", dir.display());
    let line = ["certs", command, &dir]
        .into_iter()
        .chain(further.iter().copied());
    Line::try_parse_from(line).map(|line| line.command)
}

fn certs(dir: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    run(&parse(dir, arguments).unwrap(), &SystemClock)
}

fn open(dir: &Path, name: &str, role: Role) -> Arc<Trust> {
    let files = TlsFiles {
        ca: dir.join("ca.pem"),
        cert: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    };
    Trust::open(files, role, Arc::new(SystemClock)).unwrap()
}

#[test]
fn certificates_of_both_planes_are_good_for_their_hosts_and_their_time() {
    let dir = tempfile::tempdir().unwrap();
    certs(dir.path(), &["init"]).unwrap();
    certs(
        dir.path(),
        &["control-plane", "--host=control,127.0.0.1", "--host=::1"],
    )
    .unwrap();
    certs(
        dir.path(),
        &["executor", "--id=exe_one", "--host=one", "--days=7"],
    )
    .unwrap();
    let control = open(dir.path(), "control-plane", Role::ControlPlane);
    assert_eq!(control.certificate().hosts(), ["control", "127.0.0.1", "::1"]);
    assert_eq!(control.identity(), &Identity::ControlPlane);
    let executor = open(dir.path(), "exe_one", Role::Executor);
    assert_eq!(executor.identity().uri(), "spiffe://dynamic-mcp/executor/exe_one");
    let days = (executor.certificate().not_after() - SystemClock.now()).num_hours() as f64 / 24.0;
    assert_eq!(days.round(), 7.0);
}

#[test]
fn one_command_makes_a_whole_deployment_and_renews_it_without_another_authority() {
    let dir = tempfile::tempdir().unwrap();
    let all = [
        "all",
        "--control-plane=control",
        "--executor=exe_one=one,127.0.0.1",
        "--executor=exe_two=two",
    ];
    certs(dir.path(), &all).unwrap();
    let two = open(dir.path(), "exe_two", Role::Executor);
    assert!(two.certificate().covers("two") && !two.certificate().covers("one"));
    let authority = fs::read(dir.path().join("ca.pem")).unwrap();
    let certificate = fs::read(dir.path().join("exe_two.pem")).unwrap();
    certs(dir.path(), &[all.as_slice(), &["--force"]].concat()).unwrap();
    assert_eq!(fs::read(dir.path().join("ca.pem")).unwrap(), authority);
    assert_ne!(fs::read(dir.path().join("exe_two.pem")).unwrap(), certificate);
}

#[test]
fn keys_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    certs(dir.path(), &["all", "--control-plane=c", "--executor=exe_one=o"]).unwrap();
    for name in ["ca", "control-plane", "exe_one"] {
        let mode = |extension: &str| {
            let file = dir.path().join(format!("{name}.{extension}"));
            fs::metadata(file).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("key"), mode("pem")), (0o600, 0o644), "{name}");
    }
}

#[test]
fn nothing_is_replaced_unless_told_to() {
    let dir = tempfile::tempdir().unwrap();
    certs(dir.path(), &["init"]).unwrap();
    let executor = ["executor", "--id=exe_one", "--host=one"];
    certs(dir.path(), &executor).unwrap();
    let all = ["all", "--control-plane=control", "--executor=exe_one=one"];
    for again in [&["init"][..], &executor, &all] {
        let error = certs(dir.path(), again).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
    }
    assert!(!dir.path().join("control-plane.pem").exists(), "all or nothing");
    certs(dir.path(), &["executor", "--id=exe_one", "--host=two", "--force"]).unwrap();
    let certificate = open(dir.path(), "exe_one", Role::Executor).certificate();
    assert_eq!(certificate.hosts(), ["two"]);
}

#[test]
fn what_is_lacking_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = certs(dir.path(), &["control-plane", "--host=control"]).unwrap_err();
    assert!(error.to_string().contains("certs init"), "{error}");
    certs(dir.path(), &["init"]).unwrap();
    let error = certs(dir.path(), &["executor", "--host=not a host"]).unwrap_err();
    assert!(error.to_string().contains("neither a DNS name"), "{error}");
    for wrong in [
        &["executor", "--id=one", "--host=one"][..],
        &["executor"],
        &["all", "--control-plane=c", "--executor=exe_one"],
        &["all", "--control-plane=c", "--executor=one=host"],
        &["init", "--days=0"],
    ] {
        assert!(parse(dir.path(), wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_key_of_another_authority_makes_no_certificate() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certs(dir.path(), &["init"]).unwrap();
    certs(other.path(), &["init"]).unwrap();
    fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    let error = certs(dir.path(), &["control-plane", "--host=control"]).unwrap_err();
    assert!(
        format!("{error:#}").contains("not its certificate's"),
        "{error:#}"
    );
}

#[test]
fn one_that_can_not_be_made_leaves_none_made() {
    let dir = tempfile::tempdir().unwrap();
    for (second, says) in [
        ("--executor=exe_two=not a host", "neither a DNS name"),
        ("--executor=exe_one=two", "exe_one is named twice"),
    ] {
        let all = ["all", "--control-plane=c", "--executor=exe_one=one", second];
        let error = format!("{:#}", certs(dir.path(), &all).unwrap_err());
        assert!(error.contains(says), "{error}");
        assert!(!dir.path().join("control-plane.pem").exists());
    }
}

#[test]
fn the_key_of_an_authority_is_not_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    certs(dir.path(), &["init"]).unwrap();
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let error = certs(
        dir.path(),
        &["all", "--control-plane=c", "--executor=exe_one=one"],
    )
    .unwrap_err();
    assert!(error.to_string().contains("ca.key is there already"), "{error}");
}
