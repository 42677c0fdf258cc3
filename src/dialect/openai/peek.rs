//! What routing needs to know of a request: one validating pass, then a look at the prompt's size. Nothing is copied
//! but names.
//!
//! Strict about what we read and blind to the rest: unknown members belong to the upstream. Members that would let a
//! caller choose where a request goes are refused, because the destination is only ever from the config.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::survey::{IMAGE_TOKENS, Survey, survey, survey_into};
use crate::dialect::FieldError;
use crate::dialect::chain::Chain;
use crate::domain::{AskKind, Block, Capabilities, TenantId};

/// Arrays and objects nested deeper than this are an attack; the deepest honest JSON schemas have about twenty levels.
const DEPTH_MAX: u32 = 64;

/// OpenAI's own limit on `n`.
const N_MAX: u32 = 128;

/// Model names and session names longer than this are an attack.
pub(super) const NAME_MAX: usize = 256;

/// What routing needs to know of a request, read in one pass without copying the prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peek {
    /// The model asked for.
    pub model: String,
    /// The answer is to be streamed.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub stream_usage: bool,
    /// The limit on output tokens per choice.
    pub max_tokens: Option<u32>,
    /// Choices; at least 1.
    pub n: u32,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// Estimated input tokens: a token for every four bytes of text, and what pictures cost.
    pub input_tokens: u32,
    /// `prompt_cache_key`.
    pub session: Option<String>,
    /// Tools and prompt as a chain of blocks; empty for embeddings, which share nothing.
    pub prefix: Arc<[Block]>,
}

/// The members that routing reads. Serde refuses a second one of the same name, so that we and the upstream cannot
/// read the same bytes differently.
#[derive(Deserialize)]
pub(super) struct Top<'a> {
    #[serde(borrow)]
    pub model: Option<&'a RawValue>,
    pub stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub stream_options: Option<&'a RawValue>,
    pub messages: Option<&'a RawValue>,
    pub prompt: Option<&'a RawValue>,
    pub input: Option<&'a RawValue>,
    pub tools: Option<&'a RawValue>,
    functions: Option<&'a RawValue>,
    max_tokens: Option<&'a RawValue>,
    max_completion_tokens: Option<&'a RawValue>,
    n: Option<&'a RawValue>,
    response_format: Option<&'a RawValue>,
    logprobs: Option<&'a RawValue>,
    prompt_cache_key: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    extra_body: Option<&'a RawValue>,
    api_base: Option<&'a RawValue>,
    base_url: Option<&'a RawValue>,
    api_key: Option<&'a RawValue>,
    azure_endpoint: Option<&'a RawValue>,
}

/// Members that choose a destination or a credential, wherever they stand.
#[derive(Deserialize)]
struct Destination<'a> {
    #[serde(borrow)]
    api_base: Option<&'a RawValue>,
    base_url: Option<&'a RawValue>,
    api_key: Option<&'a RawValue>,
    azure_endpoint: Option<&'a RawValue>,
}

