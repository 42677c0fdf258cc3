//! What attempts leave behind: load while they run, and knowledge when they end.

use super::sessions::Warm;
use super::{AttemptEnd, Dispatch, Fleet, Ticket, Transition};
use crate::domain::{AskKind, CallFacts, FailureKind, Now, Usage, UsageSource, Usd};
use crate::estimate::FirstToken;
use crate::limit::Sent;
use crate::policy::place::Backlog;

/// A prefix shorter than this says nothing about cache hits: caches work in blocks, providers from 1024 tokens up.
const HIT_MIN_TOKENS: u32 = 1024;

impl Fleet {
    /// The attempt is being sent: counts as load from now on.
    pub fn started(&mut self, facts: &CallFacts, dispatch: Dispatch, now: Now) -> Ticket {
        self.retries.sent(facts.tenant, facts.input_tokens, now.mono);
        let mut lane = 0;
        let mut stretch = 1.0;
        let mut sent = Sent::default();
        if let Some(offer) = self.offers.get_mut(dispatch.offer.index()) {
            offer.breaker.sent();
            offer.sent.add(dispatch.expected_tokens);
            sent = offer.sent;
            if let Some(told) = &mut offer.told {
                told.take(dispatch.expected_tokens, now.mono);
            }
            lane = offer.lane;
            stretch = offer.reading().stretch;
        }
        if let Some(pool) = self.pools.get_mut(dispatch.pool.index()) {
            pool.in_flight.enter();
            pool.granted.take(dispatch.expected_tokens, now);
            pool.granted.spend(dispatch.expected_usd, now);
            let at = pool.position(dispatch.endpoint);
            if let Some((at, e)) = at.and_then(|at| Some((at, pool.endpoints.get_mut(at)?))) {
                e.load.sent(dispatch.lane_s, stretch, now.mono);
                e.breaker.sent();
                if let Some(lane) = e.lanes.get_mut(lane) {
                    lane.sent();
                }
                let endpoints = f64::from(pool.present.max(1));
                if !self.settings.choice.hearsay_only {
                    pool.backlog.add(dispatch.lane_s, stretch, endpoints, now.mono);
                }
                pool.prefills(dispatch.lane_s, &self.settings.estimate);
                pool.busier(at, stretch, now.mono);
            }
        }
        self.prefix_sent(facts, &dispatch);
        self.rival_sent(facts, &dispatch, now);
        let cost = Usd::from_dollars(dispatch.expected_usd);
        Ticket { dispatch, started: now.mono, sent: now.wall, first_token: None, so_far: sent, cost }
    }

    /// Its first content came. What was being tried out with it is let back in.
    pub fn first_token(&mut self, facts: &CallFacts, ticket: &mut Ticket, now: Now) -> Vec<Transition> {
        if ticket.first_token.is_some() {
            return Vec::new();
        }
        ticket.first_token = Some(now.mono);
        self.prefilled(ticket);
        self.idler(ticket, now);
        self.rival_heard(ticket, None, now);
        if shows_first_token(facts) {
            self.learn_first_token(ticket, now);
            self.first_in_time(facts, now);
        }
        let transitions = self.answers(ticket, now);
        self.changed(&transitions, now);
        transitions
    }

    /// A promise about first tokens is kept or not when they come, whoever was tried before.
    fn first_in_time(&mut self, facts: &CallFacts, now: Now) {
        if let Some(target) = self.catalog.class(facts.class).ttft_target {
            self.kept(facts.class, now.mono.since(facts.arrived) <= target);
        }
    }

    /// The same about whole answers.
    fn whole_in_time(&mut self, facts: &CallFacts, now: Now) {
        let class = self.catalog.class(facts.class);
        if let (None, Some(target)) = (class.ttft_target, class.finish_target) {
            self.kept(facts.class, now.mono.since(facts.arrived) <= target);
        }
    }

