//! Who is to blame for how an attempt ended, and what changes with it.
//!
//! The narrowest thing takes the blame: a refused connection is the endpoint's, for all models; a hung or failing
//! answer is this model's at this endpoint; only when failures come from several endpoints (or there is only one) is
//! it the pool's service of the model. What took the blame is forgiven further up.

use super::{AttemptEnd, Fleet, Ticket, Transition, jitter};
use crate::domain::{CallFacts, Duration, EndpointId, FailureKind, Instant, Now, OfferId, PoolId};
use crate::health::{Admission, Cause, Change, End, Verdict};

/// What an end means to the three breakers that it concerns.
#[derive(Clone, Copy, Debug)]
struct Blame {
    kind: Option<FailureKind>,
    verdict: Verdict,
    /// No connection: the endpoint's fault, whatever the model.
    connection: bool,
    /// Somebody answered, well or not: the connection is fine.
    answered: bool,
}

/// One end, as it is judged on three floors.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    ticket: &'a Ticket,
    blame: Blame,
    end: End,
    now: Instant,
}

impl Fleet {
    pub(super) fn judge(
        &mut self,
        facts: &CallFacts,
        ticket: &Ticket,
        end: AttemptEnd,
        now: Now,
    ) -> Vec<Transition> {
        let mut out = Vec::new();
        let blame = self.blame(facts, ticket, end, now);
        let case_end = End {
            started: ticket.started,
            verdict: blame.verdict,
            alone: true,
            jitter: jitter(facts.id.0 ^ u64::from(ticket.dispatch.endpoint.0), now.mono),
        };
        let case = Case { ticket, blame, end: case_end, now: now.mono };
        if self.is_watched(ticket) {
            // Even an end that changes no state may free the place of a probe.
            self.news(ticket.dispatch.pool, now.mono);
        }
        self.judge_size(facts, case, &mut out);
        let narrower = self.judge_endpoint(case, &mut out);
        self.judge_offer(case, narrower, &mut out);
        if let AttemptEnd::Failed { kind, retry_after } = end {
            // One that says when to come back speaks of less than a window.
            if kind == FailureKind::QuotaExhausted
                && retry_after.is_none()
                && let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index())
            {
                pool.granted.exhausted(now);
            }
            self.cool_down(case, kind, retry_after, &mut out);
        }
        out
    }

    /// The first content of an attempt: the end of probation for everything that it went through.
    pub(super) fn answers(&mut self, ticket: &Ticket, now: Now) -> Vec<Transition> {
        let mut out = Vec::new();
        if !self.is_watched(ticket) {
            return out;
        }
        let (d, started, now) = (&ticket.dispatch, ticket.started, now.mono);
        let settings = &self.settings.health;
        let Some(offer) = self.offers.get_mut(d.offer.index()) else { return out };
        let endpoint = self.pools.get_mut(d.pool.index()).and_then(|pool| pool.endpoint_mut(d.endpoint));
        if let Some(e) = endpoint {
            let whole = e.breaker.answers(started, now, settings);
            out.extend(whole.map(|c| told(d.pool, None, Some(d.endpoint), c, None)));
            let one = e.lanes.get_mut(offer.lane).and_then(|l| l.answers(started, now, settings));
            out.extend(one.map(|c| told(d.pool, Some(d.offer), Some(d.endpoint), c, None)));
        }
        if let Some(change) = offer.breaker.answers(started, now, settings) {
            (offer.last_failed, offer.several_failed) = (None, false);
            out.push(told(d.pool, Some(d.offer), None, change, None));
        }
        out
    }

    /// Something that the attempt went through is not healthy.
    fn is_watched(&self, ticket: &Ticket) -> bool {
        let d = &ticket.dispatch;
        self.offers.get(d.offer.index()).is_some_and(|o| !o.breaker.is_healthy())
            || self.pools.get(d.pool.index()).is_some_and(|p| p.troubled > 0)
    }

    fn blame(&self, facts: &CallFacts, ticket: &Ticket, end: AttemptEnd, now: Now) -> Blame {
        let kind = match end {
            AttemptEnd::Ok { .. } => {
                return Blame { kind: None, verdict: Verdict::Ok, connection: false, answered: true };
            }
            AttemptEnd::Cancelled => {
                let answered = ticket.first_token.is_some();
                return Blame { kind: None, verdict: Verdict::Neutral, connection: false, answered };
            }
            AttemptEnd::Failed { kind, .. } => kind,
        };
        let verdict = match kind {
            FailureKind::RateLimited => Verdict::Limited,
            FailureKind::Deadline if self.had_its_time(facts, ticket, now) => Verdict::Silent,
            FailureKind::FirstTokenTimeout if !self.waited_long(ticket, now) => Verdict::Neutral,
            // Known by now, and no illness of the rest.
            _ if of_size(kind) && self.is_too_large(facts, ticket, now) => Verdict::Neutral,
            _ if kind.counts_against_health() => Verdict::Failed { local: kind.local_origin() },
            _ => Verdict::Neutral,
        };
        let connection = matches!(kind, FailureKind::Connect | FailureKind::Tls);
        let answered = !kind.local_origin() && kind != FailureKind::Deadline;
        Blame { kind: Some(kind), verdict, connection, answered }
    }

    fn is_too_large(&self, facts: &CallFacts, ticket: &Ticket, now: Now) -> bool {
        let offer = self.offers.get(ticket.dispatch.offer.index());
        offer.is_some_and(|o| !o.sizes.allow(facts.input_tokens, now.mono))
    }

    /// Is it the size of calls that makes them fail?
    fn judge_size(&mut self, facts: &CallFacts, case: Case<'_>, out: &mut Vec<Transition>) {
        let Case { ticket, blame, now, .. } = case;
        let (pool, id) = (ticket.dispatch.pool, ticket.dispatch.offer);
        let Some(offer) = self.offers.get_mut(id.index()) else { return };
        if blame.verdict == Verdict::Ok {
            offer.sizes.ok(facts.input_tokens);
        }
        let Some(cap) = blame
            .kind
            .filter(|kind| of_size(*kind))
            .and_then(|_| offer.sizes.failed(facts.input_tokens, now))
        else {
            return;
        };
        offer.breaker.forgive();
        (offer.last_failed, offer.several_failed) = (None, false);
        let reason =
            format!("calls of {} tokens and more fail: elsewhere for {} s", cap.tokens, cap.time.as_secs());
        let from = offer.name(now, &self.settings.health);
        out.push(Transition { pool, offer: Some(id), endpoint: None, from, to: "size_limited", reason });
    }

    /// A first token that did not come within a client's short deadline says nothing: otherwise anybody could eject
    /// a pool with a few impatient calls.
    pub(super) fn waited_long(&self, ticket: &Ticket, now: Now) -> bool {
        let waited = now.mono.since(ticket.started);
        waited >= self.settings.choice.first_token_min && waited >= 2 * ticket.dispatch.expected_ttft
    }

    /// The deadline of the call left time enough for twice what it was expected to take up to the first that is heard
    /// of it: of a whole answer that is the last token.
    fn had_its_time(&self, facts: &CallFacts, ticket: &Ticket, now: Now) -> bool {
        if ticket.first_token.is_some() || !self.waited_long(ticket, now) {
            return false;
        }
        let d = &ticket.dispatch;
        let Some(offer) = self.offers.get(d.offer.index()).filter(|_| !facts.stream) else { return true };
        let each = f64::from(d.expected_output) / f64::from(facts.n.max(1));
        let decode_s = each * offer.read(&self.settings, now).tpot_s;
        now.mono.secs_since(ticket.started) >= 2.0 * (d.expected_ttft.as_secs_f64() + decode_s)
    }

    /// True if something at the endpoint was ejected for it.
    fn judge_endpoint(&mut self, case: Case<'_>, out: &mut Vec<Transition>) -> bool {
        let Case { ticket, blame, end, now } = case;
        let d = &ticket.dispatch;
        let settings = &self.settings.health;
        let Some(pool) = self.pools.get_mut(d.pool.index()) else { return false };
        let several = pool.present > 1;
        let lane = self.offers.get(d.offer.index()).map_or(0, |o| o.lane);
        let Some(e) = pool.endpoint_mut(d.endpoint) else { return false };
        let local = matches!(blame.verdict, Verdict::Failed { local: true });
        let verdict = if blame.answered {
            Verdict::Ok
        } else if blame.connection || (local && !e.breaker.is_healthy()) {
            blame.verdict
        } else {
            Verdict::Neutral
        };
        let whole = e.breaker.ended(End { verdict, ..end }, now, settings);
        // With a single endpoint the offer's breaker is the lane's.
        let verdict = if blame.connection || !several { Verdict::Neutral } else { blame.verdict };
        let one = e.lanes.get_mut(lane).and_then(|l| l.ended(End { verdict, ..end }, now, settings));
        let (changed, troubled, counted) = (e.note(), e.troubled, !e.leaving);
        if changed && counted {
            pool.troubled = if troubled { pool.troubled + 1 } else { pool.troubled.saturating_sub(1) };
        }
        let ejected = |c: &Option<Change>| c.is_some_and(|c| c.to == "ejected");
        let blamed = ejected(&whole) || ejected(&one);
        out.extend(whole.map(|c| told(d.pool, None, Some(d.endpoint), c, blame.kind)));
        out.extend(one.map(|c| told(d.pool, Some(d.offer), Some(d.endpoint), c, blame.kind)));
        blamed
    }

    fn judge_offer(&mut self, case: Case<'_>, narrower: bool, out: &mut Vec<Transition>) {
        let Case { ticket, blame, end, now } = case;
        let d = &ticket.dispatch;
        let settings = &self.settings.health;
        let pool = self.pools.get(d.pool.index());
        let several = pool.is_some_and(|p| p.present > 1);
        let leaving = pool.and_then(|p| p.endpoint(d.endpoint)).is_none_or(|e| e.leaving);
        let lane = self.offers.get(d.offer.index()).map_or(0, |o| o.lane);
        let lives = |e: &super::state::Endpoint| {
            !e.leaving && !matches!(e.admission(lane, now, settings), Admission::Off { .. })
        };
        let another = pool.is_some_and(|p| p.endpoints.iter().any(|e| e.id != d.endpoint && lives(e)));
        let Some(offer) = self.offers.get_mut(d.offer.index()) else { return };
        let verdict = match blame.verdict {
            // A server that is being taken away takes its calls with it: nobody is sent there any more.
            Verdict::Failed { .. } | Verdict::Silent if leaving => Verdict::Neutral,
            verdict => verdict,
        };
        match verdict {
            Verdict::Ok => {
                offer.cooldown.ok(ticket.started);
                (offer.last_failed, offer.several_failed) = (None, false);
            }
            Verdict::Failed { .. } | Verdict::Silent => {
                offer.several_failed |= offer.last_failed.is_some_and(|e| e != d.endpoint);
                offer.last_failed = Some(d.endpoint);
            }
            Verdict::Limited | Verdict::Neutral => {}
        }
        let healthy = offer.breaker.is_healthy();
        // A pool that comes back in part is back: one endpoint that is still gone fails no probe of the pool, as long as
        // another may answer the next. While it is well, a single endpoint answers for itself.
        let spared = if several { another && !healthy } else { healthy };
        let verdict = if blame.connection && spared { Verdict::Neutral } else { verdict };
        let alone = !several || offer.several_failed;
        let disables = matches!(
            blame.kind,
            Some(FailureKind::QuotaExhausted | FailureKind::Credentials | FailureKind::ModelMissing)
        );
        let change = if disables {
            offer.breaker.disable(end, now, settings)
        } else {
            offer.breaker.ended(End { verdict, alone, ..end }, now, settings)
        };
        if narrower && healthy && change.is_none() {
            offer.breaker.forgive();
            (offer.last_failed, offer.several_failed) = (None, false);
        }
        let about = change.map(|c| told(d.pool, Some(d.offer), None, c, blame.kind));
        match about {
            Some(about) if blame.kind == Some(FailureKind::QuotaExhausted) => {
                self.close_account(case);
                out.push(Transition { offer: None, ..about });
            }
            about => out.extend(about),
        }
    }

    /// The money of one model is the money of all that the pool serves: they need not find out one by one, and people
    /// hear of it once.
    fn close_account(&mut self, case: Case<'_>) {
        let d = &case.ticket.dispatch;
        let Some(pool) = self.pools.get(d.pool.index()) else { return };
        for &id in pool.offers.iter().filter(|id| **id != d.offer) {
            if let Some(offer) = self.offers.get_mut(id.index()) {
                let _told_of_the_pool = offer.breaker.disable(case.end, case.now, &self.settings.health);
            }
        }
    }

    fn cool_down(
        &mut self,
        case: Case<'_>,
        kind: FailureKind,
        hint: Option<Duration>,
        out: &mut Vec<Transition>,
    ) {
        let Case { ticket, end, now, .. } = case;
        if kind == FailureKind::RateLimited
            && let Some(pool) = self.pools.get_mut(ticket.dispatch.pool.index())
        {
            pool.granted.refused(now);
        }
        let asked = kind == FailureKind::Overloaded && hint.is_some();
        if kind != FailureKind::RateLimited && !asked {
            return;
        }
        let d = &ticket.dispatch;
        let Some(offer) = self.offers.get_mut(d.offer.index()) else { return };
        let from = offer.name(now, &self.settings.health);
        if offer.cooldown.limited(ticket.started, hint, now, end.jitter, &self.settings.health) {
            let left = offer.cooldown.until(now).unwrap_or(now).secs_since(now);
            let asked = if hint.is_some() { "asked to stay away" } else { "no hint" };
            let reason = format!("{}: {asked}, for {left:.1} s", kind.name());
            let (pool, offer) = (d.pool, Some(d.offer));
            out.push(Transition { pool, offer, endpoint: None, from, to: "cooldown", reason });
        }
    }

    /// Everything that time alone has changed.
    pub(super) fn settle_all(&mut self, now: Instant) -> Vec<Transition> {
        let settings = self.settings.health;
        let mut out = Vec::new();
        for (i, offer) in self.offers.iter_mut().enumerate() {
            let (pool, id) = (self.catalog.offer(OfferId(i as u16)).pool, OfferId(i as u16));
            out.extend(offer.breaker.settle(now, &settings).map(|c| told(pool, Some(id), None, c, None)));
            if offer.cooldown.ended(now) {
                let over = Change { from: "cooldown", to: "healthy", cause: None };
                out.push(told(pool, Some(id), None, over, None));
            }
        }
        for (i, pool) in self.pools.iter_mut().enumerate() {
            let id = PoolId(i as u16);
            if pool.troubled == 0 {
                continue;
            }
            let offers = &pool.offers;
            for e in pool.endpoints.iter_mut().filter(|e| e.troubled) {
                out.extend(e.breaker.settle(now, &settings).map(|c| told(id, None, Some(e.id), c, None)));
                for (lane, offer) in e.lanes.iter_mut().zip(offers) {
                    let change = lane.settle(now, &settings);
                    out.extend(change.map(|c| told(id, Some(*offer), Some(e.id), c, None)));
                }
            }
            pool.recount(now, &settings);
        }
        out
    }
}

