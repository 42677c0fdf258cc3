//! The one line a call: JSON, every attempt in it, times in milliseconds, money in dollars.

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use crate::call::{AttemptRecord, Record};
use crate::domain::{CallFacts, Catalog, Instant, Timestamp, UsageSource, Usd};

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970-01-01 UTC.
    ts_ms: u64,
    event: &'static str,
    #[serde(serialize_with = "display")]
    call: crate::domain::CallId,
    tenant: &'a str,
    model: &'a str,
    class: &'a str,
    stream: bool,
    ending: &'static str,
    /// Why a broken stream broke.
    broke: Option<&'static str>,
    pool: Option<&'a str>,
    attempts: Attempts<'a>,
    /// From arrival to the first content.
    ttft_ms: Option<f64>,
    total_ms: f64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    /// The token counts are ours, not the upstream's.
    estimated: bool,
    #[serde(serialize_with = "dollars")]
    cost_usd: Usd,
    #[serde(serialize_with = "dollars")]
    waste_usd: Usd,
    reason: Option<Shown<'a>>,
    waited_for: Option<&'a str>,
}

#[derive(Serialize)]
struct Attempt<'a> {
    pool: &'a str,
    endpoint: &'a str,
    ms: f64,
    ttft_ms: Option<f64>,
    result: &'static str,
    status: Option<u16>,
    #[serde(serialize_with = "dollars")]
    cost_usd: Usd,
}

struct Attempts<'a>(&'a Catalog, &'a [AttemptRecord]);

impl Serialize for Attempts<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut list = to.serialize_seq(Some(self.1.len()))?;
        for a in self.1 {
            list.serialize_element(&Attempt {
                pool: &self.0.pool(a.pool).name,
                endpoint: &a.address.origin,
                ms: ms(a.started, a.ended),
                ttft_ms: a.first_token.map(|at| ms(a.started, at)),
                result: a.result.name(),
                status: a.status,
                cost_usd: a.cost,
            })?;
        }
        list.end()
    }
}

struct Shown<'a>(&'a crate::fleet::Reason);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self.0)
    }
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn dollars<S: Serializer>(value: &Usd, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(value.as_dollars())
}

/// Milliseconds with microseconds kept.
fn ms(from: Instant, to: Instant) -> f64 {
    (to.secs_since(from) * 1e6).round() / 1e3
}

pub(super) fn call(
    out: &mut Vec<u8>,
    catalog: &Catalog,
    wall: Timestamp,
    facts: &CallFacts,
    record: &Record,
) {
    let line = Line {
        ts_ms: wall.as_millis(),
        event: "call",
        call: facts.id,
        tenant: &catalog.tenant(facts.tenant).name,
        model: &catalog.model(facts.model).name,
        class: &catalog.class(facts.class).name,
        stream: facts.stream,
        ending: record.ending.map_or("open", crate::domain::Ending::name),
        broke: record.broke,
        pool: record.attempts.last().map(|a| &*catalog.pool(a.pool).name),
        attempts: Attempts(catalog, &record.attempts),
        ttft_ms: record.committed.map(|at| ms(record.arrived, at)),
        total_ms: ms(record.arrived, record.closed.unwrap_or(record.arrived)),
        input_tokens: record.usage.input,
        cached_tokens: record.usage.cached,
        output_tokens: record.usage.output,
        estimated: record.usage.source == UsageSource::Estimated,
        cost_usd: record.cost,
        waste_usd: record.waste(),
        reason: record.reason.as_ref().map(Shown),
        waited_for: record.waited_for.as_deref(),
    };
    if serde_json::to_writer(&mut *out, &line).is_err() {
        out.extend_from_slice(b"{\"event\":\"unwritable call\"}");
    }
}
