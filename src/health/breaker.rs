//! The breaker: healthy, off, on probation, in slow start.

use super::Settings;
use super::window::Window;
use crate::domain::{Duration, Instant};

/// Watches one thing that can be ill.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    state: State,
    /// Calls sent before this are old news: when it was last ejected, or when the call was sent that let it back in.
    since: Instant,
    /// Calls under way that were sent while it was off or on probation.
    trials: u16,
    local_streak: u8,
    streak: u8,
    window: Window,
    ejections: u32,
    disables: u32,
}

#[derive(Clone, Copy, PartialEq, Debug, Default)]
enum State {
    #[default]
    Healthy,
    Off {
        until: Instant,
        cause: Cause,
    },
    Probation,
    SlowStart {
        began: Instant,
    },
}

/// Why something is off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// So many failures at our own socket in a row.
    LocalFailures(u8),
    /// So many failures in a row.
    Failures(u8),
    /// Too few successes among so many calls of the last ten seconds, in per cent.
    Ratio {
        /// Of a hundred.
        percent: u8,
        /// Calls.
        of: u32,
    },
    /// The probing call failed.
    ProbeFailed,
    /// No money, no key or no such model there: waiting does not help, people do.
    Disabled,
}

/// What a breaker says to one more call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Admission {
    /// Come in.
    Full,
    /// Slow start: this share of the calls may come in.
    Share(f64),
    /// Probation, and nobody is probing: one call may.
    Probe,
    /// Probation, and somebody is probing.
    Busy,
    /// Off.
    Off {
        /// Until then.
        until: Instant,
        /// Because.
        cause: Cause,
    },
}

/// How a call ended, to a breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Well.
    Ok,
    /// Ill; `local` if we saw it at our own socket.
    Failed {
        /// Seen at the socket, not told by a status.
        local: bool,
    },
    /// Not a word within a time that was long enough. It may have been about to speak, so that only a row of these
    /// without any success between says something; a share of them is what impatient clients look like.
    Silent,
    /// Limited (429): no illness, but no success for a probe either.
    Limited,
    /// Says nothing: cancelled, or the caller's own mistake.
    Neutral,
}

/// A change of state.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Change {
    /// From which state.
    pub from: &'static str,
    /// To which.
    pub to: &'static str,
    /// Why it went off, if it did.
    pub cause: Option<Cause>,
}

impl Breaker {
    /// True if nothing is or was lately wrong: the quick test before all others.
    pub fn is_healthy(&self) -> bool {
        self.state == State::Healthy
    }

    /// What it says to one more call.
    pub fn admission(&self, now: Instant, settings: &Settings) -> Admission {
        match self.state {
            State::Healthy => Admission::Full,
            State::Off { until, cause } if now < until => Admission::Off { until, cause },
            State::Off { .. } | State::Probation => {
                if self.trials == 0 {
                    Admission::Probe
                } else {
                    Admission::Busy
                }
            }
            State::SlowStart { began } => {
                let share = risen(began, now, settings);
                if share < 1.0 { Admission::Share(share) } else { Admission::Full }
            }
        }
    }

    /// Calls under way that try out something that is off.
    pub const fn trials(&self) -> u16 {
        self.trials
    }

