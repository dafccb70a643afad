//! Code that means harm and has Node.js to do it with: processes, files, sockets.

use std::time::Duration;

use dynamic_mcp_shared::outcome::Outcome;
use serde_json::{Value, json};

use super::rig::DockerRig;
use crate::rig::{failure, job, result};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_meets_the_process_limit() {
    let rig = DockerRig::start().await;
    let code = "const { spawn } = await import('node:child_process');
        for (let i = 0; i < 500; i += 1) spawn('sleep', ['60']);
        await new Promise((r) => setTimeout(r, 10_000));";
    let finished = rig.beside_a_neighbour(code, 15_000).await;
    let message = failure(&finished, Outcome::Threw);
    assert!(message.contains("limit of 64 processes and threads"), "{message}");

    let shell = "const { spawnSync } = await import('node:child_process');
        return spawnSync('sh', ['-c', 'b() { b | b & }; b; sleep 60'], { timeout: 60_000 }).status;";
    let finished = rig.beside_a_neighbour(shell, 3_000).await;
    assert!(
        !finished.outcome.is_ok() || result(&finished) != 0,
        "{:?}",
        finished.outcome
    );
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_of_files_and_of_child_processes_is_the_sandboxs() {
    let rig = DockerRig::start().await;
    let tmpfs_and_buffers = "const fs = await import('node:fs');
        fs.writeFileSync('/tmp/a', Buffer.alloc(15 << 20, 1));
        const kept = []; for (;;) kept.push(Buffer.alloc(8 << 20, 1));";
    let child = "const { execFileSync } = await import('node:child_process');
        return execFileSync(process.execPath, ['-e', 'const k=[];for(;;)k.push(Buffer.alloc(8<<20,1))']).length;";
    for code in [tmpfs_and_buffers, child] {
        let finished = rig.beside_a_neighbour(code, 20_000).await;
        let message = failure(&finished, Outcome::OutOfMemory);
        assert!(message.contains("256m"), "{code}: {message}");
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_are_small_and_the_rest_is_read_only() {
    let rig = DockerRig::start().await;
    let fill = |path: &str| {
        format!(
            "const fs = await import('node:fs'); let n = 0;
            try {{ for (;;) {{ fs.writeFileSync('{path}/f' + n, Buffer.alloc(1 << 20)); n += 1 }} }}
            catch (e) {{ return [n, e.code] }}"
        )
    };
    assert_eq!(
        result(&rig.beside_a_neighbour(&fill("/tmp"), 20_000).await),
        json!([16, "ENOSPC"])
    );
    let workspace = result(&rig.beside_a_neighbour(&fill("/workspace"), 20_000).await);
    assert_eq!(workspace, json!([31, "ENOSPC"]));
    let elsewhere = "const fs = await import('node:fs');
        return ['/', '/etc', '/home/node', '/var/tmp', '/usr/local', '/dev', '/dev/shm', '/proc/1', '/sys/fs/cgroup']
            .map((dir) => { try { fs.writeFileSync(dir + '/x', 'x'); return dir } catch (e) { return e.code } })
            .filter((code) => !['EROFS', 'EACCES', 'ENOENT', 'EPERM'].includes(code));";
    assert_eq!(result(&rig.call(elsewhere).await), json!([]));
    let executable =
        "const fs = await import('node:fs'); const { spawnSync } = await import('node:child_process');
        fs.writeFileSync('/tmp/x', '#!/bin/sh\\necho ran'); fs.chmodSync('/tmp/x', 0o755);
        return spawnSync('/tmp/x').error.code;";
    assert_eq!(result(&rig.call(executable).await), "EACCES");
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_no_network_no_socket_and_nothing_to_see() {
    let rig = DockerRig::start().await;
    let network = "const net = await import('node:net'); const os = await import('node:os');
        const dns = await import('node:dns/promises');
        const tried = (host) => new Promise((r) => net.connect(80, host, () => r('connected')).on('error', (e) => r(e.code)));
        const looked = await dns.lookup('example.com').catch((e) => e.code);
        return [await tried('1.1.1.1'), await tried('172.17.0.1'), looked, Object.keys(os.networkInterfaces())]";
    let seen = result(&rig.beside_a_neighbour(network, 20_000).await);
    assert_eq!(seen, json!(["ENETUNREACH", "ENETUNREACH", "EAI_AGAIN", ["lo"]]));

    let secrets = "const fs = await import('node:fs');
        const read = (path) => { try { return fs.readFileSync(path, 'utf8') } catch (e) { return e.code } };
        return { environ: read('/proc/1/environ'), own: read('/proc/self/environ').split('\\0').map((v) => v.split('=')[0]),
            docker: [fs.existsSync('/var/run/docker.sock'), fs.existsSync('/run/docker.sock')],
            argv: /secret|nonce\"/.test(read('/proc/self/cmdline')), status: read('/proc/self/status') }";
    let finished = rig
        .run(job(secrets), json!({"password": "secret-argument"}))
        .await;
    let seen = result(&finished);
    assert_eq!(seen["docker"], json!([false, false]));
    assert!(
        !seen["environ"].as_str().unwrap().contains("secret"),
        "{}",
        seen["environ"]
    );
    let own: Vec<&str> = seen["own"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(!own.iter().any(|name| name.starts_with("MCP_")), "{own:?}");
    let status = seen["status"].as_str().unwrap();
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "Uid:\t1000",
    ] {
        assert!(status.contains(line), "{line} is not in\n{status}");
    }
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_frames_are_output_on_whatever_descriptor() {
    let rig = DockerRig::start().await;
    let code = r#"const fs = await import('node:fs');
        const forged = '\0' + 'a'.repeat(32) + 'r00008"forged"';
        fs.writeSync(1, forged); fs.writeSync(4, forged); process.stdout.write(forged);
        // Everything that a runner might use is replaced by something that looks for the nonce.
        const seen = [];
        const spy = (owner, name) => { const was = owner[name]; try { owner[name] = function (...a) {
            for (const v of [this, ...a]) { const s = typeof v === 'string' ? v : Buffer.isBuffer(v) ? v.toString('latin1') : '';
                const m = /\0[0-9a-f]{32}/.exec(s); if (m) seen.push(name) }
            return was.apply(this, a) } } catch {} };
        for (const name of Object.keys(fs)) if (typeof fs.default[name] === 'function' && /write|read|stat/.test(name)) spy(fs.default, name);
        for (const name of ['write', 'utf8Write', 'latin1Write', 'copy', 'toString', 'utf8Slice']) spy(Buffer.prototype, name);
        for (const name of ['padStart', 'slice', 'split', 'replace', 'indexOf', 'concat']) spy(String.prototype, name);
        for (const name of ['push', 'join', 'map', 'concat']) spy(Array.prototype, name);
        const stringify = JSON.stringify; JSON.stringify = () => '"patched"';
        Object.prototype.toJSON = () => 'patched'; delete Object.prototype.toJSON;
        setTimeout(() => {}, 0);
        return stringify(seen)"#;
    let finished = rig.beside_a_neighbour(code, 20_000).await;
    assert_eq!(result(&finished), "[]");
    assert_eq!(finished.stdout.to_text().matches("forged").count(), 3);
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_that_end_their_process_threw() {
    let rig = DockerRig::start().await;
    for (code, why) in [
        ("process.exit(3)", "exit code 3"),
        ("process.exit()", "exit code 0"),
        ("process.removeAllListeners(); process.exit(4)", "exit code 4"),
        ("process.reallyExit(5)", "exit code 5"),
        ("process.abort()", "signal 6"),
        (
            "process.kill(process.pid, 'SIGTERM'); await new Promise((r) => setTimeout(r, 9e3))",
            "signal 15",
        ),
    ] {
        let finished = rig.call(code).await;
        let message = failure(&finished, Outcome::Threw);
        assert!(message.contains(why), "{code}: {message}");
        assert!(
            finished.usage.duration < Duration::from_secs(5),
            "{code}: {:?}",
            finished.usage
        );
    }
    rig.assert_neighbour_unharmed().await;
    rig.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_that_closes_its_stdout_loses_its_output_only() {
    let rig = DockerRig::start().await;
    let finished = rig
        .call("const fs = await import('node:fs'); fs.closeSync(1); fs.closeSync(2); return 7")
        .await;
    assert_eq!(result(&finished), 7);
    let all = "const fs = await import('node:fs'); for (let fd = 0; fd < 6; fd += 1) fs.closeSync(fd)";
    let finished = rig.call(all).await;
    assert_eq!(
        failure(&finished, Outcome::Threw),
        "the code closed its output channel"
    );
    let instead = "const fs = await import('node:fs'); fs.closeSync(4); fs.openSync('/tmp/x', 'w'); return 1";
    let finished = rig.call(instead).await;
    assert_eq!(
        failure(&finished, Outcome::Threw),
        "the code closed its output channel"
    );
    rig.finish().await;
}
