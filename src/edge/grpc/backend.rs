//! What stands behind the face: the router, or in tests a script.

use super::{ExplainAsk, Explained};
use crate::domain::Refusal;
use crate::edge::openai::Calls;

/// Says what would be done with a call.
pub trait Explains: Send + Sync + 'static {
    /// Where it would go now, and why.
    fn explain(&self, ask: ExplainAsk) -> Result<Explained, Refusal>;
}

/// All that the face needs of the router.
pub trait Backend: Calls + Explains {}

impl<B: Calls + Explains> Backend for B {}
