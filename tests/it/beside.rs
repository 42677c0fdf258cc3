//! What servers say beside their answers, over real sockets: rate limits in heads, and pages of metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gridtie::app::serve::Descent;
use gridtie::domain::PoolId;
use tokio::time::timeout;

use crate::wire::{BASE, Client, Endpoint, Got, JSON, LONG, Running, WHOLE, chat, pool, response, whole};

async fn ask(client: &mut Client) -> Got {
    Got::read(client.chat(chat(false, "hello")).await).await
}

#[tokio::test]
async fn a_provider_that_says_that_nothing_is_left_is_not_run_into() {
    let rates = "x-ratelimit-limit-requests: 2\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1m0s\r\n";
    let spent = Endpoint::start(move |_| vec![response("200 OK", &format!("{rates}{JSON}"), WHOLE)]).await;
    let free = Endpoint::start(|_| vec![whole()]).await;
    let config = |grants: &str| {
        let first =
            pool("first", "openai", &[spent.origin()]).replace("round_trip", &format!("{grants}round_trip"));
        format!("{BASE}{first}{}", pool("second", "openai", &[free.origin()]))
    };
    let running = Running::start(&config("")).await;
    let mut client = Client::connect(running.http).await;
    for expected in ["first", "second", "second"] {
        let got = ask(&mut client).await;
        assert_eq!((got.status, got.header("x-gridtie-pool"), got.attempts()), (200, expected, 1));
    }
    // Where headers are not to be read, they are not.
    let deaf = Running::start(&config("grants = { from_headers = false }\n")).await;
    let mut client = Client::connect(deaf.http).await;
    for _ in 0..2 {
        assert_eq!(ask(&mut client).await.header("x-gridtie-pool"), "first");
    }
}

/// An engine with so many calls of others, and how many of ours it has had.
async fn engine(others: u32) -> (Endpoint, Arc<AtomicUsize>) {
    let ours = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ours);
    let endpoint = Endpoint::start(move |asked| {
        if asked.body.is_empty() {
            let page = format!("vllm:num_requests_running{{model_name=\"up\"}} {others}.0\n");
            return vec![response("200 OK", "content-type: text/plain\r\n", page)];
        }
        count.fetch_add(1, Ordering::Relaxed);
        vec![whole()]
    });
    (endpoint.await, ours)
}

#[tokio::test]
async fn of_two_engines_the_one_that_another_router_fills_is_left_alone() {
    let (busy, at_busy) = engine(500).await;
    let (idle, at_idle) = engine(0).await;
    let dead = Endpoint::nobody().await;
    let origins = [busy.origin(), idle.origin(), format!("http://{dead}")];
    let config = pool("engines", "openai", &origins)
        .replace("round_trip", "metrics = \"/metrics\"\nmetrics_every = \"100ms\"\nround_trip");
    let descent = Descent { lame_duck: Duration::ZERO, grace: LONG };
    let running = Running::start_with(&format!("{BASE}{config}"), |_| (), descent).await;
    let router = &running.router;
    let heard = async {
        let reports = || {
            let now = router.clock().now();
            let status = router.with_fleet(|fleet| fleet.status(now));
            status.pools[0].endpoints.iter().filter(|e| e.report.is_some()).count()
        };
        let none_failed =
            || router.metrics_text().contains("gridtie_polls_failed_total{pool=\"engines\"} 0\n");
        while reports() < 2 || none_failed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(LONG, heard).await.is_ok(), "no reports");
    // Nobody is ill for not saying how busy it is.
    let now = router.clock().now();
    let healthy = |endpoint: &gridtie::fleet::status::EndpointStatus| endpoint.state == "healthy";
    assert!(router.with_fleet(|fleet| fleet.status(now)).pools[0].endpoints.iter().all(healthy));
    router.with_fleet(|fleet| {
        let kept: Vec<_> = fleet.places(PoolId(0)).into_iter().map(|(_, address)| address).take(2).collect();
        fleet.set_endpoints(PoolId(0), &kept, now);
    });
    let mut client = Client::connect(running.http).await;
    for _ in 0..20 {
        assert_eq!(ask(&mut client).await.status, 200);
    }
    assert_eq!((at_busy.load(Ordering::Relaxed), at_idle.load(Ordering::Relaxed)), (0, 20));
}