/// A member that is there, even if it is `null`: what is spliced must know.
pub(super) fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads what routing needs of a request of that tenant. The first mistake found is named.
pub fn peek(kind: AskKind, body: &Bytes, tenant: TenantId) -> Result<Peek, FieldError> {
    let top = top(body)?;
    refuse_destinations(&top)?;
    let whole = survey(body);
    if whole.depth > DEPTH_MAX {
        return Err(FieldError::body(format!("the JSON is nested deeper than {DEPTH_MAX} levels")));
    }
    let asked = match kind {
        AskKind::Chat => ("messages", top.messages),
        AskKind::Completion => ("prompt", top.prompt),
        AskKind::Embed => ("input", top.input),
    };
    let Some(text) = asked.1 else {
        return Err(FieldError::at(asked.0, format!("`{}` is missing", asked.0))
            .with_code("missing_required_parameter"));
    };
    let tools = top.tools.or(top.functions);
    let mut chain = Chain::of(tenant);
    let prompt = match kind {
        AskKind::Embed => survey(text.get().as_bytes()),
        // In the order in which templates of chats put them.
        AskKind::Chat | AskKind::Completion => {
            chain.text(tools.map_or(&[], |t| t.get().as_bytes()));
            survey_into(text.get().as_bytes(), &mut chain)
        }
    };
    let stream = read::<bool>("stream", top.stream)?.unwrap_or(false) && kind != AskKind::Embed;
    let n = read::<u32>("n", top.n)?.unwrap_or(1);
    if n == 0 || n > N_MAX {
        return Err(FieldError::at("n", format!("must be between 1 and {N_MAX}")));
    }
    Ok(Peek {
        model: model(&top)?,
        stream,
        stream_usage: stream && includes_usage(&top)?,
        max_tokens: max_tokens(&top)?,
        n,
        needs: needs(kind, &top, prompt, stream, n)?,
        input_tokens: input_tokens(prompt, tools),
        session: name("prompt_cache_key", top.prompt_cache_key)?,
        prefix: chain.blocks(),
    })
}

/// How many choices the answer to a request must have: `n` for each prompt. 1 where that cannot be read.
pub fn choices(kind: AskKind, body: &[u8]) -> u32 {
    let Ok(top) = top(body) else { return 1 };
    let n = read::<u32>("n", top.n).ok().flatten().unwrap_or(1).clamp(1, N_MAX);
    let prompts = match (kind, top.prompt) {
        (AskKind::Completion, Some(prompt)) => prompts(prompt),
        _ => 1,
    };
    n.saturating_mul(prompts)
}

/// A list of texts or of lists is many prompts; a text or a list of token ids is one.
fn prompts(prompt: &RawValue) -> u32 {
    match serde_json::from_str::<Vec<&RawValue>>(prompt.get()) {
        Ok(list) if list.iter().all(|p| p.get().starts_with(['"', '['])) => list.len().max(1) as u32,
        _ => 1,
    }
}

/// The top-level members of a request.
pub(super) fn top(body: &[u8]) -> Result<Top<'_>, FieldError> {
    let text = std::str::from_utf8(body).map_err(|_| FieldError::body("the body is not UTF-8"))?;
    serde_json::from_str(text).map_err(|e| {
        FieldError::body(format!("the body is not a JSON object that can be read: {e}"))
            .with_code("invalid_json")
    })
}

fn model(top: &Top<'_>) -> Result<String, FieldError> {
    match name("model", top.model)? {
        Some(model) if !model.is_empty() => Ok(model),
        _ => Err(FieldError::at("model", "`model` is missing: say which model you want")
            .with_code("missing_required_parameter")),
    }
}

fn name(field: &str, raw: Option<&RawValue>) -> Result<Option<String>, FieldError> {
    let Some(name) = read::<Cow<'_, str>>(field, raw)? else { return Ok(None) };
    if name.len() > NAME_MAX {
        return Err(FieldError::at(field, format!("is longer than {NAME_MAX} bytes")));
    }
    Ok(Some(name.into_owned()))
}

/// A member of a known type; `null` counts as absent, as it does at OpenAI.
fn read<'a, T: Deserialize<'a>>(field: &str, raw: Option<&'a RawValue>) -> Result<Option<T>, FieldError> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str::<Option<T>>(raw.get())
        .map_err(|_| FieldError::at(field, format!("expected {}", expected::<T>())).with_code("invalid_type"))
}

/// What a type is called to the person who got it wrong.
fn expected<T>() -> &'static str {
    match std::any::type_name::<T>() {
        "bool" => "true or false",
        "u32" => "a whole number that is not negative",
        _ => "text",
    }
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

fn includes_usage(top: &Top<'_>) -> Result<bool, FieldError> {
    let Some(raw) = top.stream_options else { return Ok(false) };
    let options: Option<StreamOptions> = serde_json::from_str(raw.get())
        .map_err(|_| FieldError::at("stream_options", "expected an object").with_code("invalid_type"))?;
    Ok(options.and_then(|o| o.include_usage).unwrap_or(false))
}

