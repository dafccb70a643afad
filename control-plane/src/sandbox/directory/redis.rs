//! The directory that replicas share. Each change is one script, by Redis's own time.

use std::sync::LazyLock;
use std::time::Duration;

use ::redis::Script;
use async_trait::async_trait;
use dynamic_mcp_shared::ids::SandboxId;

use super::{Announced, Claim, Directory, DirectoryLost, Found, Most, Times};
use crate::redis::{Redis, RedisError};
use crate::sandbox::{Owner, Session};

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/claim.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/settle.lua")));
static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/end.lua")));
static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/announce.lua")));
static GENERATION: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/generation.lua")));
static IS_FILLING: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/is_filling.lua")));
static OF_OWNER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/of_owner.lua")));

pub struct RedisDirectory {
    redis: Redis,
    times: Times,
}

impl RedisDirectory {
    pub fn new(redis: Redis, times: Times) -> Self {
        Self { redis, times }
    }

    /// The keys of a session, in the order in which the scripts take them.
    fn keys(&self, session: &Session) -> [String; 4] {
        let keys = self.redis.keys();
        [
            keys.sandbox(&session.id),
            keys.sandboxes(),
            keys.sandboxes_of_tenant(&session.tenant),
            keys.sandboxes_of_owner(&session.tenant, &session.owner),
        ]
    }
}

#[async_trait]
impl Directory for RedisDirectory {
    async fn claim(&self, session: &Session, most: Most) -> Result<Claim, DirectoryLost> {
        let mut call = CLAIM.key(&self.keys(session)[..]);
        call.arg(session.id.as_str())
            .arg(record(session))
            .arg(home(session))
            .arg(millis(self.times.opening))
            .arg(millis(self.times.kept))
            .arg(most.in_all)
            .arg(most.of_tenant);
        let made: String = self.redis.invoke(&call).await?;
        Ok(match made.as_str() {
            "made" => Claim::Made,
            "tenant" => Claim::TenantFull,
            _ => Claim::Full,
        })
    }

    async fn settle(&self, session: &Session) -> Result<bool, DirectoryLost> {
        let mut call = SETTLE.key(&self.keys(session)[..]);
        call.arg(session.id.as_str())
            .arg(record(session))
            .arg(home(session))
            .arg(millis(self.times.announced))
            .arg(millis(self.times.kept));
        Ok(self.redis.invoke(&call).await?)
    }

    async fn find(&self, id: &SandboxId) -> Result<Option<Found>, DirectoryLost> {
        let command = ::redis::cmd("HMGET")
            .arg(self.redis.keys().sandbox(id))
            .arg("state")
            .arg("record")
            .to_owned();
        let (state, record): (Option<String>, Option<String>) = self.redis.query(&command).await?;
        let session = record.as_deref().and_then(parsed);
        Ok(match (state.as_deref(), session) {
            (Some("open"), Some(session)) => Some(Found::Open(session)),
            (Some("ended"), Some(session)) => Some(Found::Ended(session)),
            _ => None,
        })
    }

    async fn end(&self, session: &Session) -> Result<bool, DirectoryLost> {
        let mut call = END.key(&self.keys(session)[..]);
        call.arg(session.id.as_str())
            .arg(record(session))
            .arg(home(session))
            .arg(millis(self.times.kept));
        Ok(self.redis.invoke(&call).await?)
    }

    async fn of_owner(&self, owner: &Owner) -> Result<Vec<Session>, DirectoryLost> {
        let keys = self.redis.keys();
        let index = keys.sandboxes_of_owner(&owner.tenant, &owner.key);
        let ids: Vec<String> = self.redis.invoke(&OF_OWNER.key(index)).await?;
        let mut commands = ::redis::pipe();
        for id in ids.iter().filter_map(|id| id.parse().ok()) {
            commands
                .cmd("HMGET")
                .arg(keys.sandbox(&id))
                .arg("state")
                .arg("record");
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<(Option<String>, Option<String>)> = self.redis.pipeline(&commands).await?;
        let mut sessions: Vec<_> = found
            .into_iter()
            .filter(|(state, _)| state.as_deref() == Some("open"))
            .filter_map(|(_, record)| parsed(&record?))
            .filter(|session| session.is_of(owner))
            .collect();
        sessions.sort_by(|one, other| (one.created_ms, &one.id).cmp(&(other.created_ms, &other.id)));
        Ok(sessions)
    }

    async fn announce(&self, session: &Session) -> Result<Announced, DirectoryLost> {
        let mut call = ANNOUNCE.key(&self.keys(session)[..]);
        call.arg(session.id.as_str())
            .arg(record(session))
            .arg(home(session))
            .arg(millis(self.times.announced))
            .arg(millis(self.times.kept));
        let wanted: bool = self.redis.invoke(&call).await?;
        Ok(if wanted {
            Announced::Known
        } else {
            Announced::Unwanted
        })
    }

    async fn generation(&self) -> Result<u64, DirectoryLost> {
        let mut call = GENERATION.key(self.redis.keys().sandbox_generation());
        call.arg(rand::random::<u64>()).arg(millis(self.times.kept));
        Ok(self.redis.invoke(&call).await?)
    }

    async fn is_filling(&self) -> Result<bool, DirectoryLost> {
        let mut call = IS_FILLING.key(self.redis.keys().sandbox_generation());
        call.arg(millis(self.times.filling));
        Ok(self.redis.invoke(&call).await?)
    }
}

impl From<RedisError> for DirectoryLost {
    fn from(error: RedisError) -> Self {
        Self(error.to_string())
    }
}

#[expect(clippy::expect_used, reason = "strings and numbers always serialize")]
fn record(session: &Session) -> String {
    serde_json::to_string(session).expect("a session serializes")
}

fn parsed(record: &str) -> Option<Session> {
    serde_json::from_str(record).ok()
}

fn home(session: &Session) -> String {
    format!("{}@{}", session.home.executor, session.home.epoch)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
