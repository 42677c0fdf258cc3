//! What to do with a call now.

use std::borrow::Cow;
use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::decision::Turn;
use super::state::{Endpoint, PoolState};
use super::survey::{Asking, Strictness, Survey};
use super::{Decision, Dispatch, Fleet, Reason, Tried};
use crate::domain::{CallFacts, Duration, Instant, Now, OfferId, Refusal};
use crate::health::Admission;
use crate::policy::choose::two_least;
use crate::policy::place::Job;
use crate::policy::refuse::{RETRY_AFTER_MIN, Verdict, excuses, verdict};
use crate::policy::rival::Place;
use crate::policy::{CallView, Chosen, Exclusion, Policy, Rank, defer, patience};
use crate::queue::Wish;

/// Up to so many endpoints are all compared; of more, a few: comparing all of them would make every router with the
/// same view choose the same one.
const COMPARE_ALL: usize = 32;
/// How many of a larger pool are drawn at random.
const DRAWN: usize = 2;
/// An endpoint that slow start keeps this call away from is taken only if all others are worse than this, in seconds.
pub(super) const HELD_BACK_S: f64 = 1e4;
/// A call that may wait and is never called up looks by itself after so many short waits: ten thousand of them cost some
/// hundred looks a second.
pub(super) const OWN_LOOK_WAITS: u32 = 5;
impl Fleet {
    /// What to do with the call now, given what was tried already. Charges the retry budget when it lets a retry go.
    ///
    /// A call that was tried and is now shed has no other place to go: its last failure says more to the client than
    /// this refusal does.
    pub fn decide(&mut self, facts: &CallFacts, tried: &[Tried], now: Now, rng: &mut SmallRng) -> Decision {
        if now.mono >= facts.deadline {
            return shed_late("the deadline passed before a pool was chosen");
        }
        if now.wall >= self.prices_until {
            self.reprice(now);
        }
        if let Some(spared) = self.spare(facts, tried.len(), now) {
            return spared;
        }
        if let Err(refused) = self.may_retry(facts, tried, now) {
            return self.not_again(refused, facts, now);
        }
        self.freshen(facts, now);
        let mut found = std::mem::take(&mut self.scratch);
        let asking = self.asking(facts, tried, now);
        let mut level = self.level;
        let looked = self.find(asking, &mut found, rng);
        level.learn(&found.candidates, self.settings.choice.prefill_weight);
        if let Some((asking, chosen)) = &looked
            && let Some(until) = self.defers(asking, &mut found, *chosen, rng)
        {
            self.scratch = found;
            self.level = level;
            return Decision::Wait { until, reason: Cow::Borrowed(defer::REASON), turn: Turn::Alone };
        }
        let decision = match looked {
            Some((asking, chosen)) => self.dispatch(&asking, &found, chosen, rng),
            None => None,
        };
        let decision = match decision {
            Some(dispatch) => {
                self.level = level;
                self.learn_savings(&found, dispatch.expected_tokens);
                if tried.is_empty() {
                    self.learn_demand(facts, dispatch.expected_tokens, now);
                }
                self.charge(facts, tried, now);
                Decision::Dispatch(dispatch)
            }
            None => {
                if !found.candidates.is_empty() {
                    // A last resort whose few places are taken. What an ordinary look finds in the way is the reason.
                    self.survey(&asking, &mut found);
                }
                let decision = self.wait_or_shed(&asking, &found);
                self.put_off(facts, &decision, now);
                decision
            }
        };
        self.scratch = found;
        decision
    }

    /// When to look again, if the call had better wait for a better price.
    pub(super) fn defers(
        &self,
        asking: &Asking<'_>,
        found: &mut Survey,
        chosen: Chosen,
        rng: &mut SmallRng,
    ) -> Option<Instant> {
        let settings = &self.settings.choice;
        if settings.policy != Policy::Price || !asking.call.class.may_wait || !asking.tried.is_empty() {
            return None;
        }
        if self.no_room_to_defer() {
            return None;
        }
        let best = &found.candidates[chosen.best];
        let lot = *found.wait_lot.insert(rng.random());
        defer::until(&asking.call, best, &found.candidates, lot, &settings.defer)
    }

