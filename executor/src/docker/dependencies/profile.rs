//! The profile of an install container, pure like the sandbox's. It differs in what an install needs: it may write one
//! volume, and it has the memory that npm takes. It has no network either: what npm fetches comes over the container's
//! own streams, see [`super::egress`]. Nothing of a package's own code runs in it, so the Engine's default OCI runtime
//! does, whatever sandboxes run under.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount, MountType,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use crate::docker::policy::USER;

const INSTALLER: &str = concat!(include_str!("outlet.cjs"), include_str!("installer.cjs"));
/// Exists in the official images and belongs to [`USER`] there; Docker gives a new volume the owner of the folder
/// that it is mounted on, so no step of an install has to be root.
const HOME: &str = "/home/node";
const MEMORY: i64 = 1 << 30;
/// The archives of all packages together, for npm's cache; it counts as memory.
const TMP_BYTES: u64 = 512 << 20;
const PIDS: i64 = 256;
const NANO_CPUS: i64 = 2_000_000_000;

/// Writes the packages to its stdout.
const ARCHIVE: [&str; 6] = ["tar", "-c", "-f", "-", "-C", HOME];

/// What an install container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose<'a> {
    /// Asks npm in the image how it is configured.
    Ask,
    /// Writes a lock.
    Resolve,
    /// Fills a volume.
    Install { volume: &'a str },
    /// Reads a volume.
    Archive { volume: &'a str },
    /// Gives a volume to [`USER`], for images without a folder of that user's; with one capability.
    Own { volume: &'a str },
}

impl Purpose<'_> {
    const fn volume(&self) -> Option<&str> {
        match self {
            Purpose::Install { volume } | Purpose::Own { volume } | Purpose::Archive { volume } => {
                Some(*volume)
            }
            Purpose::Ask | Purpose::Resolve => None,
        }
    }
}

pub(super) fn container_config(
    purpose: Purpose<'_>,
    image: &str,
    labels: HashMap<String, String>,
) -> ContainerCreateBody {
    let owning = matches!(purpose, Purpose::Own { .. });
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(match purpose {
            Purpose::Archive { .. } => ARCHIVE.map(str::to_owned).to_vec(),
            _ => vec!["node".to_owned(), "-e".to_owned(), INSTALLER.to_owned()],
        }),
        cmd: Some(match purpose {
            Purpose::Archive { .. } => vec!["node_modules".to_owned()],
            _ => Vec::new(),
        }),
        // An image may set options for every Node.js; the installer's are its own.
        env: Some(vec!["NODE_OPTIONS=".to_owned()]),
        user: Some(if owning { "0:0" } else { USER }.to_owned()),
        working_dir: Some("/tmp".to_owned()),
        hostname: Some("install".to_owned()),
        tty: Some(false),
        open_stdin: Some(true),
        // An executor that dies closes the stream, and the installer ends by itself.
        stdin_once: Some(true),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        network_disabled: Some(true),
        labels: Some(labels),
        host_config: Some(host_config(purpose)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(purpose: Purpose<'_>) -> HostConfig {
    let mounts = purpose.volume().map(|volume| {
        vec![Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume.to_owned()),
            target: Some(HOME.to_owned()),
            read_only: matches!(purpose, Purpose::Archive { .. }).then_some(true),
            ..Mount::default()
        }]
    });
    let owning = matches!(purpose, Purpose::Own { .. });
    HostConfig {
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: owning.then(|| vec!["CHOWN".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        privileged: Some(false),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("none".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        init: Some(true),
        pids_limit: Some(PIDS),
        memory: Some(MEMORY),
        memory_swap: Some(MEMORY),
        nano_cpus: Some(NANO_CPUS),
        ulimits: Some(vec![ulimit("nofile", 8_192), ulimit("core", 0)]),
        tmpfs: Some(HashMap::from([(
            "/tmp".to_owned(),
            format!("rw,noexec,nosuid,nodev,mode=1777,size={TMP_BYTES}"),
        )])),
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

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(purpose: Purpose<'_>) -> serde_json::Value {
        let labels = HashMap::from([("app".to_owned(), "dynamic-mcp".to_owned())]);
        let mut value = serde_json::to_value(container_config(purpose, "node:lts-slim", labels)).unwrap();
        value["Entrypoint"][2] = "<outlet.cjs, installer.cjs>".into();
        value
    }

    #[test]
    fn the_profile_of_an_install() {
        insta::assert_json_snapshot!(shown(Purpose::Install { volume: "deps-1" }));
    }

    #[test]
    fn who_reads_a_volume_cannot_write_it() {
        let mounts = |purpose| host_config(purpose).mounts.unwrap();
        assert_eq!(mounts(Purpose::Archive { volume: "v" })[0].read_only, Some(true));
        assert_eq!(mounts(Purpose::Install { volume: "v" })[0].read_only, None);
    }

    #[test]
    fn none_of_them_has_a_network() {
        for purpose in [
            Purpose::Ask,
            Purpose::Own { volume: "v" },
            Purpose::Resolve,
            Purpose::Install { volume: "v" },
            Purpose::Archive { volume: "v" },
        ] {
            assert_eq!(host_config(purpose).network_mode.as_deref(), Some("none"));
            let config = container_config(purpose, "image", HashMap::new());
            assert_eq!(config.network_disabled, Some(true));
        }
    }

    #[test]
    fn only_the_change_of_owner_is_root_and_has_one_capability() {
        let own = Purpose::Own { volume: "v" };
        assert_eq!(host_config(own).cap_add, Some(vec!["CHOWN".to_owned()]));
        for purpose in [Purpose::Ask, Purpose::Resolve, Purpose::Install { volume: "v" }] {
            assert_eq!(host_config(purpose).cap_add, None);
            let config = container_config(purpose, "image", HashMap::new());
            assert_eq!(config.user.as_deref(), Some(USER));
        }
    }

    #[test]
    fn the_installer_fits_one_argument() {
        // The kernel's MAX_ARG_STRLEN is 128 KiB.
        assert!(INSTALLER.len() < 100_000);
    }
}
