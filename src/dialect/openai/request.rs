//! A whole request, from OpenAI's JSON to canonical form, for upstreams of another dialect.
//!
//! What would change what the caller gets or pays and cannot be translated is refused, never dropped. Members that
//! only tune (`logit_bias`, `store`, `metadata`, `service_tier: auto`) and members nobody knows are passed over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use super::chunk;
use super::node::{At, Node, Object};
use super::survey::survey;
use crate::dialect::FieldError;
use crate::domain::AskKind;
use crate::domain::request::{
    Ask, Chat, Completion, Embed, EmbedInput, Format, Image, ImageSource, Message, Part, Role, Sampling,
    Tool, ToolCall, ToolChoice,
};

/// As in [`peek`](super::peek()): deeper nesting is an attack.
const DEPTH_MAX: u32 = 64;

/// As many stop sequences as canonical form holds; OpenAI takes four, engines more.
const STOP_MAX: usize = 16;

const ROOT: At<'static> = At::Root;

/// Reads all of a request. Errors name the field as OpenAI spells it.
pub fn decode_request(kind: AskKind, body: &[u8]) -> Result<Ask, FieldError> {
    let text = std::str::from_utf8(body).map_err(|_| FieldError::body("the body is not UTF-8"))?;
    let raw: &RawValue = serde_json::from_str(text)
        .map_err(|e| FieldError::body(format!("the body is not JSON: {e}")).with_code("invalid_json"))?;
    if survey(body).depth > DEPTH_MAX {
        return Err(FieldError::body(format!("the JSON is nested deeper than {DEPTH_MAX} levels")));
    }
    let top = Node { raw, at: ROOT }.object()?;
    match kind {
        AskKind::Chat => chat(&top).map(Ask::Chat),
        AskKind::Completion => completion(&top).map(Ask::Completion),
        AskKind::Embed => embed(&top).map(Ask::Embed),
    }
}

/// Each item of a list, with its place.
fn each<T>(
    list: Node<'_, '_>,
    mut read: impl FnMut(Node<'_, '_>) -> Result<T, FieldError>,
) -> Result<Vec<T>, FieldError> {
    let items = list.list()?;
    items.iter().enumerate().map(|(i, raw)| read(Node { raw, at: At::Item(&list.at, i) })).collect()
}

fn chat(top: &Object<'_>) -> Result<Chat, FieldError> {
    for name in ["audio", "web_search_options", "function_call"] {
        if top.get(&ROOT, name).is_some() {
            return Err(At::Member(&ROOT, name).unsupported(name));
        }
    }
    if let Some(modalities) = top.get(&ROOT, "modalities") {
        each(
            modalities,
            |m| if m.word()? == "text" { Ok(()) } else { Err(m.at.unsupported("this modality")) },
        )?;
    }
    service_tier(top)?;
    let mut tools = match top.get(&ROOT, "tools") {
        Some(list) => each(list, tool)?,
        None => Vec::new(),
    };
    if let Some(functions) = top.get(&ROOT, "functions") {
        tools.extend(each(functions, function)?);
    }
    Ok(Chat {
        messages: each(top.need(&ROOT, "messages")?, message)?,
        tools,
        tool_choice: top.get(&ROOT, "tool_choice").map_or(Ok(ToolChoice::Auto), tool_choice)?,
        parallel_tool_calls: flag(top, "parallel_tool_calls")?,
        format: top.get(&ROOT, "response_format").map_or(Ok(Format::Text), format)?,
        sampling: sampling(top, AskKind::Chat)?,
    })
}

/// A paid or slow tier is something the caller gets; the default is not.
fn service_tier(top: &Object<'_>) -> Result<(), FieldError> {
    match top.get(&ROOT, "service_tier") {
        Some(tier) if !matches!(&*tier.word()?, "auto" | "default") => Err(tier.at.unsupported("this tier")),
        _ => Ok(()),
    }
}

