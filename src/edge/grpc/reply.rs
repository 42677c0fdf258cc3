//! From what the router answered to gRPC messages, whole or one by one.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use tonic::Status;

use super::status;
use crate::dialect::gridtie::answer::{
    encode_completed, encode_delta, encode_embedded, encode_generated, encode_started, set_cost,
};
use crate::dialect::gridtie::v1;
use crate::domain::{Answer, CallId, Refusal};
use crate::flow::{Answered, Bill, Head, Out, Refused};
use crate::upstream::{PieceBody, WholeBody};

/// What is said when an answer is not of the kind that was asked for: upstreams answer in the dialect of the request
/// or in canonical form, and a request of this face is canonical.
fn mismatch(head: &Head) -> Status {
    status::refused(&Refused {
        call: head.call,
        pool: Some(head.pool.clone()),
        attempts: head.attempts,
        refusal: Refusal::Internal {
            message: "The answer is not of the kind that was asked for.".to_owned(),
        },
    })
}

/// A whole generated answer.
pub(super) fn generated<R>(answered: Answered<R>) -> Result<v1::GenerateResponse, Status> {
    match whole(answered)? {
        (head, Answer::Generated(answer), bill) => {
            Ok(encode_generated(answer, &bill.usage, settled(&head, &bill)))
        }
        (head, Answer::Embedded(_), _) => Err(mismatch(&head)),
    }
}

/// Vectors.
pub(super) fn embedded<R>(answered: Answered<R>) -> Result<v1::EmbedResponse, Status> {
    match whole(answered)? {
        (head, Answer::Embedded(answer), bill) => {
            Ok(encode_embedded(answer, &bill.usage, settled(&head, &bill)))
        }
        (head, Answer::Generated(_), _) => Err(mismatch(&head)),
    }
}

fn whole<R>(answered: Answered<R>) -> Result<(Head, Answer, Bill), Status> {
    match answered {
        Answered::Whole { head, whole, bill } => match whole.body {
            WholeBody::Canonical(answer) => Ok((head, answer, bill)),
            WholeBody::Bytes(_) => Err(mismatch(&head)),
        },
        Answered::Stream { head, .. } => Err(mismatch(&head)),
    }
}

/// A streamed answer.
pub(super) fn streamed<R>(answered: Answered<R>) -> Result<Events<R>, Status> {
    match answered {
        Answered::Stream { head, body } => {
            let mut routing = routing(&head);
            set_cost(&mut routing, head.cost, true);
            let ready = VecDeque::from([encode_started(routing)]);
            Ok(Events { head, body: Some(body), ready })
        }
        Answered::Whole { head, .. } => Err(mismatch(&head)),
    }
}

fn routing(head: &Head) -> v1::Routing {
    v1::Routing {
        call_id: call_id(head.call),
        pool: head.pool.to_string(),
        model: head.model.to_string(),
        attempts: head.attempts,
        reason: head.reason.clone(),
        ..v1::Routing::default()
    }
}

fn call_id(call: CallId) -> String {
    call.to_string()
}

fn settled(head: &Head, bill: &Bill) -> v1::Routing {
    let mut routing = routing(head);
    set_cost(&mut routing, bill.cost, false);
    routing
}

/// The events of a stream: Started, what comes, and last either Completed or an error.
#[derive(Debug)]
pub(super) struct Events<R> {
    head: Head,
    /// Gone once it has said its last.
    body: Option<R>,
    /// Encoded and not taken yet: the events of one piece at most.
    ready: VecDeque<v1::GenerateEvent>,
}

impl<R: Stream<Item = Out> + Unpin> Stream for Events<R> {
    type Item = Result<v1::GenerateEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_next(cx)) {
                Some(Out::Piece(PieceBody::Canonical(deltas))) => {
                    this.ready.extend(deltas.into_iter().filter_map(encode_delta));
                }
                // HTTP/2 has pings of its own.
                Some(Out::KeepAlive) => {}
                Some(Out::End(bill)) => {
                    this.body = None;
                    this.ready.push_back(encode_completed(&bill.usage, settled(&this.head, &bill)));
                }
                Some(Out::Broken(broken)) => {
                    this.body = None;
                    return Poll::Ready(Some(Err(status::broken(&this.head, &broken))));
                }
                Some(Out::Piece(PieceBody::Bytes(_))) | None => {
                    this.body = None;
                    return Poll::Ready(Some(Err(mismatch(&this.head))));
                }
            }
        }
    }
}
