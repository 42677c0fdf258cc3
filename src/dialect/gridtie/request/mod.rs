//! Requests: from the wire with every field checked, and to the wire for another Gridtie.
//!
//! An error names the field as the `.proto` spells it (`messages[2].parts[0].image.mime`) and says how to mend it.

mod check;
mod encode;
mod prefix;

pub(super) use encode::part_to_wire;
pub use encode::{Encoded, encode};
pub use prefix::prefix;

use check::{at_least_one, at_most, filled, json_object, required, up_to, within};
use encode::role_to_wire;

use super::v1;
use crate::dialect::FieldError;
use crate::domain::request::{
    Ask, Chat, Completion, Embed, EmbedInput, Format, Image, ImageSource, Message, Part, Role, Sampling,
    Tool, ToolCall, ToolChoice,
};
use crate::domain::{AskKind, Capabilities, Hints};

/// What a picture counts for in the estimate of input tokens: between what providers charge for a small one and for
/// one of a megapixel.
const IMAGE_TOKENS: u64 = 1_000;
/// Bytes of text that make a token, roughly, in most languages and tokenizers.
const BYTES_PER_TOKEN: u64 = 4;
/// No provider takes more functions.
const TOOLS_MAX: usize = 256;
/// No provider takes more stop texts.
const STOPS_MAX: usize = 16;
/// More choices are several calls.
const CHOICES_MAX: u32 = 128;
/// More alternatives are given by no provider.
const LOGPROBS_MAX: u32 = 20;
/// What the embedding APIs take in one call.
const INPUTS_MAX: usize = 2_048;
/// Names and ids that only pass through.
const NAME_MAX: usize = 256;
/// Pools and regions of a hint: more is not a hint.
const HINTS_MAX: usize = 64;

/// A request as routing and upstreams see it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The model asked for.
    pub model: String,
    /// What kind of answer is asked for.
    pub kind: AskKind,
    /// The request.
    pub ask: Ask,
    /// The limit on output tokens a choice.
    pub max_tokens: Option<u32>,
    /// Choices; at least 1.
    pub n: u32,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// Estimated input tokens.
    pub input_tokens: u32,
}

/// What the caller asks of routing.
#[derive(Clone, Debug, Default)]
pub struct Hinted {
    /// The class.
    pub class: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The rest.
    pub hints: Hints,
}

/// Reads a request to generate.
pub fn generate(request: v1::GenerateRequest, stream: bool) -> Result<Asked, FieldError> {
    let v1::GenerateRequest { messages, completion, tools, tool_choice, .. } = request;
    model(&request.model)?;
    at_most(&request.user, NAME_MAX, || "user".to_owned())?;
    let mut sampling = sampling(request.sampling.unwrap_or_default())?;
    sampling.user = filled(request.user);
    let (max_tokens, n) = (sampling.max_tokens, sampling.n.unwrap_or(1));
    let format = response_format(request.response_format)?;

    let (kind, ask) = match completion {
        Some(_) if !messages.is_empty() => {
            return Err(FieldError::at(
                "completion",
                "Give either `messages` or `completion`, not both: they are different requests.",
            ));
        }
        Some(completion) => {
            if !tools.is_empty() || tool_choice.is_some() || !matches!(format, Format::Text) {
                return Err(FieldError::at(
                    "completion",
                    "Tools and response formats need a conversation: send `messages` instead.",
                ));
            }
            (AskKind::Completion, Ask::Completion(read_completion(completion, sampling)?))
        }
        None => {
            let tools = read_tools(tools)?;
            let chat = Chat {
                messages: read_messages(messages)?,
                tool_choice: read_tool_choice(tool_choice, &tools)?,
                tools,
                parallel_tool_calls: request.parallel_tool_calls,
                format,
                sampling,
            };
            (AskKind::Chat, Ask::Chat(chat))
        }
    };
    let needs = needs(&ask, stream);
    let input_tokens = input_tokens(&ask);
    Ok(Asked { model: request.model, kind, ask, max_tokens, n, needs, input_tokens })
}

