//! One sandbox session: whose it is, what runs in it, and when it was used.

use std::sync::Arc;
use std::time::Duration;

use dynamic_mcp_shared::clock::Clock;
use dynamic_mcp_shared::content::sha256_hex;
use dynamic_mcp_shared::ids::CommandId;
use dynamic_mcp_shared::job::{RejectReason, Rejection, SandboxSession};
use dynamic_mcp_shared::limits::ByteSize;
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::background::{Background, Backgrounds, CommandStatus};
use super::captured::{Exit, unable};
use super::commands::Ran;
use super::frames::{Order, Word};
use super::{Lost, path};
use crate::engine::Engine;

/// Commands, runs of code and commands in the background at once.
pub(super) const MOST_AT_ONCE: usize = 8;
/// Transfers of files at once.
const TRANSFERS: usize = 4;
/// Of an archive of packages, as it is read; unpacked it has to fit the workspace.
const MAX_ARCHIVE_BYTES: u64 = 512 << 20;

pub struct Session {
    told: SandboxSession,
    pub(super) agent: Arc<Agent>,
    pub(super) memory: ByteSize,
    pub(super) pids: i64,
    pub(super) clock: Arc<dyn Clock>,
    idle: Duration,
    ends_at: Instant,
    use_of: Mutex<UseOf>,
    pub(super) at_once: Arc<Semaphore>,
    pub(super) transfers: Semaphore,
    pub(super) listings: Arc<Semaphore>,
    backgrounds: Mutex<Backgrounds>,
    /// The lock whose packages the workspace offers; whoever holds it installs.
    packages: tokio::sync::Mutex<Option<String>>,
    pub(super) stop: CancellationToken,
    /// Nothing of it is left but what the engine removes.
    pub(super) ended: CancellationToken,
}

#[derive(Debug)]
struct UseOf {
    uses: usize,
    last: Instant,
    last_ms: i64,
}

/// The session is in use until this is dropped.
pub(super) struct InUse(Arc<Session>);

/// One of the things that run in a session at once.
pub(super) struct Seat {
    pub session: Arc<Session>,
    _use: InUse,
    _permit: OwnedSemaphorePermit,
}

/// What a session is made of.
pub(super) struct Parts {
    pub told: SandboxSession,
    pub agent: Arc<Agent>,
    pub memory: ByteSize,
    pub pids: i64,
    pub clock: Arc<dyn Clock>,
    /// Turns that all sessions share.
    pub listings: Arc<Semaphore>,
    pub idle: Duration,
    pub lives: Duration,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Stopped,
    Idle,
    Old,
    Lost,
}

impl Why {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Why::Stopped => "stopped",
            Why::Idle => "idle",
            Why::Old => "max_age",
            Why::Lost => "lost",
        }
    }
}

