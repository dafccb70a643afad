//! The hardened profile: one pure function from what a sandbox is for to everything the Engine is told about it.
//! A change of its snapshot is a security review.
//!
//! No code and no arguments are in it: they go over the attached stdin. What it holds of ours is the runner's source.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use dynamic_mcp_shared::limits::ByteSize;

use super::config::DockerConfig;

const RUNNER: &str = include_str!("runner.cjs");
const AGENT: &str = include_str!("session/agent.cjs");

/// `$0` is the runner, `$1` Node.js's heap in MiB. The tool's own stdin is empty; the channel is on descriptors that
/// Node.js does not hand to child processes, so that a tool that closes its stdout only loses its output.
const START: &str =
    r#"cd /workspace && exec node --max-old-space-size="$1" -e "$0" 3<&0 4>&1 5>&2 </dev/null"#;

/// `$0` is the agent of a session, `$1` the runner that it starts for code. Its own streams are nobody's: what is printed
/// in a session comes over pipes of its commands.
const START_AGENT: &str = r#"cd /workspace && exec node --max-old-space-size=96 --v8-pool-size=1 -e "$0" "$1" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"#;

/// Of the `node` user in the official images, and without a name in others.
pub const USER: &str = "1000:1000";
pub const WORKSPACE: &str = "/workspace";
/// Where the dependency volume is; it holds `node_modules`.
pub const DEPENDENCIES: &str = "/deps";

/// What tells one sandbox from another. Those of one shape are interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxShape {
    pub image: String,
    /// The volume with the installed packages, when there are any.
    pub dependencies: Option<String>,
    /// What it has, where that is less than what a sandbox has here.
    pub memory: Option<ByteSize>,
}

impl SandboxShape {
    /// Whether it is one that any call may ask for, and not of one tool or tenant.
    pub fn is_common(&self) -> bool {
        self.dependencies.is_none() && self.memory.is_none()
    }

    pub fn memory(&self, config: &DockerConfig) -> ByteSize {
        self.memory.unwrap_or(config.memory)
    }
}

/// A sandbox that runs the code of tools.
pub fn container_config(
    shape: &SandboxShape,
    config: &DockerConfig,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let heap = heap_mib(shape.memory(config)).to_string();
    resident(START, vec![RUNNER.to_owned(), heap], shape, config, labels)
}

/// A sandbox that stays for a session. It differs in who lives in it, and in nothing else.
pub fn session_config(
    shape: &SandboxShape,
    config: &DockerConfig,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let texts = vec![AGENT.to_owned(), RUNNER.to_owned()];
    resident(START_AGENT, texts, shape, config, labels)
}

fn resident(
    start: &str,
    arguments: Vec<String>,
    shape: &SandboxShape,
    config: &DockerConfig,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(shape.image.clone()),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), start.to_owned()]),
        cmd: Some(arguments),
        env: Some(vec![
            format!("HOME={WORKSPACE}"),
            "TMPDIR=/tmp".to_owned(),
            // An image may set options for every Node.js; the runner's are its own.
            "NODE_OPTIONS=".to_owned(),
        ]),
        user: Some(USER.to_owned()),
        // Not the workspace: the Engine would make it as root's in the image, and the runtime copies that mode.
        working_dir: Some("/".to_owned()),
        hostname: Some("sandbox".to_owned()),
        tty: Some(false),
        open_stdin: Some(true),
        // An executor that dies closes the stream, and its sandboxes end by themselves.
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        network_disabled: Some(true),
        labels: Some(labels),
        host_config: Some(host_config(shape, config)),
        ..ContainerCreateBody::default()
    }
}

