//! Commands that go on after their job has ended, and what is remembered of them.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use dynamic_mcp_shared::ids::CommandId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::captured::{Cut, Transcript};
use super::commands::Ran;

/// Commands that a session remembers; those that have ended give way to new ones.
const REMEMBERED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandState {
    Running,
    Exited,
    Killed,
    TimedOut,
}

/// How a command in the background is right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandStatus {
    pub id: CommandId,
    pub state: CommandState,
    /// JSON: one entry for each command that has begun.
    pub commands: Vec<u8>,
    pub started: DateTime<Utc>,
    pub ended: Option<DateTime<Utc>>,
}

#[derive(Debug)]
pub(super) struct Background {
    pub id: CommandId,
    pub transcript: Transcript,
    pub kill: CancellationToken,
    started: DateTime<Utc>,
    end: watch::Sender<Option<End>>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    state: CommandState,
    at: DateTime<Utc>,
}

impl Background {
    pub(super) fn new(id: CommandId, transcript: Transcript, started: DateTime<Utc>) -> Self {
        Self {
            id,
            transcript,
            kill: CancellationToken::new(),
            started,
            end: watch::Sender::new(None),
        }
    }

    pub(super) fn has_ended(&self, ran: Ran, at: DateTime<Utc>) {
        let state = match ran {
            Ran::Through { .. } => CommandState::Exited,
            Ran::Cut { by: Cut::Killed, .. } => CommandState::Killed,
            Ran::Cut {
                by: Cut::TimedOut, ..
            } => CommandState::TimedOut,
        };
        self.end.send_replace(Some(End { state, at }));
    }

    pub(super) fn is_running(&self) -> bool {
        self.end.borrow().is_none()
    }

    pub(super) async fn ended(&self) {
        // The sender is in `self`, so it can't be gone.
        let mut end = self.end.subscribe();
        let _never_closed = end.wait_for(Option::is_some).await;
    }

    pub(super) fn status(&self) -> CommandStatus {
        let end = *self.end.borrow();
        CommandStatus {
            id: self.id.clone(),
            state: end.map_or(CommandState::Running, |end| end.state),
            commands: serde_json::to_vec(&self.transcript.reports()).unwrap_or_default(),
            started: self.started,
            ended: end.map(|end| end.at),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Backgrounds(VecDeque<Arc<Background>>);

impl Backgrounds {
    /// Whether there is room for another one; the oldest that has ended makes it.
    pub(super) fn make_room(&mut self) -> bool {
        if self.0.len() < REMEMBERED {
            return true;
        }
        let ended = self.0.iter().position(|one| !one.is_running());
        ended.is_some_and(|at| self.0.remove(at).is_some())
    }

    pub(super) fn add(&mut self, background: Arc<Background>) {
        self.0.push_back(background);
    }

    pub(super) fn get(&self, id: &CommandId) -> Option<Arc<Background>> {
        self.0.iter().find(|one| one.id == *id).cloned()
    }

    pub(super) fn running(&self) -> usize {
        self.0.iter().filter(|one| one.is_running()).count()
    }
}
