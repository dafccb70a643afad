//! No answer goes on for longer than what its caller has shown is good for.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::auth::Denied;

/// # Errors
/// When the time came before the answer did.
pub(super) async fn within(
    until: Option<Instant>,
    answer: impl Future<Output = Response>,
) -> Result<Response, Denied> {
    let Some(until) = until else {
        return Ok(answer.await);
    };
    let expired = |_| Denied::Invalid("the access token expired while the request was answered".to_owned());
    let response = timeout_at(until, answer).await.map_err(expired)?;
    Ok(response.map(|body| match body.size_hint().exact() {
        // It is all there.
        Some(_) => body,
        None => Body::new(Bounded {
            body,
            until: Box::pin(sleep_until(until)),
        }),
    }))
}

/// A stream that ends when the time comes.
struct Bounded {
    body: Body,
    until: Pin<Box<Sleep>>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_the_time_comes() {
        let frames = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), ()))
        });
        let endless = async { Response::new(Body::from_stream(frames.boxed())) };
        let until = Instant::now() + Duration::from_millis(3_500);
        let response = within(Some(until), endless).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((&body[..], Instant::now()), (&b"..."[..], until));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_too_late_is_none() {
        let late = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Response::new(Body::empty())
        };
        let until = Instant::now() + Duration::from_secs(1);
        assert!(matches!(within(Some(until), late).await, Err(Denied::Invalid(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_time_nothing_is_changed() {
        let answer = async { Response::new(Body::from("all")) };
        let response = within(None, answer).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "all");
    }
}
