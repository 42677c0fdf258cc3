//! Answers: whole and streamed, to the wire for a client and from the wire of another Gridtie.

use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use super::request::part_to_wire;
use super::v1;
use crate::domain::request::{Part, ToolCall};
use crate::domain::{
    Answer, Choice, Delta, Embedded, FinishReason, Generated, Prices, Usage, UsageSource, Usd,
};

/// Writes what was generated.
pub fn encode_generated(answer: Generated, usage: &Usage, routing: v1::Routing) -> v1::GenerateResponse {
    v1::GenerateResponse {
        id: answer.id.unwrap_or_default(),
        choices: answer.choices.into_iter().map(choice_to_wire).collect(),
        usage: Some(usage_to_wire(usage)),
        routing: Some(routing),
    }
}

/// Writes vectors.
pub fn encode_embedded(answer: Embedded, usage: &Usage, routing: v1::Routing) -> v1::EmbedResponse {
    v1::EmbedResponse {
        embeddings: answer.vectors.into_iter().map(|values| v1::Embedding { values }).collect(),
        usage: Some(usage_to_wire(usage)),
        routing: Some(routing),
    }
}

/// Writes the first event of a stream.
pub fn encode_started(routing: v1::Routing) -> v1::GenerateEvent {
    event(v1::generate_event::Event::Started(v1::Started { routing: Some(routing) }))
}

/// Writes a step of a stream. Nothing for a count: the settled one comes with [`encode_completed`].
pub fn encode_delta(delta: Delta) -> Option<v1::GenerateEvent> {
    use v1::delta::Content;
    let (choice, content, logprobs) = match delta {
        Delta::Text { choice, text, logprobs } => (choice, Content::Text(text), logprobs),
        Delta::Reasoning { choice, text } => (choice, Content::Reasoning(text), None),
        Delta::Refusal { choice, text } => (choice, Content::Refusal(text), None),
        Delta::ToolCall { choice, index, id, name, arguments } => {
            let call = v1::ToolCallDelta {
                index,
                id: id.unwrap_or_default(),
                name: name.unwrap_or_default(),
                arguments_json: arguments,
            };
            (choice, Content::ToolCall(call), None)
        }
        Delta::Finish { choice, reason } => {
            let finished = v1::ChoiceFinished { choice, reason: finish_to_wire(reason).into() };
            return Some(event(v1::generate_event::Event::ChoiceFinished(finished)));
        }
        Delta::Usage(_) => return None,
    };
    Some(event(v1::generate_event::Event::Delta(v1::Delta {
        choice,
        content: Some(content),
        logprobs_json: logprobs.map_or_else(String::new, json_text),
    })))
}

/// Writes the last event of a stream.
pub fn encode_completed(usage: &Usage, routing: v1::Routing) -> v1::GenerateEvent {
    event(v1::generate_event::Event::Completed(v1::Completed {
        usage: Some(usage_to_wire(usage)),
        routing: Some(routing),
    }))
}

const fn event(event: v1::generate_event::Event) -> v1::GenerateEvent {
    v1::GenerateEvent { event: Some(event) }
}

fn choice_to_wire(choice: Choice) -> v1::Choice {
    v1::Choice {
        index: choice.index,
        parts: choice.parts.iter().map(part_to_wire).collect(),
        finish_reason: finish_to_wire(choice.finish).into(),
        logprobs_json: choice.logprobs.map_or_else(String::new, json_text),
    }
}

fn json_text(json: Box<RawValue>) -> String {
    Box::<str>::from(json).into_string()
}

const fn finish_to_wire(reason: FinishReason) -> v1::FinishReason {
    match reason {
        FinishReason::Stop => v1::FinishReason::Stop,
        FinishReason::Length => v1::FinishReason::Length,
        FinishReason::ToolCalls => v1::FinishReason::ToolCalls,
        FinishReason::ContentFilter => v1::FinishReason::ContentFilter,
    }
}

fn usage_to_wire(usage: &Usage) -> v1::Usage {
    v1::Usage {
        input_tokens: usage.input,
        cached_input_tokens: usage.cached,
        output_tokens: usage.output,
        reasoning_tokens: usage.reasoning,
        estimated: usage.source == UsageSource::Estimated,
        cache_write_tokens: usage.cache_write,
    }
}

/// Writes prices.
pub fn encode_prices(prices: &Prices) -> v1::Prices {
    v1::Prices {
        input_usd_per_million: prices.input.dollars_per_million(),
        cached_usd_per_million: prices.cached.dollars_per_million(),
        output_usd_per_million: prices.output.dollars_per_million(),
        cache_write_usd_per_million: prices.cache_write.dollars_per_million(),
    }
}

/// Puts a sum into a routing message, for programs and for people.
pub fn set_cost(routing: &mut v1::Routing, cost: Usd, estimated: bool) {
    routing.cost_nano_usd = cost.as_nanos();
    routing.cost_usd = cost.to_string();
    routing.cost_estimated = estimated;
}

/// A step of another Gridtie's stream.
#[derive(Debug)]
pub enum Step {
    /// It has begun.
    Started,
    /// More of it. Empty for a kind of event that we do not know.
    Deltas(SmallVec<[Delta; 2]>),
    /// It is whole.
    Completed(Option<Usage>),
}

