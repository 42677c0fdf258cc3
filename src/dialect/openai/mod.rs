//! OpenAI's HTTP dialect, and what the many servers compatible with it made of it.
//!
//! Two ways through it. Pass-through, where both sides speak it: [`peek()`] and [`prepare_request`] on the way in,
//! [`Relay`] and [`relay_whole`] on the way out; bytes stay as they are. Translation, where one side speaks another:
//! [`decode_request`] and [`encode_whole`] or [`StreamEncoder`] at a face, [`encode_request`] and [`decode_whole`] or
//! [`decode_chunk`] at an upstream.

mod answer;
mod chunk;
mod encode;
mod error;
mod event;
mod node;
mod peek;
mod prepare;
mod relay;
mod request;
mod survey;
mod usage;
mod whole;

use std::sync::Arc;

pub use answer::{decode_whole, encode_whole};
pub use chunk::{ChunkError, StreamEncoder, decode_chunk};
pub use encode::{Limit, Style, encode, encode_request};
pub use error::{RAW_MAX, decode_error, decode_inner_error, error_body, error_event};
pub use peek::{Peek, choices, peek};
pub use prepare::{Options, prepare, prepare_request};
pub use relay::{Form, Relay, Step, Terms};
pub use request::decode_request;
pub use whole::relay_whole;

/// What every answer and every chunk of one says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// `chatcmpl-…`.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// As the client named it.
    pub model: Arc<str>,
}

#[cfg(test)]
mod recorded;
