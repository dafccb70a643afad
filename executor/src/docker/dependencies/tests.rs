//! Volumes on a real Docker Engine. The packages' own registry is not asked: the locks here are empty.

use dynamic_mcp_shared::clock::{ManualClock, SystemClock};
use dynamic_mcp_shared::ids::JobId;
use dynamic_mcp_shared::policy::DEFAULT_IMAGE;
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

const EMPTY: &[u8] = br#"{"lockfileVersion": 3, "packages": {"": {}}}"#;

struct Bench {
    dependencies: Dependencies,
    clock: Arc<ManualClock>,
    janitor: Arc<Janitor>,
    tenant: TenantId,
    _state: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let identity = Arc::new(Identity::claim(state.path()).unwrap());
        let client = Arc::new(EngineClient::new(None).unwrap());
        // Beginning with the time that it is: the Engine says by its own clock when a volume was made, and volumes of
        // others must not seem to have expired.
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let janitor = Janitor::start(Arc::clone(&client), &TaskTracker::new(), CancellationToken::new());
        let dependencies = Dependencies::new(
            client,
            Arc::new(DockerConfig::default()),
            identity,
            Arc::clone(&janitor),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self {
            dependencies,
            clock,
            janitor,
            tenant: JobId::generate().as_str().parse().unwrap(),
            _state: state,
        }
    }

    async fn install(&self) -> String {
        let installed = self
            .dependencies
            .ensure_installed(&self.tenant, DEFAULT_IMAGE, EMPTY);
        let volume = installed.await.unwrap();
        self.janitor.idle().await;
        volume
    }

    async fn is_there(&self, volume: &str) -> bool {
        let found = self.dependencies.client.inspect_volume(volume).await;
        found.unwrap().is_some()
    }

    /// What [`Self::install`] will use.
    async fn volume(&self) -> String {
        let image_id = self.dependencies.image(DEFAULT_IMAGE).await.unwrap();
        let registry = self
            .dependencies
            .registry(DEFAULT_IMAGE, &image_id)
            .await
            .unwrap();
        let lock = self.dependencies.check(EMPTY, &registry).unwrap();
        volume::volume_name(&volume::key(&self.tenant, registry.url(), &image_id, &lock))
    }
}

fn docker(args: &[&str]) -> String {
    let out = std::process::Command::new("docker").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_volume_is_collected_a_day_after_its_last_use_and_not_while_a_container_has_it() {
    let bench = Bench::new();
    let volume = bench.install().await;
    bench.clock.advance(chrono::Duration::hours(23));
    bench.dependencies.collect().await.unwrap();
    assert!(bench.is_there(&volume).await);

    bench.clock.advance(chrono::Duration::hours(2));
    let mount = format!("{volume}:/deps:ro");
    let container = docker(&["create", "-v", &mount, DEFAULT_IMAGE]);
    bench.dependencies.collect().await.unwrap();
    assert!(bench.is_there(&volume).await);

    docker(&["rm", &container]);
    bench.dependencies.collect().await.unwrap();
    assert!(!bench.is_there(&volume).await);
}

#[tokio::test]
async fn a_volume_that_the_engine_made_by_itself_is_not_taken_for_an_install() {
    let bench = Bench::new();
    let volume = bench.volume().await;
    docker(&["volume", "create", &volume]);
    assert_eq!(bench.install().await, volume);
    let found = bench.dependencies.client.inspect_volume(&volume).await;
    assert!(is_ours(&found.unwrap().unwrap().labels));
    docker(&["volume", "rm", &volume]);
}

#[tokio::test]
async fn a_volume_that_belongs_to_root_changes_hands() {
    let bench = Bench::new();
    let volume = bench.volume().await;
    bench
        .dependencies
        .make_volume(&bench.tenant, &volume)
        .await
        .unwrap();
    // As Docker leaves it for an image without the user's folder.
    let mount = format!("{volume}:/made/by/root");
    let touch = [
        "run",
        "--rm",
        "--network=none",
        "--user=0:0",
        "-v",
        &mount,
        DEFAULT_IMAGE,
        "touch",
        "/made/by/root/x",
    ];
    docker(&touch);
    assert_eq!(bench.install().await, volume);
    docker(&["volume", "rm", &volume]);
}

#[tokio::test]
async fn a_container_of_an_install_reaches_nothing_by_itself() {
    const PROBE: &str = "
        const net = require('node:net');
        const connect = (host, port) => new Promise((resolve) => {
            net.connect({ host, port, timeout: 5000 })
                .on('connect', () => resolve('connected'))
                .on('timeout', () => resolve('timeout'))
                .on('error', (error) => resolve(error.code));
        });
        (async () => {
            const [port, ...hosts] = process.argv.slice(1);
            const reached = [];
            for (const host of hosts) reached.push(await connect(host, Number(port)));
            const name = await require('node:dns').promises.lookup('registry.npmjs.org').catch(() => 'unknown');
            console.log(JSON.stringify({ networks: Object.keys(require('node:os').networkInterfaces()), reached, name }));
            process.exit(0);
        })();";
    let bench = Bench::new();
    let dependencies = &bench.dependencies;
    // Whatever address the host has, this listens on it.
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let gateway = docker(&[
        "network",
        "inspect",
        "bridge",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
    ]);
    let name = one_time_name("probe");
    let expires = dependencies.clock.now() + chrono::Duration::minutes(5);
    let labels = labels(
        &dependencies.identity,
        labels::Kind::Install,
        &name,
        None,
        expires,
    );
    let mut body = profile::container_config(Purpose::Resolve, DEFAULT_IMAGE, labels);
    body.entrypoint = Some(["node", "-e", PROBE].map(str::to_owned).to_vec());
    body.cmd = Some(vec![
        port,
        gateway,
        "127.0.0.1".to_owned(),
        "104.16.0.35".to_owned(),
    ]);
    let client = &dependencies.client;
    client.create(&name, body).await.unwrap();
    let mut streams = client.attach(&name).await.unwrap();
    client.start(&name).await.unwrap();
    let mut said = String::new();
    while let Some(Ok(output)) = streams.output.next().await {
        said.push_str(&output.to_string());
    }
    client.remove(&name).await.unwrap();
    let seen: Value = serde_json::from_str(&said).unwrap();
    let expected = json!({"networks": ["lo"], "reached": ["ENETUNREACH", "ECONNREFUSED", "ENETUNREACH"], "name": "unknown"});
    assert_eq!(seen, expected);
}
