//! The stream of another Gridtie as pieces. Only `Completed` is an end; anything else is a break.

use futures_util::{FutureExt as _, Stream, stream};
use smallvec::{SmallVec, smallvec};
use tonic::Streaming;

use super::failure;
use super::lanes::Lane;
use crate::dialect::gridtie::answer::{Step, decode_event};
use crate::dialect::gridtie::v1;
use crate::domain::{Delta, Failure, FailureKind};
use crate::upstream::{Piece, PieceBody, Pieces};

/// An open stream and its place on a connection.
struct Open {
    events: Streaming<v1::GenerateEvent>,
    _lane: Lane,
}

/// What follows.
enum State {
    Open(Box<Open>),
    /// The end was handed over; the trailers are on their way.
    Completed(Box<Open>),
    Over,
}

/// The pieces of `events`; holds `lane` until the end.
pub(super) fn of(events: Streaming<v1::GenerateEvent>, lane: Lane) -> Pieces {
    Pieces(Box::pin(pieces(State::Open(Box::new(Open { events, _lane: lane })))), None)
}

fn pieces(state: State) -> impl Stream<Item = Result<Piece, Failure>> + Send {
    stream::unfold(state, |state| async move {
        let mut open = match state {
            State::Open(open) => open,
            State::Completed(mut open) => {
                // Mostly they are here already, and taking them spares the other side a reset. What they say comes too
                // late to matter.
                let _ = open.events.message().now_or_never();
                return None;
            }
            State::Over => return None,
        };
        match next(&mut open).await {
            Ok((piece, false)) => Some((Ok(piece), State::Open(open))),
            Ok((piece, true)) => Some((Ok(piece), State::Completed(open))),
            Err(failure) => Some((Err(failure), State::Over)),
        }
    })
}

/// The next piece with something in it, and whether it was the last.
async fn next(open: &mut Open) -> Result<(Piece, bool), Failure> {
    loop {
        let event = open.events.message().await.map_err(|status| failure::of(&status))?;
        let Some(event) = event else {
            return Err(
                Failure::new(FailureKind::Truncated, "the stream ended without its end").with_status(200)
            );
        };
        let step = decode_event(event)
            .map_err(|what| Failure::new(FailureKind::BadResponse, what).with_status(200))?;
        match step {
            Step::Started => {}
            Step::Deltas(deltas) if deltas.is_empty() => {}
            Step::Deltas(deltas) => return Ok((piece(deltas), false)),
            Step::Completed(usage) => {
                let deltas = usage.map_or_else(SmallVec::new, |usage| smallvec![Delta::Usage(usage)]);
                let last = Piece { body: PieceBody::Canonical(deltas), content_events: 0, usage };
                return Ok((last, true));
            }
        }
    }
}

pub(super) fn piece(deltas: SmallVec<[Delta; 2]>) -> Piece {
    let content = |delta: &&Delta| match delta {
        Delta::Text { text, .. } | Delta::Reasoning { text, .. } | Delta::Refusal { text, .. } => {
            !text.is_empty()
        }
        Delta::ToolCall { .. } => true,
        Delta::Finish { .. } | Delta::Usage(_) => false,
    };
    let content_events = deltas.iter().filter(content).count() as u32;
    Piece { body: PieceBody::Canonical(deltas), content_events, usage: None }
}