fn message(node: Node<'_, '_>) -> Result<Message, FieldError> {
    let fields = node.object()?;
    let at = &node.at;
    let role = fields.need(at, "role")?;
    let name = fields.get(at, "name").map(|n| n.text()).transpose()?;
    let role = match &*role.word()? {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => {
            return Err(role
                .at
                .error("must be one of developer, system, user, assistant, tool")
                .with_code("invalid_value"));
        }
    };
    let parts = match role {
        Role::Tool => vec![tool_result(&fields, at, name.as_deref())?],
        Role::Assistant => assistant(&fields, at)?,
        Role::System | Role::User => content(fields.need(at, "content")?)?,
    };
    Ok(Message { role, parts, name: name.filter(|_| role != Role::Tool) })
}

fn tool_result(fields: &Object<'_>, at: &At<'_>, name: Option<&str>) -> Result<Part, FieldError> {
    let call_id = match (fields.get(at, "tool_call_id"), name) {
        (Some(id), _) => id.text()?,
        // The deprecated `function` role names the function instead of the call.
        (None, Some(name)) => name.to_owned(),
        (None, None) => fields.need(at, "tool_call_id")?.text()?,
    };
    let content = fields.need(at, "content")?;
    let text =
        chunk::text(content.raw).ok_or_else(|| content.at.error("expected text or a list of texts"))?;
    Ok(Part::ToolResult { call_id, text })
}

fn assistant(fields: &Object<'_>, at: &At<'_>) -> Result<Vec<Part>, FieldError> {
    let mut parts = Vec::new();
    for name in ["reasoning_content", "reasoning"] {
        if let Some(reasoning) = fields.get(at, name).filter(Node::is_text) {
            parts.push(Part::Reasoning(reasoning.text()?));
            break;
        }
    }
    if let Some(said) = fields.get(at, "content") {
        parts.extend(content(said)?);
    }
    if let Some(refusal) = fields.get(at, "refusal") {
        parts.push(Part::Refusal(refusal.text()?));
    }
    if let Some(calls) = fields.get(at, "tool_calls") {
        parts.extend(each(calls, tool_call)?.into_iter().map(Part::ToolCall));
    }
    if let Some(call) = fields.get(at, "function_call") {
        let call = named_arguments(call)?;
        parts.push(Part::ToolCall(ToolCall { id: call.name.clone(), ..call }));
    }
    if parts.is_empty() {
        return Err(At::Member(at, "content").error("an assistant's message needs content or tool calls"));
    }
    Ok(parts)
}

fn tool_call(node: Node<'_, '_>) -> Result<ToolCall, FieldError> {
    let fields = node.object()?;
    let at = &node.at;
    if let Some(kind) = fields.get(at, "type")
        && kind.word()? != "function"
    {
        return Err(kind.at.unsupported("this kind of tool call"));
    }
    let id = fields.need(at, "id")?.text()?;
    Ok(ToolCall { id, ..named_arguments(fields.need(at, "function")?)? })
}

fn named_arguments(node: Node<'_, '_>) -> Result<ToolCall, FieldError> {
    let fields = node.object()?;
    let name = fields.need(&node.at, "name")?.text()?;
    let arguments = fields.need(&node.at, "arguments")?.text()?;
    Ok(ToolCall { id: String::new(), name, arguments })
}

fn content(node: Node<'_, '_>) -> Result<Vec<Part>, FieldError> {
    if node.is_list() {
        return each(node, part);
    }
    if !node.is_text() {
        return Err(node.at.error("expected text or a list of parts").with_code("invalid_type"));
    }
    Ok(vec![Part::Text(node.text()?)])
}

