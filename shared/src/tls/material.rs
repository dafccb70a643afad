//! One set of files, read and checked as a whole. What comes out can be served with; a half-written set does not come out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use super::args::TlsFiles;
use super::certificate::Certificate;
use super::error::{Problem, TlsError};
use super::identity::{Identity, Role};

/// gRPC is HTTP/2.
const PROTOCOL: &[u8] = b"h2";

/// The bytes of the three files at one moment.
pub(super) struct Files {
    ca: Vec<u8>,
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// What connections are begun with.
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) certificate: Certificate,
    pub(super) identity: Identity,
}

impl Files {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let unreadable = |error| Problem::Unreadable(error);
        Ok(Self {
            ca: std::fs::read(&files.ca).map_err(|error| TlsError::ca(&files.ca, unreadable(error)))?,
            cert: std::fs::read(&files.cert)
                .map_err(|error| TlsError::cert(&files.cert, unreadable(error)))?,
            key: std::fs::read(&files.key).map_err(|error| TlsError::key(&files.key, unreadable(error)))?,
        })
    }

    /// By which a change is noticed.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for part in [&self.ca, &self.cert, &self.key] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

impl Material {
    /// Takes a set that this side can show at `now`: of its role, signed by an authority in the same set.
    pub(super) fn check(
        bytes: &Files,
        files: &TlsFiles,
        role: Role,
        now: DateTime<Utc>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(authorities(&bytes.ca, &files.ca)?);
        let chain = certificates(&bytes.cert).map_err(|problem| TlsError::cert(&files.cert, problem))?;
        let key = PrivateKeyDer::from_pem_slice(&bytes.key).map_err(|error| {
            let problem = match error {
                pem::Error::NoItemsFound => Problem::Empty("key"),
                other => Problem::NotPem(other.to_string()),
            };
            TlsError::key(&files.key, problem)
        })?;
        let certificate = Certificate::read(&chain[0])
            .map_err(|problem| TlsError::cert(&files.cert, Problem::Unusable(problem)))?;
        let identity =
            identity(&certificate, role).map_err(|problem| TlsError::cert(&files.cert, problem))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| TlsError::ca(&files.ca, Problem::Unusable(error.to_string())))?;
        vouched_for(&chain, &roots, &*verifier, &provider, now).map_err(|error| {
            TlsError::cert(
                &files.cert,
                not_vouched_for(error, &certificate, &identity, &files.ca),
            )
        })?;
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            let problem = match error {
                Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    Problem::OtherKey(files.cert.clone())
                }
                other => Problem::Unusable(other.to_string()),
            };
            TlsError::key(&files.key, problem)
        })?;
        let key = Arc::new(SingleCertAndKey::from(key));
        let unusable = |error: Error| TlsError::cert(&files.cert, Problem::Unusable(error.to_string()));
        Ok(Self {
            server: server(verifier, key.clone(), provider.clone()).map_err(unusable)?,
            client: client(roots, key, provider).map_err(unusable)?,
            certificate,
            identity,
        })
    }
}

fn authorities(bytes: &[u8], path: &Path) -> Result<RootCertStore, TlsError> {
    let fault = |problem| TlsError::ca(path, problem);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes).map_err(fault)? {
        roots
            .add(certificate)
            .map_err(|error| fault(Problem::Unusable(error.to_string())))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Problem::NotPem(error.to_string()))?;
    if certificates.is_empty() {
        return Err(Problem::Empty("certificate"));
    }
    Ok(certificates)
}

fn identity(certificate: &Certificate, role: Role) -> Result<Identity, Problem> {
    let command = role.command();
    let identity = certificate.identity().map_err(|why| Problem::NoIdentity {
        why: why.to_owned(),
        command,
    })?;
    if identity.role() == role {
        return Ok(identity.clone());
    }
    Err(Problem::WrongRole {
        found: identity.clone(),
        wanted: role,
        command,
    })
}

/// As the other side will look at it, from either end of a connection.
fn vouched_for(
    chain: &[CertificateDer<'static>],
    roots: &RootCertStore,
    as_client: &dyn ClientCertVerifier,
    provider: &CryptoProvider,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let since_1970 = Duration::from_secs(now.timestamp().try_into().unwrap_or(0));
    let now = UnixTime::since_unix_epoch(since_1970);
    let (own, between) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    as_client.verify_client_cert(own, between, now)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(own)?,
        roots,
        between,
        now,
        algorithms,
    )
}

fn not_vouched_for(error: Error, certificate: &Certificate, identity: &Identity, ca: &Path) -> Problem {
    match error {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Problem::Expired {
                when: certificate.not_after(),
                command: identity.command(),
            }
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Problem::NotYet(certificate.not_before()),
        other => Problem::OtherAuthority {
            ca: ca.to_owned(),
            why: other.to_string(),
        },
    }
}

fn server(
    verifier: Arc<dyn ClientCertVerifier>,
    key: Arc<SingleCertAndKey>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(key);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // Who resumes a session shows no certificate, which may have expired meanwhile.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn client(
    roots: Arc<RootCertStore>,
    key: Arc<SingleCertAndKey>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_cert_resolver(key);
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
