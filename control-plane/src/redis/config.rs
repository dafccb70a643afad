//! Where it is, and what is ours in it.

use std::path::PathBuf;

use secrecy::SecretString;

#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://` or `rediss://` with user and password; of a cluster several, separated by commas.
    pub url: SecretString,
    pub is_cluster: bool,
    /// Whom its certificate must be of; `None`: whom this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What all keys begin with, so that several deployments can share one.
    pub prefix: String,
}
