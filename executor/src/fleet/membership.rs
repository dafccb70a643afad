//! One `Join` stream, from the connection to its end.

use std::error::Error as _;
use std::time::Duration;

use dynamic_mcp_proto::v1;
use dynamic_mcp_proto::v1::fleet_client::FleetClient as Wire;
use dynamic_mcp_proto::v1::join_request::Message as Outgoing;
use dynamic_mcp_proto::v1::join_response::Message as Incoming;
use dynamic_mcp_shared::job::{NodeStatus, Runtime};
use dynamic_mcp_shared::tls::{self, Connector, Identity, whole_story};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::FleetClient;
use crate::leaving::Leaving;
use crate::node::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT};

const CONNECT: Duration = Duration::from_secs(5);
const REGISTRATION: Duration = Duration::from_secs(10);
/// How often the status is looked at for something that can't wait for the next heartbeat.
const LOOK: Duration = Duration::from_millis(100);
/// What the control plane may ask for; anything else is brought within.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// What the control plane gets to close its side of the stream.
const GOODBYE: Duration = Duration::from_millis(500);
/// Heartbeats that wait to be sent; when they are all taken the connection is stuck.
const OUTGOING_BUFFER: usize = 4;

/// How a membership ended.
pub(super) enum Left {
    /// The executor itself is stopping.
    Stopped,
    Lost {
        registered: bool,
        why: String,
    },
}

pub(super) struct Membership<'a> {
    client: &'a FleetClient,
    url: &'a str,
}

struct Joined {
    heartbeats: mpsc::Sender<v1::JoinRequest>,
    answers: Streaming<v1::JoinResponse>,
    every: Duration,
    /// What the registration said; a change since then is told at once.
    said: Notable,
}

/// What of a status the control plane should know at once.
#[derive(PartialEq)]
struct Notable {
    available: Vec<Runtime>,
    draining: bool,
    images: Vec<String>,
}

impl Notable {
    fn of(status: &NodeStatus) -> Self {
        Self {
            available: status
                .runtimes
                .iter()
                .filter(|offered| offered.is_available())
                .map(|offered| offered.runtime)
                .collect(),
            draining: status.draining,
            images: status
                .images
                .iter()
                .filter(|image| image.present)
                .map(|image| image.name.clone())
                .collect(),
        }
    }
}

impl<'a> Membership<'a> {
    pub(super) fn new(client: &'a FleetClient, url: &'a str) -> Self {
        Self { client, url }
    }

    pub(super) async fn hold(&self) -> Left {
        let joining = async { timeout(CONNECT + REGISTRATION, self.join()).await };
        let joined = tokio::select! {
            joined = joining => joined,
            () = self.client.stop.cancelled() => return Left::Stopped,
        };
        let lost = |registered: bool, why: String| Left::Lost { registered, why };
        match joined {
            Err(_) => lost(false, "no registration in time".to_owned()),
            Ok(Err(why)) => lost(false, why),
            Ok(Ok(joined)) => {
                let heartbeat_ms = u64::try_from(joined.every.as_millis()).unwrap_or(u64::MAX);
                tracing::info!(heartbeat_ms, "joined the control plane");
                match self.stay(joined).await {
                    None => Left::Stopped,
                    Some(why) => lost(true, why),
                }
            }
        }
    }

    async fn join(&self) -> Result<Joined, String> {
        let channel = self.connect().await.map_err(|error| whole_story(&error))?;
        let mut wire = Wire::with_interceptor(channel, self.client.credentials.join_token.attach());
        let (heartbeats, outgoing) = mpsc::channel(OUTGOING_BUFFER);
        let status = self.client.node.status();
        let said = Notable::of(&status);
        // The buffer is empty: this can't fail.
        let _queued = heartbeats.try_send(request(Outgoing::Register(self.registration(status))));
        let mut answers = wire
            .join(ReceiverStream::new(outgoing))
            .await
            .map_err(|status| refusal(&status))?
            .into_inner();
        match answers.message().await.map_err(|status| refusal(&status))? {
            Some(v1::JoinResponse {
                message: Some(Incoming::Registered(registered)),
            }) => {
                let every = Duration::from_millis(registered.heartbeat_interval_ms.into());
                Ok(Joined {
                    heartbeats,
                    answers,
                    every: every.clamp(INTERVALS.0, INTERVALS.1),
                    said,
                })
            }
            Some(_) => Err("the control plane did not answer with registered".to_owned()),
            None => Err("the control plane closed the stream at once".to_owned()),
        }
    }

    async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        let endpoint = tls::endpoint(self.url)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        match &self.client.credentials.trust {
            None => endpoint.connect().await,
            Some(trust) => {
                let connector = Connector::new(trust.clone(), Identity::ControlPlane);
                endpoint.connect_with_connector(connector).await
            }
        }
    }

    fn registration(&self, status: NodeStatus) -> v1::Register {
        let node = &self.client.node;
        v1::Register {
            executor_id: node.identity().id.to_string(),
            epoch: node.identity().epoch,
            address: self.client.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            status: Some(status.into()),
        }
    }

    /// Says how the node is until the executor stops (`None`) or the stream breaks (why).
    async fn stay(&self, joined: Joined) -> Option<String> {
        let Joined {
            heartbeats,
            mut answers,
            every,
            mut said,
        } = joined;
        let node = &self.client.node;
        let mut look = interval(LOOK.min(every));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said_at = Instant::now();
        loop {
            tokio::select! {
                _ = look.tick() => {
                    let status = node.status();
                    let now = Notable::of(&status);
                    if now == said && said_at.elapsed() < every {
                        continue;
                    }
                    said = now;
                    said_at = Instant::now();
                    let heartbeat = v1::Heartbeat { status: Some(status.into()) };
                    if heartbeats.try_send(request(Outgoing::Heartbeat(heartbeat))).is_err() {
                        return Some("heartbeats are no longer taken".to_owned());
                    }
                }
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => self.obey(answer),
                    Ok(None) => return Some("the control plane closed the stream".to_owned()),
                    Err(status) => return Some(refusal(&status)),
                },
                () = self.client.stop.cancelled() => {
                    self.say_goodbye(heartbeats, answers).await;
                    return None;
                }
            }
        }
    }

    /// Ends the stream in order, with a last word: one that just breaks looks like a lost executor.
    async fn say_goodbye(
        &self,
        heartbeats: mpsc::Sender<v1::JoinRequest>,
        mut answers: Streaming<v1::JoinResponse>,
    ) {
        let status = Some(self.client.node.status().into());
        let last = v1::Heartbeat { status };
        let _stuck = heartbeats.try_send(request(Outgoing::Heartbeat(last)));
        drop(heartbeats);
        let closed = async { while let Ok(Some(_)) = answers.message().await {} };
        let _late = timeout(GOODBYE, closed).await;
    }

    fn obey(&self, answer: v1::JoinResponse) {
        match answer.message {
            Some(Incoming::Drain(drain)) => {
                let node = &self.client.node;
                let sandboxes = node.sandboxes().clone();
                Leaving::new(node.capacity().clone(), sandboxes, self.client.lifecycle.clone())
                    .begin(&drain.reason);
            }
            Some(Incoming::Registered(_)) => tracing::warn!("a second registered was ignored"),
            // Of a newer protocol than this one.
            None => {}
        }
    }
}

fn request(message: Outgoing) -> v1::JoinRequest {
    v1::JoinRequest {
        message: Some(message),
    }
}

/// What the control plane said, or what became of the connection.
fn refusal(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => format!("{}: {}", status.code(), whole_story(source)),
        None => format!("{}: {}", status.code(), status.message()),
    }
}
