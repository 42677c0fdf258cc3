//! A small world for tests: three pools, one model, three classes, and calls that need no wire.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gridtie::call::Record;
use gridtie::clock::Clock;
use gridtie::domain::catalog::{Class, Model, Offer, Pool, Tenant};
use gridtie::domain::{
    Address, AskKind, Body, CallFacts, CallId, Capabilities, Catalog, ClassId, Duration, EnginePrior, Hints,
    ModelId, OfferId, PoolId, Price, Prices, Request, TenantId, Tenure, Timestamp,
};
use gridtie::fleet::{self, Fleet};
use gridtie::flow::{self, Inbound, Router};
use gridtie::ledger::{Ledger, Used};
use gridtie::telemetry::{LogWriter, Telemetry};
use gridtie::upstream::Upstream;
use gridtie::upstream::scripted::{Script, Scripted};

pub(crate) const SEED: u64 = 7;
pub(crate) const POOLS: [&str; 3] = ["owned", "cloud-a", "cloud-b"];

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `owned` is free and has two endpoints; `cloud-a` is cheaper than `cloud-b`; each cloud has one.
pub(crate) fn catalog() -> Arc<Catalog> {
    let pool = |i: usize, tenure| Pool {
        name: POOLS[i].into(),
        tenure,
        region: Some("eu".into()),
        failure_domain: POOLS[i].into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: ms(1),
        grants: Default::default(),
        max_in_flight: None,
        order: i as u32,
        weight: 1.0,
        engine_prior: EnginePrior { ttft_base_s: 0.05, ..EnginePrior::default() },
    };
    let prices = |dollars: f64| Prices {
        input: Price::per_million(dollars),
        output: Price::per_million(4.0 * dollars),
        ..Prices::default()
    };
    let offer = |i: u16, dollars| Offer {
        pool: PoolId(i),
        model: ModelId(0),
        hours: None,
        upstream_model: "m".into(),
        prices: prices(dollars),
        context_window: Some(10_000),
        capabilities: Capabilities::CHAT_DEFAULT,
    };
    let class = |name: &str, target, miss_usd, may_wait| Class {
        name: name.into(),
        ttft_target: Some(target),
        finish_target: None,
        miss_usd,
        in_time: None,
        delay_usd_per_s: 0.001,
        deadline: Duration::from_secs(60),
        reserve: 0.0,
        may_wait,
        floor: 0.0,
    };
    Arc::new(Catalog {
        pools: vec![pool(0, Tenure::Owned), pool(1, Tenure::Metered), pool(2, Tenure::Metered)],
        offers: vec![offer(0, 0.0), offer(1, 0.6), offer(2, 1.2)],
        models: vec![Model {
            name: "chat".into(),
            aliases: vec![],
            kind: AskKind::Chat,
            offers: vec![OfferId(0), OfferId(1), OfferId(2)],
        }],
        classes: vec![
            class("interactive", Duration::from_secs(1), 0.010, false),
            class("agent", Duration::from_secs(5), 0.005, false),
            class("background", Duration::from_secs(30), 0.005, true),
        ],
        tenants: vec![Tenant { name: "anonymous".into() }],
        default_class: ClassId(0),
        lineage: Default::default(),
    })
}

pub(crate) fn fleet(catalog: &Arc<Catalog>, clock: &Clock) -> Fleet {
    let now = clock.now();
    let mut fleet = Fleet::new(catalog.clone(), fleet::Settings::default(), now);
    for (i, endpoints) in [2, 1, 1].into_iter().enumerate() {
        let addresses: Vec<Arc<Address>> = (0..endpoints)
            .map(|n| Arc::new(Address { origin: format!("sim://{}/{n}", POOLS[i]).into(), socket: None }))
            .collect();
        fleet.set_endpoints(PoolId(i as u16), &addresses, now);
    }
    fleet
}

/// Wall time at the start of every test.
pub(crate) fn clock() -> Clock {
    Clock::starting_at(Timestamp::from_millis(1_800_000_000_000))
}

pub(crate) fn request(stream: bool) -> Request {
    Request {
        kind: AskKind::Chat,
        stream,
        stream_usage: false,
        body: Body::OpenAi(Bytes::from_static(b"{}")),
        input_tokens: 100,
        forward: Vec::new(),
    }
}

pub(crate) fn inbound(stream: bool) -> Inbound {
    Inbound {
        request: request(stream),
        model: "chat".into(),
        class: None,
        tenant: TenantId(0),
        session: None,
        prefix: Arc::default(),
        hints: Hints::default(),
        needs: Capabilities::CHAT,
        max_tokens: Some(100),
        n: 1,
        timeout: None,
        client_retry: false,
    }
}

pub(crate) fn facts(id: u64, arrived: gridtie::domain::Instant, stream: bool) -> CallFacts {
    flow::resolve(&catalog(), CallId(id), arrived, &inbound(stream)).expect("the test's own names exist")
}

/// A ledger that keeps every account, to look at afterwards.
#[derive(Debug, Default)]
pub(crate) struct Kept(pub Mutex<Vec<(CallId, String)>>, pub Mutex<Vec<Account>>);

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) results: Vec<&'static str>,
    pub(crate) ending: &'static str,
    pub(crate) output: u64,
}

impl Ledger for Kept {
    fn settle(&self, facts: &CallFacts, record: &Record) {
        self.0.lock().unwrap().push((facts.id, format!("{record:?}")));
        self.1.lock().unwrap().push(Account {
            results: record.attempts.iter().map(|a| a.result.name()).collect(),
            ending: record.ending.expect("settled means closed").name(),
            output: record.usage.output,
        });
    }

    fn used(&self, _tenant: TenantId) -> Used {
        Used::default()
    }
}

/// A router over scripted pools.
pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) kept: Arc<Kept>,
    pub(crate) log: LogWriter,
}

pub(crate) fn world(
    play: impl Fn(&gridtie::upstream::Attempt) -> Script + Send + Sync + Clone + 'static,
) -> World {
    world_with(flow::Settings::default(), play)
}

pub(crate) fn world_with(
    settings: flow::Settings,
    play: impl Fn(&gridtie::upstream::Attempt) -> Script + Send + Sync + Clone + 'static,
) -> World {
    world_in(catalog(), settings, play)
}

/// The same with pools of the test's own, as many and in the same order.
pub(crate) fn world_in(
    catalog: Arc<Catalog>,
    settings: flow::Settings,
    play: impl Fn(&gridtie::upstream::Attempt) -> Script + Send + Sync + Clone + 'static,
) -> World {
    let clock = clock();
    let kept = Arc::new(Kept::default());
    let log = LogWriter::memory();
    let upstream: Arc<dyn Upstream> = Arc::new(Scripted::new(play));
    let router = Router::new(flow::Parts {
        fleet: fleet(&catalog, &clock),
        upstreams: vec![upstream; POOLS.len()],
        clock,
        seed: SEED,
        ledger: kept.clone(),
        telemetry: Arc::new(Telemetry::new(&catalog, log.clone())),
        settings,
        catalog,
    });
    World { router, kept, log }
}

/// Which pool an attempt goes to.
pub(crate) fn pool_of(attempt: &gridtie::upstream::Attempt) -> &str {
    attempt.address.origin.trim_start_matches("sim://").split('/').next().unwrap_or_default()
}
