//! Both ends of the wire, for tests over real sockets: pools of servers that do what a script says, the whole router
//! between, and a client that keeps every byte.

mod client;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gridtie::app::Reloads;
use gridtie::app::serve::Descent;
use gridtie::clock::Clock;
use gridtie::config::{self, Checked, Surroundings};
use gridtie::flow::Router;
use gridtie::telemetry::{LogSink, LogWriter};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use client::{Client, Got, ask, get};

/// Nothing in these tests takes so long unless it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(15);

/// What a scripted server does with a request, in order; then it reads the next one on the same connection.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes these bytes.
    Send(Bytes),
    /// Lets time pass.
    Pause(Duration),
    /// Writes this, so many times, each after a pause.
    Repeat(Bytes, usize, Duration),
    /// Waits for the other side to hang up.
    Hold,
    /// Closes in order.
    Close,
    /// Closes with a reset.
    Reset,
}

/// A request that a scripted server got.
#[derive(Debug)]
pub(crate) struct Asked {
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn streams(&self) -> bool {
        self.body.contains("\"stream\":true")
    }
}

type Play = Box<dyn Fn(&Asked) -> Vec<Act> + Send + Sync>;

/// An endpoint that does what a script says.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    play: Play,
    killed: CancellationToken,
    asked: watch::Sender<usize>,
    heads: Mutex<Vec<String>>,
    hung_up: watch::Sender<usize>,
    written: AtomicU64,
    connections: AtomicUsize,
}

impl Endpoint {
    pub(crate) async fn start(play: impl Fn(&Asked) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            play: Box::new(play),
            killed: CancellationToken::new(),
            asked: watch::channel(0).0,
            heads: Mutex::default(),
            hung_up: watch::channel(0).0,
            written: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
        });
        tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared }
    }

    /// An address where nobody listens.
    pub(crate) async fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As `kill -9` does: nobody listens any more, and every connection is reset.
    pub(crate) fn kill(&self) {
        self.shared.killed.cancel();
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> usize {
        *self.shared.asked.borrow()
    }

    /// Heads of the requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Bytes that the kernel took so far.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes of answers are out.
    pub(crate) async fn has_written(&self, bytes: u64) {
        let polled = async {
            while self.written() < bytes {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(timeout(LONG, polled).await.is_ok(), "{} bytes were written", self.written());
    }

    /// Waits for that many requests.
    pub(crate) async fn was_asked(&self, times: usize) {
        reaches(&self.shared.asked, times).await;
    }

    /// Answers that the other side hung up on so far.
    pub(crate) fn hung_up(&self) -> usize {
        *self.shared.hung_up.borrow()
    }

    /// Waits until the other side has hung up on that many answers.
    pub(crate) async fn was_hung_up_on(&self, times: usize) {
        reaches(&self.shared.hung_up, times).await;
    }
}

async fn reaches(count: &watch::Sender<usize>, times: usize) {
    let mut count = count.subscribe();
    let reached = timeout(LONG, count.wait_for(|seen| *seen >= times)).await.is_ok();
    assert!(reached, "{times} were expected, there are {}", *count.borrow());
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.killed.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = shared.clone();
        tokio::spawn(async move {
            socket.set_nodelay(true).unwrap();
            let (mut reader, mut writer) = socket.into_split();
            let reset = tokio::select! {
                biased;
                () = shared.killed.cancelled() => true,
                reset = converse(&mut reader, &mut writer, &shared) => reset,
            };
            let socket = reader.reunite(writer).unwrap();
            if reset {
                let _closed = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            }
        });
    }
}

/// Serves one connection to its end; true if that is to be a reset.
async fn converse(reader: &mut OwnedReadHalf, writer: &mut OwnedWriteHalf, shared: &Shared) -> bool {
    while let Some(asked) = read(reader).await {
        shared.heads.lock().unwrap().push(asked.head.clone());
        shared.asked.send_modify(|asked| *asked += 1);
        for act in (shared.play)(&asked) {
            let done = match act {
                Act::Close => return false,
                Act::Reset => return true,
                Act::Send(bytes) => send(&bytes, reader, writer, shared).await,
                Act::Pause(time) => unless_left(tokio::time::sleep(time), reader).await,
                Act::Hold => unless_left(std::future::pending(), reader).await,
                Act::Repeat(bytes, times, every) => {
                    repeat(&bytes, times, every, reader, writer, shared).await
                }
            };
            if done.is_none() {
                shared.hung_up.send_modify(|hung_up| *hung_up += 1);
                return false;
            }
        }
    }
    false
}

async fn repeat(
    bytes: &Bytes,
    times: usize,
    every: Duration,
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    shared: &Shared,
) -> Option<()> {
    for _ in 0..times {
        if every > Duration::ZERO {
            unless_left(tokio::time::sleep(every), reader).await?;
        }
        send(bytes, reader, writer, shared).await?;
    }
    Some(())
}

async fn send(
    bytes: &[u8],
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    shared: &Shared,
) -> Option<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = unless_left(writer.write(rest), reader).await?.ok()?;
        shared.written.fetch_add(written as u64, Ordering::Relaxed);
        rest = &rest[written..];
    }
    Some(())
}

