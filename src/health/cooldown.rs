//! Staying away after a 429: for as long as the provider said, or a little longer each time.

use super::Settings;
use crate::domain::{Duration, Instant};

/// Keeps calls away from an offer that said it had enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cooldown {
    /// When the present or last one began, and when it ends.
    span: Option<(Instant, Instant)>,
    /// Cooldowns in a row without a hint.
    steps: u32,
    /// Its end was told.
    told: bool,
}

/// Up to half longer, so that those that were sent away together do not come back together.
const SPREAD: f64 = 0.5;

/// At the cap the spread is in front of it; else nobody comes back sooner than asked.
fn spread(time: Duration, cap: Duration, jitter: f64) -> Duration {
    let least = if time > cap { cap.div_f64(1.0 + SPREAD) } else { time };
    let most = time.mul_f64(1.0 + SPREAD).min(cap);
    least + most.saturating_sub(least).mul_f64(jitter.clamp(0.0, 1.0))
}

/// A hint below this is none: an answer takes longer.
const SHORTEST: Duration = Duration::from_millis(100);

impl Cooldown {
    /// Until when to stay away, if now is before that.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.span.map(|(_, until)| until).filter(|&until| now < until)
    }

    /// It never said that it had enough: the quick test before all others.
    pub const fn never(&self) -> bool {
        self.span.is_none()
    }

    /// The share of calls that may come in after a cooldown: up to 1 over the ramp.
    pub fn share(&self, now: Instant, settings: &Settings) -> f64 {
        let Some((_, until)) = self.span else { return 1.0 };
        let ramp = settings.cooldown_ramp.as_secs_f64().max(1e-3);
        (now.secs_since(until) / ramp).clamp(settings.slow_start_floor, 1.0)
    }

    /// A call sent at `started` was answered 429, with or without a hint. True if a cooldown begins; a shorter one
    /// never replaces a longer one.
    pub fn limited(
        &mut self,
        started: Instant,
        hint: Option<Duration>,
        now: Instant,
        jitter: f64,
        settings: &Settings,
    ) -> bool {
        let running = self.until(now);
        let same_burst = self.span.is_some_and(|(since, _)| started < since);
        let time = match hint {
            Some(hint) => hint.max(SHORTEST),
            None if same_burst => return false,
            None => {
                self.steps = (self.steps + 1).min(16);
                settings.cooldown.saturating_mul(1 << (self.steps - 1))
            }
        };
        let until = now + spread(time, settings.cooldown_max, jitter);
        if running.is_none_or(|r| until > r) {
            self.span = Some((now, until));
            self.told = false;
        }
        running.is_none()
    }

    /// A call sent at `started` was answered well.
    pub fn ok(&mut self, started: Instant) {
        if self.span.is_none_or(|(_, until)| started >= until) {
            self.steps = 0;
        }
    }

    /// True once after a cooldown has ended.
    pub fn ended(&mut self, now: Instant) -> bool {
        let over = self.span.is_some_and(|(_, until)| now >= until) && !self.told;
        self.told |= over;
        over
    }
}
