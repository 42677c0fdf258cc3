//! What a model answers, in canonical form: whole, or as a stream of deltas.

use serde_json::value::RawValue;

use super::request::Part;
use super::usage::Usage;

/// Why a choice ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FinishReason {
    /// A natural end or a stop sequence.
    Stop,
    /// The token limit.
    Length,
    /// It calls tools and waits for their results.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To a chat or a completion.
    Generated(Generated),
    /// To an embedding.
    Embedded(Embedded),
}

/// A whole generated answer.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    /// The upstream's id of it, if it has one.
    pub id: Option<String>,
    /// The choices, by index.
    pub choices: Vec<Choice>,
}

/// One choice of a generated answer.
#[derive(Clone, Debug)]
pub struct Choice {
    /// From 0.
    pub index: u32,
    /// Text, reasoning and tool calls, in order.
    pub parts: Vec<Part>,
    /// Why it ended.
    pub finish: FinishReason,
    /// OpenAI-shaped log probabilities, passed along as they are.
    pub logprobs: Option<Box<RawValue>>,
}

/// Vectors, in the order of the inputs.
#[derive(Clone, Debug, Default)]
pub struct Embedded {
    /// One vector an input.
    pub vectors: Vec<Vec<f32>>,
}

/// A step of a streamed answer.
#[derive(Clone, Debug)]
pub enum Delta {
    /// More text of a choice.
    Text {
        /// The choice.
        choice: u32,
        /// The text.
        text: String,
        /// OpenAI-shaped log probabilities of it.
        logprobs: Option<Box<RawValue>>,
    },
    /// More reasoning of a choice.
    Reasoning {
        /// The choice.
        choice: u32,
        /// The text.
        text: String,
    },
    /// More of the model declining.
    Refusal {
        /// The choice.
        choice: u32,
        /// The text.
        text: String,
    },
    /// A tool call begins, or its arguments go on.
    ToolCall {
        /// The choice.
        choice: u32,
        /// Which call of the turn, from 0.
        index: u32,
        /// With the first piece only.
        id: Option<String>,
        /// With the first piece only.
        name: Option<String>,
        /// A piece of the JSON text.
        arguments: String,
    },
    /// A choice ended.
    Finish {
        /// The choice.
        choice: u32,
        /// Why.
        reason: FinishReason,
    },
    /// The upstream's count; may come after the last `Finish`.
    Usage(Usage),
}
