//! What the engine does on the Docker Engine when nobody looks: it removes what nobody owns, and says when it can't work.

use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig};
use dynamic_mcp_executor::docker::config::{DockerConfig, PoolConfig};
use dynamic_mcp_executor::docker::labels::{Kind, labels};
use dynamic_mcp_executor::identity::Identity;
use dynamic_mcp_shared::clock::{Clock as _, SystemClock};
use dynamic_mcp_shared::job::{Job, RejectReason};
use dynamic_mcp_shared::policy::{DEFAULT_IMAGE, SandboxPolicy};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::rig::{DockerRig, small};
use super::server::{Answer, Server};
use crate::rig::{eventually, job, result};

async fn leave_a_container(rig: &DockerRig, owner: &Identity, expires: chrono::Duration) -> String {
    let name = format!("dynamic-mcp-test-{}", dynamic_mcp_shared::ids::JobId::generate());
    let labels = labels(owner, Kind::Sandbox, &name, None, SystemClock.now() + expires);
    let body = ContainerCreateBody {
        image: Some(DEFAULT_IMAGE.to_owned()),
        cmd: Some(vec!["sleep".to_owned(), "600".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let id = rig.client.create(&name, body).await.unwrap();
    rig.client.start(&id).await.unwrap();
    id
}

async fn exists(rig: &DockerRig, id: &str) -> bool {
    rig.client.inspect(id).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_life_is_reaped_and_a_living_neighbour_is_not() {
    let state = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let neighbour = Identity::claim(state.path()).unwrap();
    let stranger = Identity::claim(elsewhere.path()).unwrap();
    let dead = Identity::claim(state.path()).unwrap();
    let hour = chrono::Duration::hours(1);

    let outsider = DockerRig::over(small(), Identity::claim(elsewhere.path()).unwrap());
    let of_dead = leave_a_container(&outsider, &dead, hour).await;
    let of_neighbour = leave_a_container(&outsider, &neighbour, hour).await;
    let of_stranger = leave_a_container(&outsider, &stranger, hour).await;
    let expired = leave_a_container(&outsider, &stranger, -hour).await;
    drop(dead);

    let rig = DockerRig::over(small(), Identity::claim(state.path()).unwrap());
    eventually("what nobody owns is gone", async || {
        !exists(&rig, &of_dead).await && !exists(&rig, &expired).await
    })
    .await;
    rig.until_ready().await;
    assert!(exists(&rig, &of_neighbour).await);
    assert!(exists(&rig, &of_stranger).await);
    for id in [of_neighbour, of_stranger] {
        rig.client.remove(&id).await.unwrap();
    }
    rig.finish().await;
    outsider.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_sandbox_goes_when_it_has_ended_and_is_not_taken_away() {
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Identity::claim(elsewhere.path()).unwrap();
    let rig = DockerRig::start().await;
    let hour = chrono::Duration::hours(1);
    let running = leave_a_container(&rig, &stranger, hour).await;
    let ended = leave_a_container(&rig, &stranger, hour).await;
    rig.client.kill(&ended).await.unwrap();
    eventually("the second look", async || !exists(&rig, &ended).await).await;
    assert!(exists(&rig, &running).await);
    rig.client.remove(&running).await.unwrap();
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_executors_share_one_engine_in_peace() {
    let state = tempfile::tempdir().unwrap();
    let one = DockerRig::over(small(), Identity::claim(state.path()).unwrap());
    let other = DockerRig::over(small(), Identity::claim(state.path()).unwrap());
    tokio::join!(one.until_ready(), other.until_ready());
    let before = one.sandboxes().await;
    // Longer than it takes both to look for what is abandoned.
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(one.sandboxes().await, before);
    assert_eq!(result(&one.call("return 1").await), 1);
    assert_eq!(result(&other.call("return 2").await), 2);
    one.finish().await;
    other.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_engine_refuses_and_says_why() {
    let state = tempfile::tempdir().unwrap();
    let config = DockerConfig {
        host: Some("/nonexistent/docker.sock".to_owned()),
        ..small()
    };
    let rig = DockerRig::over(config, Identity::claim(state.path()).unwrap());
    eventually("the probe", async || {
        let why = rig.engine.status().runtimes[0]
            .unavailable
            .clone()
            .unwrap_or_default();
        why.contains("no socket /nonexistent/docker.sock")
    })
    .await;
    let refused = rig.refusal(job("return 1")).await;
    assert_eq!(refused.reason, RejectReason::Engine);
    rig.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_not_there_or_not_allowed_is_refused_by_name() {
    let state = tempfile::tempdir().unwrap();
    let absent = "127.0.0.1:1/absent:1";
    let config = DockerConfig {
        policy: SandboxPolicy {
            allowed_images: vec![DEFAULT_IMAGE.to_owned(), absent.to_owned()],
            ..SandboxPolicy::default()
        },
        ..small()
    };
    let rig = DockerRig::over(config, Identity::claim(state.path()).unwrap());
    eventually("the first image", async || {
        rig.engine
            .status()
            .images
            .iter()
            .any(|image| image.name == DEFAULT_IMAGE && image.warm > 0)
    })
    .await;
    for image in [absent, "alpine:3"] {
        let job = Job {
            image: image.to_owned(),
            ..job("return 1")
        };
        let refused = rig.refusal(job).await;
        assert_eq!(refused.reason, RejectReason::Unsupported);
        assert!(refused.message.contains(image), "{}", refused.message);
    }
    let status = rig.engine.status();
    let there: Vec<_> = status
        .images
        .iter()
        .map(|image| (image.name.as_str(), image.present))
        .collect();
    assert_eq!(there, [(absent, false), (DEFAULT_IMAGE, true)]);
    rig.finish().await;
}

/// The digest of a manifest of an image that holds nothing but an empty layer, and what a registry serves of it.
fn empty_image() -> (String, Vec<(String, Answer)>) {
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
    let layer = vec![0; 1_024];
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {
        "type": "layers", "diff_ids": [digest(&layer)],
    }});
    let config = config.to_string().into_bytes();
    let blob =
        |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "size": bytes.len(), "digest": digest(bytes)});
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": kind,
        "config": blob("application/vnd.docker.container.image.v1+json", &config),
        "layers": [blob("application/vnd.docker.image.rootfs.diff.tar.gzip", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let pinned = digest(&manifest);
    let path = |what: &str, digest: &str| format!("/v2/empty/{what}/{digest}");
    let served = vec![
        ("/v2/".to_owned(), Answer::of("{}")),
        (path("blobs", &digest(&config)), Answer::of(config)),
        (path("blobs", &digest(&layer)), Answer::of(layer)),
        (
            path("manifests", &pinned),
            Answer {
                content_type: kind,
                body: manifest,
            },
        ),
    ];
    (pinned, served)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_with_a_digest_is_pulled_and_found_by_it() {
    let (digest, served) = empty_image();
    let registry = Server::start(move |_, path| {
        let found = served.iter().find(|(served, _)| served == path)?;
        Some(found.1.clone())
    });
    let image = format!("{}/empty:1@{digest}", registry.address);
    let policy = SandboxPolicy {
        allowed_images: vec![image.clone()],
        require_digest: true,
        ..SandboxPolicy::default()
    };
    assert_eq!(policy.check(), Ok(()));
    let state = tempfile::tempdir().unwrap();
    let config = DockerConfig {
        policy,
        pool: PoolConfig { floor: 0, ceiling: 0 },
        ..small()
    };
    let rig = DockerRig::over(config, Identity::claim(state.path()).unwrap());
    eventually("the pull", async || {
        let status = rig.engine.status();
        status
            .images
            .iter()
            .any(|there| there.name == image && there.present)
    })
    .await;
    rig.engine.shutdown().await;
    let removed = std::process::Command::new("docker")
        .args(["rmi", &image])
        .output();
    assert!(removed.unwrap().status.success());
}