    /// What each pool with limits saved this call, or would have, against the best of the others.
    fn learn_savings(&mut self, found: &Survey, tokens: f64) {
        if !self.limited {
            return;
        }
        let base = |c: &crate::policy::Candidate| c.terms.base() - c.quote.grants_usd;
        let keys = found.candidates.iter().map(base).enumerate();
        let [Some(least), Some(next)] = two_least(keys) else { return };
        for (i, c) in found.candidates.iter().enumerate() {
            let state = &mut self.pools[c.pool.index()];
            if !state.granted.boundless() || self.offers[c.offer.index()].told.is_some() {
                let other = if i == least.0 { next.1 } else { least.1 };
                state.savings.learn(other - base(c), tokens, self.level.step());
            }
        }
    }

    /// Surveys, and once more without regard to illness if illness is all that is in the way.
    pub(super) fn find<'a>(
        &self,
        mut asking: Asking<'a>,
        found: &mut Survey,
        rng: &mut SmallRng,
    ) -> Option<(Asking<'a>, Chosen)> {
        self.survey(&asking, found);
        if found.candidates.is_empty()
            && !asking.call.class.may_wait
            && self.only_ill(&asking, &found.excluded)
        {
            asking.strictness = Strictness::LastResort;
            self.survey(&asking, found);
        }
        found.chosen = self.choose(&asking, &found.candidates, rng);
        found.chosen.map(|chosen| (asking, chosen))
    }

    /// Illness, and nothing that may soon pass by itself, keeps everybody away.
    fn only_ill(&self, asking: &Asking<'_>, excluded: &[Exclusion]) -> bool {
        let facts = asking.call.facts;
        let may_await_probe = asking.call.now.mono < facts.arrived + self.settings.choice.short_wait;
        let soon = |e: &Exclusion| match e {
            Exclusion::Probation => may_await_probe,
            Exclusion::TooSlow { .. } => true,
            _ => e.loaded(),
        };
        excluded.iter().any(Exclusion::ill) && !excluded.iter().any(soon)
    }

    /// The candidate chosen, or another if it turns out to have no endpoint.
    fn dispatch(
        &self,
        asking: &Asking<'_>,
        found: &Survey,
        chosen: Chosen,
        rng: &mut SmallRng,
    ) -> Option<Dispatch> {
        let first = std::iter::once(chosen.best);
        let others = (0..found.candidates.len()).filter(|&i| i != chosen.best);
        for i in first.chain(others) {
            let candidate = &found.candidates[i];
            let job = self.job(asking, &self.known(candidate.offer));
            let pool = &self.pools[candidate.pool.index()];
            if let Some(endpoint) = self.place(asking, candidate.offer, candidate.rank, &job, rng) {
                let chosen =
                    if i == chosen.best { chosen } else { Chosen { best: i, runner_up: None, ..chosen } };
                return Some(self.dispatch_to(asking, found, chosen, &pool.endpoints[endpoint], &job));
            }
        }
        None
    }

    fn dispatch_to(
        &self,
        asking: &Asking<'_>,
        found: &Survey,
        chosen: Chosen,
        endpoint: &Endpoint,
        job: &Job,
    ) -> Dispatch {
        let candidate = &found.candidates[chosen.best];
        let (call, now) = (&asking.call, asking.call.now);
        let read = self.offers[candidate.offer.index()].reading();
        let work_s = self.work_s(asking, endpoint.id, job);
        let wait_s = if self.pools[candidate.pool.index()].owned {
            endpoint.load.wait_s(job.stretch, job.slots, job.hold_s, now.mono)
        } else {
            0.0
        };
        let pace = endpoint.load.pace(now.mono);
        let expected_s = (job.base_s + work_s * job.stretch) * pace + wait_s;
        let processed = asking.tried.iter().filter(|t| !t.unprocessed).count();
        let more = processed + 1 < self.settings.retry.attempts;
        let another = more && found.candidates.iter().any(|c| c.pool != candidate.pool);
        let p99_s = read.p99(expected_s);
        let limits = patience::limits(call, p99_s, read.tpot_s, another, &self.settings.choice);
        Dispatch {
            offer: candidate.offer,
            pool: candidate.pool,
            endpoint: endpoint.id,
            address: Arc::clone(&endpoint.address),
            ttft_limit: limits.first_token,
            idle_limit: limits.idle,
            expected_ttft: patience::seconds(expected_s),
            // Energy is the operator's, and on nobody's bill.
            expected_usd: candidate.terms.money - candidate.quote.energy_usd,
            work_s,
            lane_s: work_s + job.fixed_s,
            expected_tokens: call.input + call.output,
            expected_output: call.output as u32,
            reason: self.reason(found, chosen),
        }
    }

    pub(super) fn reason(&self, found: &Survey, chosen: Chosen) -> Reason {
        let policy = self.settings.choice.policy;
        let priced = policy == crate::policy::Policy::Price;
        let named = |i: usize| {
            let c = &found.candidates[i];
            (Arc::clone(&self.catalog.pool(c.pool).name), priced.then(|| c.terms.total()))
        };
        let (pool, j_usd) = named(chosen.best);
        let policy = if found.candidates.len() == 1 { "only" } else { policy.name() };
        Reason { pool, j_usd, runner_up: chosen.runner_up.map(named), policy }
    }

    /// The endpoint with the least work, among all or a few; its position in the pool.
    fn place(
        &self,
        asking: &Asking<'_>,
        offer: OfferId,
        rank: Rank,
        job: &Job,
        rng: &mut SmallRng,
    ) -> Option<usize> {
        let pool = &self.pools[self.catalog.offer(offer).pool.index()];
        let n = pool.endpoints.len();
        if n == 0 {
            return None;
        }
        let mut look = Look { fleet: self, pool, offer, asking, job, again: false };
        if self.settings.choice.place != Place::Work {
            return self.place_by_rival(&mut look, rank, rng);
        }
        let start = if n > 1 { rng.random_range(0..n) } else { 0 };
        if n > COMPARE_ALL {
            let warm = asking.warm.and_then(|w| pool.position(w.endpoint));
            let hashed = asking.call.facts.session.map(|s| (s.0 % n as u64) as usize);
            let mut few = smallvec::SmallVec::<[usize; 5]>::new();
            few.extend(warm.into_iter().chain(hashed).chain(self.prefix_holder(asking, pool, start)));
            few.push(start);
            few.extend((1..DRAWN).map(|_| rng.random_range(0..n)));
            if let Some(best) = look.least(few.into_iter(), rng) {
                return Some(best);
            }
        }
        // Starting anywhere breaks ties by lot.
        let all = (start..n).chain(0..start);
        look.least(all.clone(), rng).or_else(|| {
            // The rank already says that what was tried may be asked again.
            look.again = matches!(rank, Rank::SameEndpoint | Rank::HeldBack);
            if look.again { look.least(all, rng) } else { None }
        })
    }

    pub(super) fn wait_or_shed(&self, asking: &Asking<'_>, found: &Survey) -> Decision {
        let now = asking.call.now.mono;
        let verdict = verdict(&asking.call, &found.excluded, &self.settings.choice);
        match verdict {
            Verdict::Wait { until, waits_for } => {
                let offer = found.whose[waits_for];
                let pool = &self.catalog.pool(self.catalog.offer(offer).pool).name;
                let reason = format!("{pool}: {}", found.excluded[waits_for].describe(now));
                let look_at = look_at(&asking.call, until, self.settings.choice.short_wait);
                let wish = self.wish(asking, found);
                let opens = found.excluded.iter().filter_map(Exclusion::clears).filter(|&at| at > now).min();
                let turn = Turn::InLine { opens: opens.unwrap_or(Instant::NEVER), look_at, wish };
                Decision::Wait { until, reason: Cow::Owned(reason), turn }
            }
            Verdict::Never => Decision::Shed(Refusal::NoPool {
                message: self.excuses(asking, found),
                retry_after: Duration::ZERO,
                permanent: true,
            }),
            Verdict::Nobody { retry_after } => Decision::Shed(Refusal::NoPool {
                message: self.excuses(asking, found),
                retry_after,
                permanent: false,
            }),
            Verdict::Overloaded { retry_after } => {
                let call = &asking.call;
                let drained =
                    || self.retry_after(call.facts, call.input + call.output, RETRY_AFTER_MIN, call.now);
                let retry_after = retry_after.unwrap_or_else(drained);
                Decision::Shed(Refusal::Overloaded { retry_after, message: self.excuses(asking, found) })
            }
            Verdict::TooLate => shed_late(&self.excuses(asking, found)),
        }
    }

    /// What the call waits for a place with. To be in time it needs what the fastest of those that are only full would take.
    #[cold]
    fn wish(&self, asking: &Asking<'_>, found: &Survey) -> Wish {
        let call = &asking.call;
        let full = found.whose.iter().zip(&found.excluded).filter(|(_, why)| why.loaded());
        let quotes = full.map(|(offer, _)| self.quote(asking, &self.known(*offer), 0.0));
        let whole = call.class.ttft_target.is_none();
        let needs_s = quotes.map(|q| if whole { q.finish_s } else { q.ttft_s }).fold(f64::INFINITY, f64::min);
        let needs_s = if needs_s.is_finite() { needs_s } else { 0.0 };
        Wish { cost: call.input + call.output, needs: patience::seconds(needs_s) }
    }

    /// `no pool for chat-large: owned: drained; cloud-a: cooling down for 3.0 s`.
    fn excuses(&self, asking: &Asking<'_>, found: &Survey) -> String {
        let now = asking.call.now.mono;
        let pool = |offer: &OfferId| &*self.catalog.pool(self.catalog.offer(*offer).pool).name;
        let why = found.whose.iter().zip(&found.excluded).map(|(o, why)| (pool(o), why.describe(now)));
        excuses(&self.catalog.model(asking.call.facts.model).name, why)
    }
}

