//! Names that a client sends back: ids of the server's own requests, their progress tokens, ids of events. Each copy of a
//! session counts its own from 0, so on the way out they get the name of the replica, and whatever comes in goes by it.

use std::sync::Arc;

use dynamic_mcp_shared::ids::ReplicaId;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, GetMeta as _, JsonRpcNotification, NumberOrString,
    ProgressToken, RequestId, ServerJsonRpcMessage, ServerNotification,
};

/// Whom something that a client sent is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum For {
    /// As it is now.
    This,
    Other(ReplicaId),
    /// Nobody gave it that name.
    Nobody,
}

/// Gives what the client will send back the name of the replica that waits for it.
pub(super) fn outgoing(replica: &ReplicaId, message: &mut ServerJsonRpcMessage) {
    match message {
        ServerJsonRpcMessage::Request(request) => {
            request.id = named(replica, &request.id);
            let meta = request.request.get_meta_mut();
            if let Some(ProgressToken(token)) = meta.get_progress_token() {
                meta.set_progress_token(ProgressToken(named(replica, &token)));
            }
        }
        ServerJsonRpcMessage::Notification(JsonRpcNotification {
            notification: ServerNotification::CancelledNotification(cancelled),
            ..
        }) => {
            if let Some(id) = &mut cancelled.params.request_id {
                *id = named(replica, id);
            }
        }
        _ => {}
    }
}

/// Whose an answer or a client's progress is, whose name is taken off it if it is this replica's.
pub(super) fn incoming(replica: &ReplicaId, message: &mut ClientJsonRpcMessage) -> For {
    match message {
        ClientJsonRpcMessage::Response(response) => unname(replica, &mut response.id),
        ClientJsonRpcMessage::Error(error) => error.id.as_mut().map_or(For::Nobody, |id| unname(replica, id)),
        ClientJsonRpcMessage::Notification(JsonRpcNotification {
            notification: ClientNotification::ProgressNotification(progress),
            ..
        }) => unname(replica, &mut progress.params.progress_token.0),
        _ => For::This,
    }
}

/// The id of an event of one request's stream, with the replica that has the stream.
pub(super) fn event(replica: &ReplicaId, index: u64, stream: u64) -> String {
    format!("{replica}/{index}/{stream}")
}

/// The replica that has the stream, the index of the event and the number of the stream; `None` for one of the GET stream.
pub(super) fn of_event(id: &str) -> Option<(ReplicaId, u64, u64)> {
    let (replica, id) = id.split_once('/')?;
    let (index, stream) = id.split_once('/')?;
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse().ok())
    };
    Some((replica.parse().ok()?, number(index)??, number(stream)??))
}

fn named(replica: &ReplicaId, id: &NumberOrString) -> NumberOrString {
    NumberOrString::String(format!("{replica}.{id}").into())
}

fn unname(replica: &ReplicaId, id: &mut RequestId) -> For {
    let NumberOrString::String(name) = &*id else {
        return For::Nobody;
    };
    let name: Arc<str> = name.clone();
    let Some((of, own)) = name.split_once('.') else {
        return For::Nobody;
    };
    match of.parse::<ReplicaId>() {
        Ok(of) if of == *replica => {
            *id = own
                .parse()
                .map_or_else(|_| NumberOrString::String(own.into()), NumberOrString::Number);
            For::This
        }
        Ok(of) => For::Other(of),
        Err(_) => For::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmcp::model::{ClientResult, PingRequest, ServerRequest};

    use super::*;

    fn asked(replica: &ReplicaId, number: i64) -> RequestId {
        let request = ServerRequest::PingRequest(PingRequest::default());
        let mut message = ServerJsonRpcMessage::request(request, NumberOrString::Number(number));
        outgoing(replica, &mut message);
        match message {
            ServerJsonRpcMessage::Request(request) => request.id,
            other => panic!("{other:?}"),
        }
    }

    fn answer(id: RequestId) -> ClientJsonRpcMessage {
        ClientJsonRpcMessage::response(ClientResult::empty(()), id)
    }

    fn id(message: &ClientJsonRpcMessage) -> &RequestId {
        match message {
            ClientJsonRpcMessage::Response(response) => &response.id,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn an_answer_finds_the_replica_that_waits_and_the_number_it_gave(number in 0..i64::MAX) {
            let (here, there) = (ReplicaId::generate(), ReplicaId::generate());
            let mut message = answer(asked(&there, number));
            prop_assert_eq!(incoming(&here, &mut message), For::Other(there.clone()));
            prop_assert_eq!(incoming(&there, &mut message), For::This);
            prop_assert_eq!(id(&message), &NumberOrString::Number(number));
        }

        #[test]
        fn a_name_that_nobody_gave_is_for_nobody_or_for_a_replica_that_does_not_exist(name in ".{0,40}") {
            let here = ReplicaId::generate();
            let mut message = answer(NumberOrString::String(name.as_str().into()));
            prop_assert_ne!(incoming(&here, &mut message), For::This);
        }

        #[test]
        fn an_event_is_found_again(index: u64, stream: u64) {
            let here = ReplicaId::generate();
            let named = event(&here, index, stream);
            prop_assert_eq!(of_event(&named), Some((here, index, stream)));
        }

        #[test]
        fn what_is_no_event_of_ours_is_none(id in ".{0,60}") {
            prop_assert_eq!(of_event(&id), None);
        }
    }

    #[test]
    fn a_plain_number_is_no_answer_to_anything() {
        let mut message = answer(NumberOrString::Number(0));
        assert_eq!(incoming(&ReplicaId::generate(), &mut message), For::Nobody);
    }
}
