//! What a client asks, in canonical form, and as the bytes it came in.
//!
//! A request keeps the bytes of its own dialect ([`Body::OpenAi`]), because an upstream of the same dialect gets
//! them unchanged; a request that must be translated is decoded into [`Ask`] first.

use bytes::Bytes;
use serde_json::value::RawValue;

/// What kind of answer is asked for. Each has its own route, its own price and its own codec.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AskKind {
    /// Messages in, a message out.
    Chat,
    /// A prompt in, its continuation out (the legacy completions).
    Completion,
    /// Texts in, vectors out.
    Embed,
}

/// A wire format we speak.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dialect {
    /// OpenAI's HTTP API and everything compatible with it.
    OpenAi,
    /// `gridtie.v1.Inference`.
    Gridtie,
}

/// A request as an upstream gets it: the body, and what every dialect must know of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked for.
    pub kind: AskKind,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The client itself asked for usage in the stream; if not, the chunk we asked for is taken out again.
    pub stream_usage: bool,
    /// The body.
    pub body: Body,
    /// Estimated input tokens, for upstreams that report none.
    pub input_tokens: u32,
    /// Headers of the client that go along: `traceparent` and `tracestate` (lower case), nothing else.
    pub forward: Vec<(&'static str, String)>,
}

impl Request {
    /// The dialect whose bytes the face can hand to the client unchanged.
    pub const fn dialect(&self) -> Dialect {
        match self.body {
            Body::OpenAi(_) => Dialect::OpenAi,
            Body::Canonical(_) => Dialect::Gridtie,
        }
    }
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// JSON of an OpenAI-compatible client, as it came; already known to be a JSON object with a `model`.
    OpenAi(Bytes),
    /// Canonical form, from a face whose dialect no upstream shares byte for byte.
    Canonical(Box<Ask>),
}

/// A request in canonical form.
#[derive(Clone, Debug)]
pub enum Ask {
    /// See [`AskKind::Chat`].
    Chat(Chat),
    /// See [`AskKind::Completion`].
    Completion(Completion),
    /// See [`AskKind::Embed`].
    Embed(Embed),
}

/// A conversation to continue.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// The conversation so far, oldest first.
    pub messages: Vec<Message>,
    /// Functions the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, must or must not.
    pub tool_choice: ToolChoice,
    /// `false` forbids more than one call in a turn; absent leaves it to the model.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub format: Format,
    /// How to draw tokens.
    pub sampling: Sampling,
}

/// A prompt to continue.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// One or more prompts; each gets `sampling.n` choices.
    pub prompts: Vec<String>,
    /// Repeat the prompt before the continuation.
    pub echo: bool,
    /// Text that follows the gap.
    pub suffix: Option<String>,
    /// How to draw tokens.
    pub sampling: Sampling,
}

/// Texts to embed.
#[derive(Clone, Debug, Default)]
pub struct Embed {
    /// What to embed, in order.
    pub inputs: Vec<EmbedInput>,
    /// Length of the vectors, where the model can choose it.
    pub dimensions: Option<u32>,
    /// How the face wants the vectors spelt.
    pub base64: bool,
}

/// One text to embed.
#[derive(Clone, Debug)]
pub enum EmbedInput {
    /// As text.
    Text(String),
    /// As token ids of the model's own tokenizer.
    Tokens(Vec<u32>),
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// Instructions above the user (`system` and `developer`).
    System,
    /// The person or program that asks.
    #[default]
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// A turn of the conversation.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What, in order.
    pub parts: Vec<Part>,
    /// A name to tell speakers of one role apart.
    pub name: Option<String>,
}

/// A piece of a turn.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image(Image),
    /// The model calls a tool.
    ToolCall(ToolCall),
    /// A tool answers.
    ToolResult {
        /// The id of the call it answers.
        call_id: String,
        /// What it says.
        text: String,
    },
    /// The model's reasoning, where it shows it.
    Reasoning(String),
    /// The model declines.
    Refusal(String),
}

/// A picture.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it is.
    pub source: ImageSource,
    /// `low`, `high` or `auto`, where the client said.
    pub detail: Option<String>,
}

