//! npm packages for tools: resolved to a lock when a tool is written, installed once for each lock, without ever running
//! a package's own code outside of a sandbox.
//!
//! ```text
//! resolve ──▶ install container, egress ──▶ lock ──▶ checked ──▶ stored with the tool
//!
//! ensure_installed ──▶ checked again ──▶ known? ──────────────────────────▶ the volume's name
//!                                          └ no ▶ install container, egress ▶ marker ▶ ┘
//! ```
//!
//! A volume is filled under a container name made from the same key, so the Engine itself lets only one process fill
//! it; a second one waits. The marker is written last: a volume without it is filled anew.

mod archive;
mod collector;
mod egress;
mod installer;
mod lock;
mod npm;
mod origin;
mod profile;
#[cfg(test)]
mod tests;
mod volume;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerInspectResponse;
use bytes::Bytes;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::{TenantId, random_uuid};
use dynamic_mcp_shared::job::Dependency;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::client::{EngineClient, EngineError};
use super::config::DockerConfig;
use super::janitor::Janitor;
use super::labels::{self, labels};
use crate::engine::ResolveError;
use crate::identity::Identity;
use egress::SystemResolver;
use installer::{DEADLINE, Installer, Run, RunError};
use lock::{CheckedLock, PROJECT, Registry};
use profile::Purpose;
use volume::{ImageId, Uses};

/// Install containers at once: each takes a core and the network.
const CONTAINERS: usize = 2;
/// Of one install, unpacked.
const MAX_INSTALLED_BYTES: u64 = 1 << 30;
/// For so long a volume that was seen is taken to be there without asking the Engine.
const TRUST: Duration = Duration::from_secs(5);
/// How exact the time of a volume's last use is.
const RECORD_EVERY: Duration = Duration::from_secs(60);
/// Installs known by what was asked for; beyond it they are forgotten and looked up anew.
const REMEMBERED: usize = 4_096;
const ATTEMPTS: usize = 4;
const POLL: Duration = Duration::from_millis(200);
/// A container of somebody else's that has not run for so long belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(20);

pub struct Dependencies {
    client: Arc<EngineClient>,
    config: Arc<DockerConfig>,
    identity: Arc<Identity>,
    janitor: Arc<Janitor>,
    clock: Arc<dyn Clock>,
    installer: Installer,
    uses: Uses,
    containers: Semaphore,
    images: Mutex<HashMap<String, (ImageId, Instant)>>,
    /// By the image's id: what npm in it is configured for.
    registries: tokio::sync::Mutex<HashMap<String, Registry>>,
    /// By tenant, image and lock as they came.
    seen: Mutex<HashMap<[u8; 32], (String, Instant)>>,
    /// By the volume's key; whoever holds the inner lock is the one that installs.
    installs: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Install>>>>,
}

/// What this process knows of a volume.
#[derive(Default)]
struct Install {
    complete: bool,
    recorded: Option<Instant>,
    failed: Option<(Instant, ResolveError)>,
}

/// What an install is of, checked.
struct Wanted<'a> {
    tenant: &'a TenantId,
    image: &'a str,
    registry: Registry,
    lock: CheckedLock,
    key: String,
}

