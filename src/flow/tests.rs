//! What the driver does between the steps of the machine: waking, buffering, letting go.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use smallvec::smallvec;

use super::drive::Driven;
use super::*;
use crate::call::{Event, Step};
use crate::domain::*;
use crate::fleet;
use crate::ledger::InMemory;
use crate::telemetry::LogWriter;
use crate::upstream::{Attempt, Piece, PieceBody, Pieces, Reply};

type Next = Result<Piece, Failure>;

/// An upstream that answers every attempt with a stream of the test's own.
struct Streams<F> {
    answer: F,
    shared: bool,
}

impl<F> fmt::Debug for Streams<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streams")
    }
}

impl<F, S> Upstream for Streams<F>
where
    F: Fn(&Attempt) -> S + Send + Sync,
    S: Stream<Item = Next> + Send + 'static,
{
    fn call(
        &self,
        attempt: Attempt,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        let pieces = Pieces(Box::pin((self.answer)(&attempt)), None);
        Box::pin(async move { Ok(Reply::Stream(pieces)) })
    }

    fn shares_connections(&self) -> bool {
        self.shared
    }
}

/// A router over one pool with one endpoint that takes one call at a time.
fn router<F, S>(shared: bool, answer: F) -> Router
where
    F: Fn(&Attempt) -> S + Send + Sync + 'static,
    S: Stream<Item = Next> + Send + 'static,
{
    let pool = catalog::Pool {
        name: "only".into(),
        tenure: Tenure::Metered,
        region: None,
        failure_domain: "only".into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: Duration::from_millis(1),
        grants: Default::default(),
        max_in_flight: Some(1),
        order: 0,
        weight: 1.0,
        engine_prior: EnginePrior::default(),
    };
    let offer = catalog::Offer {
        pool: PoolId(0),
        model: ModelId(0),
        hours: None,
        upstream_model: "m".into(),
        prices: Prices::default(),
        context_window: None,
        capabilities: Capabilities::CHAT_DEFAULT,
    };
    let class = catalog::Class {
        name: "usual".into(),
        deadline: Duration::from_secs(600),
        may_wait: true,
        ..crate::domain::plain::class()
    };
    let model = catalog::Model {
        name: "chat".into(),
        aliases: vec![],
        kind: AskKind::Chat,
        offers: vec![OfferId(0)],
    };
    let catalog = Arc::new(Catalog {
        pools: vec![pool],
        offers: vec![offer],
        models: vec![model],
        classes: vec![class],
        tenants: vec![catalog::Tenant { name: "anonymous".into() }],
        default_class: ClassId(0),
        lineage: Default::default(),
    });
    let clock = Clock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let mut fleet = Fleet::new(catalog.clone(), fleet::Settings::default(), clock.now());
    let address = Arc::new(Address { origin: "sim://only".into(), socket: None });
    fleet.set_endpoints(PoolId(0), &[address], clock.now());
    Router::new(Parts {
        fleet,
        upstreams: vec![Arc::new(Streams { answer, shared })],
        clock,
        seed: 7,
        ledger: Arc::new(InMemory::default()),
        telemetry: Arc::new(Telemetry::new(&catalog, LogWriter::memory())),
        settings: Settings::default(),
        catalog,
    })
}

fn inbound() -> Inbound {
    Inbound {
        request: Request {
            kind: AskKind::Chat,
            stream: true,
            stream_usage: false,
            body: Body::OpenAi(Bytes::from_static(b"{}")),
            input_tokens: 10,
            forward: Vec::new(),
        },
        model: "chat".into(),
        class: None,
        tenant: TenantId(0),
        session: None,
        prefix: Arc::default(),
        hints: Hints::default(),
        needs: Capabilities::CHAT,
        max_tokens: None,
        n: 1,
        timeout: None,
        client_retry: false,
    }
}

fn driven(router: &Router) -> Driven {
    let inbound = inbound();
    let facts = resolve(&router.catalog(), router.next_id(), router.clock().mono(), &inbound).unwrap();
    Driven::open(router.0.clone(), router.0.editions.present(), facts, crate::upstream::Onward::default())
}

fn bytes(size: usize, content_events: u32) -> Next {
    let body = PieceBody::Bytes(Bytes::from(vec![b'x'; size]));
    Ok(Piece { body, content_events, usage: None })
}

