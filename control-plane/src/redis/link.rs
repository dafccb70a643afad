//! One connection, to a server or to a cluster.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo as _, Pipeline, RedisFuture, TlsCertificates,
    Value,
};
use secrecy::ExposeSecret as _;

use super::{DEADLINE, RedisConfig, RedisError};

/// Name resolution and a TLS handshake are in it.
const CONNECT: Duration = Duration::from_secs(2);

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
        let certificates = match &config.ca_file {
            None => None,
            Some(file) => Some(TlsCertificates {
                client_tls: None,
                root_cert: Some(std::fs::read(file).map_err(|error| RedisError::Config {
                    setting: "MCP_REDIS_CA_FILE",
                    problem: format!("{} can't be read: {error}", file.display()),
                })?),
            }),
        };
        let nodes = urls
            .iter()
            .map(|url| match &certificates {
                Some(certificates) => Client::build_with_tls(*url, certificates.clone()),
                None => Client::open(*url),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error))?;
        let cluster = config.is_cluster.then(|| {
            let infos: Result<Vec<_>, _> = urls.iter().map(|url| url.into_connection_info()).collect();
            let mut builder = ClusterClient::builder(infos?)
                .connection_timeout(CONNECT)
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

fn unusable(error: &redis::RedisError) -> RedisError {
    RedisError::Config {
        setting: "MCP_REDIS_URL",
        problem: format!(
            "{} (redis://user:password@host:6379/0, or rediss:// with TLS)",
            error.category()
        ),
    }
}
