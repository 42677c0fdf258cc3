//! A small world to decide in, and how it behaves.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::*;
use crate::domain::*;

mod accounting;
mod adopting;
mod brownout;
mod choosing;
mod failure;
mod heard;
mod promising;
mod properties;
mod ramp;
mod records;
mod rivals;
mod routing;
mod supply;
mod waiting;

pub(super) const OWN: PoolId = PoolId(0);
pub(super) const CHEAP: PoolId = PoolId(1);
pub(super) const DEAR: PoolId = PoolId(2);
pub(super) const INTERACTIVE: ClassId = ClassId(0);
pub(super) const BACKGROUND: ClassId = ClassId(1);

/// A place that may come at any time.
pub(super) const PLACE: crate::queue::Wish = crate::queue::Wish { cost: 1000.0, needs: Duration::ZERO };

pub(super) fn at(s: f64) -> Now {
    let wall = Timestamp::from_millis(1_800_000_000_000 + (s * 1e3) as u64);
    Now { mono: Instant::from_secs_f64(s), wall }
}

pub(super) fn pool(name: &str, tenure: Tenure) -> Pool {
    Pool {
        name: name.into(),
        tenure,
        region: Some("north".into()),
        failure_domain: name.into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: Duration::from_millis(10),
        grants: Default::default(),
        max_in_flight: None,
        order: 0,
        weight: 1.0,
        engine_prior: EnginePrior {
            ttft_base_s: 0.06,
            prefill_s_per_token: 1e-4,
            prefill_s_per_pair: 0.0,
            prefill_square_to: u32::MAX,
            tpot_s: 0.03,
            slots: 64,
            kv_tokens: 100_000,
        },
    }
}

pub(super) fn offer(pool: PoolId, model: ModelId, input: f64, output: f64) -> Offer {
    let prices = Prices {
        input: Price::per_million(input),
        cached: Price::per_million(input / 10.0),
        cache_write: Price::per_million(input),
        output: Price::per_million(output),
    };
    let capabilities = Capabilities::CHAT_DEFAULT;
    let context_window = Some(131_072);
    Offer { pool, model, hours: None, upstream_model: "m".into(), prices, context_window, capabilities }
}

pub(super) fn class(name: &str, may_wait: bool) -> Class {
    Class {
        name: name.into(),
        ttft_target: (!may_wait).then_some(Duration::from_secs(1)),
        finish_target: may_wait.then_some(Duration::from_secs(900)),
        miss_usd: if may_wait { 0.005 } else { 0.010 },
        delay_usd_per_s: if may_wait { 0.0 } else { 0.002 },
        deadline: Duration::from_secs(120),
        may_wait,
        ..crate::domain::plain::class()
    }
}

/// Three pools and two models: `own` is committed, `cheap` and `dear` are paid by the token.
pub(super) fn catalog() -> Catalog {
    let mut cheap = pool("cheap", Tenure::Metered);
    cheap.engine_prior.ttft_base_s = 0.4;
    (cheap.order, cheap.weight) = (1, 3.0);
    let mut dear = pool("dear", Tenure::Metered);
    dear.engine_prior.ttft_base_s = 0.3;
    (dear.order, dear.weight) = (2, 0.0);
    let prices = [(OWN, 0.0, 0.0), (CHEAP, 0.6, 2.4), (DEAR, 1.2, 4.8)];
    let mut c = Catalog {
        pools: vec![pool("own", Tenure::Owned), cheap, dear],
        classes: vec![class("interactive", false), class("background", true)],
        tenants: vec![Tenant { name: "anonymous".into() }],
        ..Catalog::default()
    };
    for name in ["large", "small"] {
        c.models.push(Model { name: name.into(), aliases: vec![], kind: AskKind::Chat, offers: vec![] });
    }
    for (pool, input, output) in prices {
        for model in [ModelId(0), ModelId(1)] {
            c.models[model.index()].offers.push(OfferId(c.offers.len() as u16));
            c.offers.push(offer(pool, model, input, output));
        }
    }
    c
}

pub(super) fn address(name: &str, i: usize) -> Arc<Address> {
    Arc::new(Address { origin: format!("http://{name}-{i}").into(), socket: None })
}

pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) rng: SmallRng,
    pub(super) calls: u64,
}

impl World {
    pub(super) fn new(catalog: Catalog, endpoints: usize) -> Self {
        Self::with(catalog, Settings::default(), endpoints)
    }

    pub(super) fn with(catalog: Catalog, settings: Settings, endpoints: usize) -> Self {
        let catalog = Arc::new(catalog);
        let mut fleet = Fleet::new(Arc::clone(&catalog), settings, at(0.0));
        for (i, pool) in catalog.pools.iter().enumerate() {
            let addresses: Vec<_> = (0..endpoints).map(|e| address(&pool.name, e)).collect();
            fleet.set_endpoints(PoolId(i as u16), &addresses, at(0.0));
        }
        Self { fleet, rng: SmallRng::seed_from_u64(7), calls: 0 }
    }

    /// Only the pool `own`, with so many endpoints.
    pub(super) fn alone(endpoints: usize) -> Self {
        let mut c = catalog();
        c.models[0].offers.truncate(1);
        Self::new(c, endpoints)
    }

    pub(super) fn facts(&mut self, now: f64) -> CallFacts {
        self.calls += 1;
        CallFacts {
            id: CallId(self.calls),
            class: INTERACTIVE,
            stream: true,
            arrived: at(now).mono,
            deadline: at(now + 120.0).mono,
            ..crate::domain::plain::facts()
        }
    }

    pub(super) fn decide(&mut self, facts: &CallFacts, tried: &[Tried], now: f64) -> Decision {
        self.fleet.decide(facts, tried, at(now), &mut self.rng)
    }

    /// Decides and expects a dispatch.
    pub(super) fn go(&mut self, facts: &CallFacts, now: f64) -> Dispatch {
        match self.decide(facts, &[], now) {
            Decision::Dispatch(d) => d,
            other => panic!("not dispatched: {other:?}"),
        }
    }

    pub(super) fn start(&mut self, facts: &CallFacts, now: f64) -> Ticket {
        let dispatch = self.go(facts, now);
        self.fleet.started(facts, dispatch, at(now))
    }

    /// A dispatch to a pool of the test's choice, past the policy.
    pub(super) fn start_at(&mut self, facts: &CallFacts, pool: PoolId, now: f64) -> Ticket {
        let name = Arc::clone(&self.fleet.catalog.pool(pool).name);
        let mut only = facts.clone();
        only.hints.pools = vec![name];
        self.start(&only, now)
    }

    pub(super) fn end(&mut self, facts: &CallFacts, t: Ticket, end: AttemptEnd, now: f64) -> Vec<Transition> {
        self.fleet.ended(facts, t, end, at(now))
    }

    /// A whole call to a pool that fails at once.
    pub(super) fn fail(&mut self, pool: PoolId, kind: FailureKind, now: f64) -> Vec<Transition> {
        let facts = self.facts(now);
        let ticket = self.start_at(&facts, pool, now);
        self.end(&facts, ticket, failed(kind), now)
    }

    /// A whole call to a pool that is served: first token after `ttft`, then 100 tokens in 3 s.
    pub(super) fn serve(&mut self, pool: PoolId, ttft: f64, now: f64) -> Vec<Transition> {
        let facts = self.facts(now);
        let mut ticket = self.start_at(&facts, pool, now);
        self.fleet.first_token(&facts, &mut ticket, at(now + ttft));
        self.end(&facts, ticket, ok(1000, 100), now + ttft + 3.0)
    }
}

pub(super) fn ok(input: u64, output: u64) -> AttemptEnd {
    let usage = Usage { input, output, source: UsageSource::Reported, ..Usage::default() };
    AttemptEnd::Ok { usage }
}

pub(super) const fn failed(kind: FailureKind) -> AttemptEnd {
    AttemptEnd::Failed { kind, retry_after: None }
}

pub(super) fn tried(d: &Dispatch, kind: FailureKind, unprocessed: bool) -> Tried {
    Tried { offer: d.offer, pool: d.pool, endpoint: d.endpoint, kind, unprocessed }
}

pub(super) fn tos(transitions: &[Transition]) -> Vec<&'static str> {
    transitions.iter().map(|t| t.to).collect()
}
