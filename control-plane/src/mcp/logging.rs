//! Log messages to the client: what the code of a tool printed, for a client that set a level. The newest era deprecates
//! them, those before it use them.
#![expect(deprecated, reason = "deprecated by the newest era, used by those before it")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use dynamic_mcp_shared::job::OutputStream;
use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, ServerCapabilities, SetLevelRequestParams};
use rmcp::service::{Peer, RequestContext};

use crate::jobs::JobReport;

/// How long the messages of one call wait for the client.
const DEADLINE: Duration = Duration::from_millis(100);
/// Lines of one stream that become messages.
const MAX_LINES: usize = 20;

/// The least level that the client of one call wants to read.
pub(super) struct Logging(LoggingLevel);

impl Logging {
    /// `None` unless the client set a level, for this request or for its session.
    pub(super) fn of(cx: &RequestContext<RoleServer>, session: &SessionLevel) -> Option<Self> {
        cx.meta.log_level().or_else(|| session.get()).map(Self)
    }

    /// A piece of output, while its call runs. `None`: the client has gone.
    pub(super) async fn printed(
        &self,
        peer: &Peer<RoleServer>,
        stream: OutputStream,
        text: String,
    ) -> Option<()> {
        let level = match stream {
            OutputStream::Stdout => LoggingLevel::Info,
            OutputStream::Stderr => LoggingLevel::Warning,
        };
        if (level as u8) < (self.0 as u8) {
            return Some(());
        }
        let param = LoggingMessageNotificationParam::new(level, text.into()).with_logger("console");
        peer.notify_logging_message(param).await.ok()
    }

    /// `info` for each line of stdout, `warning` for each of stderr.
    pub(super) async fn console(&self, peer: &Peer<RoleServer>, report: &JobReport) {
        // A client that does not read must not hold the answer.
        let _unread = tokio::time::timeout(DEADLINE, async {
            for (level, text) in [
                (LoggingLevel::Info, &report.stdout),
                (LoggingLevel::Warning, &report.stderr),
            ] {
                if (level as u8) < (self.0 as u8) {
                    continue;
                }
                for line in lines(text) {
                    let param =
                        LoggingMessageNotificationParam::new(level, line.into()).with_logger("console");
                    if peer.notify_logging_message(param).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
    }
}

/// The first lines, and how many more there are; all of them are in the call's result.
fn lines(text: &str) -> impl Iterator<Item = String> {
    let more = text.lines().count().saturating_sub(MAX_LINES);
    let rest = (more > 0).then(|| format!("[... {more} more lines in the result ...]"));
    text.lines().take(MAX_LINES).map(str::to_owned).chain(rest)
}

pub(super) fn add_capability(mut capabilities: ServerCapabilities) -> ServerCapabilities {
    capabilities.logging = Some(rmcp::model::JsonObject::new());
    capabilities
}

/// What `logging/setLevel` set; nothing is sent before it was called.
#[derive(Debug, Default)]
pub(super) struct SessionLevel(AtomicU8);

impl SessionLevel {
    pub(super) fn set(&self, params: &SetLevelRequestParams) {
        self.0.store(params.level as u8 + 1, Ordering::Relaxed);
    }

    fn get(&self) -> Option<LoggingLevel> {
        let levels = [
            LoggingLevel::Debug,
            LoggingLevel::Info,
            LoggingLevel::Notice,
            LoggingLevel::Warning,
            LoggingLevel::Error,
            LoggingLevel::Critical,
            LoggingLevel::Alert,
            LoggingLevel::Emergency,
        ];
        usize::from(self.0.load(Ordering::Relaxed))
            .checked_sub(1)
            .and_then(|index| levels.get(index).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_lines_become_messages() {
        let text: String = (0..30).map(|line| format!("{line}\n")).collect();
        let lines: Vec<String> = lines(&text).collect();
        assert_eq!((lines.len(), lines[19].as_str()), (21, "19"));
        assert_eq!(lines[20], "[... 10 more lines in the result ...]");
        assert_eq!(super::lines("").count(), 0);
    }

    #[test]
    fn no_level_is_set_until_the_client_sets_one() {
        let level = SessionLevel::default();
        assert_eq!(level.get(), None);
        level.set(&SetLevelRequestParams::new(LoggingLevel::Warning));
        assert_eq!(level.get(), Some(LoggingLevel::Warning));
        level.set(&SetLevelRequestParams::new(LoggingLevel::Debug));
        assert_eq!(level.get(), Some(LoggingLevel::Debug));
    }
}
