//! Configs in quick succession under load: nobody notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Folder, config, ms};
use crate::wire::{Client, Endpoint, Got, Running, chat, tokens, whole};
use gridtie::edge::admin::configs::{Configs as _, Outcome};

/// How hard.
struct Load {
    reloads: usize,
    every: Duration,
    streams: usize,
    callers: usize,
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    streams: AtomicU64,
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    fn got(&self, got: &Got, streamed: bool) {
        let right = got.status == 200 && !got.broken && (!streamed || got.is_done());
        if !right {
            let end = &got.text[got.text.len().saturating_sub(400)..];
            self.wrong.lock().unwrap().push(format!("{} broken={} {end}", got.status, got.broken));
        }
        if streamed { &self.streams } else { &self.calls }.fetch_add(1, Ordering::Relaxed);
    }
}

/// One of three configs is wrong; the others take a pool away, bring it back, and change another's prices and key.
fn nth(n: usize, pools: &[Endpoint; 3]) -> String {
    let [a, b, c] = pools;
    match n % 6 {
        0 => config(&[("a", a), ("b", b), ("c", c)]),
        2 => config(&[("c", c), ("a", a)]),
        3 => config(&[("a", a), ("b", b)]).replacen(
            "round_trip = \"1ms\"",
            "round_trip = \"2ms\"\nconnect = \"300ms\"",
            1,
        ),
        5 => config(&[("a", b), ("b", a), (["x", "y", "z"][n % 3], c)]),
        1 => config(&[("a", a)]).replace("tenure", "tenor"),
        _ => "[[pool]".to_owned(),
    }
}

async fn run(load: Load) -> (u64, u64) {
    let pools = [(); 3].map(|()| {
        Endpoint::start(|asked| if asked.streams() { tokens("hello", 40, ms(20)) } else { vec![whole()] })
    });
    let [a, b, c] = pools;
    let pools = [a.await, b.await, c.await];
    let folder = Folder::new();
    let path = folder.write("c.toml", &nth(0, &pools));
    let gridtie = Running::start_file(&path).await;
    let (seen, over) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = tokio::task::JoinSet::new();
    for i in 0..load.streams + load.callers {
        let (seen, over, address, streamed) = (seen.clone(), over.clone(), gridtie.http, i < load.streams);
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            while !over.load(Ordering::Relaxed) {
                seen.got(&Got::read(client.chat(chat(streamed, "hi")).await).await, streamed);
                if !streamed {
                    tokio::time::sleep(ms(10)).await;
                }
            }
        });
    }
    let (mut refused, mut warm) = (0, 0);
    for n in 1..=load.reloads {
        folder.write("c.toml", &nth(n, &pools));
        let outcome = gridtie.reloads.reload(false).await.unwrap().outcome;
        assert_eq!(matches!(outcome, Outcome::Rejected(_)), matches!(n % 6, 1 | 4), "{n}: {outcome:?}");
        refused += usize::from(matches!(outcome, Outcome::Rejected(_)));
        // By then connections, buffers and the heap have found their size.
        if n == load.reloads / 2 {
            warm = resident();
        }
        if n % 100 == 0 {
            eprintln!("{n} configs, {} KiB", resident());
        }
        tokio::time::sleep(load.every).await;
    }
    let end = resident();
    over.store(true, Ordering::Relaxed);
    while clients.join_next().await.is_some() {}
    let (calls, streams) = (seen.calls.load(Ordering::Relaxed), seen.streams.load(Ordering::Relaxed));
    let wrong = seen.wrong.lock().unwrap();
    eprintln!(
        "{} configs, {refused} refused; {calls} calls, {streams} streams, {} wrong; {warm} KiB, then {end} KiB",
        load.reloads,
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} of {calls} calls and {streams} streams: {:?}", wrong.len(), wrong.first());
    assert!(calls > 0 && streams > 0 && refused * 3 >= load.reloads - 3);
    let catalog = gridtie.router.catalog();
    assert!(catalog.pools.len() <= 8, "{} places for six names", catalog.pools.len());
    (warm, end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c04_sixty_configs_under_load_disturb_nobody() {
    run(Load { reloads: 60, every: ms(40), streams: 20, callers: 4 }).await;
}

/// The whole of it: `cargo nextest run --release --run-ignored only g11_`, a minute long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute of both cores"]
async fn g11_a_thousand_configs_in_a_minute_disturb_nobody_and_leave_nothing_behind() {
    let (warm, end) = run(Load { reloads: 1_000, every: ms(55), streams: 200, callers: 6 }).await;
    let grown = end as f64 / warm as f64 - 1.0;
    assert!(grown < 0.02, "memory grew by {:.1} %", 100.0 * grown);
}
