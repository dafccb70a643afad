//! What is published. Redis keeps nothing for who is not there, so a subscription says when it may have missed something.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Msg, Value};

use super::DEADLINE;
use super::keeper::LOOK_EVERY;
use super::link::{CONNECT, Dialer};

const TRY_EVERY: Duration = Duration::from_millis(250);

pub struct Subscription {
    dialer: Dialer,
    channels: Vec<String>,
    state: State,
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

/// Both hold what is under way, so that a caller who gives up waiting does not undo it.
enum State {
    Connecting(BoxFuture<'static, Connection>),
    Connected(Connection),
}

struct Connection {
    messages: PubSubStream,
    /// Completes when nobody answers on it any more. A peer that is gone without a word looks like one that has nothing
    /// to say.
    lost: BoxFuture<'static, ()>,
}

impl Subscription {
    pub(super) fn new(dialer: Dialer, channels: Vec<String>) -> Self {
        let state = State::connecting(&dialer, &channels);
        Self {
            dialer,
            channels,
            state,
        }
    }

    /// The next thing heard; connects, as often as it takes. First and after each loss that is [`Heard::Listening`].
    /// Giving it up halfway loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            match &mut self.state {
                State::Connecting(connection) => {
                    self.state = State::Connected(connection.await);
                    return Heard::Listening;
                }
                State::Connected(connection) => match connection.next().await {
                    Some(message) => {
                        return Heard::Message {
                            channel: message.get_channel_name().to_owned(),
                            payload: message.get_payload_bytes().to_vec(),
                        };
                    }
                    None => self.state = State::connecting(&self.dialer, &self.channels),
                },
            }
        }
    }
}

impl State {
    fn connecting(dialer: &Dialer, channels: &[String]) -> Self {
        let (dialer, channels) = (dialer.clone(), channels.to_vec());
        let connection = async move {
            loop {
                if let Some(connection) = connect(&dialer, &channels).await {
                    return Connection::new(connection);
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
        };
        Self::Connecting(connection.boxed())
    }
}

impl Connection {
    fn new(connection: PubSub) -> Self {
        let (sink, messages) = connection.split();
        Self {
            messages,
            lost: lost(sink).boxed(),
        }
    }

    /// `None`: it is lost.
    async fn next(&mut self) -> Option<Msg> {
        tokio::select! {
            biased;
            message = self.messages.next() => message,
            () = &mut self.lost => None,
        }
    }
}

async fn connect(dialer: &Dialer, channels: &[String]) -> Option<PubSub> {
    let mut connection = dialer.dial_to_hear().await.ok()?;
    let subscribed = tokio::time::timeout(CONNECT, connection.subscribe(channels)).await;
    subscribed.ok()?.ok()?;
    Some(connection)
}

async fn lost(mut sink: PubSubSink) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match tokio::time::timeout(DEADLINE, sink.ping::<Value>()).await {
            Ok(Ok(_pong)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
