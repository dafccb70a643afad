//! What can go wrong with it, told apart by what to do.

use redis::{ErrorKind, ServerErrorKind};

use super::DEADLINE;

/// Holds no key, no value and no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    #[error("Redis is not there")]
    Away,
    /// Whether the command was carried out nobody knows.
    #[error("Redis was lost: {0}")]
    Lost(String),
    #[error("Redis refused a command: {0}")]
    Refused(String),
    #[error("{setting}: {problem}")]
    Config { setting: &'static str, problem: String },
}

impl RedisError {
    pub(super) fn late() -> Self {
        Self::Lost(format!("no answer within {} ms", DEADLINE.as_millis()))
    }

    /// Whether it is away, so that the connection is worth a look.
    pub fn is_loss(&self) -> bool {
        matches!(self, RedisError::Away | RedisError::Lost(_))
    }
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        let text = || match error.detail() {
            Some(detail) => format!("{}: {detail}", error.category()),
            None => error.to_string(),
        };
        let gone = error.is_io_error()
            || error.is_timeout()
            || error.is_connection_dropped()
            || error.is_cluster_error()
            || matches!(
                error.kind(),
                ErrorKind::AuthenticationFailed
                    | ErrorKind::ClusterConnectionNotFound
                    | ErrorKind::Server(
                        ServerErrorKind::BusyLoading
                            | ServerErrorKind::MasterDown
                            | ServerErrorKind::ReadOnly
                            | ServerErrorKind::TryAgain
                            | ServerErrorKind::ClusterDown
                    )
            );
        if gone {
            RedisError::Lost(text())
        } else {
            RedisError::Refused(text())
        }
    }
}
