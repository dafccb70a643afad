//! What is done with sessions, beside the work in them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::ids::{CommandId, ExecutorId, SandboxId};
use dynamic_mcp_shared::job::RejectReason;
use dynamic_mcp_shared::lifecycle::Lifecycle;
use dynamic_mcp_shared::limits::{ByteSize, TimeoutMs};
use moka::sync::Cache;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::home::{self, NoHome};
use super::{
    Claim, Directory, FileLimits, Found, Home, Listing, Most, NewFile, Owner, ReadFile, SandboxError,
    Session, Written,
};
use crate::scheduler::fleet::{Fleet, NotThere, Reservation};
use crate::scheduler::session_client::{self, Lifetime, NotOpened, SessionCallError};

/// On how many nodes a session that could not be opened is tried.
const MAX_ATTEMPTS: usize = 3;
/// How long a node may take to make a session's container.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// How long an executor that is not in the fleet may take to come back before its sessions count as lost: a stream that
/// broke is made anew within a second.
const COMES_BACK_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a replica that has just started may not have heard of an executor that is there: to tell somebody that a session
/// is lost would lose it. One whose control plane was away tries again after LONGEST_PAUSE with as much jitter on it
/// (executor/src/fleet.rs), 10 s, and has CONNECT (executor/src/fleet/membership.rs), 5 s, to get through.
const KNOWS_ALL_AFTER: Duration = Duration::from_secs(20);
/// How many executors' lives it is remembered of that they were there.
const SEEN_KEPT: usize = 20_000;
/// How long it is known here where a session lives. Its executor checks whose it is each time.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
const REMEMBERED: u64 = 10_000;
/// Attempts to stop a session that nobody may use, and the rest between them.
const STOP_ATTEMPTS: u32 = 5;
const STOP_AGAIN_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Of the whole deployment.
    pub max_sessions: u32,
    pub idle: Duration,
    pub max_life: Duration,
    pub files: FileLimits,
}

/// What a session is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub image: String,
    pub timeout: TimeoutMs,
    pub max_memory: Option<ByteSize>,
    /// Sessions that its tenant may have.
    pub max_of_tenant: u32,
}

pub struct Sandboxes {
    directory: Arc<dyn Directory>,
    fleet: Arc<Fleet>,
    config: SandboxConfig,
    clock: Arc<dyn Clock>,
    lifecycle: Lifecycle,
    /// Under whose they are as well, so that not even the time of an answer tells somebody else of them.
    remembered: Cache<(SandboxId, Owner), Session>,
    began: Instant,
    /// Whoever of them is not there now has gone.
    seen: Mutex<HashSet<Home>>,
}

impl Sandboxes {
    pub fn new(
        directory: Arc<dyn Directory>,
        fleet: Arc<Fleet>,
        config: SandboxConfig,
        clock: Arc<dyn Clock>,
        lifecycle: Lifecycle,
    ) -> Self {
        let remembered = Cache::builder()
            .time_to_live(REMEMBERED_FOR)
            .max_capacity(REMEMBERED)
            .build();
        Self {
            directory,
            fleet,
            config,
            clock,
            lifecycle,
            remembered,
            began: Instant::now(),
            seen: Mutex::default(),
        }
    }

    pub fn config(&self) -> &SandboxConfig {
        &self.config
    }

    /// Opens a session. Each attempt has a name of its own, and one whose end is not clear is stopped: nothing that is
    /// handed out is in two places.
    ///
    /// # Errors
    /// When there are as many as may be, or no node could make one.
    pub async fn open(&self, owner: &Owner, wanted: &Wanted) -> Result<Session, SandboxError> {
        let mut tried: Vec<ExecutorId> = Vec::new();
        let mut last = None;
        while tried.len() < MAX_ATTEMPTS {
            let home = match home::find(&self.fleet, &wanted.image, &tried).await {
                Ok(home) => home,
                Err(none) => return Err(last.unwrap_or_else(|| none.into())),
            };
            tried.push(home.executor.clone());
            let Ok(node) = self.fleet.pinned(&home.executor, home.epoch) else {
                continue;
            };
            match self.open_on(&node, home, owner, wanted).await {
                Err(error @ SandboxError::NoPlace { .. }) => last = Some(error),
                ended => return ended,
            }
        }
        Err(last.unwrap_or_else(|| NoHome::NotReady.into()))
    }

