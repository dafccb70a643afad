//! What of a certificate matters here. Whether anybody vouches for it is not known at this point: that is
//! [`super::material`]'s question for this side's own, and the handshake's for the other side's.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::identity::Identity;

#[derive(Debug, Clone)]
pub struct Certificate {
    der: CertificateDer<'static>,
    /// Why not, if it names none.
    identity: Result<Identity, String>,
    /// DNS names and IP addresses, for messages.
    hosts: Vec<String>,
    not_before: DateTime<Utc>,
    not_after: DateTime<Utc>,
}

impl Certificate {
    /// # Errors
    /// When it is not a certificate.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| error.to_string())?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let time = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
        let validity = certificate.validity();
        let (not_before, not_after) = time(validity.not_before)
            .zip(time(validity.not_after))
            .ok_or("its dates are out of range")?;
        Ok(Self {
            der: der.clone().into_owned(),
            identity: identity(names),
            hosts: names.iter().filter_map(host).collect(),
            not_before,
            not_after,
        })
    }

    /// # Errors
    /// Says why it has none.
    pub fn identity(&self) -> Result<&Identity, &str> {
        self.identity.as_ref().map_err(String::as_str)
    }

    /// Whether one of its names is that host: a DNS name, or an IP address with or without brackets.
    pub fn covers(&self, host: &str) -> bool {
        let Ok(name) = server_name(host) else {
            return false;
        };
        ParsedCertificate::try_from(&self.der)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }

    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub fn not_before(&self) -> DateTime<Utc> {
        self.not_before
    }

    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }
}

/// # Errors
/// When it can be neither.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| format!("{host:?} is neither a DNS name nor an IP address"))
}

/// SPIFFE's rule: exactly one URI, so that nobody can read another one than somebody else.
fn identity(names: &[GeneralName<'_>]) -> Result<Identity, String> {
    let uris: Vec<_> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => uri.parse().map_err(|error: super::NoIdentity| error.to_string()),
        [] => Err("it names no URI".to_owned()),
        several => Err(format!("it names {} URIs, and must name one", several.len())),
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
