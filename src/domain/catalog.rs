//! Everything that is known before the first call: pools, offers, models, classes, tenants.
//!
//! A catalog is built from a config, never changes, and deals the ids that all state is indexed by. A new config is a
//! new catalog, in which names that stay keep their ids ([`lineage`](super::lineage)).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::ids::{ClassId, ModelId, OfferId, PoolId, TenantId};
use super::lineage::Lineage;
use super::money::Usd;
use super::power::Power;
use super::request::{AskKind, Capabilities};
use super::time::Timestamp;
use super::timetable::Timetable;
use super::usage::Prices;

/// The facts that routing may rely on.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By [`PoolId`], in the order of the first config.
    pub pools: Vec<Pool>,
    /// By [`OfferId`], those of a pool in the order of its config.
    pub offers: Vec<Offer>,
    /// By [`ModelId`], those of the first config sorted by name.
    pub models: Vec<Model>,
    /// By [`ClassId`], in the order of the config.
    pub classes: Vec<Class>,
    /// By [`TenantId`]; the first is the anonymous one.
    pub tenants: Vec<Tenant>,
    /// The class of calls that name none.
    pub default_class: ClassId,
    /// Which of all that is here no config names any more.
    pub lineage: Lineage,
}

impl Catalog {
    /// The pool of that id.
    pub fn pool(&self, id: PoolId) -> &Pool {
        &self.pools[id.index()]
    }

    /// The offer of that id.
    pub fn offer(&self, id: OfferId) -> &Offer {
        &self.offers[id.index()]
    }

    /// The model of that id.
    pub fn model(&self, id: ModelId) -> &Model {
        &self.models[id.index()]
    }

    /// The class of that id.
    pub fn class(&self, id: ClassId) -> &Class {
        &self.classes[id.index()]
    }

    /// The tenant of that id.
    pub fn tenant(&self, id: TenantId) -> &Tenant {
        &self.tenants[id.index()]
    }

    /// The model of that name; aliases are looked up too.
    pub fn model_id(&self, name: &str) -> Option<ModelId> {
        let live = |i: &usize| self.has_model(ModelId(*i as u16));
        let sorted = self.models.binary_search_by(|m| (*m.name).cmp(name)).ok().filter(live);
        let at = sorted.or_else(|| {
            let called = |m: &Model| *m.name == *name || m.aliases.iter().any(|a| **a == *name);
            (0..self.models.len()).find(|i| called(&self.models[*i]) && live(i))
        });
        at.map(|i| ModelId(i as u16))
    }

    /// The class of that name.
    pub fn class_id(&self, name: &str) -> Option<ClassId> {
        let named = |id: &ClassId| *self.class(*id).name == *name && self.has_class(*id);
        (0..self.classes.len()).map(|i| ClassId(i as u8)).find(named)
    }

    /// The pool of that name.
    pub fn pool_id(&self, name: &str) -> Option<PoolId> {
        let named = |id: &PoolId| *self.pool(*id).name == *name && self.has_pool(*id);
        (0..self.pools.len()).map(|i| PoolId(i as u16)).find(named)
    }
}

/// How capacity is paid for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenure {
    /// Committed: paid whether used or not, so free at the margin.
    Owned,
    /// Paid by the token.
    Metered,
}

impl Tenure {
    /// The word in config and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::Metered => "metered",
        }
    }
}

/// Capacity under one contract.
#[derive(Clone, PartialEq, Debug)]
pub struct Pool {
    /// Unique.
    pub name: Arc<str>,
    /// How it is paid for.
    pub tenure: Tenure,
    /// Where it is, in the operator's words.
    pub region: Option<Arc<str>>,
    /// Pools of one failure domain are lost together; its own name unless configured.
    pub failure_domain: Arc<str>,
    /// When it can be reached at all (an orbital or otherwise intermittent pool); absent is always.
    pub contact: Option<ContactWindow>,
    /// From when to when it is ours; absent is for good. Owned pools only.
    pub lease: Option<Lease>,
    /// What it draws, and what that costs; absent where nobody said. Owned pools only.
    pub power: Option<Power>,
    /// The round trip to it before anything is measured.
    pub rtt_prior: Duration,
    /// At most so many calls at once, over all its endpoints; absent is no limit.
    pub max_in_flight: Option<u32>,
    /// What its contract grants.
    pub grants: Grants,
    /// Its place in an `ordered` policy: smaller is earlier.
    pub order: u32,
    /// Its share in a `weighted` policy; 0 gets calls only when no other can.
    pub weight: f64,
    /// What an endpoint can do before anything is measured.
    pub engine_prior: EnginePrior,
}

