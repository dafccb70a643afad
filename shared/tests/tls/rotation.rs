//! Certificates that are replaced while both sides talk.

use std::time::Duration;

use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::tls::{Identity, Role};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::rig::{Side, ask, authority, executor, good};

async fn until_shown(side: &Side, not_after: chrono::DateTime<chrono::Utc>) {
    let shown = async {
        while side.trust.certificate().not_after() != not_after {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), shown)
        .await
        .unwrap();
}

/// The last whole second that a certificate can name.
fn end_of(request: &dynamic_mcp_shared::tls::authority::Request) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(request.not_after.timestamp(), 0).unwrap()
}

#[tokio::test]
async fn a_new_authority_takes_over_without_the_end_of_a_connection() {
    let (old, new) = (authority(), authority());
    let control = Side::new(&old, &good(Identity::ControlPlane));
    let one = Side::new(&old, &good(executor("exe_one")));
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    for side in [&control, &one] {
        side.trust.keep_current(&lifecycle, |_| {});
    }
    let served = one.serve(Role::ControlPlane).await;
    let before = control.channel(&served.url(), executor("exe_one"));
    let mut client = HealthClient::new(before.clone());
    let mut running = client
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    running.message().await.unwrap();

    let both = format!("{}{}", old.certificate_pem(), new.certificate_pem());
    for (bundle, authority, days) in [
        (both.as_str(), &old, 2),
        (both.as_str(), &new, 3),
        (new.certificate_pem(), &new, 4),
    ] {
        for (side, identity) in [(&control, Identity::ControlPlane), (&one, executor("exe_one"))] {
            let mut request = good(identity);
            request.not_after += chrono::TimeDelta::days(days);
            side.replace(bundle, authority, &request);
            until_shown(side, end_of(&request)).await;
            control.ask(&served.url(), executor("exe_one")).await.unwrap();
        }
    }
    ask(&before).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(100), running.message()).await;
    assert!(silent.is_err(), "the stream of before ended: {silent:?}");

    let left_behind = Side::trusting(&both, &old, &good(Identity::ControlPlane));
    let said = left_behind
        .ask(&served.url(), executor("exe_one"))
        .await
        .unwrap_err();
    assert!(said.contains("trusts no authority"), "{said}");
    lifecycle.begin_shutdown();
    assert!(lifecycle.finish().await);
}
