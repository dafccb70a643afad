//! Code that looks for a way out: the network, the Engine, the secrets of whoever started it.

use anyhow::{Context, Result};
use dynamic_mcp_tests::client::Era;
use dynamic_mcp_tests::measured::measured;
use dynamic_mcp_tests::on::On;
use dynamic_mcp_tests::server::AllInOne;
use serde_json::{Value, json};

use crate::hostile::{LONG, Ward};

#[tokio::test]
async fn there_is_no_network() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    let port: u16 = ward
        .server
        .base_url
        .rsplit(':')
        .next()
        .context("a port")?
        .parse()?;
    let code = "const net = await import('node:net'); const dns = await import('node:dns/promises'); \
        const os = await import('node:os'); const dgram = await import('node:dgram'); \
        const dial = (host, port) => new Promise((resolve) => { \
          const socket = net.connect({ host, port }, () => { socket.destroy(); resolve('connected'); }); \
          socket.on('error', (error) => resolve(error.code)); \
        }); \
        const send = (host) => new Promise((resolve) => \
          dgram.createSocket('udp4').send('x', 53, host, (error) => resolve(error ? error.code : 'sent'))); \
        return { \
          internet: await dial('1.1.1.1', 80), bridge: await dial('172.17.0.1', 22), metadata: await dial('169.254.169.254', 80), \
          server: await dial('127.0.0.1', args.port), datagram: await send('1.1.1.1'), \
          name: await dns.lookup('example.com').then(() => 'found', (error) => error.code), \
          interfaces: Object.keys(os.networkInterfaces()), \
        };";
    let arguments = json!({"code": code, "args": {"port": port}});
    let ended = ward
        .beside_the_neighbour(ward.client.call("run_js_ephemeral", arguments))
        .await?;
    let result = &ended["result"];
    measured(format!("{result}"));
    for way in ["internet", "bridge", "metadata", "datagram"] {
        assert_eq!(result[way], "ENETUNREACH", "{way}: {ended}");
    }
    assert_eq!(result["server"], "ECONNREFUSED", "{ended}");
    assert!(
        ["EAI_AGAIN", "ENOTFOUND"].contains(&result["name"].as_str().unwrap_or_default()),
        "{ended}"
    );
    let interfaces = result["interfaces"].as_array().context("a list")?;
    assert!(interfaces.iter().all(|name| name == "lo"), "{ended}");
    ward.stop().await;
    Ok(())
}

const SECRETS: [&str; 4] = [
    "secret-admin",
    "stray",
    "the-mark-of-this-code",
    "an-argument-of-the-call",
];

#[tokio::test]
async fn no_process_holds_a_secret_or_the_code() -> Result<()> {
    let secrets = [
        ("MCP_ADMIN_TOKEN", "a-very-secret-admin-token"),
        ("MCP_SECRET_PROBE", "a-stray-setting"),
    ];
    let server = AllInOne::start(&[&secrets, On::Docker.settings()].concat()).await?;
    let client = server.client(Era::Modern).await?;
    let code = "const { readFileSync, readdirSync } = await import('node:fs'); \
        const read = (file) => { try { return readFileSync(file, 'latin1'); } catch (error) { return error.code; } }; \
        const told = {}; \
        for (const pid of readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name)).concat('self')) \
          for (const file of ['environ', 'cmdline']) told[`/proc/${pid}/${file}`] = read(`/proc/${pid}/${file}`); \
        told.env = JSON.stringify(process.env); told.argv = JSON.stringify([process.argv, process.execArgv]); \
        return told; // the-mark-of-this-code";
    let arguments = json!({"code": code, "args": {"secret": "an-argument-of-the-call"}});
    let seen = client.structured("run_js_ephemeral", arguments).await?["result"].clone();
    assert!(seen["/proc/1/environ"].is_string(), "{seen}");
    assert!(
        seen["/proc/self/environ"]
            .as_str()
            .is_some_and(|environ| environ.contains("HOME=")),
        "{seen}"
    );
    for (place, text) in seen.as_object().context("what was seen")? {
        let text = text.as_str().unwrap_or_default();
        let is_environment = place.contains("env");
        // The runner, which is on the command line, names a setting in an error.
        for secret in ["MCP_", "TOKEN"]
            .into_iter()
            .filter(|_| is_environment)
            .chain(SECRETS)
        {
            assert!(!text.contains(secret), "{place} holds {secret}: {text}");
        }
    }
    server.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_engines_socket_and_the_hosts_files_are_not_there() -> Result<()> {
    let ward = Ward::start(On::Docker).await?;
    let code = "const { existsSync, readFileSync, readdirSync } = await import('node:fs'); \
        const { spawnSync } = await import('node:child_process'); \
        const found = spawnSync('/usr/bin/find', ['/', '-xdev', '-type', 's'], { encoding: 'utf8' }).stdout; \
        const mounts = readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\\n').map((line) => line.split(' ')[4]); \
        return { sockets: [...['/var/run/docker.sock', '/run/docker.sock', '/run/containerd/containerd.sock'].filter(existsSync), \
          ...(found ?? '').trim().split('\\n').filter(Boolean)], mounts, disks: readdirSync('/dev').filter((name) => /^(sd|vd|nvme|loop|mem|kmsg)/.test(name)) };";
    let ended = ward.run(code, LONG).await?;
    assert_eq!(
        (&ended["result"]["sockets"], &ended["result"]["disks"]),
        (&json!([]), &json!([])),
        "{ended}"
    );
    let inside = [
        "/proc",
        "/dev",
        "/sys",
        "/tmp",
        "/workspace",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
    ];
    let mounts = ended["result"]["mounts"].as_array().context("mounts")?;
    for mount in mounts
        .iter()
        .filter_map(Value::as_str)
        .filter(|mount| *mount != "/")
    {
        let of_the_engine = mount.ends_with("/docker-init");
        let known = inside
            .iter()
            .any(|place| mount == *place || mount.starts_with(&format!("{place}/")));
        assert!(known || of_the_engine, "{mount} is mounted: {mounts:?}");
    }
    ward.stop().await;
    Ok(())
}
