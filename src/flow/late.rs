//! Streams whose first content takes long: after a while the client gets its headers all the same, and then comments,
//! so that nothing between here and there takes the connection for dead.
//!
//! The call itself goes on as before: every failure is still tried elsewhere. Only what a client is told in the end
//! changes, because a status was sent: a call that comes to nothing breaks the stream instead of being refused.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

use super::relay::RelayBody;
use super::{Answered, Bill, Broken, Refused};
use crate::domain::{Duration, Failure, FailureKind, Refusal, Usage, Usd};

/// How often a comment is sent. Proxies and load balancers give up on silence after 60 s by default, some after 30.
const EVERY: Duration = Duration::from_secs(10);

/// The reader's side of a stream that has not begun.
pub(super) struct Late {
    decided: oneshot::Receiver<Result<RelayBody, Box<Broken>>>,
    comment: Pin<Box<Sleep>>,
}

impl Late {
    /// Goes on with `begin` in a task of its own. When the reader goes, the call is dropped.
    pub(super) fn go_on<F>(mut begin: Pin<Box<F>>) -> Self
    where
        F: Future<Output = Result<Answered, Refused>> + Send + 'static,
    {
        let (mut tell, decided) = oneshot::channel();
        tokio::spawn(async move {
            let answered = tokio::select! {
                biased;
                answered = &mut begin => answered,
                () = tell.closed() => return,
            };
            // A reader that went in this moment drops what it is told, and the call with it.
            let _gone = tell.send(told(answered));
        });
        Self { decided, comment: Box::pin(sleep(Duration::ZERO)) }
    }

    /// The stream, `None` for a comment, or why there is no stream.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<RelayBody>, Box<Broken>>> {
        if let Poll::Ready(decided) = Pin::new(&mut self.decided).poll(cx) {
            return Poll::Ready(
                decided.unwrap_or_else(|_| Err(broken("stream_interrupted", None))).map(Some),
            );
        }
        if self.comment.as_mut().poll(cx).is_ready() {
            self.comment.set(sleep(EVERY));
            // Registers the new timer; it cannot be due yet.
            let _pending = self.comment.as_mut().poll(cx);
            return Poll::Ready(Ok(None));
        }
        Poll::Pending
    }
}

fn told(answered: Result<Answered, Refused>) -> Result<RelayBody, Box<Broken>> {
    match answered {
        Ok(Answered::Stream { body, .. }) => Ok(body),
        Ok(Answered::Whole { .. }) => {
            let failure = Failure::new(FailureKind::BadResponse, "a whole answer where a stream was asked");
            Err(broken("stream_interrupted", Some(failure)))
        }
        Err(refused) => Err(match refused.refusal {
            Refusal::Upstream(failure) => broken("stream_interrupted", Some(*failure)),
            Refusal::DeadlineExceeded { .. } => broken("deadline", None),
            Refusal::Draining => broken("draining", None),
            Refusal::Overloaded { .. } => broken("overloaded", None),
            Refusal::NoPool { .. } => broken("no_pool", None),
            // Whatever else there is was said before a call began, so that it is our mistake here.
            Refusal::Internal { .. }
            | Refusal::Invalid { .. }
            | Refusal::Unauthenticated
            | Refusal::Forbidden { .. }
            | Refusal::ModelNotFound { .. }
            | Refusal::TooLarge { .. }
            | Refusal::RateLimited { .. } => broken("internal_error", None),
        }),
    }
}

fn broken(code: &'static str, failure: Option<Failure>) -> Box<Broken> {
    Box::new(Broken {
        code,
        failure,
        tokens_delivered: 0,
        bill: Bill { usage: Usage::default(), cost: Usd::ZERO },
    })
}
