//! A model server that costs nothing: the far end of the benchmark in `bench/`.
//!
//! Problem: a proxy can only be measured against an upstream that is much cheaper than the proxy. So this one
//! speaks just enough HTTP/1.1 over a bare socket, answers from bytes that were formatted once, and paces all
//! token streams with one timer. It refuses to know about models, prompts and JSON: it looks for three markers
//! in the request (`"stream":true`, `"max_tokens":N`, `"user":"bench-hold"`) and for nothing else.
//!
//! `bench_upstream --http 18900 --grpc 18901 [--every-ms 5]`. Loopback only.

#![expect(clippy::disallowed_methods, reason = "a benchmark stamps its tokens with the wall clock")]

use std::cell::RefCell;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use clap::Parser;
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval};

/// A request larger than this is not ours.
const MAX_REQUEST: usize = 64 * 1024;
/// More tokens than any benchmark asks for; a wrong request cannot stream for ever.
const MAX_TOKENS: u32 = 1_000_000;
/// A stream whose reader is this far behind is cut: the proxy under test has stalled.
const MAX_BEHIND: usize = 1024 * 1024;

const UNARY_BODY: &str = concat!(
    r#"{"id":"chatcmpl-bench000000000000000001","object":"chat.completion","created":1767225600,"#,
    r#""model":"bench-model","choices":[{"index":0,"message":{"role":"assistant","content":"#,
    r#""The merit order lists the plants of a grid by the cost of one more unit of energy, cheapest first. "#,
    r#"A dispatcher starts at the top and goes down until the load is met, within the limits of every line, "#,
    r#"and keeps enough in reserve to survive the loss of the largest plant."},"#,
    r#""logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":57,"#,
    r#""total_tokens":269},"system_fingerprint":"fp_bench"}"#,
);
const MODELS_BODY: &str =
    r#"{"object":"list","data":[{"id":"bench-model","object":"model","owned_by":"bench"}]}"#;
const STREAM_HEAD: &str = concat!(
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n",
    "transfer-encoding: chunked\r\n\r\n",
);
/// One token as an OpenAI-compatible server sends it; the fingerprint carries its time of birth in µs.
const TOKEN: &str = concat!(
    r#"data: {"id":"chatcmpl-bench000000000000000001","object":"chat.completion.chunk","created":1767225600,"#,
    r#""model":"bench-model","system_fingerprint":"fp_0000000000000000","choices":[{"index":0,"#,
    r#""delta":{"content":" dispatch"},"logprobs":null,"finish_reason":null}],"usage":null}"#,
    "\n\n",
);
const LAST: &str = concat!(
    r#"data: {"id":"chatcmpl-bench000000000000000001","object":"chat.completion.chunk","created":1767225600,"#,
    r#""model":"bench-model","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":{},"logprobs":null,"#,
    r#""finish_reason":"stop"}],"usage":{"prompt_tokens":212,"completion_tokens":57,"total_tokens":269}}"#,
    "\n\ndata: [DONE]\n\n",
);

#[derive(Parser)]
struct Args {
    /// Port of the HTTP/1.1 mock on 127.0.0.1.
    #[arg(long, default_value_t = 18900)]
    http: u16,
    /// Port of the gRPC mock on 127.0.0.1.
    #[arg(long, default_value_t = 18901)]
    grpc: u16,
    /// Time between two tokens of one stream, in milliseconds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    every_ms: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(args))
}

async fn run(args: Args) -> Result<()> {
    let http = listen(args.http).await?;
    let grpc = listen(args.grpc).await?;
    let pacer = Rc::new(RefCell::new(Pacer::new(args.every_ms)));
    tokio::task::spawn_local(tick(Rc::clone(&pacer)));
    tokio::task::spawn_local(async move {
        while let Ok((socket, _)) = grpc.accept().await {
            tokio::task::spawn_local(serve_grpc(socket));
        }
    });
    let unary = Bytes::from(whole_answer(UNARY_BODY));
    let models = Bytes::from(whole_answer(MODELS_BODY));
    loop {
        let (socket, _) = http.accept().await?;
        socket.set_nodelay(true)?;
        let desk = Desk { unary: unary.clone(), models: models.clone(), pacer: Rc::clone(&pacer) };
        tokio::task::spawn_local(async move {
            // A connection that breaks is the proxy's business; the load side counts what it cost.
            let (reader, writer) = socket.into_split();
            let _ = desk.serve(reader, Rc::new(writer)).await;
        });
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket.listen(4096)?)
}

