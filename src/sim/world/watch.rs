//! Who is shown what happens in a run. Nothing depends on it.

use crate::call::Record;
use crate::domain::{CallFacts, CallId};
use crate::policy::record::DecisionRecord;

/// See the module.
pub trait Watch {
    /// Are the decisions about this call to be written down?
    fn records(&self, _call: CallId) -> bool {
        false
    }

    /// A decision about one of those calls.
    fn decided(&mut self, _decision: &DecisionRecord) {}

    /// The account of a call as it closes.
    fn closed(&mut self, facts: &CallFacts, record: &Record);
}

/// Looks at accounts alone.
impl<F: FnMut(&CallFacts, &Record)> Watch for F {
    fn closed(&mut self, facts: &CallFacts, record: &Record) {
        self(facts, record);
    }
}

/// Nobody looks.
pub(super) struct Nobody;

impl Watch for Nobody {
    fn closed(&mut self, _: &CallFacts, _: &Record) {}
}
