//! Answers and errors on their way out: the head that says what happened, and a body that is not copied.

use std::convert::Infallible;
use std::fmt::{self, Write as _};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use memchr::memmem;

use crate::dialect::openai::{self, Meta, StreamEncoder};
use crate::domain::request::Ask;
use crate::domain::{AskKind, CallId, FailureKind, Refusal, Timestamp, Usd};
use crate::edge::status::{self, HttpFault, Wire};
use crate::flow::{Answered, Head, Out, Refused};
use crate::upstream::{PieceBody, WholeBody};

const CALL: HeaderName = HeaderName::from_static("x-gridtie-call");
const POOL: HeaderName = HeaderName::from_static("x-gridtie-pool");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-gridtie-attempts");
const COST: HeaderName = HeaderName::from_static("x-gridtie-cost-usd");
const REASON: HeaderName = HeaderName::from_static("x-gridtie-reason");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const NOTHING: HeaderValue = HeaderValue::from_static("0.000000000");

/// All the headers that an answer can have, so that their map is allocated once.
const HEADERS: usize = 16;

/// What the request was, as far as the answer's form depends on it.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) kind: AskKind,
    pub(super) include_usage: bool,
    pub(super) body: Bytes,
}

/// The body of an answer: all there, or a stream that is relayed.
#[derive(Debug)]
pub struct AnswerBody<R>(Form<R>);

#[derive(Debug)]
enum Form<R> {
    Whole(Bytes),
    Stream(Relayed<R>),
}

#[derive(Debug)]
struct Relayed<R> {
    relay: R,
    coding: Coding,
    state: State,
}

/// How a stream's pieces become bytes: they are bytes already, or they are written by an encoder that is made for the
/// first of them.
#[derive(Debug)]
struct Coding {
    kind: AskKind,
    include_usage: bool,
    call: CallId,
    created: u64,
    model: Arc<str>,
    encoder: Option<Box<StreamEncoder>>,
}

impl Coding {
    fn encoder(&mut self) -> &mut StreamEncoder {
        let Self { kind, include_usage, call, created, model, encoder } = self;
        encoder.get_or_insert_with(|| {
            let meta = Meta { id: answer_id(*kind, *call), created: *created, model: Arc::clone(model) };
            Box::new(StreamEncoder::new(*kind, meta, *include_usage))
        })
    }
}

#[derive(Debug)]
enum State {
    Open,
    /// The last event is out; the settled cost is not.
    Settled(Usd),
    Done,
}

impl<R: Stream<Item = Out> + Unpin> Relayed<R> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            let data = match mem::replace(&mut self.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Settled(cost) => return Poll::Ready(Some(Frame::trailers(cost_trailer(cost)))),
                State::Open => {
                    self.state = State::Open;
                    let out = ready!(Pin::new(&mut self.relay).poll_next(cx));
                    self.event(out)
                }
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Frame::data(data)));
            }
        }
    }

    fn event(&mut self, out: Option<Out>) -> Bytes {
        match out {
            Some(Out::Piece(PieceBody::Bytes(bytes))) => bytes,
            Some(Out::Piece(PieceBody::Canonical(deltas))) => self.coding.encoder().push(&deltas),
            Some(Out::KeepAlive) => Bytes::from_static(b": ka\n\n"),
            Some(Out::End(bill)) => {
                self.state = State::Settled(bill.cost);
                self.coding.encoder.as_mut().map_or_else(Bytes::new, |encoder| encoder.finish(&bill.usage))
            }
            Some(Out::Broken(broken)) => {
                self.state = State::Settled(broken.bill.cost);
                let wire = status::broken(&broken);
                openai::error_event(&wire.message, wire.kind, &wire.code, broken.tokens_delivered)
            }
            // Against its word the relay stopped without an end. Whatever the reason, the answer is not whole.
            None => {
                self.state = State::Done;
                openai::error_event(
                    "The answer broke off; it is not whole.",
                    "upstream_error",
                    "stream_interrupted",
                    0,
                )
            }
        }
    }
}

impl<R: Stream<Item = Out> + Unpin> Body for AnswerBody<R> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.get_mut().0 {
            Form::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Form::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(mem::take(bytes))))),
            Form::Stream(relayed) => relayed.poll_frame(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Form::Whole(bytes) => bytes.is_empty(),
            Form::Stream(relayed) => matches!(relayed.state, State::Done),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Form::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Form::Stream(_) => SizeHint::default(),
        }
    }
}

/// The response to a call that was answered.
pub(super) fn answered<R>(answered: Answered<R>, origin: Origin, wall: Timestamp) -> Response<AnswerBody<R>> {
    match answered {
        Answered::Whole { head, whole, bill } => {
            let body = match whole.body {
                WholeBody::Bytes(bytes) => bytes,
                WholeBody::Canonical(answer) => {
                    let model = Arc::clone(&head.model);
                    let meta = Meta { id: answer_id(origin.kind, head.call), created: wall.as_secs(), model };
                    openai::encode_whole(origin.kind, &answer, &bill.usage, &meta, wants_base64(&origin))
                }
            };
            let mut response = plain(StatusCode::OK, JSON, body);
            say(response.headers_mut(), head, bill.cost);
            response
        }
        Answered::Stream { head, body } => {
            let coding = Coding {
                kind: origin.kind,
                include_usage: origin.include_usage,
                call: head.call,
                created: wall.as_secs(),
                model: Arc::clone(&head.model),
                encoder: None,
            };
            let relayed = Relayed { relay: body, coding, state: State::Open };
            let mut response = with_type(EVENTS, Form::Stream(relayed));
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
            headers.insert(TRAILER, HeaderValue::from_static("x-gridtie-cost-usd"));
            let estimate = head.cost;
            say(headers, head, estimate);
            response
        }
    }
}

