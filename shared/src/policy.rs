//! What tools may ask of a sandbox. Both planes hold it: the control plane to refuse a tool when it is written, the
//! executor to refuse a job that comes to it all the same.

use clap::Args;

use crate::job::Dependency;
use crate::limits::{DEFAULT_MAX_OUTPUT_BYTES, TimeoutMs};
use crate::packages::{self, PackageError};

pub const DEFAULT_IMAGE: &str = "node:lts-slim";
/// The contract's bound, whatever the operator allows.
pub const MAX_DEPENDENCIES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Sandbox policy")]
pub struct SandboxPolicy {
    /// Images that tools may use, separated by commas; the first is the default
    #[arg(
        id = "sandbox_allowed_images",
        long = "sandbox-allowed-images",
        env = "MCP_SANDBOX_ALLOWED_IMAGES",
        value_delimiter = ',',
        value_parser = parse_image,
        default_value = DEFAULT_IMAGE
    )]
    pub allowed_images: Vec<String>,

    /// npm packages that are refused at any depth, separated by commas
    #[arg(
        id = "sandbox_blocked_packages",
        long = "sandbox-blocked-packages",
        env = "MCP_SANDBOX_BLOCKED_PACKAGES",
        value_delimiter = ',',
        default_value = "child_process,node-pty,npm,pm2"
    )]
    pub blocked_packages: Vec<String>,

    /// Most dependencies that a tool may declare
    #[arg(
        id = "sandbox_max_dependencies",
        long = "sandbox-max-dependencies",
        env = "MCP_SANDBOX_MAX_DEPENDENCIES",
        default_value_t = 32,
        value_parser = parse_max_dependencies
    )]
    pub max_dependencies: usize,

    /// Bytes of printed output, and of a result, that one call may have
    #[arg(
        id = "sandbox_max_output_bytes",
        long = "sandbox-max-output-bytes",
        env = "MCP_SANDBOX_MAX_OUTPUT_BYTES",
        default_value_t = DEFAULT_MAX_OUTPUT_BYTES,
        value_parser = clap::value_parser!(u64).range(1_000..=10_000_000)
    )]
    pub max_output_bytes: u64,

    /// Longest timeoutMs that a tool may ask for
    #[arg(
        id = "sandbox_max_timeout_ms",
        long = "sandbox-max-timeout-ms",
        env = "MCP_SANDBOX_MAX_TIMEOUT_MS",
        default_value = "120000",
        value_parser = parse_timeout
    )]
    pub max_timeout: TimeoutMs,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("image {image:?} is not allowed; allowed images: {}", allowed.join(", "))]
    Image { image: String, allowed: Vec<String> },
    #[error("timeoutMs must be at most {max} here (MCP_SANDBOX_MAX_TIMEOUT_MS), got {got}")]
    Timeout { got: u32, max: u32 },
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl SandboxPolicy {
    pub fn default_image(&self) -> &str {
        self.allowed_images.first().map_or(DEFAULT_IMAGE, String::as_str)
    }

    /// # Errors
    /// When the image is not on the list.
    pub fn check_image(&self, image: &str) -> Result<(), PolicyError> {
        if self.allowed_images.iter().any(|allowed| allowed == image) {
            return Ok(());
        }
        Err(PolicyError::Image {
            image: image.to_owned(),
            allowed: self.allowed_images.clone(),
        })
    }

    /// # Errors
    /// When it is longer than the operator allows.
    pub fn check_timeout(&self, timeout: TimeoutMs) -> Result<(), PolicyError> {
        if timeout <= self.max_timeout {
            return Ok(());
        }
        Err(PolicyError::Timeout {
            got: timeout.as_millis(),
            max: self.max_timeout.as_millis(),
        })
    }

    /// # Errors
    /// The first fault found.
    pub fn check_dependencies(&self, dependencies: &[Dependency]) -> Result<(), PolicyError> {
        Ok(packages::check(
            dependencies,
            self.max_dependencies,
            &self.blocked_packages,
        )?)
    }
}

impl Default for SandboxPolicy {
    fn default() -> Self {
        Self {
            allowed_images: vec![DEFAULT_IMAGE.to_owned()],
            blocked_packages: ["child_process", "node-pty", "npm", "pm2"]
                .map(str::to_owned)
                .to_vec(),
            max_dependencies: 32,
            max_output_bytes: DEFAULT_MAX_OUTPUT_BYTES,
            max_timeout: TimeoutMs::MAX,
        }
    }
}

/// An image reference as the contract allows it: 1 to 200 characters.
///
/// # Errors
/// Says what is allowed.
pub fn parse_image(text: &str) -> Result<String, String> {
    let text = text.trim();
    let mut bytes = text.bytes();
    let ok = text.len() <= 200
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b));
    if ok {
        Ok(text.to_owned())
    } else {
        Err("an image reference has 1 to 200 letters, digits, '_', '.', ':', '/', '-', the first a letter or digit"
            .to_owned())
    }
}

fn parse_timeout(text: &str) -> Result<TimeoutMs, String> {
    let ms: u64 = text
        .parse()
        .map_err(|_| "a whole number of milliseconds".to_owned())?;
    TimeoutMs::new(ms).map_err(|error| error.to_string())
}

fn parse_max_dependencies(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(max) if max <= MAX_DEPENDENCIES => Ok(max),
        _ => Err(format!("a whole number from 0 to {MAX_DEPENDENCIES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_off_the_list_is_refused_with_the_list() {
        let error = SandboxPolicy::default()
            .check_image("alpine")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "image \"alpine\" is not allowed; allowed images: node:lts-slim"
        );
    }

    #[test]
    fn image_references_follow_the_contract() {
        assert!(parse_image("registry.local:5000/team/node_22:lts-slim").is_ok());
        for wrong in ["", "-x", "node slim", "node@sha256", &"a".repeat(201)] {
            assert!(parse_image(wrong).is_err(), "{wrong}");
        }
    }
}
