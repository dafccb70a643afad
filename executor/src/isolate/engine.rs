//! Puts the parts together: the [`Engine`] that gRPC sees, and the loops that keep it in order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dynamic_mcp_isolate::walls::{Finding, Tier};
use dynamic_mcp_shared::ids::TenantId;
use dynamic_mcp_shared::job::{Dependency, Job, Placement, RejectReason, Rejection, Runtime, RuntimeStatus};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::call::{Key, PreparedCall, Resident, Seat, Shelves};
use super::config::IsolateConfig;
use super::judge::Limits;
use super::nursery::{Nursery, StartError};
use super::spares::Spares;
use super::undertaker::Undertaker;
use crate::engine::{Engine, EngineStatus, PreparedJob, ResolveError};
use crate::kept::KeptShelves;
use crate::metric_names;

const TEND_EVERY: Duration = Duration::from_secs(5);
/// For children and zygotes to go when the process ends; the kernel sees to what is left then.
const SHUTDOWN: Duration = Duration::from_secs(5);

pub struct IsolateEngine {
    config: Arc<IsolateConfig>,
    shelves: Shelves,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl IsolateEngine {
    /// Starts the first zygote and finds out how well it is walled in.
    ///
    /// # Errors
    /// When this machine can't run isolates, or not as well walled in as `minimum` asks.
    pub async fn start(config: IsolateConfig, lifecycle: &Lifecycle) -> Result<Arc<Self>, StartError> {
        let config = Arc::new(config);
        // Not the lifecycle's hard token: children of jobs that it ends are still to be seen to.
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let nursery = Nursery::start(Arc::clone(&config), tasks.clone()).await?;
        let undertaker = Undertaker::start(&tasks);
        let spares = Spares::new(
            Arc::clone(&nursery),
            undertaker,
            config.spares,
            tasks.clone(),
            stop.clone(),
        );
        let slots = config.slots as usize;
        let engine = Arc::new(Self {
            shelves: Shelves {
                nursery,
                spares,
                kept: Arc::new(KeptShelves::new(config.kept, slots, Runtime::Isolate)),
            },
            config,
            tasks,
            stop,
        });
        engine.announce();
        engine.begin(lifecycle);
        Ok(engine)
    }

    /// How well isolates are walled in now; `None` while there is no zygote.
    pub fn tier(&self) -> Option<Tier> {
        self.shelves.nursery.current()?.tier
    }

    /// Each wall, and why it doesn't hold if it doesn't.
    pub fn walls(&self) -> Vec<Finding> {
        let zygote = self.shelves.nursery.current();
        zygote.map(|zygote| zygote.findings.clone()).unwrap_or_default()
    }

    fn announce(&self) {
        let walls = self.walls();
        let named = |holds: bool| {
            let of = walls.iter().filter(|found| found.holds() == holds);
            of.map(|found| match &found.lacking {
                None => found.wall.to_string(),
                Some(why) => format!("{} ({why})", found.wall),
            })
            .collect::<Vec<_>>()
            .join(", ")
        };
        tracing::info!(
            tier = self.tier().map(Tier::as_str),
            walls = named(true),
            lacking = named(false),
            "isolates are ready"
        );
    }

    fn begin(self: &Arc<Self>, lifecycle: &Lifecycle) {
        let span = tracing::info_span!("isolate");
        let soft = lifecycle.soft().clone();
        let spares = Arc::clone(&self.shelves.spares);
        let nursery = Arc::clone(&self.shelves.nursery);
        spares.tend();
        self.keep(
            async move {
                let changed = || spares.tend();
                nursery.tend(changed).await;
            }
            .instrument(span.clone()),
        );
        self.keep(self.shelves.clone().tend(soft).instrument(span));
    }

    /// Runs a loop until the engine stops.
    fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                // Once more after the end, the work could start a process that nobody ends.
                biased;
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    fn check(&self, job: &Job) -> Result<(), Rejection> {
        let timeout = self.config.policy.check_timeout(job.timeout);
        timeout.map_err(|error| rejection(RejectReason::Unsupported, error.to_string()))?;
        if job.dependency_lock.is_some() {
            let why = "npm packages need runtime \"node\": an isolate has none";
            return Err(rejection(RejectReason::Unsupported, why.to_owned()));
        }
        match self.shelves.nursery.unavailable() {
            Some(why) => Err(rejection(RejectReason::Engine, why)),
            None => Ok(()),
        }
    }
}

impl Shelves {
    async fn tend(self, soft: CancellationToken) {
        let mut ticks = interval(TEND_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.kept.tend();
            metrics::gauge!(metric_names::ISOLATE_SPARES).set(self.spares.count() as f64);
            // Nothing is filled up for calls that will not come.
            if !soft.is_cancelled() {
                self.spares.tend();
            }
        }
    }

    async fn fresh(&self) -> Result<(Resident, Placement), Rejection> {
        let taken = self.spares.take().await;
        let (child, placement) = taken.map_err(|why| rejection(RejectReason::Engine, why))?;
        Ok((Resident::new(child), placement))
    }
}

fn rejection(reason: RejectReason, message: String) -> Rejection {
    Rejection { reason, message }
}

#[async_trait]
impl Engine for IsolateEngine {
    #[tracing::instrument(skip_all, fields(job.id = %job.id, tenant = %job.tenant))]
    async fn prepare(&self, job: Job) -> Result<Box<dyn PreparedJob>, Rejection> {
        let began = Instant::now();
        self.check(&job)?;
        let key = Key::of(&job, &())?;
        let (resident, placement) = match &key {
            None => self.shelves.fresh().await?,
            Some(key) => self.shelves.kept.take_or(key, self.shelves.fresh()).await?,
        };
        let prepare = began.elapsed();
        metrics::histogram!(
            metric_names::PREPARE_SECONDS,
            "placement" => placement.as_str(), "runtime" => Runtime::Isolate.as_str()
        )
        .record(prepare.as_secs_f64());
        Ok(Box::new(PreparedCall {
            limits: Limits {
                timeout: job.timeout.duration(),
                memory: job.memory(self.config.memory),
                max_output_bytes: job.max_output_bytes.min(self.config.policy.max_output_bytes),
            },
            job,
            placement,
            prepare,
            seat: Seat::new(resident, key, self.shelves.clone()),
        }))
    }

    async fn resolve_dependencies(
        &self,
        _tenant: &TenantId,
        _image: &str,
        _dependencies: &[Dependency],
    ) -> Result<Bytes, ResolveError> {
        Err(ResolveError::Refused(
            "npm packages need runtime \"node\", and this executor runs isolates only; use one with Docker, or leave the dependencies out".to_owned(),
        ))
    }

    fn status(&self) -> EngineStatus {
        let tier = self.tier().map(Tier::as_str);
        EngineStatus {
            runtimes: vec![RuntimeStatus {
                runtime: Runtime::Isolate,
                unavailable: self.shelves.nursery.unavailable(),
                sandbox: tier.unwrap_or_default().to_owned(),
            }],
            images: Vec::new(),
        }
    }

    async fn shutdown(&self) {
        self.stop.cancel();
        self.shelves.spares.clear();
        self.shelves.kept.clear();
        let closed = timeout(SHUTDOWN, self.shelves.nursery.close()).await;
        if closed.is_err() {
            tracing::warn!("a zygote did not end in time; the kernel ends it with this process");
        }
    }
}
