//! Relays a stream after its commit point: one task that always drains the upstream, one bounded buffer, one reader.
//!
//! The task never stops reading the upstream just because the client does, where that could hurt somebody else: over
//! a shared HTTP/2 connection unread frames of one stream use up the window (and in h2 the frame budget) of all. So a
//! client that takes nothing for [`SHARED_PATIENCE`] loses its own stream, and nobody else's. Where every stream has its
//! own connection, a full buffer makes the upstream wait for up to `write_blocked`.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_util::Stream;
use smallvec::SmallVec;

use super::drive::{Alarm, Driven};
use super::late::Late;
use super::{Bill, Broken, Out};
use crate::call::{Close, Event, Step};
use crate::domain::{Delta, Duration, Instant, Usage, Usd};
use crate::upstream::{PieceBody, Pieces};

/// So long a stream on a shared connection may wait for its client at a time. A willing reader takes something within
/// milliseconds, on a busy machine within tenths of a second; what piles up meanwhile stays within the stream's own
/// share of the connection's window, so that nobody else waits.
const SHARED_PATIENCE: Duration = Duration::from_secs(1);

/// The rest of a stream, to be polled for [`Out`]s. Dropping it tells the upstream to stop.
pub struct RelayBody(Source);

enum Source {
    /// It has begun.
    Begun(Begun),
    /// It has not, though the client already has its headers.
    Late(Late),
}

/// The reader's end of the buffer.
struct Begun {
    shared: Arc<Mutex<Shared>>,
}

/// What the task and the reader share.
struct Shared {
    queue: VecDeque<Out>,
    /// Size of what is queued, in bytes of content.
    bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The reader was dropped.
    gone: bool,
    /// Nothing more will be queued.
    ended: bool,
}

/// The task's end of the buffer.
struct Writer {
    shared: Arc<Mutex<Shared>>,
    limit: usize,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a piece weighs in the buffer.
fn weight(out: &Out) -> usize {
    match out {
        Out::Piece(body) => size(body),
        Out::KeepAlive | Out::End(_) | Out::Broken(_) => 0,
    }
}

/// The memory that a piece holds, about.
pub(super) fn size(body: &PieceBody) -> usize {
    /// What a delta takes beside its text: many small ones are not free.
    const DELTA: usize = 64;
    match body {
        PieceBody::Bytes(bytes) => bytes.len(),
        PieceBody::Canonical(deltas) => deltas.iter().map(|delta| DELTA + text_len(delta)).sum(),
    }
}

fn text_len(delta: &Delta) -> usize {
    match delta {
        Delta::Text { text, logprobs, .. } => text.len() + logprobs.as_ref().map_or(0, |l| l.get().len()),
        Delta::Reasoning { text, .. } | Delta::Refusal { text, .. } => text.len(),
        Delta::ToolCall { id, name, arguments, .. } => {
            arguments.len() + id.as_ref().map_or(0, String::len) + name.as_ref().map_or(0, String::len)
        }
        Delta::Finish { .. } | Delta::Usage(_) => 0,
    }
}

impl RelayBody {
    /// A stream that is already over.
    pub(super) fn finished(outs: impl Iterator<Item = Out>) -> Self {
        let shared =
            Shared { queue: outs.collect(), bytes: 0, reader: None, writer: None, gone: false, ended: true };
        Self(Source::Begun(Begun { shared: Arc::new(Mutex::new(shared)) }))
    }

    /// A stream that is yet to begin, or to break.
    pub(super) fn late(late: Late) -> Self {
        Self(Source::Late(late))
    }

    /// The next thing to hand to the client; `None` after the last.
    pub fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        if let Source::Late(late) = &mut self.0 {
            match ready!(late.poll(cx)) {
                Ok(Some(begun)) => *self = begun,
                Ok(None) => return Poll::Ready(Some(Out::KeepAlive)),
                Err(broken) => *self = Self::finished([Out::Broken(*broken)].into_iter()),
            }
        }
        match &mut self.0 {
            Source::Begun(begun) => begun.poll_out(cx),
            // What a late stream becomes has begun.
            Source::Late(_) => Poll::Ready(None),
        }
    }
}

impl Begun {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        let mut shared = lock(&self.shared);
        if let Some(out) = shared.queue.pop_front() {
            shared.bytes = shared.bytes.saturating_sub(weight(&out));
            let writer = shared.writer.take();
            drop(shared);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Some(out));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        remember(&mut shared.reader, cx);
        Poll::Pending
    }
}

impl Stream for RelayBody {
    type Item = Out;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        self.poll_out(cx)
    }
}

impl fmt::Debug for RelayBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source::Begun(begun) = &self.0 else { return f.write_str("RelayBody(late)") };
        let shared = lock(&begun.shared);
        f.debug_struct("RelayBody")
            .field("queued", &shared.queue.len())
            .field("ended", &shared.ended)
            .finish()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.gone = true;
        shared.queue.clear();
        let writer = shared.writer.take();
        drop(shared);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => {}
        _ => *slot = Some(cx.waker().clone()),
    }
}

/// Room for another piece?
#[derive(PartialEq, Eq)]
enum Room {
    Free,
    Full,
    Gone,
}

