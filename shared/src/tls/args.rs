//! The settings of both planes, of the same names.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::switch::parse_switch;

pub const CA_FILE: &str = "MCP_TLS_CA_FILE";
pub const CERT_FILE: &str = "MCP_TLS_CERT_FILE";
pub const KEY_FILE: &str = "MCP_TLS_KEY_FILE";
pub const INSECURE: &str = "MCP_FLEET_INSECURE";

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Trust between the control plane and executors")]
pub struct TlsArgs {
    /// Certificates (PEM) of the authorities that vouch for the other side; changes are noticed, as with the next two
    #[arg(id = "tls_ca_file", long = "tls-ca-file", env = CA_FILE, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// This side's certificate (PEM), with what lies between it and the authority: `dynamic-mcp certs` makes one
    #[arg(id = "tls_cert_file", long = "tls-cert-file", env = CERT_FILE, value_name = "FILE")]
    pub cert_file: Option<PathBuf>,

    /// Key of that certificate (PEM)
    #[arg(id = "tls_key_file", long = "tls-key-file", env = KEY_FILE, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Let control plane and executors talk to each other in plaintext beyond this machine
    #[arg(
        id = "fleet_insecure",
        long = "fleet-insecure",
        visible_alias = "insecure",
        env = INSECURE,
        value_name = "BOOL",
        num_args = 0..=1,
        default_value = "false",
        default_missing_value = "true",
        value_parser = parse_switch
    )]
    pub insecure: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsArgs {
    /// `None`: plaintext.
    ///
    /// # Errors
    /// The setting at fault and what is wrong with it, when they don't go together.
    pub fn files(&self) -> Result<Option<TlsFiles>, (&'static str, String)> {
        let given = [
            (CA_FILE, &self.ca_file),
            (CERT_FILE, &self.cert_file),
            (KEY_FILE, &self.key_file),
        ];
        let (Some(ca), Some(cert), Some(key)) = (&self.ca_file, &self.cert_file, &self.key_file) else {
            let set = given.iter().find(|(_, file)| file.is_some());
            let lacking = given.iter().find(|(_, file)| file.is_none());
            return match (set, lacking) {
                (Some((set, _)), Some((lacking, _))) => Err((lacking, format!("is needed with {set}"))),
                _ => Ok(None),
            };
        };
        if self.insecure {
            let problem = format!("has no effect with {CERT_FILE}: what both sides say is encrypted");
            return Err((INSECURE, problem));
        }
        Ok(Some(TlsFiles {
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
        }))
    }
}

/// Why plaintext is refused at an address that is not this machine's own.
pub fn in_plaintext(address: &str) -> String {
    format!(
        "{address} is not on this machine, and without certificates what the control plane and executors say to each other \
         is not encrypted: make certificates (dynamic-mcp certs) and set {CA_FILE}, {CERT_FILE} and {KEY_FILE}, or allow it \
         with --insecure ({INSECURE}=true)"
    )
}

/// Whether a host, as it stands in a URL, is this machine and no other.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(ca: bool, cert: bool, key: bool, insecure: bool) -> TlsArgs {
        let file = |given: bool| given.then(|| PathBuf::from("file"));
        TlsArgs {
            ca_file: file(ca),
            cert_file: file(cert),
            key_file: file(key),
            insecure,
        }
    }

    #[test]
    fn all_three_files_are_given_or_none() {
        assert!(matches!(args(false, false, false, true).files(), Ok(None)));
        assert!(matches!(args(true, true, true, false).files(), Ok(Some(_))));
        for (args, setting) in [
            (args(false, true, true, false), CA_FILE),
            (args(true, false, true, false), CERT_FILE),
            (args(true, true, false, false), KEY_FILE),
            (args(true, true, true, true), INSECURE),
        ] {
            assert_eq!(args.files().unwrap_err().0, setting);
        }
    }

    #[test]
    fn this_machine_is_told_apart_from_others() {
        for host in ["127.0.0.1", "127.8.8.8", "[::1]", "::1", "localhost", "LOCALHOST"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "0.0.0.0",
            "[::]",
            "10.0.0.1",
            "localhost.example",
            "executor-1",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
