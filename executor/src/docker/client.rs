//! Every call of the Engine API goes through here: it has a deadline that covers its whole answer (bollard's own
//! covers the headers only), an error that names the step, and a duration in the metrics.
//!
//! The client never connects ahead: an Engine that is absent now may be there at the next call.

mod error;

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bollard::container::AttachContainerResults;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, ImageInspect, Volume,
    VolumeCreateRequest,
};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, CreateImageOptions, InspectContainerOptions,
    KillContainerOptions, ListContainersOptions, ListVolumesOptions, RemoveContainerOptions,
    RemoveVolumeOptions, StartContainerOptions, WaitContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt as _;
use parking_lot::RwLock;
use tokio::time::{Instant, timeout};

pub use error::EngineError;

use crate::metric_names;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The Engine makes about seven containers a second on two cores whatever we do, so a queue of eight takes its time.
const CREATE: Duration = Duration::from_secs(20);
const START: Duration = Duration::from_secs(20);
const ATTACH: Duration = Duration::from_secs(10);
const KILL: Duration = Duration::from_secs(10);
const REMOVE: Duration = Duration::from_secs(30);
const INSPECT: Duration = Duration::from_secs(5);
const LIST: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(3);
const VOLUME: Duration = Duration::from_secs(10);
/// An image may be large and the line thin; what must never happen is no progress at all.
const PULL_SILENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct EngineClient {
    host: String,
    docker: RwLock<Option<Docker>>,
}

impl EngineClient {
    /// # Errors
    /// When the address can't be one; whether anybody answers there is not asked.
    pub fn new(host: Option<&str>) -> Result<Self, EngineError> {
        let host = match host.unwrap_or(DEFAULT_SOCKET) {
            path if path.starts_with('/') => format!("unix://{path}"),
            url if ["unix://", "tcp://", "http://"]
                .iter()
                .any(|s| url.starts_with(s)) =>
            {
                url.to_owned()
            }
            other => return Err(EngineError::Address(other.to_owned())),
        };
        Ok(Self {
            host,
            docker: RwLock::new(None),
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// bollard looks for the socket file when it is made, so it is made when the file is there.
    fn docker(&self, step: &'static str) -> Result<Docker, EngineError> {
        if let Some(docker) = self.docker.read().as_ref() {
            return Ok(docker.clone());
        }
        // Every call has a shorter deadline of its own.
        let header_timeout = PULL_SILENCE.as_secs();
        let made = if let Some(path) = self.host.strip_prefix("unix://") {
            if !Path::new(path).exists() {
                let message = format!("there is no socket {path}");
                return Err(EngineError::Unreachable { step, message });
            }
            Docker::connect_with_unix(&self.host, header_timeout, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(&self.host, header_timeout, API_DEFAULT_VERSION)
        };
        let docker = made.map_err(|error| EngineError::from_bollard(step, error))?;
        *self.docker.write() = Some(docker.clone());
        Ok(docker)
    }

    async fn call<T, F>(
        &self,
        step: &'static str,
        deadline: Duration,
        request: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let docker = self.docker(step)?;
        let began = Instant::now();
        let result = match timeout(deadline, request(docker)).await {
            Ok(answer) => answer.map_err(|error| EngineError::from_bollard(step, error)),
            Err(_) => Err(EngineError::Deadline {
                step,
                after: deadline,
            }),
        };
        let outcome = result.as_ref().map_or_else(EngineError::kind, |_| "ok");
        metrics::histogram!(metric_names::ENGINE_CALL_SECONDS, "step" => step, "outcome" => outcome)
            .record(began.elapsed().as_secs_f64());
        result
    }

    pub async fn ping(&self) -> Result<(), EngineError> {
        self.call(
            "ping",
            PING,
            |docker| async move { docker.ping().await.map(drop) },
        )
        .await
    }

    /// The OCI runtime that the Engine takes when none is asked for.
    pub async fn default_runtime(&self) -> Result<String, EngineError> {
        let info = self
            .call("info", INSPECT, |docker| async move { docker.info().await })
            .await?;
        Ok(info.default_runtime.unwrap_or_default())
    }

    /// Answers with the container's id.
    pub async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let options = CreateContainerOptions {
            name: Some(name.to_owned()),
            ..CreateContainerOptions::default()
        };
        let made = self
            .call("create a container", CREATE, |docker| async move {
                docker.create_container(Some(options), body).await
            })
            .await?;
        Ok(made.id)
    }

    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.call("start a container", START, |docker| async move {
            docker.start_container(id, None::<StartContainerOptions>).await
        })
        .await
    }

    /// All three streams. Before the start, or the first output is lost.
    pub async fn attach(&self, id: &str) -> Result<AttachContainerResults, EngineError> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..AttachContainerOptions::default()
        };
        self.call("attach to a container", ATTACH, |docker| async move {
            docker.attach_container(id, Some(options)).await
        })
        .await
    }

    /// SIGKILL. A container that is gone or has ended is what was asked for.
    pub async fn kill(&self, id: &str) -> Result<(), EngineError> {
        let options = KillContainerOptions {
            signal: "SIGKILL".to_owned(),
        };
        let killed = self
            .call("kill a container", KILL, |docker| async move {
                docker.kill_container(id, Some(options)).await
            })
            .await;
        match killed {
            Err(EngineError::NotFound { .. } | EngineError::Conflict { .. }) => Ok(()),
            other => other,
        }
    }

