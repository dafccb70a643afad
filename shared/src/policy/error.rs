//! Why a policy refuses something, whose policy it is, and which part of it. The texts are for a tool's author.

use crate::packages::{PackageError, UnreadableLock};

/// Whose policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The operator's, by the settings of the process.
    Deployment,
    /// One tenant's, which comes on top.
    Tenant,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "image {image:?} is not allowed by {}; allowed images: {}",
        .level.part("MCP_SANDBOX_ALLOWED_IMAGES", "allowedImages"),
        listed(.allowed)
    )]
    Image {
        image: String,
        allowed: Vec<String>,
        level: Level,
    },
    #[error(
        "image {image:?} is not allowed by {}: only references that end with @sha256:… are",
        .level.part("MCP_SANDBOX_REQUIRE_DIGEST", "requireDigest")
    )]
    Unpinned { image: String, level: Level },
    #[error(
        "timeoutMs must be at most {max} by {}, got {got}",
        .level.part("MCP_SANDBOX_MAX_TIMEOUT_MS", "maxTimeoutMs")
    )]
    Timeout { got: u32, max: u32, level: Level },
    #[error(
        "isolation \"tool\" is not allowed by {}; use \"call\"",
        .level.part("MCP_SANDBOX_ALLOW_TOOL_ISOLATION", "allowToolIsolation")
    )]
    ToolIsolation { level: Level },
    #[error(
        "package {package} is blocked by {} with {rule:?}{}",
        .level.part("MCP_SANDBOX_BLOCKED_PACKAGES", "blockedPackages"),
        needed(.at.as_deref())
    )]
    Blocked {
        package: String,
        rule: String,
        /// Its place in the lock; `None` for what the author names.
        at: Option<String>,
        level: Level,
    },
    #[error(
        "package {package} is not on the list of allowed packages of {}{}",
        .level.part("MCP_SANDBOX_ALLOWED_PACKAGES", "allowedPackages"),
        needed(.at.as_deref())
    )]
    NotAllowed {
        package: String,
        at: Option<String>,
        level: Level,
    },
    #[error(transparent)]
    Lock(#[from] UnreadableLock),
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl Level {
    fn part(self, setting: &str, field: &str) -> String {
        match self {
            Level::Deployment => format!("the deployment's policy ({setting})"),
            Level::Tenant => format!("the tenant's policy ({field})"),
        }
    }
}

fn listed(images: &[String]) -> String {
    match images {
        [] => "none".to_owned(),
        images => images.join(", "),
    }
}

fn needed(at: Option<&str>) -> String {
    at.map(|at| format!("; it is needed at {at}")).unwrap_or_default()
}