    fn learn_first_token(&mut self, ticket: &Ticket, now: Now) {
        let actual_s = now.mono.secs_since(ticket.started);
        let expected_s = ticket.dispatch.expected_ttft.as_secs_f64();
        let mut pace = 1.0;
        if let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index()) {
            let several = pool.present > 1;
            if let Some(e) = pool.endpoint_mut(ticket.dispatch.endpoint).filter(|_| several) {
                pace = e.load.pace(ticket.started);
                e.load.paced(actual_s / expected_s.max(1e-6), now.mono);
            }
        }
        let settings = self.settings.estimate;
        if let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) {
            offer.estimate.freshen(&settings, now.mono);
            let read = offer.reading();
            let work_s = ticket.dispatch.work_s;
            let alone_s = (read.base_s + work_s * read.stretch) * pace;
            let queue_s = (expected_s - alone_s).max(0.0);
            // What a slow endpoint adds is its own; the pool's line is about a usual one.
            let (actual_s, expected_s, queue_s) = (actual_s / pace, expected_s / pace, queue_s / pace);
            offer.estimate.first_token(
                FirstToken { work_s, actual_s, expected_s, queue_s },
                &settings,
                now.mono,
            );
        }
    }

    /// It is over.
    pub fn ended(&mut self, facts: &CallFacts, ticket: Ticket, end: AttemptEnd, now: Now) -> Vec<Transition> {
        self.rival_heard(&ticket, Some(end), now);
        self.learn_capacity(&ticket, end, now);
        let whole = ticket.first_token.is_none() && matches!(end, AttemptEnd::Ok { .. });
        if whole && facts.kind == AskKind::Embed {
            self.learn_first_token(&ticket, now);
        }
        self.learn(facts, &ticket, end, now);
        let transitions = self.judge(facts, &ticket, end, now);
        self.changed(&transitions, now);
        if let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index()) {
            let had = pool.endpoints.len();
            pool.tidy();
            if pool.endpoints.len() < had {
                self.forget_prefixes();
            }
        }
        transitions
    }

    /// The attempt gives back its place, and says how many of those there are.
    fn learn_capacity(&mut self, ticket: &Ticket, end: AttemptEnd, now: Now) {
        let pool = ticket.dispatch.pool.index();
        self.release(ticket, matches!(end, AttemptEnd::Ok { .. }), now);
        let full = matches!(end, AttemptEnd::Failed { kind: FailureKind::Overloaded, .. });
        // What a provider has too much of is not ours to count.
        if full && let Some(pool) = self.pools.get_mut(pool).filter(|pool| pool.owned) {
            pool.in_flight.turned_away(pool.all_slots());
        }
    }

    /// Its prefill is done or will never be.
    fn prefilled(&mut self, ticket: &Ticket) {
        let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index()) else { return };
        if let Some(e) = pool.endpoint_mut(ticket.dispatch.endpoint) {
            e.load.prefilled(ticket.dispatch.lane_s);
            pool.backlog.done(ticket.dispatch.lane_s);
        }
    }

    /// The ticket's endpoint has less to do now.
    fn idler(&mut self, ticket: &Ticket, now: Now) {
        let d = &ticket.dispatch;
        let Some(offer) = self.offers.get_mut(d.offer.index()) else { return };
        offer.estimate.freshen(&self.settings.estimate, now.mono);
        let stretch = offer.reading().stretch;
        let Some(pool) = self.pools.get_mut(d.pool.index()) else { return };
        if let Some(at) = pool.position(d.endpoint) {
            pool.idler(at, stretch, now.mono);
        }
    }

    /// Gives back the place that it held.
    fn release(&mut self, ticket: &Ticket, served: bool, now: Now) {
        if ticket.first_token.is_none() {
            self.prefilled(ticket);
        }
        let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index()) else { return };
        if let Some(e) = pool.endpoint_mut(ticket.dispatch.endpoint) {
            e.load.left();
        }
        if let Some(first) = ticket.first_token {
            pool.held(now.mono.secs_since(first), &self.settings.estimate);
        }
        pool.granted.spend(ticket.cost.as_dollars() - ticket.dispatch.expected_usd, now);
        let was_full = pool.in_flight.leave(served);
        if pool.in_flight.count() == 0 {
            pool.backlog = Backlog::NONE;
        }
        if was_full {
            self.news(ticket.dispatch.pool, now.mono);
        }
        self.idler(ticket, now);
    }

    fn learn(&mut self, facts: &CallFacts, ticket: &Ticket, end: AttemptEnd, now: Now) {
        match end {
            AttemptEnd::Ok { usage } => {
                self.count(ticket, true);
                if let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index()) {
                    pool.granted.settle(usage.total() as f64 - ticket.dispatch.expected_tokens, now);
                }
                self.learn_answer(facts, ticket, &usage, now);
                self.whole_in_time(facts, now);
                self.warm_up(facts, ticket, usage.total(), now);
            }
            AttemptEnd::Failed { kind, .. } => {
                self.count(ticket, false);
                let impatient = kind == FailureKind::FirstTokenTimeout && !self.waited_long(ticket, now);
                if costs_a_retry(kind) && !impatient {
                    let settings = self.settings.estimate;
                    if let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) {
                        offer.estimate.finished(true, &settings, now.mono);
                    }
                }
                if matches!(kind, FailureKind::FirstTokenTimeout | FailureKind::Deadline) {
                    self.learn_silence(facts, ticket, now);
                }
            }
            AttemptEnd::Cancelled => {
                self.learn_silence(facts, ticket, now);
                if ticket.first_token.is_some() {
                    self.warm_up(facts, ticket, u64::from(facts.input_tokens), now);
                }
            }
        }
    }

    /// It was given up without a first token: it would have taken at least so long.
    fn learn_silence(&mut self, facts: &CallFacts, ticket: &Ticket, now: Now) {
        let waited_s = now.mono.secs_since(ticket.started);
        let expected_s = ticket.dispatch.expected_ttft.as_secs_f64();
        // Less than twice the expected says next to nothing, and a client's short patience is no fault of the pool.
        if !shows_first_token(facts) || ticket.first_token.is_some() || waited_s < 2.0 * expected_s {
            return;
        }
        let settings = self.settings.estimate;
        if let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) {
            offer.estimate.silent(waited_s, expected_s, &settings, now.mono);
        }
    }

    fn learn_answer(&mut self, facts: &CallFacts, ticket: &Ticket, usage: &Usage, now: Now) {
        let settings = self.settings.estimate;
        let n = u64::from(facts.n.max(1));
        let each = usage.output / n;
        let index = self.output_index(facts);
        if let Some(outputs) = self.outputs.get_mut(index).filter(|_| usage.output > 0) {
            outputs.observe(facts.input_tokens, each as f64);
        }
        let warm = facts.session.and_then(|s| self.sessions.warm(s, facts.model, now.mono));
        let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) else { return };
        let estimate = &mut offer.estimate;
        estimate.finished(false, &settings, now.mono);
        let expected_s = ticket.dispatch.expected_ttft.as_secs_f64();
        match ticket.first_token.filter(|_| shows_first_token(facts)) {
            Some(first) => {
                estimate.decoded(each.saturating_sub(1), now.mono.secs_since(first), &settings, now.mono);
            }
            None => {
                let total_s = now.mono.secs_since(ticket.started);
                let tpot_s = estimate.reading().tpot_s;
                estimate.took(total_s, expected_s + each as f64 * tpot_s, &settings, now.mono);
                estimate.decoded(each, (total_s - expected_s).max(0.0), &settings, now.mono);
            }
        }
        if let Some(warm) = warm.filter(|w| w.endpoint == ticket.dispatch.endpoint)
            && usage.source == UsageSource::Reported
        {
            let prefix = warm.prefix_tokens.min(facts.input_tokens);
            if prefix >= HIT_MIN_TOKENS {
                estimate.cache_hit(usage.cached as f64 / f64::from(prefix), &settings, now.mono);
            }
        }
    }

    /// The endpoint holds so many tokens of the session now.
    fn warm_up(&mut self, facts: &CallFacts, ticket: &Ticket, tokens: u64, now: Now) {
        let Some(session) = facts.session else { return };
        let warm = Warm {
            pool: ticket.dispatch.pool,
            endpoint: ticket.dispatch.endpoint,
            prefix_tokens: u32::try_from(tokens).unwrap_or(u32::MAX),
        };
        self.sessions.touch(session, facts.model, warm, now.mono);
    }

    fn count(&mut self, ticket: &Ticket, served: bool) {
        let by = (u64::from(served), u64::from(!served));
        if let Some(offer) = self.offers.get_mut(ticket.dispatch.offer.index()) {
            (offer.served, offer.failed) = (offer.served + by.0, offer.failed + by.1);
        }
        if let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index()) {
            (pool.served, pool.failed) = (pool.served + by.0, pool.failed + by.1);
        }
    }
}

/// Is the time to its first content that of the prefill? A whole generated answer comes at once, with its last token.
fn shows_first_token(facts: &CallFacts) -> bool {
    facts.stream || facts.kind == AskKind::Embed
}

/// Does such a failure, which may befall any call, send it elsewhere? A caller's mistake does not, nor does its deadline;
/// and what only such a request meets says nothing about the next.
const fn costs_a_retry(kind: FailureKind) -> bool {
    use FailureKind::{ContextTooLong, RequestTooLarge, Unsupported};
    kind.retryable() && !matches!(kind, ContextTooLong | RequestTooLarge | Unsupported)
}
