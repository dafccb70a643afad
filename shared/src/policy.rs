//! What tools may ask of a sandbox. Both planes hold the deployment's policy: the control plane to refuse a tool when it is
//! written and when it is called, the executor to refuse a job that comes to it all the same. A tenant's own policy comes
//! on top of it in the control plane, and can only take away.

mod error;
mod image;
mod narrowed;
mod package_lists;
mod package_rule;
mod tenant;

use clap::{ArgAction, Args};

pub use self::error::{Level, PolicyError};
pub use self::image::{is_pinned, parse_image};
pub use self::narrowed::NarrowedPolicy;
use self::package_lists::PackageLists;
use self::package_rule::parse_rule;
pub use self::package_rule::{InvalidRule, PackageRule};
pub use self::tenant::{InvalidTenantPolicy, TenantPolicy};
use crate::job::{Dependency, Isolation};
use crate::limits::{DEFAULT_MAX_FILE_BYTES, DEFAULT_MAX_OUTPUT_BYTES, TimeoutMs};
use crate::packages::{self, LockedPackage};
use crate::switch::parse_switch;

pub const DEFAULT_IMAGE: &str = "node:lts-slim";
/// The contract's bound, whatever the operator allows.
pub const MAX_DEPENDENCIES: usize = 64;
const BLOCKED_PACKAGES: &str = "child_process,node-pty,npm,pm2";

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

    /// Whether only images with a digest (name@sha256:…) are allowed; those of the list must have one then
    #[arg(
        id = "sandbox_require_digest",
        long = "sandbox-require-digest",
        env = "MCP_SANDBOX_REQUIRE_DIGEST",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub require_digest: bool,

    /// The only npm packages that are allowed, at any depth: name, @scope/* or name@range, by commas; all if not set
    #[arg(
        id = "sandbox_allowed_packages",
        long = "sandbox-allowed-packages",
        env = "MCP_SANDBOX_ALLOWED_PACKAGES",
        value_name = "RULES",
        value_delimiter = ',',
        value_parser = parse_rule
    )]
    pub allowed_packages: Vec<PackageRule>,

    /// npm packages that are refused at any depth, allowed or not: name, @scope/* or name@range, separated by commas
    #[arg(
        id = "sandbox_blocked_packages",
        long = "sandbox-blocked-packages",
        env = "MCP_SANDBOX_BLOCKED_PACKAGES",
        value_name = "RULES",
        value_delimiter = ',',
        value_parser = parse_rule,
        default_value = BLOCKED_PACKAGES
    )]
    pub blocked_packages: Vec<PackageRule>,

    /// Whether a tool may ask for isolation "tool": one sandbox for all its calls
    #[arg(
        id = "sandbox_allow_tool_isolation",
        long = "sandbox-allow-tool-isolation",
        env = "MCP_SANDBOX_ALLOW_TOOL_ISOLATION",
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub allow_tool_isolation: bool,

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

    /// Bytes of one file that is written to a sandbox session or read from it
    #[arg(
        id = "sandbox_max_file_bytes",
        long = "sandbox-max-file-bytes",
        env = "MCP_SANDBOX_MAX_FILE_BYTES",
        default_value_t = DEFAULT_MAX_FILE_BYTES,
        value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000)
    )]
    pub max_file_bytes: u64,

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

/// Settings of the policy that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ContradictoryPolicy {
    pub setting: &'static str,
    pub problem: String,
}

impl SandboxPolicy {
    /// # Errors
    /// When its parts exclude each other.
    pub fn check(&self) -> Result<(), ContradictoryPolicy> {
        let unpinned = self.allowed_images.iter().find(|image| !is_pinned(image));
        match unpinned {
            Some(image) if self.require_digest => Err(ContradictoryPolicy {
                setting: "MCP_SANDBOX_REQUIRE_DIGEST",
                problem: format!(
                    "needs a digest in every image of MCP_SANDBOX_ALLOWED_IMAGES, and {image} has none: name it as \
                     {image}@sha256:… (docker image inspect --format '{{{{.RepoDigests}}}}' {image} shows it)"
                ),
            }),
            _ => Ok(()),
        }
    }

    pub fn default_image(&self) -> &str {
        self.allowed_images.first().map_or(DEFAULT_IMAGE, String::as_str)
    }

