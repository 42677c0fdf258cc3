//! What is counted, and against whom.

use crate::call::{AttemptRecord, AttemptResult};
use crate::domain::catalog::{Class, Model, Offer, Pool, Tenant};
use crate::domain::*;
use crate::telemetry::*;
use std::sync::Arc;

fn catalog() -> Catalog {
    let pool = |name: &str| Pool {
        name: name.into(),
        tenure: Tenure::Metered,
        region: None,
        failure_domain: name.into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: Duration::ZERO,
        grants: Default::default(),
        max_in_flight: None,
        order: 0,
        weight: 1.0,
        engine_prior: EnginePrior::default(),
    };
    let offer = |pool| Offer {
        pool: PoolId(pool),
        model: ModelId(0),
        hours: None,
        upstream_model: "m".into(),
        prices: Prices::default(),
        context_window: None,
        capabilities: Capabilities::CHAT_DEFAULT,
    };
    let class = Class { name: "usual".into(), ..crate::domain::plain::class() };
    let offers = vec![OfferId(0), OfferId(1)];
    Catalog {
        pools: vec![pool("flaky"), pool("good")],
        offers: vec![offer(0), offer(1)],
        models: vec![Model { name: "chat".into(), aliases: vec![], kind: AskKind::Chat, offers }],
        classes: vec![class],
        tenants: vec![Tenant { name: "anonymous".into() }],
        default_class: ClassId(0),
        lineage: Default::default(),
    }
}

fn facts() -> CallFacts {
    CallFacts { input_tokens: 10, ..crate::domain::plain::facts() }
}

fn attempt(pool: u16, result: AttemptResult, nanos: i64) -> AttemptRecord {
    AttemptRecord {
        offer: OfferId(pool),
        pool: PoolId(pool),
        endpoint: EndpointId(0),
        address: Arc::new(Address { origin: "sim://x".into(), socket: None }),
        started: Instant::START,
        first_token: None,
        ended: Instant::START,
        result,
        status: None,
        usage: Usage::default(),
        cost: Usd::from_nanos(nanos),
    }
}

#[test]
fn waste_is_counted_against_the_pool_that_caused_it() {
    let catalog = catalog();
    let telemetry = Telemetry::new(&catalog, LogWriter::memory());
    let facts = facts();
    let record = |attempts: Vec<AttemptRecord>, cost| Record {
        arrived: Instant::START,
        committed: None,
        closed: None,
        broke: None,
        ending: None,
        attempts: attempts.into(),
        reason: None,
        waited_for: None,
        usage: Usage::default(),
        cost: Usd::from_nanos(cost),
    };
    let failed = AttemptResult::Failed(FailureKind::Disconnected);
    let served = record(
        vec![attempt(0, failed, 3_000_000_000), attempt(1, AttemptResult::Ok, 5_000_000_000)],
        5_000_000_000,
    );
    telemetry.metrics.call_closed(&facts, &served);
    // Nobody was served: all of it is waste.
    telemetry.metrics.call_closed(&facts, &record(vec![attempt(0, failed, 1_000_000_000)], 0));
    let text = telemetry.metrics_text(0, false);
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("_usd_total")).collect();
    for line in [
        r#"gridtie_cost_usd_total{pool="good",model="chat"} 5.0"#,
        r#"gridtie_cost_usd_total{pool="flaky",model="chat"} 0.0"#,
        r#"gridtie_waste_usd_total{pool="flaky",model="chat"} 4.0"#,
        r#"gridtie_waste_usd_total{pool="good",model="chat"} 0.0"#,
    ] {
        assert!(lines.contains(&line), "{line} is not among {lines:#?}");
    }
}