impl Writer {
    fn push(&self, out: Out) {
        let mut shared = lock(&self.shared);
        shared.ended = !matches!(out, Out::Piece(_));
        shared.bytes += weight(&out);
        shared.queue.push_back(out);
        let reader = shared.reader.take();
        drop(shared);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// How it stands; the task is woken when the reader takes something or goes.
    fn room(&self, cx: &Context<'_>) -> Room {
        let mut shared = lock(&self.shared);
        remember(&mut shared.writer, cx);
        match (shared.gone, shared.bytes >= self.limit) {
            (true, _) => Room::Gone,
            (false, true) => Room::Full,
            (false, false) => Room::Free,
        }
    }
}

impl Drop for Writer {
    /// A task that ends without a word (a bug of ours or of an upstream) must not leave its reader waiting for ever, nor
    /// let it think that this was all.
    fn drop(&mut self) {
        if lock(&self.shared).ended {
            return;
        }
        let bill = Bill { usage: Usage::default(), cost: Usd::ZERO };
        let code = "stream_interrupted";
        self.push(Out::Broken(Broken { code, failure: None, tokens_delivered: 0, bill }));
    }
}

/// Starts relaying what follows `held`.
pub(super) fn spawn(driven: Driven, held: SmallVec<[PieceBody; 4]>, pieces: Pieces) -> RelayBody {
    let limit = driven.edition.settings.stream_buffer;
    let queue: VecDeque<Out> = held.into_iter().map(Out::Piece).collect();
    let bytes = queue.iter().map(weight).sum();
    let shared = Shared { queue, bytes, reader: None, writer: None, gone: false, ended: false };
    let shared = Arc::new(Mutex::new(shared));
    let writer = Writer { shared: shared.clone(), limit };
    tokio::spawn(relay(driven, writer, pieces));
    RelayBody(Source::Begun(Begun { shared }))
}

/// What woke the task.
enum Woken<T> {
    Item(T),
    Alarm,
    ReaderGone,
    Full,
    GraceOver,
}

async fn relay(mut driven: Driven, writer: Writer, mut pieces: Pieces) {
    let router = driven.router.clone();
    let mut grace_over = pin!(router.grace_over.cancelled());
    let mut alarm = Alarm::new(&router, driven.call.wake_at());
    loop {
        let woken = poll_fn(|cx| {
            match writer.room(cx) {
                Room::Gone => return Poll::Ready(Woken::ReaderGone),
                Room::Full => return Poll::Ready(Woken::Full),
                Room::Free => {}
            }
            if let Poll::Ready(item) = pieces.0.as_mut().poll_next(cx) {
                return Poll::Ready(Woken::Item(item));
            }
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(Woken::Alarm);
            }
            grace_over.as_mut().poll(cx).map(|()| Woken::GraceOver)
        })
        .await;
        let step = match woken {
            Woken::Item(Some(Ok(piece))) => {
                let now = router.clock.mono();
                driven.call.piece(piece.content_events, piece.usage, now);
                writer.push(Out::Piece(piece.body));
                match overdue(&driven, now) {
                    Some(event) => driven.step(event),
                    None => continue,
                }
            }
            Woken::Item(Some(Err(failure))) => driven.step(Event::Failed(failure)),
            Woken::Item(None) => driven.step(Event::End),
            Woken::Alarm => driven.step(Event::Tick),
            Woken::ReaderGone => driven.step(Event::ClientGone),
            Woken::Full => match make_room(&mut driven, &writer, grace_over.as_mut()).await {
                Some(event) => driven.step(event),
                None => Step::Continue,
            },
            Woken::GraceOver => driven.step(Event::Shutdown),
        };
        match step {
            Step::Close(close) => return finish(&driven, &writer, close),
            _ => alarm.set(&router, driven.call.wake_at()),
        }
    }
}

/// What the task would have woken to, had there been no piece: an upstream that always has one more must not keep it
/// from its timer and its orders.
fn overdue(driven: &Driven, now: Instant) -> Option<Event> {
    if now >= driven.call.wake_at() {
        return Some(Event::Tick);
    }
    let router = &driven.router;
    (router.draining.load(Ordering::Relaxed) && router.grace_over.is_cancelled()).then_some(Event::Shutdown)
}

/// Waits for the client to take something, for a while: see above.
async fn make_room(
    driven: &mut Driven,
    writer: &Writer,
    mut grace_over: Pin<&mut impl Future<Output = ()>>,
) -> Option<Event> {
    let router = driven.router.clone();
    let blocked = driven.edition.settings.write_blocked;
    let patience = if driven.shares_connection { blocked.min(SHARED_PATIENCE) } else { blocked };
    let until = (router.clock.mono() + patience).min(driven.call.facts().deadline);
    let mut alarm = Alarm::new(&router, until);
    let event = poll_fn(|cx| {
        match writer.room(cx) {
            Room::Gone => return Poll::Ready(Some(Event::ClientGone)),
            Room::Free => return Poll::Ready(None),
            Room::Full => {}
        }
        if alarm.poll(cx).is_ready() {
            return Poll::Ready(Some(Event::SlowReader));
        }
        grace_over.as_mut().poll(cx).map(|()| Some(Event::Shutdown))
    })
    .await;
    driven.call.unblocked(router.clock.mono());
    event
}

fn finish(driven: &Driven, writer: &Writer, close: Close) {
    let out = match close {
        Close::Answered => Out::End(driven.bill()),
        Close::Broken { code, failure } => Out::Broken(Broken {
            code,
            failure,
            tokens_delivered: driven.call.tokens_delivered(),
            bill: driven.bill(),
        }),
        Close::Gone => return,
        Close::Refused(_) => {
            debug_assert!(false, "a refusal after the commit point");
            return;
        }
    };
    writer.push(out);
}
