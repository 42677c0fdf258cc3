use super::*;
use crate::domain::{Capabilities, Instant};

/// One of every kind: the name in a record is the name in metrics.
fn every() -> Vec<Exclusion> {
    let until = Instant::from_secs_f64(3.0);
    vec![
        Exclusion::Context { need: 2, window: 1 },
        Exclusion::RefusedAsTooLong,
        Exclusion::Unsupported,
        Exclusion::Capability(Capabilities::TOOLS.with(Capabilities::JSON)),
        Exclusion::PoolHint,
        Exclusion::RegionHint,
        Exclusion::Cost { usd: 0.2, max: 0.1 },
        Exclusion::Drained,
        Exclusion::NoEndpoints,
        Exclusion::AlreadyTried,
        Exclusion::Full { max: 3 },
        Exclusion::Ejected { until },
        Exclusion::EndpointsEjected { until: Instant::NEVER },
        Exclusion::Probation,
        Exclusion::Cooldown { until },
        Exclusion::Granted { until },
        Exclusion::Disabled { until },
        Exclusion::NoContact { opens: until },
        Exclusion::ContactTooShort { left_s: 1.5, need_s: 2.5, opens: until },
        Exclusion::TooSlow { ttft_s: 1.0, left_s: 0.1 },
    ]
}

#[test]
fn an_exclusion_has_one_name_everywhere_and_survives_json() {
    for exclusion in every() {
        let text = serde_json::to_string(&exclusion).unwrap();
        assert_eq!(text.split('"').nth(1), Some(exclusion.name()), "{text}");
        assert_eq!(serde_json::from_str::<Exclusion>(&text).unwrap(), exclusion, "{text}");
    }
}

#[test]
fn a_policy_is_its_name() {
    for policy in [Policy::Price, Policy::Ordered, Policy::Weighted] {
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(text, format!("\"{}\"", policy.name()));
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    }
    assert!(serde_json::from_str::<Policy>("\"dice\"").is_err());
}

#[test]
fn waits_are_the_same_to_the_nanosecond_and_sheds_by_their_reason() {
    let wait = |ns| Outcome::Wait { until_ns: Instant::from_nanos(ns), reason: String::new() };
    assert!(wait(1).same_as(&wait(1)) && !wait(1).same_as(&wait(2)));
    let shed = |why: &str, message: &str| Outcome::Shed { why: why.into(), message: message.into() };
    assert!(
        shed("never", "a").same_as(&shed("never", "b")) && !shed("never", "").same_as(&shed("nobody", ""))
    );
    let to = |pool: &str, endpoint: Option<&str>| Outcome::Dispatch {
        pool: pool.into(),
        endpoint: endpoint.map(Into::into),
    };
    assert!(to("a", None).same_as(&to("a", Some("x"))) && !to("a", None).same_as(&wait(1)));
}
