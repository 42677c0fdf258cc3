//! Metrics for Prometheus. Every series that can exist is made at the start, in arrays by id, so that counting a call
//! is a few atomic additions and no look-up.

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::call::{AttemptRecord, AttemptResult, Record};
use crate::domain::{CallFacts, Catalog, Ending, PoolId, Usd};
use crate::fleet::Transition;

/// From a cache hit on an idle GPU to a queue that nobody should stand in, in seconds.
const TTFT_BUCKETS: [f64; 12] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];
/// From an embedding to a long answer of a slow model, in seconds.
const CALL_BUCKETS: [f64; 12] = [0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

/// From what a scheduler does to a machine that slept, in seconds.
const STALL_BUCKETS: [f64; 6] = [0.2, 0.5, 1.0, 2.0, 10.0, 60.0];

const ENDINGS: [Ending; 5] =
    [Ending::Ok, Ending::Failed, Ending::Refused, Ending::Broken, Ending::ClientGone];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    model: String,
    class: String,
    ending: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClassLabels {
    class: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfferLabels {
    pool: String,
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    pool: String,
    model: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    pool: String,
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    pool: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    to: &'static str,
}

/// Always `get_or_create_owned`: `get_or_create` gives a guard, and two in one expression lock each other out.
type Dollars = Counter<f64, AtomicU64>;

/// Series of one offer.
struct OfferSeries {
    ok: Counter,
    cancelled: Counter,
    failed: Family<AttemptLabels, Counter>,
    labels: OfferLabels,
    ttft: Histogram,
    input: Counter,
    cached: Counter,
    output: Counter,
    cost: Dollars,
    waste: Dollars,
}

pub(super) struct Metrics {
    registry: Registry,
    /// By model, class and ending.
    calls: Vec<Counter>,
    classes: usize,
    /// By class.
    seconds: Vec<Histogram>,
    /// By offer.
    offers: Vec<OfferSeries>,
    /// By pool: unreadable, late.
    dropped: Vec<[Gauge; 2]>,
    /// By pool.
    polls_failed: Vec<Counter>,
    /// By pool, where it is known.
    watts: Vec<Option<Gauge<f64, AtomicU64>>>,
    transitions: Family<StateLabels, Counter>,
    pub(super) stalls: Histogram,
    pub(super) brownout: Gauge,
    pub(super) unresolved: Counter,
    open: Gauge,
    draining: Gauge,
    log_dropped: Gauge,
    pub(super) decisions: Counter,
    decisions_dropped: Gauge,
}

/// Lines that nobody took, since the start.
pub(super) struct Lost {
    /// Of the call log.
    pub(super) calls: u64,
    /// Records of decisions.
    pub(super) decisions: u64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("offers", &self.offers.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let mut registry = Registry::with_prefix("gridtie");
        let calls = call_series(&mut registry, catalog);
        let seconds = class_series(&mut registry, catalog);
        let offers = offer_series(&mut registry, catalog);
        let dropped = event_series(&mut registry, catalog);
        let polls_failed = poll_series(&mut registry, catalog);
        let watts = watt_series(&mut registry, catalog);
        let transitions = Family::default();
        registry.register(
            "pool_transitions",
            "Changes of state of pools, offers and endpoints",
            transitions.clone(),
        );
        let stalls = stall_series(&mut registry);
        let brownout = brownout_series(&mut registry);
        let unresolved = Counter::default();
        registry.register(
            "unresolved",
            "Requests that named a model, class or pool which does not exist",
            unresolved.clone(),
        );
        let open = Gauge::default();
        registry.register("calls_open", "Calls under way", open.clone());
        let draining = Gauge::default();
        registry.register("draining", "1 while the router is going down", draining.clone());
        let log_dropped = Gauge::default();
        registry.register("log_lines_dropped", "Lines of the call log that nobody took", log_dropped.clone());
        let decisions = Counter::default();
        registry.register("decision_records", "Decisions to be kept on record", decisions.clone());
        let decisions_dropped = Gauge::default();
        registry.register(
            "decision_records_dropped",
            "Decisions that were to be kept on record and could not be written",
            decisions_dropped.clone(),
        );
        let classes = catalog.classes.len();
        Self {
            registry,
            calls,
            classes,
            seconds,
            offers,
            dropped,
            polls_failed,
            watts,
            transitions,
            stalls,
            brownout,
            unresolved,
            open,
            draining,
            log_dropped,
            decisions,
            decisions_dropped,
        }
    }

    pub(super) fn call_closed(&self, facts: &CallFacts, record: &Record) {
        let ending = record.ending.unwrap_or(Ending::Failed);
        let slot = ENDINGS.iter().position(|e| *e == ending).unwrap_or(0);
        let at = (facts.model.index() * self.classes + facts.class.index()) * ENDINGS.len() + slot;
        self.calls[at].inc();
        let closed = record.closed.unwrap_or(record.arrived);
        self.seconds[facts.class.index()].observe(closed.secs_since(record.arrived));
        let last = record.attempts.len().saturating_sub(1);
        for (i, attempt) in record.attempts.iter().enumerate() {
            self.attempt_ended(attempt);
            // Only the last can have been delivered. What the others cost is waste, and of their own making.
            let delivered = if i == last { record.cost } else { Usd::ZERO };
            let series = &self.offers[attempt.offer.index()];
            series.cost.inc_by(delivered.as_dollars().max(0.0));
            series.waste.inc_by((attempt.cost - delivered).as_dollars().max(0.0));
        }
    }

    fn attempt_ended(&self, attempt: &AttemptRecord) {
        let series = &self.offers[attempt.offer.index()];
        match attempt.result {
            AttemptResult::Ok => series.ok.inc(),
            AttemptResult::Cancelled => series.cancelled.inc(),
            failed @ AttemptResult::Failed(_) => {
                series.failed.get_or_create(&series.labels.result(failed.name())).inc()
            }
        };
        if let Some(at) = attempt.first_token {
            series.ttft.observe(at.secs_since(attempt.started));
        }
        series.input.inc_by(attempt.usage.input);
        series.cached.inc_by(attempt.usage.cached);
        series.output.inc_by(attempt.usage.output);
    }

    pub(super) fn transition(&self, t: &Transition) {
        self.transitions.get_or_create(&StateLabels { to: t.to }).inc();
    }

    pub(super) fn poll_failed(&self, pool: PoolId) {
        if let Some(series) = self.polls_failed.get(pool.index()) {
            series.inc();
        }
    }

    pub(super) fn events_dropped(&self, pool: PoolId, unreadable: u64, late: u64) {
        if let Some([first, second]) = self.dropped.get(pool.index()) {
            first.set(unreadable as i64);
            second.set(late as i64);
        }
    }

    pub(super) fn pool_draws(&self, pool: PoolId, watts: f64) {
        if let Some(Some(gauge)) = self.watts.get(pool.index()) {
            gauge.set(watts);
        }
    }

    pub(super) fn text(&self, open: usize, draining: bool, lost: &Lost) -> String {
        self.open.set(open as i64);
        self.draining.set(i64::from(draining));
        self.log_dropped.set(lost.calls as i64);
        self.decisions_dropped.set(lost.decisions as i64);
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

impl OfferLabels {
    fn result(&self, result: &'static str) -> AttemptLabels {
        AttemptLabels { pool: self.pool.clone(), model: self.model.clone(), result }
    }

    fn tokens(&self, kind: &'static str) -> TokenLabels {
        TokenLabels { pool: self.pool.clone(), model: self.model.clone(), kind }
    }
}

fn call_series(registry: &mut Registry, catalog: &Catalog) -> Vec<Counter> {
    let calls = Family::<CallLabels, Counter>::default();
    registry.register("calls", "Calls that are over, by how they ended", calls.clone());
    let mut series = Vec::new();
    for model in &catalog.models {
        for class in &catalog.classes {
            for ending in ENDINGS {
                let labels = CallLabels {
                    model: model.name.to_string(),
                    class: class.name.to_string(),
                    ending: ending.name(),
                };
                series.push(calls.get_or_create_owned(&labels));
            }
        }
    }
    series
}

fn brownout_series(registry: &mut Registry) -> Gauge {
    let brownout = Gauge::default();
    let help = "For lack of room in the last 15 s: 0 nobody was put off, 1 calls that may wait were, 2 such calls were \
                turned away, 3 calls that cannot wait were turned away";
    registry.register("brownout", help, brownout.clone());
    brownout
}

fn stall_series(registry: &mut Registry) -> Histogram {
    let stalls = Histogram::new(STALL_BUCKETS);
    let help = "Times that the router stood still, where they were longer than a tenth of a second";
    registry.register("stall_seconds", help, stalls.clone());
    stalls
}

fn event_series(registry: &mut Registry, catalog: &Catalog) -> Vec<[Gauge; 2]> {
    let dropped = Family::<EventLabels, Gauge>::default();
    registry.register(
        "stream_events_dropped",
        "Events of upstreams' streams that were not handed on: unreadable, or content after the end of its choice",
        dropped.clone(),
    );
    let series = |pool: &crate::domain::Pool| {
        ["unreadable", "late"]
            .map(|kind| dropped.get_or_create_owned(&EventLabels { pool: pool.name.to_string(), kind }))
    };
    catalog.pools.iter().map(series).collect()
}

fn poll_series(registry: &mut Registry, catalog: &Catalog) -> Vec<Counter> {
    let failed = Family::<PoolLabels, Counter>::default();
    registry.register(
        "polls_failed",
        "Engines that were asked how busy they are and did not say",
        failed.clone(),
    );
    let series =
        |pool: &crate::domain::Pool| failed.get_or_create_owned(&PoolLabels { pool: pool.name.to_string() });
    catalog.pools.iter().map(series).collect()
}

fn watt_series(registry: &mut Registry, catalog: &Catalog) -> Vec<Option<Gauge<f64, AtomicU64>>> {
    let watts = Family::<PoolLabels, Gauge<f64, AtomicU64>>::default();
    registry.register("pool_watts", "Watts that an owned pool draws by its model", watts.clone());
    let labels = |pool: &crate::domain::Pool| PoolLabels { pool: pool.name.to_string() };
    let series = |pool| watts.get_or_create_owned(&labels(pool));
    catalog.pools.iter().map(|pool| pool.power.is_some().then(|| series(pool))).collect()
}

fn class_series(registry: &mut Registry, catalog: &Catalog) -> Vec<Histogram> {
    let seconds = Family::<ClassLabels, Histogram>::new_with_constructor(|| Histogram::new(CALL_BUCKETS));
    registry.register("call_seconds", "From arrival to the end of the answer", seconds.clone());
    let labels = |class: &crate::domain::Class| ClassLabels { class: class.name.to_string() };
    catalog.classes.iter().map(|class| seconds.get_or_create_owned(&labels(class))).collect()
}

fn offer_series(registry: &mut Registry, catalog: &Catalog) -> Vec<OfferSeries> {
    let attempts = Family::<AttemptLabels, Counter>::default();
    registry.register(
        "attempts",
        "Attempts, by how they ended: ok, cancelled, or the kind of failure",
        attempts.clone(),
    );
    let ttft = Family::<OfferLabels, Histogram>::new_with_constructor(|| Histogram::new(TTFT_BUCKETS));
    registry.register("ttft_seconds", "From sending an attempt to its first content", ttft.clone());
    let tokens = Family::<TokenLabels, Counter>::default();
    registry.register("tokens", "Tokens that upstreams presumably bill", tokens.clone());
    let cost = Family::<OfferLabels, Dollars>::default();
    registry.register("cost_usd", "Dollars billed for what clients got", cost.clone());
    let waste = Family::<OfferLabels, Dollars>::default();
    registry.register("waste_usd", "Dollars for attempts beyond what clients got", waste.clone());
    let series = catalog.offers.iter().map(|offer| {
        let labels = OfferLabels {
            pool: catalog.pool(offer.pool).name.to_string(),
            model: catalog.model(offer.model).name.to_string(),
        };
        OfferSeries {
            ok: attempts.get_or_create_owned(&labels.result("ok")),
            cancelled: attempts.get_or_create_owned(&labels.result("cancelled")),
            failed: attempts.clone(),
            ttft: ttft.get_or_create_owned(&labels),
            input: tokens.get_or_create_owned(&labels.tokens("input")),
            cached: tokens.get_or_create_owned(&labels.tokens("cached")),
            output: tokens.get_or_create_owned(&labels.tokens("output")),
            cost: cost.get_or_create_owned(&labels),
            waste: waste.get_or_create_owned(&labels),
            labels,
        }
    });
    series.collect()
}
