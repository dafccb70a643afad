//! What `dynamic-mcp` does instead of serving.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use dynamic_mcp_shared::clock::SystemClock;

use crate::audit::command::{self as audit, AuditCommand};
use crate::auth::dev::{self, DevCommand};
use crate::certs::{self, CertsCommand};
use crate::config::{Backend, Config};
use crate::health;
use crate::registry::{self, Roles};

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Dev(DevCommand),
    /// Make an authority and the certificates with which control planes and executors know each other
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Make or change the schema in Postgres as its owner (MCP_DYNAMIC_PG_URL), and let the other roles use it
    Migrate(MigrateArgs),
    /// Tell whether the server with these settings is ready: 0 if it is, 1 and why if not; for a container's health check
    Health,
    /// Look after the audit log
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Clone, Args)]
pub struct MigrateArgs {
    /// Role that the servers connect as, so that they need not own the tables
    #[arg(long, value_name = "NAME")]
    pub service_role: Option<String>,

    /// Role that may read what all tenants have, and change nothing
    #[arg(long, value_name = "NAME")]
    pub maintenance_role: Option<String>,
}

impl Command {
    /// # Errors
    /// Says what could not be done, in words for who typed it.
    pub async fn run(&self, config: &Config) -> anyhow::Result<ExitCode> {
        match self {
            Command::Dev(command) => dev::run(command, &config.state_dir()?).await?,
            Command::Certs(command) => certs::run(command, &SystemClock)?,
            Command::Migrate(args) => args.run(config).await?,
            Command::Health => say(&health::check(config).await?),
            Command::Audit(command) => return Ok(audit::run(command, config).await),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl MigrateArgs {
    async fn run(&self, config: &Config) -> anyhow::Result<()> {
        let backend = config.backend(&config.state_dir()?)?;
        let Backend::Postgres(postgres) = backend else {
            bail!("MCP_DYNAMIC_BACKEND is file, and a SQLite store has no roles; set it to postgres");
        };
        let roles = Roles {
            service: self.service_role.clone(),
            maintenance: self.maintenance_role.clone(),
        };
        registry::prepare(&postgres, &roles).await?;
        say(&format!("schema {} is up to date", postgres.schema));
        for (name, what) in [
            (&roles.service, "serves"),
            (&roles.maintenance, "reads across tenants"),
        ] {
            if let Some(name) = name {
                say(&format!("role {name} {what}"));
            }
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "it is the answer of the command")]
fn say(text: &str) {
    println!("{text}");
}
