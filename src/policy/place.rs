//! Which endpoint of the chosen pool: seconds of work, not requests.
//!
//! cost = queued work + uncached part of this prompt + the delay that this part puts on those already there and those
//!        to come + a penalty for standing in line for a slot.
//! Queued work is what this router sent and saw no first token of, so that decisions are never made on a stale report.

use crate::domain::Instant;

/// The load of an endpoint: what this router caused, always as it is, and what it was told of others.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Load {
    /// Calls under way.
    pub in_flight: u32,
    /// Of those, calls of which nothing was heard yet.
    pub unheard: u32,
    /// Prefill sent and not done.
    pub backlog: Backlog,
    /// How much slower than its pool it was when last seen; 1 is as fast.
    slowness: f64,
    /// When that was.
    seen: Instant,
    /// What others do there, where it says so.
    others: Option<Others>,
    /// Only what it says counts, of own calls too: what is left of a router that does not correct what it is told by what it
    /// has done since. For comparisons.
    hearsay_only: bool,
}

/// What an engine said of calls that are not this router's. News of them fades in a straight line and is forgotten after
/// ten seconds: others come and go, too.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Others {
    /// Their calls.
    pub calls: f64,
    /// Nominal seconds of prefill that are queued for them.
    pub queued_s: f64,
    /// Its KV cache is as good as full: it takes no more at once than it has.
    pub full: bool,
    /// When it said so.
    pub at: Instant,
}

impl Others {
    /// Their calls, as far as the news is still good for anything.
    pub fn calls(&self, now: Instant) -> f64 {
        self.calls * self.worth(now)
    }

    /// Their queued prefill, in nominal seconds.
    pub fn queued_s(&self, now: Instant) -> f64 {
        self.queued_s * self.worth(now)
    }

    fn worth(&self, now: Instant) -> f64 {
        (1.0 - now.secs_since(self.at) / STALE_S).max(0.0)
    }

    /// It is full, as far as is known.
    pub fn full(&self, now: Instant) -> bool {
        self.full && now.secs_since(self.at) < STALE_S
    }
}

/// Prefill that was sent and not seen to be done. What the clock says is done counts as done too: a whole (not
/// streamed) answer shows no first token until its end.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Backlog {
    /// Nominal seconds of calls without a first token.
    pub work_s: f64,
    /// Real seconds left of all that was sent, at `at`, if the estimates are right.
    left_s: f64,
    at: Instant,
}

impl Backlog {
    /// Nothing.
    pub const NONE: Self = Self { work_s: 0.0, left_s: 0.0, at: Instant::START };

    /// Real seconds of work, where one nominal second takes `stretch` and so much is done at a time (endpoints).
    pub fn seconds(&self, stretch: f64, at_a_time: f64, now: Instant) -> f64 {
        // Most endpoints have nothing queued most of the time.
        if self.work_s == 0.0 {
            return 0.0;
        }
        let left_s = self.left_s - at_a_time * now.secs_since(self.at);
        (self.work_s * stretch).min(left_s).max(0.0)
    }

    /// More of it.
    pub fn add(&mut self, work_s: f64, stretch: f64, at_a_time: f64, now: Instant) {
        let left_s = (self.left_s - at_a_time * now.secs_since(self.at)).max(0.0);
        self.left_s = left_s + work_s * stretch;
        self.work_s += work_s;
        self.at = now.max(self.at);
    }

    /// So much of it is done, or will never be.
    pub fn done(&mut self, work_s: f64) {
        // Sums of floats leave dust; below a microsecond it is dust.
        self.work_s -= work_s;
        if self.work_s < 1e-6 {
            self.work_s = 0.0;
        }
    }
}

/// What else a cost needs: the same for all endpoints of a pool.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Job {
    /// Real seconds to a first token with no prompt and no queue.
    pub base_s: f64,
    /// Nominal prefill seconds of the whole prompt.
    pub full_s: f64,
    /// The same where its prefix is cached.
    pub warm_s: f64,
    /// Nominal seconds of every prefill, whatever its length.
    pub fixed_s: f64,
    /// Real seconds per nominal second.
    pub stretch: f64,
    /// Calls an endpoint works on at once.
    pub slots: f64,
    /// Seconds a call holds its slot, on average.
    pub hold_s: f64,
    /// The probability that the session goes on.
    pub next_turn: f64,
    /// Now.
    pub now: Instant,
}

/// A prefill delays the calls that decode meanwhile; so many of them count as one that waits. Of 8, 16, 24, 32, 48 and
/// none at all, 48 gave the least mean time to first token on a trace of conversations, over 6 to 16 engines with fresh
/// news and with old.
const DECODING_PER_WAITING: f64 = 48.0;
/// It also delays those that come while the queue before it lasts: so many a second, which is what an engine for chat sees
/// when it is busy. 0.1 to 0.3 made no difference on that trace; none at all was worse by 1 %.
const COMING_PER_S: f64 = 0.2;
/// News of an endpoint's pace count for half after this many seconds.
const FORGOTTEN_S: f64 = 60.0;
/// News of other's calls is worth half after half of this many seconds, and nothing after all of them.
const STALE_S: f64 = 10.0;