fn part(node: Node<'_, '_>) -> Result<Part, FieldError> {
    let fields = node.object()?;
    let at = &node.at;
    let kind = fields.need(at, "type")?;
    match &*kind.word()? {
        "text" => Ok(Part::Text(fields.need(at, "text")?.text()?)),
        "refusal" => Ok(Part::Refusal(fields.need(at, "refusal")?.text()?)),
        "image_url" => image(fields.need(at, "image_url")?).map(Part::Image),
        "input_audio" | "file" => Err(kind.at.unsupported("this kind of content")),
        _ => Err(kind.at.error("must be one of text, image_url, refusal").with_code("invalid_value")),
    }
}

fn image(node: Node<'_, '_>) -> Result<Image, FieldError> {
    let fields = node.object()?;
    let detail = fields.get(&node.at, "detail").map(|d| d.text()).transpose()?;
    let url = fields.need(&node.at, "url")?;
    let text = url.word()?;
    let source = match text.strip_prefix("data:") {
        None => ImageSource::Url(text.into_owned()),
        Some(data) => {
            let (mime, encoded) = data
                .split_once(";base64,")
                .ok_or_else(|| url.at.error("expected `data:image/…;base64,…`").with_code("invalid_value"))?;
            let bytes = STANDARD
                .decode(encoded)
                .map_err(|_| url.at.error("the picture is not base64").with_code("invalid_base64"))?;
            ImageSource::Data { mime: mime.to_owned(), bytes: bytes.into() }
        }
    };
    Ok(Image { source, detail })
}

fn tool(node: Node<'_, '_>) -> Result<Tool, FieldError> {
    let fields = node.object()?;
    let kind = fields.need(&node.at, "type")?;
    if kind.word()? != "function" {
        return Err(kind.at.unsupported("this kind of tool"));
    }
    function(fields.need(&node.at, "function")?)
}

fn function(node: Node<'_, '_>) -> Result<Tool, FieldError> {
    let fields = node.object()?;
    let at = &node.at;
    let parameters = fields.get(at, "parameters");
    if let Some(schema) = &parameters {
        schema.object()?;
    }
    Ok(Tool {
        name: fields.need(at, "name")?.text()?,
        description: fields.get(at, "description").map(|d| d.text()).transpose()?,
        parameters: parameters.map(|p| p.raw.to_owned()),
        strict: fields.get(at, "strict").map(|s| s.read("true or false")).transpose()?,
    })
}

fn tool_choice(node: Node<'_, '_>) -> Result<ToolChoice, FieldError> {
    if node.is_text() {
        return match &*node.word()? {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(node
                .at
                .error("must be auto, none, required, or an object naming a function")
                .with_code("invalid_value")),
        };
    }
    let fields = node.object()?;
    let kind = fields.need(&node.at, "type")?;
    if kind.word()? != "function" {
        return Err(kind.at.unsupported("this kind of tool choice"));
    }
    let function = fields.need(&node.at, "function")?;
    Ok(ToolChoice::Named(function.object()?.need(&function.at, "name")?.text()?))
}

fn format(node: Node<'_, '_>) -> Result<Format, FieldError> {
    let fields = node.object()?;
    let kind = fields.need(&node.at, "type")?;
    match &*kind.word()? {
        "text" => Ok(Format::Text),
        "json_object" => Ok(Format::JsonObject),
        "json_schema" => {
            let inner = fields.need(&node.at, "json_schema")?;
            let schema = inner.object()?;
            Ok(Format::JsonSchema {
                name: schema.need(&inner.at, "name")?.text()?,
                schema: schema.need(&inner.at, "schema")?.raw.to_owned(),
                strict: schema.get(&inner.at, "strict").map(|s| s.read("true or false")).transpose()?,
            })
        }
        _ => Err(kind.at.error("must be one of text, json_object, json_schema").with_code("invalid_value")),
    }
}

fn flag(top: &Object<'_>, name: &str) -> Result<Option<bool>, FieldError> {
    top.get(&ROOT, name).map(|f| f.read("true or false")).transpose()
}

fn count(top: &Object<'_>, name: &str) -> Result<Option<u32>, FieldError> {
    top.get(&ROOT, name).map(|c| c.count()).transpose()
}

