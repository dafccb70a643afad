//! What can be wrong with a call of the Engine API, apart by what its caller does about it.

use std::time::Duration;

/// A failed call of the Engine API. The text holds no code and no arguments: requests never appear in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    #[error("{step}: the container engine did not answer within {} s", after.as_secs())]
    Deadline { step: &'static str, after: Duration },
    #[error("{step}: the container engine can't be reached: {message}")]
    Unreachable { step: &'static str, message: String },
    #[error("{step}: {message}")]
    NotFound { step: &'static str, message: String },
    #[error("{step}: {message}")]
    Conflict { step: &'static str, message: String },
    #[error("{step}: the container engine answered {status}: {message}")]
    Refused {
        step: &'static str,
        status: u16,
        message: String,
    },
    #[error("the container engine's address {0:?} is not a socket path, unix:// or tcp://")]
    Address(String),
}

impl EngineError {
    pub const fn kind(&self) -> &'static str {
        match self {
            EngineError::Deadline { .. } => "deadline",
            EngineError::Unreachable { .. } => "unreachable",
            EngineError::NotFound { .. } => "not_found",
            EngineError::Conflict { .. } => "conflict",
            EngineError::Refused { .. } => "refused",
            EngineError::Address(_) => "address",
        }
    }

    pub const fn is_not_found(&self) -> bool {
        matches!(self, EngineError::NotFound { .. })
    }

    pub(super) fn from_bollard(step: &'static str, error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError {
                status_code: 404,
                message,
            } => Self::NotFound { step, message },
            Error::DockerResponseServerError {
                status_code: 409,
                message,
            } => Self::Conflict { step, message },
            Error::DockerResponseServerError { status_code, message } => Self::Refused {
                step,
                status: status_code,
                message,
            },
            Error::DockerStreamError { error } => Self::Refused {
                step,
                status: 200,
                message: error,
            },
            other => Self::Unreachable {
                step,
                message: with_sources(&other),
            },
        }
    }
}

/// The causes too: hyper's own text is only "client error (Connect)".
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
