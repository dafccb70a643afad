//! Trust between the planes, with certificates that the product's own command makes. Code runs in isolates: what is tested
//! here is between the processes.

mod load;
mod refusals;
mod rotation;
mod split;
mod tokens;

use anyhow::Result;
use dynamic_mcp_tests::certificates::{Authority, Side};
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::process::Process;
use dynamic_mcp_tests::server::{ControlPlane, Executor};
use dynamic_mcp_tests::state::State;

/// What an executor logs when it is not let in.
const NOT_JOINED: &str = "not joined to the control plane; trying again until it answers";

/// A control plane with a certificate, and the authority of its deployment.
struct Scene {
    authority: Authority,
    side: Side,
    control: ControlPlane,
}

impl Scene {
    async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    async fn start_with(further: &[(&str, &str)]) -> Result<Self> {
        let authority = Authority::new().await?;
        authority.control_plane().await?;
        let side = Side::of(&authority, "control-plane")?;
        let control = ControlPlane::start(&settings(&side, further)).await?;
        Ok(Self {
            authority,
            side,
            control,
        })
    }

    /// The files of an executor of this deployment.
    async fn side(&self, id: &str) -> Result<Side> {
        self.authority.executor(id).await?;
        Side::of(&self.authority, id)
    }

    async fn executor(&self, side: &Side) -> Result<Executor> {
        Executor::start(&self.control, &settings(side, &[])).await
    }

    /// Why an executor with those files is not let in.
    async fn refusal(&self, side: &Side, further: &[(&str, &str)]) -> Result<String> {
        let settings = settings(side, further);
        let mut executor = Executor::begin_in(State::new()?, &self.control, &settings)?;
        let line = executor.process.logged(NOT_JOINED).await?;
        executor.stop().await;
        Ok(line["why"].as_str().unwrap_or_default().to_owned())
    }
}

fn settings<'a>(side: &'a Side, further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    side.settings()
        .chain(On::Isolate.settings().iter().copied())
        .chain(further.iter().copied())
        .collect()
}

/// How often a process has said something.
fn said(process: &Process, message: &str) -> usize {
    let message = format!("\"{message}\"");
    process
        .log()
        .lines()
        .filter(|line| line.contains(&message))
        .count()
}
