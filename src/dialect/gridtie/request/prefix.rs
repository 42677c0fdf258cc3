//! The prompt of a typed request as a chain of blocks, with the weights by which its input tokens are estimated.

use std::sync::Arc;

use super::IMAGE_TOKENS;
use crate::dialect::chain::Chain;
use crate::domain::request::{Ask, Chat, Image, ImageSource, Message, Part, Role, Tool};
use crate::domain::{Block, TenantId};

/// Tools and conversation in the order in which templates of chats put them, or the prompts; empty for embeddings, which
/// share nothing.
pub fn prefix(ask: &Ask, tenant: TenantId) -> Arc<[Block]> {
    let mut chain = Chain::of(tenant);
    match ask {
        Ask::Chat(Chat { messages, tools, .. }) => {
            tools.iter().for_each(|t| tool(&mut chain, t));
            messages.iter().for_each(|m| message(&mut chain, m));
        }
        Ask::Completion(completion) => completion.prompts.iter().for_each(|p| chain.text(p.as_bytes())),
        Ask::Embed(_) => {}
    }
    chain.blocks()
}

fn tool(chain: &mut Chain, tool: &Tool) {
    chain.text(tool.name.as_bytes());
    chain.text(tool.description.as_deref().unwrap_or_default().as_bytes());
    chain.text(tool.parameters.as_deref().map_or("", |json| json.get()).as_bytes());
}

fn message(chain: &mut Chain, message: &Message) {
    let role = match message.role {
        Role::System => b"s",
        Role::User => b"u",
        Role::Assistant => b"a",
        Role::Tool => b"t",
    };
    chain.whole(role, 0);
    chain.whole(message.name.as_deref().unwrap_or_default().as_bytes(), 0);
    for part in &message.parts {
        match part {
            Part::Text(text) | Part::Reasoning(text) | Part::Refusal(text) => chain.text(text.as_bytes()),
            Part::Image(picture) => image(chain, picture),
            Part::ToolCall(call) => {
                chain.text(call.name.as_bytes());
                chain.text(call.arguments.as_bytes());
            }
            Part::ToolResult { text, .. } => chain.text(text.as_bytes()),
        }
    }
}

fn image(chain: &mut Chain, image: &Image) {
    let bytes = match &image.source {
        ImageSource::Url(url) => url.as_bytes(),
        ImageSource::Data { bytes, .. } => bytes,
    };
    chain.whole(bytes, IMAGE_TOKENS as u32);
}