/// Reads a request to embed.
pub fn embed(request: v1::EmbedRequest) -> Result<Asked, FieldError> {
    model(&request.model)?;
    if request.inputs.is_empty() {
        return Err(FieldError::at("inputs", "There is nothing to embed: give at least one input."));
    }
    if request.inputs.len() > INPUTS_MAX {
        return Err(FieldError::at(
            "inputs",
            format!("At most {INPUTS_MAX} inputs a call; split them over several calls."),
        ));
    }
    if request.dimensions == Some(0) {
        return Err(FieldError::at("dimensions", "A vector has at least 1 dimension; leave it out instead."));
    }
    let inputs = request.inputs.into_iter().enumerate().map(read_input).collect::<Result<Vec<_>, _>>()?;
    let ask = Ask::Embed(Embed { inputs, dimensions: request.dimensions, base64: false });
    let input_tokens = input_tokens(&ask);
    let needs = needs(&ask, false);
    Ok(Asked { model: request.model, kind: AskKind::Embed, ask, max_tokens: None, n: 1, needs, input_tokens })
}

/// Reads what the caller asks of routing.
pub fn hints(hints: Option<v1::RoutingHints>) -> Result<Hinted, FieldError> {
    let Some(hints) = hints else { return Ok(Hinted::default()) };
    at_most(&hints.session, NAME_MAX, || "routing.session".to_owned())?;
    at_most(&hints.traffic_class, NAME_MAX, || "routing.traffic_class".to_owned())?;
    if hints.max_cost_usd.is_some_and(|usd| !usd.is_finite() || usd < 0.0) {
        return Err(FieldError::at("routing.max_cost_usd", "A cost in dollars is 0 or more."));
    }
    Ok(Hinted {
        class: filled(hints.traffic_class),
        session: filled(hints.session),
        hints: Hints {
            max_cost_usd: hints.max_cost_usd,
            pools: names("routing.pools", hints.pools)?,
            regions: names("routing.regions", hints.regions)?,
        },
    })
}

/// What an offer must be able to do, by name; `field` is what the names came in.
pub fn capabilities(field: &str, names: &[String]) -> Result<Capabilities, FieldError> {
    let mut set = Capabilities::NONE;
    for (i, name) in names.iter().enumerate() {
        let known = Capabilities::by_name(name).ok_or_else(|| {
            let known: Vec<_> = Capabilities::NAMES.iter().map(|(_, name)| *name).collect();
            FieldError::at(
                format!("{field}[{i}]"),
                format!("Not a capability. There are: {}.", known.join(", ")),
            )
        })?;
        set = set.with(known);
    }
    Ok(set)
}

fn model(name: &str) -> Result<(), FieldError> {
    if name.is_empty() {
        return Err(FieldError::at("model", "Name the model; ListModels has those there are."));
    }
    at_most(name, NAME_MAX, || "model".to_owned())
}

fn names(field: &str, names: Vec<String>) -> Result<Vec<std::sync::Arc<str>>, FieldError> {
    if names.len() > HINTS_MAX {
        return Err(FieldError::at(field, format!("At most {HINTS_MAX} names.")));
    }
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(FieldError::at(
                format!("{field}[{i}]"),
                "A name is not empty; leave it out instead.",
            ));
        }
        at_most(name, NAME_MAX, || format!("{field}[{i}]"))?;
    }
    Ok(names.into_iter().map(Into::into).collect())
}

fn read_messages(messages: Vec<v1::Message>) -> Result<Vec<Message>, FieldError> {
    if messages.is_empty() {
        return Err(FieldError::at(
            "messages",
            "There is nothing to answer: give at least one message, or a `completion`.",
        ));
    }
    messages.into_iter().enumerate().map(|(m, message)| read_message(m, message)).collect()
}

