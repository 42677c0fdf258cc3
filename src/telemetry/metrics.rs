//! Metrics for Prometheus: what is counted, and the text of it. What hangs on names of a config is in
//! [`series`](super::series).

use std::fmt;

use arc_swap::ArcSwap;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::series::{Kinds, Series};
use crate::call::Record;
use crate::domain::{CallFacts, Catalog, PoolId};
use crate::fleet::Transition;

/// From what a scheduler does to a machine that slept, in seconds.
const STALL_BUCKETS: [f64; 6] = [0.2, 0.5, 1.0, 2.0, 10.0, 60.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    to: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

/// What became of a config that was to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reloaded {
    /// It is the running one.
    Taken,
    /// It says what the running one says.
    Unchanged,
    /// It is not; the running one goes on.
    Rejected,
}

impl Reloaded {
    const ALL: [Self; 3] = [Self::Taken, Self::Unchanged, Self::Rejected];

    const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
        }
    }
}

pub(super) struct Metrics {
    registry: Registry,
    kinds: Kinds,
    series: ArcSwap<Series>,
    transitions: Family<StateLabels, Counter>,
    pub(super) stalls: Histogram,
    pub(super) brownout: Gauge,
    pub(super) unresolved: Counter,
    open: Gauge,
    draining: Gauge,
    log_dropped: Gauge,
    pub(super) decisions: Counter,
    decisions_dropped: Gauge,
    reloads: Family<ReloadLabels, Counter>,
    rejected: Gauge,
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
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let mut registry = Registry::with_prefix("gridtie");
        let kinds = Kinds::new(&mut registry);
        let series = ArcSwap::from_pointee(kinds.of(catalog));
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
        let (reloads, rejected) = reload_series(&mut registry);
        Self {
            registry,
            kinds,
            series,
            transitions,
            stalls,
            brownout,
            unresolved,
            open,
            draining,
            log_dropped,
            decisions,
            decisions_dropped,
            reloads,
            rejected,
        }
    }

    pub(super) fn adopt(&self, catalog: &Catalog) {
        let series = self.kinds.of(catalog);
        self.kinds.forget_all_but(&series, catalog);
        self.series.store(series.into());
    }

    pub(super) fn reloaded(&self, outcome: Reloaded) {
        self.reloads.get_or_create(&ReloadLabels { outcome: outcome.name() }).inc();
        self.rejected.set(i64::from(outcome == Reloaded::Rejected));
    }

    pub(super) fn call_closed(&self, facts: &CallFacts, record: &Record) {
        self.series.load().call_closed(facts, record);
    }

    pub(super) fn transition(&self, t: &Transition) {
        self.transitions.get_or_create(&StateLabels { to: t.to }).inc();
    }

    pub(super) fn poll_failed(&self, pool: PoolId) {
        if let Some(Some(series)) = self.series.load().pools.get(pool.index()) {
            series.polls_failed.inc();
        }
    }

    pub(super) fn events_dropped(&self, pool: PoolId, unreadable: u64, late: u64) {
        if let Some(Some(series)) = self.series.load().pools.get(pool.index()) {
            let [first, second] = &series.dropped;
            first.set(unreadable as i64);
            second.set(late as i64);
        }
    }

    pub(super) fn pool_draws(&self, pool: PoolId, watts: f64) {
        if let Some(Some(series)) = self.series.load().pools.get(pool.index())
            && let Some(gauge) = &series.watts
        {
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

fn brownout_series(registry: &mut Registry) -> Gauge {
    let brownout = Gauge::default();
    let help = "The worst step taken for lack of room: 0 none, 1 no hedges, 2 calls that may wait stand in line at once, 3 \
                such calls are turned away, 4 calls that cannot wait are turned away at once if their turn would come too late";
    registry.register("brownout", help, brownout.clone());
    brownout
}

fn stall_series(registry: &mut Registry) -> Histogram {
    let stalls = Histogram::new(STALL_BUCKETS);
    let help = "Times that the router stood still, where they were longer than a tenth of a second";
    registry.register("stall_seconds", help, stalls.clone());
    stalls
}

/// Reloads by their outcome, and whether the last config that was offered is one that was refused.
fn reload_series(registry: &mut Registry) -> (Family<ReloadLabels, Counter>, Gauge) {
    let reloads = Family::<ReloadLabels, Counter>::default();
    registry.register(
        "config_reloads",
        "Configs that were to be taken, by what became of them",
        reloads.clone(),
    );
    for outcome in Reloaded::ALL {
        drop(reloads.get_or_create_owned(&ReloadLabels { outcome: outcome.name() }));
    }
    let rejected = Gauge::default();
    registry.register(
        "config_rejected",
        "1 while the config that was offered last is refused and an older one runs",
        rejected.clone(),
    );
    (reloads, rejected)
}
