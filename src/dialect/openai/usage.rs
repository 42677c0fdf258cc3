//! Token counts as OpenAI-compatible servers send them, and whether to believe them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::{Usage, UsageSource};

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    completion_tokens: Option<&'a RawValue>,
    total_tokens: Option<&'a RawValue>,
    prompt_tokens_details: Option<&'a RawValue>,
    completion_tokens_details: Option<&'a RawValue>,
    /// DeepSeek's spelling of `prompt_tokens_details.cached_tokens`.
    prompt_cache_hit_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    cache_write_tokens: Option<&'a RawValue>,
    reasoning_tokens: Option<&'a RawValue>,
}

/// Reads a `usage` object. `None` if it holds no credible count: then ours is billed and marked as an estimate.
pub(super) fn read(raw: &RawValue) -> Option<Usage> {
    let wire: Wire<'_> = serde_json::from_str(raw.get()).ok()?;
    let input = count(wire.prompt_tokens)?;
    // Embeddings have no output and some servers do not say so.
    let output = match (wire.completion_tokens, count(wire.total_tokens)) {
        (Some(said), _) => count(Some(said))?,
        (None, Some(total)) => total.checked_sub(input)?,
        (None, None) => 0,
    };
    if input.max(output) > Usage::CREDIBLE_MAX {
        return None;
    }
    let prompt = details(wire.prompt_tokens_details);
    let completion = details(wire.completion_tokens_details);
    let cached = count(prompt.cached_tokens).or(count(wire.prompt_cache_hit_tokens)).unwrap_or(0).min(input);
    Some(Usage {
        input,
        cached,
        cache_write: count(prompt.cache_write_tokens).unwrap_or(0).min(input - cached),
        output,
        reasoning: count(completion.reasoning_tokens).unwrap_or(0).min(output),
        source: UsageSource::Reported,
    })
}

fn details(raw: Option<&RawValue>) -> Details<'_> {
    raw.and_then(|r| serde_json::from_str(r.get()).ok()).unwrap_or_default()
}

/// A count: a whole number that is not negative, however it is spelt.
fn count(raw: Option<&RawValue>) -> Option<u64> {
    let text = raw?.get();
    if let Ok(count) = text.parse::<u64>() {
        return Some(count);
    }
    let float = text.parse::<f64>().ok()?;
    (float.is_finite() && float >= 0.0 && float.fract() == 0.0).then_some(float as u64)
}

/// What an upstream said, if it is credible beside what we saw go by; else our own count. A zero for a prompt or an
/// answer that was there is a provider that did not count.
pub(super) fn settle(reported: Option<Usage>, own_input: u64, own_output: u64) -> Usage {
    match reported {
        Some(usage) if (usage.input > 0 || own_input == 0) && (usage.output > 0 || own_output == 0) => usage,
        _ => Usage { input: own_input, output: own_output, ..Usage::default() },
    }
}

/// The `usage` object of an answer of ours.
#[derive(Serialize)]
pub(super) struct UsageOut {
    prompt_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<u64>,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionOut>,
}

#[derive(Serialize)]
struct PromptOut {
    cached_tokens: u64,
}

#[derive(Serialize)]
struct CompletionOut {
    reasoning_tokens: u64,
}

impl UsageOut {
    pub(super) const fn generated(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.input,
            completion_tokens: Some(usage.output),
            total_tokens: usage.total(),
            prompt_tokens_details: Some(PromptOut { cached_tokens: usage.cached }),
            completion_tokens_details: Some(CompletionOut { reasoning_tokens: usage.reasoning }),
        }
    }

    pub(super) const fn embedded(usage: &Usage) -> Self {
        Self {
            prompt_tokens: usage.input,
            completion_tokens: None,
            total_tokens: usage.total(),
            prompt_tokens_details: None,
            completion_tokens_details: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str) -> Option<Usage> {
        read(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn details_are_part_of_the_counts_and_never_more_than_them() {
        let found = usage(
            r#"{"prompt_tokens":10,"completion_tokens":5.0,"total_tokens":15,"cost":0.1,
            "prompt_tokens_details":{"cached_tokens":99},"completion_tokens_details":{"reasoning_tokens":3}}"#,
        );
        let expected = Usage {
            input: 10,
            cached: 10,
            output: 5,
            reasoning: 3,
            source: UsageSource::Reported,
            ..Usage::default()
        };
        assert_eq!(found, Some(expected));
        let embedding = usage(r#"{"prompt_tokens":10,"total_tokens":10}"#).unwrap();
        assert_eq!((embedding.input, embedding.output), (10, 0));
        let deepseek = r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_cache_hit_tokens":4}"#;
        assert_eq!(usage(deepseek).unwrap().cached, 4);
        let null = r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":null}"#;
        assert_eq!(usage(null).unwrap().cached, 0);
    }

    #[test]
    fn nonsense_is_not_a_count() {
        for bad in [
            "7",
            "[]",
            "{}",
            r#"{"prompt_tokens":-1,"completion_tokens":1}"#,
            r#"{"prompt_tokens":"9","completion_tokens":1}"#,
            r#"{"prompt_tokens":1,"completion_tokens":1e300}"#,
            r#"{"prompt_tokens":1,"completion_tokens":99999999999}"#,
            r#"{"prompt_tokens":5,"total_tokens":1}"#,
            r#"{"prompt_tokens":1.5,"completion_tokens":1}"#,
        ] {
            assert_eq!(usage(bad), None, "{bad}");
        }
    }

    #[test]
    fn p23_an_incredible_count_gives_way_to_our_own_and_says_so() {
        let zero = Usage { input: 0, output: 5, source: UsageSource::Reported, ..Usage::default() };
        let own = settle(Some(zero), 7, 4);
        assert_eq!((own.input, own.output, own.source), (7, 4, UsageSource::Estimated));
        assert_eq!(settle(Some(zero), 0, 4), zero);
        assert_eq!(settle(None, 7, 4), own);
    }
}
