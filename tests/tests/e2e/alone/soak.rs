//! The soak, at a length that every run of the tests can bear; `bin/soak` is the same for hours.

use std::time::Duration;

use anyhow::Result;
use dynamic_mcp_tests::issuer::now;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::soak::Soak;

/// As many faults as there are, which come close upon one another.
const LENGTH: Duration = Duration::from_secs(25);
const FAULT_EVERY: Duration = Duration::from_secs(3);

async fn soak(first: On) -> Result<()> {
    let soak = Soak {
        length: LENGTH,
        fault_every: FAULT_EVERY,
        seed: now().unsigned_abs(),
        executors: vec![first, On::Isolate, On::Isolate],
    };
    soak.run().await
}

#[tokio::test]
async fn under_faults_every_call_has_one_outcome_and_nothing_is_left() -> Result<()> {
    soak(On::Isolate).await
}

mod docker {
    #[tokio::test]
    async fn with_containers_under_faults_every_call_has_one_outcome_and_nothing_is_left()
    -> anyhow::Result<()> {
        super::soak(super::On::Docker).await
    }
}
