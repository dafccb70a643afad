//! npm packages over a real Docker Engine and the registry that npm in the image is configured for.

use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use dynamic_mcp_executor::docker::config::DockerConfig;
use dynamic_mcp_executor::engine::ResolveError;
use dynamic_mcp_shared::ids::{ExecutorId, JobId, TenantId};
use dynamic_mcp_shared::job::{Dependency, Job, RejectReason};
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::policy::{DEFAULT_IMAGE, SandboxPolicy};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::rig::{DockerRig, small};
use crate::rig::{job, kept, result};

/// A rig whose volumes are removed at its end, and a tenant that no other test has.
pub struct Packages {
    rig: DockerRig,
    tenant: TenantId,
}

/// Trusts what the machine trusts.
pub fn config() -> DockerConfig {
    DockerConfig {
        ca_bundle: std::env::var_os("NODE_EXTRA_CA_CERTS").map(Into::into),
        ..small()
    }
}

impl Packages {
    async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: DockerConfig) -> Self {
        Self {
            rig: DockerRig::with(config).await,
            tenant: JobId::generate().as_str().parse().unwrap(),
        }
    }

    pub async fn resolve(&self, dependencies: &[(&str, &str)]) -> Result<Bytes, ResolveError> {
        let dependencies: Vec<Dependency> = dependencies
            .iter()
            .map(|(name, version)| Dependency {
                name: (*name).to_owned(),
                version: (*version).to_owned(),
            })
            .collect();
        let engine = &self.rig.engine;
        engine
            .resolve_dependencies(&self.tenant, DEFAULT_IMAGE, &dependencies)
            .await
    }

    pub async fn refusal(&self, dependencies: &[(&str, &str)]) -> String {
        match self.resolve(dependencies).await.unwrap_err() {
            ResolveError::Refused(why) => why,
            ResolveError::Unavailable(why) => panic!("not the author's fault: {why}"),
        }
    }

    fn job(&self, lock: &Bytes, code: &str) -> Job {
        Job {
            tenant: self.tenant.clone(),
            dependency_lock: Some(lock.clone()),
            ..job(code)
        }
    }

    pub async fn run(&self, lock: &Bytes, code: &str) -> Value {
        result(&self.rig.run(self.job(lock, code), json!({})).await)
    }

    fn volumes(&self) -> Vec<String> {
        volumes_of(&self.rig.identity.id)
    }

    pub async fn finish(self) {
        let volumes = self.volumes();
        self.rig.finish().await;
        remove(&volumes);
    }
}

