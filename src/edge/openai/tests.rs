mod answers;
mod requests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use smallvec::smallvec;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::domain::{
    Answer, Choice, Delta, Embedded, ErrorDetail, Failure, FailureKind, FinishReason, Generated, Model,
    ModelId, Offer, Usage, UsageSource, Usd,
};
use crate::edge::listen;
use crate::flow::{Bill, Broken, Head};
use crate::upstream::{PieceBody, Whole, WholeBody};

/// A stream that a test feeds.
#[derive(Debug)]
struct Feed(mpsc::UnboundedReceiver<Out>);

impl Stream for Feed {
    type Item = Out;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        self.0.poll_recv(cx)
    }
}

type Handler = Box<dyn Fn(Inbound) -> Result<Answered<Feed>, Refused> + Send + Sync>;

struct Script(Handler);

impl Calls for Script {
    type Relay = Feed;

    async fn call(&self, inbound: Inbound) -> Result<Answered<Feed>, Refused> {
        (self.0)(inbound)
    }

    fn catalog(&self) -> Arc<Catalog> {
        let model = |name: &str, aliases: &[&str], offers| Model {
            name: name.into(),
            aliases: aliases.iter().map(|a| (*a).into()).collect(),
            kind: AskKind::Chat,
            offers,
        };
        let offer = Offer {
            pool: domain::PoolId(0),
            model: ModelId(0),
            hours: None,
            upstream_model: "up".into(),
            prices: domain::Prices::default(),
            context_window: Some(8192),
            capabilities: domain::Capabilities::NONE,
        };
        let models =
            vec![model("large", &["vendor/large"], vec![domain::OfferId(0)]), model("small", &[], vec![])];
        Arc::new(Catalog { models, offers: vec![offer], ..Catalog::default() })
    }

    fn next_id(&self) -> CallId {
        CallId(0xfa)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }
}

fn open_to_all() -> Auth {
    Arc::new(|_, _| Ok(TenantId(3)))
}

async fn serve_with(limits: Limits, auth: Auth, handler: Handler) -> SocketAddr {
    let face = Face::new(Script(handler), auth, limits);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (settings, shutdown) = (listen::Settings::default(), listen::Shutdown::new());
    tokio::spawn(listen::serve(listener, settings, shutdown, move |peer| face.connection(peer)));
    address
}

async fn serve(
    handler: impl Fn(Inbound) -> Result<Answered<Feed>, Refused> + Send + Sync + 'static,
) -> SocketAddr {
    serve_with(Limits::default(), open_to_all(), Box::new(handler)).await
}

type Sent = BoxBody<Bytes, Infallible>;

async fn client(address: SocketAddr) -> http1::SendRequest<Sent> {
    let socket = TcpStream::connect(address).await.unwrap();
    let (client, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Sent> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into()).boxed()).unwrap()
}

/// What came back: status, headers, text.
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("-", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    fn error(&self) -> (u16, String, String) {
        let json = self.json();
        let text = |key: &str| json["error"][key].as_str().unwrap_or("-").to_owned();
        (self.status, text("code"), text("param"))
    }
}

async fn ask(address: SocketAddr, request: Request<Sent>) -> Got {
    let response = client(address).await.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Got { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(body.into()).unwrap() }
}

const CHAT: &str = r#"{"model":"large","messages":[{"role":"user","content":"hi"}]}"#;
const STREAMED: &str = r#"{"model":"large","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(address: SocketAddr, body: &'static str) -> Got {
    ask(address, request("POST", "/v1/chat/completions", &[JSON], body)).await
}

fn head() -> Head {
    Head {
        call: CallId(0xbeef),
        pool: "owned".into(),
        model: "large".into(),
        attempts: 2,
        cost: Usd::from_nanos(1),
        reason: "price: owned $0.000110 < cloud $0.002400".to_owned(),
    }
}

fn bill() -> Bill {
    let usage = Usage { input: 5, output: 7, source: UsageSource::Reported, ..Usage::default() };
    Bill { usage, cost: Usd::from_nanos(1_250_000) }
}

fn whole(body: WholeBody) -> Answered<Feed> {
    Answered::Whole { head: head(), whole: Whole { body, usage: bill().usage, aside: None }, bill: bill() }
}

fn bytes(text: &'static str) -> Answered<Feed> {
    whole(WholeBody::Bytes(Bytes::from_static(text.as_bytes())))
}

/// A stream of these, all there at once.
fn stream(outs: Vec<Out>) -> Answered<Feed> {
    let (feed, body) = mpsc::unbounded_channel();
    outs.into_iter().for_each(|out| feed.send(out).unwrap());
    Answered::Stream { head: head(), body: Feed(body) }
}

fn piece(text: &'static str) -> Out {
    Out::Piece(PieceBody::Bytes(Bytes::from_static(text.as_bytes())))
}

fn refuse(refusal: Refusal) -> Refused {
    Refused { call: CallId(0xbeef), pool: None, attempts: 0, refusal }
}