impl Session {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            use_of: Mutex::new(UseOf {
                uses: 0,
                last: now,
                last_ms: parts.told.last_used_ms,
            }),
            told: parts.told,
            agent: parts.agent,
            memory: parts.memory,
            pids: parts.pids,
            clock: parts.clock,
            idle: parts.idle,
            ends_at: now + parts.lives,
            at_once: Arc::new(Semaphore::new(MOST_AT_ONCE)),
            transfers: Semaphore::new(TRANSFERS),
            listings: parts.listings,
            backgrounds: Mutex::default(),
            packages: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        })
    }

    /// As it is right now.
    pub fn snapshot(&self) -> SandboxSession {
        SandboxSession {
            last_used_ms: self.use_of.lock().last_ms,
            ..self.told.clone()
        }
    }

    pub(super) fn told(&self) -> &SandboxSession {
        &self.told
    }

    pub(super) fn in_use(self: &Arc<Self>) -> InUse {
        let mut use_of = self.use_of.lock();
        use_of.uses += 1;
        self.touch(&mut use_of);
        drop(use_of);
        InUse(Arc::clone(self))
    }

    fn touch(&self, use_of: &mut UseOf) {
        use_of.last = Instant::now();
        use_of.last_ms = self.clock.now().timestamp_millis();
    }

    /// A place for one more command.
    pub(super) fn seat(self: &Arc<Self>) -> Result<Seat, Rejection> {
        let permit = Arc::clone(&self.at_once)
            .try_acquire_owned()
            .map_err(|_| Rejection {
                reason: RejectReason::SessionBusy,
                message: format!(
                    "{MOST_AT_ONCE} commands run in the sandbox session already; wait for one to end, or kill one"
                ),
            })?;
        Ok(Seat {
            session: Arc::clone(self),
            _use: self.in_use(),
            _permit: permit,
        })
    }

    /// Completes when the session has to end, with the reason.
    pub(super) async fn ending(&self) -> Why {
        loop {
            let idle_at = {
                let use_of = self.use_of.lock();
                if use_of.uses == 0 && use_of.last.elapsed() >= self.idle {
                    return Why::Idle;
                }
                // One that is in use is looked at again when it could be idle at the earliest.
                let from = if use_of.uses == 0 {
                    use_of.last
                } else {
                    Instant::now()
                };
                from + self.idle
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Why::Stopped,
                () = self.agent.gone() => return Why::Lost,
                () = sleep_until(self.ends_at) => return Why::Old,
                () = sleep_until(idle_at) => {}
            }
        }
    }

    // ---- commands in the background

    pub(super) fn remember(&self, background: Arc<Background>) -> Result<(), Rejection> {
        let refused = |message: String| Rejection {
            reason: RejectReason::SessionBusy,
            message,
        };
        let mut backgrounds = self.backgrounds.lock();
        if backgrounds.get(&background.id).is_some() {
            let message = format!("a command {} is there already", background.id);
            return Err(refused(message));
        }
        if !backgrounds.make_room() {
            let message = "as many commands run in the background as the session remembers; kill one";
            return Err(refused(message.to_owned()));
        }
        backgrounds.add(background);
        Ok(())
    }

    pub(super) fn has_ended_in_background(&self, background: &Background, ran: Ran) {
        background.has_ended(ran, self.clock.now());
        self.backgrounds.lock().keep_within_bounds(&background.id);
    }

    pub fn command(&self, id: &CommandId) -> Option<CommandStatus> {
        self.backgrounds
            .lock()
            .get(id)
            .map(|background| background.status())
    }

    /// Ends a command in the background and answers with how it is then.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub async fn kill_command(self: &Arc<Self>, id: &CommandId) -> Result<Option<CommandStatus>, Lost> {
        let _use = self.in_use();
        let Some(background) = self.backgrounds.lock().get(id) else {
            return Ok(None);
        };
        background.kill.cancel();
        tokio::select! {
            () = background.ended() => Ok(Some(background.status())),
            () = self.agent.gone() => Err(Lost),
        }
    }

    pub(super) fn running_in_background(&self) -> usize {
        self.backgrounds.lock().running()
    }

    // ---- packages

    /// Makes exactly these packages what code in the workspace finds, once for each lock unless a command removed them.
    pub(super) async fn install(
        self: &Arc<Self>,
        engine: &Arc<dyn Engine>,
        lock: &[u8],
    ) -> Result<(), Rejection> {
        let key = sha256_hex(lock)[..16].to_owned();
        let mut offered = self.packages.lock().await;
        if offered.as_deref() == Some(&key) && self.offers(&key).await.map_err(no_longer)? {
            return Ok(());
        }
        *offered = None;
        self.unpack(engine, lock, &key).await?;
        *offered = Some(key);
        Ok(())
    }

    async fn offers(&self, key: &str) -> Result<bool, Lost> {
        #[derive(Serialize)]
        struct Offers {
            folder: String,
        }
        #[derive(Deserialize)]
        struct Offered {
            there: bool,
        }
        let wanted = Offers {
            folder: folder_of(key),
        };
        let mut line = self.agent.transfer(Order::Offers, &wanted).await?;
        let frame = line.answer().await?;
        line.is_over();
        Ok(serde_json::from_slice(&frame.payload).is_ok_and(|Offered { there }| there))
    }

    async fn unpack(&self, engine: &Arc<dyn Engine>, lock: &[u8], key: &str) -> Result<(), Rejection> {
        #[derive(Serialize)]
        struct Unpack {
            program: &'static str,
            folder: String,
            max: u64,
        }
        let refused = |message: String| Rejection {
            reason: RejectReason::Dependencies,
            message,
        };
        let mut archive = engine.packages(&self.told.tenant, &self.told.image, lock).await?;
        let wanted = Unpack {
            program: "unpack",
            folder: folder_of(key),
            max: 2_000,
        };
        let mut line = self.agent.start(&wanted).await.map_err(no_longer)?;
        let mut read = 0;
        while let Some(chunk) = archive.next().await {
            let chunk = chunk.map_err(|message| Rejection {
                reason: RejectReason::Engine,
                message,
            })?;
            read += chunk.len() as u64;
            if read > MAX_ARCHIVE_BYTES {
                return Err(refused(format!(
                    "the packages are more than {} in a sandbox session",
                    ByteSize(MAX_ARCHIVE_BYTES)
                )));
            }
            line.input(&chunk).await.map_err(no_longer)?;
        }
        line.input(&[]).await.map_err(no_longer)?;
        let mut said = String::new();
        loop {
            let frame = line.next().await.map_err(no_longer)?;
            match frame.word {
                Word::Exited => {
                    let exit = Exit::read(&frame);
                    let why = match (exit.code, exit.problem) {
                        (Some(0), None) => return Ok(()),
                        (_, Some(problem)) => problem,
                        _ => said,
                    };
                    return Err(refused(format!(
                        "the packages could not be put into the sandbox session: {}",
                        why.trim().chars().take(500).collect::<String>()
                    )));
                }
                Word::Unable => return Err(refused(unable(&frame))),
                Word::Stderr if said.len() < 2_000 => said.push_str(&String::from_utf8_lossy(&frame.payload)),
                _ => {}
            }
        }
    }
}

/// Where the packages of a lock are unpacked.
fn folder_of(key: &str) -> String {
    format!("{}/.packages/{key}", path::WORKSPACE)
}

fn no_longer(lost: Lost) -> Rejection {
    Rejection {
        reason: RejectReason::SessionLost,
        message: lost.to_string(),
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let session = &self.0;
        let mut use_of = session.use_of.lock();
        use_of.uses -= 1;
        session.touch(&mut use_of);
    }
}