fn sampling(top: &Object<'_>, kind: AskKind) -> Result<Sampling, FieldError> {
    let number = |name, low, high| top.get(&ROOT, name).map(|n| n.number(low, high)).transpose();
    let logprobs = match kind {
        AskKind::Completion => count(top, "logprobs")?,
        _ if flag(top, "logprobs")? == Some(true) => Some(count(top, "top_logprobs")?.unwrap_or(0)),
        _ => None,
    };
    let newer = count(top, "max_completion_tokens")?;
    Ok(Sampling {
        max_tokens: newer.or(count(top, "max_tokens")?),
        temperature: number("temperature", 0.0, 2.0)?,
        top_p: number("top_p", 0.0, 1.0)?,
        // -1 is the engines' word for no limit.
        top_k: top.get(&ROOT, "top_k").filter(|k| k.raw.get() != "-1").map(|k| k.count()).transpose()?,
        stop: top.get(&ROOT, "stop").map_or(Ok(Vec::new()), stop)?,
        n: top.get(&ROOT, "n").map(|n| n.number(1.0, 128.0).and(n.count())).transpose()?,
        seed: top.get(&ROOT, "seed").map(|s| s.read("a whole number")).transpose()?,
        presence_penalty: number("presence_penalty", -2.0, 2.0)?,
        frequency_penalty: number("frequency_penalty", -2.0, 2.0)?,
        logprobs,
        user: top.get(&ROOT, "user").map(|u| u.text()).transpose()?,
    })
}

fn stop(node: Node<'_, '_>) -> Result<Vec<String>, FieldError> {
    if node.is_text() {
        return Ok(vec![node.text()?]);
    }
    let all = each(node, |s| s.text())?;
    if all.len() > STOP_MAX {
        return Err(node.at.error(format!("at most {STOP_MAX} stop sequences")).with_code("invalid_value"));
    }
    Ok(all)
}

fn completion(top: &Object<'_>) -> Result<Completion, FieldError> {
    service_tier(top)?;
    if let Some(best_of) = top.get(&ROOT, "best_of")
        && Some(best_of.count()?) != Some(count(top, "n")?.unwrap_or(1))
    {
        return Err(best_of.at.unsupported("best_of"));
    }
    let prompt = top.need(&ROOT, "prompt")?;
    let prompts = if prompt.is_text() {
        vec![prompt.text()?]
    } else {
        each(prompt, |p| if p.is_text() { p.text() } else { Err(p.at.unsupported("a prompt of token ids")) })?
    };
    Ok(Completion {
        prompts,
        echo: flag(top, "echo")?.unwrap_or(false),
        suffix: top.get(&ROOT, "suffix").map(|s| s.text()).transpose()?,
        sampling: sampling(top, AskKind::Completion)?,
    })
}

fn embed(top: &Object<'_>) -> Result<Embed, FieldError> {
    let input = top.need(&ROOT, "input")?;
    let tokens = |node: Node<'_, '_>| Ok(EmbedInput::Tokens(node.read("a list of token ids")?));
    let inputs = if input.is_text() {
        vec![EmbedInput::Text(input.text()?)]
    } else if input.list()?.first().is_some_and(|first| first.get().starts_with(|c: char| c.is_ascii_digit()))
    {
        vec![tokens(input)?]
    } else {
        each(input, |i| if i.is_text() { Ok(EmbedInput::Text(i.text()?)) } else { tokens(i) })?
    };
    if inputs.is_empty() {
        return Err(input.at.error("nothing to embed").with_code("invalid_value"));
    }
    let base64 = match top.get(&ROOT, "encoding_format") {
        None => false,
        Some(format) => match &*format.word()? {
            "float" => false,
            "base64" => true,
            _ => return Err(format.at.error("must be float or base64").with_code("invalid_value")),
        },
    };
    Ok(Embed { inputs, dimensions: count(top, "dimensions")?, base64 })
}

#[cfg(test)]
mod tests;
