//! What a simulated model will say, token by token, before it says it. The same request gets the same answer at every
//! pool and in every attempt.

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::prompt::{Prompt, last_user_text, sampling};
use super::settings::OutputLength;
use super::{schema, words};
use crate::domain::request::{Ask, Chat, Completion, Format, Part, Sampling, Tool, ToolCall, ToolChoice};
use crate::domain::{Choice, Delta, FinishReason, Generated};
use crate::engine::draw::{below, log_normal, mix};

/// Nothing is longer, whatever was drawn.
const MAX_OUTPUT: f64 = 16_384.0;

/// Tools called in one turn at most.
const MAX_CALLS: usize = 4;

/// Words of a tool's name or description that make it a topic have at least so many letters.
const TOPIC_LETTERS: usize = 5;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    choices: Vec<Line>,
    legacy_logprobs: bool,
    /// Alternatives to each token; absent is no log probabilities.
    logprobs: Option<u32>,
    seed: u64,
}

/// What one choice says.
#[derive(Clone, Debug)]
struct Line {
    tokens: Vec<Token>,
    finish: FinishReason,
    /// Bytes of text before the first token, for the offsets of the legacy log probabilities.
    echo: Option<String>,
}

#[derive(Clone, Debug)]
enum Token {
    Text(String),
    /// A tool call begins.
    Call {
        index: u32,
        id: String,
        name: String,
    },
    Arguments {
        index: u32,
        text: String,
    },
}

impl Script {
    /// The answer to a chat or a completion; empty for an embedding.
    pub(super) fn write(ask: &Ask, prompt: &Prompt, length: OutputLength) -> Self {
        let Some(sampling) = sampling(ask) else { return Self::default() };
        // A caller's seed draws again; without one the prompt decides.
        let seed = sampling.seed.map_or(prompt.hash, |s| mix(prompt.hash, s as u64));
        let n = sampling.n.unwrap_or(1).max(1);
        let choices = match ask {
            Ask::Chat(chat) => (0..n).map(|i| chat_line(chat, mix(seed, u64::from(i)), length)).collect(),
            Ask::Completion(completion) => completion_lines(completion, n, seed, length),
            Ask::Embed(_) => Vec::new(),
        };
        Self {
            choices,
            legacy_logprobs: matches!(ask, Ask::Completion(_)),
            logprobs: sampling.logprobs,
            seed,
        }
    }

    /// Steps it takes: tokens of the longest choice, at least 1.
    pub(super) fn steps(&self) -> u32 {
        self.choices.iter().map(|c| c.tokens.len() as u32).max().unwrap_or(0).max(1)
    }

    /// How many choices.
    pub(super) fn sequences(&self) -> u32 {
        self.choices.len() as u32
    }

    /// Tokens of all choices up to that step.
    pub(super) fn output(&self, steps: u32) -> u64 {
        self.choices.iter().map(|c| c.tokens.len().min(steps as usize) as u64).sum()
    }

    /// What is said in the steps from `from` to before `to`, neighbouring tokens joined.
    pub(super) fn deltas(&self, from: u32, to: u32) -> Vec<Delta> {
        let mut out = Vec::new();
        for (i, line) in self.choices.iter().enumerate() {
            let (choice, length) = (i as u32, line.tokens.len());
            let (a, b) = ((from as usize).min(length), (to as usize).min(length));
            self.line_deltas(choice, line, a..b, &mut out);
            // Even an empty line ends, with the first step.
            let ends_at = length.max(1);
            if (from as usize) < ends_at && ends_at <= to as usize {
                out.push(Delta::Finish { choice, reason: line.finish });
            }
        }
        out
    }

    fn line_deltas(&self, choice: u32, line: &Line, range: std::ops::Range<usize>, out: &mut Vec<Delta>) {
        let start = out.len();
        if range.start == 0
            && let Some(echo) = &line.echo
        {
            out.push(Delta::Text { choice, text: echo.clone(), logprobs: None });
        }
        for token in line.tokens.get(range.clone()).unwrap_or_default() {
            match (token, out[start..].last_mut()) {
                (Token::Text(more), Some(Delta::Text { text, .. })) => text.push_str(more),
                (Token::Text(text), _) => {
                    out.push(Delta::Text { choice, text: text.clone(), logprobs: None });
                }
                (Token::Call { index, id, name }, _) => out.push(Delta::ToolCall {
                    choice,
                    index: *index,
                    id: Some(id.clone()),
                    name: Some(name.clone()),
                    arguments: String::new(),
                }),
                (Token::Arguments { text, .. }, Some(Delta::ToolCall { arguments, .. })) => {
                    arguments.push_str(text);
                }
                (Token::Arguments { index, text }, _) => out.push(Delta::ToolCall {
                    choice,
                    index: *index,
                    id: None,
                    name: None,
                    arguments: text.clone(),
                }),
            }
        }
        if let Some(Delta::Text { logprobs, .. }) = out[start..].first_mut() {
            *logprobs = self.logprobs(line, range);
        }
    }