    /// Kills and removes, anonymous volumes too. By id or name; one that is gone is what was asked for.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        let removed = self
            .call("remove a container", REMOVE, |docker| async move {
                docker.remove_container(id, Some(options)).await
            })
            .await;
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Waits for the end of a container and answers with its exit code.
    pub async fn wait(&self, id: &str, deadline: Duration) -> Result<i64, EngineError> {
        self.call("wait for a container", deadline, |docker| async move {
            let mut answers = docker.wait_container(id, None::<WaitContainerOptions>);
            match answers.next().await {
                Some(Ok(answer)) => Ok(answer.status_code),
                // bollard's word for an exit code other than 0.
                Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
                Some(Err(error)) => Err(error),
                None => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
            }
        })
        .await
    }

    pub async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse, EngineError> {
        self.call("inspect a container", INSPECT, |docker| async move {
            docker
                .inspect_container(id, None::<InspectContainerOptions>)
                .await
        })
        .await
    }

    /// Containers in every state that carry all these labels (`key` or `key=value`).
    pub async fn list(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels.to_vec())])),
            ..ListContainersOptions::default()
        };
        self.call("list containers", LIST, |docker| async move {
            docker.list_containers(Some(options)).await
        })
        .await
    }

    /// Making a volume that is there already is no error: the Engine answers with it.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<Volume, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        self.call("create a volume", VOLUME, |docker| async move {
            docker.create_volume(request).await
        })
        .await
    }

    /// `None` when there is no such volume.
    pub async fn inspect_volume(&self, name: &str) -> Result<Option<Volume>, EngineError> {
        let found = self
            .call("inspect a volume", VOLUME, |docker| async move {
                docker.inspect_volume(name).await
            })
            .await;
        absent_is_none(found)
    }

    /// One that is gone is what was asked for; one in use answers [`EngineError::Conflict`].
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let removed = self
            .call("remove a volume", VOLUME, |docker| async move {
                docker.remove_volume(name, None::<RemoveVolumeOptions>).await
            })
            .await;
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    pub async fn list_volumes(&self, labels: &[String]) -> Result<Vec<Volume>, EngineError> {
        let options = ListVolumesOptions {
            filters: Some(HashMap::from([("label".to_owned(), labels.to_vec())])),
        };
        let answer = self
            .call("list volumes", LIST, |docker| async move {
                docker.list_volumes(Some(options)).await
            })
            .await?;
        Ok(answer.volumes.unwrap_or_default())
    }

    /// `None` when the image is not on this machine.
    pub async fn inspect_image(&self, image: &str) -> Result<Option<ImageInspect>, EngineError> {
        let found = self
            .call("inspect an image", INSPECT, |docker| async move {
                docker.inspect_image(image).await
            })
            .await;
        absent_is_none(found)
    }

    /// Pulls an image, telling each line of the Engine's progress. Ends with an error after two minutes without one.
    pub async fn pull(&self, image: &str, mut on_progress: impl FnMut(&str)) -> Result<(), EngineError> {
        const STEP: &str = "pull an image";
        let options = CreateImageOptions {
            from_image: Some(image.to_owned()),
            // Without a tag the Engine would take every tag there is.
            tag: has_no_tag(image).then(|| "latest".to_owned()),
            ..CreateImageOptions::default()
        };
        let docker = self.docker(STEP)?;
        let mut lines = docker.create_image(Some(options), None, None);
        loop {
            match timeout(PULL_SILENCE, lines.next()).await {
                Err(_) => {
                    let after = PULL_SILENCE;
                    return Err(EngineError::Deadline { step: STEP, after });
                }
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(EngineError::from_bollard(STEP, error)),
                Ok(Some(Ok(line))) => {
                    if let Some(message) = line.error_detail.and_then(|detail| detail.message) {
                        return Err(EngineError::Refused {
                            step: STEP,
                            status: 200,
                            message,
                        });
                    }
                    on_progress(line.status.as_deref().unwrap_or_default());
                }
            }
        }
    }
}

fn absent_is_none<T>(found: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A colon before the last slash is a registry's port.
fn has_no_tag(image: &str) -> bool {
    !image.rsplit('/').next().unwrap_or(image).contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_another_kind_is_refused() {
        assert!(EngineClient::new(Some("ssh://host")).is_err());
        assert_eq!(
            EngineClient::new(Some("/run/x.sock")).unwrap().host(),
            "unix:///run/x.sock"
        );
    }

    #[test]
    fn a_port_is_not_a_tag() {
        assert!(has_no_tag("registry:5000/team/node"));
        assert!(!has_no_tag("registry:5000/team/node:lts-slim"));
        assert!(!has_no_tag("node:lts-slim"));
        assert!(!has_no_tag("registry:5000/team/node@sha256:0123"));
    }

    #[tokio::test]
    async fn an_absent_engine_is_an_error_that_says_so() {
        let client = EngineClient::new(Some("/nonexistent/docker.sock")).unwrap();
        assert_eq!(
            client.ping().await.unwrap_err().to_string(),
            "ping: the container engine can't be reached: there is no socket /nonexistent/docker.sock"
        );
    }
}
