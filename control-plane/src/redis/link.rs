//! One connection, to a server or to a cluster.

use std::path::Path;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo as _, Pipeline, RedisFuture,
    TlsCertificates, Value,
};
use secrecy::ExposeSecret as _;

use super::{DEADLINE, RedisConfig, RedisError};

/// Name resolution and a TLS handshake are in it.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// For each node of a cluster: one that swallows everything must not take the time of those that answer.
const CONNECT_TO_NODE: Duration = Duration::from_millis(800);

#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::Single(link) => link.req_packed_command(command),
            Link::Cluster(link) => link.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::Single(link) => link.req_packed_commands(commands, offset, count),
            Link::Cluster(link) => link.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::Single(link) => link.get_db(),
            Link::Cluster(link) => link.get_db(),
        }
    }
}

/// Makes links.
#[derive(Clone)]
pub(super) struct Dialer {
    /// One for each address; what is published at one node of a cluster is heard at all.
    nodes: Vec<Client>,
    cluster: Option<ClusterClient>,
}

impl Dialer {
    pub(super) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let urls: Vec<&str> = config.url.expose_secret().split(',').map(str::trim).collect();
        if urls.len() > 1 && !config.is_cluster {
            let problem =
                "names several servers; set MCP_REDIS_CLUSTER=true if they are one cluster".to_owned();
            return Err(RedisError::Config {
                setting: "MCP_REDIS_URL",
                problem,
            });
        }
        let certificates = config.ca_file.as_deref().map(certificates).transpose()?;
        let infos = urls
            .iter()
            .map(|url| address(url))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error))?;
        let nodes = infos
            .iter()
            .cloned()
            .map(|info| match &certificates {
                Some(certificates) => Client::build_with_tls(info, certificates.clone()),
                None => Client::open(info),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error))?;
        let cluster = config.is_cluster.then(|| {
            let mut builder = ClusterClient::builder(infos)
                .tcp_settings(tcp())
                .connection_timeout(CONNECT_TO_NODE)
                .response_timeout(DEADLINE)
                .retries(2);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            builder.build()
        });
        Ok(Self {
            nodes,
            cluster: cluster.transpose().map_err(|error| unusable(&error))?,
        })
    }

    pub(super) async fn dial(&self) -> Result<Link, RedisError> {
        let dialing = async {
            match (&self.cluster, &self.nodes[0]) {
                (Some(cluster), _) => cluster.get_async_connection().await.map(Link::Cluster),
                (None, node) => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(CONNECT))
                        .set_response_timeout(Some(DEADLINE));
                    let link = node.get_multiplexed_async_connection_with_config(&config).await;
                    link.map(Link::Single)
                }
            }
        };
        match tokio::time::timeout(CONNECT, dialing).await {
            Ok(link) => link.map_err(RedisError::from),
            Err(_) => Err(RedisError::Lost(format!(
                "no connection within {} s",
                CONNECT.as_secs()
            ))),
        }
    }

    /// A connection that hears what is published, at the first node that answers.
    pub(super) async fn dial_to_hear(&self) -> Result<PubSub, RedisError> {
        let mut last = RedisError::Away;
        for node in &self.nodes {
            match tokio::time::timeout(CONNECT, node.get_async_pubsub()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error.into(),
                Err(_) => last = RedisError::Lost(format!("no connection within {} s", CONNECT.as_secs())),
            }
        }
        Err(last)
    }
}

fn address(url: &str) -> redis::RedisResult<ConnectionInfo> {
    Ok(url.into_connection_info()?.set_tcp_settings(tcp()))
}

/// Without a delay: small commands of many tasks share one connection, and each would wait for the acknowledgement of
/// the one before.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn certificates(file: &Path) -> Result<TlsCertificates, RedisError> {
    let fault = |problem: String| RedisError::Config {
        setting: "MCP_REDIS_CA_FILE",
        problem,
    };
    let pem = std::fs::read_to_string(file)
        .map_err(|error| fault(format!("{} can't be read: {error}", file.display())))?;
    if !pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err(fault(format!("{} holds no PEM certificate", file.display())));
    }
    Ok(TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.into_bytes()),
    })
}

fn unusable(error: &redis::RedisError) -> RedisError {
    // Nothing else is read while the parts are put together.
    if error.is_io_error() {
        return RedisError::Config {
            setting: "MCP_REDIS_CA_FILE",
            problem: error.to_string(),
        };
    }
    RedisError::Config {
        setting: "MCP_REDIS_URL",
        problem: format!(
            "{} (redis://user:password@host:6379/0, or rediss:// with TLS)",
            error.category()
        ),
    }
}
