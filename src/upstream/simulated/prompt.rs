//! What a simulated model sees of a request: how long its prompt is, what names it, and what of it others share.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::request::{Ask, Chat, Completion, Embed, EmbedInput, Message, Part, Role, Sampling};
use crate::engine::Block;

/// What a picture costs in tokens: about one tile of a vision model.
const IMAGE_TOKENS: u32 = 256;

/// Bytes to a block of the prefix cache: 512 tokens, as engines and public traces cut prompts.
const BLOCK_BYTES: usize = 2_048;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Prompt {
    /// Its length in tokens; at least 1.
    pub input: u32,
    /// Stands for all of it.
    pub hash: u64,
    /// Its pieces from the start.
    pub blocks: Vec<Block>,
}

impl Prompt {
    /// Of a request to that model.
    pub(super) fn of(ask: &Ask, model: &str) -> Self {
        let mut prompt = Self { hash: xxh3_64_with_seed(model.as_bytes(), 0), ..Self::default() };
        match ask {
            Ask::Chat(chat) => prompt.chat(chat),
            Ask::Completion(completion) => completion.prompts.iter().for_each(|p| prompt.text(p)),
            Ask::Embed(embed) => prompt.embed(embed),
        }
        prompt.input = prompt.input.max(1);
        prompt
    }

    fn chat(&mut self, chat: &Chat) {
        for tool in &chat.tools {
            self.text(&tool.name);
            self.text(tool.description.as_deref().unwrap_or_default());
            self.text(tool.parameters.as_deref().map_or("", |p| p.get()));
        }
        for message in &chat.messages {
            self.name(match message.role {
                Role::System => 1,
                Role::User => 2,
                Role::Assistant => 3,
                Role::Tool => 4,
            });
            message.parts.iter().for_each(|p| self.part(p));
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text(text) | Part::Reasoning(text) | Part::Refusal(text) => self.text(text),
            Part::Image(_) => {
                // Pictures are not looked at; two conversations that differ only in them are the same one here.
                self.name(5);
                self.block(&[], IMAGE_TOKENS);
            }
            Part::ToolCall(call) => {
                self.text(&call.name);
                self.text(&call.arguments);
            }
            Part::ToolResult { call_id, text } => {
                self.text(call_id);
                self.text(text);
            }
        }
    }

    fn embed(&mut self, embed: &Embed) {
        for input in &embed.inputs {
            match input {
                EmbedInput::Text(text) => self.text(text),
                EmbedInput::Tokens(ids) => {
                    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                    self.block(&bytes, ids.len() as u32);
                }
            }
        }
    }

    fn text(&mut self, text: &str) {
        // Four bytes a token, as everywhere in this project.
        for piece in text.as_bytes().chunks(BLOCK_BYTES) {
            self.block(piece, piece.len().div_ceil(4) as u32);
        }
    }

    fn block(&mut self, bytes: &[u8], tokens: u32) {
        self.hash = xxh3_64_with_seed(bytes, self.hash);
        self.input = self.input.saturating_add(tokens);
        self.blocks.push(Block { hash: self.hash, tokens });
    }

    fn name(&mut self, kind: u8) {
        self.hash = xxh3_64_with_seed(&[kind], self.hash);
    }
}

/// How the request wants tokens drawn; an embedding draws none.
pub(super) fn sampling(ask: &Ask) -> Option<&Sampling> {
    match ask {
        Ask::Chat(Chat { sampling, .. }) | Ask::Completion(Completion { sampling, .. }) => Some(sampling),
        Ask::Embed(_) => None,
    }
}

/// The text of the last turn, in lower case, if a person spoke it.
pub(super) fn last_user_text(messages: &[Message]) -> Option<String> {
    let last = messages.last().filter(|m| m.role == Role::User)?;
    let mut text = String::new();
    for part in &last.parts {
        if let Part::Text(t) = part {
            text.push_str(t);
            text.push(' ');
        }
    }
    Some(text.to_lowercase())
}