    async fn open_on(
        &self,
        node: &Reservation,
        home: Home,
        owner: &Owner,
        wanted: &Wanted,
    ) -> Result<Session, SandboxError> {
        let now = self.clock.now().timestamp_millis();
        let mut session = Session {
            id: SandboxId::generate(),
            tenant: owner.tenant.clone(),
            owner: owner.key.clone(),
            image: wanted.image.clone(),
            timeout: wanted.timeout,
            home,
            created_ms: now,
            last_used_ms: now,
        };
        let most = Most {
            in_all: self.config.max_sessions,
            of_tenant: wanted.max_of_tenant,
        };
        // A claim whose answer is lost, or that nobody waits for any more, may have been made.
        let mut unless_settled = Abandoned {
            sandboxes: self,
            session: Some(session.clone()),
        };
        let full = match self.directory.claim(&session, most).await? {
            Claim::Made => None,
            Claim::Full => Some((most.in_all, false)),
            Claim::TenantFull => Some((most.of_tenant, true)),
        };
        if let Some((limit, by_tenant)) = full {
            unless_settled.session = None;
            return Err(SandboxError::Full { limit, by_tenant });
        }
        let lifetime = Lifetime {
            idle: self.config.idle,
            max: self.config.max_life,
        };
        let opened = session_client::open(node, &session, lifetime, wanted.max_memory, OPEN_DEADLINE).await;
        session.created_ms = opened.map_err(no_place)?;
        session.last_used_ms = session.created_ms;
        if !self.directory.settle(&session).await? {
            return Err(SandboxError::NoPlace {
                why: "it took too long".to_owned(),
                may_pass: true,
            });
        }
        unless_settled.session = None;
        self.remember(owner, &session);
        Ok(session)
    }

    /// A session of the owner's, by its id as it came in, and the way to it.
    ///
    /// # Errors
    /// When it is not the owner's, or is not there any more.
    pub async fn reach(&self, owner: &Owner, id: &str) -> Result<(Session, Reservation), SandboxError> {
        let session = match self.find(owner, id).await? {
            Some(Found::Open(session)) => session,
            Some(Found::Ended(_)) => {
                return Err(SandboxError::Lost {
                    why: "it was stopped, was idle for too long, reached its time limit or lost its executor"
                        .to_owned(),
                });
            }
            None => return Err(SandboxError::Unknown),
        };
        match self.at_home(&session).await {
            Ok(node) => {
                self.see(&session.home);
                Ok((session, node))
            }
            Err(NotThere::Stale { id, seconds }) => {
                let why = format!("executor {id} has not been heard of for {seconds} s");
                Err(SandboxError::Unreachable { why })
            }
            Err(NotThere::Unknown(_)) if !self.would_know(&session.home) => {
                let why = "this server has just started and waits for its executors".to_owned();
                Err(SandboxError::Unreachable { why })
            }
            Err(gone @ (NotThere::Unknown(_) | NotThere::OtherEpoch { .. })) => {
                Err(self.lost(&session, gone.to_string()).await)
            }
        }
    }

    /// Takes note of an executor that is in the fleet.
    pub(super) fn see(&self, home: &Home) {
        let mut seen = self.seen.lock();
        if seen.contains(home) {
            return;
        }
        if seen.len() >= SEEN_KEPT {
            seen.clear();
        }
        seen.insert(home.clone());
    }

    /// Whether an executor would be in the fleet if it were there.
    fn would_know(&self, home: &Home) -> bool {
        self.began.elapsed() >= KNOWS_ALL_AFTER || self.seen.lock().contains(home)
    }

    /// To whoever does not have it, one that is somebody else's is as one that never was, while the directory fills as well.
    async fn find(&self, owner: &Owner, id: &str) -> Result<Option<Found>, SandboxError> {
        let found = match id.parse() {
            Ok(id) => self.look_up(owner, id).await?,
            Err(_) => None,
        };
        if found.is_none() && self.directory.is_filling().await? {
            return Err(SandboxError::Filling);
        }
        Ok(found)
    }

