//! A canonical request as OpenAI's JSON.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::{ToolCallOut, joined, plain_text, reasoning, refusal, tool_calls};
use crate::domain::request::{
    Ask, Chat, Completion, Embed, EmbedInput, Format, Image, ImageSource, Message, Part, Role, Sampling,
    Tool, ToolChoice,
};

/// How the limit on output tokens is spelt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Limit {
    /// `max_tokens`: understood by every engine, deprecated at OpenAI.
    #[default]
    MaxTokens,
    /// `max_completion_tokens`: the only one that OpenAI's reasoning models take.
    MaxCompletionTokens,
}

/// How a server differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// The answer will be streamed.
    pub stream: bool,
    /// Ask for usage in the stream.
    pub ask_usage: bool,
    /// How the limit on output tokens is spelt.
    pub limit: Limit,
}

/// Writes a canonical request. A streamed one asks for usage.
pub fn encode_request(ask: &Ask, model: &str, stream: bool) -> Bytes {
    encode(ask, model, Style { stream, ask_usage: true, limit: Limit::MaxTokens })
}

/// [`encode_request`] for servers that differ.
pub fn encode(ask: &Ask, model: &str, style: Style) -> Bytes {
    let written = match ask {
        Ask::Chat(chat) => serde_json::to_vec(&chat_out(chat, model, style)),
        Ask::Completion(completion) => serde_json::to_vec(&completion_out(completion, model, style)),
        Ask::Embed(embed) => serde_json::to_vec(&embed_out(embed, model)),
    };
    // Writing plain structs into memory cannot fail.
    written.unwrap_or_default().into()
}

#[derive(Serialize)]
struct ChatOut<'a> {
    model: &'a str,
    messages: Vec<MessageOut<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoiceOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<FormatOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
    #[serde(flatten)]
    sampling: SamplingOut<'a>,
    #[serde(flatten)]
    stream: StreamOut,
}

#[derive(Serialize)]
struct CompletionOut<'a> {
    model: &'a str,
    prompt: Texts<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    echo: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<&'a str>,
    #[serde(flatten)]
    sampling: SamplingOut<'a>,
    #[serde(flatten)]
    stream: StreamOut,
}

