//! Why an offer may not serve a call: every exclusion has a name, a sentence and an end (or none).

use std::fmt::Write as _;

use super::view::{CallView, Quote, TokenPrices};
use crate::domain::{Capabilities, Instant, Now, Offer, Pool, Timestamp};

/// Why an offer is out.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The prompt and the answer do not fit.
    Context {
        /// Tokens needed, at least.
        need: u32,
        /// Tokens there are.
        window: u32,
    },
    /// A pool with at least this window already said that the prompt is too long.
    RefusedAsTooLong,
    /// It was asked: its dialect has no words for this request, or it does not know a name in it.
    Unsupported,
    /// It cannot do what is needed.
    Capability(Capabilities),
    /// The caller named other pools.
    PoolHint,
    /// The caller named other regions.
    RegionHint,
    /// Dearer than the caller allows.
    #[serde(rename = "max_cost")]
    Cost {
        /// What it may cost, in dollars.
        usd: f64,
        /// What is allowed.
        max: f64,
    },
    /// An operator drained the pool.
    Drained,
    /// No endpoint is known.
    NoEndpoints,
    /// It was tried, and another try would end the same.
    AlreadyTried,
    /// The pool holds as many calls as it may.
    Full {
        /// How many.
        max: u32,
    },
    /// One more call could draw more than the site gives.
    Power {
        /// How many draw all of it.
        calls: u32,
        /// What it gives, in watts.
        max_w: f64,
    },
    /// The breaker of (pool, model) is open.
    Ejected {
        /// Until then.
        until: Instant,
    },
    /// Every endpoint is ejected.
    EndpointsEjected {
        /// The first comes back then.
        until: Instant,
    },
    /// On probation, and another call is probing.
    Probation,
    /// The provider said it has enough.
    Cooldown {
        /// Until then.
        until: Instant,
    },
    /// What the contract grants is used up for the moment.
    Granted {
        /// Until then.
        until: Instant,
    },
    /// No money, no key or no such model there.
    Disabled {
        /// Asked again then.
        until: Instant,
    },
    /// Out of reach.
    NoContact {
        /// In reach then.
        opens: Instant,
    },
    /// Not ours at this time.
    Lease {
        /// Ours from then on; absent if the lease is over.
        begins: Option<Instant>,
    },
    /// Ours, but not for as long as the answer takes.
    LeaseTooShort {
        /// What is left, in seconds.
        left_s: f64,
        /// What is needed, in seconds.
        need_s: f64,
    },
    /// In reach, but not for as long as the answer takes.
    ContactTooShort {
        /// What is left, in seconds.
        left_s: f64,
        /// What is needed, in seconds.
        need_s: f64,
        /// The next contact.
        opens: Instant,
    },
    /// Even if all goes well the first token comes after the deadline.
    TooSlow {
        /// Expected, in seconds.
        ttft_s: f64,
        /// Left, in seconds.
        left_s: f64,
    },
}

/// With luck a first token comes in this share of the expected time. Only what even then is late is not tried.
const LUCK: f64 = 0.5;

/// What time cannot change: the request against the offer.
pub fn fits(call: &CallView<'_>, pool: &Pool, offer: &Offer) -> Result<(), Exclusion> {
    let facts = call.facts;
    let missing = offer.capabilities.lacks(facts.needs);
    if !missing.is_empty() {
        return Err(Exclusion::Capability(missing));
    }
    if let Some(window) = offer.context_window
        && call.window > u64::from(window)
    {
        return Err(Exclusion::Context { need: u32::try_from(call.window).unwrap_or(u32::MAX), window });
    }
    let hints = &facts.hints;
    if !hints.pools.is_empty() && !hints.pools.contains(&pool.name) {
        return Err(Exclusion::PoolHint);
    }
    let in_region = |r: &_| hints.regions.contains(r);
    if !hints.regions.is_empty() && !pool.region.as_ref().is_some_and(in_region) {
        return Err(Exclusion::RegionHint);
    }
    Ok(())
}