fn read_message(m: usize, message: v1::Message) -> Result<Message, FieldError> {
    let role = match message.role() {
        v1::Role::System => Role::System,
        v1::Role::User => Role::User,
        v1::Role::Assistant => Role::Assistant,
        v1::Role::Tool => Role::Tool,
        v1::Role::Unspecified => {
            return Err(FieldError::at(
                format!("messages[{m}].role"),
                "Say who speaks: ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL.",
            ));
        }
    };
    if message.parts.is_empty() && role != Role::Assistant {
        return Err(FieldError::at(
            format!("messages[{m}].parts"),
            "Only an assistant may have said nothing: give at least one part.",
        ));
    }
    at_most(&message.name, NAME_MAX, || format!("messages[{m}].name"))?;
    let parts = message
        .parts
        .into_iter()
        .enumerate()
        .map(|(p, part)| read_part(m, p, role, part))
        .collect::<Result<_, _>>()?;
    Ok(Message { role, parts, name: filled(message.name) })
}

fn read_part(m: usize, p: usize, role: Role, part: v1::Part) -> Result<Part, FieldError> {
    use v1::part::Content;
    let at = |rest: &str| format!("messages[{m}].parts[{p}]{rest}");
    let Some(content) = part.content else {
        return Err(FieldError::at(
            at(""),
            "A part is text, an image, a tool call or a tool result: set one.",
        ));
    };
    let (name, roles): (_, &[Role]) = match &content {
        Content::Text(_) => ("text", &[Role::System, Role::User, Role::Assistant]),
        Content::Image(_) => ("image", &[Role::User]),
        Content::ToolCall(_) => ("tool_call", &[Role::Assistant]),
        Content::ToolResult(_) => ("tool_result", &[Role::Tool]),
        Content::Reasoning(_) => ("reasoning", &[Role::Assistant]),
        Content::Refusal(_) => ("refusal", &[Role::Assistant]),
    };
    if !roles.contains(&role) {
        let roles: Vec<_> = roles.iter().map(|role| role_to_wire(*role).as_str_name()).collect();
        return Err(FieldError::at(
            at(&format!(".{name}")),
            format!("Only in turns of {}.", roles.join(", ")),
        ));
    }
    Ok(match content {
        Content::Text(text) => Part::Text(text),
        Content::Reasoning(text) => Part::Reasoning(text),
        Content::Refusal(text) => Part::Refusal(text),
        Content::Image(image) => Part::Image(read_image(image, |rest| at(&format!(".image{rest}")))?),
        Content::ToolCall(call) => {
            required(&call.id, || at(".tool_call.id"))?;
            required(&call.name, || at(".tool_call.name"))?;
            Part::ToolCall(ToolCall { id: call.id, name: call.name, arguments: call.arguments_json })
        }
        Content::ToolResult(result) => {
            required(&result.call_id, || at(".tool_result.call_id"))?;
            Part::ToolResult { call_id: result.call_id, text: result.text }
        }
    })
}

fn read_image(image: v1::Image, at: impl Fn(&str) -> String) -> Result<Image, FieldError> {
    use v1::image::Source;
    let source = match image.source {
        None => return Err(FieldError::at(at(""), "Give the image's `url` or its `data`.")),
        Some(Source::Url(url)) => {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return Err(FieldError::at(
                    at(".url"),
                    "Only http and https URLs; send other images as `data`.",
                ));
            }
            ImageSource::Url(url)
        }
        Some(Source::Data(bytes)) => {
            if bytes.is_empty() {
                return Err(FieldError::at(at(".data"), "The image is empty."));
            }
            if !image.mime.starts_with("image/") {
                return Err(FieldError::at(at(".mime"), "Say what `data` is, such as image/png."));
            }
            at_most(&image.mime, NAME_MAX, || at(".mime"))?;
            ImageSource::Data { mime: image.mime, bytes }
        }
    };
    if !matches!(image.detail.as_str(), "" | "low" | "high" | "auto") {
        return Err(FieldError::at(at(".detail"), "One of low, high and auto, or nothing."));
    }
    Ok(Image { source, detail: filled(image.detail) })
}