/// When a call in line looks again by itself. One that may not wait long does when it has waited as long as any may, to be
/// refused if there is still no room; after that, and one that may wait, now and then: those ahead of it may be held up
/// by what it has no use for.
fn look_at(call: &CallView<'_>, until: Instant, short_wait: Duration) -> Instant {
    let (now, given_up) = (call.now.mono, call.facts.arrived + short_wait);
    if call.class.may_wait {
        until.max(now + OWN_LOOK_WAITS * short_wait)
    } else if now < given_up {
        until.max(given_up)
    } else {
        until.max(now + short_wait)
    }
}

fn shed_late(message: &str) -> Decision {
    Decision::Shed(Refusal::DeadlineExceeded { message: message.to_owned() })
}

/// One look at the endpoints of a pool for a call.
pub(super) struct Look<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) pool: &'a PoolState,
    pub(super) offer: OfferId,
    pub(super) asking: &'a Asking<'a>,
    pub(super) job: &'a Job,
    /// Endpoints that this call has tried may be tried again.
    pub(super) again: bool,
}

/// The best endpoint so far.
struct Standing {
    at: usize,
    ttft_s: f64,
    /// Its cost but for being late, in seconds.
    without_s: f64,
    cost_s: f64,
}

impl Look<'_> {
    /// The cheapest of these; of equals the first.
    fn least(&self, positions: impl Iterator<Item = usize>, rng: &mut SmallRng) -> Option<usize> {
        let mut best: Option<Standing> = None;
        for at in positions {
            let e = &self.pool.endpoints[at];
            let Some(penalty) = self.penalty(e, rng) else { continue };
            let glance = self.glance(e);
            let (ttft_s, without_s) = (glance.ttft_s, glance.cost_s + penalty);
            // Whether it would be late is dear to know, and it is no likelier in time than whoever is sooner.
            let worse =
                |b: &Standing| without_s >= b.cost_s || (without_s >= b.without_s && ttft_s >= b.ttft_s);
            if best.as_ref().is_some_and(worse) {
                continue;
            }
            let cost_s = without_s + self.miss_s(ttft_s);
            if best.as_ref().is_none_or(|b| cost_s < b.cost_s) {
                best = Some(Standing { at, ttft_s, without_s, cost_s });
            }
        }
        best.map(|b| b.at)
    }

    /// None if the call must not go there.
    pub(super) fn penalty(&self, e: &Endpoint, rng: &mut SmallRng) -> Option<f64> {
        if e.leaving || (!self.again && self.asking.tried.iter().any(|t| t.endpoint == e.id)) {
            return None;
        }
        if e.troubled { self.penalty_of_troubled(e, rng) } else { Some(0.0) }
    }

    #[cold]
    fn penalty_of_troubled(&self, e: &Endpoint, rng: &mut SmallRng) -> Option<f64> {
        let settings = &self.fleet.settings.health;
        let lane = self.fleet.offers[self.offer.index()].lane;
        let trials = e.breaker.trials().max(e.lanes.get(lane).map_or(0, crate::health::Breaker::trials));
        let last_resort = self.asking.strictness == Strictness::LastResort;
        match e.admission(lane, self.asking.call.now.mono, settings) {
            Admission::Full | Admission::Probe => Some(0.0),
            Admission::Share(share) if rng.random::<f64>() < share => Some(0.0),
            Admission::Share(_) => Some(HELD_BACK_S),
            Admission::Off { .. } if last_resort && trials < settings.panic_calls => Some(0.0),
            Admission::Busy | Admission::Off { .. } => None,
        }
    }
}
