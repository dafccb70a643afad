//! `dynamic-mcp health`: whether the server that runs with the same settings is ready. For a container's health check, so that
//! its image needs no other program for that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::config::{Config, Transport};

/// Shorter than what an image gives its health check.
const DEADLINE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    #[error(
        "MCP_TRANSPORT: nobody can ask a server over stdio how it is; health is for http, with the settings of the server"
    )]
    Stdio,
    #[error(
        "MCP_PORT: is 0, so the server took a free port that is not known here; set it to the one it logged"
    )]
    UnknownPort,
    #[error("no answer at {url}")]
    NoAnswer { url: String, source: reqwest::Error },
    #[error("not ready at {url}: {says}")]
    NotReady { url: String, says: String },
}

/// Asks `/readyz`, and says what it said. What is degraded is no fault: the server serves.
///
/// # Errors
/// When the server is not ready, can't be asked or does not answer.
pub async fn check(config: &Config) -> Result<String, HealthError> {
    if config.server.transport != Transport::Http {
        return Err(HealthError::Stdio);
    }
    if config.http.port == 0 {
        return Err(HealthError::UnknownPort);
    }
    let url = format!(
        "http://{}:{}/readyz",
        dialled(&config.http.host),
        config.http.port
    );
    ask(url).await
}

async fn ask(url: String) -> Result<String, HealthError> {
    let answered = async {
        // The server is on this machine, whatever proxy others are reached by.
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
        let response = client.get(&url).send().await?;
        Ok((response.status(), response.text().await?))
    };
    match answered.await {
        Ok((StatusCode::OK, body)) => Ok(status(&body)),
        Ok((code, body)) => {
            let says = format!("{} ({})", status(&body), code.as_u16());
            Err(HealthError::NotReady { url, says })
        }
        Err(source) => Err(HealthError::NoAnswer { url, source }),
    }
}

/// One line: an orchestrator shows it beside the container.
fn status(body: &str) -> String {
    let report: Value = serde_json::from_str(body).unwrap_or_default();
    let status = report["status"].as_str().unwrap_or("unknown");
    match report["degraded"].as_object() {
        Some(degraded) => {
            let parts: Vec<&str> = degraded.keys().map(String::as_str).collect();
            format!("{status}: {}", parts.join(", "))
        }
        None => status.to_owned(),
    }
}

/// The host as a URL has it. A server that listens everywhere is asked on loopback.
fn dialled(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use axum::{Json, Router};
    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    /// What is said of a server that answers so.
    async fn said_of(code: StatusCode, report: Value) -> Result<String, HealthError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let router = Router::new().route("/readyz", get(move || async move { (code, Json(report)) }));
        let mut server = JoinSet::new();
        server.spawn(async { axum::serve(listener, router).await });
        ask(url).await
    }

    #[tokio::test]
    async fn a_degraded_server_is_healthy_and_its_parts_are_named() {
        let degraded =
            json!({"ready": true, "status": "degraded", "degraded": {"redis": "gone", "tls": "old"}});
        assert_eq!(
            said_of(StatusCode::OK, degraded).await.unwrap(),
            "degraded: redis, tls"
        );
        let ready = json!({"ready": true, "status": "ready"});
        assert_eq!(said_of(StatusCode::OK, ready).await.unwrap(), "ready");
    }

    #[tokio::test]
    async fn a_server_that_drains_is_not_healthy() {
        let draining = json!({"ready": false, "status": "draining"});
        let error = said_of(StatusCode::SERVICE_UNAVAILABLE, draining)
            .await
            .unwrap_err();
        assert!(error.to_string().ends_with("draining (503)"), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        drop(listener);
        assert!(matches!(
            ask(url).await.unwrap_err(),
            HealthError::NoAnswer { .. }
        ));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_loopback() {
        for (host, expected) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "[::1]"),
            ("fd00::1", "[fd00::1]"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(dialled(host), expected);
        }
    }
}
