//! Groups K, N and T of the faults (docs/faults.md) where they are about the process: signals, stops, file descriptors.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gridtie::app::serve::Descent;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::wire::{
    Act, BASE, Client, Endpoint, Got, LONG, Running, STOP, ask, chat, chunk, get, good, last_chunk, pool,
    stream_head, token, tokens,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The router as a process. Killed when dropped.
struct Process {
    child: Child,
    http: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    /// With at most so many file descriptors, if that matters.
    async fn start(config: &str, files: Option<u32>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gridtie-{}-{}.toml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, config).unwrap();
        let limit = files.map_or(String::new(), |n| format!("ulimit -n {n}; "));
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" serve --config \"$1\""), env!("CARGO_BIN_EXE_gridtie")])
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut http, mut admin) = (None, None);
        while admin.is_none() {
            let line = timeout(LONG, lines.next_line()).await.expect("it starts").unwrap().expect("it runs");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["http", url] => {
                    http = url.trim_start_matches("http://").trim_end_matches("/v1").parse().ok()
                }
                ["admin", address] => admin = address.parse().ok(),
                _ => {}
            }
        }
        let _removed = std::fs::remove_file(&path);
        Self { child, http: http.unwrap(), admin: admin.unwrap() }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

#[tokio::test]
async fn t03_a_process_that_was_stopped_goes_on_where_it_was_and_ejects_nobody() {
    let slow = Endpoint::start(|_| {
        vec![
            stream_head(),
            Act::Pause(ms(5_000)),
            Act::Send(chunk([token("late").as_str(), STOP, "data: [DONE]\n\n"].concat())),
            last_chunk(),
        ]
    })
    .await;
    let well = Endpoint::start(good).await;
    let base = BASE.replace("short_wait", "first_token_min = \"2s\"\nshort_wait");
    let config =
        [base, pool("slow", "openai", &[slow.origin()]), pool("well", "openai", &[well.origin()])].concat();
    let process = Process::start(&config, None).await;
    let calls = join_all((0..10).map(|_| ask(process.http, chat(true, "hi"))));
    let stops = async {
        slow.was_asked(10).await;
        // By then whatever begins with the process has begun.
        sleep(ms(300)).await;
        process.signal("-STOP");
        // The limit on first tokens passes meanwhile.
        sleep(ms(3_000)).await;
        process.signal("-CONT");
    };
    let (all, ()) = tokio::join!(calls, stops);
    for got in all {
        assert!(got.is_done() && got.text.contains("late"), "{}", got.text);
        assert_eq!((got.header("x-gridtie-pool"), got.attempts()), ("slow", 1));
    }
    let metrics = get(process.admin, "/metrics").await.text;
    assert!(!metrics.contains("pool_transitions_total{to=\"ejected\"}"), "{metrics}");
    let stalls = metrics.lines().find(|line| line.starts_with("gridtie_stall_seconds_count ")).unwrap();
    assert_ne!(stalls, "gridtie_stall_seconds_count 0");
}

#[tokio::test]
async fn k05_a_second_signal_ends_the_process_within_a_second_and_streams_are_told() {
    let endpoint = Endpoint::start(|_| tokens("tok", 100_000, ms(5))).await;
    let mut process =
        Process::start(&format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()])), None).await;
    let mut client = Client::connect(process.http).await;
    let mut response = client.chat(chat(true, "hi")).await;
    assert!(response.body_mut().frame().await.unwrap().is_ok());
    process.signal("-TERM");
    // It goes down, and waits for the stream.
    while get(process.admin, "/readyz").await.status == 200 {
        sleep(ms(5)).await;
    }
    process.signal("-TERM");
    let told = Instant::now();
    let got = Got::read(response).await;
    assert!(got.text.contains("\"draining\"") && !got.text.contains("[DONE]"), "{}", got.text);
    let status = timeout(LONG, process.child.wait()).await.expect("it ends").unwrap();
    assert!(told.elapsed() < ms(1_500), "{:?}", told.elapsed());
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn n18_without_file_descriptors_connections_wait_and_are_served_when_there_are_some() {
    let endpoint = Endpoint::start(good).await;
    let process =
        Process::start(&format!("{BASE}{}", pool("p", "openai", &[endpoint.origin()])), Some(48)).await;
    assert_eq!(ask(process.http, chat(false, "hi")).await.status, 200);
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(process.http).await.unwrap());
    }
    // Nobody is accepted, or what is accepted has no way out: either way no answer that looks like one.
    let starved = timeout(ms(1_000), ask(process.http, chat(false, "hi"))).await;
    assert!(starved.is_err() || starved.is_ok_and(|got| got.status >= 500));
    drop(idle);
    let served = async {
        while ask(process.http, chat(false, "hi")).await.status != 200 {
            sleep(ms(50)).await;
        }
    };
    timeout(LONG, served).await.expect("it recovers");
}

/// A cluster in a thread of its own, so that it goes on while the router's thread is blocked.
fn cluster() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let endpoint = Endpoint::start(|_| tokens("tok", 400, ms(5))).await;
            let config = format!("{BASE}{}", pool("engines", "openai", &[endpoint.origin()]));
            let descent = Descent { lame_duck: Duration::ZERO, grace: LONG };
            let cluster = Running::start_with(&config, |_| (), descent).await;
            tell.send(cluster.grpc).unwrap();
            std::future::pending::<()>().await;
        });
    });
    told.recv().unwrap()
}

#[tokio::test]
async fn k08_streams_survive_an_executor_that_stands_still_and_a_metric_says_so() {
    let origin = format!("http://{}", cluster());
    let region = Running::start(&format!("{BASE}{}", pool("cluster", "grpc", &[origin]))).await;
    let calls = join_all((0..60).map(|_| ask(region.http, chat(true, "hi"))));
    let stalls = async {
        for _ in 0..2 {
            sleep(ms(400)).await;
            // The very mistake: code that blocks in an asynchronous place.
            std::thread::sleep(ms(600));
        }
    };
    let (all, ()) = tokio::join!(calls, stalls);
    for got in all {
        assert!(
            got.is_done() && got.tokens() == 400,
            "{} tokens, {}",
            got.tokens(),
            &got.text[got.text.len().saturating_sub(300)..]
        );
    }
    let metrics = region.router.metrics_text();
    let stalls = metrics.lines().find(|line| line.starts_with("gridtie_stall_seconds_count ")).unwrap();
    assert_ne!(stalls, "gridtie_stall_seconds_count 0");
}
