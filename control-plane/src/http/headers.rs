//! The headers that every answer carries, whatever it says.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use dynamic_mcp_shared::ids::random_uuid;
use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer one would only fill the logs.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The request's `x-request-id`, or the one made for it. Among the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub String);

pub(super) async fn on_every_answer(mut request: Request, next: Next) -> Response {
    let (id, value) = request_id(request.headers().get(X_REQUEST_ID));
    request.headers_mut().insert(X_REQUEST_ID, value.clone());
    request.extensions_mut().insert(RequestId(id));

    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, value);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// What the client sent, if it is short and can stand in a log line as it is.
fn request_id(sent: Option<&HeaderValue>) -> (String, HeaderValue) {
    let sane = |value: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(value) = sent.filter(sane)
        && let Ok(id) = value.to_str()
    {
        return (id.to_owned(), value.clone());
    }
    let id = random_uuid().to_string();
    // A UUID is always a header value.
    let value = HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("-"));
    (id, value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_that_could_forge_a_log_line_is_replaced() {
        for wrong in ["", "a b", "a\tb", &"x".repeat(129)] {
            let sent = HeaderValue::from_str(wrong).unwrap();
            assert_ne!(request_id(Some(&sent)).0, wrong);
        }
        let sent = HeaderValue::from_static("trace-1/2:3");
        assert_eq!(request_id(Some(&sent)), ("trace-1/2:3".to_owned(), sent));
        assert_eq!(request_id(None).0.len(), 36);
    }

    proptest! {
        #[test]
        fn an_id_comes_back_as_it_was_sent_or_is_made_anew_and_is_always_fit_for_a_log(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let Ok(sent) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let (id, value) = request_id(Some(&sent));
            prop_assert_eq!(id.as_bytes(), value.as_bytes());
            prop_assert!((1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
            let fits = (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
            prop_assert_eq!(fits, value == sent);
        }
    }
}
