//! The series of everything that a config names, in arrays by id, so that counting a call is a few atomic additions and no
//! look-up. A new config makes new arrays; series of names that stay go on counting, those of names that nobody knows any
//! more are taken out.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::call::{AttemptRecord, AttemptResult, Record};
use crate::domain::{CallFacts, Catalog, ClassId, Ending, ModelId, OfferId, Pool, PoolId, Usd};

/// From a cache hit on an idle GPU to a queue that nobody should stand in, in seconds.
const TTFT_BUCKETS: [f64; 12] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0];
/// From an embedding to a long answer of a slow model, in seconds.
const CALL_BUCKETS: [f64; 12] = [0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

const ENDINGS: [Ending; 5] =
    [Ending::Ok, Ending::Failed, Ending::Refused, Ending::Broken, Ending::ClientGone];

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct CallLabels {
    model: String,
    class: String,
    ending: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct ClassLabels {
    class: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfferLabels {
    pool: String,
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct AttemptLabels {
    pool: String,
    model: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct TokenLabels {
    pool: String,
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct EventLabels {
    pool: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
}

/// Always `get_or_create_owned`: `get_or_create` gives a guard, and two in one expression lock each other out.
type Dollars = Counter<f64, AtomicU64>;
type Watts = Gauge<f64, AtomicU64>;

/// A family that knows what series it has.
struct Kind<L, M> {
    family: Family<L, M>,
    made: Mutex<BTreeSet<L>>,
}

impl<L, M> Kind<L, M>
where
    L: Clone + Hash + Ord + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
    M: Clone + TypedMetric + EncodeMetric + fmt::Debug + Send + Sync + 'static,
{
    fn new(registry: &mut Registry, name: &str, help: &str, make: fn() -> M) -> Self {
        let family = Family::new_with_constructor(make);
        registry.register(name, help, family.clone());
        Self { family, made: Mutex::default() }
    }

    fn of(&self, labels: &L) -> M {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !made.contains(labels) {
            made.insert(labels.clone());
        }
        self.family.get_or_create_owned(labels)
    }

    /// Takes out the series of names that nobody knows any more.
    fn retain(&self, known: impl Fn(&L) -> bool) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|labels| known(labels) || !self.family.remove(labels));
    }
}

/// All kinds of series that hang on names in a config.
pub(super) struct Kinds {
    calls: Kind<CallLabels, Counter>,
    seconds: Kind<ClassLabels, Histogram>,
    attempts: Arc<Kind<AttemptLabels, Counter>>,
    ttft: Kind<OfferLabels, Histogram>,
    tokens: Kind<TokenLabels, Counter>,
    cost: Kind<OfferLabels, Dollars>,
    waste: Kind<OfferLabels, Dollars>,
    dropped: Kind<EventLabels, Gauge>,
    polls_failed: Kind<PoolLabels, Counter>,
    watts: Kind<PoolLabels, Watts>,
}

/// Series of one offer.
pub(super) struct OfferSeries {
    ok: Counter,
    cancelled: Counter,
    attempts: Arc<Kind<AttemptLabels, Counter>>,
    labels: OfferLabels,
    ttft: Histogram,
    input: Counter,
    cached: Counter,
    output: Counter,
    cost: Dollars,
    waste: Dollars,
}

/// Series of one pool.
pub(super) struct PoolSeries {
    /// Unreadable, late.
    pub(super) dropped: [Gauge; 2],
    pub(super) polls_failed: Counter,
    /// Where it is known.
    pub(super) watts: Option<Watts>,
}

/// The series of one catalog. What nobody knows any more has none.
pub(super) struct Series {
    /// By model, class and ending.
    calls: Vec<Option<Counter>>,
    classes: usize,
    /// By class.
    seconds: Vec<Option<Histogram>>,
    /// By offer.
    offers: Vec<Option<OfferSeries>>,
    /// By pool.
    pub(super) pools: Vec<Option<PoolSeries>>,
}

impl Kinds {
    pub(super) fn new(to: &mut Registry) -> Self {
        Self {
            calls: Kind::new(to, "calls", "Calls that are over, by how they ended", Counter::default),
            seconds: Kind::new(to, "call_seconds", "From arrival to the end of the answer", || {
                Histogram::new(CALL_BUCKETS)
            }),
            dropped: Kind::new(
                to,
                "stream_events_dropped",
                "Events of upstreams' streams that were not handed on: unreadable, or content after the end of its choice",
                Gauge::default,
            ),
            polls_failed: Kind::new(
                to,
                "polls_failed",
                "Engines that were asked how busy they are and did not say",
                Counter::default,
            ),
            watts: Kind::new(to, "pool_watts", "Watts that an owned pool draws by its model", Gauge::default),
            attempts: Arc::new(Kind::new(
                to,
                "attempts",
                "Attempts, by how they ended: ok, cancelled, or the kind of failure",
                Counter::default,
            )),
            ttft: Kind::new(to, "ttft_seconds", "From sending an attempt to its first content", || {
                Histogram::new(TTFT_BUCKETS)
            }),
            tokens: Kind::new(to, "tokens", "Tokens that upstreams presumably bill", Counter::default),
            cost: Kind::new(to, "cost_usd", "Dollars billed for what clients got", Counter::default),
            waste: Kind::new(
                to,
                "waste_usd",
                "Dollars for attempts beyond what clients got",
                Counter::default,
            ),
        }
    }

    /// The series of everything in the catalog.
    pub(super) fn of(&self, catalog: &Catalog) -> Series {
        let pool =
            |i: usize| (!catalog.pool_is_forgotten(PoolId(i as u16))).then(|| self.pool(&catalog.pools[i]));
        let offer = |i: usize| {
            let offer = &catalog.offers[i];
            let known = !catalog.offer_is_forgotten(OfferId(i as u16));
            known.then(|| self.offer(&catalog.pool(offer.pool).name, &catalog.model(offer.model).name))
        };
        let class = |i: usize| {
            let labels = ClassLabels { class: catalog.classes[i].name.to_string() };
            (!catalog.class_is_forgotten(ClassId(i as u8))).then(|| self.seconds.of(&labels))
        };
        Series {
            calls: self.calls(catalog),
            classes: catalog.classes.len(),
            seconds: (0..catalog.classes.len()).map(class).collect(),
            offers: (0..catalog.offers.len()).map(offer).collect(),
            pools: (0..catalog.pools.len()).map(pool).collect(),
        }
    }

    fn calls(&self, catalog: &Catalog) -> Vec<Option<Counter>> {
        let mut series = Vec::new();
        for (m, model) in catalog.models.iter().enumerate() {
            for (c, class) in catalog.classes.iter().enumerate() {
                let forgotten = catalog.model_is_forgotten(ModelId(m as u16))
                    || catalog.class_is_forgotten(ClassId(c as u8));
                series.extend(ENDINGS.map(|ending| {
                    let labels = CallLabels {
                        model: model.name.to_string(),
                        class: class.name.to_string(),
                        ending: ending.name(),
                    };
                    (!forgotten).then(|| self.calls.of(&labels))
                }));
            }
        }
        series
    }

    fn pool(&self, pool: &Pool) -> PoolSeries {
        let name = || pool.name.to_string();
        let labels = PoolLabels { pool: name() };
        PoolSeries {
            dropped: ["unreadable", "late"].map(|kind| self.dropped.of(&EventLabels { pool: name(), kind })),
            polls_failed: self.polls_failed.of(&labels),
            watts: pool.power.is_some().then(|| self.watts.of(&labels)),
        }
    }

    fn offer(&self, pool: &str, model: &str) -> OfferSeries {
        let labels = OfferLabels { pool: pool.to_owned(), model: model.to_owned() };
        OfferSeries {
            ok: self.attempts.of(&labels.result("ok")),
            cancelled: self.attempts.of(&labels.result("cancelled")),
            attempts: Arc::clone(&self.attempts),
            ttft: self.ttft.of(&labels),
            input: self.tokens.of(&labels.tokens("input")),
            cached: self.tokens.of(&labels.tokens("cached")),
            output: self.tokens.of(&labels.tokens("output")),
            cost: self.cost.of(&labels),
            waste: self.waste.of(&labels),
            labels,
        }
    }

    /// Takes out the series of what no call can know any more.
    pub(super) fn forget_all_but(&self, series: &Series, catalog: &Catalog) {
        let offers: BTreeSet<&OfferLabels> = series.offers.iter().flatten().map(|o| &o.labels).collect();
        let offered = |pool: &str, model: &str| {
            offers.contains(&OfferLabels { pool: pool.to_owned(), model: model.to_owned() })
        };
        self.attempts.retain(|l| offered(&l.pool, &l.model));
        self.tokens.retain(|l| offered(&l.pool, &l.model));
        self.ttft.retain(|l| offers.contains(l));
        self.cost.retain(|l| offers.contains(l));
        self.waste.retain(|l| offers.contains(l));
        let known = |i: &usize| !catalog.pool_is_forgotten(PoolId(*i as u16));
        let pools: BTreeSet<&str> =
            (0..catalog.pools.len()).filter(known).map(|i| &*catalog.pools[i].name).collect();
        self.dropped.retain(|l| pools.contains(&*l.pool));
        self.polls_failed.retain(|l| pools.contains(&*l.pool));
        self.watts.retain(|l| pools.contains(&*l.pool));
        let known = |i: &usize| !catalog.model_is_forgotten(ModelId(*i as u16));
        let models: BTreeSet<&str> =
            (0..catalog.models.len()).filter(known).map(|i| &*catalog.models[i].name).collect();
        let known = |i: &usize| !catalog.class_is_forgotten(ClassId(*i as u8));
        let classes: BTreeSet<&str> =
            (0..catalog.classes.len()).filter(known).map(|i| &*catalog.classes[i].name).collect();
        self.calls.retain(|l| models.contains(&*l.model) && classes.contains(&*l.class));
        self.seconds.retain(|l| classes.contains(&*l.class));
    }
}

impl Series {
    pub(super) fn call_closed(&self, facts: &CallFacts, record: &Record) {
        let ending = record.ending.unwrap_or(Ending::Failed);
        let slot = ENDINGS.iter().position(|e| *e == ending).unwrap_or(0);
        let at = (facts.model.index() * self.classes + facts.class.index()) * ENDINGS.len() + slot;
        if let Some(Some(calls)) = self.calls.get(at) {
            calls.inc();
        }
        let closed = record.closed.unwrap_or(record.arrived);
        if let Some(Some(seconds)) = self.seconds.get(facts.class.index()) {
            seconds.observe(closed.secs_since(record.arrived));
        }
        let last = record.attempts.len().saturating_sub(1);
        for (i, attempt) in record.attempts.iter().enumerate() {
            let Some(Some(series)) = self.offers.get(attempt.offer.index()) else { continue };
            series.ended(attempt);
            // Only the last can have been delivered. What the others cost is waste, and of their own making.
            let delivered = if i == last { record.cost } else { Usd::ZERO };
            series.cost.inc_by(delivered.as_dollars().max(0.0));
            series.waste.inc_by((attempt.cost - delivered).as_dollars().max(0.0));
        }
    }
}

impl OfferSeries {
    fn ended(&self, attempt: &AttemptRecord) {
        match attempt.result {
            AttemptResult::Ok => self.ok.inc(),
            AttemptResult::Cancelled => self.cancelled.inc(),
            failed @ AttemptResult::Failed(_) => self.attempts.of(&self.labels.result(failed.name())).inc(),
        };
        if let Some(at) = attempt.first_token {
            self.ttft.observe(at.secs_since(attempt.started));
        }
        self.input.inc_by(attempt.usage.input);
        self.cached.inc_by(attempt.usage.cached);
        self.output.inc_by(attempt.usage.output);
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
