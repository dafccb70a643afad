//! Puts the parts together: the [`Engine`] that gRPC sees, and the loops that keep it in order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{
    Dependency, ImageStatus, Isolation, Job, Placement, RejectReason, Rejection, Runtime, RuntimeStatus,
};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use parking_lot::RwLock;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::call::{Availability, Key, PreparedCall, Resident, Seat, Shelves};
use super::client::{EngineClient, EngineError};
use super::config::DockerConfig;
use super::container::Maker;
use super::dependencies::Dependencies;
use super::health::{Health, PROBE_EVERY};
use super::images::{self, Images};
use super::janitor::Janitor;
use super::outcome::Limits;
use super::policy::SandboxShape;
use super::pool::Pool;
use super::reaper::Reaper;
use crate::engine::{Archive, Engine, EngineStatus, PreparedJob, ResolveError};
use crate::identity::Identity;
use crate::kept::KeptShelves;
use crate::metric_names;
use crate::sandbox::{OpenedSandbox, SandboxSpec};

const REAP_EVERY: Duration = Duration::from_secs(15);
const TEND_EVERY: Duration = Duration::from_secs(5);
/// For the containers to go when the process ends; what is left is the next start's.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Containers that may still be on their way out while others take their place.
const ROOM_TO_DIE: usize = 32;

pub struct DockerEngine {
    client: Arc<EngineClient>,
    config: Arc<DockerConfig>,
    shelves: Shelves,
    maker: Maker,
    clock: Arc<dyn Clock>,
    dependencies: Arc<Dependencies>,
    images: Arc<Images>,
    janitor: Arc<Janitor>,
    availability: Availability,
    runtime: Arc<RwLock<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl DockerEngine {
    /// Never asks the Engine: one that is absent makes the status say so until it is there.
    ///
    /// # Errors
    /// When the address can't be one.
    pub fn connect(
        config: DockerConfig,
        identity: Arc<Identity>,
        clock: Arc<dyn Clock>,
        lifecycle: &Lifecycle,
    ) -> Result<Arc<Self>, EngineError> {
        let client = Arc::new(EngineClient::new(config.host.as_deref())?);
        let config = Arc::new(config);
        // Not the lifecycle's hard token: containers of jobs that it ends are still to be removed.
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let janitor = Janitor::start(Arc::clone(&client), &tasks, stop.clone());
        let images = Arc::new(Images::new(Arc::clone(&client), &config.policy.allowed_images));
        let health = Health::new(Arc::clone(&client));
        let maker = Maker {
            client: Arc::clone(&client),
            config: Arc::clone(&config),
            identity: Arc::clone(&identity),
            janitor: Arc::clone(&janitor),
        };
        let dependencies = Arc::new(Dependencies::new(
            Arc::clone(&client),
            Arc::clone(&config),
            Arc::clone(&identity),
            Arc::clone(&janitor),
            Arc::clone(&clock),
        ));
        let reaper = Reaper {
            client: Arc::clone(&client),
            identity,
            janitor: Arc::clone(&janitor),
            clock: Arc::clone(&clock),
            ended: Default::default(),
        };
        let slots = config.slots as usize;
        let images_allowed = config.policy.allowed_images.len();
        let room = 2 * slots + (config.pool.ceiling as usize) * (images_allowed + 1) + ROOM_TO_DIE;
        let shelves = Shelves {
            pool: Pool::new(
                maker.clone(),
                config.pool,
                Arc::clone(&clock),
                room,
                stop.child_token(),
            ),
            kept: Arc::new(KeptShelves::new(config.kept, slots, Runtime::Node)),
        };
        let engine = Arc::new(Self {
            availability: health.availability(),
            runtime: Arc::new(RwLock::new(config.runtime.clone().unwrap_or_default())),
            client,
            config,
            shelves,
            maker,
            clock,
            dependencies,
            images,
            janitor,
            tasks,
            stop,
        });
        engine.start(health, reaper, lifecycle);
        Ok(engine)
    }

    /// The client, for whatever else is done in the same Engine.
    pub fn client(&self) -> &Arc<EngineClient> {
        &self.client
    }

    /// Whether the Engine answers right now.
    ///
    /// # Errors
    /// Why it doesn't.
    pub async fn probe(&self) -> Result<(), EngineError> {
        self.client.ping().await
    }

    fn start(self: &Arc<Self>, health: Health, reaper: Reaper, lifecycle: &Lifecycle) {
        let span = tracing::info_span!("engine");
        let soft = lifecycle.soft().clone();
        self.keep(Arc::clone(self).watch(health, reaper).instrument(span.clone()));
        self.keep(Arc::clone(self).tend(soft).instrument(span.clone()));
        self.keep(Arc::clone(&self.dependencies).tend().instrument(span));
    }

    /// Runs a loop until the engine stops.
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Health first, and whatever follows from it.
    async fn watch(self: Arc<Self>, mut health: Health, reaper: Reaper) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reaper = Arc::new(reaper);
        let (mut reaped, mut looked) = (None::<Instant>, None::<Instant>);
        loop {
            ticks.tick().await;
            let came = health.probe().await;
            if let Some(why) = self.unavailable() {
                self.shelves.pool.refuse_all(&why);
                continue;
            }
            if came {
                self.ask_runtime().await;
            }
            if came || looked.is_none_or(|at| at.elapsed() >= images::RETRY_EVERY) {
                looked = Some(Instant::now());
                // A pull may take minutes, and health must be asked meanwhile.
                self.keep(Arc::clone(&self).look_for_images());
            }
            if came || reaped.is_none_or(|at| at.elapsed() >= REAP_EVERY) {
                reaped = Some(Instant::now());
                self.keep(reap(Arc::clone(&reaper)));
            }
        }
    }

