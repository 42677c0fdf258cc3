//! Wire bytes to domain and back, one folder a dialect. Pure: no sockets, no clock, no opinion about routing.
//!
//! Everything here reads bytes that somebody else wrote, so every reader is bounded, and none panics.

pub mod chain;
pub mod engine_load;
pub mod gridtie;
pub mod openai;
pub mod rate_limit;
pub mod retry_after;
pub mod sse;

use std::fmt;

use crate::domain::Refusal;

/// What is wrong with a request, and where: the field as the dialect spells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldError {
    /// `messages[2].content[0].type`, if it is one field.
    pub field: Option<String>,
    /// What is wrong and how to mend it.
    pub message: String,
    /// A stable word for programs (`invalid_type`, `unsupported_parameter`).
    pub code: Option<String>,
}

impl FieldError {
    /// About one field.
    pub fn at(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), message: message.into(), code: None }
    }

    /// About the body as a whole.
    pub fn body(message: impl Into<String>) -> Self {
        Self { field: None, message: message.into(), code: None }
    }

    /// With a word for programs.
    #[must_use]
    pub fn with_code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{field}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for FieldError {}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::Invalid { field: error.field, message: error.message, code: error.code }
    }
}