/// Failures that a call's size can be the cause of: out of memory, or more than a gateway takes.
const fn of_size(kind: FailureKind) -> bool {
    use FailureKind::{BadResponse, Disconnected, RequestTooLarge, ServerError};
    matches!(kind, ServerError | Disconnected | BadResponse | RequestTooLarge)
}

fn told(
    pool: PoolId,
    offer: Option<OfferId>,
    endpoint: Option<EndpointId>,
    change: Change,
    kind: Option<FailureKind>,
) -> Transition {
    let kind = kind.map_or("", FailureKind::name);
    let reason = match change.cause {
        Some(Cause::LocalFailures(n)) => format!("{n} failures at the socket in a row, the last: {kind}"),
        Some(Cause::Failures(n)) => format!("{n} failures in a row, the last: {kind}"),
        Some(Cause::Ratio { percent, of }) => {
            format!("{percent} % of {of} calls in 10 s succeeded, the last: {kind}")
        }
        Some(Cause::ProbeFailed) => format!("the probing call failed: {kind}"),
        Some(Cause::Disabled) => format!("{kind}: needs an operator"),
        None if change.to == "slow_start" => "the probing call succeeded".to_owned(),
        None => "by time".to_owned(),
    };
    Transition { pool, offer, endpoint, from: change.from, to: change.to, reason }
}
