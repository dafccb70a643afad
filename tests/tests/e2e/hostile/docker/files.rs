//! Code that fills or damages file systems.

use anyhow::Result;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use serde_json::json;

use crate::hostile::{LONG, Ward, assert_ended};

const FILL: &str = "const { writeFileSync, statfsSync } = await import('node:fs'); \
    const chunk = Buffer.alloc(1 << 20, 1); \
    for (let i = 0; i < 1000; i += 1) writeFileSync(`${args.where}/${i}`, chunk);";

#[tokio::test]
async fn a_full_disk_is_the_error_of_the_code_that_fills_it() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    for place in ["/tmp", "/workspace"] {
        let arguments = json!({"code": FILL, "args": {"where": place}, "timeoutMs": 60_000});
        let ended = ward
            .beside_the_neighbour(ward.client.call("run_js_ephemeral", arguments))
            .await?;
        assert_ended(&ended, "threw", "ENOSPC");
    }
    let one_file = "const { openSync, writeSync } = await import('node:fs'); \
        const file = openSync('/tmp/one', 'w'); for (;;) writeSync(file, Buffer.alloc(1 << 20, 1));";
    assert_ended(&ward.run(one_file, LONG).await?, "threw", "ENOSPC");

    // It went with its container.
    let room = "const { writeFileSync } = await import('node:fs'); \
        for (const dir of ['/tmp', '/workspace']) writeFileSync(`${dir}/some`, Buffer.alloc(32 << 20)); return 'room';";
    assert_eq!(ward.run(room, LONG).await?["result"], "room");
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn nothing_else_can_be_written() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    let code = "const { writeFileSync, mkdirSync } = await import('node:fs'); \
        const told = {}; \
        for (const dir of args.dirs) { \
          try { writeFileSync(`${dir}/intruder`, 'x'); told[dir] = 'written'; } catch (error) { told[dir] = error.code; } \
        } \
        return told;";
    let dirs = [
        "/",
        "/bin",
        "/dev",
        "/etc",
        "/home/node",
        "/lib",
        "/opt",
        "/proc",
        "/proc/self",
        "/proc/sys/kernel",
        "/root",
        "/run",
        "/sys",
        "/sys/fs/cgroup",
        "/usr/local/lib/node_modules",
        "/var/tmp",
        "/var/lib",
    ];
    let arguments = json!({"code": code, "args": {"dirs": dirs}});
    let ended = ward
        .beside_the_neighbour(ward.client.call("run_js_ephemeral", arguments))
        .await?;
    measured(format!("{}", ended["result"]));
    for dir in dirs {
        let told = ended["result"][dir].as_str().unwrap_or_default();
        assert!(
            ["EROFS", "EACCES", "EPERM", "ENOENT"].contains(&told),
            "{dir}: {told:?} in {ended}"
        );
    }
    assert_eq!(
        (&ended["result"]["/etc"], &ended["result"]["/var/tmp"]),
        (&"EROFS".into(), &"EROFS".into())
    );
    ward.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_written_cannot_gain_rights() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    let code = "const { copyFileSync, chmodSync, readFileSync } = await import('node:fs'); \
        const { spawnSync } = await import('node:child_process'); \
        copyFileSync('/bin/true', '/tmp/true'); chmodSync('/tmp/true', 0o4755); \
        const status = readFileSync('/proc/self/status', 'utf8'); \
        const field = (name) => status.match(new RegExp(`^${name}:\\\\s*(\\\\S+)`, 'm'))[1]; \
        return { noexec: spawnSync('/tmp/true').error?.code, uid: process.getuid(), gid: process.getgid(), \
          capabilities: field('CapEff'), bounding: field('CapBnd'), noNewPrivs: field('NoNewPrivs'), seccomp: field('Seccomp') };";
    let ended = ward.run(code, LONG).await?;
    let expected = json!({
        "noexec": "EACCES",
        "uid": 1000,
        "gid": 1000,
        "capabilities": "0000000000000000",
        "bounding": "0000000000000000",
        "noNewPrivs": "1",
        "seccomp": "2",
    });
    assert_eq!(ended["result"], expected, "{ended}");
    ward.stop().await;
    Ok(())
}
