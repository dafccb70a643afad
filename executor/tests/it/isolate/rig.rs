//! An executor's engine over isolates, and the processes that it has started.

use std::ops::Deref;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dynamic_mcp_executor::isolate::{IsolateConfig, IsolateEngine};
use dynamic_mcp_shared::job::{Placement, Runtime};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::sleep;

use super::processes::Family;
use crate::rig::{MEMORY, Outside, Rig, eventually, job};

const SPARES: u32 = 2;

/// A process has one family only: where tests share one, those that look at it take turns.
static TURN: Mutex<()> = Mutex::const_new(());

pub struct IsolateRig {
    pub rig: Rig,
    pub engine: Arc<IsolateEngine>,
}

pub fn small() -> IsolateConfig {
    IsolateConfig {
        program: env!("CARGO_BIN_EXE_dynamic-mcp-executor").into(),
        memory: MEMORY,
        slots: 4,
        spares: SPARES,
        ..IsolateConfig::default()
    }
}

impl IsolateRig {
    pub async fn start() -> Self {
        Self::with(small()).await
    }

    pub async fn with(config: IsolateConfig) -> Self {
        let turn = TURN.lock().await;
        let lifecycle = Lifecycle::new(Duration::from_secs(5));
        let engine = IsolateEngine::start(config, &lifecycle).await.unwrap();
        let rig = Rig::new(
            Arc::clone(&engine) as _,
            Runtime::Isolate,
            Arc::new(Processes { _turn: turn }),
            lifecycle,
        );
        eventually("a child that waits", async || {
            rig.prepare(job("")).await.placement() == Placement::Warm
        })
        .await;
        Self { rig, engine }
    }

    pub fn family(&self) -> Family {
        Family::of(std::process::id())
    }

    pub async fn finish(self) {
        self.rig.finish().await;
    }
}

impl Deref for IsolateRig {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

struct Processes {
    _turn: MutexGuard<'static, ()>,
}

#[async_trait]
impl Outside for Processes {
    async fn sandboxes(&self) -> Vec<String> {
        let children = Family::of(std::process::id()).children;
        children.iter().map(|child| child.pid.to_string()).collect()
    }

    fn most_waiting(&self) -> usize {
        SPARES as usize
    }

    async fn kill(&self, sandbox: &str) {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-KILL", sandbox]).output();
        while self.sandboxes().await.iter().any(|other| other == sandbox) {
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn left(&self) -> Vec<String> {
        let family = Family::of(std::process::id());
        family.all().map(|process| process.pid.to_string()).collect()
    }
}
