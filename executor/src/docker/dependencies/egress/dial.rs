//! From the registry's name to a connection: looked up once, every address checked, and a checked address dialled, so
//! that no second look-up can answer something else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Denied, Egress, address};

const LOOK_UP: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// Names to addresses.
#[async_trait]
pub(in super::super) trait Resolver: Send + Sync {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// As the executor's machine is set up.
pub(in super::super) struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

impl Egress {
    pub(super) async fn dial(&self) -> Result<TcpStream, Denied> {
        let mut last = "it has no address".to_owned();
        for address in self.addresses().await? {
            let address = SocketAddr::new(address, self.registry.port);
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.reached();
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no answer within {} s", CONNECT.as_secs()),
            }
        }
        Err(self.unreachable(last))
    }

    /// One that must not be dialled spoils the others: a name that has both is not to be trusted.
    async fn addresses(&self) -> Result<Vec<IpAddr>, Denied> {
        let host = &self.registry.host;
        let found = match timeout(LOOK_UP, self.resolver.look_up(host)).await {
            Ok(found) => found.map_err(|error| self.unreachable(error.to_string()))?,
            Err(_) => return Err(self.unreachable("its name could not be looked up in time".to_owned())),
        };
        for address in &found {
            address::check(*address, &self.networks).map_err(|kind| Denied::Address {
                host: host.clone(),
                address: *address,
                kind,
            })?;
        }
        Ok(found.into_iter().take(MAX_ADDRESSES).collect())
    }

    fn unreachable(&self, why: String) -> Denied {
        let host = self.registry.host.clone();
        Denied::Unreachable { host, why }
    }
}