    /// # Errors
    /// When the image is not on the list, or has no digest and needs one.
    pub fn check_image(&self, image: &str) -> Result<(), PolicyError> {
        let level = Level::Deployment;
        if self.require_digest && !is_pinned(image) {
            let image = image.to_owned();
            return Err(PolicyError::Unpinned { image, level });
        }
        if self.allowed_images.iter().any(|allowed| allowed == image) {
            return Ok(());
        }
        Err(PolicyError::Image {
            image: image.to_owned(),
            allowed: self.allowed_images.clone(),
            level,
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
            level: Level::Deployment,
        })
    }

    /// # Errors
    /// When calls may not share a sandbox, and this would.
    pub fn check_isolation(&self, isolation: Isolation) -> Result<(), PolicyError> {
        match isolation {
            Isolation::Tool if !self.allow_tool_isolation => Err(PolicyError::ToolIsolation {
                level: Level::Deployment,
            }),
            _ => Ok(()),
        }
    }

    /// What can be said of dependencies before they are resolved.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check_dependencies(&self, dependencies: &[Dependency]) -> Result<(), PolicyError> {
        packages::check(dependencies, self.max_dependencies)?;
        let lists = self.package_lists();
        dependencies
            .iter()
            .try_for_each(|dependency| lists.check_name(&dependency.name))
    }

    /// What they were resolved to.
    ///
    /// # Errors
    /// When the package is blocked, or is not one of those that are allowed.
    pub fn check_locked(&self, package: &LockedPackage) -> Result<(), PolicyError> {
        self.package_lists().check_locked(package)
    }

    fn package_lists(&self) -> PackageLists<'_> {
        PackageLists {
            allowed: (!self.allowed_packages.is_empty()).then_some(&self.allowed_packages),
            blocked: &self.blocked_packages,
            level: Level::Deployment,
        }
    }
}

impl Default for SandboxPolicy {
    fn default() -> Self {
        Self {
            allowed_images: vec![DEFAULT_IMAGE.to_owned()],
            require_digest: false,
            allowed_packages: Vec::new(),
            blocked_packages: BLOCKED_PACKAGES
                .split(',')
                .filter_map(|rule| rule.parse().ok())
                .collect(),
            allow_tool_isolation: true,
            max_dependencies: 32,
            max_output_bytes: DEFAULT_MAX_OUTPUT_BYTES,
            max_file_bytes: DEFAULT_MAX_FILE_BYTES,
            max_timeout: TimeoutMs::MAX,
        }
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
            "image \"alpine\" is not allowed by the deployment's policy (MCP_SANDBOX_ALLOWED_IMAGES); allowed images: \
             node:lts-slim"
        );
    }

    #[test]
    fn an_entry_with_a_digest_is_for_that_image_alone() {
        let pinned = |digit: &str| format!("node:22@sha256:{}", digit.repeat(64));
        let policy = SandboxPolicy {
            allowed_images: vec![pinned("a")],
            ..SandboxPolicy::default()
        };
        assert!(policy.check_image(&pinned("a")).is_ok());
        for other in ["node:22", "node", &pinned("b")] {
            assert!(policy.check_image(other).is_err(), "{other}");
        }
    }

    #[test]
    fn images_without_a_digest_contradict_that_one_is_required() {
        let policy = |image: &str| SandboxPolicy {
            allowed_images: vec![image.to_owned()],
            require_digest: true,
            ..SandboxPolicy::default()
        };
        let error = policy("node:22").check().unwrap_err();
        assert_eq!(error.setting, "MCP_SANDBOX_REQUIRE_DIGEST");
        assert!(error.problem.contains("node:22@sha256:"), "{error}");
        let pinned = format!("node:22@sha256:{}", "a".repeat(64));
        assert_eq!(policy(&pinned).check(), Ok(()));
        assert!(matches!(
            policy(&pinned).check_image("node:22"),
            Err(PolicyError::Unpinned { .. })
        ));
    }

    #[test]
    fn one_sandbox_for_all_calls_can_be_forbidden() {
        let policy = SandboxPolicy {
            allow_tool_isolation: false,
            ..SandboxPolicy::default()
        };
        assert!(policy.check_isolation(Isolation::Call).is_ok());
        let error = policy.check_isolation(Isolation::Tool).unwrap_err().to_string();
        assert!(error.contains("MCP_SANDBOX_ALLOW_TOOL_ISOLATION"), "{error}");
    }

    #[test]
    fn the_default_is_the_one_of_the_settings() {
        use clap::FromArgMatches as _;

        let command = SandboxPolicy::augment_args(clap::Command::new("policy"));
        let command = command.mut_args(|arg| arg.env(None::<&str>));
        let matches = command.get_matches_from(["policy"]);
        assert_eq!(
            SandboxPolicy::from_arg_matches(&matches).unwrap(),
            SandboxPolicy::default()
        );
    }
}
