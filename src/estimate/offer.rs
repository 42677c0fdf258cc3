//! All that is estimated about one pool's service of one model.

use std::borrow::Cow;

use super::{Line, Mean, Settings, Tail};
use crate::domain::{Duration, EnginePrior, Instant};

/// Estimates of one offer. Times of samples must not go backwards; if they do, nothing fades.
#[derive(Clone, Debug)]
pub struct OfferEstimate {
    at: Instant,
    digest: Digest,
    digested: Instant,
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

/// A digest younger than this is as good as a new one: in half a second samples lose half a per cent of their weight.
const FRESH: Duration = Duration::from_millis(500);

/// The estimates as they are at one moment.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    digest: Cow<'a, Digest>,
    tail: &'a Tail,
    came: &'a Tail,
}

/// What a decision reads, worked out once a sample instead of once a look.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Digest {
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
    fade: f64,
    prior_samples: f64,
    came_prior: f64,
}

impl Reading<'_> {
    /// The probability that what is expected to take `expected_s` takes longer than `limit_s`.
    pub fn p_late(&self, limit_s: f64, expected_s: f64) -> f64 {
        if limit_s <= 0.0 {
            return 1.0;
        }
        self.tail.beyond(limit_s / expected_s.max(1e-6), self.digest.fade, self.digest.prior_samples)
    }

    /// What `expected_s` becomes in all but one case of a hundred of those in which something comes at all.
    pub fn p99(&self, expected_s: f64) -> f64 {
        expected_s * self.came.quantile(0.01, self.digest.fade, self.digest.came_prior)
    }
}

impl std::ops::Deref for Reading<'_> {
    type Target = Digest;
    fn deref(&self) -> &Digest {
        &self.digest
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
            digest: Digest::default(),
            digested: now,
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

    /// What is believed now.
    pub fn read(&self, settings: &Settings, now: Instant) -> Reading<'_> {
        let fresh = now.since(self.digested) < FRESH;
        let digest =
            if fresh { Cow::Borrowed(&self.digest) } else { Cow::Owned(self.digest_at(settings, now)) };
        Reading { digest, tail: &self.tail, came: &self.came }
    }

    /// Works the digest out again, so that reads in the next half second are cheap.
    pub fn refresh(&mut self, settings: &Settings, now: Instant) {
        self.digest = self.digest_at(settings, now);
        self.digested = now;
    }

    fn digest_at(&self, settings: &Settings, now: Instant) -> Digest {
        let fade = settings.fade(now.secs_since(self.at));
        let (base_s, stretch) = self.line.solve(fade, settings);
        Digest {
            base_s,
            stretch,
            tpot_s: self.tpot.value(fade, settings),
            p_err: self.errors.value(fade, settings),
            hit: self.hits.value(fade, settings),
            fade,
            prior_samples: settings.prior_weight(fade * self.tail.samples(), settings.tail_samples),
            came_prior: settings.prior_weight(fade * self.came.samples(), settings.tail_samples),
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