/// Where a picture is.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// At a URL that the upstream (never this router) fetches.
    Url(String),
    /// Here.
    Data {
        /// `image/png` and the like.
        mime: String,
        /// The encoded picture.
        bytes: Bytes,
    },
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// To match the result with.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON text of the arguments.
    pub arguments: String,
}

/// A function the model may call.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    pub parameters: Option<Box<RawValue>>,
    /// Arguments must match the schema.
    pub strict: Option<bool>,
}

/// Whether tools are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// The form of the answer.
#[derive(Clone, Debug, Default)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// The schema's name.
        name: String,
        /// The schema.
        schema: Box<RawValue>,
        /// Must match exactly.
        strict: Option<bool>,
    },
}

/// How to draw tokens. Absent means the model's default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// At most so many output tokens per choice.
    pub max_tokens: Option<u32>,
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Only the k likeliest tokens.
    pub top_k: Option<u32>,
    /// End before any of these; at most 16.
    pub stop: Vec<String>,
    /// How many choices; absent is 1.
    pub n: Option<u32>,
    /// For repeatable draws, where the upstream can.
    pub seed: Option<i64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// Log probabilities of the output tokens, with so many alternatives each.
    pub logprobs: Option<u32>,
    /// An end user's id, for the provider's abuse detection.
    pub user: Option<String>,
}

/// A set of things a request needs and an offer can do. `a.lacks(b)` is what routing asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Chat.
    pub const CHAT: Self = Self(1);
    /// Legacy completions.
    pub const COMPLETION: Self = Self(1 << 1);
    /// Embeddings.
    pub const EMBED: Self = Self(1 << 2);
    /// Streaming.
    pub const STREAM: Self = Self(1 << 3);
    /// Tools.
    pub const TOOLS: Self = Self(1 << 4);
    /// Pictures in the prompt.
    pub const IMAGES: Self = Self(1 << 5);
    /// Answers as JSON, with or without a schema.
    pub const JSON: Self = Self(1 << 6);
    /// Log probabilities.
    pub const LOGPROBS: Self = Self(1 << 7);
    /// More than one choice.
    pub const N: Self = Self(1 << 8);

    /// Every capability with its name in config, errors and `explain`.
    pub const NAMES: [(Self, &'static str); 9] = [
        (Self::CHAT, "chat"),
        (Self::COMPLETION, "completion"),
        (Self::EMBED, "embed"),
        (Self::STREAM, "stream"),
        (Self::TOOLS, "tools"),
        (Self::IMAGES, "images"),
        (Self::JSON, "json"),
        (Self::LOGPROBS, "logprobs"),
        (Self::N, "n"),
    ];

    /// What a chat model has unless its config says otherwise: all but pictures and embeddings.
    pub const CHAT_DEFAULT: Self = Self(
        Self::CHAT.0
            | Self::COMPLETION.0
            | Self::STREAM.0
            | Self::TOOLS.0
            | Self::JSON.0
            | Self::LOGPROBS.0
            | Self::N.0,
    );

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What of `needs` is not here.
    #[must_use]
    pub const fn lacks(self, needs: Self) -> Self {
        Self(needs.0 & !self.0)
    }

    /// True if `other` is all here.
    pub const fn has(self, other: Self) -> bool {
        self.lacks(other).0 == 0
    }

    /// True for the empty set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of what is in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(c, _)| self.has(*c)).map(|(_, name)| name)
    }

    /// The capability of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, n)| *n == name).map(|(c, _)| c)
    }
}

/// As the list of its names.
impl serde::Serialize for Capabilities {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.names())
    }
}

impl<'de> serde::Deserialize<'de> for Capabilities {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<std::borrow::Cow<'de, str>>::deserialize(from)?;
        names.iter().try_fold(Self::NONE, |set, name| {
            let one = Self::by_name(name);
            one.map(|one| set.with(one))
                .ok_or_else(|| serde::de::Error::custom(format_args!("there is no capability `{name}`")))
        })
    }
}