/// Where an endpoint is. Only ever from a config or from the DNS name that a config gave.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// Scheme and authority as configured (`https://api.example.com`), without path: goes to `Host` and SNI.
    pub origin: Arc<str>,
    /// The resolved address, where the origin is a DNS name that stands for many.
    pub socket: Option<SocketAddr>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.socket {
            Some(socket) => write!(f, "{} ({socket})", self.origin),
            None => f.write_str(&self.origin),
        }
    }
}

/// What one endpoint does before anything is measured. Priors for estimates, not limits.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EnginePrior {
    /// Seconds from request to first token with nothing queued and no prompt.
    pub ttft_base_s: f64,
    /// Seconds of prefill per uncached input token of a short prompt.
    pub prefill_s_per_token: f64,
    /// Further seconds per uncached token and token before it: attention, which makes long prompts dearer by the square.
    pub prefill_s_per_pair: f64,
    /// Prompts longer than this are prefilled in chunks: each further token costs what one costs on average at this
    /// length.
    pub prefill_square_to: u32,
    /// Seconds per output token at a small batch.
    pub tpot_s: f64,
    /// Calls an endpoint works on at once before they queue.
    pub slots: u32,
    /// Tokens that its prefix cache holds; 0 has none.
    pub kv_tokens: u64,
}

impl Default for EnginePrior {
    /// A mid-size model at a cloud: half a second to the first token of a short prompt and 40 tokens a second. Only
    /// until about twenty calls have been seen.
    fn default() -> Self {
        Self {
            ttft_base_s: 0.4,
            prefill_s_per_token: 1e-4,
            prefill_s_per_pair: 0.0,
            prefill_square_to: u32::MAX,
            tpot_s: 0.025,
            slots: 64,
            kv_tokens: 1_000_000,
        }
    }
}

/// A periodic window of contact.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContactWindow {
    /// From one window's start to the next; not zero.
    pub period: Duration,
    /// How long a window is; at most `period`.
    pub length: Duration,
    /// The start of some window.
    pub anchor: Timestamp,
}

impl ContactWindow {
    /// Milliseconds since the start of the current period.
    fn phase_ms(&self, at: Timestamp) -> u64 {
        let period = (self.period.as_millis() as u64).max(1);
        let (at, anchor) = (i128::from(at.as_millis()), i128::from(self.anchor.as_millis()));
        (at - anchor).rem_euclid(i128::from(period)) as u64
    }

    /// Is there contact at `at`?
    pub fn open(&self, at: Timestamp) -> bool {
        self.phase_ms(at) < self.length.as_millis() as u64
    }

    /// How long the present contact lasts; zero when there is none.
    pub fn remaining(&self, at: Timestamp) -> Duration {
        Duration::from_millis((self.length.as_millis() as u64).saturating_sub(self.phase_ms(at)))
    }

    /// How long until there is contact; zero when there is.
    pub fn opens_in(&self, at: Timestamp) -> Duration {
        if self.open(at) {
            return Duration::ZERO;
        }
        Duration::from_millis((self.period.as_millis() as u64).saturating_sub(self.phase_ms(at)))
    }
}

/// Capacity that is ours for a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    /// From then; absent is since ever.
    pub from: Option<Timestamp>,
    /// Until then; absent is for good.
    pub until: Option<Timestamp>,
}

impl Lease {
    /// Is it ours at `at`?
    pub fn holds(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// How long it still is; absent is for good.
    pub fn remaining(&self, at: Timestamp) -> Option<Duration> {
        self.until.map(|until| between(at, until))
    }

    /// How long until it is ours; absent if that time is over.
    pub fn begins_in(&self, at: Timestamp) -> Option<Duration> {
        let over = self.until.is_some_and(|until| until <= at);
        (!over).then(|| self.from.map_or(Duration::ZERO, |from| between(at, from)))
    }
}

/// From one moment to a later one; zero if it is not later.
const fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_millis(to.as_millis().saturating_sub(from.as_millis()))
}

/// What a contract grants a pool: beyond it requests are refused. All endpoints together.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Grants {
    /// Requests a minute; a sixth of a minute's worth may come at once.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, prompt and answer; with the same burst, but one request always fits.
    pub tokens_per_minute: Option<u32>,
    /// Tokens a longer window.
    pub quota: Option<Quota>,
    /// What to make of what the pool itself says is left.
    pub said: SaidGrants,
    /// Dollars a longer window. Nobody refuses beyond it: it is the operator's own.
    pub budget: Option<Budget>,
    /// How fast tokens a minute may grow.
    pub growth: Option<Growth>,
}

/// So many dollars in every window of time, and no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Dollars.
    pub usd: Usd,
    /// From one reset to the next; not zero.
    pub every: Duration,
    /// Some reset.
    pub anchor: Timestamp,
}

