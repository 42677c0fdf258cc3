//! Clients that hardly read: thousands of streams that are opened and left alone, and what they cost everybody else.
//!
//! Problem: a client that does not read makes a router hold what it has for it, and many of them together must neither
//! fill its memory nor delay a call of anybody else. Half of the readers here take nothing after the head, the others
//! some bytes a second; beside them well-behaved calls go on at a fixed rate and are timed, before and meanwhile.
//! The process needs a file descriptor a stream, and the proxy two: raise `ulimit -n`.

use std::fs;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::interval;

use crate::http::Connection;
use crate::{Common, Pace, closed_loop, percentiles, request};

/// Opened at once: less than any backlog.
const BATCH: usize = 100;

/// The kernel's least, so that it is the router that has to hold what is not read.
const RECEIVE_BUFFER: u32 = 4096;

/// What a slow reader takes each second: about a token.
const SIP: usize = 256;

/// Long enough to know how calls fare alone, in seconds.
const BEFORE_S: u64 = 30;

/// A page of the kernel's account of TCP memory.
const PAGE: u64 = 4096;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Slow {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Streams that are hardly read.
    #[arg(long, default_value_t = 9_500)]
    streams: usize,
    /// How long they are left alone, in seconds.
    #[arg(long, default_value_t = 30)]
    hold_s: u64,
    /// Well-behaved calls a second, before and meanwhile.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

pub(crate) async fn slow(args: &Slow) -> Result<Value> {
    let watched = &args.common.watched;
    let plain: Rc<[u8]> = request(&args.common, &json!({}))?.into();
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(Connection::open(args.common.to).await?);
    }
    let calls = |seconds: u64| Pace::new(seconds * u64::from(args.rate), args.rate);
    let (connections, before) = closed_loop(connections, &plain, calls(args.hold_s.min(BEFORE_S))).await?;
    let rss_before = watched.proxy_rss()?;
    let readers = open(args).await?;
    let rss_opened = watched.proxy_rss()?;
    let sample = watched.sample()?;
    let (mut sippers, sleepers): (Vec<_>, Vec<_>) = readers.into_iter().partition(|reader| reader.takes);
    let sipping = tokio::task::spawn_local(async move {
        let mut clock = interval(Duration::from_secs(1));
        loop {
            clock.tick().await;
            sippers.retain(|reader| reader.sip());
        }
    });
    let (_, meanwhile) = closed_loop(connections, &plain, calls(args.hold_s)).await?;
    let used = watched.since(&sample)?;
    let result = json!({
        "streams": args.streams,
        "proxy_files": watched.proxy_files()?,
        "before_us": percentiles(&before),
        "meanwhile_us": percentiles(&meanwhile),
        "rss_before_bytes": rss_before,
        "rss_opened_bytes": rss_opened,
        "rss_bytes": watched.proxy_rss()?,
        "kernel_tcp_bytes": kernel_tcp()?,
        "used": used,
    });
    sipping.abort();
    drop(sleepers);
    Ok(result)
}

struct Reader {
    socket: TcpStream,
    takes: bool,
}

impl Reader {
    /// Takes a little; `false` once it was cut off.
    fn sip(&self) -> bool {
        match self.socket.try_read(&mut [0; SIP]) {
            Ok(n) => n > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Opens all streams and reads of each as much as tells that it has begun.
async fn open(args: &Slow) -> Result<Vec<Reader>> {
    let extra = json!({"stream": true, "max_tokens": 100_000});
    let request = request(&args.common, &extra)?;
    let mut readers = Vec::with_capacity(args.streams);
    while readers.len() < args.streams {
        let batch = BATCH.min(args.streams - readers.len());
        let opened = (0..batch).map(|n| begin(&args.common, &request, n % 2 == 0));
        readers.extend(try_join_all(opened).await?);
    }
    Ok(readers)
}

async fn begin(common: &Common, request: &[u8], takes: bool) -> Result<Reader> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let mut socket = socket.connect(common.to).await.context("a slow reader could not connect")?;
    ensure!(socket.try_write(request)? == request.len(), "the request was written in part");
    let mut status = [0; 12];
    socket.read_exact(&mut status).await?;
    if &status != b"HTTP/1.1 200" {
        let mut rest = [0; 1024];
        let n = socket.read(&mut rest).await?;
        bail!("{}{}", String::from_utf8_lossy(&status), String::from_utf8_lossy(&rest[..n]));
    }
    Ok(Reader { socket, takes })
}

/// What all sockets of the machine hold together.
fn kernel_tcp() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:")).context("no account of TCP")?;
    let pages: u64 = line.split(' ').next_back().context("no memory in it")?.parse()?;
    Ok(pages * PAGE)
}
