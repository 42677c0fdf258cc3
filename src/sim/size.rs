//! How large the owned pools are for a load: mean demand over capacity, and worlds that are resized to it.

use std::sync::Arc;

use super::world::Setup;
use super::{PoolSettings, Traffic};
use crate::domain::{Address, Catalog, EnginePrior, Pool, Tenure};
use crate::engine::{Batching, Settings};

/// Where a simulated endpoint is.
pub(super) fn address(pool: &str, i: usize) -> Arc<Address> {
    Arc::new(Address { origin: format!("sim://{pool}/{i}").into(), socket: None })
}

/// Mean demand over capacity of the owned pools, in the scarcer of prefill seconds and decode slot-seconds. Absent when
/// there is no owned pool that computes, or no traffic.
pub fn load(setup: &Setup, traffic: &Traffic) -> Option<f64> {
    let span_s = traffic.arrivals.last()?.at.as_secs_f64();
    let owned = || owned_engines(setup);
    owned().next()?;
    if span_s <= 0.0 {
        return None;
    }
    // Calls a second that all engines together could take, if this were all they did.
    let n = traffic.arrivals.len() as f64;
    let mean = |of: &dyn Fn(u32, u32) -> f64| {
        traffic.arrivals.iter().map(|a| of(a.input, a.output)).sum::<f64>() / n
    };
    let rate = |of: &dyn Fn(&Batching, u32, u32) -> f64| -> f64 {
        owned().map(|b| 1.0 / mean(&|input, output| of(b, input, output)).max(1e-12)).sum()
    };
    let prefill = rate(&|b, input, _| b.speed.prefill_s(input, input));
    let full = |b: &Batching| b.speed.step_s(b.max_batch.max(1)) / f64::from(b.max_batch.max(1));
    let decode = rate(&|b, _, output| f64::from(output.saturating_sub(1)) * full(b));
    Some(n / span_s / prefill.min(decode))
}

fn owned_engines(setup: &Setup) -> impl Iterator<Item = &Batching> {
    let owned = |(pool, _): &(&Pool, &PoolSettings)| pool.tenure == Tenure::Owned;
    let pools = setup.catalog.pools.iter().zip(&setup.pools).filter(owned);
    pools.flat_map(|(_, p)| &p.engines).filter_map(|e| match e {
        Settings::Batching(b) => Some(b),
        Settings::Opaque(_) => None,
    })
}

/// The same world with owned pools so large that `target` is the load. Each pool keeps its share: its engines are
/// counted anew, and what rounding leaves is made up by their speed.
#[must_use]
pub fn scaled(setup: &Setup, traffic: &Traffic, target: f64) -> Setup {
    let Some(load) = load(setup, traffic) else { return setup.clone() };
    resized(setup, load / target)
}

/// The same world with owned pools `factor` times as large.
#[must_use]
pub fn resized(setup: &Setup, factor: f64) -> Setup {
    let mut catalog = copy(&setup.catalog);
    let mut pools = setup.pools.clone();
    for (known, pool) in catalog.pools.iter_mut().zip(&mut pools) {
        if known.tenure == Tenure::Owned && !pool.engines.is_empty() {
            resize(known, pool, factor);
        }
    }
    Setup { catalog: Arc::new(catalog), pools, ..setup.clone() }
}

/// One that may be changed: a catalog is shared, and never changes.
pub(crate) fn copy(catalog: &Catalog) -> Catalog {
    Catalog {
        pools: catalog.pools.clone(),
        offers: catalog.offers.clone(),
        models: catalog.models.clone(),
        classes: catalog.classes.clone(),
        tenants: catalog.tenants.clone(),
        default_class: catalog.default_class,
        lineage: catalog.lineage.clone(),
    }
}

fn resize(known: &mut Pool, pool: &mut PoolSettings, factor: f64) {
    let had = pool.engines.len();
    let exact = had as f64 * factor;
    let count = (exact.round() as usize).max(1);
    let faster = exact / count as f64;
    // Kinds of engines keep their proportions as far as whole numbers allow.
    pool.engines = (0..count).map(|i| quicker(&pool.engines[i * had / count], faster)).collect();
    pool.addresses = (0..count).map(|i| address(&known.name, i)).collect();
    known.max_in_flight = known.max_in_flight.map(|max| ((f64::from(max) * factor).ceil() as u32).max(1));
    // A site grows with its servers.
    if let Some(max_w) = known.power.as_mut().and_then(|p| p.max_w.as_mut()) {
        *max_w *= count as f64 / had as f64;
    }
    // What rounding does to the shares of the kinds must not move what a slot or a cache is.
    let EnginePrior { slots, kv_tokens, prefill_square_to, .. } = known.engine_prior;
    let mean = Settings::mean_prior(&pool.engines);
    known.engine_prior = EnginePrior { slots, kv_tokens, prefill_square_to, ..mean };
}

fn quicker(engine: &Settings, by: f64) -> Settings {
    match engine {
        Settings::Batching(b) => {
            let mut b = *b;
            b.speed.prefill_floor_s /= by;
            b.speed.prefill_base_s /= by;
            b.speed.prefill_token_s /= by;
            b.speed.step_base_s /= by;
            b.speed.step_seq_s /= by;
            Settings::Batching(b)
        }
        Settings::Opaque(o) => Settings::Opaque(*o),
    }
}