/// Is the pool ours and in reach at all?
pub fn in_contact(pool: &Pool, now: Now) -> Result<(), Exclusion> {
    if let Some(lease) = &pool.lease
        && !lease.holds(now.wall)
    {
        return Err(Exclusion::Lease { begins: lease.begins_in(now.wall).map(|wait| now.mono + wait) });
    }
    match &pool.contact {
        Some(window) if !window.open(now.wall) => {
            Err(Exclusion::NoContact { opens: now.mono + window.opens_in(now.wall) })
        }
        Some(_) | None => Ok(()),
    }
}

/// What the estimates say: ours and in reach until the end of the answer, in time, and for the money.
pub fn worth_trying(call: &CallView<'_>, pool: &Pool, quote: &Quote) -> Result<(), Exclusion> {
    let Quote { ttft_s, finish_s, .. } = *quote;
    if let Some(max) = call.facts.hints.max_cost_usd {
        let usd = most_usd(&quote.prices, call);
        if usd > max {
            return Err(Exclusion::Cost { usd, max });
        }
    }
    if let Some(left) = pool.lease.and_then(|lease| lease.remaining(call.now.wall))
        && left.as_secs_f64() < finish_s
    {
        return Err(Exclusion::LeaseTooShort { left_s: left.as_secs_f64(), need_s: finish_s });
    }
    if let Some(window) = &pool.contact {
        let left = window.remaining(call.now.wall);
        if left.as_secs_f64() < finish_s {
            let closes = Timestamp::from_millis(call.now.wall.as_millis() + left.as_millis() as u64);
            let opens = call.now.mono + left + window.opens_in(closes);
            return Err(Exclusion::ContactTooShort { left_s: left.as_secs_f64(), need_s: finish_s, opens });
        }
    }
    if ttft_s * LUCK > call.left_s {
        return Err(Exclusion::TooSlow { ttft_s, left_s: call.left_s });
    }
    Ok(())
}

/// The most it can cost: nothing cached and the whole of the client's limit.
fn most_usd(prices: &TokenPrices, call: &CallView<'_>) -> f64 {
    let limit = call.facts.max_tokens.map_or(call.output, |max| f64::from(max) * call.choices);
    prices.input * call.input + prices.output * limit
}

impl Exclusion {
    /// Nothing but another request or another config changes it.
    pub const fn permanent(&self) -> bool {
        matches!(
            self,
            Self::Context { .. }
                | Self::RefusedAsTooLong
                | Self::Unsupported
                | Self::Capability(_)
                | Self::PoolHint
                | Self::RegionHint
                | Self::Cost { .. }
        )
    }

    /// Illness, which a last resort may ignore.
    pub const fn ill(&self) -> bool {
        matches!(self, Self::Ejected { .. } | Self::EndpointsEjected { .. } | Self::Probation)
    }

