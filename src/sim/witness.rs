//! Whoever writes down what clients of a world hear, beside what routers and pools say of it.

use crate::call::Record;
use crate::domain::{CallFacts, CallId, Instant};
use crate::fleet::Transition;
use crate::policy::record::DecisionRecord;

/// What a client hears of its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// The first content.
    First,
    /// So many tokens have come, in all.
    Tokens(u32),
    /// The end of a whole answer.
    Whole,
    /// There is no answer, and it was told so.
    Refused,
    /// The answer broke off, and it was told so.
    Broken,
    /// The connection to the router is gone, or there was none.
    Cut,
}

/// Sees a world from outside its routers. Calls go by their position in the traffic.
pub trait Witness {
    /// A client sent a call.
    fn sent(&mut self, _call: u32, _at: Instant) {}

    /// It hears something of it.
    fn heard(&mut self, _call: u32, _at: Instant, _word: Word) {}

    /// A router closed its account of it.
    fn closed(&mut self, _call: u32, _facts: &CallFacts, _record: &Record) {}

    /// Are the decisions about this call to be written down?
    fn records(&self, _call: CallId) -> bool {
        false
    }

    /// A decision about one of those calls.
    fn decided(&mut self, _decision: &DecisionRecord) {}

    /// A router thinks otherwise of a pool now.
    fn changed(&mut self, _at: Instant, _transition: &Transition) {}
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Witness for Nobody {}

/// Somebody who sees only the accounts.
pub(super) struct Accountant<'a>(pub(super) &'a mut dyn FnMut(&CallFacts, &Record));

impl Witness for Accountant<'_> {
    fn closed(&mut self, _call: u32, facts: &CallFacts, record: &Record) {
        (self.0)(facts, record);
    }
}
