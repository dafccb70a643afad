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
/// What those that have ended may take of memory, the last one apart: what the others printed gives way, the oldest first.
const MOST_OF_ENDED: usize = 8 << 20;

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

    /// One more has ended.
    pub(super) fn keep_within_bounds(&mut self, last: &CommandId) {
        let ended = self.0.iter().filter(|one| one.id != *last && !one.is_running());
        let ended: Vec<_> = ended.collect();
        let mut all: usize = ended.iter().map(|one| one.transcript.bytes()).sum();
        for one in ended {
            if all <= MOST_OF_ENDED {
                return;
            }
            all -= one.transcript.bytes();
            one.transcript.forget_output();
            all += one.transcript.bytes();
        }
    }

    pub(super) fn running(&self) -> usize {
        self.0.iter().filter(|one| one.is_running()).count()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sandbox::captured::Exit;
    use crate::sandbox::frames::{Frame, Word};

    /// One that printed so many bytes and has ended.
    fn ended(bytes: usize) -> Arc<Background> {
        let transcript = Transcript::new(bytes as u64, 0, None);
        transcript.begin("seq");
        transcript.hear(&Frame {
            word: Word::Stdout,
            id: 1,
            payload: Bytes::from(vec![b'x'; bytes]),
        });
        let exit = Exit {
            code: Some(7),
            ..Exit::default()
        };
        transcript.end(exit, None);
        let background = Background::new(CommandId::generate(), transcript, DateTime::UNIX_EPOCH);
        background.has_ended(Ran::Through { skipped: 0 }, DateTime::UNIX_EPOCH);
        Arc::new(background)
    }

    #[test]
    fn what_the_oldest_printed_gives_way_and_how_it_ended_stays() {
        let mut backgrounds = Backgrounds::default();
        let all: Vec<_> = (0..4).map(|_| ended(MOST_OF_ENDED / 2 - 100)).collect();
        for one in &all {
            backgrounds.add(Arc::clone(one));
            backgrounds.keep_within_bounds(&one.id);
        }
        let printed: Vec<_> = all
            .iter()
            .map(|one| one.transcript.reports()[0].stdout.len())
            .collect();
        let whole = MOST_OF_ENDED / 2 - 100;
        assert!(printed[0] < 100, "{printed:?}");
        assert_eq!(printed[1..], [whole; 3]);
        let forgotten = &all[0].transcript.reports()[0];
        assert_eq!(
            (forgotten.exit_code, forgotten.stdout_truncated_bytes),
            (Some(7), whole as u64)
        );
        assert!(
            forgotten.stdout.contains("of this command nothing is kept"),
            "{}",
            forgotten.stdout
        );
    }
}
