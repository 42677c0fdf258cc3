//! Whole answers: to canonical form and from it.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Meta;
use super::chunk::{DeltaIn, FunctionIn, ToolIn, finish_reason, finish_word, text};
use super::usage::{self, UsageOut};
use crate::domain::request::{Part, ToolCall};
use crate::domain::{Answer, AskKind, Choice, Embedded, FinishReason, Generated, Usage};

#[derive(Deserialize)]
struct AnswerIn<'a> {
    id: Option<String>,
    #[serde(borrow)]
    choices: Option<Vec<ChoiceIn<'a>>>,
    data: Option<Vec<VectorIn<'a>>>,
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ChoiceIn<'a> {
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    message: Option<DeltaIn<'a>>,
    text: Option<String>,
    logprobs: Option<&'a RawValue>,
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct VectorIn<'a> {
    #[serde(default)]
    index: usize,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Reads a whole answer. The usage is the upstream's, if it is credible.
pub fn decode_whole(kind: AskKind, body: &[u8]) -> Result<(Answer, Option<Usage>), String> {
    let read: AnswerIn<'_> = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let usage = read.usage.and_then(usage::read);
    let answer = match kind {
        AskKind::Embed => Answer::Embedded(vectors(read.data.ok_or("no `data`")?)?),
        AskKind::Chat | AskKind::Completion => {
            let choices = read.choices.filter(|c| !c.is_empty()).ok_or("no `choices`")?;
            let choices = choices.into_iter().map(decode_choice).collect();
            Answer::Generated(Generated { id: read.id, choices })
        }
    };
    Ok((answer, usage))
}

fn decode_choice(choice: ChoiceIn<'_>) -> Choice {
    let mut parts = Vec::new();
    let mut push = |text: Option<String>, part: fn(String) -> Part| {
        parts.extend(text.filter(|t| !t.is_empty()).map(part));
    };
    push(choice.text, Part::Text);
    let mut finish = finish_reason(choice.finish_reason.as_deref().unwrap_or("stop"));
    if let Some(message) = choice.message {
        push(message.reasoning_content.or(message.reasoning), Part::Reasoning);
        push(message.content.and_then(text), Part::Text);
        push(message.refusal, Part::Refusal);
        let legacy = message.function_call.map(|f| ToolIn { index: None, id: None, function: Some(f) });
        for tool in message.tool_calls.into_iter().flatten().chain(legacy) {
            parts.push(Part::ToolCall(decode_tool(tool)));
            if finish == FinishReason::Stop {
                finish = FinishReason::ToolCalls;
            }
        }
    }
    Choice { index: choice.index, parts, finish, logprobs: choice.logprobs.map(ToOwned::to_owned) }
}

fn decode_tool(tool: ToolIn<'_>) -> ToolCall {
    let arguments = tool.function.as_ref().map(FunctionIn::arguments).unwrap_or_default();
    let name = tool.function.and_then(|f| f.name).unwrap_or_default();
    ToolCall { id: tool.id.unwrap_or_default(), name, arguments }
}

/// Vectors in the order of their indices, each exactly once.
fn vectors(mut data: Vec<VectorIn<'_>>) -> Result<Embedded, String> {
    data.sort_by_key(|v| v.index);
    let mut vectors = Vec::with_capacity(data.len());
    for (expected, vector) in data.iter().enumerate() {
        if vector.index != expected {
            return Err(format!("no vector of index {expected}"));
        }
        vectors.push(decode_vector(vector.embedding)?);
    }
    Ok(Embedded { vectors })
}

/// A list of numbers, or base64 of little-endian 32-bit floats.
fn decode_vector(raw: &RawValue) -> Result<Vec<f32>, String> {
    if !raw.get().starts_with('"') {
        return serde_json::from_str(raw.get()).map_err(|e| e.to_string());
    }
    let text: Cow<'_, str> = serde_json::from_str(raw.get()).map_err(|e| e.to_string())?;
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|e| e.to_string())?;
    let (floats, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("a vector of broken floats".to_owned());
    }
    Ok(floats.iter().map(|f| f32::from_le_bytes(*f)).collect())
}

#[derive(Serialize)]
struct AnswerOut<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<ChoiceOut<'a>>,
    usage: UsageOut,
}

