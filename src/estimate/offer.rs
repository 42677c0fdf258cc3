//! All that is estimated about one pool's service of one model.

use super::tail::Odds;
use super::{Line, Mean, Settings, Tail};
use crate::domain::{Duration, EnginePrior, Instant};

/// Estimates of one offer. Times of samples must not go backwards; if they do, nothing fades.
#[derive(Clone, Debug)]
pub struct OfferEstimate {
    at: Instant,
    /// What the samples come to, and when that was worked out.
    reading: Reading,
    read_at: Instant,
    line: Line,
    tail: Tail,
    /// The same without silences. What a hung engine did not say is no reason to listen to it for longer.
    came: Tail,
    tpot: Mean,
    errors: Mean,
    hits: Mean,
}

/// A prompt that pins the prior of the slope.
const ANCHOR_TOKENS: f64 = 4096.0;
/// Seconds of prefill per token are never taken as less: the regression needs some work to hang on.
const PREFILL_MIN_S: f64 = 1e-6;
/// Fewer output tokens say nothing about the time per token.
const TPOT_MIN_TOKENS: u64 = 8;

/// A reading younger than this is as good as a new one: in half a second samples lose half a per cent of their weight.
const FRESH: Duration = Duration::from_millis(500);

/// The estimates as they are at one moment: what a decision reads, worked out once a sample instead of once a look.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reading {
    /// Time to first token with no prompt and no queue, in seconds, network included.
    pub base_s: f64,
    /// Real seconds per second of nominal prefill work.
    pub stretch: f64,
    /// Seconds per output token.
    pub tpot_s: f64,
    /// Probability that an attempt fails.
    pub p_err: f64,
    /// Share of a warm prefix that is really found in the cache.
    pub hit: f64,
    late: Odds,
    /// So many times the expected is exceeded once in a hundred cases in which something comes at all.
    p99: f64,
}

impl Reading {
    /// The probability that what is expected to take `expected_s` takes longer than `limit_s`.
    #[inline]
    pub fn p_late(&self, limit_s: f64, expected_s: f64) -> f64 {
        if limit_s <= 0.0 { 1.0 } else { self.late.beyond(limit_s / expected_s.max(1e-6)) }
    }

    /// What `expected_s` becomes in all but one case of a hundred of those in which something comes at all.
    pub fn p99(&self, expected_s: f64) -> f64 {
        expected_s * self.p99
    }
}

/// Nominal seconds of prefill for a prompt of `input` tokens of which `cached` are there already, by the operator's prior.
pub fn nominal_work_s(prior: &EnginePrior, input: f64, cached: f64) -> f64 {
    let each = prior.prefill_s_per_token.max(PREFILL_MIN_S);
    let to = f64::from(prior.prefill_square_to.max(1));
    let all = |n: f64| n * (each + prior.prefill_s_per_pair * n.min(to));
    (all(input) - all(cached)).max(0.0)
}

impl OfferEstimate {
    /// Nothing measured yet.
    pub fn new(prior: &EnginePrior, rtt_s: f64, settings: &Settings, now: Instant) -> Self {
        let anchor = nominal_work_s(prior, ANCHOR_TOKENS, 0.0);
        let mut new = Self {
            at: now,
            reading: Reading::default(),
            read_at: now,
            line: Line::new(rtt_s + prior.ttft_base_s, anchor, settings.mean_samples),
            tail: Tail::default(),
            came: Tail::default(),
            tpot: Mean::new(prior.tpot_s.max(0.0), settings.mean_samples),
            errors: Mean::new(settings.error_prior, settings.tail_samples),
            hits: Mean::new(settings.cache_hit_prior, settings.mean_samples),
        };
        new.refresh(settings, now);
        new
    }

    /// What is believed, as of the last sample or the last [`Self::freshen`].
    #[inline]
    pub const fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Sees to it that [`Self::reading`] is as of now, more or less.
    #[inline]
    pub fn freshen(&mut self, settings: &Settings, now: Instant) {
        if now.since(self.read_at) >= FRESH {
            self.refresh(settings, now);
        }
    }

