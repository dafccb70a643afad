//! Why a connection did not come about, in words by which a person can mend it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Of a handshake that failed here.
pub(super) fn handshake(error: &io::Error) -> String {
    let failed = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(failed) = failed else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it left in the middle of the handshake".to_owned(),
            _ => whole_story(error),
        };
    };
    let why = match failed {
        Error::NoCertificatesPresented => "it showed no certificate",
        Error::InvalidCertificate(error) => return certificate(error),
        Error::InvalidMessage(_) => "it does not speak TLS",
        Error::NoApplicationProtocol => "it does not speak HTTP/2",
        Error::PeerIncompatible(_) => "it does not speak TLS 1.3",
        Error::AlertReceived(alert) => return alert_received(*alert),
        other => return other.to_string(),
    };
    why.to_owned()
}

fn certificate(error: &CertificateError) -> String {
    let why = match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of no authority in MCP_TLS_CA_FILE"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not good yet: look at the clocks of both machines"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is for another purpose"
        }
        other => return format!("its certificate is not accepted: {other}"),
    };
    why.to_owned()
}

/// What the other side said of this one.
fn alert_received(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => "it asks for a certificate",
        AlertDescription::CertificateExpired => {
            "it says that this side's certificate has expired, or is not good yet"
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it trusts no authority of this side's certificate"
        }
        AlertDescription::NoApplicationProtocol => "it does not speak HTTP/2",
        other => return format!("it refused this side's certificate: {other:?}"),
    };
    why.to_owned()
}

/// An error with all its causes: tonic's own text is only "transport error".
pub fn whole_story(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let further = cause.to_string();
        if !text.contains(&further) {
            text = format!("{text}: {further}");
        }
        source = cause.source();
    }
    text
}
