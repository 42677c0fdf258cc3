//! Decisions on record, end to end: a config, calls over sockets, a file, and a replay of it. What a client sends is not
//! in it.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use gridtie::cli::{self, Paint};
use gridtie::policy::record::{DecisionRecord, Outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{BASE, Endpoint, LONG, Running, chat, good, pool};

const CANARY: &str = "canary-that-sings";

/// A call that says the canary wherever a client can.
async fn sing(address: SocketAddr, nth: usize) -> String {
    let body = chat(nth % 2 == 1, CANARY);
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {CANARY}\r\nauthorization: Bearer {CANARY}\r\n\
         x-gridtie-session: {CANARY}\r\nx-{CANARY}: {CANARY}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LONG, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

fn file() -> PathBuf {
    let path = std::env::temp_dir().join(format!("gridtie-records-{}.jsonl", std::process::id()));
    let _left_over = std::fs::remove_file(&path);
    path
}

#[tokio::test]
async fn s16_what_was_decided_is_on_record_and_replays_and_nothing_of_what_was_said() {
    let (endpoint, nobody, path) = (Endpoint::start(good).await, Endpoint::nobody().await, file());
    let pools =
        [pool("gone", "openai", &[format!("http://{nobody}")]), pool("near", "openai", &[endpoint.origin()])];
    let records = format!("[records]\nfile = {:?}\nshare = 1.0\n", path.display().to_string());
    let gridtie = Running::start(&format!("{records}{BASE}{}", pools.concat())).await;
    for nth in 0..6 {
        let answer = sing(gridtie.http, nth).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    gridtie.router.telemetry().flush();
    let metrics = gridtie.router.metrics_text();
    assert!(metrics.contains("gridtie_decision_records_dropped 0\n"), "{metrics}");

    let lines: Vec<String> =
        std::io::BufReader::new(std::fs::File::open(&path).unwrap()).lines().map(Result::unwrap).collect();
    assert!(lines.len() > 6, "calls that failed over have more than one decision: {}", lines.len());
    let mut retries = 0;
    for line in &lines {
        assert!(!line.contains("canary"), "{line}");
        let record: DecisionRecord = serde_json::from_str(line).unwrap();
        assert!(matches!(record.outcome, Outcome::Dispatch { .. }) && record.asked.session);
        retries += usize::from(record.tried.iter().any(|t| t.failure == "connect"));
    }
    assert!(retries > 0);

    let args = |replay: String, without: Vec<String>| cli::explain::Args {
        model: None,
        class: None,
        config: None,
        input: 1000,
        max_tokens: None,
        unary: false,
        needs: Vec::new(),
        replay: Some(replay),
        without,
        price: Vec::new(),
    };
    let mut out = Vec::new();
    let all = args(path.display().to_string(), vec!["near".to_owned()]);
    cli::explain::run(&all, Paint::Plain, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let same =
        format!("{} decisions in {}: {0} chosen the same again, 0 differ", lines.len(), path.display());
    assert!(text.contains(&same), "{text}");
    assert!(text.contains("Without near: "), "{text}");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn nothing_is_on_record_unless_the_config_says_so() {
    let endpoint = Endpoint::start(good).await;
    let gridtie = Running::start(&format!("{BASE}{}", pool("near", "openai", &[endpoint.origin()]))).await;
    assert!(sing(gridtie.http, 0).await.starts_with("HTTP/1.1 200"));
    assert!(gridtie.router.metrics_text().contains("gridtie_decision_records_total 0\n"));
}