impl Budget {
    /// The same in nanodollars for tokens: both are so many of something in a window.
    pub fn in_nanos(&self) -> Quota {
        let tokens = u64::try_from(self.usd.as_nanos()).unwrap_or(0);
        Quota { tokens, every: self.every, anchor: self.anchor }
    }
}

/// What to make of the rate limits that a pool tells with its answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SaidGrants {
    /// They are kept to.
    #[default]
    Heeded,
    /// They are not read.
    Ignored,
}

/// What is sent may grow only so fast once it is more than so much.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Growth {
    /// At most so many times as much ...
    pub factor: f64,
    /// ... after this long.
    pub every: Duration,
    /// Tokens a minute, prompt and answer, that may always be sent.
    pub above: u32,
}

/// So many tokens in every window of time; what is left when it ends is lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Prompts and answers.
    pub tokens: u64,
    /// From one reset to the next; not zero.
    pub every: Duration,
    /// Some reset.
    pub anchor: Timestamp,
}

impl Quota {
    /// The number of the window that `at` lies in.
    pub fn window(&self, at: Timestamp) -> u64 {
        let (at, every) = (self.shifted_ms(at), self.every_ms());
        u64::try_from(at.div_euclid(every)).unwrap_or(0)
    }

    /// How long until the next reset.
    pub fn resets_in(&self, at: Timestamp) -> Duration {
        let (at, every) = (self.shifted_ms(at), self.every_ms());
        Duration::from_millis(u64::try_from(every - at.rem_euclid(every)).unwrap_or(0))
    }

    /// Milliseconds since a reset in the distant past, so that windows are numbered from zero up.
    fn shifted_ms(&self, at: Timestamp) -> i128 {
        let every = self.every_ms();
        i128::from(at.as_millis()) - i128::from(self.anchor.as_millis()).rem_euclid(every) + every
    }

    fn every_ms(&self) -> i128 {
        (self.every.as_millis() as i128).max(1)
    }
}

/// A pool's service of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct Offer {
    /// Whose.
    pub pool: PoolId,
    /// Of what.
    pub model: ModelId,
    /// What the pool calls it.
    pub upstream_model: Arc<str>,
    /// Per token, at the usual hours.
    pub prices: Prices,
    /// At all hours, where they change.
    pub hours: Option<Timetable<Prices>>,
    /// Input and output together, in tokens; absent is unknown and unlimited.
    pub context_window: Option<u32>,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl Offer {
    /// The prices of that hour, and the moment at which they change next, if they ever do.
    pub fn prices_at(&self, wall: Timestamp) -> (Prices, Option<Timestamp>) {
        self.hours.as_ref().map_or((self.prices, None), |hours| hours.at(wall))
    }

    /// The least that each kind of token ever costs.
    pub fn least_prices(&self) -> Prices {
        let least = |a: Prices, b: Prices| Prices {
            input: a.input.min(b.input),
            cached: a.cached.min(b.cached),
            cache_write: a.cache_write.min(b.cache_write),
            output: a.output.min(b.output),
        };
        self.hours.iter().flat_map(Timetable::values).reduce(least).unwrap_or(self.prices)
    }
}

/// A name that clients ask for.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// Unique.
    pub name: Arc<str>,
    /// Other names for it.
    pub aliases: Vec<Arc<str>>,
    /// What it is mainly for.
    pub kind: AskKind,
    /// Who offers it, in the order of the pools.
    pub offers: Vec<OfferId>,
}

/// What kind of traffic a call is: its targets and what they are worth.
#[derive(Clone, PartialEq, Debug)]
pub struct Class {
    /// Unique.
    pub name: Arc<str>,
    /// First token within this, or it is a miss.
    pub ttft_target: Option<Duration>,
    /// Whole answer within this, or it is a miss.
    pub finish_target: Option<Duration>,
    /// What a miss costs, in dollars.
    pub miss_usd: f64,
    /// The share of its calls that is to be in time, 0 to 1: while more are late, a miss costs more.
    pub in_time: Option<f64>,
    /// What a second of waiting for the first token costs, in dollars.
    pub delay_usd_per_s: f64,
    /// A call without a deadline of its own gets this one.
    pub deadline: Duration,
    /// The share of what is left of a budget that is not for this class but for those above it, 0 to 1.
    pub reserve: f64,
    /// May wait for a pool to come back into reach (contact, cooldown) instead of failing.
    pub may_wait: bool,
    /// While calls of it wait for room, it gets at least this share of what is granted to those that wait.
    pub floor: f64,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Unique; goes to logs and metrics.
    pub name: Arc<str>,
}