async fn body(router: &Router) -> RelayBody {
    match router.call(inbound()).await {
        Ok(Answered::Stream { body, .. }) => body,
        other => panic!("expected a stream, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_that_frees_before_the_call_has_begun_to_wait_is_not_missed() {
    let router = router(false, |_| stream::pending());
    let mut first = driven(&router);
    assert!(matches!(first.step(Event::Start), Step::Send(_)));
    let mut second = driven(&router);
    assert!(matches!(second.step(Event::Start), Step::Wait));
    // Now the place frees, and whoever listens is told; the second does not listen yet.
    drop(first);
    let before = router.clock().mono();
    assert!(matches!(second.wait().await, Step::Send(_)));
    assert_eq!(router.clock().mono(), before, "it slept through the news");
}

#[tokio::test(start_paused = true)]
async fn k07_a_stream_whose_upstream_panics_ends_as_broken() {
    let router = router(false, |_| {
        stream::iter(0..).map(|i: u32| if i < 2 { bytes(5, 1) } else { panic!("a bug of an upstream") })
    });
    let all = tokio::time::timeout(Duration::from_secs(3600), body(&router).await.collect::<Vec<_>>());
    let outs = all.await.expect("the client waits for ever");
    assert!(matches!(outs.last(), Some(Out::Broken(b)) if b.code == "stream_interrupted"), "{outs:?}");
    assert_eq!(router.open_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn long_deltas_fill_the_buffer_by_their_length() {
    let router = router(false, |_| {
        stream::repeat_with(|| {
            let text = "x".repeat(16 << 10);
            let delta = Delta::Text { choice: 0, text, logprobs: None };
            Ok(Piece { body: PieceBody::Canonical(smallvec![delta]), content_events: 1, usage: None })
        })
    });
    let body = body(&router).await;
    router.all_closed().await;
    let outs: Vec<Out> = body.collect().await;
    assert!(outs.len() <= 6, "{} deltas of 16 KiB are in a buffer of 64 KiB", outs.len());
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_before_the_first_content_is_bounded_in_bytes() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = taken.clone();
    let router = router(false, move |_| {
        let counter = counter.clone();
        stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            bytes(1 << 20, 0)
        })
    });
    let refused = router.call(inbound()).await.expect_err("there is no content");
    assert!(matches!(refused.refusal, Refusal::Upstream(f) if f.kind == FailureKind::BadResponse));
    let taken = taken.load(Ordering::Relaxed);
    assert!(taken <= 5, "{taken} MiB were held back");
}

/// More pieces than anybody can take in the time that the tests below give.
fn chatter() -> impl Stream<Item = Next> {
    stream::iter((0..1_000_000).map(|_| bytes(0, 1)))
}

async fn last(mut body: RelayBody) -> Option<Out> {
    let mut last = None;
    while let Some(out) = body.next().await {
        last = Some(out);
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_always_has_one_more_piece_does_not_outlive_the_deadline() {
    let router = router(false, |_| chatter());
    let asked = Inbound { timeout: Some(Duration::from_millis(400)), ..inbound() };
    let Ok(Answered::Stream { body, .. }) = router.call(asked).await else { panic!("no stream") };
    let last = last(body).await;
    assert!(matches!(&last, Some(Out::Broken(b)) if b.code == "deadline"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_always_has_one_more_piece_does_not_outlive_the_grace() {
    let router = router(false, |_| chatter());
    let body = body(&router).await;
    router.end_grace();
    let last = last(body).await;
    assert!(matches!(&last, Some(Out::Broken(b)) if b.code == "draining"), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_choice_each_may_be_announced_before_the_first_content() {
    let router = router(false, |_| {
        stream::iter((0..128).map(|_| bytes(200, 0)).chain([bytes(5, 1)])).chain(stream::pending())
    });
    drop(body(&router).await);
}

#[tokio::test(start_paused = true)]
async fn a_burst_on_a_shared_connection_does_not_cost_a_willing_reader_its_stream() {
    let router = router(true, |_| stream::iter((0..6).map(|_| bytes(50 << 10, 1))));
    let outs: Vec<Out> = body(&router).await.collect().await;
    assert!(matches!(outs.last(), Some(Out::End(_))), "cut after {} pieces", outs.len() - 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_shared_connection_a_reader_that_takes_nothing_loses_its_stream_soon() {
    let router = router(true, |_| stream::repeat_with(|| bytes(20 << 10, 1)));
    let body = body(&router).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), router.all_closed()).await;
    assert!(closed.is_ok(), "the shared connection waits for a reader that does not read");
    let last = body.collect::<Vec<Out>>().await.pop();
    assert!(matches!(last, Some(Out::Broken(b)) if b.code == "slow_reader"));
}

#[tokio::test(start_paused = true)]
async fn the_request_is_let_go_when_its_answer_has_begun() {
    let kept = Arc::new(Mutex::new(Weak::new()));
    let keeper = kept.clone();
    let router = router(false, move |attempt| {
        *keeper.lock().unwrap() = Arc::downgrade(&attempt.request);
        stream::iter([bytes(5, 1)]).chain(stream::pending())
    });
    let body = body(&router).await;
    assert!(
        kept.lock().unwrap().upgrade().is_none(),
        "a prompt stays in memory as long as its answer streams"
    );
    drop(body);
}

/// Its first answer goes on for as long as somebody listens; all others are a word.
fn first_long() -> Router {
    let answers = AtomicUsize::new(0);
    router(false, move |_: &Attempt| {
        let word = stream::iter([bytes(4, 1)]);
        let first = answers.fetch_add(1, Ordering::Relaxed) == 0;
        if first { word.chain(stream::pending()).left_stream() } else { word.right_stream() }
    })
}

#[tokio::test(start_paused = true)]
async fn o09_a_waiting_call_that_goes_away_leaves_the_line_and_the_next_is_served() {
    let router = first_long();
    let long = body(&router).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let router = router.clone();
        waiting.push(tokio::spawn(async move { body(&router).await.count().await }));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(router.with_fleet(|fleet| fleet.in_line()), 3);
    waiting.remove(0).abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(router.with_fleet(|fleet| fleet.in_line()), 2);
    drop(long);
    for call in waiting {
        assert!(call.await.unwrap() > 0);
    }
    assert_eq!((router.with_fleet(|fleet| fleet.in_line()), router.open_calls()), (0, 0));
}