    async fn look_up(&self, owner: &Owner, id: SandboxId) -> Result<Option<Found>, SandboxError> {
        if let Some(session) = self.remembered.get(&(id.clone(), owner.clone())) {
            return Ok(Some(Found::Open(session)));
        }
        let found = self.directory.find(&id).await?;
        let found = found.filter(|found| {
            let (Found::Open(session) | Found::Ended(session)) = found;
            session.is_of(owner)
        });
        if let Some(Found::Open(session)) = &found {
            self.remember(owner, session);
        }
        Ok(found)
    }

    async fn at_home(&self, session: &Session) -> Result<Reservation, NotThere> {
        let Home { executor, epoch } = &session.home;
        let give_up_at = Instant::now() + COMES_BACK_WITHIN;
        loop {
            let changed = self.fleet.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.fleet.pinned(executor, *epoch) {
                // An older one than the session's has not noticed yet that it is gone.
                Err(NotThere::OtherEpoch { current, .. }) if current < *epoch => {}
                Err(NotThere::Unknown(_)) => {}
                known => return known,
            }
            if tokio::time::timeout_at(give_up_at, changed).await.is_err() {
                return self.fleet.pinned(executor, *epoch);
            }
        }
    }

    /// It is not where it was. From now on that is so everywhere: if its executor should come back with it, it stops it.
    pub async fn lost(&self, session: &Session, why: String) -> SandboxError {
        self.forget(session);
        if let Err(error) = self.directory.end(session).await {
            tracing::warn!(%error, sandbox.id = %session.id, "a session that was lost is not known as such to other replicas");
        }
        SandboxError::Lost { why }
    }