/// `None` when the other side hangs up first. Nobody sends a second request before the first is answered.
async fn unless_left<T>(work: impl Future<Output = T>, reader: &mut OwnedReadHalf) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        _gone = reader.read_u8() => None,
    }
}

/// The next request.
async fn read(reader: &mut OwnedReadHalf) -> Option<Asked> {
    let mut all = Vec::new();
    loop {
        if let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let length = match head.split("content-length: ").nth(1) {
                Some(length) => length.lines().next()?.parse::<usize>().ok()?,
                None => 0,
            };
            if all.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&all[end + 4..]).into_owned();
                return Some(Asked { head, body });
            }
        }
        if reader.read_buf(&mut all).await.ok()? == 0 {
            return None;
        }
    }
}

/// A response with a length.
pub(crate) fn response(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Act {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Act::Send([head.as_bytes(), body].concat().into())
}

pub(crate) const JSON: &str = "content-type: application/json\r\n";

/// The head of a stream in chunks.
pub(crate) fn stream_head() -> Act {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    Act::Send(Bytes::from_static(head.as_bytes()))
}

/// One chunk of HTTP/1.1's chunked coding.
pub(crate) fn chunk(data: impl AsRef<[u8]>) -> Bytes {
    let data = data.as_ref();
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat().into()
}

pub(crate) fn last_chunk() -> Act {
    Act::Send(Bytes::from_static(b"0\r\n\r\n"))
}

/// A token of a streamed chat.
pub(crate) fn token(text: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub(crate) const STOP: &str = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\
    \"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A whole stream of so many tokens, each after a pause.
pub(crate) fn tokens(text: &str, times: usize, every: Duration) -> Vec<Act> {
    vec![
        stream_head(),
        Act::Repeat(chunk(token(text)), times, every),
        Act::Send(chunk([STOP, DONE].concat())),
        last_chunk(),
    ]
}

pub(crate) const WHOLE: &str = r#"{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;

/// A whole answer at once.
pub(crate) fn whole() -> Act {
    response("200 OK", JSON, WHOLE)
}

/// A good answer of the kind that was asked for.
pub(crate) fn good(asked: &Asked) -> Vec<Act> {
    if asked.streams() { tokens("hello", 3, Duration::ZERO) } else { vec![whole()] }
}

/// A config's beginning: one model, pools in a fixed order, every listener on a port of its own.
pub(crate) const BASE: &str = r#"
[listen]
http = "127.0.0.1:0"
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"

[log]
calls = "off"

[routing]
policy = "ordered"
short_wait = "100ms"

[[model]]
name = "chat"
"#;

/// A pool of a config; `kind` is `openai` or `grpc`.
pub(crate) fn pool(name: &str, kind: &str, origins: &[String]) -> String {
    // Another router has the model under the name that clients use.
    let upstream = if kind == "grpc" { "chat" } else { "up" };
    format!(
        r#"
[[pool]]
name = "{name}"
kind = "{kind}"
tenure = "owned"
endpoints = {origins:?}
allow_private = true
round_trip = "1ms"
expect = {{ first_token = "10ms", output_tokens_per_s = 10000, slots = 2000 }}

  [[pool.offer]]
  model = "chat"
  upstream = "{upstream}"
"#
    )
}

/// A router that runs, with all its faces.
pub(crate) struct Running {
    pub(crate) router: Router,
    pub(crate) reloads: Reloads,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) log: LogWriter,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) ended: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_with(config, |_| (), Descent { lame_duck: Duration::ZERO, grace: LONG }).await
    }

    /// `change` sets what no config can.
    pub(crate) async fn start_with(
        config: &str,
        change: impl FnOnce(&mut Checked),
        descent: Descent,
    ) -> Self {
        let loaded = config::load_str("test.toml", config, Path::new(""), &Surroundings::Unread);
        let mut checked = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        change(&mut checked);
        Self::start_checked(checked, None, LogWriter::memory(), descent).await
    }

    /// From a file, which may change.
    pub(crate) async fn start_file(path: &Path) -> Self {
        let checked = config::load(path).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let descent = Descent { lame_duck: Duration::ZERO, grace: LONG };
        // A log in memory grows with the calls.
        let log = LogWriter::new(LogSink::Off).unwrap();
        Self::start_checked(checked, Some(path.to_owned()), log, descent).await
    }

    async fn start_checked(
        checked: Checked,
        source: Option<PathBuf>,
        log: LogWriter,
        descent: Descent,
    ) -> Self {
        let records = gridtie::app::records(&checked).unwrap();
        let router = gridtie::app::router(&checked, Clock::system(), 7, log.clone(), records).unwrap();
        let server = gridtie::app::bind(router.clone(), checked, source, 7).await.unwrap();
        let (bound, reloads) = (server.bound(), server.reloads().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let ended =
            tokio::spawn(async move { server.run(stopped, std::future::pending(), descent).await.unwrap() });
        let [http, grpc, admin] = [bound.http, bound.grpc, bound.admin].map(Option::unwrap);
        Self { router, reloads, http, grpc, admin, log, stop, ended }
    }
}

/// A small chat; `text` is the user's message.
pub(crate) fn chat(stream: bool, text: &str) -> String {
    format!(
        r#"{{"model":"chat","stream":{stream},"max_tokens":16,"messages":[{{"role":"user","content":"{text}"}}]}}"#
    )
}
