//! Reads an answer: checks that it is one, and of the kind that was asked for, before anything of it goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::time::{Sleep, sleep};

use super::exchange::{Body, Response};
use super::head::{ContentType, Head};
use crate::dialect::engine_load::of_page;
use crate::dialect::openai::{
    Form, RAW_MAX, Relay, Step, Terms, choices, decode_error, decode_inner_error, decode_whole, relay_whole,
};
use crate::domain::request::Ask;
use crate::domain::{Answer, Aside, Body as Asked, EngineLoad, Failure, FailureKind, Request, Usage};
use crate::upstream::{Attempt, Dropped, Piece, PieceBody, Pieces, Reply, Whole, WholeBody};

/// No whole answer is larger: 2048 embeddings of 3072 numbers are about 64 MB as JSON.
const WHOLE_MAX: usize = 64 * 1024 * 1024;

/// No page of metrics is longer: vLLM's is about 100 KiB.
const PAGE_MAX: usize = 1024 * 1024;

/// How long a stream may stay open after its answer is whole. Some servers never send `[DONE]`.
const DONE_GRACE: Duration = Duration::from_millis(500);

/// The one status that is an answer.
const OK: u16 = 200;

/// Checks the head of an answer, and reads all of it where it is not streamed.
pub(super) async fn read(
    response: Response,
    attempt: &Attempt,
    drops: &Arc<Drops>,
) -> Result<Reply, Failure> {
    let Response { mut head, body } = response;
    if head.status != OK {
        return Err(refused(head, body).await);
    }
    if head.encoded {
        return Err(wrong("the answer is encoded, which was not asked for"));
    }
    match (attempt.request.stream, head.content) {
        (true, ContentType::Events) => {
            Ok(Reply::Stream(Pieces(pieces(body, attempt, Arc::clone(drops)), head.aside.take())))
        }
        (true, ContentType::Json) => Err(unstreamed(body).await),
        (false, ContentType::Json | ContentType::None) => {
            whole(body, attempt, head.aside.take()).await.map(Reply::Whole)
        }
        (true, _) => Err(wrong("a stream was asked for, and the answer is none")),
        (false, _) => Err(wrong("JSON was asked for, and the answer is none")),
    }
}

/// A page of metrics. Any other answer is no page, and a redirect is not followed.
pub(super) async fn load(response: Response) -> Result<EngineLoad, Failure> {
    let Response { head, body } = response;
    if head.status != OK || head.encoded {
        let failure = Failure::new(FailureKind::BadResponse, "there is no page of metrics");
        return Err(failure.with_status(head.status));
    }
    let page = collect(body, PAGE_MAX).await.map_err(|(failure, _)| failure)?;
    of_page(&page).ok_or_else(|| wrong("no metric of an engine is on the page"))
}

fn wrong(why: &str) -> Failure {
    Failure::new(FailureKind::BadResponse, why).with_status(OK)
}

/// A status other than 200. Redirects are not followed: the key would go along.
async fn refused(head: Head, body: Body) -> Failure {
    // Of an error that is too long or cut short, what there is tells enough; its status tells most.
    let bytes = match collect(body, RAW_MAX).await {
        Ok(bytes) => bytes,
        Err((_, start)) => start,
    };
    let mut failure = decode_error(head.status, &bytes);
    failure.aside = head.aside;
    let waits = matches!(
        failure.kind,
        FailureKind::RateLimited | FailureKind::Overloaded | FailureKind::QuotaExhausted
    );
    if waits {
        failure.retry_after = head.retry_after;
    }
    failure
}

/// JSON where a stream was asked for: mostly an error under a 200.
async fn unstreamed(body: Body) -> Failure {
    match collect(body, RAW_MAX).await {
        Ok(bytes) if is_error(&bytes) => decode_inner_error(&bytes),
        _ => wrong("a stream was asked for, and the answer is one piece of JSON"),
    }
}

fn is_error(body: &[u8]) -> bool {
    let value: Result<serde_json::Value, _> = serde_json::from_slice(body);
    value.is_ok_and(|v| v.get("error").is_some_and(|e| !e.is_null()) || v["object"] == "error")
}

/// A body of at most `limit` bytes; what was read before it failed comes along.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, (Failure, Bytes)> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let data = match body.data().await {
            None => break,
            Some(Ok(data)) => data,
            Some(Err(failure)) => return Err((failure, joined(first, all))),
        };
        if first.len() + all.len() + data.len() > limit {
            let failure =
                Failure::new(FailureKind::TooLarge, format!("the answer is longer than {limit} bytes"));
            return Err((failure, joined(first, all)));
        }
        // Most answers come in one read and are not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(joined(first, all))
}

fn joined(first: Bytes, all: BytesMut) -> Bytes {
    if all.is_empty() { first } else { all.freeze() }
}

