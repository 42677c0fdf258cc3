//! The state of all pools, offers and endpoints, folded from events; answers what to do with a call now.
//!
//! One plain struct, driven under one lock by `flow` and without any by a simulator. It brings `policy`, `health`,
//! `limit` and `estimate` together; they do not know each other.

pub mod decision;

pub use decision::{AttemptEnd, Decision, Dispatch, Reason, Ticket, Transition, Tried};

use std::sync::Arc;

use rand::rngs::SmallRng;

use crate::domain::{Address, CallFacts, Catalog, Now, PoolId};

/// What an operator may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {}

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    catalog: Arc<Catalog>,
}

#[expect(clippy::panic, clippy::unimplemented, unused_variables, reason = "seams only; the rules come next")]
impl Fleet {
    /// All pools healthy and unknown, no endpoints yet.
    pub fn new(catalog: Arc<Catalog>, settings: Settings, now: Now) -> Self {
        Self { catalog }
    }

    /// The endpoints of a pool are now these: new ones join, missing ones leave (their calls go on), the rest keep
    /// their state.
    pub fn set_endpoints(&mut self, pool: PoolId, addresses: &[Arc<Address>], now: Now) {
        unimplemented!()
    }

    /// What to do with the call now, given what was tried already. Charges the retry budget when it lets a retry go.
    pub fn decide(&mut self, facts: &CallFacts, tried: &[Tried], now: Now, rng: &mut SmallRng) -> Decision {
        unimplemented!()
    }

    /// The attempt is being sent: counts as load from now on.
    pub fn started(&mut self, facts: &CallFacts, dispatch: Dispatch, now: Now) -> Ticket {
        unimplemented!()
    }

    /// Its first content came.
    pub fn first_token(&mut self, facts: &CallFacts, ticket: &mut Ticket, now: Now) {
        unimplemented!()
    }

    /// It is over.
    pub fn ended(&mut self, facts: &CallFacts, ticket: Ticket, end: AttemptEnd, now: Now) -> Vec<Transition> {
        unimplemented!()
    }

    /// No new calls to the pool until [`Self::resume`]; those under way finish.
    pub fn drain(&mut self, pool: PoolId, now: Now) -> Vec<Transition> {
        unimplemented!()
    }

    /// Undoes [`Self::drain`]: the pool comes back with a slow start.
    pub fn resume(&mut self, pool: PoolId, now: Now) -> Vec<Transition> {
        unimplemented!()
    }

    /// A number that grows with every change that could make a waiting call dispatchable.
    pub fn generation(&self) -> u64 {
        unimplemented!()
    }
}
