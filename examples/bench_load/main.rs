//! The near end of the benchmark in `bench/`: asks a proxy for answers, checks every one, and says what they cost.
//!
//! Problem: CPU per call, CPU per token, added latency and memory per stream of *another* process. Each mode warms
//! up, reads the process's CPU time and the number of calls at the same moment, works, and reads both again. One
//! JSON object on standard output; a wrong answer ends the run with an error, because a broken proxy is fast.
//! It refuses to know which proxy it measures.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "the result is the program's output")]

mod grpc;
mod http;
mod procfs;
mod slow;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{interval, sleep, timeout};

use crate::http::Connection;
use crate::procfs::{Used, Watched};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Closed loop of small whole answers: CPU per call.
    Unary(Loop),
    /// Many token streams at once: CPU per token, and how late tokens are.
    Stream(Streams),
    /// One connection, one call after the other, in turn direct and through the proxy: added latency.
    Latency(Latency),
    /// Streams that say one token and then nothing: memory per stream.
    Idle(Idle),
    /// Closed loop of gRPC unary calls: CPU per call.
    Grpc(grpc::GrpcLoop),
    /// Thousands of streams that are hardly read: memory, and what other calls notice of it.
    Slow(slow::Slow),
}

/// Where to, and whom to watch.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// The proxy.
    #[arg(long)]
    to: SocketAddr,
    /// The model to ask for.
    #[arg(long, default_value = "bench-model")]
    model: String,
    /// A run that takes longer is an error.
    #[arg(long, default_value_t = 120)]
    limit_s: u64,
    #[command(flatten)]
    watched: Watched,
}

#[derive(Debug, Clone, clap::Args)]
struct Loop {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    #[arg(long, default_value_t = 5_000)]
    warmup: u64,
    #[arg(long, default_value_t = 100_000)]
    calls: u64,
    /// Calls a second at most; 0 for as many as there are.
    #[arg(long, default_value_t = 0)]
    rate: u32,
}

#[derive(Debug, Clone, clap::Args)]
struct Streams {
    #[command(flatten)]
    common: Common,
    #[arg(long, default_value_t = 200)]
    streams: usize,
    /// Time between two tokens of one stream at the mock, in milliseconds.
    #[arg(long, default_value_t = 5)]
    every_ms: u64,
    /// Length of the measured window, in seconds.
    #[arg(long, default_value_t = 5)]
    window_s: u64,
}

#[derive(Debug, Clone, clap::Args)]
struct Latency {
    #[command(flatten)]
    common: Common,
    /// The mock itself.
    #[arg(long)]
    direct: SocketAddr,
    /// Pairs of direct and proxied turns.
    #[arg(long, default_value_t = 40)]
    turns: u32,
    /// Calls in a turn.
    #[arg(long, default_value_t = 100)]
    calls: u32,
}

#[derive(Debug, Clone, clap::Args)]
struct Idle {
    #[command(flatten)]
    common: Common,
    /// Streams opened before the count begins: memory that the process had freed at its start is used up by them.
    #[arg(long, default_value_t = 500)]
    base: usize,
    /// Streams that are counted.
    #[arg(long, default_value_t = 2_000)]
    streams: usize,
    /// Silence before memory is read, in seconds.
    #[arg(long, default_value_t = 3)]
    settle_s: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&runtime, async {
        match args.mode {
            Mode::Unary(args) => within(args.common.limit_s, unary(&args)).await,
            Mode::Stream(args) => within(args.common.limit_s, stream(&args)).await,
            Mode::Latency(args) => within(args.common.limit_s, latency(&args)).await,
            Mode::Idle(args) => within(args.common.limit_s, idle(&args)).await,
            Mode::Grpc(args) => within(args.common.limit_s, grpc::unary(&args)).await,
            Mode::Slow(args) => within(args.common.limit_s, slow::slow(&args)).await,
        }
    })?;
    println!("{result}");
    Ok(())
}

async fn within<T>(limit_s: u64, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(Duration::from_secs(limit_s), work).await.context("the run took too long")?
}

