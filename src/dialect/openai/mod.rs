//! OpenAI's HTTP dialect, and what the many servers compatible with it made of it.
#![expect(clippy::panic, clippy::unimplemented, unused_variables, reason = "signatures first; bodies follow")]

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::FieldError;
use crate::domain::request::Ask;
use crate::domain::{Answer, AskKind, Capabilities, Delta, Failure, Usage};

/// What routing needs to know of a request, read in one pass without copying the prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peek {
    /// The model asked for.
    pub model: String,
    /// The answer is to be streamed.
    pub stream: bool,
    /// `stream_options.include_usage`.
    pub stream_usage: bool,
    /// The limit on output tokens per choice.
    pub max_tokens: Option<u32>,
    /// Choices; at least 1.
    pub n: u32,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// Estimated input tokens.
    pub input_tokens: u32,
    /// `prompt_cache_key`.
    pub session: Option<String>,
}

/// Reads what routing needs.
pub fn peek(kind: AskKind, body: &Bytes) -> Result<Peek, FieldError> {
    unimplemented!()
}

/// Reads all of a request.
pub fn decode_request(kind: AskKind, body: &[u8]) -> Result<Ask, FieldError> {
    unimplemented!()
}

/// Writes a canonical request. A streamed one asks for usage.
pub fn encode_request(ask: &Ask, model: &str, stream: bool) -> Bytes {
    unimplemented!()
}

/// The same bytes with another model, and (streamed) with usage asked for. Unknown fields survive byte for byte.
pub fn prepare_request(kind: AskKind, body: &Bytes, model: &str, stream: bool) -> Bytes {
    unimplemented!()
}

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

/// Writes a whole answer.
pub fn encode_whole(
    kind: AskKind,
    answer: &Answer,
    usage: &Usage,
    meta: &Meta,
    base64_vectors: bool,
) -> Bytes {
    unimplemented!()
}

/// Writes a streamed answer.
#[derive(Debug)]
pub struct StreamEncoder {
    kind: AskKind,
    meta: Meta,
    include_usage: bool,
}

impl StreamEncoder {
    /// Nothing written yet.
    pub fn new(kind: AskKind, meta: Meta, include_usage: bool) -> Self {
        Self { kind, meta, include_usage }
    }

    /// The deltas as framed events; possibly empty.
    pub fn push(&mut self, deltas: &[Delta]) -> Bytes {
        unimplemented!()
    }

    /// The end: the usage chunk if it was asked for, then `[DONE]`.
    pub fn finish(&mut self, usage: &Usage) -> Bytes {
        unimplemented!()
    }
}

/// Reads a whole answer. The usage is the upstream's, if it is credible.
pub fn decode_whole(kind: AskKind, body: &[u8]) -> Result<(Answer, Option<Usage>), String> {
    unimplemented!()
}

/// Why a chunk gave no deltas.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChunkError {
    /// Not a chunk: not JSON, or not of that form.
    Malformed(String),
    /// The upstream says that it failed.
    Failed(Box<Failure>),
}

/// Reads the data of one event of a stream (not `[DONE]`).
pub fn decode_chunk(kind: AskKind, data: &[u8]) -> Result<SmallVec<[Delta; 2]>, ChunkError> {
    unimplemented!()
}

/// `{"error":{…}}`.
pub fn error_body(message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Bytes {
    unimplemented!()
}

/// An honest end of a broken stream: one event, and never `[DONE]`.
pub fn error_event(message: &str, kind: &str, code: &str, tokens_delivered: u64) -> Bytes {
    unimplemented!()
}

/// What an error answer means, from its status and whatever its body is. The wait is in the headers:
/// [`retry_after`](super::retry_after::retry_after).
pub fn decode_error(status: u16, body: &[u8]) -> Failure {
    unimplemented!()
}
