//! `gridtie simulate`: the router in virtual time, against pools that are models.
//!
//! ```text
//! traffic ──► world (event queue) ──► call, fleet, policy, health, limit   (the code that routes live calls)
//!               │  ▲                                        │
//!               ▼  │                                        ▼
//!            engine (one per endpoint)                    tally ──► report
//! ```
//!
//! An [`Experiment`] is many such runs: each [`Contender`] is tuned on a seed of its own and then judged on all others.
//!
//! Nothing here decides where a call goes: the world plays the sockets, the clock and the clients, and writes down what
//! came of it. Everything is a function of (config, traffic, policy, seed): the same arguments give the same bytes.

pub mod bound;
mod certify;
pub mod contender;
pub mod crew;
mod energy;
pub mod experiment;
mod faults;
pub mod plan;
pub mod pools;
mod record;
pub mod report;
pub mod resume;
pub mod size;
pub mod source;
mod station;
pub mod summary;
pub mod tally;
pub mod traffic;
pub mod witness;
pub mod world;
pub mod worth;

pub use contender::Contender;
pub use experiment::Experiment;
pub use pools::PoolSettings;
pub use source::Source;
pub use tally::{ClassTally, PoolTally, Sample, Tally};
pub use traffic::{Arrival, Traffic};
pub use world::{Blow, Fault, Routers, Setup, run};
