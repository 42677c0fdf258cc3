//! A mock pool's OpenAI-compatible HTTP: hyper, the dialect, and faults at the socket.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Served;
use crate::dialect::FieldError;
use crate::dialect::openai::{Meta, StreamEncoder, decode_request, encode_whole, error_body, peek};
use crate::domain::request::Ask;
use crate::domain::{
    Allowances, AskKind, Body, Duration, Failure, FailureKind, Request as Asked, TenantId, Usage,
};
use crate::engine::Load;
use crate::upstream::{PieceBody, Pieces, Reply, Whole, WholeBody};

/// As providers take.
const MAX_BODY: usize = 32 << 20;

/// A body must be whole within this.
const BODY_TIME: Duration = Duration::from_secs(60);

/// From the first byte of a request's head to its last.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Connections of a pool at once; the next one is closed.
const MAX_CONNECTIONS: usize = 10_000;

/// After a failed `accept` (no file descriptors, mostly) some may have come back by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connection ends here, in the middle of whatever it was doing.
type Cut = io::Error;
type Answer = Response<UnsyncBoxBody<Bytes, Cut>>;

/// Serves until stopped, then drops every connection.
pub(super) async fn serve(listener: TcpListener, served: Arc<Served>, stopped: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped.cancelled() => return,
            // Finished connections are forgotten as they end, not hoarded.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                let served = Arc::clone(&served);
                connections.spawn(async move {
                    connection(socket, served).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(socket: TcpStream, served: Arc<Served>) {
    if !served.pool.reachable() {
        // A reset, which is the nearest to a refused connection that an open port can do.
        let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
        return;
    }
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        let served = Arc::clone(&served);
        async move { respond(&served, request).await }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    builder.http2().timer(TokioTimer::new());
    // How it ended is the client's business.
    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
}

async fn respond(served: &Served, request: Request<Incoming>) -> Result<Answer, Cut> {
    let kind = match request.uri().path() {
        "/v1/chat/completions" => AskKind::Chat,
        "/v1/completions" => AskKind::Completion,
        "/v1/embeddings" => AskKind::Embed,
        "/health" => return Ok(json_answer(StatusCode::OK, Bytes::from_static(b"{}"))),
        "/metrics" => return Ok(metrics(served)),
        "/v1/models" => return Ok(json_answer(StatusCode::OK, models(served))),
        _ => return Ok(error(StatusCode::NOT_FOUND, "There is nothing at this path.", None, None)),
    };
    if request.method() != Method::POST {
        let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "Use POST.", None, None);
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(answer);
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match tokio::time::timeout(BODY_TIME, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(error(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.", None, None)),
        Err(_) => return Ok(error(StatusCode::REQUEST_TIMEOUT, "The body did not come.", None, None)),
    };
    match read(kind, &body) {
        Ok((asked, model, base64)) => {
            let mut answer = ask(served, asked, &model, base64).await?;
            put_rates(&served.pool.left(), answer.headers_mut());
            Ok(answer)
        }
        Err(e) => {
            let (field, code) = (e.field.as_deref(), e.code.as_deref());
            Ok(error(StatusCode::BAD_REQUEST, &e.message, field, code))
        }
    }
}

/// The request, the model it names, and whether vectors are wanted in base64.
fn read(kind: AskKind, body: &Bytes) -> Result<(Asked, String, bool), FieldError> {
    // Whose it is, a pool does not know.
    let seen = peek(kind, body, TenantId(0))?;
    let ask = decode_request(kind, body)?;
    let base64 = matches!(&ask, Ask::Embed(embed) if embed.base64);
    let asked = Asked {
        kind,
        stream: seen.stream,
        stream_usage: seen.stream_usage,
        body: Body::Canonical(Box::new(ask)),
        input_tokens: seen.input_tokens,
        forward: Vec::new(),
    };
    Ok((asked, seen.model, base64))
}

async fn ask(served: &Served, asked: Asked, model: &str, base64: bool) -> Result<Answer, Cut> {
    let (kind, stream_usage) = (asked.kind, asked.stream_usage);
    let (call, reply) = served.call(asked, model).await;
    let prefix = if kind == AskKind::Chat { "chatcmpl" } else { "cmpl" };
    let meta = Meta {
        id: format!("{prefix}-{call}"),
        created: served.pool.clock().now().wall.as_secs(),
        model: Arc::from(model),
    };
    match reply {
        Ok(Reply::Whole(Whole { body: WholeBody::Canonical(answer), usage, .. })) => {
            Ok(json_answer(StatusCode::OK, encode_whole(kind, &answer, &usage, &meta, base64)))
        }
        Ok(Reply::Whole(Whole { body: WholeBody::Bytes(bytes), .. })) => {
            Ok(json_answer(StatusCode::OK, bytes))
        }
        Ok(Reply::Stream(pieces)) => {
            let encoder = StreamEncoder::new(kind, meta, stream_usage);
            let mut answer = Response::new(StreamBody::new(events(pieces, encoder)).boxed_unsync());
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            Ok(answer)
        }
        Err(failure) => failed(&failure),
    }
}

/// A stream on its way to the wire.
struct Events {
    pieces: Pieces,
    encoder: StreamEncoder,
    usage: Usage,
    over: bool,
}

fn events(
    pieces: Pieces,
    encoder: StreamEncoder,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Cut>> {
    let events = Events { pieces, encoder, usage: Usage::default(), over: false };
    stream::unfold(events, |mut events| async move {
        let next = events.next().await?;
        Some((next.map(Frame::data), events))
    })
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        while !self.over {
            let bytes = match self.pieces.0.next().await {
                Some(Ok(piece)) => {
                    self.usage = piece.usage.unwrap_or(self.usage);
                    match piece.body {
                        PieceBody::Canonical(deltas) => self.encoder.push(&deltas),
                        PieceBody::Bytes(bytes) => bytes,
                    }
                }
                Some(Err(failure)) => {
                    self.over = true;
                    // Lets the server write out what it has: the tokens before the cut did arrive.
                    tokio::task::yield_now().await;
                    return Some(Err(Cut::other(failure.message)));
                }
                None => {
                    self.over = true;
                    self.encoder.finish(&self.usage)
                }
            };
            if !bytes.is_empty() {
                return Some(Ok(bytes));
            }
        }
        None
    }
}

/// What the wire shows of a failure: a cut for what happens below HTTP, a status for the rest.
fn failed(failure: &Failure) -> Result<Answer, Cut> {
    use FailureKind::{Connect, Disconnected, Truncated};
    if matches!(failure.kind, Connect | Disconnected | Truncated) {
        return Err(Cut::other(failure.message.clone()));
    }
    let status = failure.status.and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or(StatusCode::BAD_GATEWAY);
    let detail = failure.detail.as_deref();
    let message = detail.map_or(failure.message.as_str(), |d| d.message.as_str());
    let (param, code) = (detail.and_then(|d| d.param.as_deref()), detail.and_then(|d| d.code.as_deref()));
    let mut answer = error(status, message, param, code);
    if let Some(wait) = failure.retry_after {
        // Whole seconds are all this header can say, and too early would be wrong.
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    Ok(answer)
}

fn error(status: StatusCode, message: &str, param: Option<&str>, code: Option<&str>) -> Answer {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json_answer(status, error_body(message, kind, param, code))
}

fn json_answer(status: StatusCode, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// How busy the pool's engines are, as vLLM says it.
fn metrics(served: &Served) -> Answer {
    let model = served.pool.settings().models.first().map_or("m", |name| name);
    let model = model.replace(['"', '\\', '\n'], "_");
    let mut page = String::new();
    for (name, value) in [
        ("num_requests_running", (|load| f64::from(load.running)) as fn(&Load) -> f64),
        ("num_requests_waiting", |load| f64::from(load.waiting)),
        ("kv_cache_usage_perc", |load| load.kv_used as f64 / load.kv_tokens.max(1) as f64),
    ] {
        page.push_str(&format!("# TYPE vllm:{name} gauge\n"));
        for (i, load) in served.pool.loads().iter().enumerate() {
            page.push_str(&format!("vllm:{name}{{engine=\"{i}\",model_name=\"{model}\"}} {}\n", value(load)));
        }
    }
    let mut answer = json_answer(StatusCode::OK, Bytes::from(page));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    answer
}

/// What is left of the pool's limits, as OpenAI says it.
fn put_rates(left: &Allowances, headers: &mut HeaderMap) {
    for (of, left) in [("requests", left.requests), ("tokens", left.tokens)] {
        let mut put = |what: &str, value: Option<String>| {
            let name = HeaderName::try_from(format!("x-ratelimit-{what}-{of}")).ok();
            let value = value.and_then(|value| HeaderValue::try_from(value).ok());
            if let (Some(name), Some(value)) = (name, value) {
                headers.insert(name, value);
            }
        };
        put("limit", left.limit.map(|n| n.to_string()));
        put("remaining", left.remaining.map(|n| n.to_string()));
        put("reset", left.reset.map(|reset| format!("{}ms", reset.as_millis())));
    }
}

fn models(served: &Served) -> Bytes {
    let settings = served.pool.settings();
    let one = |name: &Arc<str>| json!({"id": &**name, "object": "model", "created": 0, "owned_by": &*settings.name});
    let list = json!({"object": "list", "data": settings.models.iter().map(one).collect::<Vec<_>>()});
    Bytes::from(list.to_string())
}