    /// Answers whether it was there until now. One that never was, and one of somebody else's, was not.
    ///
    /// # Errors
    /// When it can't be told, or its executor does not answer; it then stops it as soon as it is back.
    pub async fn stop(&self, owner: &Owner, id: &str) -> Result<bool, SandboxError> {
        let Some(Found::Open(session)) = self.find(owner, id).await? else {
            return Ok(false);
        };
        self.forget(&session);
        let known = self.directory.end(&session).await;
        let Home { executor, epoch } = &session.home;
        let stopped = match self.fleet.pinned(executor, *epoch) {
            Ok(node) => {
                session_client::stop(&node, &session)
                    .await
                    .map_err(|error| SandboxError::Unreachable {
                        why: error.to_string(),
                    })
            }
            Err(NotThere::OtherEpoch { .. }) => Ok(false),
            Err(gone) => Err(SandboxError::Unreachable {
                why: gone.to_string(),
            }),
        };
        match (stopped, known) {
            (Ok(stopped), _) => Ok(stopped),
            // Whoever announces it is told to stop it.
            (Err(_), Ok(was_open)) => Ok(was_open),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// # Errors
    /// When it can't be told.
    pub async fn list(&self, owner: &Owner) -> Result<Vec<Session>, SandboxError> {
        Ok(self.directory.of_owner(owner).await?)
    }

    /// # Errors
    /// When the session is not there, or the executor did not do it.
    pub async fn write_files(
        &self,
        owner: &Owner,
        id: &str,
        files: Vec<NewFile>,
    ) -> Result<Written, SandboxError> {
        let (session, node) = self.reach(owner, id).await?;
        let written = session_client::write_files(&node, &session, files).await;
        self.settled(&session, written, unclear).await
    }

    /// # Errors
    /// As [`Self::write_files`].
    pub async fn read_files(
        &self,
        owner: &Owner,
        id: &str,
        paths: Vec<String>,
    ) -> Result<Vec<ReadFile>, SandboxError> {
        let (session, node) = self.reach(owner, id).await?;
        let read = session_client::read_files(&node, &session, paths, self.config.files).await;
        self.settled(&session, read, unreachable).await
    }

    /// `peek`: it is no use of the session, which may become idle all the same.
    ///
    /// # Errors
    /// As [`Self::write_files`].
    pub async fn list_files(
        &self,
        owner: &Owner,
        id: &str,
        path: String,
        recursive: bool,
        max_entries: u32,
        peek: bool,
    ) -> Result<Listing, SandboxError> {
        let (session, node) = self.reach(owner, id).await?;
        let listed = session_client::list_files(&node, &session, path, recursive, max_entries, peek).await;
        self.settled(&session, listed, unreachable).await
    }

    /// A command in the background, as JSON; `None`: the session has no such.
    ///
    /// # Errors
    /// As [`Self::write_files`].
    pub async fn command(
        &self,
        owner: &Owner,
        id: &str,
        command: &CommandId,
    ) -> Result<Option<Value>, SandboxError> {
        let (session, node) = self.reach(owner, id).await?;
        let shown = session_client::get_command(&node, &session, command.to_string()).await;
        self.settled(&session, shown, unreachable).await
    }

    /// As [`Self::command`], of one that ends now.
    ///
    /// # Errors
    /// As [`Self::write_files`].
    pub async fn kill_command(
        &self,
        owner: &Owner,
        id: &str,
        command: &CommandId,
    ) -> Result<Option<Value>, SandboxError> {
        let (session, node) = self.reach(owner, id).await?;
        let shown = session_client::kill_command(&node, &session, command.to_string()).await;
        self.settled(&session, shown, unclear).await
    }

    /// Stops what nobody may use, on the executor that has it, as often as it takes.
    pub(super) fn stop_unwanted(&self, session: Session) {
        let fleet = self.fleet.clone();
        self.lifecycle.spawn(async move {
            for _ in 0..STOP_ATTEMPTS {
                match fleet.pinned(&session.home.executor, session.home.epoch) {
                    Ok(node) => {
                        if session_client::stop(&node, &session).await.is_ok() {
                            return;
                        }
                    }
                    Err(NotThere::OtherEpoch { .. }) => return,
                    Err(_) => {}
                }
                tokio::time::sleep(STOP_AGAIN_AFTER).await;
            }
            // It is announced when its executor is back, and stopped then.
            tracing::warn!(sandbox.id = %session.id, executor.id = %session.home.executor, "an unwanted sandbox session could not be stopped");
        });
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn directory(&self) -> &dyn Directory {
        self.directory.as_ref()
    }

    /// `without_answer`: what it is when the executor may have done it or not.
    async fn settled<T>(
        &self,
        session: &Session,
        answer: Result<T, SessionCallError>,
        without_answer: fn(String) -> SandboxError,
    ) -> Result<T, SandboxError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(lost @ SessionCallError::Lost) => Err(self.lost(session, lost.to_string()).await),
            Err(SessionCallError::Refused(why)) => Err(SandboxError::Refused { why }),
            Err(SessionCallError::Unclear(why)) => Err(without_answer(why)),
        }
    }

    fn remember(&self, owner: &Owner, session: &Session) {
        let key = (session.id.clone(), owner.clone());
        self.remembered.insert(key, session.clone());
    }

    pub(super) fn forget(&self, session: &Session) {
        let owner = Owner {
            tenant: session.tenant.clone(),
            key: session.owner.clone(),
        };
        self.remembered.invalidate(&(session.id.clone(), owner));
    }

    /// The directory may be away for as long as it takes a connection to come back.
    async fn abandon(directory: Arc<dyn Directory>, session: Session) {
        for _ in 0..STOP_ATTEMPTS {
            if directory.end(&session).await.is_ok() {
                return;
            }
            tokio::time::sleep(STOP_AGAIN_AFTER).await;
        }
        tracing::warn!(sandbox.id = %session.id, "a session that could not be opened holds its place for a while");
    }
}

/// A claim that came to nothing, or whose caller went away: the place is free again, and whatever was made is stopped.
struct Abandoned<'a> {
    sandboxes: &'a Sandboxes,
    session: Option<Session>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let end = Sandboxes::abandon(self.sandboxes.directory.clone(), session.clone());
        self.sandboxes.lifecycle.spawn(end);
        self.sandboxes.stop_unwanted(session);
    }
}

/// Of what changes nothing.
fn unreachable(why: String) -> SandboxError {
    SandboxError::Unreachable { why }
}

fn unclear(why: String) -> SandboxError {
    SandboxError::Unclear { why }
}

fn no_place(not_opened: NotOpened) -> SandboxError {
    match not_opened {
        NotOpened::Unclear(why) => SandboxError::NoPlace { why, may_pass: true },
        NotOpened::Rejected(rejection) => SandboxError::NoPlace {
            may_pass: !matches!(
                rejection.reason,
                RejectReason::Unsupported | RejectReason::Dependencies
            ),
            why: rejection.message,
        },
    }
}
