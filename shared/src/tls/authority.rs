//! A private authority that makes certificates for both planes. Its key belongs on no machine that serves.

use std::net::IpAddr;
use std::str::FromStr as _;

use chrono::{DateTime, Utc};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;

use super::certificate::{Certificate, server_name};
use super::identity::Identity;

pub struct Authority {
    certificate: String,
    key: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: DateTime<Utc>,
}

/// What a certificate shall say.
#[derive(Debug, Clone)]
pub struct Request {
    pub identity: Identity,
    /// DNS names and IP addresses under which others reach it.
    pub hosts: Vec<String>,
    pub not_before: DateTime<Utc>,
    /// The authority's own end, if that comes first.
    pub not_after: DateTime<Utc>,
}

/// Both in PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
    pub not_after: DateTime<Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("{0}")]
    Host(String),
    #[error("the authority's certificate can't be used: {0}")]
    Certificate(String),
    #[error("the authority's key is not its certificate's")]
    OtherKey,
    #[error("{0}")]
    Signing(#[from] rcgen::Error),
}

impl Authority {
    /// # Errors
    /// When no key can be made.
    pub fn new(not_before: DateTime<Utc>, not_after: DateTime<Utc>) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // By it a person tells several authorities of one bundle apart, and programs find the right one at once.
        let name = &crate::ids::random_uuid().simple().to_string()[..8];
        params.distinguished_name = subject(&format!("dynamic-mcp CA {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = time(not_before)?;
        params.not_after = time(not_after)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
            not_after,
        })
    }

    /// One that was made before.
    ///
    /// # Errors
    /// When it can't sign with them.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let wrong = |error: &dyn std::fmt::Display| AuthorityError::Certificate(error.to_string());
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|error| wrong(&error))?;
        let read = Certificate::read(&der).map_err(|error| wrong(&error))?;
        let pair = KeyPair::from_pem(key)?;
        if !contains(&der, pair.public_key_raw()) {
            return Err(AuthorityError::OtherKey);
        }
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            issuer: Issuer::from_ca_cert_der(&der, pair)?,
            not_after: read.not_after(),
        })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    pub fn key_pem(&self) -> &str {
        &self.key
    }

    pub fn not_after(&self) -> DateTime<Utc> {
        self.not_after
    }

    /// # Errors
    /// When a host is neither a DNS name nor an IP address.
    pub fn issue(&self, request: &Request) -> Result<Pair, AuthorityError> {
        let key = KeyPair::generate()?;
        let not_after = request.not_after.min(self.not_after);
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&request.identity.to_string());
        params.subject_alt_names = vec![SanType::URI(ia5(&request.identity.uri())?)];
        for host in &request.hosts {
            params.subject_alt_names.push(name(host)?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Each side is a client of the other.
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = time(request.not_before)?;
        params.not_after = time(not_after)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            not_after,
        })
    }
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn name(host: &str) -> Result<SanType, AuthorityError> {
    server_name(host).map_err(AuthorityError::Host)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match IpAddr::from_str(bare) {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(ia5(bare)?)),
    }
}

fn ia5(text: &str) -> Result<Ia5String, AuthorityError> {
    Ia5String::try_from(text.to_owned()).map_err(AuthorityError::Signing)
}

fn time(time: DateTime<Utc>) -> Result<OffsetDateTime, AuthorityError> {
    OffsetDateTime::from_unix_timestamp(time.timestamp())
        .map_err(|_| AuthorityError::Signing(rcgen::Error::Time))
}

/// An EC key is in its certificate as it is.
fn contains(der: &[u8], key: &[u8]) -> bool {
    der.windows(key.len()).any(|window| window == key)
}
