//! From a checked config to a router: one line a kind of pool.

use std::sync::Arc;

use anyhow::Context;

use crate::clock::Clock;
use crate::config::{Checked, UpstreamSettings};
use crate::domain::PoolId;
use crate::fleet::Fleet;
use crate::flow::{Parts, Router};
use crate::ledger::InMemory;
use crate::telemetry::{LogWriter, Records, Telemetry};
use crate::upstream::{Upstream, grpc, openai, simulated};

/// Where decisions on record go.
pub fn records(checked: &Checked) -> anyhow::Result<Option<Records>> {
    let Some(settings) = &checked.records else { return Ok(None) };
    let log = LogWriter::file(&settings.file, settings.max_size).with_context(|| {
        let file = settings.file.display();
        format!("cannot write decisions to {file} (records.file): is the folder there, and may this user write to it?")
    })?;
    Ok(Some(Records::new(log, settings.share)))
}

/// A router over the pools of `checked`, with the endpoints that need no lookup.
pub fn router(
    checked: &Checked,
    clock: Clock,
    seed: u64,
    log: LogWriter,
    records: Option<Records>,
) -> anyhow::Result<Router> {
    let catalog = checked.catalog.clone();
    let now = clock.now();
    let mut fleet = Fleet::new(catalog.clone(), checked.routing, now);
    for (i, endpoints) in checked.endpoints.iter().enumerate() {
        fleet.set_endpoints(PoolId(i as u16), &endpoints.fixed, now);
    }
    let upstreams =
        catalog.pools.iter().zip(&checked.upstreams).map(|(pool, settings)| {
            upstream(settings, &clock).with_context(|| format!("pool `{}`", pool.name))
        });
    Ok(Router::new(Parts {
        fleet,
        upstreams: upstreams.collect::<anyhow::Result<_>>()?,
        clock,
        seed,
        ledger: Arc::new(InMemory::default()),
        telemetry: Arc::new(Telemetry::new(&catalog, log).with_records(records)),
        settings: checked.flow.clone(),
        catalog,
    }))
}

/// What speaks to a pool.
pub(super) fn upstream(settings: &UpstreamSettings, clock: &Clock) -> anyhow::Result<Arc<dyn Upstream>> {
    Ok(match settings {
        UpstreamSettings::Simulated(settings) => {
            Arc::new(simulated::Simulated::new(settings.clone(), clock.clone()))
        }
        UpstreamSettings::OpenAi(settings) => Arc::new(openai::OpenAi::new(settings)?),
        UpstreamSettings::Grpc(settings) => Arc::new(grpc::Gridtie::new(settings)?),
    })
}
