use proptest::prelude::*;

use super::*;

fn read(fields: &[(&str, &str)]) -> Option<Allowances> {
    let mut reader = Reader::default();
    for (name, value) in fields {
        reader.field(name, value.as_bytes());
    }
    reader.finish()
}

fn allowance(limit: u64, remaining: u64, reset_ms: Option<u64>, window_s: Option<u64>) -> Allowance {
    Allowance {
        limit: Some(limit),
        remaining: Some(remaining),
        reset: reset_ms.map(Duration::from_millis),
        window: window_s.map(Duration::from_secs),
    }
}

const OPENAI: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "5000"),
    ("x-ratelimit-remaining-requests", "4999"),
    ("x-ratelimit-reset-requests", "12ms"),
    ("X-RateLimit-Limit-Tokens", "160000"),
    ("x-ratelimit-remaining-tokens", "159974"),
    ("x-ratelimit-reset-tokens", "1m6.779s"),
];

const ANTHROPIC: [(&str, &str); 10] = [
    ("date", "Tue, 29 Jul 2025 15:41:14 GMT"),
    ("anthropic-ratelimit-requests-limit", "50"),
    ("anthropic-ratelimit-requests-remaining", "49"),
    ("anthropic-ratelimit-requests-reset", "2025-07-29T15:41:24Z"),
    ("anthropic-ratelimit-input-tokens-limit", "40000"),
    ("anthropic-ratelimit-input-tokens-remaining", "10000"),
    ("anthropic-ratelimit-input-tokens-reset", "2025-07-29T15:41:59.5Z"),
    ("anthropic-ratelimit-output-tokens-limit", "8000"),
    ("anthropic-ratelimit-output-tokens-remaining", "8000"),
    ("anthropic-ratelimit-output-tokens-reset", "2025-07-29T15:41:14Z"),
];

const AZURE: [(&str, &str); 9] = [
    ("x-ratelimit-limit-requests", "120"),
    ("x-ratelimit-remaining-requests", "119"),
    ("x-ratelimit-reset-requests", "500"),
    ("x-ratelimit-renewalperiod-requests", "60"),
    ("x-ratelimit-limit-tokens", "120000"),
    ("x-ratelimit-remaining-tokens", "119986"),
    ("x-ratelimit-reset-tokens", "7"),
    ("x-ratelimit-renewalperiod-tokens", "60"),
    ("x-ratelimit-abusepenalty-active", "False"),
];

#[test]
fn every_providers_spelling_is_understood() {
    let openai = read(&OPENAI).unwrap();
    assert_eq!(openai.requests, allowance(5000, 4999, Some(12), None));
    assert_eq!(openai.tokens, allowance(160_000, 159_974, Some(66_779), None));
    let anthropic = read(&ANTHROPIC).unwrap();
    assert_eq!(anthropic.requests, allowance(50, 49, Some(10_000), None));
    assert_eq!(anthropic.tokens, allowance(40_000, 10_000, Some(45_000), None), "the tighter of the two");
    let azure = read(&AZURE).unwrap();
    assert_eq!(azure.requests, allowance(120, 119, None, Some(60)), "a bare reset has no clear unit");
    assert_eq!(azure.tokens, allowance(120_000, 119_986, None, Some(60)));
    let mistral = read(&[
        ("x-ratelimit-limit-req-minute", "360"),
        ("x-ratelimit-remaining-req-minute", "359"),
        ("x-ratelimitbysize-limit-minute", "500000"),
        ("x-ratelimitbysize-remaining-minute", "499990"),
    ]);
    let mistral = mistral.unwrap();
    assert_eq!(mistral.requests, allowance(360, 359, None, Some(60)));
    assert_eq!(mistral.tokens, allowance(500_000, 499_990, None, Some(60)));
    let millis = read(&[
        ("date", "Sun, 09 Sep 2001 01:46:40 GMT"),
        ("X-RateLimit-Limit", "20"),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", "1000000005000"),
    ]);
    assert_eq!(millis.unwrap().requests, allowance(20, 0, Some(5_000), None));
}