impl Dependencies {
    pub(super) fn new(
        client: Arc<EngineClient>,
        config: Arc<DockerConfig>,
        identity: Arc<Identity>,
        janitor: Arc<Janitor>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            installer: Installer {
                client: Arc::clone(&client),
                identity: Arc::clone(&identity),
                janitor: Arc::clone(&janitor),
                clock: Arc::clone(&clock),
                ca_bundle: config.ca_bundle.clone(),
                resolver: Arc::new(SystemResolver),
                networks: config.npm_registry_networks.clone().into(),
            },
            uses: Uses::new(identity.state_dir()),
            client,
            config,
            identity,
            janitor,
            clock,
            containers: Semaphore::new(CONTAINERS),
            images: Mutex::default(),
            registries: Default::default(),
            seen: Mutex::default(),
            installs: Mutex::default(),
        }
    }

    /// The lock of these dependencies, in canonical form.
    ///
    /// # Errors
    /// The author's faults apart from the platform's.
    pub async fn resolve(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        let image_id = self.image(image).await?;
        let registry = self.registry(image, &image_id).await?;
        let dependencies: Map<String, Value> = dependencies
            .iter()
            .map(|dependency| (dependency.name.clone(), dependency.version.clone().into()))
            .collect();
        let run = Run {
            name: &one_time_name("resolve"),
            purpose: Purpose::Resolve,
            image,
            tenant: Some(tenant),
            registry: Some(&registry),
            request: json!({
                "action": "resolve",
                "package": {"name": PROJECT, "version": "0.0.0", "private": true, "dependencies": dependencies},
            }),
        };
        let done = self.run_alone(run).await?;
        let lock = done["lock"].as_str().unwrap_or_default();
        let lock = self.check(lock.as_bytes(), &registry)?;
        Ok(Bytes::copy_from_slice(lock.as_str().as_bytes()))
    }

    /// The name of a volume in which exactly these packages are installed, under `node_modules`.
    ///
    /// # Errors
    /// The author's faults apart from the platform's.
    pub async fn ensure_installed(
        &self,
        tenant: &TenantId,
        image: &str,
        lock: &[u8],
    ) -> Result<String, ResolveError> {
        let asked = fingerprint(tenant, image, lock);
        if let Some((volume, at)) = self.seen.lock().get(&asked)
            && at.elapsed() < TRUST
        {
            return Ok(volume.clone());
        }
        let image_id = self.image(image).await?;
        let registry = self.registry(image, &image_id).await?;
        let lock = self.check(lock, &registry)?;
        let key = volume::key(tenant, registry.url(), &image_id, &lock);
        let wanted = Wanted {
            tenant,
            image,
            registry,
            lock,
            key,
        };
        let volume = self.install_once(&wanted).await?;
        let mut seen = self.seen.lock();
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(asked, (volume.clone(), Instant::now()));
        Ok(volume)
    }

    /// However many ask at once, one installs and the others get what it got.
    async fn install_once(&self, wanted: &Wanted<'_>) -> Result<String, ResolveError> {
        let volume = volume::volume_name(&wanted.key);
        let asked = Instant::now();
        let install = Arc::clone(self.installs.lock().entry(wanted.key.clone()).or_default());
        let mut install = install.lock().await;
        if let Some((at, error)) = &install.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        if !(install.complete && self.is_there(&volume).await) {
            install.complete = false;
            if let Err(error) = self.install(wanted, &volume).await {
                install.failed = Some((Instant::now(), error.clone()));
                return Err(error);
            }
            install.complete = true;
        }
        if install.recorded.is_none_or(|at| at.elapsed() >= RECORD_EVERY) {
            install.recorded = Some(Instant::now());
            if let Err(error) = self.uses.record(&volume, self.clock.now()).await {
                tracing::warn!(volume, %error, "the use of a dependency volume can't be recorded");
            }
        }
        Ok(volume)
    }

    async fn install(&self, wanted: &Wanted<'_>, volume: &str) -> Result<(), ResolveError> {
        let began = Instant::now();
        self.make_volume(wanted.tenant, volume)
            .await
            .map_err(engine_fault)?;
        let installed = self.fill(wanted, volume).await;
        match &installed {
            Ok(done) => tracing::info!(
                volume,
                reused = done["reused"].as_bool().unwrap_or(false),
                duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "dependencies are installed"
            ),
            Err(_) => self.discard(volume).await,
        }
        installed.map(drop)
    }

    async fn fill(&self, wanted: &Wanted<'_>, volume: &str) -> Result<Value, ResolveError> {
        let name = volume::container_name(&wanted.key);
        let run = Run {
            name: &name,
            purpose: Purpose::Install { volume },
            image: wanted.image,
            tenant: Some(wanted.tenant),
            registry: Some(&wanted.registry),
            request: json!({
                "action": "install",
                "package": wanted.lock.package_json(),
                "lock": wanted.lock.as_str(),
                "maxBytes": MAX_INSTALLED_BYTES,
            }),
        };
        let mut owned = false;
        for _ in 0..ATTEMPTS {
            let ran = {
                let _turn = self.containers.acquire().await;
                self.installer.run(run.clone()).await
            };
            match ran {
                Ok(done) => return Ok(done),
                Err(RunError::Failed(error)) => return Err(error),
                Err(RunError::Lost) => {}
                Err(RunError::NameTaken) => self.wait_for_other(&name).await?,
                Err(RunError::NotOwner) if !owned => {
                    owned = true;
                    let own = Run {
                        name: &one_time_name("own"),
                        purpose: Purpose::Own { volume },
                        image: wanted.image,
                        tenant: None,
                        registry: None,
                        request: json!({"action": "own"}),
                    };
                    self.run_alone(own).await?;
                }
                Err(error @ RunError::NotOwner) => return Err(ResolveError::Unavailable(error.to_string())),
            }
        }
        let text = "the install container was removed again and again while it ran";
        Err(ResolveError::Unavailable(text.to_owned()))
    }

    /// A run that nobody else does.
    async fn run_alone(&self, run: Run<'_>) -> Result<Value, ResolveError> {
        let _turn = self.containers.acquire().await;
        self.installer.run(run).await.map_err(|error| match error {
            RunError::Failed(error) => error,
            other => ResolveError::Unavailable(other.to_string()),
        })
    }

    /// Until a container of somebody else's is gone. One that has long ended is removed for its owner.
    async fn wait_for_other(&self, name: &str) -> Result<(), ResolveError> {
        let waiting = async {
            let mut ran_at = Instant::now();
            loop {
                match self.client.inspect(name).await {
                    Err(error) if error.is_not_found() => return Ok(()),
                    Err(error) => return Err(engine_fault(error)),
                    Ok(found) if is_running(&found) => {
                        ran_at = Instant::now();
                    }
                    Ok(_) if ran_at.elapsed() >= ABANDONED => {
                        self.client.remove(name).await.map_err(engine_fault)?;
                    }
                    Ok(_) => {}
                }
                sleep(POLL).await;
            }
        };
        let limit = DEADLINE + ABANDONED;
        timeout(limit, waiting).await.unwrap_or_else(|_| {
            let text = "another executor's install of the same packages does not end";
            Err(ResolveError::Unavailable(text.to_owned()))
        })
    }

    /// A volume of this name without our labels was made by the Engine itself, empty, for a container that came after
    /// its removal.
    async fn make_volume(&self, tenant: &TenantId, volume: &str) -> Result<(), EngineError> {
        let found = self.client.inspect_volume(volume).await?;
        if found.is_some_and(|found| !is_ours(&found.labels)) {
            self.client.remove_volume(volume).await?;
        }
        let expires = self.clock.now() + volume::EXPIRES_AFTER;
        let kind = labels::Kind::Dependencies;
        let labels = labels(&self.identity, kind, volume, Some(tenant), expires);
        self.client.create_volume(volume, labels).await.map(drop)
    }

    /// Another process's collector may have removed it.
    async fn is_there(&self, volume: &str) -> bool {
        match self.client.inspect_volume(volume).await {
            Ok(found) => found.is_some_and(|found| is_ours(&found.labels)),
            // An Engine that does not answer is somebody else's to tell.
            Err(_) => true,
        }
    }

    /// What a failed install left. Its container takes a moment to go, and until then the Engine keeps the volume.
    async fn discard(&self, volume: &str) {
        for _ in 0..10 {
            match self.client.remove_volume(volume).await {
                Err(EngineError::Conflict { .. }) => sleep(POLL).await,
                _ => return,
            }
        }
    }

    fn check(&self, lock: &[u8], registry: &Registry) -> Result<CheckedLock, ResolveError> {
        CheckedLock::parse(lock, registry, &self.config.policy)
            .map_err(|error| ResolveError::Refused(error.to_string()))
    }
}

fn one_time_name(what: &str) -> String {
    format!("dmcp-{what}-{}", random_uuid().simple())
}

fn is_ours(labels: &HashMap<String, String>) -> bool {
    labels
        .get("kind")
        .is_some_and(|kind| kind == labels::Kind::Dependencies.as_str())
}

fn is_running(container: &ContainerInspectResponse) -> bool {
    let state = container.state.as_ref();
    state.is_some_and(|state| state.running == Some(true))
}

fn fingerprint(tenant: &TenantId, image: &str, lock: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [tenant.as_str().as_bytes(), image.as_bytes(), lock] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn engine_fault(error: EngineError) -> ResolveError {
    ResolveError::Unavailable(error.to_string())
}