    async fn tend(self: Arc<Self>, soft: CancellationToken) {
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.shelves.kept.tend();
            // Nothing is filled up for calls that will not come.
            if !soft.is_cancelled() && self.unavailable().is_none() {
                self.shelves.pool.tend();
            }
        }
    }

    async fn ask_runtime(&self) {
        if self.config.runtime.is_none()
            && let Ok(name) = self.client.default_runtime().await
        {
            *self.runtime.write() = name;
        }
    }

    async fn look_for_images(self: Arc<Self>) {
        self.images.look(|image| self.shelves.pool.open(image)).await;
    }

    fn unavailable(&self) -> Option<String> {
        self.availability.borrow().clone()
    }

    fn check(&self, job: &Job) -> Result<(), Rejection> {
        let policy = &self.config.policy;
        policy
            .check_timeout(job.timeout)
            .map_err(|error| rejection(RejectReason::Unsupported, error.to_string()))?;
        self.check_image(&job.image)
    }

    fn check_image(&self, image: &str) -> Result<(), Rejection> {
        self.config
            .policy
            .check_image(image)
            .map_err(|error| rejection(RejectReason::Unsupported, error.to_string()))?;
        if let Some(why) = self.unavailable() {
            return Err(rejection(RejectReason::Engine, why));
        }
        if !self.images.is_present(image) {
            let message = format!("image {image} is not on this node");
            return Err(rejection(RejectReason::Unsupported, message));
        }
        Ok(())
    }

    /// The volume with the job's packages, if it needs any.
    async fn install(&self, job: &Job) -> Result<Option<String>, Rejection> {
        let Some(lock) = &job.dependency_lock else {
            return Ok(None);
        };
        let installed = self
            .dependencies
            .ensure_installed(&job.tenant, &job.image, lock)
            .await;
        installed.map(Some).map_err(not_installed)
    }

    async fn seat(&self, shape: SandboxShape, key: Option<Arc<Key>>) -> Result<(Seat, Placement), Rejection> {
        let Shelves { pool, kept } = &self.shelves;
        let (isolation, (resident, placement)) = match &key {
            None => (Isolation::Call, fresh(pool, &shape).await?),
            Some(key) => (Isolation::Tool, kept.take_or(key, fresh(pool, &shape)).await?),
        };
        Ok((Seat::new(resident, isolation, self.shelves.clone()), placement))
    }
}