fn max_tokens(top: &Top<'_>) -> Result<Option<u32>, FieldError> {
    let newer = read::<u32>("max_completion_tokens", top.max_completion_tokens)?;
    Ok(newer.or(read::<u32>("max_tokens", top.max_tokens)?))
}

fn needs(
    kind: AskKind,
    top: &Top<'_>,
    prompt: Survey,
    stream: bool,
    n: u32,
) -> Result<Capabilities, FieldError> {
    let mut needs = match kind {
        AskKind::Chat => Capabilities::CHAT,
        AskKind::Completion => Capabilities::COMPLETION,
        AskKind::Embed => return Ok(Capabilities::EMBED),
    };
    let has_tools = |raw: Option<&RawValue>| raw.is_some_and(|r| survey(r.get().as_bytes()).depth > 1);
    let logprobs = match kind {
        AskKind::Chat => read::<bool>("logprobs", top.logprobs)?.unwrap_or(false),
        _ => read::<u32>("logprobs", top.logprobs)?.is_some(),
    };
    for (needed, capability) in [
        (stream, Capabilities::STREAM),
        (has_tools(top.tools) || has_tools(top.functions), Capabilities::TOOLS),
        (kind == AskKind::Chat && prompt.images > 0, Capabilities::IMAGES),
        (wants_json(top)?, Capabilities::JSON),
        (logprobs, Capabilities::LOGPROBS),
        (n > 1, Capabilities::N),
    ] {
        if needed {
            needs = needs.with(capability);
        }
    }
    Ok(needs)
}

#[derive(Deserialize)]
struct ResponseFormat<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

fn wants_json(top: &Top<'_>) -> Result<bool, FieldError> {
    let Some(raw) = top.response_format else { return Ok(false) };
    let format: Option<ResponseFormat<'_>> = serde_json::from_str(raw.get())
        .map_err(|_| FieldError::at("response_format", "expected an object").with_code("invalid_type"))?;
    Ok(format.and_then(|f| f.kind).is_some_and(|kind| kind != "text"))
}

/// Four bytes a token holds for English and code with every common tokenizer within a third; learned corrections are
/// the estimator's business.
fn input_tokens(prompt: Survey, tools: Option<&RawValue>) -> u32 {
    let tools = tools.map_or(0, |t| t.get().len() as u64);
    let tokens = (prompt.text + tools).div_ceil(4) + prompt.numbers + u64::from(prompt.images) * IMAGE_TOKENS;
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

fn refuse_destinations(top: &Top<'_>) -> Result<(), FieldError> {
    let outer = Destination {
        api_base: top.api_base,
        base_url: top.base_url,
        api_key: top.api_key,
        azure_endpoint: top.azure_endpoint,
    };
    outer.refuse("")?;
    for (field, raw) in [("metadata.", top.metadata), ("extra_body.", top.extra_body)] {
        let Some(raw) = raw else { continue };
        match serde_json::from_str::<Destination<'_>>(raw.get()) {
            Ok(inner) => inner.refuse(field)?,
            Err(e) if raw.get().starts_with('{') => {
                return Err(FieldError::at(field.trim_end_matches('.'), e.to_string()));
            }
            Err(_) => {}
        }
    }
    Ok(())
}

impl Destination<'_> {
    fn refuse(&self, prefix: &str) -> Result<(), FieldError> {
        let members = [
            ("api_base", self.api_base),
            ("base_url", self.base_url),
            ("api_key", self.api_key),
            ("azure_endpoint", self.azure_endpoint),
        ];
        match members.into_iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(FieldError::at(
                format!("{prefix}{name}"),
                "a request cannot choose where it is sent: remove this member",
            )
            .with_code("unsupported_parameter")),
        }
    }
}

#[cfg(test)]
mod tests;
