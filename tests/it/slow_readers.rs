//! Clients that do not read, and clients that leave: neither may cost anybody else anything.
//!
//! A router in front of another shares HTTP/2 connections among calls, where unread frames of one stream can stop or
//! kill all others; the first test here is the regression test of that.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtie::app::serve::Descent;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::wire::{
    Act, Asked, BASE, Client, Endpoint, LONG, Running, ask, chat, chunk, good, pool, stream_head, token,
    tokens,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A region in front of a cluster, over gRPC, in front of this endpoint.
async fn region(endpoint: &Endpoint) -> (Running, Running) {
    let cluster = Running::start(&format!("{BASE}{}", pool("engines", "openai", &[endpoint.origin()]))).await;
    let origin = format!("http://{}", cluster.grpc);
    let region = Running::start(&format!("{BASE}{}", pool("cluster", "grpc", &[origin]))).await;
    (region, cluster)
}

/// A client that asks for a stream and reads nothing but the head of the answer.
async fn unread(address: SocketAddr, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let body = chat(true, text);
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: gridtie\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    socket
}

fn flood_or_trickle(asked: &Asked) -> Vec<Act> {
    if asked.body.contains("flood") {
        return tokens(&"x".repeat(8_000), 3_000, Duration::ZERO);
    }
    if asked.body.contains("trickle") {
        return tokens("tok", 100_000, ms(2));
    }
    tokens("hello", 300, ms(2))
}

#[tokio::test]
async fn o07_streams_that_nobody_reads_do_not_stop_the_others_on_their_connection() {
    let endpoint = Endpoint::start(flood_or_trickle).await;
    let (region, cluster) = region(&endpoint).await;
    let texts = (0..34).map(|i| if i % 2 == 0 { "trickle" } else { "flood" });
    let slow = join_all(texts.map(|text| unread(region.http, text))).await;
    let well = join_all((0..6).map(|_| ask(region.http, chat(true, "well")))).await;
    for got in well {
        assert!(
            got.is_done() && got.tokens() == 300,
            "{} tokens: {}",
            got.tokens(),
            &got.text[got.text.len() - 300..]
        );
    }
    // Those who flood are cut off where it comes from: nobody keeps 24 MB for a client that does not read.
    endpoint.was_hung_up_on(17).await;
    drop(slow);
    endpoint.was_hung_up_on(34).await;
    region.router.all_closed().await;
    cluster.router.all_closed().await;
}

#[tokio::test]
async fn a_burst_over_a_shared_connection_is_no_slow_reader() {
    let burst = |asked: &Asked| match asked.streams() {
        true => {
            let all = token(&"word ".repeat(20)).repeat(2_000);
            [vec![stream_head(), Act::Send(chunk(all))], tokens("", 0, ms(0))[2..].to_vec()].concat()
        }
        false => good(asked),
    };
    let endpoint = Endpoint::start(burst).await;
    let (region, _cluster) = region(&endpoint).await;
    let all = join_all((0..4).map(|_| ask(region.http, chat(true, "hi")))).await;
    for got in all {
        let end = &got.text[got.text.len().saturating_sub(300)..];
        assert!(got.is_done() && got.tokens() == 2_000, "{} tokens, then {end}", got.tokens());
    }
}

#[tokio::test]
async fn o06_a_stream_that_nobody_reads_is_held_back_and_then_cut_off() {
    let endpoint = Endpoint::start(|_| tokens(&"x".repeat(1_000), 200_000, Duration::ZERO)).await;
    let config = format!("{BASE}{}", pool("pool", "openai", &[endpoint.origin()]));
    let quick = |checked: &mut gridtie::config::Checked| checked.flow.write_blocked = ms(500);
    let descent = Descent { lame_duck: Duration::ZERO, grace: LONG };
    let gridtie = Running::start_with(&config, quick, descent).await;
    let _slow = unread(gridtie.http, "flood").await;
    endpoint.was_hung_up_on(1).await;
    // Nearly all of it is in the kernel's buffers between the endpoint and the router.
    let written = endpoint.written();
    assert!(written < 20 << 20, "{written} of 240,000,000 bytes were taken for a client that reads nothing");
    gridtie.router.all_closed().await;
    let log = gridtie.log.take();
    assert!(log.contains("\"ending\":\"broken\""), "{log}");
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    Prefill,
    MidStream,
    Unary,
}

/// How long it takes until the endpoint sees that a client has left.
async fn leaves(gridtie: SocketAddr, endpoint: &Endpoint, moment: Moment) -> Duration {
    let (asked, hung_up) = (endpoint.asked(), endpoint.hung_up());
    let mut client = Client::connect(gridtie).await;
    let stream = !matches!(moment, Moment::Unary);
    let text = if matches!(moment, Moment::MidStream) { "well" } else { "hold" };
    if matches!(moment, Moment::MidStream) {
        let mut response = client.chat(chat(stream, text)).await;
        assert!(response.body_mut().frame().await.unwrap().is_ok());
        client.hang_up().await;
    } else {
        let waiting = async {
            client.chat(chat(stream, text)).await;
        };
        tokio::select! {
            biased;
            () = waiting => panic!("an endpoint that says nothing was heard"),
            () = endpoint.was_asked(asked + 1) => {}
        }
        client.hang_up().await;
    }
    let left = Instant::now();
    endpoint.was_hung_up_on(hung_up + 1).await;
    left.elapsed()
}

/// A client that has left must not keep an engine busy. On a busy machine one try in three may be slow; a router that
/// notices late is slow in all of them.
#[tokio::test]
async fn o10_a_client_that_leaves_stops_the_upstream_within_a_tenth_of_a_second() {
    let hold = |asked: &Asked| match asked.body.contains("hold") {
        true => vec![Act::Hold],
        false => tokens("hello", 100_000, ms(20)),
    };
    let endpoint = Endpoint::start(hold).await;
    let (region, cluster) = region(&endpoint).await;
    for (name, address) in [("one router", cluster.http), ("two routers", region.http)] {
        for moment in [Moment::Prefill, Moment::MidStream, Moment::Unary] {
            let mut fastest = Duration::MAX;
            for _ in 0..3 {
                fastest = fastest.min(leaves(address, &endpoint, moment).await);
            }
            eprintln!("{name}, {moment:?}: {fastest:?}");
            assert!(fastest < ms(100), "{name}, {moment:?}: the endpoint worked on for {fastest:?}");
        }
    }
    region.router.all_closed().await;
    cluster.router.all_closed().await;
    assert!(!cluster.log.take().contains("\"ending\":\"ok\""), "a call that was left counts as answered");
}
