//! A schema of its own in the Postgres that the tests are given.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Dropped with [`Schema::drop_it`]; that of a failed test stays for a look at it, until the database goes.
pub struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// # Errors
    /// When no Postgres is there.
    pub fn new() -> Result<Self> {
        let url = std::env::var("TEST_POSTGRES_URL").map_err(|_| {
            anyhow!("TEST_POSTGRES_URL is not set: run scripts/test, or eval \"$(scripts/services)\" first")
        })?;
        #[expect(
            clippy::disallowed_methods,
            reason = "only to be unlike the names of other runs"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        Ok(Self {
            url,
            name: format!("e2e_{}_{now}", std::process::id()),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same database, reached through another address.
    ///
    /// # Errors
    /// When an address is not one.
    pub fn url_by(&self, address: &str) -> Result<String> {
        let address: SocketAddr = address.parse()?;
        let mut url = Url::parse(&self.url)?;
        let set = url
            .set_ip_host(address.ip())
            .and_then(|()| url.set_port(Some(address.port())));
        set.map_err(|()| anyhow!("{} can't have another address", self.url))?;
        Ok(url.into())
    }

    /// Where the database listens.
    ///
    /// # Errors
    /// When its name can't be resolved.
    pub async fn address(&self) -> Result<SocketAddr> {
        let url = Url::parse(&self.url)?;
        let host = url.host_str().context("a host")?;
        let mut addresses = tokio::net::lookup_host((host, url.port().unwrap_or(5432))).await?;
        addresses.next().context("an address")
    }

    /// # Errors
    /// When the database does not answer.
    pub async fn drop_it(self) -> Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        // Its name is made of digits above.
        let statement = AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {} CASCADE", self.name));
        sqlx::query(statement).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }
}