#[derive(Serialize)]
struct ChoiceOut<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    logprobs: Option<&'a RawValue>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct MessageOut<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallOut<'a>>,
}

/// A whole tool call, in an answer or in the history of a request.
#[derive(Serialize)]
pub(super) struct ToolCallOut<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionOut<'a>,
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> ToolCallOut<'a> {
    pub(super) fn new(call: &'a ToolCall) -> Self {
        let function = FunctionOut { name: &call.name, arguments: &call.arguments };
        Self { id: &call.id, kind: "function", function }
    }
}

#[derive(Serialize)]
struct EmbeddedOut<'a> {
    object: &'static str,
    data: Vec<VectorOut<'a>>,
    model: &'a str,
    usage: UsageOut,
}

#[derive(Serialize)]
struct VectorOut<'a> {
    object: &'static str,
    index: usize,
    embedding: Floats<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Floats<'a> {
    Plain(&'a [f32]),
    Base64(String),
}

/// Writes a whole answer.
pub fn encode_whole(
    kind: AskKind,
    answer: &Answer,
    usage: &Usage,
    meta: &Meta,
    base64_vectors: bool,
) -> Bytes {
    let written = match answer {
        Answer::Generated(generated) => serde_json::to_vec(&AnswerOut {
            id: &meta.id,
            object: if kind == AskKind::Completion { "text_completion" } else { "chat.completion" },
            created: meta.created,
            model: &meta.model,
            choices: generated.choices.iter().map(|c| encode_choice(kind, c)).collect(),
            usage: UsageOut::generated(usage),
        }),
        Answer::Embedded(embedded) => serde_json::to_vec(&EmbeddedOut {
            object: "list",
            data: embedded
                .vectors
                .iter()
                .enumerate()
                .map(|(i, v)| encode_vector(i, v, base64_vectors))
                .collect(),
            model: &meta.model,
            usage: UsageOut::embedded(usage),
        }),
    };
    // Writing plain structs into memory cannot fail.
    written.unwrap_or_default().into()
}

fn encode_vector(index: usize, vector: &[f32], base64: bool) -> VectorOut<'_> {
    let embedding = if base64 {
        let bytes: Vec<u8> = vector.iter().flat_map(|f| f.to_le_bytes()).collect();
        Floats::Base64(STANDARD.encode(bytes))
    } else {
        Floats::Plain(vector)
    };
    VectorOut { object: "embedding", index, embedding }
}

/// The texts among `parts` that `pick` takes, as one; `None` if there is none.
pub(super) fn joined(parts: &[Part], pick: fn(&Part) -> Option<&str>) -> Option<String> {
    let texts: Vec<&str> = parts.iter().filter_map(pick).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

pub(super) fn plain_text(part: &Part) -> Option<&str> {
    if let Part::Text(text) = part { Some(text) } else { None }
}

pub(super) fn refusal(part: &Part) -> Option<&str> {
    if let Part::Refusal(text) = part { Some(text) } else { None }
}

pub(super) fn reasoning(part: &Part) -> Option<&str> {
    if let Part::Reasoning(text) = part { Some(text) } else { None }
}

pub(super) fn tool_calls(parts: &[Part]) -> Vec<ToolCallOut<'_>> {
    let calls = parts.iter().filter_map(|p| if let Part::ToolCall(call) = p { Some(call) } else { None });
    calls.map(ToolCallOut::new).collect()
}

fn encode_choice(kind: AskKind, choice: &Choice) -> ChoiceOut<'_> {
    let content = joined(&choice.parts, plain_text);
    let (message, text) = match kind {
        AskKind::Completion => (None, Some(content.unwrap_or_default())),
        AskKind::Chat | AskKind::Embed => {
            let message = MessageOut {
                role: "assistant",
                content,
                refusal: joined(&choice.parts, refusal),
                reasoning_content: joined(&choice.parts, reasoning),
                tool_calls: tool_calls(&choice.parts),
            };
            (Some(message), None)
        }
    };
    let finish_reason = finish_word(choice.finish);
    ChoiceOut { index: choice.index, message, text, logprobs: choice.logprobs.as_deref(), finish_reason }
}