#[test]
fn the_draft_of_the_ietf_is_understood_in_both_of_its_forms() {
    let old = read(&[("ratelimit-limit", "300"), ("ratelimit-remaining", "280"), ("ratelimit-reset", "53")]);
    assert_eq!(old.unwrap().requests, allowance(300, 280, Some(53_000), None));
    let new = read(&[
        ("RateLimit-Policy", "\"burst\";q=100;w=60,\"day\";q=9"),
        ("RateLimit", "\"burst\";r=50;t=30"),
    ]);
    assert_eq!(new.unwrap().requests, allowance(100, 50, None, Some(60)));
    assert_eq!(read(&[("RateLimit-Policy", "\"bytes\";q=100;qu=\"content-bytes\"")]), None);
}

#[test]
fn a_plan_that_is_used_up_closes_the_provider_until_its_reset() {
    let said = read(&[
        ("date", "Sun, 09 Sep 2001 01:46:40 GMT"),
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", "1000003600"),
    ]);
    assert_eq!(said.unwrap().closed_for, Some(Duration::from_secs(3600)));
    let allowed = read(&[
        ("anthropic-ratelimit-unified-status", "allowed_warning"),
        ("anthropic-ratelimit-unified-reset", "1000003600"),
    ]);
    assert_eq!(allowed, None);
}

#[test]
fn what_cannot_be_understood_is_ignored_field_by_field() {
    for nonsense in [
        "",
        "-1",
        "NaN",
        "inf",
        "1e9",
        "+5",
        "0x10",
        "99999999999999999999999999",
        "9999999999999",
        "5, 6",
        "\u{fc}",
    ] {
        assert_eq!(read(&[("x-ratelimit-remaining-requests", nonsense)]), None, "{nonsense}");
        let said = read(&[
            ("x-ratelimit-remaining-requests", nonsense),
            ("x-ratelimit-limit-requests", nonsense),
            ("x-ratelimit-limit-tokens", "7"),
        ]);
        assert_eq!(said.unwrap().tokens.limit, Some(7), "{nonsense}");
    }
    for nonsense in ["-6ms", "six", "1w", "1e300", "2025-13-29T15:41:24Z", "2025-07-29T15:41:24+01:00", "1m6"]
    {
        assert_eq!(read(&[("x-ratelimit-reset-tokens", nonsense)]), None, "{nonsense}");
    }
    let dated = ("anthropic-ratelimit-tokens-reset", "2025-07-29T15:41:24Z");
    assert_eq!(read(&[dated]), None, "a time without a date to compare it with");
    assert_eq!(read(&[("x-ratelimit-limit-requests", "0")]), None, "a limit of nothing is none");
    let long = "1".repeat(10_000);
    assert_eq!(read(&[("x-ratelimit-limit-requests", &long), (&long, "1")]), None);
    let first = read(&[("x-ratelimit-limit-requests", "7"), ("x-ratelimit-limit-requests", "9")]);
    assert_eq!(first.unwrap().requests.limit, Some(7));
}

#[test]
fn dates_are_counted_as_the_calendar_counts_them() {
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2001-09-09T01:46:40.123Z", 1_000_000_000),
        ("2024-12-31T23:59:59Z", 1_735_689_599),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
    ] {
        assert_eq!(rfc3339(text), Some(Duration::from_secs(seconds)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_value_panics_or_is_believed_beyond_its_bound(at in 0usize..25, flip in any::<u8>(), cut in 0usize..64, text in "\\PC*") {
        let all: Vec<_> = OPENAI.into_iter().chain(ANTHROPIC).chain(AZURE).collect();
        let mut reader = Reader::default();
        for (i, (name, value)) in all.iter().enumerate() {
            let mut bytes = value.as_bytes().to_vec();
            if i == at {
                let j = cut % bytes.len();
                bytes[j] ^= flip;
                bytes.truncate(cut.max(1));
            }
            reader.field(name, &bytes);
            reader.field(name, text.as_bytes());
            reader.field(&text, &bytes);
        }
        let said = reader.finish().unwrap_or_default();
        for meter in [said.requests, said.tokens] {
            prop_assert!(meter.limit.unwrap_or(1) > 0 && meter.limit.unwrap_or(0) <= AMOUNT_MAX);
            prop_assert!(meter.remaining.unwrap_or(0) <= AMOUNT_MAX);
            prop_assert!(meter.reset.unwrap_or_default() <= SPAN_MAX);
        }
    }
}
