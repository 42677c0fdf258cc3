//! Group S of the faults (docs/faults.md): hostile clients on raw sockets, against the whole router.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gridtie::app::serve::Descent;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Ended, HEADERS, Hostile, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, field, frame, request,
};
use crate::wire::{
    Act, BASE, Endpoint, JSON, LONG, Running, WHOLE, ask, chat, chunk, get, good, last_chunk, pool, response,
    stream_head,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// ENHANCE_YOUR_CALM.
const CALM: u32 = 0xb;
const PATH: &str = "/v1/chat/completions";

async fn router() -> (Endpoint, Running) {
    let endpoint = Endpoint::start(good).await;
    let gridtie = Running::start(&format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()]))).await;
    (endpoint, gridtie)
}

/// Somebody else is served, and soon.
async fn others_are_served(address: SocketAddr) {
    let asked = Instant::now();
    let got = ask(address, chat(false, "hi")).await;
    assert_eq!(got.status, 200, "{}", got.text);
    assert!(asked.elapsed() < Duration::from_secs(2), "others waited for {:?}", asked.elapsed());
}

#[tokio::test]
async fn s01_streams_that_are_reset_at_once_end_their_connection() {
    let (endpoint, gridtie) = router().await;
    for address in [gridtie.http, gridtie.grpc] {
        let mut hostile = Hostile::connect(address).await;
        let pair = |n: u32| {
            let stream = 2 * n + 1;
            let cancel = 8_u32.to_be_bytes();
            [
                frame(HEADERS, END_HEADERS, stream, &request("POST", PATH)),
                frame(RST_STREAM, 0, stream, &cancel),
            ]
            .concat()
        };
        let flood: Vec<u8> = (0..10_000).flat_map(pair).collect();
        let began = Instant::now();
        hostile.flood(&flood, ms(3_000)).await;
        let ended = hostile.end(ms(2_000)).await;
        assert!(matches!(ended, Ended::GoAway(CALM) | Ended::Closed), "{ended:?}");
        assert!(began.elapsed() < ms(3_000), "{:?}", began.elapsed());
        others_are_served(gridtie.http).await;
    }
    assert_eq!(endpoint.asked(), 2, "no stream without a body was sent on");
}

#[tokio::test]
async fn s02_a_head_that_goes_on_and_on_ends_its_connection() {
    let (_endpoint, gridtie) = router().await;
    for fill in [field("x-a", &"b".repeat(8_000)), Vec::new()] {
        let mut hostile = Hostile::connect(gridtie.http).await;
        let mut flood = frame(HEADERS, END_STREAM, 1, &request("GET", "/v1/models"));
        let more = frame(CONTINUATION, 0, 1, &fill);
        (0..20_000).for_each(|_| flood.extend_from_slice(&more));
        let began = Instant::now();
        let sent = hostile.flood(&flood, ms(3_000)).await;
        let ended = hostile.end(ms(2_000)).await;
        assert!(matches!(ended, Ended::GoAway(_) | Ended::Closed), "{ended:?} after {sent} bytes");
        assert!(began.elapsed() < ms(3_000), "{sent} bytes, {:?}", began.elapsed());
        others_are_served(gridtie.http).await;
    }
}

#[tokio::test]
async fn s03_resets_that_a_peer_provokes_end_its_connection() {
    let (_endpoint, gridtie) = router().await;
    let mut hostile = Hostile::connect(gridtie.http).await;
    let provoke = |n: u32| {
        let stream = 2 * n + 1;
        // A window that grows by nothing is an error of the stream (RFC 9113, 6.9).
        [
            frame(HEADERS, END_HEADERS, stream, &request("POST", PATH)),
            frame(WINDOW_UPDATE, 0, stream, &[0; 4]),
        ]
        .concat()
    };
    let flood: Vec<u8> = (0..10_000).flat_map(provoke).collect();
    hostile.flood(&flood, ms(3_000)).await;
    let ended = hostile.end(ms(3_000)).await;
    assert!(matches!(ended, Ended::GoAway(_) | Ended::Closed), "{ended:?}");
    others_are_served(gridtie.http).await;
    gridtie.router.all_closed().await;
}

