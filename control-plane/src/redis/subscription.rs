//! What is published. Redis keeps nothing for who is not there, so a subscription says when it may have missed something.

use std::time::Duration;

use futures::StreamExt as _;
use redis::aio::PubSub;

use super::link::Dialer;

const TRY_EVERY: Duration = Duration::from_millis(250);

pub struct Subscription {
    dialer: Dialer,
    channels: Vec<String>,
    connection: Option<PubSub>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Message {
        channel: String,
        payload: Vec<u8>,
    },
    /// It hears from now on. What was published before it has missed.
    Listening,
}

impl Subscription {
    pub(super) fn new(dialer: Dialer, channels: Vec<String>) -> Self {
        Self {
            dialer,
            channels,
            connection: None,
        }
    }

    /// The next thing heard; connects, as often as it takes. First and after each loss that is [`Heard::Listening`].
    /// Giving it up halfway loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(connection) = &mut self.connection {
                if let Some(message) = connection.on_message().next().await {
                    return Heard::Message {
                        channel: message.get_channel_name().to_owned(),
                        payload: message.get_payload_bytes().to_vec(),
                    };
                }
                self.connection = None;
            }
            match self.connect().await {
                Some(connection) => {
                    self.connection = Some(connection);
                    return Heard::Listening;
                }
                None => tokio::time::sleep(TRY_EVERY).await,
            }
        }
    }

    async fn connect(&self) -> Option<PubSub> {
        let mut connection = self.dialer.dial_to_hear().await.ok()?;
        connection.subscribe(&self.channels).await.ok()?;
        Some(connection)
    }
}