pub fn volumes_of(executor: &ExecutorId) -> Vec<String> {
    let mine = format!("label=executor={executor}");
    let listed = Command::new("docker")
        .args(["volume", "ls", "-q", "--filter", &mine])
        .output()
        .unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

pub fn remove(volumes: &[String]) {
    for volume in volumes {
        let removed = Command::new("docker").args(["volume", "rm", volume]).output();
        let removed = removed.unwrap();
        let said = String::from_utf8_lossy(&removed.stderr);
        assert!(removed.status.success(), "{said}");
    }
}

const IS_SEVEN: &str = "const { default: isNumber } = await import('is-number'); return isNumber(7)";

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_imports_what_it_declared_and_twenty_calls_share_one_install() {
    let packages = Packages::start().await;
    let lock = packages.resolve(&[("is-number", "^7.0.0")]).await.unwrap();
    assert_eq!(lock, packages.resolve(&[("is-number", "^7.0.0")]).await.unwrap());

    let engine = &packages.rig.engine;
    let racing = (0..20).map(|_| async { engine.prepare(packages.job(&lock, IS_SEVEN)).await.is_ok() });
    let prepared = join_all(racing).await;
    assert!(prepared.into_iter().all(|prepared| prepared));
    assert_eq!(packages.volumes().len(), 1);
    assert_eq!(packages.run(&lock, IS_SEVEN).await, true);

    let kept = Job {
        tenant: packages.tenant.clone(),
        dependency_lock: Some(lock.clone()),
        ..kept("seven", IS_SEVEN)
    };
    for _ in 0..2 {
        assert_eq!(result(&packages.rig.run(kept.clone(), json!({})).await), true);
    }
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_can_not_be_changed_by_a_tool_and_holds_nothing_else() {
    let packages = Packages::start().await;
    let lock = packages.resolve(&[("is-number", "7.0.0")]).await.unwrap();
    let code = "const fs = await import('node:fs');
        const write = (path) => { try { fs.writeFileSync(path, 'x'); return 'written' } catch (e) { return e.code } };
        return [write('/deps/x'), write('/deps/node_modules/is-number/index.js'), fs.readdirSync('/deps').sort()]";
    let expected = json!(["EROFS", "EROFS", [".complete", "node_modules"]]);
    assert_eq!(packages.run(&lock, code).await, expected);
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authors_faults_are_told_in_their_words() {
    let packages = Packages::start().await;
    let why = packages.refusal(&[("is-number", "99.9.9")]).await;
    assert!(why.contains("is-number@99.9.9"), "{why}");
    let why = packages.refusal(&[("is-number", "no-such-tag")]).await;
    assert!(why.contains("is-number@no-such-tag"), "{why}");
    let why = packages
        .refusal(&[("dynamic-mcp-package-that-nobody-made", "1")])
        .await;
    assert!(why.contains("dynamic-mcp-package-that-nobody-made"), "{why}");
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_package_is_found_in_what_another_one_needs() {
    let policy = SandboxPolicy {
        blocked_packages: vec!["is-number@<8".parse().unwrap()],
        ..SandboxPolicy::default()
    };
    let packages = Packages::with(DockerConfig { policy, ..config() }).await;
    // It needs is-number two levels down: fill-range, to-regex-range.
    let why = packages.refusal(&[("fill-range", "7.0.1")]).await;
    assert!(why.contains("is-number") && why.contains("blocked"), "{why}");

    // A lock from before the block is refused as well.
    let open = Packages::start().await;
    let lock = open.resolve(&[("is-number", "7.0.0")]).await.unwrap();
    let refused = packages.rig.engine.prepare(packages.job(&lock, IS_SEVEN)).await;
    let rejection = refused.err().unwrap();
    assert_eq!(rejection.reason, RejectReason::Dependencies);
    assert!(rejection.message.contains("is-number"), "{}", rejection.message);
    open.finish().await;
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn install_scripts_do_not_run() {
    let packages = Packages::start().await;
    // Its postinstall script writes a file of this name beside its package.json.
    let lock = packages.resolve(&[("core-js", "3.38.0")]).await.unwrap();
    let parsed: Value = serde_json::from_slice(&lock).unwrap();
    assert_eq!(
        parsed["packages"]["node_modules/core-js"]["hasInstallScript"],
        true
    );
    let code = "const { createRequire } = await import('node:module');
        return createRequire('/deps/')('core-js/package.json').version";
    assert_eq!(packages.run(&lock, code).await, "3.38.0");
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_tampered_with_installs_nothing() {
    let packages = Packages::start().await;
    let lock = packages.resolve(&[("is-number", "7.0.0")]).await.unwrap();
    let mut forged: Value = serde_json::from_slice(&lock).unwrap();
    forged["packages"]["node_modules/is-number"]["integrity"] = json!(format!("sha512-{}==", "A".repeat(86)));
    let forged = Bytes::from(forged.to_string());
    let refused = packages.rig.engine.prepare(packages.job(&forged, IS_SEVEN)).await;
    assert_eq!(refused.err().unwrap().reason, RejectReason::Dependencies);
    assert_eq!(packages.volumes(), Vec::<String>::new());
    packages.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_that_was_killed_is_done_anew() {
    let first = Packages::start().await;
    let lock = first.resolve(&[("fill-range", "7.0.1")]).await.unwrap();
    let code = "const { default: fill } = await import('fill-range'); return fill(1, 3)";
    let engine = &first.rig.engine;

    let killing = async {
        let began = Instant::now();
        loop {
            let name = format!("label=executor={}", first.rig.identity.id);
            let running = ["ps", "-q", "--filter", "label=kind=install", "--filter", &name];
            let found = Command::new("docker").args(running).output().unwrap();
            let id = String::from_utf8(found.stdout).unwrap();
            if !id.trim().is_empty() {
                return Command::new("docker").args(["kill", id.trim()]).output().unwrap();
            }
            assert!(began.elapsed() < Duration::from_secs(60), "no install began");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (one, _killed) = tokio::join!(engine.prepare(first.job(&lock, code)), killing);
    drop(one.unwrap());
    assert_eq!(first.run(&lock, code).await, json!([1, 2, 3]));

    first.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_executors_of_one_engine_share_an_install_and_neither_breaks_the_others() {
    let first = Packages::start().await;
    let second = Packages::with(config()).await;
    let lock = first.resolve(&[("is-number", "7.0.0")]).await.unwrap();
    let (here, there) = (&first.rig.engine, &second.rig.engine);
    let job = first.job(&lock, IS_SEVEN);
    let (one, other) = tokio::join!(here.prepare(job.clone()), there.prepare(job.clone()));
    drop((one.unwrap(), other.unwrap()));
    assert_eq!(result(&first.rig.run(job.clone(), json!({})).await), true);
    assert_eq!(result(&second.rig.run(job, json!({})).await), true);
    let (firsts, seconds) = (first.volumes(), second.volumes());
    assert_eq!(firsts.len() + seconds.len(), 1);
    // Whoever made it, the other's waiting sandboxes hold it too.
    first.rig.finish().await;
    second.rig.finish().await;
    remove(&[firsts, seconds].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_vanished_is_installed_anew() {
    let packages = Packages::start().await;
    let lock = packages.resolve(&[("is-number", "7.0.0")]).await.unwrap();
    assert_eq!(packages.run(&lock, IS_SEVEN).await, true);
    let volume = packages.volumes().remove(0);
    // Waiting sandboxes hold it.
    packages.rig.engine.shutdown().await;
    let removed = Command::new("docker")
        .args(["volume", "rm", "-f", &volume])
        .output()
        .unwrap();
    assert!(removed.status.success());

    let again = Packages {
        tenant: packages.tenant.clone(),
        ..Packages::start().await
    };
    assert_eq!(again.run(&lock, IS_SEVEN).await, true);
    assert_eq!(again.volumes(), [volume]);
    again.finish().await;
    packages.rig.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_without_the_package_says_which_one_is_missing() {
    let packages = Packages::start().await;
    let finished = packages.rig.call(IS_SEVEN).await;
    assert_eq!(finished.outcome, Outcome::Threw);
    assert!(finished.error.unwrap().message.contains("is-number"));
    packages.finish().await;
}
