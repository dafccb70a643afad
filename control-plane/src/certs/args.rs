//! What `dynamic-mcp certs` can be told.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use dynamic_mcp_shared::ids::ExecutorId;

pub(super) const AUTHORITY_DAYS: u32 = 3_650;

#[derive(Debug, Clone, Subcommand)]
pub enum CertsCommand {
    /// Make an authority: ca.pem, which both planes trust, and ca.key, which makes certificates
    Init(InitArgs),
    /// Make the control plane's certificate, for all its replicas or for one
    ControlPlane(ControlPlaneArgs),
    /// Make an executor's certificate
    Executor(ExecutorArgs),
    /// Make the certificates of a whole deployment, and an authority if there is none
    All(AllArgs),
}

#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Directory of the certificates
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,

    /// Replace what is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Lifetime {
    /// How long it is good for; a certificate never outlives its authority
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..=36_500)
    )]
    pub days: u32,
}

#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    #[command(flatten)]
    pub place: Place,

    /// How long it is good for; no certificate of it is any longer
    #[arg(
        long,
        value_name = "DAYS",
        default_value_t = AUTHORITY_DAYS,
        value_parser = clap::value_parser!(u32).range(1..=36_500)
    )]
    pub days: u32,
}

#[derive(Debug, Clone, Args)]
pub struct ControlPlaneArgs {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub lifetime: Lifetime,

    /// Name or IP address by which executors reach it; several are given separately or with commas
    #[arg(long = "host", value_name = "HOST", required = true, value_delimiter = ',')]
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ExecutorArgs {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub lifetime: Lifetime,

    /// The executor's id, "exe_…"; one is made up if none is given
    #[arg(long, value_name = "ID")]
    pub id: Option<ExecutorId>,

    /// Name or IP address by which the control plane reaches it; several are given separately or with commas
    #[arg(long = "host", value_name = "HOST", required = true, value_delimiter = ',')]
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct AllArgs {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub lifetime: Lifetime,

    /// Names or IP addresses by which executors reach the control plane, separated by commas
    #[arg(long, value_name = "HOSTS", required = true, value_delimiter = ',')]
    pub control_plane: Vec<String>,

    /// An executor and the names or IP addresses by which it is reached: exe_one=host,host; once for each
    #[arg(long = "executor", value_name = "ID=HOSTS", required = true)]
    pub executors: Vec<Member>,
}

/// An executor of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: ExecutorId,
    pub hosts: Vec<String>,
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, hosts) = text
            .split_once('=')
            .filter(|(_, hosts)| !hosts.is_empty())
            .ok_or("an executor's id, an equals sign and its hosts: exe_one=host,host")?;
        Ok(Self {
            id: id
                .parse()
                .map_err(|error: dynamic_mcp_shared::ids::InvalidId| error.to_string())?,
            hosts: hosts.split(',').map(str::to_owned).collect(),
        })
    }
}