    /// What is believed now.
    pub fn read(&self, settings: &Settings, now: Instant) -> Reading {
        if now.since(self.read_at) < FRESH { self.reading.clone() } else { self.reading_at(settings, now) }
    }

    #[cold]
    fn refresh(&mut self, settings: &Settings, now: Instant) {
        self.reading = self.reading_at(settings, now);
        self.read_at = now;
    }

    fn reading_at(&self, settings: &Settings, now: Instant) -> Reading {
        let fade = settings.fade(now.secs_since(self.at));
        let (base_s, stretch) = self.line.solve(fade, settings);
        let odds = |tail: &Tail| {
            let prior = settings.prior_weight(fade * tail.samples(), settings.tail_samples);
            tail.odds(fade, prior)
        };
        Reading {
            base_s,
            stretch,
            tpot_s: self.tpot.value(fade, settings),
            p_err: self.errors.value(fade, settings),
            hit: self.hits.value(fade, settings),
            late: odds(&self.tail),
            p99: odds(&self.came).quantile(0.01),
        }
    }

    /// The first token of a stream came after `actual_s` where `expected_s` was expected, `queue_s` of it for waiting
    /// behind others, with `work_s` of nominal work.
    pub fn first_token(&mut self, sample: FirstToken, settings: &Settings, now: Instant) {
        self.age(settings, now);
        let ratio = sample.actual_s / sample.expected_s.max(1e-6);
        self.tail.observe(ratio, settings.tail_samples);
        self.came.observe(ratio, settings.tail_samples);
        let alone_s = (sample.actual_s - sample.queue_s).max(0.2 * sample.actual_s);
        self.line.observe(sample.work_s, alone_s);
        self.refresh(settings, now);
    }

    /// Something that was expected to take `expected_s` took `actual_s`.
    pub fn took(&mut self, actual_s: f64, expected_s: f64, settings: &Settings, now: Instant) {
        self.age(settings, now);
        let ratio = actual_s / expected_s.max(1e-6);
        self.tail.observe(ratio, settings.tail_samples);
        self.came.observe(ratio, settings.tail_samples);
        self.refresh(settings, now);
    }

    /// What was expected after `expected_s` had not come after `actual_s`, when it was given up: it is late, and we know no
    /// more.
    pub fn silent(&mut self, actual_s: f64, expected_s: f64, settings: &Settings, now: Instant) {
        self.age(settings, now);
        self.tail.observe(actual_s / expected_s.max(1e-6), settings.tail_samples);
        self.refresh(settings, now);
    }

    /// `tokens` output tokens took `seconds`.
    pub fn decoded(&mut self, tokens: u64, seconds: f64, settings: &Settings, now: Instant) {
        if tokens < TPOT_MIN_TOKENS || seconds < 0.0 {
            return;
        }
        self.age(settings, now);
        self.tpot.observe(seconds / tokens as f64);
        self.refresh(settings, now);
    }

    /// An attempt failed, or did not.
    pub fn finished(&mut self, failed: bool, settings: &Settings, now: Instant) {
        self.age(settings, now);
        self.errors.observe(f64::from(u8::from(failed)));
        self.refresh(settings, now);
    }

    /// The upstream found `share` of a warm prefix in its cache.
    pub fn cache_hit(&mut self, share: f64, settings: &Settings, now: Instant) {
        self.age(settings, now);
        self.hits.observe(share.clamp(0.0, 1.0));
        self.refresh(settings, now);
    }

    fn age(&mut self, settings: &Settings, now: Instant) {
        if now <= self.at {
            return;
        }
        let fade = settings.fade(now.secs_since(self.at));
        self.at = now;
        self.line.age(fade);
        self.tail.age(fade);
        self.came.age(fade);
        self.tpot.age(fade);
        self.errors.age(fade);
        self.hits.age(fade);
    }
}

/// A measured time to first token.
#[derive(Clone, Copy, Debug)]
pub struct FirstToken {
    /// Nominal work of the prompt, in seconds.
    pub work_s: f64,
    /// What it took, in seconds.
    pub actual_s: f64,
    /// What was expected, in seconds, queueing included.
    pub expected_s: f64,
    /// What of that was queueing, in seconds.
    pub queue_s: f64,
}