#[derive(Serialize)]
struct EmbedOut<'a> {
    model: &'a str,
    input: Vec<InputOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum InputOut<'a> {
    Text(&'a str),
    Tokens(&'a [u32]),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Texts<'a> {
    One(&'a str),
    Many(&'a [String]),
}

#[derive(Serialize, Default)]
struct StreamOut {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl StreamOut {
    fn new(style: Style) -> Self {
        let asks = style.stream && style.ask_usage;
        Self { stream: style.stream, stream_options: asks.then_some(StreamOptions { include_usage: true }) }
    }
}

/// `logprobs` is a flag in chat and a number in completions.
#[derive(Serialize)]
#[serde(untagged)]
enum Logprobs {
    Flag(bool),
    Count(u32),
}

#[derive(Serialize, Default)]
struct SamplingOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Logprobs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

fn sampling_out(sampling: &Sampling, limit: Limit, logprobs: Option<Logprobs>) -> SamplingOut<'_> {
    let (older, newer) = match limit {
        Limit::MaxTokens => (sampling.max_tokens, None),
        Limit::MaxCompletionTokens => (None, sampling.max_tokens),
    };
    SamplingOut {
        max_tokens: older,
        max_completion_tokens: newer,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        stop: &sampling.stop,
        n: sampling.n,
        seed: sampling.seed,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logprobs,
        user: sampling.user.as_deref(),
    }
}

fn chat_out<'a>(chat: &'a Chat, model: &'a str, style: Style) -> ChatOut<'a> {
    let sampling = &chat.sampling;
    ChatOut {
        model,
        messages: chat.messages.iter().flat_map(messages_out).collect(),
        tools: chat.tools.iter().map(tool_out).collect(),
        tool_choice: tool_choice_out(&chat.tool_choice),
        parallel_tool_calls: chat.parallel_tool_calls,
        response_format: format_out(&chat.format),
        top_logprobs: sampling.logprobs.filter(|top| *top > 0),
        sampling: sampling_out(sampling, style.limit, sampling.logprobs.map(|_| Logprobs::Flag(true))),
        stream: StreamOut::new(style),
    }
}

fn completion_out<'a>(completion: &'a Completion, model: &'a str, style: Style) -> CompletionOut<'a> {
    let sampling = &completion.sampling;
    CompletionOut {
        model,
        prompt: match completion.prompts.as_slice() {
            [one] => Texts::One(one),
            many => Texts::Many(many),
        },
        echo: completion.echo,
        suffix: completion.suffix.as_deref(),
        // The legacy route has only ever known `max_tokens`.
        sampling: sampling_out(sampling, Limit::MaxTokens, sampling.logprobs.map(Logprobs::Count)),
        stream: StreamOut::new(style),
    }
}

fn embed_out<'a>(embed: &'a Embed, model: &'a str) -> EmbedOut<'a> {
    let input = embed.inputs.iter().map(|input| match input {
        EmbedInput::Text(text) => InputOut::Text(text),
        EmbedInput::Tokens(tokens) => InputOut::Tokens(tokens),
    });
    EmbedOut { model, input: input.collect(), dimensions: embed.dimensions }
}

#[derive(Serialize, Default)]
struct MessageOut<'a> {
    role: &'static str,
    content: Option<ContentOut<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallOut<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ContentOut<'a> {
    Borrowed(&'a str),
    Text(String),
    Parts(Vec<PartOut<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PartOut<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageOut<'a> },
}

#[derive(Serialize)]
struct ImageOut<'a> {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

/// One message, and one more for every tool result in it: OpenAI has a message for each.
fn messages_out(message: &Message) -> Vec<MessageOut<'_>> {
    let mut out: Vec<MessageOut<'_>> = message.parts.iter().filter_map(tool_result_out).collect();
    let only_results = !out.is_empty() && out.len() == message.parts.len();
    if only_results || message.role == Role::Tool {
        return out;
    }
    let name = message.name.as_deref();
    out.push(match message.role {
        Role::Assistant => MessageOut {
            role: "assistant",
            content: joined(&message.parts, plain_text).map(ContentOut::Text),
            name,
            tool_call_id: None,
            reasoning_content: joined(&message.parts, reasoning),
            refusal: joined(&message.parts, refusal),
            tool_calls: tool_calls(&message.parts),
        },
        Role::System | Role::User | Role::Tool => MessageOut {
            role: if message.role == Role::System { "system" } else { "user" },
            content: Some(content_out(&message.parts)),
            name,
            ..MessageOut::default()
        },
    });
    out
}

fn tool_result_out(part: &Part) -> Option<MessageOut<'_>> {
    let Part::ToolResult { call_id, text } = part else { return None };
    let content = Some(ContentOut::Borrowed(text));
    Some(MessageOut { role: "tool", content, tool_call_id: Some(call_id), ..MessageOut::default() })
}

fn content_out(parts: &[Part]) -> ContentOut<'_> {
    if let [Part::Text(text)] = parts {
        return ContentOut::Borrowed(text);
    }
    let parts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(PartOut::Text { text }),
        Part::Image(image) => Some(PartOut::ImageUrl { image_url: image_out(image) }),
        // Only assistants say these, and tool results are messages of their own.
        Part::ToolCall(_) | Part::ToolResult { .. } | Part::Reasoning(_) | Part::Refusal(_) => None,
    });
    ContentOut::Parts(parts.collect())
}

fn image_out(image: &Image) -> ImageOut<'_> {
    let url = match &image.source {
        ImageSource::Url(url) => url.clone(),
        ImageSource::Data { mime, bytes } => {
            let mut url = String::with_capacity(mime.len() + bytes.len() * 4 / 3 + 16);
            let _ = write!(url, "data:{mime};base64,");
            STANDARD.encode_string(bytes, &mut url);
            url
        }
    };
    ImageOut { url, detail: image.detail.as_deref() }
}

#[derive(Serialize)]
struct ToolOut<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionOut<'a>,
}

#[derive(Serialize)]
struct FunctionOut<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn tool_out(tool: &Tool) -> ToolOut<'_> {
    let Tool { name, description, parameters, strict } = tool;
    let (description, parameters) = (description.as_deref(), parameters.as_deref());
    ToolOut { kind: "function", function: FunctionOut { name, description, parameters, strict: *strict } }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ToolChoiceOut<'a> {
    Word(&'static str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        function: NameOut<'a>,
    },
}

#[derive(Serialize)]
struct NameOut<'a> {
    name: &'a str,
}

fn tool_choice_out(choice: &ToolChoice) -> Option<ToolChoiceOut<'_>> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(ToolChoiceOut::Word("none")),
        ToolChoice::Required => Some(ToolChoiceOut::Word("required")),
        ToolChoice::Named(name) => {
            Some(ToolChoiceOut::Named { kind: "function", function: NameOut { name } })
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatOut<'a> {
    JsonObject,
    JsonSchema { json_schema: SchemaOut<'a> },
}

#[derive(Serialize)]
struct SchemaOut<'a> {
    name: &'a str,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn format_out(format: &Format) -> Option<FormatOut<'_>> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(FormatOut::JsonObject),
        Format::JsonSchema { name, schema, strict } => {
            Some(FormatOut::JsonSchema { json_schema: SchemaOut { name, schema, strict: *strict } })
        }
    }
}
