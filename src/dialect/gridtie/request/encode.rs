//! Requests to the wire, for another Gridtie.

use crate::dialect::gridtie::v1;
use crate::domain::request::{
    Ask, EmbedInput, Format, ImageSource, Message, Part, Role, Sampling, Tool, ToolChoice,
};

pub(super) const fn role_to_wire(role: Role) -> v1::Role {
    match role {
        Role::System => v1::Role::System,
        Role::User => v1::Role::User,
        Role::Assistant => v1::Role::Assistant,
        Role::Tool => v1::Role::Tool,
    }
}

/// A request as another Gridtie reads it.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made, sent and gone: never kept in numbers")]
pub enum Encoded {
    /// For Generate and StreamGenerate.
    Generate(v1::GenerateRequest),
    /// For Embed.
    Embed(v1::EmbedRequest),
}

/// Writes a request.
pub fn encode(ask: &Ask, model: &str) -> Encoded {
    let model = model.to_owned();
    match ask {
        Ask::Chat(chat) => Encoded::Generate(v1::GenerateRequest {
            model,
            messages: chat.messages.iter().map(message_to_wire).collect(),
            tools: chat.tools.iter().map(tool_to_wire).collect(),
            tool_choice: tool_choice_to_wire(&chat.tool_choice),
            parallel_tool_calls: chat.parallel_tool_calls,
            response_format: format_to_wire(&chat.format),
            sampling: Some(sampling_to_wire(&chat.sampling)),
            user: chat.sampling.user.clone().unwrap_or_default(),
            completion: None,
            routing: None,
        }),
        Ask::Completion(completion) => Encoded::Generate(v1::GenerateRequest {
            model,
            completion: Some(v1::Completion {
                prompts: completion.prompts.clone(),
                echo: completion.echo,
                suffix: completion.suffix.clone(),
            }),
            sampling: Some(sampling_to_wire(&completion.sampling)),
            user: completion.sampling.user.clone().unwrap_or_default(),
            ..v1::GenerateRequest::default()
        }),
        Ask::Embed(embed) => Encoded::Embed(v1::EmbedRequest {
            model,
            inputs: embed.inputs.iter().map(input_to_wire).collect(),
            dimensions: embed.dimensions,
            routing: None,
        }),
    }
}

fn message_to_wire(message: &Message) -> v1::Message {
    v1::Message {
        role: role_to_wire(message.role).into(),
        parts: message.parts.iter().map(part_to_wire).collect(),
        name: message.name.clone().unwrap_or_default(),
    }
}

/// Writes a part of a turn or of an answer.
pub(in super::super) fn part_to_wire(part: &Part) -> v1::Part {
    use v1::part::Content;
    let content = match part {
        Part::Text(text) => Content::Text(text.clone()),
        Part::Reasoning(text) => Content::Reasoning(text.clone()),
        Part::Refusal(text) => Content::Refusal(text.clone()),
        Part::ToolCall(call) => Content::ToolCall(v1::ToolCall {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments_json: call.arguments.clone(),
        }),
        Part::ToolResult { call_id, text } => {
            Content::ToolResult(v1::ToolResult { call_id: call_id.clone(), text: text.clone() })
        }
        Part::Image(image) => {
            let (source, mime) = match &image.source {
                ImageSource::Url(url) => (v1::image::Source::Url(url.clone()), String::new()),
                ImageSource::Data { mime, bytes } => (v1::image::Source::Data(bytes.clone()), mime.clone()),
            };
            Content::Image(v1::Image {
                source: Some(source),
                mime,
                detail: image.detail.clone().unwrap_or_default(),
            })
        }
    };
    v1::Part { content: Some(content) }
}

fn tool_to_wire(tool: &Tool) -> v1::Tool {
    v1::Tool {
        name: tool.name.clone(),
        description: tool.description.clone().unwrap_or_default(),
        parameters_json: tool.parameters.as_ref().map_or_else(String::new, |json| json.get().to_owned()),
        strict: tool.strict,
    }
}

fn tool_choice_to_wire(choice: &ToolChoice) -> Option<v1::ToolChoice> {
    use v1::tool_choice::{Choice, Mode};
    let choice = match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => Choice::Mode(Mode::None.into()),
        ToolChoice::Required => Choice::Mode(Mode::Required.into()),
        ToolChoice::Named(name) => Choice::Tool(name.clone()),
    };
    Some(v1::ToolChoice { choice: Some(choice) })
}

fn format_to_wire(format: &Format) -> Option<v1::ResponseFormat> {
    use v1::response_format::Form;
    let form = match format {
        Format::Text => return None,
        Format::JsonObject => Form::JsonObject(v1::JsonObject {}),
        Format::JsonSchema { name, schema, strict } => Form::JsonSchema(v1::JsonSchema {
            name: name.clone(),
            schema_json: schema.get().to_owned(),
            strict: *strict,
        }),
    };
    Some(v1::ResponseFormat { form: Some(form) })
}

fn sampling_to_wire(sampling: &Sampling) -> v1::Sampling {
    v1::Sampling {
        max_tokens: sampling.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        stop: sampling.stop.clone(),
        n: sampling.n,
        seed: sampling.seed,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logprobs: sampling.logprobs,
    }
}

fn input_to_wire(input: &EmbedInput) -> v1::EmbedInput {
    use v1::embed_input::Input;
    let input = match input {
        EmbedInput::Text(text) => Input::Text(text.clone()),
        EmbedInput::Tokens(ids) => Input::Tokens(v1::TokenIds { ids: ids.clone() }),
    };
    v1::EmbedInput { input: Some(input) }
}
