//! The Redis that replicas share: how it is reached, and how long anybody waits for it. What is kept there, and what its
//! loss means, is for those who keep it.
//!
//! ```text
//! connecting ──▶ connected ──a command is lost, or a look──▶ connecting …
//!      │ commands fail at once                  │ commands, each within its deadline
//! ```
//!
//! While it is away nobody waits: a command fails at once, and one task tries to get it back.

mod config;
mod error;
mod keeper;
mod keys;
mod link;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::readiness::Readiness;
use parking_lot::RwLock;
use redis::aio::ConnectionLike;
use redis::{Cmd, FromRedisValue, Pipeline, ScriptInvocation};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::config::RedisConfig;
pub use self::error::RedisError;
pub use self::keys::{Keys, SessionCounts};
use self::link::{Dialer, Link};
pub use self::subscription::{Heard, Subscription};

/// What a command may take, the client's own retries included.
const DEADLINE: Duration = Duration::from_millis(500);
/// The part of the server that `/readyz` names while it is away.
const PART: &str = "redis";

/// A handle; all of them share one connection.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    keys: Keys,
    link: RwLock<Option<Link>>,
    /// Whether there is a link.
    up: watch::Sender<bool>,
    /// A command did not come back.
    suspected: Notify,
    keeper: TaskTracker,
    stop: CancellationToken,
}

impl Redis {
    /// Connects, or goes on without for now. What gets it back works until [`Self::stop`]: who shuts down still needs it.
    ///
    /// # Errors
    /// When what is configured can't be an address.
    pub async fn start(config: &RedisConfig, readiness: Readiness) -> Result<Self, RedisError> {
        let redis = Self(Arc::new(Inner {
            dialer: Dialer::new(config)?,
            keys: Keys::new(&config.prefix),
            link: RwLock::default(),
            up: watch::Sender::new(false),
            suspected: Notify::new(),
            keeper: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        redis.first_connect(&readiness).await;
        redis.0.keeper.spawn(redis.clone().keep(readiness));
        redis.0.keeper.close();
        Ok(redis)
    }

    /// To be called when nobody uses it any more.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.keeper.wait().await;
    }

    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Whether it is there, for who must act when that changes.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.0.up.subscribe()
    }

    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.run(async |link| command.query_async(link).await).await
    }

    /// Several commands in one round trip. On a cluster their keys share a tag.
    pub async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, RedisError> {
        self.run(async |link| commands.query_async(link).await).await
    }

    pub async fn invoke<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, RedisError> {
        self.run(async |link| script.invoke_async(link).await).await
    }

    /// What is published on these channels from now on, over a connection of its own.
    pub fn subscribe(&self, channels: Vec<String>) -> Subscription {
        Subscription::new(self.0.dialer.clone(), channels)
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&mut Link) -> redis::RedisResult<T>,
    ) -> Result<T, RedisError> {
        let link = self.0.link.read().clone();
        let mut link = link.ok_or(RedisError::Away)?;
        let answer = tokio::time::timeout(DEADLINE, work(&mut link)).await;
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => RedisError::from(error),
            Err(_) => RedisError::late(),
        };
        if error.is_loss() {
            self.0.suspected.notify_one();
        }
        Err(error)
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("up", &*self.0.up.borrow())
            .finish_non_exhaustive()
    }
}

/// That a command comes back. A ping would not do: the nodes of a cluster that has lost slots answer it.
async fn look_up(link: &mut impl ConnectionLike, keys: &Keys) -> Result<(), RedisError> {
    let mut command = redis::cmd("EXISTS");
    command.arg(keys.looked_up());
    match tokio::time::timeout(DEADLINE, command.query_async::<()>(link)).await {
        Ok(answer) => answer.map_err(RedisError::from),
        Err(_) => Err(RedisError::late()),
    }
}
