//! The words that everything else is said in: ids, time, money, requests, answers, outcomes, and the catalog of what
//! there is. Knows nothing of wires, sockets, files or rules.

pub mod answer;
pub mod aside;
pub mod call;
pub mod catalog;
pub mod ids;
pub mod lineage;
pub mod money;
pub mod names;
pub mod outcome;
#[cfg(test)]
pub(crate) mod plain;
pub mod power;
pub mod reach;
pub mod request;
pub mod time;
pub mod timetable;
pub mod usage;

pub use answer::{Answer, Choice, Delta, Embedded, FinishReason, Generated};
pub use aside::{Allowance, Allowances, Aside, EngineLoad};
pub use call::{Block, CallFacts, Hints};
pub use catalog::{
    Address, Budget, Catalog, Class, ContactWindow, EnginePrior, Grants, Growth, Lease, Model, Offer, Pool,
    Quota, SaidGrants, Tenant, Tenure,
};
pub use ids::{AttemptNo, CallId, ClassId, EndpointId, ModelId, OfferId, PoolId, SessionKey, TenantId};
pub use lineage::{Editions, Lineage};
pub use money::{Price, Usd};
pub use outcome::{Ending, ErrorDetail, Failure, FailureKind, Refusal};
pub use power::Power;
pub use reach::Reach;
pub use request::{AskKind, Body, Capabilities, Dialect, Request};
pub use time::{Duration, Instant, Now, Timestamp};
pub use timetable::{Hours, Timetable};
pub use usage::{Prices, Usage, UsageSource};