/// What a look at an endpoint for a job comes to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Glance {
    /// Expected seconds to the first token.
    pub ttft_s: f64,
    /// What it costs to send the job there, in seconds: its own, and those of the calls that it delays.
    pub cost_s: f64,
}

/// Expected seconds until one more call than `n` gets a slot, where each is held for `hold_s`.
fn slot_wait_s(n: f64, slots: f64, hold_s: f64) -> f64 {
    let over = n + 1.0 - slots;
    if over > 0.0 { over * hold_s / slots } else { 0.0 }
}

impl Load {
    /// Nothing known, nothing sent.
    pub const IDLE: Self = Self {
        in_flight: 0,
        unheard: 0,
        backlog: Backlog::NONE,
        slowness: 1.0,
        seen: Instant::START,
        others: None,
        hearsay_only: false,
    };

    /// The same, for a router that knows only what it is told.
    pub const HEARSAY: Self = Self { hearsay_only: true, ..Self::IDLE };

    /// Own calls that count: under way, and without a first token.
    pub const fn own(&self) -> (u32, u32) {
        if self.hearsay_only { (0, 0) } else { (self.in_flight, self.unheard) }
    }

    /// Nominal seconds of queued prefill, own and others'.
    pub fn queued_s(&self, now: Instant) -> f64 {
        self.backlog.work_s + self.others.map_or(0.0, |o| o.queued_s(now))
    }

    /// It said this of others.
    pub fn hear(&mut self, others: Others) {
        self.others = Some(others);
    }

    /// What it said of others.
    pub const fn others(&self) -> Option<Others> {
        self.others
    }

    /// Calls there, this router's and others'.
    pub fn calls(&self, now: Instant) -> f64 {
        f64::from(self.own().0) + self.others.map_or(0.0, |o| o.calls(now))
    }

    /// The same, and how many it works on at once.
    fn occupied(&self, slots: f64, now: Instant) -> (f64, f64) {
        let own = f64::from(self.own().0);
        let Some(others) = self.others else { return (own, slots) };
        let n = own + others.calls(now);
        (n, if others.full(now) { slots.min(n.max(1.0)) } else { slots })
    }

    /// How much slower than its pool it is taken to be: what was seen, forgotten over a minute, so that a slow
    /// endpoint is tried again.
    pub fn pace(&self, now: Instant) -> f64 {
        if self.slowness == 1.0 {
            return 1.0;
        }
        1.0 + (self.slowness - 1.0) / (1.0 + now.secs_since(self.seen) / FORGOTTEN_S)
    }

    /// A first token came after `ratio` times what had been expected (with the pace it had).
    pub fn paced(&mut self, ratio: f64, now: Instant) {
        if ratio.is_finite() {
            let seen = self.pace(now) * ratio.clamp(0.2, 5.0);
            // Towards 1 a little, because the pool's own estimate learns the same news.
            self.slowness = (0.88 * self.pace(now) + 0.1 * seen + 0.02).clamp(0.5, 5.0);
            self.seen = now;
        }
    }

    /// Real seconds of queued prefill.
    pub fn backlog_s(&self, stretch: f64, now: Instant) -> f64 {
        let own_s = self.backlog.seconds(stretch * self.pace(now), 1.0, now);
        match &self.others {
            Some(others) => own_s + others.queued_s(now) * stretch * self.pace(now),
            None => own_s,
        }
    }

    /// Expected seconds before the prefill of one more call begins, where a call holds its slot for `hold_s`.
    pub fn wait_s(&self, stretch: f64, slots: f64, hold_s: f64, now: Instant) -> f64 {
        let (n, slots) = self.occupied(slots, now);
        self.backlog_s(stretch, now) + slot_wait_s(n, slots, hold_s)
    }

    /// What it comes to, to send the job here. `warm` if its prefix is here.
    #[inline]
    pub fn glance(&self, job: &Job, warm: bool) -> Glance {
        let (n, slots) = self.occupied(job.slots, job.now);
        let pace = self.pace(job.now);
        let backlog_s = self.backlog_s(job.stretch, job.now);
        let wait_s = backlog_s + slot_wait_s(n, slots, job.hold_s);
        let prefill_s = if warm { job.warm_s } else { job.full_s } * job.stretch * pace;
        let ttft_s = wait_s + job.base_s * pace + prefill_s;
        // The next turn saves the same again, if there is one.
        let kept_s = if warm { job.next_turn * (job.full_s - job.warm_s) * job.stretch } else { 0.0 };
        let delayed = n * (1.0 / DECODING_PER_WAITING) + COMING_PER_S * backlog_s;
        Glance { ttft_s, cost_s: ttft_s + prefill_s * delayed - kept_s }
    }

    /// A call of `work_s` nominal seconds is being sent.
    pub fn sent(&mut self, work_s: f64, stretch: f64, now: Instant) {
        self.in_flight = self.in_flight.saturating_add(1);
        self.unheard = self.unheard.saturating_add(1);
        if !self.hearsay_only {
            self.backlog.add(work_s, stretch * self.pace(now), 1.0, now);
        }
    }

    /// The first token of such a call came, or never will.
    pub fn prefilled(&mut self, work_s: f64) {
        self.unheard = self.unheard.saturating_sub(1);
        self.backlog.done(work_s);
    }

    /// It is over.
    pub fn left(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.unheard = 0;
            self.backlog = Backlog::NONE;
        }
    }
}