#[tokio::test]
async fn s04_floods_of_small_frames_are_not_kept_and_hold_up_nobody() {
    let (_endpoint, gridtie) = router().await;
    let open = frame(HEADERS, END_HEADERS, 1, &request("POST", PATH));
    let floods = [
        ("ping", Vec::new(), frame(PING, 0, 0, &[7; 8])),
        ("settings", Vec::new(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("empty data", open.clone(), frame(DATA, 0, 1, &[])),
        ("window by nothing", open, frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
    ];
    for (name, first, again) in floods {
        let mut hostile = Hostile::connect(gridtie.http).await;
        let flood = [first, again.repeat((64 << 20) / again.len())].concat();
        // Nobody reads what is answered: a router that answers all the same would have to keep it.
        let taken = hostile.flood(&flood, ms(1_500)).await;
        others_are_served(gridtie.http).await;
        let ended = hostile.end(ms(500)).await;
        eprintln!("{name}: {taken} bytes were taken, then {ended:?}");
        // Either the peer is made to wait, or it is shown out.
        assert!(taken < 8 << 20 || ended != Ended::Open, "{name}: all of {taken} bytes were taken");
    }
}

/// The first line of each answer on a connection to which this was sent.
async fn answers(address: SocketAddr, request: &[u8]) -> Vec<String> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let _refused_early = socket.write_all(request).await;
    let _half = socket.shutdown().await;
    let mut seen = Vec::new();
    let _reset = timeout(LONG, socket.read_to_end(&mut seen)).await.expect("the connection is closed");
    let text = String::from_utf8_lossy(&seen).into_owned();
    text.lines()
        .filter(|line| line.contains("HTTP/1.1 "))
        .map(|line| line[line.find("HTTP/1.1 ").unwrap() + 9..].to_owned())
        .collect()
}

#[tokio::test]
async fn s05_heads_that_are_too_large_or_unpack_to_too_much_are_refused() {
    let (_endpoint, gridtie) = router().await;
    let many = "x: y\r\n".repeat(1_000);
    let long = format!("x: {}\r\n", "y".repeat(64 << 10));
    for fields in [many, long] {
        let request = format!("GET /v1/models HTTP/1.1\r\nhost: g\r\n{fields}\r\n");
        let got = answers(gridtie.http, request.as_bytes()).await;
        assert!(got.len() == 1 && got[0].starts_with("431"), "{got:?}");
    }
    // 4 KiB once, then a byte each time: a thousand times as much as was sent.
    let mut bomb = request("GET", "/v1/models");
    bomb.push(0x40);
    bomb.extend_from_slice(&field("bomb", &"y".repeat(3_900))[1..]);
    bomb.extend_from_slice(&[0xbe; 4_000]);
    for fields in [bomb, [request("GET", "/v1/models"), field("x", &"y".repeat(12_000)).repeat(1)].concat()] {
        let mut hostile = Hostile::connect(gridtie.http).await;
        for nth in 0..50_u32 {
            hostile.flood(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * nth + 1, &fields), ms(500)).await;
        }
        let ended = hostile.end(ms(300)).await;
        eprintln!("{} bytes of fields: {ended:?}", fields.len());
        others_are_served(gridtie.http).await;
    }
}

/// Requests that two readers could read differently. Behind each comes another, which must not be answered.
const SMUGGLED: [(&str, &str); 12] = [
    ("a length and chunks", "content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 6\r\n\r\n0\r\n\r\n"),
    ("unknown coding", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked is not last", "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("two lengths", "content-length: 0\r\ncontent-length: 5\r\n\r\n"),
    ("a length with a sign", "content-length: +0\r\n\r\n"),
    ("a length that is none", "content-length: 0x0\r\n\r\n"),
    ("a space before the colon", "content-length : 0\r\n\r\n"),
    ("a folded line", "x: a\r\n content-length: 5\r\n\r\n"),
    ("a name with a line end", "x\n: y\r\n\r\n"),
    ("a NUL", "x: a\0b\r\n\r\n"),
    ("a size of a chunk with a sign", "transfer-encoding: chunked\r\n\r\n+0\r\n\r\n"),
];

#[tokio::test]
async fn s09_requests_that_two_readers_read_differently_are_refused_and_the_connection_closed() {
    let (endpoint, gridtie) = router().await;
    for (name, fields) in SMUGGLED {
        let request = format!(
            "POST {PATH} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n{fields}GET /v1/models HTTP/1.1\r\nhost: g\r\n\r\n"
        );
        let got = answers(gridtie.http, request.as_bytes()).await;
        assert!(got.len() <= 1, "{name}: what was smuggled is answered: {got:?}");
        assert!(got.iter().all(|status| status.starts_with('4')), "{name}: {got:?}");
    }
    assert_eq!(endpoint.asked(), 0, "nothing of it was sent on");
}

/// A chat with these headers; all of the answer as text.
async fn chat_with(address: SocketAddr, headers: &str) -> String {
    let body = chat(false, "hi");
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    // A client that closes its half has gone, so it stays until the answer is here.
    let answer = async {
        let mut read = [0; 4096];
        while !seen.ends_with("}}") && !seen.ends_with("}\n") {
            match socket.read(&mut read).await {
                Ok(n @ 1..) => seen.push_str(std::str::from_utf8(&read[..n]).unwrap()),
                _ => break,
            }
        }
    };
    timeout(LONG, answer).await.expect("an answer");
    seen
}

#[tokio::test]
async fn s10_no_header_of_a_client_takes_another_one_out() {
    let (endpoint, gridtie) = with_a_client_key().await;
    let key = "authorization: Bearer gtk_one\r\n";
    assert!(chat_with(gridtie.http, "").await.starts_with("HTTP/1.1 401"));
    for trick in [
        "connection: authorization\r\n",
        "connection: close, authorization, x-gridtie-class\r\n",
        "connection: keep-alive\r\nconnection: content-length\r\n",
    ] {
        let got = chat_with(gridtie.http, &format!("{key}{trick}")).await;
        assert!(got.starts_with("HTTP/1.1 200"), "{trick}{got}");
        // And none stands for another.
        let got = chat_with(gridtie.http, &format!("x-tenant: one\r\n{trick}")).await;
        assert!(got.starts_with("HTTP/1.1 401"), "{trick}{got}");
    }
    assert_eq!(endpoint.asked(), 3);
    for head in endpoint.heads() {
        assert!(!head.contains("gtk_one") && !head.contains("connection:"), "{head}");
    }
}

/// A router that knows one client's key.
async fn with_a_client_key() -> (Endpoint, Running) {
    use gridtie::edge::auth::{ClientKey, KeyHash};
    let endpoint = Endpoint::start(good).await;
    let config = format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()]));
    let keys = |checked: &mut gridtie::config::Checked| {
        let key =
            ClientKey { hash: KeyHash::of("gtk_one"), tenant: gridtie::domain::TenantId(0), prefix: None };
        checked.auth.keys.push(key);
    };
    let descent = Descent { lame_duck: Duration::ZERO, grace: LONG };
    (endpoint, Running::start_with(&config, keys, descent).await)
}

