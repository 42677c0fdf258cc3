//! Reads an answer: checks that it is one, and of the kind that was asked for, before anything of it goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use super::broken;
use crate::dialect::openai::{
    Form, RAW_MAX, Relay, Step, Terms, choices, decode_error, decode_inner_error, decode_whole, relay_whole,
};
use crate::dialect::retry_after::retry_after;
use crate::domain::request::Ask;
use crate::domain::{Answer, Body, Failure, FailureKind, Request, Usage};
use crate::upstream::{Attempt, Dropped, Piece, PieceBody, Pieces, Reply, Whole, WholeBody};

/// No whole answer is larger: 2048 embeddings of 3072 numbers are about 64 MB as JSON.
const WHOLE_MAX: usize = 64 * 1024 * 1024;

/// How long a stream may stay open after its answer is whole. Some servers never send `[DONE]`.
const DONE_GRACE: Duration = Duration::from_millis(500);

/// Reads the head of an answer, and all of it where it is not streamed.
pub(super) async fn read(
    response: Response<Incoming>,
    attempt: &Attempt,
    drops: &Arc<Drops>,
) -> Result<Reply, Failure> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(refused(head.status, &head.headers, body).await);
    }
    // Two lengths are two answers: what follows the shorter one could be taken for the next answer.
    if head.headers.contains_key(header::TRANSFER_ENCODING)
        && head.headers.contains_key(header::CONTENT_LENGTH)
    {
        return Err(wrong("the answer says its length in two ways"));
    }
    if let Some(encoding) = head.headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(wrong("the answer is encoded, which was not asked for"));
    }
    let request = &attempt.request;
    match (request.stream, content_type(&head.headers)) {
        (true, ContentType::Events) => Ok(Reply::Stream(pieces(body, attempt, Arc::clone(drops)))),
        (true, ContentType::Json) => Err(unstreamed(body).await),
        (false, ContentType::Json | ContentType::None) => whole(body, attempt).await.map(Reply::Whole),
        (true, _) => Err(wrong("a stream was asked for, and the answer is none")),
        (false, _) => Err(wrong("JSON was asked for, and the answer is none")),
    }
}

enum ContentType {
    Json,
    Events,
    Other,
    None,
}

fn content_type(headers: &HeaderMap) -> ContentType {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return ContentType::None };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "text/event-stream" => ContentType::Events,
        "application/json" => ContentType::Json,
        other if other.starts_with("application/") && other.ends_with("+json") => ContentType::Json,
        _ => ContentType::Other,
    }
}

fn wrong(why: &str) -> Failure {
    Failure::new(FailureKind::BadResponse, why).with_status(StatusCode::OK.as_u16())
}

/// A status other than 200. Redirects are not followed: the key would go along.
async fn refused(status: StatusCode, headers: &HeaderMap, body: Incoming) -> Failure {
    // Of an error that is too long or cut short, what there is tells enough; its status tells most.
    let bytes = match collect(body, RAW_MAX).await {
        Ok(bytes) => bytes,
        Err((_, start)) => start,
    };
    let mut failure = decode_error(status.as_u16(), &bytes);
    let waits = matches!(
        failure.kind,
        FailureKind::RateLimited | FailureKind::Overloaded | FailureKind::QuotaExhausted
    );
    if waits {
        failure.retry_after = retry_after(headers);
    }
    failure
}

/// JSON where a stream was asked for: mostly an error under a 200.
async fn unstreamed(body: Incoming) -> Failure {
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
async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, (Failure, Bytes)> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let frame = match body.frame().await {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(e)) => return Err((broken(&e), joined(first, all))),
        };
        let Ok(data) = frame.into_data() else { continue };
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

async fn whole(body: Incoming, attempt: &Attempt) -> Result<Whole, Failure> {
    let bytes = collect(body, WHOLE_MAX).await.map_err(|(failure, _)| failure)?;
    let request = &attempt.request;
    let own_input = u64::from(request.input_tokens);
    // Relaying is also the check that it is an answer at all.
    let (relayed, usage) = relay_whole(request.kind, &bytes, &attempt.client_model, own_input)?;
    let body = match &request.body {
        Body::OpenAi(_) => WholeBody::Bytes(relayed),
        Body::Canonical(_) => WholeBody::Canonical(canonical(request, &bytes)?),
    };
    Ok(Whole { body, usage })
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
        Body::OpenAi(body) => choices(request.kind, body),
        Body::Canonical(ask) => match &**ask {
            Ask::Chat(chat) => chat.sampling.n.unwrap_or(1),
            Ask::Completion(c) => c.sampling.n.unwrap_or(1).saturating_mul(c.prompts.len() as u32),
            Ask::Embed(_) => 1,
        },
    }
}

struct Open {
    body: Incoming,
    relay: Relay,
    form: Form,
    /// Runs while nothing but `[DONE]` is missing.
    grace: Option<Pin<Box<Sleep>>>,
    /// How it ended, once what came before was handed on.
    end: Option<Result<(), Failure>>,
    drops: Arc<Drops>,
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

fn pieces(body: Incoming, attempt: &Attempt, drops: Arc<Drops>) -> Pieces {
    let request = &attempt.request;
    let form = match &request.body {
        Body::OpenAi(_) => Form::Bytes,
        Body::Canonical(_) => Form::Canonical,
    };
    let relay = Relay::new(Terms {
        kind: request.kind,
        client_model: attempt.client_model.clone(),
        usage_asked: request.stream_usage,
        choices: expected_choices(request),
        own_input: u64::from(request.input_tokens),
        form,
    });
    let open = Open { body, relay, form, grace: None, end: None, drops };
    Pieces(Box::pin(stream::unfold(Some(open), |open| async move { open?.next().await })))
}

type Next = Option<(Result<Piece, Failure>, Option<Open>)>;

impl Open {
    /// The next piece. Dropping the state after the last one closes the connection, unless the body was read to its
    /// end and the connection can be used again.
    async fn next(mut self) -> Next {
        loop {
            match self.end.take() {
                Some(Ok(())) => return None,
                Some(Err(failure)) => return Some((Err(failure), None)),
                None => {}
            }
            let mut step = self.step().await;
            self.end = step.end.take();
            if !step.is_empty() {
                let piece = self.piece(step);
                return Some((Ok(piece), Some(self)));
            }
        }
    }

    /// The next read that can matter: data, the end, or the time being up.
    async fn step(&mut self) -> Step {
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = grace(&mut self.grace) => return self.relay.closed(None),
            };
            let step = match frame {
                None => self.relay.closed(None),
                Some(Err(e)) => self.relay.closed(Some(broken(&e))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.relay.push(data),
                    // Trailers.
                    Err(_) => continue,
                },
            };
            // Usage comes after the last choice's end, so that it starts the time again; nothing else does.
            if self.relay.awaits_done() && (self.grace.is_none() || step.usage.is_some()) {
                self.grace = Some(Box::pin(sleep(DONE_GRACE)));
            }
            return step;
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

async fn grace(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}
