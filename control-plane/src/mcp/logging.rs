//! Log messages to the client: what the code of a tool printed, for a client that set a level. The newest era deprecates
//! them, those before it use them.
#![expect(deprecated, reason = "deprecated by the newest era, used by those before it")]

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, ServerCapabilities, SetLevelRequestParams};
use rmcp::service::{Peer, RequestContext};

use crate::jobs::JobReport;

/// How long a message waits for the client.
const DEADLINE: Duration = Duration::from_millis(100);

/// The least level that the client of one call wants to read.
pub(super) struct Logging(LoggingLevel);

impl Logging {
    /// `None` unless the client set a level, for this request or for its session.
    pub(super) fn of(cx: &RequestContext<RoleServer>, session: &SessionLevel) -> Option<Self> {
        cx.meta.log_level().or_else(|| session.get()).map(Self)
    }

    /// `info` for stdout, `warning` for stderr.
    pub(super) async fn console(&self, peer: &Peer<RoleServer>, report: &JobReport) {
        for (level, text) in [
            (LoggingLevel::Info, &report.stdout),
            (LoggingLevel::Warning, &report.stderr),
        ] {
            if text.is_empty() || (level as u8) < (self.0 as u8) {
                continue;
            }
            let param =
                LoggingMessageNotificationParam::new(level, text.as_str().into()).with_logger("console");
            // A client that does not read must not hold the answer.
            let _unread = tokio::time::timeout(DEADLINE, peer.notify_logging_message(param)).await;
        }
    }
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
    fn no_level_is_set_until_the_client_sets_one() {
        let level = SessionLevel::default();
        assert_eq!(level.get(), None);
        level.set(&SetLevelRequestParams::new(LoggingLevel::Warning));
        assert_eq!(level.get(), Some(LoggingLevel::Warning));
        level.set(&SetLevelRequestParams::new(LoggingLevel::Debug));
        assert_eq!(level.get(), Some(LoggingLevel::Debug));
    }
}