#[tokio::test]
async fn s11_headers_that_are_not_ours_are_not_passed_on() {
    let (endpoint, gridtie) = router().await;
    let names = [
        "x-gridtie-drill",
        "x-gridtie-fault",
        "x-router-pool",
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "anthropic-beta",
        "openai-organization",
        "openai-project",
        "cookie",
        "proxy-authorization",
        "x-envoy-retry-on",
        "x-request-id",
    ];
    let headers: String = names.iter().map(|name| format!("{name}: canary-7\r\n")).collect();
    let got = chat_with(gridtie.http, &headers).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    let head = endpoint.heads().remove(0);
    assert!(!head.contains("canary-7"), "{head}");
    assert!(!got.contains("canary-7"), "{got}");
}

/// What everybody may see: log, metrics, status, readiness.
async fn outputs(gridtie: &Running) -> String {
    let status = gridtie.router.with_fleet(|fleet| fleet.status(gridtie.router.clock().now()));
    let pages = [get(gridtie.admin, "/metrics").await.text, get(gridtie.admin, "/readyz").await.text];
    format!("{}{:?}{:?}{}{}", gridtie.log.take(), status, gridtie.router, pages[0], pages[1])
}

#[tokio::test]
async fn s15_s16_neither_a_key_nor_a_prompt_is_in_any_output() {
    let (key, prompt) = ("sk-canary-key-4711", "canary-prompt-0815");
    let echo = format!(r#"{{"error":{{"message":"bad key {key} for {prompt}","code":"x"}}}}"#);
    type Play = fn(String) -> Vec<Act>;
    let plays: [Play; 5] = [
        |echo| vec![response("401 Unauthorized", JSON, echo)],
        |echo| vec![response("403 Forbidden", JSON, echo)],
        |_| vec![Act::Reset],
        |_| vec![response("200 OK", JSON, WHOLE)],
        |_| vec![response("200 OK", "content-type: text/html\r\n", "<html>")],
    ];
    for play in plays {
        let echo = echo.clone();
        let endpoint = Endpoint::start(move |_| play(echo.clone())).await;
        let config = format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()]))
            .replace("calls = \"off\"", "calls = \"stderr\"");
        let keyed = |checked: &mut gridtie::config::Checked| {
            let gridtie::config::UpstreamSettings::OpenAi(settings) = &mut checked.upstreams[0] else {
                panic!()
            };
            settings.key = Some(SecretString::from(key.to_owned()));
        };
        let descent = Descent { lame_duck: Duration::ZERO, grace: LONG };
        let gridtie = Running::start_with(&config, keyed, descent).await;
        let mut seen = String::new();
        for stream in [false, true] {
            let got = ask(gridtie.http, chat(stream, prompt)).await;
            assert!(!got.text.contains(key) && !format!("{:?}", got.headers).contains(key), "{}", got.text);
            seen.push_str(&got.text);
        }
        assert!(endpoint.heads()[0].contains(key), "the key goes where it belongs");
        seen.push_str(&outputs(&gridtie).await);
        assert!(seen.contains("\"ending\":"), "the log of calls is among it: {seen}");
        for canary in [key, prompt] {
            assert!(!seen.contains(canary), "{canary} is in {seen}");
        }
    }
}