/// Only vectors of another dialect must be spelt by us, and only then is it worth another look at the request.
fn wants_base64(origin: &Origin) -> bool {
    origin.kind == AskKind::Embed
        && matches!(openai::decode_request(origin.kind, &origin.body), Ok(Ask::Embed(embed)) if embed.base64)
}

/// The id that an answer of ours has in OpenAI's words.
fn answer_id(kind: AskKind, call: CallId) -> String {
    match kind {
        AskKind::Chat => format!("chatcmpl-{call}"),
        AskKind::Completion => format!("cmpl-{call}"),
        AskKind::Embed => format!("embd-{call}"),
    }
}

/// A whole JSON answer that is not about a call.
pub(super) fn json<R>(body: Bytes) -> Response<AnswerBody<R>> {
    plain(StatusCode::OK, JSON, body)
}

/// What a path allows.
pub(super) fn options<R>(allow: &'static str) -> Response<AnswerBody<R>> {
    let mut response = plain(StatusCode::NO_CONTENT, JSON, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// The response to a request that never became a call.
pub(super) fn fault<R>(fault: &HttpFault, id: CallId) -> Response<AnswerBody<R>> {
    let wire = fault.wire();
    let mut response = error(&wire, None);
    let headers = response.headers_mut();
    say_refused(headers, id, None, 0);
    if fault.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let HttpFault::Method { allow } = fault {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// The response to a call without an answer.
pub(super) fn refused<R>(refused: &Refused) -> Response<AnswerBody<R>> {
    let wire = status::refused(refused);
    let mut response = error(&wire, their_body(&refused.refusal));
    let headers = response.headers_mut();
    say_refused(headers, refused.call, refused.pool.as_deref(), refused.attempts);
    if wire.http == StatusCode::PAYLOAD_TOO_LARGE && refused.attempts == 0 {
        // The rest of the body will not be read.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The provider's own body, where it is about the client's request and of the form that this face's clients read.
fn their_body(refusal: &Refusal) -> Option<Bytes> {
    let Refusal::Upstream(failure) = refusal else { return None };
    match failure.kind {
        FailureKind::BadRequest | FailureKind::ContextTooLong | FailureKind::ContentFilter => {
            let raw = failure.detail.as_ref()?.raw.as_ref()?;
            let readable =
                raw.trim_ascii_start().starts_with(b"{") && memmem::find(raw, b"\"error\":").is_some();
            readable.then(|| raw.clone())
        }
        _ => None,
    }
}

fn error<R>(wire: &Wire, raw: Option<Bytes>) -> Response<AnswerBody<R>> {
    let body = raw.unwrap_or_else(|| {
        openai::error_body(&wire.message, wire.kind, wire.param.as_deref(), Some(&wire.code))
    });
    let mut response = plain(wire.http, JSON, body);
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(wire.reason));
    if let Some(advice) = wire.retry_advice() {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(advice));
    }
    if let Some(after) = wire.retry_after {
        // Whole seconds, rounded up: nobody is sent back too early.
        let secs = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1);
        headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
    response
}

fn plain<R>(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<AnswerBody<R>> {
    let mut response = with_type(content_type, Form::Whole(body));
    *response.status_mut() = status;
    response
}

fn with_type<R>(content_type: HeaderValue, form: Form<R>) -> Response<AnswerBody<R>> {
    let mut response = Response::new(AnswerBody(form));
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, content_type);
    response
}

fn say(headers: &mut HeaderMap, head: Head, cost: Usd) {
    let Head { call, pool, attempts, reason, .. } = head;
    say_ids(headers, call, Some(&pool), attempts);
    headers.insert(COST, shown(cost));
    headers.insert(REASON, header_text(reason));
}

fn say_refused(headers: &mut HeaderMap, call: CallId, pool: Option<&str>, attempts: u32) {
    say_ids(headers, call, pool, attempts);
    headers.insert(COST, NOTHING);
}

fn say_ids(headers: &mut HeaderMap, call: CallId, pool: Option<&str>, attempts: u32) {
    let call = shown(call);
    headers.insert(REQUEST_ID, call.clone());
    headers.insert(CALL, call);
    headers.insert(ATTEMPTS, HeaderValue::from(attempts));
    if let Some(pool) = pool {
        headers.insert(POOL, HeaderValue::from_str(pool).unwrap_or_else(|_| header_text(pool.to_owned())));
    }
}

fn cost_trailer(cost: Usd) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(COST, shown(cost));
    trailers
}

/// A short number or id as a header, without a `String` on the way.
fn shown(value: impl fmt::Display) -> HeaderValue {
    let mut text = Short { bytes: [0; Short::MAX], len: 0 };
    // What does not fit is cut: ids and money never come near that.
    let _ = write!(text, "{value}");
    HeaderValue::from_bytes(&text.bytes[..text.len]).unwrap_or(NOTHING)
}

struct Short {
    bytes: [u8; Short::MAX],
    len: usize,
}

impl Short {
    const MAX: usize = 32;
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Text for people as a header: what a header cannot hold becomes `?`, so that no name from a config or a provider
/// can end a header and begin another.
fn header_text(text: String) -> HeaderValue {
    let text = match text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        true => text,
        false => text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect(),
    };
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("?"))
}
