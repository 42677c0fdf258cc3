//! Calls under way, against a limit.

/// A counter with an optional limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InFlight {
    now: u32,
    max: Option<u32>,
}

impl InFlight {
    /// Nothing under way, at most `max`.
    pub const fn new(max: Option<u32>) -> Self {
        Self { now: 0, max }
    }

    /// How many are under way.
    pub const fn count(self) -> u32 {
        self.now
    }

    /// The limit.
    pub const fn limit(self) -> Option<u32> {
        self.max
    }

    /// Another limit from now on. Those that are under way stay.
    pub fn set_limit(&mut self, max: Option<u32>) {
        self.max = max;
    }

    /// Those under way are these.
    pub fn carry(&mut self, under_way: Self) {
        self.now = under_way.now;
    }

    /// The limit, if one more would break it.
    pub fn full(self) -> Option<u32> {
        self.max.filter(|&max| self.now >= max)
    }

    /// One more.
    pub fn enter(&mut self) {
        self.now = self.now.saturating_add(1);
    }

    /// One less; never below zero. True if it was full.
    pub fn leave(&mut self) -> bool {
        let was_full = self.full().is_some();
        self.now = self.now.saturating_sub(1);
        was_full
    }
}