fn read_completion(completion: v1::Completion, sampling: Sampling) -> Result<Completion, FieldError> {
    if completion.prompts.is_empty() {
        return Err(FieldError::at(
            "completion.prompts",
            "There is nothing to continue: give at least one prompt.",
        ));
    }
    if completion.prompts.len() > INPUTS_MAX {
        return Err(FieldError::at("completion.prompts", format!("At most {INPUTS_MAX} prompts a call.")));
    }
    Ok(Completion { prompts: completion.prompts, echo: completion.echo, suffix: completion.suffix, sampling })
}

fn read_tools(tools: Vec<v1::Tool>) -> Result<Vec<Tool>, FieldError> {
    if tools.len() > TOOLS_MAX {
        return Err(FieldError::at("tools", format!("At most {TOOLS_MAX} tools.")));
    }
    let mut read: Vec<Tool> = Vec::with_capacity(tools.len());
    for (i, tool) in tools.into_iter().enumerate() {
        required(&tool.name, || format!("tools[{i}].name"))?;
        at_most(&tool.name, NAME_MAX, || format!("tools[{i}].name"))?;
        if read.iter().any(|other| other.name == tool.name) {
            return Err(FieldError::at(
                format!("tools[{i}].name"),
                "Another tool has this name: rename one.",
            ));
        }
        let parameters = match tool.parameters_json.is_empty() {
            true => None,
            false => Some(json_object(&tool.parameters_json, || format!("tools[{i}].parameters_json"))?),
        };
        read.push(Tool {
            name: tool.name,
            description: filled(tool.description),
            parameters,
            strict: tool.strict,
        });
    }
    Ok(read)
}

fn read_tool_choice(choice: Option<v1::ToolChoice>, tools: &[Tool]) -> Result<ToolChoice, FieldError> {
    use v1::tool_choice::{Choice, Mode};
    let choice = match choice.and_then(|choice| choice.choice) {
        None => ToolChoice::Auto,
        Some(Choice::Mode(mode)) => match Mode::try_from(mode) {
            Ok(Mode::Unspecified | Mode::Auto) => ToolChoice::Auto,
            Ok(Mode::None) => ToolChoice::None,
            Ok(Mode::Required) => ToolChoice::Required,
            Err(_) => return Err(FieldError::at("tool_choice.mode", "Not a mode that this router knows.")),
        },
        Some(Choice::Tool(name)) => {
            if !tools.iter().any(|tool| tool.name == name) {
                return Err(FieldError::at("tool_choice.tool", "No tool in `tools` has this name."));
            }
            ToolChoice::Named(name)
        }
    };
    if choice == ToolChoice::Required && tools.is_empty() {
        return Err(FieldError::at("tool_choice.mode", "There is no tool to call: give `tools`."));
    }
    Ok(choice)
}

fn response_format(format: Option<v1::ResponseFormat>) -> Result<Format, FieldError> {
    use v1::response_format::Form;
    Ok(match format.and_then(|format| format.form) {
        None => Format::Text,
        Some(Form::JsonObject(_)) => Format::JsonObject,
        Some(Form::JsonSchema(schema)) => {
            required(&schema.name, || "response_format.json_schema.name".to_owned())?;
            let at = || "response_format.json_schema.schema_json".to_owned();
            let json = json_object(&schema.schema_json, at)?;
            Format::JsonSchema { name: schema.name, schema: json, strict: schema.strict }
        }
    })
}