fn not_installed(error: ResolveError) -> Rejection {
    match error {
        ResolveError::Refused(why) => rejection(RejectReason::Dependencies, why),
        // Another node's engine or network may do better.
        ResolveError::Unavailable(why) => rejection(RejectReason::Engine, why),
    }
}

async fn reap(reaper: Arc<Reaper>) {
    if let Err(error) = reaper.sweep().await {
        tracing::warn!(%error, "the reaper could not look for abandoned containers; it tries again");
    }
}

async fn fresh(pool: &Arc<Pool>, shape: &SandboxShape) -> Result<(Resident, Placement), Rejection> {
    let taken = pool.take(shape).await;
    let (container, placement) = taken.map_err(|why| rejection(RejectReason::Engine, why))?;
    Ok((Resident::new(container), placement))
}

fn rejection(reason: RejectReason, message: String) -> Rejection {
    Rejection { reason, message }
}

#[async_trait]
impl Engine for DockerEngine {
    #[tracing::instrument(skip_all, fields(job.id = %job.id, tenant = %job.tenant, image = %job.image))]
    async fn prepare(&self, job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        let began = Instant::now();
        self.check(&job)?;
        let memory = job.memory(self.config.memory);
        let shape = SandboxShape {
            image: job.image.clone(),
            dependencies: self.install(&job).await?,
            memory: Some(memory).filter(|memory| *memory < self.config.memory),
        };
        let key = Key::of(&job, &shape)?;
        let (seat, placement) = self.seat(shape, key).await?;
        let prepare = began.elapsed();
        let runtime = Runtime::Node.as_str();
        metrics::histogram!(
            metric_names::PREPARE_SECONDS, "placement" => placement.as_str(), "runtime" => runtime
        )
        .record(prepare.as_secs_f64());
        Ok(Box::new(PreparedCall {
            limits: Limits {
                timeout: job.timeout.duration(),
                memory,
                pids: self.config.pids,
                max_output_bytes: job.max_output_bytes.min(self.config.policy.max_output_bytes),
            },
            job,
            placement,
            prepare,
            seat,
            availability: self.availability.clone(),
        }))
    }

    async fn resolve_dependencies(
        &self,
        tenant: &TenantId,
        image: &str,
        dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        if let Some(why) = self.unavailable() {
            return Err(ResolveError::Unavailable(why));
        }
        self.dependencies.resolve(tenant, image, dependencies).await
    }

    fn holds_sandboxes(&self) -> bool {
        true
    }

    #[tracing::instrument(skip_all, fields(sandbox.id = %spec.id, tenant = %spec.tenant, image = %spec.image))]
    async fn open_sandbox(&self, spec: &SandboxSpec) -> Result<OpenedSandbox, Rejection> {
        self.check_image(&spec.image)?;
        let opened = self.maker.open_session(spec, self.clock.now()).await;
        opened.map_err(|error| rejection(RejectReason::Engine, error.to_string()))
    }

    async fn packages(&self, tenant: &TenantId, image: &str, lock: &[u8]) -> Result<Archive, Rejection> {
        self.check_image(image)?;
        let archive = self.dependencies.archive(tenant, image, lock).await;
        archive.map_err(not_installed)
    }

    fn status(&self) -> EngineStatus {
        let images = self.images.snapshot().into_iter();
        let looking =
            || (!self.images.are_known()).then(|| "still looking for the sandbox images".to_owned());
        EngineStatus {
            runtimes: vec![RuntimeStatus {
                runtime: Runtime::Node,
                unavailable: self.unavailable().or_else(looking),
                sandbox: self.runtime.read().clone(),
            }],
            images: images
                .map(|(name, present)| ImageStatus {
                    warm: u32::try_from(self.shelves.pool.warm(&name)).unwrap_or(u32::MAX),
                    name,
                    present,
                })
                .collect(),
        }
    }

    async fn shutdown(&self) {
        // In this order: what is made after the clearing would be left.
        self.shelves.pool.close().await;
        self.shelves.kept.clear();
        let pending = self.janitor.pending();
        if timeout(SHUTDOWN, self.janitor.idle()).await.is_err() {
            tracing::warn!(
                left = self.janitor.pending(),
                of = pending,
                "containers are left for the next start to remove"
            );
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