    /// All of it.
    pub(super) fn whole(&self, id: String) -> Generated {
        let choices = self.choices.iter().enumerate().map(|(i, line)| {
            let mut text = line.echo.clone().unwrap_or_default();
            let mut calls: Vec<ToolCall> = Vec::new();
            for token in &line.tokens {
                match token {
                    Token::Text(more) => text.push_str(more),
                    Token::Call { id, name, .. } => {
                        calls.push(ToolCall { id: id.clone(), name: name.clone(), arguments: String::new() });
                    }
                    Token::Arguments { text, .. } => {
                        calls.last_mut().into_iter().for_each(|c| c.arguments.push_str(text));
                    }
                }
            }
            let mut parts: Vec<Part> = calls.into_iter().map(Part::ToolCall).collect();
            if !text.is_empty() || parts.is_empty() {
                parts.insert(0, Part::Text(text));
            }
            let logprobs = self.logprobs(line, 0..line.tokens.len());
            Choice { index: i as u32, parts, finish: line.finish, logprobs }
        });
        Generated { id: Some(id), choices: choices.collect() }
    }

    /// Log probabilities of the text tokens in that range, in the shape of chat or of the legacy completions. They are
    /// draws, not computed from anything; the alternatives are other words of the vocabulary.
    fn logprobs(&self, line: &Line, range: std::ops::Range<usize>) -> Option<Box<RawValue>> {
        let alternatives = u64::from(self.logprobs?.min(20));
        let mut offset = line.echo.as_ref().map_or(0, String::len);
        let (mut content, mut legacy) = (Vec::new(), [const { Vec::<Value>::new() }; 4]);
        for (at, token) in line.tokens.iter().enumerate().take(range.end) {
            let Token::Text(text) = token else { continue };
            if at >= range.start {
                let draw = mix(self.seed, at as u64);
                let sure = -0.01 - below(draw, 900) as f64 / 1_000.0;
                let tops: Vec<(String, f64)> = std::iter::once((text.clone(), sure))
                    .chain((1..alternatives).map(|k| {
                        (
                            format!(" {}", words::noun(mix(draw, k))),
                            (sure * 1e3).round() / 1e3 - 1.25 * k as f64,
                        )
                    }))
                    .take(alternatives as usize)
                    .collect();
                if self.legacy_logprobs {
                    let tops = tops.into_iter().map(|(t, p)| (t, json!(p))).collect();
                    let row = [json!(text), json!(sure), Value::Object(tops), json!(offset)];
                    legacy.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
                } else {
                    let entry = |t: &str, p: f64| json!({"token": t, "logprob": p, "bytes": t.as_bytes()});
                    let mut one = entry(text, sure);
                    one["top_logprobs"] = tops.iter().map(|(t, p)| entry(t, *p)).collect();
                    content.push(one);
                }
            }
            offset += text.len();
        }
        let [tokens, token_logprobs, top_logprobs, text_offset] = legacy;
        let shape = if self.legacy_logprobs {
            json!({"tokens": tokens, "token_logprobs": token_logprobs, "top_logprobs": top_logprobs, "text_offset": text_offset})
        } else {
            json!({"content": content, "refusal": null})
        };
        to_raw_value(&shape).ok()
    }
}

fn chat_line(chat: &Chat, seed: u64, length: OutputLength) -> Line {
    let tools = called(chat);
    if !tools.is_empty() {
        return call_line(&tools, &chat.sampling, seed);
    }
    let tokens = match &chat.format {
        Format::Text => None,
        Format::JsonObject => {
            Some(json!({"answer": words::prose(seed, 12).concat(), "source": words::noun(seed)}))
        }
        Format::JsonSchema { schema, .. } => Some(parsed_instance(Some(schema), seed)),
    };
    let tokens = tokens.map(|value| words::pieces(&value.to_string()));
    text_line(tokens, &chat.sampling, seed, length)
}

