mod records;
mod waste;

use std::sync::Arc;

use super::*;
use crate::domain::catalog::{Class, Model, Pool, Tenant};
use crate::domain::{
    AskKind, Capabilities, ClassId, Duration, EnginePrior, Instant, ModelId, Offer, OfferId, PoolId, Prices,
    Tenure,
};

fn catalog() -> Catalog {
    Catalog {
        pools: vec![Pool {
            name: "owned".into(),
            tenure: Tenure::Owned,
            region: None,
            failure_domain: "owned".into(),
            contact: None,
            lease: None,
            power: None,
            rtt_prior: Duration::ZERO,
            grants: Default::default(),
            max_in_flight: None,
            order: 0,
            weight: 1.0,
            engine_prior: EnginePrior::default(),
        }],
        offers: vec![Offer {
            pool: PoolId(0),
            model: ModelId(0),
            hours: None,
            upstream_model: "m".into(),
            prices: Prices::default(),
            context_window: None,
            capabilities: Capabilities::CHAT_DEFAULT,
        }],
        models: vec![Model {
            name: "chat".into(),
            aliases: vec![],
            kind: AskKind::Chat,
            offers: vec![OfferId(0)],
        }],
        classes: vec![Class { name: "interactive".into(), ..crate::domain::plain::class() }],
        tenants: vec![Tenant { name: "anonymous".into() }],
        default_class: ClassId(0),
        lineage: Default::default(),
    }
}

#[test]
fn o13_every_series_that_can_exist_is_there_from_the_start() {
    let telemetry = Telemetry::new(&catalog(), LogWriter::memory());
    telemetry.events_dropped(PoolId(0), 2, 1);
    let text = telemetry.metrics_text(3, false);
    assert!(text.contains("gridtie_stream_events_dropped{"), "{text}");
    assert!(text.contains(r#"kind="unreadable"} 2"#) && text.contains(r#"kind="late"} 1"#), "{text}");
    for series in [
        r#"gridtie_calls_total{model="chat",class="interactive",ending="broken"} 0"#,
        r#"gridtie_attempts_total{pool="owned",model="chat",result="ok"} 0"#,
        r#"gridtie_tokens_total{pool="owned",model="chat",kind="output"} 0"#,
        "gridtie_calls_open 3",
        "gridtie_draining 0",
    ] {
        assert!(text.contains(series), "no {series} in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_refusal_that_never_became_a_call_is_counted_without_its_words() {
    let telemetry = Telemetry::new(&catalog(), LogWriter::memory());
    let refusal = Refusal::ModelNotFound { model: "canary-model".into(), nearest: None };
    telemetry.refused_unresolved(CallId(1), "anonymous", &refusal);
    let text = telemetry.metrics_text(0, false);
    assert!(text.contains("gridtie_unresolved_total 1"), "{text}");
    assert!(!text.contains("canary"));
}

#[test]
fn transitions_are_counted_by_where_they_lead() {
    let telemetry = Telemetry::new(&catalog(), LogWriter::memory());
    let reason = "three connections refused".to_owned();
    let t =
        Transition { pool: PoolId(0), offer: None, endpoint: None, from: "healthy", to: "ejected", reason };
    telemetry.transition(&catalog(), &t);
    assert!(telemetry.metrics_text(0, false).contains(r#"gridtie_pool_transitions_total{to="ejected"} 1"#));
}

#[test]
fn a_log_that_nobody_takes_drops_lines_and_counts_them() {
    let log = LogWriter::memory();
    let line = vec![b'x'; 1 << 20];
    for _ in 0..12 {
        log.line(|out| out.extend_from_slice(&line));
    }
    assert!(log.dropped() > 0);
    assert!(log.take().len() < 10 << 20);
}

#[test]
fn a_line_of_a_call_is_json_with_its_facts() {
    let log = LogWriter::memory();
    let facts = CallFacts {
        id: CallId(0xabc),
        input_tokens: 1,
        needs: Capabilities::NONE,
        stream: true,
        ..crate::domain::plain::facts()
    };
    let call = crate::call::Call::new(facts.clone(), 1);
    log.line(|out| {
        line::call(out, &catalog(), crate::domain::Timestamp::from_millis(5), &facts, call.record())
    });
    let line: serde_json::Value = serde_json::from_str(log.take().trim_end()).expect("a line is JSON");
    assert_eq!(line["call"], "0000000000000abc");
    assert_eq!((&line["model"], &line["class"]), (&"chat".into(), &"interactive".into()));
    assert!(Arc::new(line).get("messages").is_none());
}
