//! A connection to a server of a test's own.

use std::time::{Duration, Instant};

use dynamic_mcp_control_plane::redis::{Redis, RedisConfig, RedisError};
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::readiness::Readiness;
use tokio_util::sync::DropGuard;

/// Generous: it says that something comes at all, the measured time says how soon.
pub const SOON: Duration = Duration::from_secs(15);

pub struct Connected {
    pub redis: Redis,
    pub readiness: Readiness,
    _stop: DropGuard,
}

pub fn config(url: &str) -> RedisConfig {
    RedisConfig {
        url: url.into(),
        is_cluster: false,
        ca_file: None,
        prefix: "test".to_owned(),
    }
}

pub async fn connect(config: &RedisConfig) -> Connected {
    let readiness = Readiness::default();
    readiness.set_loaded();
    let lifecycle = Lifecycle::new(Duration::from_secs(1));
    let redis = Redis::start(config, readiness.clone()).await.unwrap();
    Connected {
        redis,
        readiness,
        _stop: lifecycle.soft().clone().drop_guard(),
    }
}

impl Connected {
    pub async fn set(&self, key: &str, value: &str) -> Result<(), RedisError> {
        let command = redis::cmd("SET").arg(key).arg(value).to_owned();
        self.redis.query(&command).await
    }

    pub async fn get(&self, key: &str) -> Result<Option<String>, RedisError> {
        self.redis.query(redis::cmd("GET").arg(key)).await
    }

    pub async fn publish(&self, channel: &str, message: &str) {
        let command = redis::cmd("PUBLISH").arg(channel).arg(message).to_owned();
        self.redis.query::<()>(&command).await.unwrap();
    }

    /// Waits until it is there, or not there any more. Answers how long that took.
    pub async fn until(&self, up: bool) -> Duration {
        let started = Instant::now();
        let mut watched = self.redis.up();
        tokio::time::timeout(SOON, watched.wait_for(|now| *now == up))
            .await
            .expect("it is noticed")
            .unwrap();
        started.elapsed()
    }

    pub fn is_degraded(&self) -> bool {
        self.readiness.report().degraded.contains_key("redis")
    }
}