pub fn host_config(shape: &SandboxShape, config: &DockerConfig) -> HostConfig {
    let limit = shape.memory(config);
    let memory = bytes(limit.0);
    // What is written there counts as memory, so with less of that there is less of this.
    let (tmp, workspace) = (config.tmp.0.min(limit.0 / 4), config.workspace.0.min(limit.0 / 2));
    let mounts = shape.dependencies.as_ref().map(|volume| {
        vec![Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.clone()),
            target: Some(DEPENDENCIES.to_owned()),
            read_only: Some(true),
            ..Mount::default()
        }]
    });
    HostConfig {
        runtime: config.runtime.clone(),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        // Docker's default seccomp profile and masked paths apply because nothing here turns them off.
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        privileged: Some(false),
        network_mode: Some("none".to_owned()),
        // A namespace of its own, and no /dev/shm, which would be a third place to fill.
        ipc_mode: Some("none".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        init: Some(true),
        pids_limit: Some(config.pids),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(nano_cpus(config.cpus)),
        ulimits: Some(vec![
            ulimit("nofile", 1_024),
            ulimit("core", 0),
            ulimit("fsize", bytes(workspace.max(tmp))),
        ]),
        tmpfs: Some(HashMap::from([
            (
                "/tmp".to_owned(),
                format!("rw,noexec,nosuid,nodev,mode=1777,size={tmp}"),
            ),
            (
                // Engine 20.10 gives a tmpfs on a path that the image doesn't have to root, and one on a path that it
                // has the mode of that: hence both the mode and the owner.
                WORKSPACE.to_owned(),
                format!("rw,exec,nosuid,nodev,mode=1777,uid=1000,gid=1000,size={workspace}"),
            ),
        ])),
        mounts,
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        auto_remove: Some(false),
        ..HostConfig::default()
    }
}

/// Two thirds of the memory: the rest is for Node.js itself, buffers and the file systems. V8 then ends the process
/// with a message of its own before the kernel does it without one.
pub(crate) fn heap_mib(memory: ByteSize) -> u64 {
    (memory.0 >> 20) * 2 / 3
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    }
}

fn bytes(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the configuration allows 0.1 to 1024 cores"
)]
fn nano_cpus(cpus: f64) -> i64 {
    (cpus * 1e9).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps have no order of their own, and the runner's source is in a file of its own.
    fn shown(body: ContainerCreateBody) -> serde_json::Value {
        let mut value = serde_json::to_value(body).unwrap();
        value["Cmd"][0] = "<runner.cjs>".into();
        value
    }

    fn shape(dependencies: Option<&str>) -> SandboxShape {
        SandboxShape {
            image: "node:lts-slim".to_owned(),
            dependencies: dependencies.map(str::to_owned),
            memory: None,
        }
    }

    #[test]
    fn the_hardened_profile() {
        let labels = HashMap::from([("app".to_owned(), "dynamic-mcp".to_owned())]);
        let body = container_config(&shape(Some("deps-1")), &DockerConfig::default(), labels);
        insta::assert_json_snapshot!(shown(body));
    }

    #[test]
    fn the_profile_of_a_session_is_the_hardened_one_with_another_resident() {
        let config = DockerConfig::default();
        let call = container_config(&shape(None), &config, HashMap::new());
        let session = session_config(&shape(None), &config, HashMap::new());
        let started = session.entrypoint.clone().unwrap_or_default();
        assert_eq!(started, ["/bin/sh", "-c", START_AGENT]);
        assert_eq!(session.cmd.clone().unwrap_or_default(), [AGENT, RUNNER]);
        let but_for_its_resident = ContainerCreateBody {
            entrypoint: call.entrypoint.clone(),
            cmd: call.cmd.clone(),
            ..session
        };
        assert_eq!(but_for_its_resident, call);
    }

    #[test]
    fn without_dependencies_nothing_is_mounted() {
        assert_eq!(host_config(&shape(None), &DockerConfig::default()).mounts, None);
        assert_eq!(host_config(&shape(None), &DockerConfig::default()).binds, None);
    }

    #[test]
    fn a_sandbox_with_less_memory_has_less_of_all_that_counts_as_memory() {
        let small = SandboxShape {
            memory: Some(ByteSize(128 << 20)),
            ..shape(None)
        };
        let profile = host_config(&small, &DockerConfig::default());
        assert_eq!(
            (profile.memory, profile.memory_swap),
            (Some(128 << 20), Some(128 << 20))
        );
        let file_systems = profile.tmpfs.unwrap();
        assert!(
            file_systems["/tmp"].ends_with(",size=33554432"),
            "{file_systems:?}"
        );
        assert!(
            file_systems[WORKSPACE].ends_with(",size=67108864"),
            "{file_systems:?}"
        );
    }

    #[test]
    fn the_runtime_is_the_operators() {
        let config = DockerConfig {
            runtime: Some("runsc".to_owned()),
            ..DockerConfig::default()
        };
        assert_eq!(
            host_config(&shape(None), &config).runtime.as_deref(),
            Some("runsc")
        );
    }

    #[test]
    fn the_runner_and_the_agent_fit_one_argument_each() {
        // The kernel's MAX_ARG_STRLEN is 128 KiB.
        assert!(RUNNER.len() < 100_000 && AGENT.len() < 100_000);
    }
}