fn completion_lines(completion: &Completion, n: u32, seed: u64, length: OutputLength) -> Vec<Line> {
    let mut lines = Vec::new();
    for (p, prompt) in completion.prompts.iter().enumerate() {
        for i in 0..n {
            let seed = mix(mix(seed, p as u64), u64::from(i));
            let mut line = text_line(None, &completion.sampling, seed, length);
            line.echo = completion.echo.then(|| prompt.clone());
            lines.push(line);
        }
    }
    lines
}

fn text_line(fixed: Option<Vec<String>>, sampling: &Sampling, seed: u64, length: OutputLength) -> Line {
    let most = sampling.max_tokens.map_or(usize::MAX, |m| m as usize);
    let mut tokens = fixed.unwrap_or_else(|| {
        let wanted = log_normal(mix(seed, 1), length.median, length.sigma).clamp(1.0, MAX_OUTPUT) as usize;
        words::prose(seed, wanted.min(most))
    });
    let mut finish = FinishReason::Stop;
    if tokens.len() > most {
        tokens.truncate(most);
        finish = FinishReason::Length;
    }
    if stop(&mut tokens, &sampling.stop) {
        finish = FinishReason::Stop;
    }
    Line { tokens: tokens.into_iter().map(Token::Text).collect(), finish, echo: None }
}

/// Cuts before the first stop sequence; true if there was one.
fn stop(tokens: &mut Vec<String>, stops: &[String]) -> bool {
    let text = tokens.concat();
    let first = stops.iter().filter(|s| !s.is_empty()).filter_map(|s| text.find(s.as_str())).min();
    let Some(mut left) = first else { return false };
    let mut keep = 0;
    for token in tokens.iter_mut() {
        if left == 0 {
            break;
        }
        // `find` gives a boundary of characters in the text, so it is one in the token too.
        token.truncate(left);
        left -= token.len();
        keep += 1;
    }
    tokens.truncate(keep);
    true
}

fn call_line(tools: &[&Tool], sampling: &Sampling, seed: u64) -> Line {
    let mut tokens = Vec::new();
    for (i, tool) in tools.iter().enumerate() {
        let (index, seed) = (i as u32, mix(seed, i as u64));
        tokens.push(Token::Call { index, id: format!("call_{seed:016x}"), name: tool.name.clone() });
        let arguments = parsed_instance(tool.parameters.as_deref(), seed);
        let pieces = words::pieces(&arguments.to_string());
        tokens.extend(pieces.into_iter().map(|text| Token::Arguments { index, text }));
    }
    let most = sampling.max_tokens.map_or(usize::MAX, |m| m as usize);
    let finish = if tokens.len() > most { FinishReason::Length } else { FinishReason::ToolCalls };
    tokens.truncate(most);
    Line { tokens, finish, echo: None }
}

fn parsed_instance(schema: Option<&RawValue>, seed: u64) -> Value {
    match schema.and_then(|s| serde_json::from_str::<Value>(s.get()).ok()) {
        Some(schema) => schema::instance(&schema, seed),
        None => json!({}),
    }
}

/// The tools this turn calls. If the choice is left to the model, it calls the tools the user talks about; a turn that
/// ends with a tool's result has no such user, so the model answers then.
fn called(chat: &Chat) -> Vec<&Tool> {
    match &chat.tool_choice {
        ToolChoice::None => Vec::new(),
        ToolChoice::Auto => mentioned(chat),
        ToolChoice::Named(name) => chat.tools.iter().find(|t| t.name == *name).into_iter().collect(),
        ToolChoice::Required => match mentioned(chat) {
            none if none.is_empty() => chat.tools.first().into_iter().collect(),
            some => some,
        },
    }
}

fn mentioned(chat: &Chat) -> Vec<&Tool> {
    let Some(text) = last_user_text(&chat.messages) else { return Vec::new() };
    let most = if chat.parallel_tool_calls == Some(false) { 1 } else { MAX_CALLS };
    chat.tools.iter().filter(|t| talks_about(&text, t)).take(most).collect()
}

/// The text says the tool's name, a long word of it, or two long words of its description.
fn talks_about(text: &str, tool: &Tool) -> bool {
    let says = |word: &str| {
        let word = word.to_lowercase();
        word.len() >= TOPIC_LETTERS && text.split(|c: char| !c.is_alphanumeric()).any(|w| w == word)
    };
    let name = tool.name.to_lowercase();
    if (!name.is_empty() && text.contains(&name)) || name.split(|c: char| !c.is_alphanumeric()).any(says) {
        return true;
    }
    let description = tool.description.as_deref().unwrap_or_default();
    description.split(|c: char| !c.is_alphanumeric()).filter(|w| says(w)).take(2).count() == 2
}
