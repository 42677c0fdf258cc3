//! One look at one event of a stream: what routing, the bill and the commit point need of it, and nothing built.
//!
//! The look validates: a client's SDK must never meet JSON here that it cannot read. Members we do not know are
//! skipped where they stand.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::prepare::span;
use super::usage;
use crate::domain::Usage;

/// Choices are tracked as bits; OpenAI's own limit on `n` is the same number.
const CHOICES_MAX: u32 = 128;

/// What an event says.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Seen {
    /// Where the top-level `model` stands, quotes included.
    pub model: Option<Range<usize>>,
    /// Choices spoken of, as bits; none in Azure's first chunk and in the usage chunk.
    pub choices: Bits,
    /// Choices with content (text, reasoning, tool calls, refusals).
    pub content: Bits,
    /// Choices that ended.
    pub finished: Bits,
    /// There was a `usage` object.
    pub usage_object: bool,
    /// What it said, if it was credible.
    pub usage: Option<Usage>,
    /// It is, or holds, an error.
    pub error: bool,
    /// It is a chunk: it had a list of choices, or usage, or an error.
    pub chunk: bool,
}

/// A set of choices.
pub(super) type Bits = u128;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    choices: Option<Choices>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
}

/// Reads the data of an event.
pub(super) fn look(data: &str) -> Result<Seen, serde_json::Error> {
    let chunk: Chunk<'_> = serde_json::from_str(data)?;
    let listed = chunk.choices.is_some();
    let choices = chunk.choices.unwrap_or_default();
    let error = chunk.error.is_some()
        || choices.failed
        || chunk.object.is_some_and(|object| object.get() == "\"error\"");
    Ok(Seen {
        model: chunk.model.filter(|m| m.get().starts_with('"')).map(|m| span(data.as_bytes(), m.get())),
        choices: choices.seen,
        content: choices.content,
        finished: choices.finished,
        usage_object: chunk.usage.is_some(),
        usage: chunk.usage.and_then(usage::read),
        error,
        chunk: listed || chunk.usage.is_some() || error,
    })
}

/// The list of choices, folded while it is read.
#[derive(Default)]
struct Choices {
    seen: Bits,
    content: Bits,
    finished: Bits,
    failed: bool,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    text: Option<Filled>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<Filled>,
    tool_calls: Option<Filled>,
    function_call: Option<Filled>,
    reasoning: Option<Filled>,
    reasoning_content: Option<Filled>,
    refusal: Option<Filled>,
    audio: Option<Filled>,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ChoicesVisitor)
    }
}

struct ChoicesVisitor;

impl<'de> Visitor<'de> for ChoicesVisitor {
    type Value = Choices;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Choices, A::Error> {
        let mut all = Choices::default();
        while let Some(choice) = list.next_element::<Choice<'de>>()? {
            if choice.index >= CHOICES_MAX {
                return Err(A::Error::custom("a choice index beyond 127"));
            }
            let bit: Bits = 1 << choice.index;
            all.seen |= bit;
            if choice.has_content() {
                all.content |= bit;
            }
            match choice.finish_reason.map(RawValue::get) {
                None | Some("\"\"") => {}
                // OpenRouter's word and vLLM's for an engine that gave up: not an end that a client asked for.
                Some("\"error\"" | "\"abort\"") => all.failed = true,
                Some(_) => all.finished |= bit,
            }
        }
        Ok(all)
    }
}

impl Choice<'_> {
    fn has_content(&self) -> bool {
        let filled = |part: &Option<Filled>| part.as_ref().is_some_and(|f| f.0);
        let in_delta = |d: &Delta| {
            filled(&d.content)
                || filled(&d.tool_calls)
                || filled(&d.reasoning_content)
                || filled(&d.reasoning)
                || filled(&d.refusal)
                || filled(&d.function_call)
                || filled(&d.audio)
        };
        self.delta.as_ref().is_some_and(in_delta) || filled(&self.text)
    }
}

/// Whether a value holds anything: text, list or object that is not empty.
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(from)?.get().as_bytes();
        let empty = match raw.first() {
            Some(b'"') => raw == b"\"\"",
            Some(b'[' | b'{') => {
                raw[1..].iter().find(|b| !b.is_ascii_whitespace()).is_none_or(|b| b"]}".contains(b))
            }
            _ => false,
        };
        Ok(Self(!empty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(json: &str) -> Seen {
        look(json).unwrap()
    }

    #[test]
    fn content_is_told_from_roles_and_empty_pieces() {
        for (delta, content) in [
            (r#""delta":{"role":"assistant","content":"","refusal":null}"#, false),
            (r#""delta":{"content":"\u0041"}"#, true),
            (r#""delta":{"content":[{"type":"text","text":"a"}]}"#, true),
            (r#""delta":{"tool_calls":[]}"#, false),
            (r#""delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}"#, true),
            (r#""delta":{"reasoning":"a"}"#, true),
            (r#""delta":{"content":"","reasoning_content":"a"}"#, true),
            (r#""delta":{"refusal":"no"}"#, true),
            (r#""delta":null,"text":" "}"#.trim_end_matches('}'), true),
            (r#""text":"""#, false),
            (r#""delta":{"new_thing":{"deep":[[["x"]]]}}"#, false),
        ] {
            let found = seen(&format!(r#"{{"choices":[{{"index":3,{delta},"finish_reason":null}}]}}"#));
            assert_eq!(found.content, u128::from(content) << 3, "{delta}");
            assert_eq!((found.choices, found.finished), (8, 0));
        }
    }

    #[test]
    fn the_model_is_found_at_the_top_only() {
        let json = r#"{"choices":[{"index":0,"delta":{"model":"no"}}], "model" : "yes" }"#;
        let at = seen(json).model.unwrap();
        assert_eq!(&json[at], "\"yes\"");
        assert_eq!(seen(r#"{"choices":[],"model":null}"#).model, None);
    }

    #[test]
    fn the_usage_chunk_is_told_from_azures_first_chunk() {
        let azure = seen(r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#);
        assert!(azure.choices == 0 && !azure.usage_object && azure.chunk);
        let usage = seen(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
        assert!(usage.choices == 0 && usage.usage_object && usage.usage.is_some());
        let null = seen(r#"{"choices":[{"index":0}],"usage":null}"#);
        assert!(!null.usage_object);
    }

    #[test]
    fn errors_are_found_in_every_form() {
        for json in [
            r#"{"error":{"code":400},"choices":[{"index":0,"delta":{"content":""}}]}"#,
            r#"{"object":"error","message":"x"}"#,
            r#"{"error":"x","error_type":"y"}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#,
        ] {
            assert!(seen(json).error, "{json}");
        }
        assert!(!seen(r#"{"error":null,"choices":[]}"#).error);
    }

    #[test]
    fn what_is_not_a_chunk_is_not_taken_for_one() {
        for bad in
            ["", "7", "[]", "{", r#"{"choices":7}"#, r#"{"choices":[{"index":128}]}"#, r#"{"choices":[]}x"#]
        {
            assert!(look(bad).is_err(), "{bad}");
        }
        assert!(!seen(r#"{"type":"ping"}"#).chunk);
    }
}
