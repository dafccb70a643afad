//! Zygotes are replaced by count and by age, and no call notices.

use std::time::Duration;

use dynamic_mcp_executor::isolate::IsolateConfig;
use dynamic_mcp_executor::isolate::config::RenewalConfig;
use dynamic_mcp_shared::outcome::Outcome;

use crate::processes::{keepers, zygotes};
use crate::rig::{Rig, config, eventually, run};

async fn renewed_under(renewal: RenewalConfig) {
    let rig = Rig::with(IsolateConfig { renewal, ..config() }).await;
    let first = zygotes();
    let long = rig
        .prepare("await new Promise((r) => setTimeout(r, 3_000)); return 1", 10_000)
        .await;
    let calls = async {
        eventually("another zygote, while calls go on", async || {
            rig.assert_works().await;
            zygotes().iter().any(|pid| !first.contains(pid))
        })
        .await;
    };
    let (finished, ()) = tokio::join!(run(long), calls);
    // The old one lived as long as it had a call.
    assert_eq!(finished.outcome, Outcome::Ok, "{:?}", finished.error);
    eventually("the old ones are gone", async || keepers().len() <= 2).await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_count() {
    renewed_under(RenewalConfig {
        after_children: 20,
        ..RenewalConfig::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_age() {
    renewed_under(RenewalConfig {
        after: Duration::from_secs(1),
        ..RenewalConfig::default()
    })
    .await;
}