fn whole_answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What one HTTP connection needs.
struct Desk {
    unary: Bytes,
    models: Bytes,
    pacer: Rc<RefCell<Pacer>>,
}

impl Desk {
    async fn serve(self, mut reader: OwnedReadHalf, socket: Rc<OwnedWriteHalf>) -> Result<()> {
        let mut buffer = Vec::with_capacity(8 * 1024);
        loop {
            let Some(end) = read_request(&mut reader, &mut buffer).await? else { return Ok(()) };
            let request = &buffer[..end];
            if !request.starts_with(b"POST") {
                write_all(&socket, &self.models).await?;
            } else if let Some(order) = Order::of(request) {
                self.stream(&mut reader, &socket, order).await?;
            } else {
                write_all(&socket, &self.unary).await?;
            }
            buffer.drain(..end);
        }
    }

    async fn stream(
        &self,
        reader: &mut OwnedReadHalf,
        socket: &Rc<OwnedWriteHalf>,
        order: Order,
    ) -> Result<()> {
        write_all(socket, STREAM_HEAD.as_bytes()).await?;
        let (done, ended) = oneshot::channel();
        self.pacer.borrow_mut().join(Stream {
            socket: Rc::clone(socket),
            left: order.tokens,
            open: !order.hold,
            behind: Vec::new(),
            _done: done,
        });
        // A held stream says nothing more, so only the reader can notice that the proxy went away.
        if order.hold {
            reader.read_u8().await?;
            bail!("the proxy ended a held stream");
        }
        // The pacer drops its end when the last byte is written, or when the socket broke.
        let _ = ended.await;
        Ok(())
    }
}

/// What a stream request asks for.
struct Order {
    tokens: u32,
    /// After its tokens the stream stays open and silent.
    hold: bool,
}