    /// The name of the state.
    pub fn name(&self, now: Instant, settings: &Settings) -> &'static str {
        match self.admission(now, settings) {
            Admission::Full => "healthy",
            Admission::Share(_) => "slow_start",
            Admission::Probe | Admission::Busy => "probation",
            Admission::Off { cause: Cause::Disabled, .. } => "disabled",
            Admission::Off { .. } => "ejected",
        }
    }

    /// A call was sent.
    pub fn sent(&mut self) {
        if matches!(self.state, State::Off { .. } | State::Probation) {
            self.trials = self.trials.saturating_add(1);
        }
    }

    /// A call sent at `started` gave its first content. To something that is tried out this is the success it waits
    /// for: whether a long answer also ends well is an ordinary question, and not worth minutes of one call at a time.
    pub fn answers(&mut self, started: Instant, now: Instant, settings: &Settings) -> Option<Change> {
        let tried_out = matches!(self.state, State::Off { .. } | State::Probation) && self.trials > 0;
        if started < self.since || !tried_out {
            return None;
        }
        let from = self.name(now, settings);
        self.turn(State::SlowStart { began: now }, now);
        // Its end is still to come, and counts.
        self.since = started;
        Some(Change { from, to: "slow_start", cause: None })
    }

    /// A call sent at `started` ended. `alone` says that this breaker may judge by streaks and ratios; a breaker over
    /// several endpoints may not while all failures come from one of them.
    pub fn ended(&mut self, end: End, now: Instant, settings: &Settings) -> Option<Change> {
        if end.started < self.since {
            return None;
        }
        if matches!(self.state, State::Off { .. } | State::Probation) {
            return self.tried_out(end, now, settings);
        }
        match end.verdict {
            Verdict::Ok => {
                (self.streak, self.local_streak) = (0, 0);
                self.window.add(true, now);
                self.settle(now, settings)
            }
            Verdict::Failed { local } => {
                self.streak = self.streak.saturating_add(1);
                self.local_streak = self.local_streak.saturating_add(u8::from(local));
                self.window.add(false, now);
                let cause = self.verdict(end.alone, settings)?;
                Some(self.eject(cause, now, end.jitter, settings))
            }
            Verdict::Silent => {
                self.streak = self.streak.saturating_add(1);
                let row = end.alone && self.streak >= settings.failures;
                row.then(|| self.eject(Cause::Failures(self.streak), now, end.jitter, settings))
            }
            Verdict::Limited | Verdict::Neutral => self.settle(now, settings),
        }
    }

    /// Off for long: nothing but people can help. Counts calls sent since the last change only.
    pub fn disable(&mut self, end: End, now: Instant, settings: &Settings) -> Option<Change> {
        if end.started < self.since {
            return None;
        }
        if matches!(self.state, State::Off { cause: Cause::Disabled, until } if now < until) {
            self.trials = self.trials.saturating_sub(1);
            return None;
        }
        let from = self.name(now, settings);
        let doubled = settings.disabled.saturating_mul(1 << self.disables.min(16));
        self.disables = self.disables.saturating_add(1);
        let until = now + jittered(doubled, settings.disabled_max, end.jitter);
        self.turn(State::Off { until, cause: Cause::Disabled }, now);
        Some(Change { from, to: "disabled", cause: Some(Cause::Disabled) })
    }

    /// Forgets the failures so far: something narrower took the blame.
    pub fn forgive(&mut self) {
        (self.streak, self.local_streak) = (0, 0);
        self.window = Window::default();
    }

    /// Comes back through a slow start, whatever it was (unless it is off for a reason of its own).
    pub fn slow_start(&mut self, now: Instant, settings: &Settings) -> Option<Change> {
        if matches!(self.state, State::Off { .. } | State::Probation) {
            return None;
        }
        let from = self.name(now, settings);
        self.turn(State::SlowStart { began: now }, now);
        Some(Change { from, to: "slow_start", cause: None })
    }

    /// What it watches is another from now on: calls sent before say nothing about it, and illness is over.
    pub fn renew(&mut self, now: Instant, settings: &Settings) -> Option<Change> {
        match self.state {
            State::Healthy | State::SlowStart { .. } => {
                self.since = now;
                self.forgive();
                None
            }
            State::Off { .. } | State::Probation => {
                let from = self.name(now, settings);
                self.turn(State::SlowStart { began: now }, now);
                (self.ejections, self.disables) = (0, 0);
                Some(Change { from, to: "slow_start", cause: None })
            }
        }
    }

    /// Says what time alone has changed.
    pub fn settle(&mut self, now: Instant, settings: &Settings) -> Option<Change> {
        match self.state {
            State::Off { until, cause } if now >= until => {
                let from = if cause == Cause::Disabled { "disabled" } else { "ejected" };
                self.state = State::Probation;
                Some(Change { from, to: "probation", cause: None })
            }
            State::SlowStart { began } if risen(began, now, settings) >= 1.0 => {
                self.state = State::Healthy;
                (self.ejections, self.disables) = (0, 0);
                Some(Change { from: "slow_start", to: "healthy", cause: None })
            }
            State::Healthy | State::Off { .. } | State::Probation | State::SlowStart { .. } => None,
        }
    }

    fn tried_out(&mut self, end: End, now: Instant, settings: &Settings) -> Option<Change> {
        if self.trials == 0 {
            return None;
        }
        self.trials -= 1;
        let from = self.name(now, settings);
        match end.verdict {
            Verdict::Ok => {
                self.turn(State::SlowStart { began: now }, now);
                Some(Change { from, to: "slow_start", cause: None })
            }
            // While it is off (and everything else is too), a failure is what was expected.
            Verdict::Failed { .. } | Verdict::Silent | Verdict::Limited if from == "probation" => {
                Some(self.eject(Cause::ProbeFailed, now, end.jitter, settings))
            }
            Verdict::Failed { .. } | Verdict::Silent | Verdict::Limited | Verdict::Neutral => None,
        }
    }

    fn verdict(&self, alone: bool, settings: &Settings) -> Option<Cause> {
        if !alone {
            return None;
        }
        if self.local_streak >= settings.local_failures {
            return Some(Cause::LocalFailures(self.local_streak));
        }
        if self.streak >= settings.failures {
            return Some(Cause::Failures(self.streak));
        }
        let (all, good) = self.window.totals();
        let ratio = f64::from(good) / f64::from(all.max(1));
        (all >= settings.ratio_samples && ratio < settings.success_ratio)
            .then_some(Cause::Ratio { percent: (ratio * 100.0) as u8, of: all })
    }

    fn eject(&mut self, cause: Cause, now: Instant, jitter: f64, settings: &Settings) -> Change {
        let from = self.name(now, settings);
        self.ejections = self.ejections.saturating_add(1);
        let time = settings.ejection.saturating_mul(self.ejections);
        let until = now + jittered(time, settings.ejection_max, jitter);
        self.turn(State::Off { until, cause }, now);
        Change { from, to: "ejected", cause: Some(cause) }
    }

    fn turn(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.trials = 0;
        self.forgive();
    }
}

/// How far slow start has come, from the floor to 1.
fn risen(began: Instant, now: Instant, settings: &Settings) -> f64 {
    let full = settings.slow_start.as_secs_f64().max(1e-3);
    (now.secs_since(began) / full).max(settings.slow_start_floor)
}

/// The end of a call, to a breaker.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// When it was sent.
    pub started: Instant,
    /// How it ended.
    pub verdict: Verdict,
    /// This breaker may judge; one that stands for several endpoints may not while one of them did it all.
    pub alone: bool,
    /// 0 to 1, drawn for this end.
    pub jitter: f64,
}

/// Up to a fifth longer, so that what was ejected together does not come back together; `max` is with the fifth, or
/// what has been out for longest would be spread least.
fn jittered(time: Duration, max: Duration, jitter: f64) -> Duration {
    const FIFTH: f64 = 0.2;
    time.min(max.div_f64(1.0 + FIFTH)).mul_f64(1.0 + FIFTH * jitter.clamp(0.0, 1.0))
}
