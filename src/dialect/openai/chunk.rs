//! Chunks of a streamed answer: to canonical deltas and from them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::Meta;
use super::error::decode_inner_error;
use super::usage::{self, UsageOut};
use crate::domain::{AskKind, Delta, Failure, FinishReason, Usage};

/// Why a chunk gave no deltas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChunkError {
    /// Not a chunk: not JSON, or not of that form.
    Malformed(String),
    /// The upstream says that it failed.
    Failed(Box<Failure>),
}

#[derive(Deserialize)]
struct ChunkIn<'a> {
    #[serde(borrow)]
    choices: Option<Vec<ChoiceIn<'a>>>,
    usage: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceIn<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    delta: Option<DeltaIn<'a>>,
    text: Option<String>,
    logprobs: Option<&'a RawValue>,
    finish_reason: Option<Cow<'a, str>>,
}

/// What a choice says: a whole message or a piece of one.
#[derive(Deserialize)]
pub(super) struct DeltaIn<'a> {
    #[serde(borrow)]
    pub content: Option<&'a RawValue>,
    pub refusal: Option<String>,
    pub reasoning_content: Option<String>,
    pub reasoning: Option<String>,
    pub tool_calls: Option<Vec<ToolIn<'a>>>,
    pub function_call: Option<FunctionIn<'a>>,
}

/// A tool call, whole or a piece of one.
#[derive(Deserialize)]
pub(super) struct ToolIn<'a> {
    pub index: Option<u32>,
    pub id: Option<String>,
    #[serde(borrow)]
    pub function: Option<FunctionIn<'a>>,
}

/// Name and arguments of a tool call.
#[derive(Deserialize)]
pub(super) struct FunctionIn<'a> {
    pub name: Option<String>,
    #[serde(borrow)]
    pub arguments: Option<&'a RawValue>,
}

impl FunctionIn<'_> {
    /// The JSON text of the arguments; some engines send it unquoted.
    pub(super) fn arguments(&self) -> String {
        self.arguments.map(|raw| text(raw).unwrap_or_else(|| raw.get().to_owned())).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct TextPart<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

/// The text of a `content`: a string, or a list of parts of which the texts count.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    if raw.get().starts_with('[') {
        let parts: Vec<TextPart<'_>> = serde_json::from_str(raw.get()).ok()?;
        return Some(parts.into_iter().filter_map(|p| p.text).collect());
    }
    serde_json::from_str(raw.get()).ok()
}

/// Why a choice ended, in our words. Engines have words of their own for a natural end (`eos_token`, `stop_sequence`).
pub(super) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

/// OpenAI's word for why a choice ended.
pub(super) const fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// Reads the data of one event of a stream (not `[DONE]`).
pub fn decode_chunk(kind: AskKind, data: &[u8]) -> Result<SmallVec<[Delta; 2]>, ChunkError> {
    let malformed = |e: serde_json::Error| ChunkError::Malformed(e.to_string());
    let chunk: ChunkIn<'_> = serde_json::from_slice(data).map_err(malformed)?;
    if chunk.error.is_some() || chunk.object.is_some_and(|o| o.get() == "\"error\"") {
        return Err(ChunkError::Failed(Box::new(decode_inner_error(data))));
    }
    if chunk.choices.is_none() && chunk.usage.is_none() {
        return Err(ChunkError::Malformed("neither choices nor usage".to_owned()));
    }
    let mut deltas = SmallVec::new();
    for choice in chunk.choices.unwrap_or_default() {
        if matches!(choice.finish_reason.as_deref(), Some("error" | "abort")) {
            return Err(ChunkError::Failed(Box::new(decode_inner_error(data))));
        }
        decode_choice(kind, choice, &mut deltas);
    }
    deltas.extend(chunk.usage.and_then(usage::read).map(Delta::Usage));
    Ok(deltas)
}

fn decode_choice(kind: AskKind, choice: ChoiceIn<'_>, deltas: &mut SmallVec<[Delta; 2]>) {
    let index = choice.index;
    let delta = choice.delta;
    let mut content =
        if kind == AskKind::Completion { choice.text.unwrap_or_default() } else { String::new() };
    if let Some(delta) = &delta {
        let reasoning = delta.reasoning_content.as_ref().or(delta.reasoning.as_ref());
        if let Some(text) = reasoning.filter(|t| !t.is_empty()) {
            deltas.push(Delta::Reasoning { choice: index, text: text.clone() });
        }
        content.push_str(&delta.content.and_then(text).unwrap_or_default());
    }
    if !content.is_empty() {
        let logprobs = choice.logprobs.map(ToOwned::to_owned);
        deltas.push(Delta::Text { choice: index, text: content, logprobs });
    }
    if let Some(delta) = delta {
        if let Some(text) = delta.refusal.filter(|t| !t.is_empty()) {
            deltas.push(Delta::Refusal { choice: index, text });
        }
        decode_tools(index, delta.tool_calls, delta.function_call, deltas);
    }
    if let Some(word) = choice.finish_reason.filter(|w| !w.is_empty()) {
        deltas.push(Delta::Finish { choice: index, reason: finish_reason(&word) });
    }
}