    /// Too much work rather than illness.
    pub const fn loaded(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Power { .. } | Self::Cooldown { .. } | Self::Granted { .. })
    }

    /// When time alone ends it, if it does.
    pub const fn clears(&self) -> Option<Instant> {
        match *self {
            Self::Ejected { until }
            | Self::EndpointsEjected { until }
            | Self::Cooldown { until }
            | Self::Granted { until }
            | Self::Disabled { until }
            | Self::NoContact { opens: until }
            | Self::ContactTooShort { opens: until, .. } => Some(until),
            Self::Lease { begins } => begins,
            Self::Context { .. }
            | Self::RefusedAsTooLong
            | Self::Unsupported
            | Self::Capability(_)
            | Self::PoolHint
            | Self::RegionHint
            | Self::Cost { .. }
            | Self::Drained
            | Self::NoEndpoints
            | Self::AlreadyTried
            | Self::Full { .. }
            | Self::Power { .. }
            | Self::LeaseTooShort { .. }
            | Self::Probation
            | Self::TooSlow { .. } => None,
        }
    }

    /// The end of another call may end it.
    pub const fn clears_with_load(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Power { .. } | Self::Probation)
    }

    /// The stable word for metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Context { .. } => "context",
            Self::RefusedAsTooLong => "refused_as_too_long",
            Self::Unsupported => "unsupported",
            Self::Capability(_) => "capability",
            Self::PoolHint => "pool_hint",
            Self::RegionHint => "region_hint",
            Self::Cost { .. } => "max_cost",
            Self::Drained => "drained",
            Self::NoEndpoints => "no_endpoints",
            Self::AlreadyTried => "already_tried",
            Self::Full { .. } => "full",
            Self::Power { .. } => "power",
            Self::Ejected { .. } => "ejected",
            Self::EndpointsEjected { .. } => "endpoints_ejected",
            Self::Probation => "probation",
            Self::Cooldown { .. } => "cooldown",
            Self::Granted { .. } => "granted",
            Self::Disabled { .. } => "disabled",
            Self::NoContact { .. } => "no_contact",
            Self::ContactTooShort { .. } => "contact_too_short",
            Self::Lease { .. } => "lease",
            Self::LeaseTooShort { .. } => "lease_too_short",
            Self::TooSlow { .. } => "too_slow",
        }
    }

    /// For people.
    pub fn describe(&self, now: Instant) -> String {
        let mut s = String::with_capacity(48);
        let left = |until: Instant| until.secs_since(now);
        // Writing to a String cannot fail.
        let _ = match *self {
            Self::Context { need, window } => write!(s, "needs {need} tokens, the context holds {window}"),
            Self::RefusedAsTooLong => write!(s, "the prompt was refused as too long for such a context"),
            Self::Unsupported => write!(s, "cannot be asked this way"),
            Self::Capability(missing) => {
                let names: Vec<_> = missing.names().collect();
                write!(s, "cannot do {}", names.join(", "))
            }
            Self::PoolHint => write!(s, "not among the pools asked for"),
            Self::RegionHint => write!(s, "not in the regions asked for"),
            Self::Cost { usd, max } => write!(s, "may cost ${usd:.6}, allowed is ${max:.6}"),
            Self::Drained => write!(s, "drained"),
            Self::NoEndpoints => write!(s, "no endpoints known"),
            Self::AlreadyTried => write!(s, "already tried"),
            Self::Full { max } => write!(s, "full: {max} calls in flight"),
            Self::Power { calls, max_w } => {
                write!(s, "power: {calls} calls may draw all of its {:.3} MW", max_w / 1e6)
            }
            Self::Ejected { until } => write!(s, "ejected for {:.1} s", left(until)),
            Self::EndpointsEjected { until } => {
                write!(s, "all endpoints ejected, the first for {:.1} s", left(until))
            }
            Self::Probation => write!(s, "on probation, another call is probing"),
            Self::Cooldown { until } => write!(s, "cooling down for {:.1} s", left(until)),
            Self::Granted { until } => {
                write!(s, "what it grants is used up for {:.1} s", left(until))
            }
            Self::Disabled { until } => write!(s, "disabled, asked again in {:.0} s", left(until)),
            Self::NoContact { opens } => write!(s, "no contact for {:.0} s", left(opens)),
            Self::Lease { begins: Some(begins) } => write!(s, "its lease begins in {:.0} s", left(begins)),
            Self::Lease { begins: None } => write!(s, "its lease is over"),
            Self::LeaseTooShort { left_s, need_s } => {
                write!(s, "leased for {left_s:.1} s more, needs {need_s:.1} s")
            }
            Self::ContactTooShort { left_s, need_s, .. } => {
                write!(s, "contact for {left_s:.1} s more, needs {need_s:.1} s")
            }
            Self::TooSlow { ttft_s, left_s } => {
                write!(s, "first token after {ttft_s:.1} s, the deadline is in {left_s:.1} s")
            }
        };
        s
    }
}