impl Order {
    fn of(request: &[u8]) -> Option<Self> {
        find(request, b"\"stream\":true").or_else(|| find(request, b"\"stream\": true"))?;
        let tokens = find(request, b"\"max_tokens\":").map_or(16, |at| number(&request[at + 13..]));
        Some(Self { tokens: tokens.min(MAX_TOKENS), hold: find(request, b"bench-hold").is_some() })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn number(digits: &[u8]) -> u32 {
    let digits = digits.trim_ascii_start();
    digits
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .fold(0, |n: u32, b| n.saturating_mul(10).saturating_add(u32::from(b - b'0')))
}

/// Reads until `buffer` begins with one whole request and returns its length; `None` at a clean end.
async fn read_request(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>) -> Result<Option<usize>> {
    loop {
        if let Some(end) = request_end(buffer) {
            return Ok(Some(end));
        }
        if buffer.len() > MAX_REQUEST {
            bail!("a request of more than {MAX_REQUEST} bytes");
        }
        // Not `try_read`: it would ask the kernel once more after every request.
        if reader.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn request_end(buffer: &[u8]) -> Option<usize> {
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let fields = &buffer[..head];
    if let Some(length) = content_length(fields) {
        return (buffer.len() >= head + length).then_some(head + length);
    }
    if fields.starts_with(b"GET") {
        return Some(head);
    }
    // Chunked, by a proxy that does not count: our bodies hold no such sequence.
    find(&buffer[head..], b"0\r\n\r\n").map(|at| head + at + 5)
}

fn content_length(fields: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\ncontent-length:";
    let mut rest = fields;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        rest = &rest[at..];
        if rest.len() > NAME.len() && rest[..NAME.len()].eq_ignore_ascii_case(NAME) {
            return usize::try_from(number(&rest[NAME.len()..])).ok();
        }
        rest = &rest[1..];
    }
    None
}

async fn write_all(socket: &OwnedWriteHalf, mut bytes: &[u8]) -> Result<()> {
    loop {
        match socket.try_write(bytes) {
            Ok(n) if n == bytes.len() => return Ok(()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => socket.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// One open stream, from its first token to its end.
struct Stream {
    socket: Rc<OwnedWriteHalf>,
    left: u32,
    /// Whether the closing events are still to be sent.
    open: bool,
    /// What the socket did not take yet.
    behind: Vec<u8>,
    _done: oneshot::Sender<()>,
}

impl Stream {
    /// Sends the next token, or the end; `false` once nothing is left to do.
    fn advance(&mut self, token: &[u8], last: &[u8]) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return self.send(token);
        }
        let bytes = if std::mem::take(&mut self.open) { last } else { &[] };
        self.send(bytes) && !self.behind.is_empty()
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.behind.is_empty() {
            self.behind.extend_from_slice(bytes);
            let Ok(n) = taken(&self.socket, &self.behind) else { return false };
            self.behind.drain(..n);
            return self.behind.len() <= MAX_BEHIND;
        }
        if bytes.is_empty() {
            return true;
        }
        let Ok(n) = taken(&self.socket, bytes) else { return false };
        self.behind.extend_from_slice(&bytes[n..]);
        true
    }
}

fn taken(socket: &OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<usize> {
    match socket.try_write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// All open streams, dealt out over the milliseconds of one token interval.
struct Pacer {
    slots: Vec<Vec<Stream>>,
    next_join: usize,
    now: usize,
    token: Vec<u8>,
    stamp_at: usize,
    last: Vec<u8>,
}

impl Pacer {
    fn new(every_ms: u32) -> Self {
        let token = chunk(TOKEN);
        let stamp_at = find(&token, b"fp_").map_or(0, |at| at + 3);
        let mut last = chunk(LAST);
        last.extend_from_slice(b"0\r\n\r\n");
        let slots = (0..every_ms).map(|_| Vec::new()).collect();
        Self { slots, next_join: 0, now: 0, token, stamp_at, last }
    }

    fn join(&mut self, stream: Stream) {
        self.next_join = (self.next_join + 1) % self.slots.len();
        self.slots[self.next_join].push(stream);
    }

    fn turn(&mut self) {
        self.now = (self.now + 1) % self.slots.len();
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros());
        // Sixteen digits hold the microseconds of the next three centuries.
        let _ = write!(&mut self.token[self.stamp_at..self.stamp_at + 16], "{micros:016}");
        let (token, last) = (&self.token, &self.last);
        self.slots[self.now].retain_mut(|stream| stream.advance(token, last));
    }
}

fn chunk(payload: &str) -> Vec<u8> {
    format!("{:x}\r\n{payload}\r\n", payload.len()).into_bytes()
}

async fn tick(pacer: Rc<RefCell<Pacer>>) {
    let mut clock = interval(Duration::from_millis(1));
    // Late ticks are made up for, so that the number of tokens a second holds.
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        clock.tick().await;
        pacer.borrow_mut().turn();
    }
}

async fn serve_grpc(socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(1024)
        .initial_connection_window_size(16 << 20)
        .handshake::<_, Bytes>(socket)
        .await?;
    let answer = grpc_answer();
    while let Some(call) = connection.accept().await {
        let (request, respond) = call?;
        tokio::task::spawn_local(answer_grpc(request.into_body(), respond, answer.clone()));
    }
    Ok(())
}

/// A framed `gridtie.v1.GenerateResponse`: id (1), one choice (2) of one text that stopped, and its usage (3).
fn grpc_answer() -> Bytes {
    const TEXT: &str = "The merit order lists the plants of a grid by the cost of one more unit of energy, cheapest \
        first. A dispatcher starts at the top and goes down until the load is met, within the limits of every line, \
        and keeps enough in reserve to survive the loss of the largest plant.";
    let mut choice = field(2, &field(1, TEXT.as_bytes()));
    choice.extend_from_slice(&[0x18, 0x01]);
    // 212 tokens in, 57 out.
    let usage = field(3, &[0x08, 0xd4, 0x01, 0x18, 0x39]);
    let message = [field(1, b"bench-1"), field(2, &choice), usage].concat();
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    Bytes::from(framed)
}

/// A length-delimited protobuf field.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

async fn answer_grpc(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    answer: Bytes,
) -> Result<()> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let response = http::Response::builder().header("content-type", "application/grpc").body(())?;
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(answer, false)?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}
