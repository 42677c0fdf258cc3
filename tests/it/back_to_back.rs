//! Calls one after the other on one connection. Without TCP_NODELAY at both ends each would wait 40 ms for the
//! acknowledgement of the one before (Nagle's algorithm against delayed acknowledgements).

use std::time::{Duration, Instant};

use crate::wire::{BASE, Client, Endpoint, Got, Running, chat, good, pool};

/// A round of calls takes 400 ms if every call stalls, and some milliseconds a call if none does. On a busy machine a
/// round can be slow for other reasons; a stall that is there is in every round.
const CALLS: u32 = 10;
const ROUNDS: u32 = 10;
const BOUND: Duration = Duration::from_millis(200);

async fn takes(client: &mut Client, stream: bool) -> Duration {
    let started = Instant::now();
    for _ in 0..CALLS {
        let got = Got::read(client.chat(chat(stream, "hi")).await).await;
        assert_eq!(got.status, 200, "{}", got.text);
        assert!(!stream || got.is_done(), "{}", got.text);
    }
    started.elapsed()
}

#[tokio::test]
async fn calls_on_one_connection_do_not_stall_on_acknowledgements() {
    let endpoint = Endpoint::start(good).await;
    let near = Running::start(&format!("{BASE}{}", pool("near", "openai", &[endpoint.origin()]))).await;
    let cluster = format!("http://{}", near.grpc);
    let far = Running::start(&format!("{BASE}{}", pool("far", "grpc", &[cluster]))).await;
    for (name, address) in [("openai", near.http), ("grpc", far.http)] {
        let mut client = Client::connect(address).await;
        for stream in [false, true] {
            let mut best = Duration::MAX;
            for _ in 0..ROUNDS {
                best = best.min(takes(&mut client, stream).await);
            }
            assert!(best < BOUND, "{CALLS} calls over {name} took {best:?} at best (stream: {stream})");
        }
    }
    assert!(endpoint.connections() <= 2, "{} connections for calls one by one", endpoint.connections());
}
