//! What its audit entry costs an action: the opening and the closing line, sealed and written by a thread of their own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dynamic_mcp_control_plane::audit::{Action, Audit, AuditConfig, KeyFile, OnLoss, Verdict};
use dynamic_mcp_control_plane::principal::{Caller, Principal, Rights};
use dynamic_mcp_shared::clock::SystemClock;
use dynamic_mcp_shared::outcome::Outcome;
use dynamic_mcp_shared::readiness::Readiness;
use dynamic_mcp_tests::state::State;
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use crate::load::Samples;
use crate::report::{Goal, Report};

const CALLS: usize = 20_000;
/// As calls come that wait for a sandbox: one burst of them would measure how fast the disk is.
const APART: Duration = Duration::from_micros(100);

pub async fn measure(report: &mut Report) -> Result<()> {
    let going_on = timed(OnLoss::Continue).await?;
    report.row("audit entry of a call, `continue`", &going_on);
    let micros = going_on.p50().as_secs_f64() * 1e6;
    report.goal(Goal::at_most("audit entry of a call, p50, µs", micros, 50.0));
    let blocking = timed(OnLoss::Block).await?;
    report.row("audit entry of a call, `block`", &blocking);
    Ok(())
}

async fn timed(on_loss: OnLoss) -> Result<Samples> {
    let state = State::new()?;
    let config = AuditConfig {
        enabled: true,
        file: state.join("audit.jsonl"),
        key: KeyFile::Own(state.join("audit.key")),
        on_loss,
        retention: Duration::ZERO,
        max_event_bytes: 20_000,
        max_file_bytes: 10_000_000,
        max_files: 5,
    };
    let audit = Audit::open(&config, Arc::new(SystemClock), Readiness::default())?;
    let caller = Caller {
        principal: Arc::new(Principal::anonymous()),
        rights: Rights::all(),
        request_id: "7c9e6679-7425-40de-944b-e07fc1f90ae7".to_owned(),
        cancel: CancellationToken::new(),
    };
    let mut taken = Vec::with_capacity(CALLS);
    let started = Instant::now();
    for _ in 0..CALLS {
        let begun = Instant::now();
        entry(&audit, &caller).await?;
        taken.push(begun.elapsed());
        while begun.elapsed() < APART {
            std::hint::spin_loop();
        }
    }
    let samples = Samples::new(taken, started.elapsed());
    ensure!(audit.flush_and_close().await, "the entries are in the file");
    Ok(samples)
}

async fn entry(audit: &Audit, caller: &Caller) -> Result<()> {
    let action = Action {
        name: "dynamic.exec",
        target: Some("weather"),
        revision: Some(3),
        details: Map::new(),
    };
    let mut entry = audit.begin(caller, action).await.context("a disk that works")?;
    entry.add("runtime", "isolate");
    entry.close(Verdict::Ran {
        outcome: Outcome::Ok,
        duration: Duration::from_micros(1_234),
    });
    Ok(())
}