/// Reads a whole answer.
pub fn decode_generated(answer: v1::GenerateResponse) -> Result<(Answer, Option<Usage>), String> {
    if answer.choices.is_empty() {
        return Err("an answer without choices".to_owned());
    }
    let usage = answer.usage.and_then(|usage| usage_from_wire(&usage));
    let id = Some(answer.id).filter(|id| !id.is_empty());
    let choices = answer.choices.into_iter().map(choice_from_wire).collect::<Result<_, _>>()?;
    Ok((Answer::Generated(Generated { id, choices }), usage))
}

/// Reads vectors; there must be one for each of `inputs`.
pub fn decode_embedded(answer: v1::EmbedResponse, inputs: usize) -> Result<(Answer, Option<Usage>), String> {
    if answer.embeddings.len() != inputs {
        return Err(format!("{} vectors for {inputs} inputs", answer.embeddings.len()));
    }
    let usage = answer.usage.and_then(|usage| usage_from_wire(&usage));
    let vectors = answer.embeddings.into_iter().map(|embedding| embedding.values).collect();
    Ok((Answer::Embedded(Embedded { vectors }), usage))
}

/// Reads an event of a stream.
pub fn decode_event(event: v1::GenerateEvent) -> Result<Step, String> {
    use v1::generate_event::Event;
    Ok(match event.event {
        Some(Event::Started(_)) => Step::Started,
        Some(Event::Completed(completed)) => {
            Step::Completed(completed.usage.and_then(|usage| usage_from_wire(&usage)))
        }
        Some(Event::ChoiceFinished(finished)) => Step::Deltas(smallvec![Delta::Finish {
            choice: finished.choice,
            reason: finish_from_wire(finished.reason())?,
        }]),
        Some(Event::Delta(delta)) => match delta_from_wire(delta)? {
            Some(delta) => Step::Deltas(smallvec![delta]),
            None => Step::Deltas(SmallVec::new()),
        },
        None => Step::Deltas(SmallVec::new()),
    })
}

fn delta_from_wire(delta: v1::Delta) -> Result<Option<Delta>, String> {
    use v1::delta::Content;
    let choice = delta.choice;
    Ok(Some(match delta.content {
        None => return Ok(None),
        Some(Content::Text(text)) => {
            Delta::Text { choice, text, logprobs: logprobs_from_wire(delta.logprobs_json)? }
        }
        Some(Content::Reasoning(text)) => Delta::Reasoning { choice, text },
        Some(Content::Refusal(text)) => Delta::Refusal { choice, text },
        Some(Content::ToolCall(call)) => Delta::ToolCall {
            choice,
            index: call.index,
            id: Some(call.id).filter(|id| !id.is_empty()),
            name: Some(call.name).filter(|name| !name.is_empty()),
            arguments: call.arguments_json,
        },
    }))
}

fn choice_from_wire(choice: v1::Choice) -> Result<Choice, String> {
    let finish = finish_from_wire(choice.finish_reason())?;
    let logprobs = logprobs_from_wire(choice.logprobs_json)?;
    let parts = choice.parts.into_iter().filter_map(part_from_wire).collect();
    Ok(Choice { index: choice.index, parts, finish, logprobs })
}

fn part_from_wire(part: v1::Part) -> Option<Part> {
    use v1::part::Content;
    match part.content? {
        Content::Text(text) => Some(Part::Text(text)),
        Content::Reasoning(text) => Some(Part::Reasoning(text)),
        Content::Refusal(text) => Some(Part::Refusal(text)),
        Content::ToolCall(call) => {
            Some(Part::ToolCall(ToolCall { id: call.id, name: call.name, arguments: call.arguments_json }))
        }
        // No model answers with these, and no client could read them.
        Content::Image(_) | Content::ToolResult(_) => None,
    }
}

fn logprobs_from_wire(json: String) -> Result<Option<Box<RawValue>>, String> {
    if json.is_empty() {
        return Ok(None);
    }
    RawValue::from_string(json).map(Some).map_err(|error| format!("logprobs_json: {error}"))
}

fn finish_from_wire(reason: v1::FinishReason) -> Result<FinishReason, String> {
    match reason {
        v1::FinishReason::Stop => Ok(FinishReason::Stop),
        v1::FinishReason::Length => Ok(FinishReason::Length),
        v1::FinishReason::ToolCalls => Ok(FinishReason::ToolCalls),
        v1::FinishReason::ContentFilter => Ok(FinishReason::ContentFilter),
        v1::FinishReason::Unspecified => Err("a choice without a finish reason".to_owned()),
    }
}

/// Reads a count; what is more than all is cut to it, and what no call can have is none.
fn usage_from_wire(usage: &v1::Usage) -> Option<Usage> {
    let credible = usage.input_tokens.max(usage.output_tokens) <= Usage::CREDIBLE_MAX;
    credible.then(|| Usage {
        input: usage.input_tokens,
        cached: usage.cached_input_tokens.min(usage.input_tokens),
        cache_write: usage.cache_write_tokens.min(usage.input_tokens),
        output: usage.output_tokens,
        reasoning: usage.reasoning_tokens.min(usage.output_tokens),
        source: if usage.estimated { UsageSource::Estimated } else { UsageSource::Reported },
    })
}
