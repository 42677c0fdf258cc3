//! The closed loop over gRPC: HTTP/2 frames by hand, no generated code.
//!
//! Problem: the same call must go through a router that understands it and through a relay that does not, at a cost
//! on this side that is known and small. This file refuses to decode the answer; it checks the status, the grpc
//! status and that the message is as long as it says.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::try_join_all;
use h2::client::SendRequest;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{Common, Pace, histogram, per_call};

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GrpcLoop {
    #[command(flatten)]
    pub(crate) common: Common,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Calls under way on each connection.
    #[arg(long, default_value_t = 8)]
    streams: usize,
    #[arg(long, default_value_t = 5_000)]
    warmup: u64,
    #[arg(long, default_value_t = 50_000)]
    calls: u64,
    /// Calls a second at most; 0 for as many as there are.
    #[arg(long, default_value_t = 0)]
    rate: u32,
}

/// CPU per gRPC unary call.
pub(crate) async fn unary(args: &GrpcLoop) -> Result<Value> {
    let message = generate_request(&args.common.model);
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        let socket = TcpStream::connect(args.common.to).await?;
        socket.set_nodelay(true)?;
        let (send, connection) = h2::client::Builder::new()
            .initial_connection_window_size(16 << 20)
            .handshake::<_, Bytes>(socket)
            .await?;
        tokio::task::spawn_local(connection);
        connections.push(send);
    }
    closed_loop(args, &connections, &message, Pace::new(args.warmup, args.rate)).await?;
    let before = args.common.watched.sample()?;
    let times = closed_loop(args, &connections, &message, Pace::new(args.calls, args.rate)).await?;
    let used = args.common.watched.since(&before)?;
    Ok(per_call(&used, args.calls, &times))
}

async fn closed_loop(
    args: &GrpcLoop,
    connections: &[SendRequest<Bytes>],
    message: &Bytes,
    pace: Rc<Pace>,
) -> Result<Histogram<u64>> {
    let times = Rc::new(RefCell::new(histogram()?));
    let uri: http::Uri = format!("http://{}/gridtie.v1.Inference/Generate", args.common.to).parse()?;
    let workers = connections.iter().flat_map(|send| std::iter::repeat_n(send, args.streams)).map(|send| {
        let (pace, times, message) = (Rc::clone(&pace), Rc::clone(&times), message.clone());
        let (mut send, uri) = (send.clone(), uri.clone());
        tokio::task::spawn_local(async move {
            while pace.next().await {
                send = send.ready().await?;
                let time = call(&mut send, &uri, &message).await?;
                times.borrow_mut().saturating_record(time.as_nanos() as u64);
            }
            Ok::<_, anyhow::Error>(())
        })
    });
    for worker in try_join_all(workers).await? {
        worker?;
    }
    let times = times.borrow().clone();
    Ok(times)
}

async fn call(send: &mut SendRequest<Bytes>, uri: &http::Uri, message: &Bytes) -> Result<Duration> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let start = Instant::now();
    let request = http::Request::builder()
        .method("POST")
        .uri(uri.clone())
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (response, mut stream) = send.send_request(request, false)?;
    stream.send_data(message.clone(), true)?;
    let response = response.await?;
    ensure!(response.status() == 200, "HTTP status {}", response.status());
    ensure!(response.headers().get("grpc-status").is_none(), "refused: {:?}", response.headers());
    let mut body = response.into_body();
    let (mut length, mut prefix) = (0, [0; 5]);
    while let Some(data) = body.data().await {
        let data = data?;
        if length == 0 && data.len() >= 5 {
            prefix.copy_from_slice(&data[..5]);
        }
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let said = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    ensure!(length == said as usize + 5 && said > 50, "a message of {length} bytes");
    let trailers = body.trailers().await?.context("no trailers")?;
    ensure!(trailers.get("grpc-status").is_some_and(|status| status == "0"), "refused: {trailers:?}");
    Ok(start.elapsed())
}

/// A `gridtie.v1.GenerateRequest` of about the same text as the HTTP request: model (1) and one user message (2).
fn generate_request(model: &str) -> Bytes {
    let text = "The load in the northern area is 4,120 MW and rises by 35 MW a minute. Running: hydro 1,900 MW, wind \
        820 MW, nuclear 1,400 MW. Available: gas 600 MW at 71 $/MWh, import 450 MW at 64 $/MWh with a ramp of 20 MW a \
        minute. The line to the south carries 92 % of its limit. What do you start, when, and what does it cost? "
        .repeat(2);
    let part = field(1, text.as_bytes());
    let mut turn = BytesMut::new();
    // Role 2 is the user's.
    turn.put_slice(&[0x08, 0x02]);
    turn.put_slice(&field(2, &part));
    let message = [field(1, model.as_bytes()), field(2, &turn)].concat();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
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