/// About one kilobyte, as an agent's first call looks.
fn request(common: &Common, extra: &Value) -> Result<Vec<u8>> {
    let system = "You are the dispatcher of a power grid. Answer in two sentences, with figures where you have them, \
        and say which plant you would start next and why. Prefer committed capacity to bought capacity. Never promise \
        more than the reserves allow, and name the line that would be overloaded first if the largest plant tripped \
        now. Keep to the units of the question.";
    let user = "The load in the northern area is 4,120 MW and rises by 35 MW a minute. Running: hydro 1,900 MW, wind \
        820 MW, nuclear 1,400 MW. Available: gas 600 MW at 71 $/MWh, import 450 MW at 64 $/MWh with a ramp of 20 MW a \
        minute. The line to the south carries 92 % of its limit. What do you start, when, and what does it cost?";
    let mut body = json!({
        "model": common.model,
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
        "temperature": 0.2,
        "max_tokens": 57,
    });
    if let (Some(body), Some(extra)) = (body.as_object_mut(), extra.as_object()) {
        body.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    let body = serde_json::to_string(&body)?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: */*\r\n\
         user-agent: bench-load/1\r\nauthorization: Bearer none\r\ncontent-length: {}\r\n\r\n",
        common.to,
        body.len()
    );
    Ok([head.as_bytes(), body.as_bytes()].concat())
}

/// Microseconds with three digits: 1 µs to 60 s.
fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// Percentiles in µs of nanosecond values.
fn percentiles(histogram: &Histogram<u64>) -> Value {
    let at = |q| histogram.value_at_quantile(q) as f64 / 1e3;
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": histogram.max() as f64 / 1e3})
}

/// One whole answer, checked; the time it took.
async fn call(connection: &mut Connection, request: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    connection.send(request)?;
    let mut seen = 0;
    let mut marked = false;
    connection
        .receive(|piece| {
            // The answer fits into one segment; should it ever be split, only the piece with the marker counts.
            marked |= memchr::memmem::find(piece, b"\"finish_reason\":\"stop\"").is_some();
            seen += piece.len();
            true
        })
        .await?;
    ensure!(marked && seen > 500, "an answer of {seen} bytes without its finish reason");
    Ok(start.elapsed())
}

async fn unary(args: &Loop) -> Result<Value> {
    let request: Rc<[u8]> = request(&args.common, &json!({}))?.into();
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        connections.push(Connection::open(args.common.to).await?);
    }
    let (connections, _) = closed_loop(connections, &request, Pace::new(args.warmup, args.rate)).await?;
    let before = args.common.watched.sample()?;
    let (_, times) = closed_loop(connections, &request, Pace::new(args.calls, args.rate)).await?;
    let used = args.common.watched.since(&before)?;
    Ok(per_call(&used, args.calls, &times))
}

/// The result of a closed loop.
fn per_call(used: &Used, calls: u64, times: &Histogram<u64>) -> Value {
    json!({
        "calls": calls,
        "calls_per_s": calls as f64 / used.seconds,
        "cpu_us_per_call": used.proxy_cpu_s * 1e6 / calls as f64,
        "load_us_per_call": (used.load_cpu_s + used.mock_cpu_s) * 1e6 / calls as f64,
        "latency_us": percentiles(times),
        "used": used,
    })
}

type Connections = Vec<Connection>;

/// Hands out a number of calls, all at once or so many a second.
struct Pace {
    left: Cell<u64>,
    /// Calls that may start now; `None` if there is no limit.
    ready: Option<Semaphore>,
}

impl Pace {
    fn new(calls: u64, rate: u32) -> Rc<Self> {
        let pace = Rc::new(Self { left: Cell::new(calls), ready: (rate > 0).then(|| Semaphore::new(0)) });
        if rate > 0 {
            tokio::task::spawn_local(release(Rc::downgrade(&pace), rate));
        }
        pace
    }

    /// Waits for the next call's turn; `false` when there are no more.
    async fn next(&self) -> bool {
        if self.left.get() == 0 {
            return false;
        }
        self.left.set(self.left.get() - 1);
        if let Some(ready) = &self.ready
            && let Ok(turn) = ready.acquire().await
        {
            turn.forget();
        }
        true
    }
}

/// Lets calls start in every millisecond, until nobody wants them any more.
async fn release(pace: Weak<Pace>, rate: u32) {
    let mut clock = interval(Duration::from_millis(1));
    let mut owed = 0;
    loop {
        clock.tick().await;
        let Some(pace) = pace.upgrade() else { return };
        owed += rate;
        if let Some(ready) = &pace.ready {
            ready.add_permits(owed as usize / 1000);
        }
        owed %= 1000;
    }
}

async fn closed_loop(
    connections: Connections,
    request: &Rc<[u8]>,
    pace: Rc<Pace>,
) -> Result<(Connections, Histogram<u64>)> {
    let times = Rc::new(RefCell::new(histogram()?));
    let workers = connections.into_iter().map(|mut connection| {
        let (pace, times, request) = (Rc::clone(&pace), Rc::clone(&times), Rc::clone(request));
        tokio::task::spawn_local(async move {
            while pace.next().await {
                let time = call(&mut connection, &request).await?;
                times.borrow_mut().saturating_record(time.as_nanos() as u64);
            }
            Ok::<_, anyhow::Error>(connection)
        })
    });
    let connections = try_join_all(workers).await?.into_iter().collect::<Result<_>>()?;
    let times = times.borrow().clone();
    Ok((connections, times))
}

/// What all streams of a run share.
struct Board {
    started: Cell<usize>,
    events: Cell<u64>,
    /// Whether we are inside the measured window.
    open: Cell<bool>,
    late: RefCell<Histogram<u64>>,
}

impl Board {
    fn new() -> Result<Rc<Self>> {
        let late = RefCell::new(histogram()?);
        Ok(Rc::new(Self { started: Cell::new(0), events: Cell::new(0), open: Cell::new(false), late }))
    }

    async fn all_started(&self, streams: usize) {
        while self.started.get() < streams {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn stream(args: &Streams) -> Result<Value> {
    const WARMUP: Duration = Duration::from_secs(1);
    // The window begins one second after the last stream, and all streams must outlast it.
    let tokens = (args.window_s + 3) * 1000 / args.every_ms;
    let request: Rc<[u8]> = request(&args.common, &json!({"stream": true, "max_tokens": tokens}))?.into();
    let board = Board::new()?;
    let mut readers = Vec::new();
    for _ in 0..args.streams {
        let connection = Connection::open(args.common.to).await?;
        let (request, board) = (Rc::clone(&request), Rc::clone(&board));
        readers.push(tokio::task::spawn_local(read_stream(connection, request, board)));
    }
    let window = async {
        board.all_started(args.streams).await;
        sleep(WARMUP).await;
        let (before, from) = (args.common.watched.sample()?, board.events.get());
        board.open.set(true);
        sleep(Duration::from_secs(args.window_s)).await;
        board.open.set(false);
        Ok::<_, anyhow::Error>((args.common.watched.since(&before)?, board.events.get() - from))
    };
    let (window, counts) = tokio::join!(window, try_join_all(readers));
    let (used, events) = window?;
    for count in counts? {
        // The tokens, the event with the finish reason, and [DONE].
        let count = count?;
        ensure!(count == tokens + 2, "a stream of {count} events instead of {}", tokens + 2);
    }
    Ok(json!({
        "streams": args.streams,
        "tokens": events,
        "tokens_per_s": events as f64 / used.seconds,
        "asked_per_s": args.streams as f64 * 1e3 / args.every_ms as f64,
        "cpu_s_per_million": used.proxy_cpu_s * 1e6 / events as f64,
        "token_delay_us": percentiles(&board.late.borrow()),
        "used": used,
    }))
}

/// Reads one stream to its end and returns the number of its events.
async fn read_stream(mut connection: Connection, request: Rc<[u8]>, board: Rc<Board>) -> Result<u64> {
    connection.send(&request)?;
    let mut events = Events::default();
    connection
        .receive(|piece| {
            let new = events.add(piece);
            if events.count == new && new > 0 {
                board.started.set(board.started.get() + 1);
            }
            board.events.set(board.events.get() + new);
            // One token in eight is timed: finding the stamp costs more than counting the event.
            if board.open.get()
                && events.count % 8 == 0
                && let Some(delay) = delay(piece)
            {
                board.late.borrow_mut().saturating_record(delay * 1000);
            }
            true
        })
        .await?;
    ensure!(events.tail == *b"data: [DONE]\n\n", "a stream without [DONE]");
    Ok(events.count)
}

/// Microseconds since the token in `piece` was born.
fn delay(piece: &[u8]) -> Option<u64> {
    let at = memchr::memmem::find(piece, b"fp_")? + 3;
    let born: u64 = std::str::from_utf8(piece.get(at..at + 16)?).ok()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_micros() as u64;
    now.checked_sub(born)
}

/// Counts events (blank lines) over pieces that may end anywhere.
#[derive(Debug, Default)]
struct Events {
    count: u64,
    /// The last bytes seen.
    tail: [u8; 14],
}

impl Events {
    fn add(&mut self, piece: &[u8]) -> u64 {
        let mut found = 0;
        let mut line_ended = self.tail[13] == b'\n';
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', piece) {
            if line_ended && at == from {
                found += 1;
            }
            line_ended = true;
            from = at + 1;
        }
        let keep = piece.len().min(14);
        self.tail.copy_within(keep.., 0);
        self.tail[14 - keep..].copy_from_slice(&piece[piece.len() - keep..]);
        self.count += found;
        found
    }
}

async fn latency(args: &Latency) -> Result<Value> {
    let request = request(&args.common, &json!({}))?;
    let mut proxied = Connection::open(args.common.to).await?;
    let mut direct = Connection::open(args.direct).await?;
    let (mut slow, mut fast) = (histogram()?, histogram()?);
    turn(&mut proxied, &request, args.calls, &mut histogram()?).await?;
    turn(&mut direct, &request, args.calls, &mut histogram()?).await?;
    let before = args.common.watched.sample()?;
    for _ in 0..args.turns {
        turn(&mut direct, &request, args.calls, &mut fast).await?;
        turn(&mut proxied, &request, args.calls, &mut slow).await?;
    }
    let used = args.common.watched.since(&before)?;
    let added = |q| (slow.value_at_quantile(q) as f64 - fast.value_at_quantile(q) as f64) / 1e3;
    Ok(json!({
        "calls": u64::from(args.turns) * u64::from(args.calls),
        "added_us": {"p50": added(0.5), "p99": added(0.99)},
        "direct_us": percentiles(&fast),
        "proxied_us": percentiles(&slow),
        "used": used,
    }))
}

async fn turn(
    connection: &mut Connection,
    request: &[u8],
    calls: u32,
    times: &mut Histogram<u64>,
) -> Result<()> {
    for _ in 0..calls {
        let time = call(connection, request).await?;
        times.saturating_record(time.as_nanos() as u64);
    }
    Ok(())
}

async fn idle(args: &Idle) -> Result<Value> {
    let plain = request(&args.common, &json!({}))?;
    let mut first = Connection::open(args.common.to).await?;
    // What is loaded lazily belongs to the process, not to the streams.
    turn(&mut first, &plain, 200, &mut histogram()?).await?;
    sleep(Duration::from_secs(1)).await;
    let rss_idle = args.common.watched.proxy_rss()?;
    let extra = json!({"stream": true, "max_tokens": 1, "user": "bench-hold"});
    let held = request(&args.common, &extra)?;
    let mut connections = Vec::new();
    hold(args, &held, args.base, &mut connections).await?;
    let rss_base = args.common.watched.proxy_rss()?;
    hold(args, &held, args.streams, &mut connections).await?;
    let rss = args.common.watched.proxy_rss()?;
    drop(connections);
    sleep(Duration::from_secs(1)).await;
    let grown = rss as f64 - rss_base as f64;
    Ok(json!({
        "base": args.base,
        "streams": args.streams,
        "rss_idle_bytes": rss_idle,
        "rss_base_bytes": rss_base,
        "rss_bytes": rss,
        "rss_after_bytes": args.common.watched.proxy_rss()?,
        "bytes_per_stream": grown / args.streams as f64,
    }))
}

/// Opens so many more streams, each after the last one's first token, and lets the proxy settle.
async fn hold(args: &Idle, request: &[u8], streams: usize, connections: &mut Connections) -> Result<()> {
    for _ in 0..streams {
        let mut connection = Connection::open(args.common.to).await?;
        connection.send(request)?;
        let mut events = Events::default();
        connection.receive(|piece| events.add(piece) == 0).await?;
        connections.push(connection);
    }
    sleep(Duration::from_secs(args.settle_s)).await;
    ensure!(connections.iter_mut().all(Connection::is_silent), "a held stream ended or went on");
    Ok(())
}