#[tokio::test]
async fn s19_the_operators_pages_are_not_on_the_data_port() {
    let (_endpoint, gridtie) = router().await;
    for path in ["/metrics", "/readyz", "/livez", "/gridtie.v1.Admin/ListPools", "/config", "/debug"] {
        assert_eq!(get(gridtie.http, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn s24_words_that_look_like_framing_stay_words() {
    // Escaped, as any JSON writer does; a raw line end would be the provider's own malformed event.
    let words = r"a\n\ndata: [DONE]\n\ndata: {\u0022error\u0022:{\u0022message\u0022:\u0022no\u0022}}\n\nb";
    let play = move |_: &crate::wire::Asked| {
        vec![
            stream_head(),
            Act::Send(chunk(crate::wire::token(words))),
            Act::Send(chunk(
                [crate::wire::token("end").as_str(), crate::wire::STOP, "data: [DONE]\n\n"].concat(),
            )),
            last_chunk(),
        ]
    };
    let endpoint = Endpoint::start(play).await;
    let gridtie = Running::start(&format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()]))).await;
    let got = ask(gridtie.http, chat(true, "hi")).await;
    assert!(got.text.ends_with("data: [DONE]\n\n"), "{}", got.text);
    let events: Vec<&str> = got.text.split("\n\n").filter(|e| !e.is_empty()).collect();
    assert_eq!(events.len(), 4, "{events:?}");
    assert!(events[0].contains(words) && events[1].contains("end"), "{events:?}");
}

#[test]
fn s26_every_dependency_is_locked_and_comes_from_the_registry() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap();
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    assert!(packages.len() > 100);
    let value = |package: &str, key: &str| {
        let line = package.lines().find(|line| line.starts_with(&format!("{key} = ")));
        line.map(|line| line.split('"').nth(1).unwrap_or_default().to_owned())
    };
    for package in packages {
        let name = value(package, "name").unwrap();
        match value(package, "source") {
            None => assert_eq!(name, "gridtie", "another package without a source"),
            Some(source) => {
                assert_eq!(source, "registry+https://github.com/rust-lang/crates.io-index", "{name}");
                assert!(value(package, "checksum").is_some_and(|sum| sum.len() == 64), "{name}");
            }
        }
        if name == "h2" {
            // Below, a connection dies of some hundred tokens that nobody read, or is open to floods.
            let version = value(package, "version").unwrap();
            let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
            assert!(parts >= vec![0, 4, 19], "h2 {version}");
        }
    }
}