fn decode_tools(
    choice: u32,
    tools: Option<Vec<ToolIn<'_>>>,
    function: Option<FunctionIn<'_>>,
    deltas: &mut SmallVec<[Delta; 2]>,
) {
    let legacy = function.map(|f| ToolIn { index: Some(0), id: None, function: Some(f) });
    for (position, tool) in tools.into_iter().flatten().chain(legacy).enumerate() {
        let arguments = tool.function.as_ref().map(FunctionIn::arguments).unwrap_or_default();
        let name = tool.function.and_then(|f| f.name);
        deltas.push(Delta::ToolCall {
            choice,
            index: tool.index.unwrap_or(position as u32),
            id: tool.id.filter(|id| !id.is_empty()),
            name: name.filter(|name| !name.is_empty()),
            arguments,
        });
    }
}

/// Makes what providers number as they like count from 0, and a turn that called tools end in tool calls.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolIndices {
    /// (choice, the provider's index), at the place that is ours within the choice.
    known: Vec<(u32, u32)>,
}

/// Tool calls of one answer that are told apart; more keep the provider's number.
const TOOLS_MAX: usize = 1024;

impl ToolIndices {
    pub(super) fn normalise(&mut self, delta: &mut Delta) {
        match delta {
            Delta::ToolCall { choice, index, .. } => {
                let key = (*choice, *index);
                if !self.known.contains(&key) {
                    if self.known.len() >= TOOLS_MAX {
                        return;
                    }
                    self.known.push(key);
                }
                let of_choice = self.known.iter().filter(|(c, _)| *c == key.0);
                *index = of_choice.take_while(|k| **k != key).count() as u32;
            }
            Delta::Finish { choice, reason: reason @ FinishReason::Stop }
                if self.known.iter().any(|(c, _)| c == choice) =>
            {
                *reason = FinishReason::ToolCalls;
            }
            _ => {}
        }
    }
}

/// Writes a streamed answer.
#[derive(Debug)]
pub struct StreamEncoder {
    kind: AskKind,
    meta: Meta,
    include_usage: bool,
    /// Choices whose role was said.
    greeted: Vec<u32>,
}

#[derive(Serialize)]
struct ChunkOut<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: &'a [ChoiceOut<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageOut>>,
}

#[derive(Serialize)]
struct ChoiceOut<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<DeltaOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Option<&'a RawValue>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct DeltaOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[ToolOut<'a>; 1]>,
}

#[derive(Serialize)]
struct ToolOut<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionOut<'a>,
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl StreamEncoder {
    /// Nothing written yet.
    pub const fn new(kind: AskKind, meta: Meta, include_usage: bool) -> Self {
        Self { kind, meta, include_usage, greeted: Vec::new() }
    }

    /// The deltas as framed events; possibly empty. Usage is written by [`Self::finish`] only.
    pub fn push(&mut self, deltas: &[Delta]) -> Bytes {
        let mut out = Vec::new();
        for delta in deltas {
            match self.kind {
                AskKind::Completion => self.push_text(delta, &mut out),
                AskKind::Chat | AskKind::Embed => self.push_chat(delta, &mut out),
            }
        }
        out.into()
    }

    /// The end: the usage chunk if it was asked for, then `[DONE]`.
    pub fn finish(&mut self, usage: &Usage) -> Bytes {
        let mut out = Vec::new();
        if self.include_usage {
            self.write(&[], Some(UsageOut::generated(usage)), &mut out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        out.into()
    }

    fn push_chat(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let mut said = DeltaOut::default();
        let mut kept = None;
        let mut ended = None;
        let choice = match delta {
            Delta::Text { choice, text, logprobs } => {
                said.content = Some(text);
                kept = logprobs.as_deref();
                *choice
            }
            Delta::Reasoning { choice, text } => {
                said.reasoning_content = Some(text);
                *choice
            }
            Delta::Refusal { choice, text } => {
                said.refusal = Some(text);
                *choice
            }
            Delta::ToolCall { choice, index, id, name, arguments } => {
                let kind = id.is_some().then_some("function");
                let function = FunctionOut { name: name.as_deref(), arguments };
                said.tool_calls = Some([ToolOut { index: *index, id: id.as_deref(), kind, function }]);
                *choice
            }
            Delta::Finish { choice, reason } => {
                ended = Some(finish_word(*reason));
                *choice
            }
            Delta::Usage(_) => return,
        };
        if !self.greeted.contains(&choice) {
            self.greeted.push(choice);
            said.role = Some("assistant");
        }
        let choice =
            ChoiceOut { index: choice, delta: Some(said), text: None, logprobs: kept, finish_reason: ended };
        self.write(&[choice], None, out);
    }

    fn push_text(&self, delta: &Delta, out: &mut Vec<u8>) {
        let (index, text, logprobs, finish_reason) = match delta {
            Delta::Text { choice, text, logprobs } => (*choice, text.as_str(), logprobs.as_deref(), None),
            Delta::Finish { choice, reason } => (*choice, "", None, Some(finish_word(*reason))),
            // The legacy form has no place for them.
            Delta::Reasoning { .. } | Delta::Refusal { .. } | Delta::ToolCall { .. } | Delta::Usage(_) => {
                return;
            }
        };
        self.write(&[ChoiceOut { index, delta: None, text: Some(text), logprobs, finish_reason }], None, out);
    }

    fn write(&self, choices: &[ChoiceOut<'_>], usage: Option<UsageOut>, out: &mut Vec<u8>) {
        let object =
            if self.kind == AskKind::Completion { "text_completion" } else { "chat.completion.chunk" };
        let Meta { id, created, model } = &self.meta;
        let usage = self.include_usage.then_some(usage);
        let chunk = ChunkOut { id, object, created: *created, model, choices, usage };
        out.extend_from_slice(b"data: ");
        // Writing plain structs into memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, &chunk);
        out.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests;
