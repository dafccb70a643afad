//! Shell commands in a session, one after the other.

use std::sync::Arc;

use dynamic_mcp_shared::job::JobEvent;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Lost;
use super::agent::Agent;
use super::captured::{Cut, Exit, Transcript, unable};
use super::frames::Word;

/// What a result may hold of all its commands together: it is one message, and JSON takes up to six bytes for one.
const MOST_OF_ALL: u64 = 4 << 20;

/// Commands and when they are to end.
#[derive(Debug)]
pub(super) struct Commands {
    pub commands: Vec<String>,
    pub continue_on_error: bool,
    /// `None`: with the session.
    pub deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    /// As far as they should; `skipped` of them did not, because one before them failed.
    Through { skipped: usize },
    /// One of them was ended, and those after it did not begin.
    Cut { by: Cut, skipped: usize },
}

/// What the agent is told to begin.
#[derive(Debug, Serialize)]
struct Wanted<'a> {
    program: &'static str,
    command: &'a str,
    max: u64,
}

impl Commands {
    /// `max_output`: of one command.
    pub(super) fn transcript(&self, max_output: u64, listener: mpsc::Sender<JobEvent>) -> Transcript {
        Transcript::new(self.each(max_output), max_output, Some(listener))
    }

    /// Of commands in the background, whose output nobody reads but each command's on its own.
    pub(super) fn transcript_of_each(&self, max_output: u64) -> Transcript {
        Transcript::new(self.each(max_output), 0, None)
    }

    fn each(&self, max_output: u64) -> u64 {
        max_output.min(MOST_OF_ALL / (self.commands.len() as u64).max(1))
    }

    pub(super) async fn run(
        &self,
        agent: &Arc<Agent>,
        max_output: u64,
        transcript: &Transcript,
        cancel: &CancellationToken,
    ) -> Result<Ran, Lost> {
        let max = self.each(max_output);
        for (index, command) in self.commands.iter().enumerate() {
            let wanted = Wanted {
                program: "shell",
                command,
                max,
            };
            let skipped = self.commands.len() - index - 1;
            match self.run_one(agent, &wanted, transcript, cancel).await? {
                One::Cut(by) => return Ok(Ran::Cut { by, skipped }),
                One::Failed if !self.continue_on_error => return Ok(Ran::Through { skipped }),
                One::Failed | One::Well => {}
            }
        }
        Ok(Ran::Through { skipped: 0 })
    }

    async fn run_one(
        &self,
        agent: &Arc<Agent>,
        wanted: &Wanted<'_>,
        transcript: &Transcript,
        cancel: &CancellationToken,
    ) -> Result<One, Lost> {
        transcript.begin(wanted.command);
        let mut line = agent.start(wanted).await?;
        let cut = loop {
            let frame = tokio::select! {
                // The first two before the command: one that always has something to say would starve them.
                biased;
                () = cancel.cancelled() => break Cut::Killed,
                () = at(self.deadline) => break Cut::TimedOut,
                frame = line.next() => frame?,
            };
            match frame.word {
                Word::Exited => {
                    let well = transcript.end(Exit::read(&frame), None);
                    return Ok(if well { One::Well } else { One::Failed });
                }
                Word::Unable => {
                    transcript.could_not_begin(&unable(&frame));
                    return Ok(One::Failed);
                }
                _ => transcript.hear(&frame),
            }
        };
        let mut exit = Exit::default();
        line.kill(|frame| match frame.word {
            Word::Exited => exit = Exit::read(&frame),
            _ => transcript.hear(&frame),
        })
        .await?;
        transcript.end(exit, Some(cut));
        Ok(One::Cut(cut))
    }
}

enum One {
    Well,
    Failed,
    Cut(Cut),
}

pub(super) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
