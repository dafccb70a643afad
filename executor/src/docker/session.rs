//! The container of a sandbox session. What its agent says and is told is the session's matter.

use std::sync::Arc;

use bollard::container::LogOutput;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;

use super::container::{Lease, MakeError, Maker};
use super::frames::Nonce;
use super::labels::{self, labels};
use super::policy::{SandboxShape, session_config};
use crate::metric_names;
use crate::sandbox::{OpenedSandbox, SandboxSpec, Streams};

/// Beyond the greatest age of a session: to remove its container.
const SLACK: chrono::Duration = chrono::Duration::minutes(10);

impl Maker {
    /// Dropping the future, or what it answers with, has the container removed.
    pub async fn open_session(
        &self,
        spec: &SandboxSpec,
        now: DateTime<Utc>,
    ) -> Result<OpenedSandbox, MakeError> {
        let name = format!("dynamic-mcp-session-{}", &Nonce::fresh().as_str()[..20]);
        self.janitor.own(&name);
        let lease = Lease {
            name: name.clone(),
            busy: true,
            room: None,
            janitor: Arc::clone(&self.janitor),
        };
        let lives = chrono::Duration::from_std(spec.lives).unwrap_or(chrono::Duration::days(1));
        let kind = labels::Kind::Session;
        let labels = labels(
            &self.identity,
            kind,
            spec.id.as_str(),
            Some(&spec.tenant),
            now + lives + SLACK,
        );
        let shape = SandboxShape {
            image: spec.image.clone(),
            dependencies: None,
            memory: spec.memory.filter(|memory| *memory < self.config.memory),
        };
        let body = session_config(&shape, &self.config, labels);
        let id = self.client.create(&name, body).await?;
        metrics::counter!(metric_names::CONTAINERS_CREATED_TOTAL).increment(1);
        let streams = self.client.attach(&id).await?;
        self.client.start(&id).await?;
        let said = streams.output.filter_map(|said| async {
            match said {
                Ok(LogOutput::StdOut { message }) => Some(message),
                _ => None,
            }
        });
        Ok(OpenedSandbox {
            streams: Streams {
                output: Box::pin(said),
                input: streams.input,
            },
            lease: Box::new(lease),
            memory: shape.memory(&self.config),
            pids: self.config.pids,
        })
    }
}
