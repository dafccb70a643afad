//! Installed packages as a tar archive, for a sandbox that is there already and so can't have their volume mounted.

use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use dynamic_mcp_shared::ids::TenantId;
use futures::{StreamExt as _, stream};
use tokio::time::timeout;

use super::profile::{Purpose, container_config};
use super::{Dependencies, engine_fault, one_time_name};
use crate::docker::client::EngineError;
use crate::docker::janitor::{Doomed, Janitor};
use crate::docker::labels::{self, labels};
use crate::engine::{Archive, ResolveError};

/// At this age its executor has removed it.
const EXPIRES_AFTER: chrono::Duration = chrono::Duration::minutes(10);
/// For the next bytes. The reader has a deadline of its own for all of them.
const SILENCE: Duration = Duration::from_secs(30);
const EXIT: Duration = Duration::from_secs(10);

/// Has the container removed.
struct Reader {
    name: String,
    janitor: Arc<Janitor>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.janitor.remove(Doomed {
            name: std::mem::take(&mut self.name),
            busy: true,
            room: None,
        });
    }
}

impl Dependencies {
    /// Installs the packages, if they are not, and reads them.
    ///
    /// # Errors
    /// The author's faults apart from the platform's.
    pub async fn archive(
        &self,
        tenant: &TenantId,
        image: &str,
        lock: &[u8],
    ) -> Result<Archive, ResolveError> {
        let volume = self.ensure_installed(tenant, image, lock).await?;
        let name = one_time_name("read");
        let expires = self.clock.now() + EXPIRES_AFTER;
        let labels = labels(
            &self.identity,
            labels::Kind::Install,
            &name,
            Some(tenant),
            expires,
        );
        let body = container_config(Purpose::Archive { volume: &volume }, image, labels);
        self.janitor.own(&name);
        let reader = Reader {
            name: name.clone(),
            janitor: Arc::clone(&self.janitor),
        };
        self.client.create(&name, body).await.map_err(engine_fault)?;
        let streams = self.client.attach(&name).await.map_err(engine_fault)?;
        self.client.start(&name).await.map_err(engine_fault)?;
        let client = Arc::clone(&self.client);
        let read = stream::unfold(Some(streams.output), move |output| {
            let (client, name) = (Arc::clone(&client), reader.name.clone());
            async move {
                let mut output = output?;
                loop {
                    return match timeout(SILENCE, output.next()).await {
                        Ok(Some(Ok(LogOutput::StdOut { message }))) => Some((Ok(message), Some(output))),
                        Ok(Some(Ok(_))) => continue,
                        Ok(Some(Err(error))) => Some((Err(error.to_string()), None)),
                        Ok(None) => match how_it_ended(client.wait(&name, EXIT).await) {
                            Ok(()) => None,
                            Err(why) => Some((Err(why), None)),
                        },
                        Err(_) => Some((Err("the packages can't be read: no answer".to_owned()), None)),
                    };
                }
            }
        });
        Ok(Box::pin(read))
    }
}

fn how_it_ended(code: Result<i64, EngineError>) -> Result<(), String> {
    match code {
        Ok(0) => Ok(()),
        Ok(code) => Err(format!("the packages can't be read: tar ended with {code}")),
        Err(error) => Err(error.to_string()),
    }
}