fn sampling(sampling: v1::Sampling) -> Result<Sampling, FieldError> {
    at_least_one("sampling.max_tokens", sampling.max_tokens)?;
    at_least_one("sampling.top_k", sampling.top_k)?;
    at_least_one("sampling.n", sampling.n)?;
    up_to("sampling.n", sampling.n, CHOICES_MAX)?;
    up_to("sampling.logprobs", sampling.logprobs, LOGPROBS_MAX)?;
    within("sampling.temperature", sampling.temperature, 0.0, 2.0)?;
    within("sampling.top_p", sampling.top_p, 0.0, 1.0)?;
    within("sampling.presence_penalty", sampling.presence_penalty, -2.0, 2.0)?;
    within("sampling.frequency_penalty", sampling.frequency_penalty, -2.0, 2.0)?;
    if sampling.stop.len() > STOPS_MAX {
        return Err(FieldError::at("sampling.stop", format!("At most {STOPS_MAX} stop texts.")));
    }
    if let Some(i) = sampling.stop.iter().position(String::is_empty) {
        return Err(FieldError::at(
            format!("sampling.stop[{i}]"),
            "An empty text would stop at once: leave it out.",
        ));
    }
    Ok(Sampling {
        max_tokens: sampling.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        stop: sampling.stop,
        n: sampling.n,
        seed: sampling.seed,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logprobs: sampling.logprobs,
        user: None,
    })
}

fn read_input((i, input): (usize, v1::EmbedInput)) -> Result<EmbedInput, FieldError> {
    use v1::embed_input::Input;
    match input.input {
        Some(Input::Text(text)) if !text.is_empty() => Ok(EmbedInput::Text(text)),
        Some(Input::Tokens(tokens)) if !tokens.ids.is_empty() => Ok(EmbedInput::Tokens(tokens.ids)),
        _ => Err(FieldError::at(format!("inputs[{i}]"), "Give a text or token ids that are not empty.")),
    }
}

fn needs(ask: &Ask, stream: bool) -> Capabilities {
    let when = |yes: bool, capability| if yes { capability } else { Capabilities::NONE };
    let sampled = |sampling: &Sampling| {
        when(sampling.n.is_some_and(|n| n > 1), Capabilities::N)
            .with(when(sampling.logprobs.is_some(), Capabilities::LOGPROBS))
    };
    let needs = match ask {
        Ask::Chat(chat) => {
            let images =
                chat.messages.iter().flat_map(|m| &m.parts).any(|part| matches!(part, Part::Image(_)));
            Capabilities::CHAT
                .with(sampled(&chat.sampling))
                .with(when(!chat.tools.is_empty(), Capabilities::TOOLS))
                .with(when(!matches!(chat.format, Format::Text), Capabilities::JSON))
                .with(when(images, Capabilities::IMAGES))
        }
        Ask::Completion(completion) => Capabilities::COMPLETION.with(sampled(&completion.sampling)),
        Ask::Embed(_) => Capabilities::EMBED,
    };
    needs.with(when(stream, Capabilities::STREAM))
}

/// A rough count: bytes of text by [`BYTES_PER_TOKEN`], pictures by [`IMAGE_TOKENS`], token ids as they are.
fn input_tokens(ask: &Ask) -> u32 {
    let (mut bytes, mut tokens) = (0_usize, 0_u64);
    match ask {
        Ask::Chat(chat) => {
            for part in chat.messages.iter().flat_map(|message| &message.parts) {
                match part {
                    Part::Text(text) | Part::Reasoning(text) | Part::Refusal(text) => bytes += text.len(),
                    Part::ToolCall(call) => bytes += call.name.len() + call.arguments.len(),
                    Part::ToolResult { text, .. } => bytes += text.len(),
                    Part::Image(_) => tokens += IMAGE_TOKENS,
                }
            }
            for tool in &chat.tools {
                bytes += tool.name.len() + tool.description.as_ref().map_or(0, String::len);
                bytes += tool.parameters.as_ref().map_or(0, |json| json.get().len());
            }
            if let Format::JsonSchema { schema, .. } = &chat.format {
                bytes += schema.get().len();
            }
        }
        Ask::Completion(completion) => {
            bytes += completion.prompts.iter().map(String::len).sum::<usize>();
            bytes += completion.suffix.as_ref().map_or(0, String::len);
        }
        Ask::Embed(embed) => {
            for input in &embed.inputs {
                match input {
                    EmbedInput::Text(text) => bytes += text.len(),
                    EmbedInput::Tokens(ids) => tokens += ids.len() as u64,
                }
            }
        }
    }
    u32::try_from(tokens + (bytes as u64).div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}
