//! What the retention drops is gone for good, and nothing else may be.

use std::sync::Arc;
use std::time::Duration;

use crate::rig::{Rig, acts};
use crate::stores::{Store, eventually, with_postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_months_are_dropped_and_what_is_left_verifies() {
    with_postgres(async |store: Arc<Store>| {
        let mut rig = Rig::new(&store).await;
        // One server that ended in January, and one that runs on into May.
        let ended = rig.server().await;
        acts(&ended.audit, 4).await;
        ended.stop().await;
        let running = rig.server().await;
        acts(&running.audit, 4).await;
        rig.eventually_stored(16).await;
        rig.store.clock.advance(chrono::Duration::days(120));
        acts(&running.audit, 4).await;
        rig.eventually_stored(24).await;

        rig.config.retention = Duration::from_secs(30 * 86_400);
        let next = rig.server().await;
        acts(&next.audit, 1).await;
        eventually("the months are dropped", async || {
            (rig.count("audit_events WHERE at < '2026-03-01Z'").await == 0).then_some(())
        })
        .await;
        running.stop().await;
        next.stop().await;
        rig.assert_verified().await;
        assert_eq!(rig.count("audit_events WHERE phase = 'opened'").await, 5);
        let months = rig.count("audit_months() WHERE ends <= '2026-04-02Z'").await;
        assert_eq!(months, 0);

        // One more line than the retention took.
        rig.force(
            "DELETE FROM audit_events WHERE (chain, seq) IN (SELECT chain, min(seq) FROM audit_events WHERE seq > 1
                 GROUP BY chain ORDER BY min(seq) DESC LIMIT 1)",
        )
        .await;
        let found = rig.verify().await.swap_remove(0).findings;
        assert_eq!(found.len(), 1, "{found:?}");
    })
    .await;
}
