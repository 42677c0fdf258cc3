//! Typed functions for what people look at afterwards: one structured line a call, records of decisions, and metrics.
//!
//! Callers say what happened; label sets and field names are decided here. There is no prompt text, no key, and no
//! label whose values a client can choose: models, classes, tenants and pools come from the config.

mod line;
mod log;
mod metrics;
mod records;
mod rotated;
mod series;
#[cfg(test)]
mod tests;

pub use log::{LogSink, LogWriter};
pub use metrics::Reloaded;
pub use records::{Records, on_record};

use crate::call::Record;
use crate::clock::Clock;
use crate::domain::{CallFacts, CallId, Catalog, Duration, Failure, PoolId, Refusal};
use crate::fleet::Transition;
use crate::fleet::brownout::StepChange;
use crate::policy::record::DecisionRecord;

use metrics::{Lost, Metrics};

/// Logs and metrics of a router.
#[derive(Debug)]
pub struct Telemetry {
    log: LogWriter,
    records: Option<Records>,
    metrics: Metrics,
}

impl Telemetry {
    /// With every metric that this catalog can have already there, at zero.
    pub fn new(catalog: &Catalog, log: LogWriter) -> Self {
        Self { log, records: None, metrics: Metrics::new(catalog) }
    }

    /// The same, with decisions on record.
    #[must_use]
    pub fn with_records(self, records: Option<Records>) -> Self {
        Self { records, ..self }
    }

    /// From now on what is in this catalog is counted; what was counted of the same names goes on.
    pub fn adopt(&self, catalog: &Catalog) {
        self.metrics.adopt(catalog);
    }

    /// A config was offered, and this came of it.
    pub fn reloaded(&self, outcome: Reloaded) {
        self.metrics.reloaded(outcome);
    }

    /// Are the decisions about this call kept?
    pub fn records(&self, call: CallId) -> bool {
        self.records.as_ref().is_some_and(|records| records.take(call))
    }

    /// Something was decided about a call whose decisions are kept.
    pub fn decided(&self, decision: &DecisionRecord) {
        if let Some(records) = &self.records {
            self.metrics.decisions.inc();
            records.write(decision);
        }
    }

    /// A call is over, however it went.
    pub fn call_closed(&self, catalog: &Catalog, clock: &Clock, facts: &CallFacts, record: &Record) {
        self.metrics.call_closed(facts, record);
        self.log.line(|out| line::call(out, catalog, clock.now().wall, facts, record));
    }

    /// Something was refused before it was a call: an unknown model, class or pool.
    pub fn refused_unresolved(&self, call: CallId, tenant: &str, refusal: &Refusal) {
        self.metrics.unresolved.inc();
        let kind = match refusal {
            Refusal::ModelNotFound { .. } => "model_not_found",
            _ => "invalid",
        };
        tracing::debug!(%call, tenant, kind, "refused");
    }

    /// A pool, offer or endpoint changed its state.
    pub fn transition(&self, catalog: &Catalog, t: &Transition) {
        let pool = &*catalog.pool(t.pool).name;
        let model = t.offer.map_or("", |o| &*catalog.model(catalog.offer(o).model).name);
        let endpoint = t.endpoint.map(|e| e.0);
        self.metrics.transition(t);
        if matches!(t.to, "ejected" | "disabled") {
            tracing::warn!(pool, model, endpoint, from = t.from, to = t.to, reason = t.reason, "pool state");
        } else {
            tracing::info!(pool, model, endpoint, from = t.from, to = t.to, reason = t.reason, "pool state");
        }
    }

    /// How many events of a pool's streams were not handed on, since the start: unreadable ones, and late ones.
    pub fn events_dropped(&self, pool: PoolId, unreadable: u64, late: u64) {
        self.metrics.events_dropped(pool, unreadable, late);
    }

    /// A pool's engine did not say how busy it is.
    pub fn poll_failed(&self, catalog: &Catalog, pool: PoolId, failure: &Failure) {
        self.metrics.poll_failed(pool);
        let name = &*catalog.pool(pool).name;
        tracing::debug!(pool = name, kind = failure.kind.name(), "no word of load: {}", failure.message);
    }

    /// The router stood still for so long.
    pub fn stood_still(&self, time: Duration) {
        self.metrics.stalls.observe(time.as_secs_f64());
    }

    /// A request was not sent, because it lost every connection that it was sent on before.
    pub fn kept_back(&self, call: CallId) {
        tracing::warn!(%call, "kept back: this request loses its connections wherever it is sent");
    }

    /// How far the router goes in sparing its pools: see `fleet::brownout`.
    pub fn brownout(&self, level: u8) {
        self.metrics.brownout.set(i64::from(level));
    }

    /// A step of that was taken or undone.
    pub fn brownout_step(&self, change: &StepChange) {
        match change {
            StepChange::Taken(taken) => {
                tracing::warn!(
                    step = taken.step.name(),
                    level = taken.step.level(),
                    why = taken.why,
                    "brownout"
                );
            }
            StepChange::Undone(step) => {
                tracing::info!(step = step.name(), level = step.level(), "brownout step undone");
            }
        }
    }

    /// What a pool draws now, in watts.
    pub fn pool_draws(&self, pool: PoolId, watts: f64) {
        self.metrics.pool_draws(pool, watts);
    }

    /// All metrics in the text format of Prometheus (OpenMetrics 1.0). `open` is the number of calls under way.
    pub fn metrics_text(&self, open: usize, draining: bool) -> String {
        let lost =
            Lost { calls: self.log.dropped(), decisions: self.records.as_ref().map_or(0, Records::dropped) };
        self.metrics.text(open, draining, &lost)
    }

    /// Writes out what the log still holds.
    pub fn flush(&self) {
        self.log.flush();
        if let Some(records) = &self.records {
            records.flush();
        }
    }
}
