//! What stands behind the face: the router, or in tests a script.

use std::future::Future;
use std::sync::Arc;

use futures_util::Stream;

use super::{ExplainAsk, Explained};
use crate::domain::{Catalog, Refusal};
use crate::flow::{Answered, Inbound, Out, Refused};

/// Answers calls. Dropping what it returned means that the client has gone.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The rest of a streamed answer.
    type Body: Stream<Item = Out> + Send + Unpin + 'static;

    /// Answers a call.
    fn call(&self, inbound: Inbound) -> impl Future<Output = Result<Answered<Self::Body>, Refused>> + Send;

    /// What there is.
    fn catalog(&self) -> Arc<Catalog>;

    /// Says what would be done with a call.
    fn explain(&self, ask: ExplainAsk) -> Result<Explained, Refusal>;
}