async fn whole(body: Body, attempt: &Attempt, aside: Option<Box<Aside>>) -> Result<Whole, Failure> {
    let bytes = collect(body, WHOLE_MAX).await.map_err(|(failure, _)| failure)?;
    let request = &attempt.request;
    let own_input = u64::from(request.input_tokens);
    // Relaying is also the check that it is an answer at all.
    let (relayed, usage) = relay_whole(request.kind, &bytes, &attempt.client_model, own_input)?;
    let body = match &request.body {
        Asked::OpenAi(_) => WholeBody::Bytes(relayed),
        Asked::Canonical(_) => WholeBody::Canonical(canonical(request, &bytes)?),
    };
    Ok(Whole { body, usage, aside })
}

fn canonical(request: &Request, bytes: &[u8]) -> Result<Answer, Failure> {
    let decoded = decode_whole(request.kind, bytes);
    decoded
        .map(|(answer, _): (Answer, Option<Usage>)| answer)
        .map_err(|e| wrong(&format!("not an answer: {e}")))
}

/// How many choices must end before the answer is whole.
fn expected_choices(request: &Request) -> u32 {
    match &request.body {
        Asked::OpenAi(body) => choices(request.kind, body),
        Asked::Canonical(ask) => match &**ask {
            Ask::Chat(chat) => chat.sampling.n.unwrap_or(1),
            Ask::Completion(c) => c.sampling.n.unwrap_or(1).saturating_mul(c.prompts.len() as u32),
            Ask::Embed(_) => 1,
        },
    }
}

/// What streams kept back, over all of them.
#[derive(Debug, Default)]
pub(super) struct Drops {
    unreadable: AtomicU64,
    late: AtomicU64,
}

impl Drops {
    pub(super) fn sum(&self) -> Dropped {
        Dropped {
            unreadable: self.unreadable.load(Ordering::Relaxed),
            late: self.late.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (unreadable, late) = self.relay.dropped();
        if unreadable > 0 || late > 0 {
            self.drops.unreadable.fetch_add(u64::from(unreadable), Ordering::Relaxed);
            self.drops.late.fetch_add(late, Ordering::Relaxed);
        }
    }
}

fn pieces(body: Body, attempt: &Attempt, drops: Arc<Drops>) -> Pin<Box<Open>> {
    let request = &attempt.request;
    let form = match &request.body {
        Asked::OpenAi(_) => Form::Bytes,
        Asked::Canonical(_) => Form::Canonical,
    };
    let relay = Relay::new(Terms {
        kind: request.kind,
        client_model: attempt.client_model.clone(),
        usage_asked: request.stream_usage,
        choices: expected_choices(request),
        own_input: u64::from(request.input_tokens),
        form,
    });
    Box::pin(Open { body: Some(body), relay, form, grace: None, end: None, drops })
}

/// A stream under way. The connection is closed with the last piece, unless the body was read to its end and the
/// connection can be used again.
struct Open {
    /// Gone when all is over.
    body: Option<Body>,
    relay: Relay,
    form: Form,
    /// Runs while nothing but `[DONE]` is missing.
    grace: Option<Pin<Box<Sleep>>>,
    /// How it ended, once what came before was handed on.
    end: Option<Result<(), Failure>>,
    drops: Arc<Drops>,
}

impl Stream for Open {
    type Item = Result<Piece, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(end) = self.end.take() {
                self.leave(cx);
                return Poll::Ready(end.err().map(Err));
            }
            let Poll::Ready(step) = self.step(cx) else { return Poll::Pending };
            let Some(mut step) = step else { return Poll::Ready(None) };
            self.end = step.end.take();
            if !step.is_empty() {
                return Poll::Ready(Some(Ok(self.piece(step))));
            }
        }
    }
}

impl Open {
    /// The next read that can matter: data, the end, or the time being up. `None` once all is over.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let step = match body.poll_data(cx) {
            Poll::Ready(None) => self.relay.closed(None),
            Poll::Ready(Some(Err(failure))) => self.relay.closed(Some(failure)),
            Poll::Ready(Some(Ok(data))) => self.relay.push(data),
            Poll::Pending => {
                let Some(grace) = &mut self.grace else { return Poll::Pending };
                ready!(grace.as_mut().poll(cx));
                self.relay.closed(None)
            }
        };
        // Usage comes after the last choice's end, so that it starts the time again; nothing else does.
        if self.relay.awaits_done() && (self.grace.is_none() || step.usage.is_some()) {
            self.grace = Some(Box::pin(sleep(DONE_GRACE)));
        }
        Poll::Ready(Some(step))
    }

    /// What ends a chunked body mostly came with the last event or right behind it: then the connection can be used
    /// again. It is not waited for.
    fn leave(&mut self, cx: &mut Context<'_>) {
        if let Some(mut body) = self.body.take() {
            let _ended = body.poll_data(cx);
        }
    }

    fn piece(&self, step: Step) -> Piece {
        let body = match self.form {
            Form::Bytes => PieceBody::Bytes(step.bytes),
            Form::Canonical => PieceBody::Canonical(step.deltas),
        };
        Piece { body, content_events: step.content_events, usage: step.usage }
    }
}
