//! What a workload is like, in the numbers that people compare workloads by.

use std::collections::BTreeMap;

use super::{Arrival, Traffic};
use crate::domain::{Duration, Instant};

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Facts {
    /// Calls.
    pub calls: usize,
    /// By class id, as far as calls have them.
    pub by_class: Vec<usize>,
    /// See [`Traffic::span`].
    pub span: Duration,
    /// Calls a second on average.
    pub rate: f64,
    /// Standard deviation of the gaps between calls over their mean: 1 for a Poisson process, 13 for a bursty one.
    pub gap_cv: f64,
    /// Calls in the busiest minute over calls in an average one.
    pub peak_minute: f64,
    /// Prompts, in tokens.
    pub input: Sizes,
    /// Answers, in tokens.
    pub output: Sizes,
    /// Share of all prompt tokens that a prefix cache without end would have had.
    pub shareable: f64,
    /// Conversations.
    pub sessions: usize,
}

/// Of a number of tokens.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Sizes {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: u32,
    /// The 99th percentile.
    pub p99: u32,
}

impl Sizes {
    fn of(mut all: Vec<u32>) -> Self {
        let mean = all.iter().map(|n| f64::from(*n)).sum::<f64>() / all.len().max(1) as f64;
        let mut rank = |q: f64| {
            let nth = ((all.len() as f64 * q).ceil() as usize).saturating_sub(1);
            if all.is_empty() { 0 } else { *all.select_nth_unstable(nth).1 }
        };
        Self { mean, median: rank(0.5), p99: rank(0.99) }
    }
}

impl Facts {
    /// Of that workload. All zero for one without calls.
    pub fn of(traffic: &Traffic) -> Self {
        let all = &traffic.arrivals;
        let classes = all.iter().map(|a| a.class.index() + 1).max().unwrap_or(0);
        let mut by_class = vec![0; classes];
        all.iter().for_each(|a| by_class[a.class.index()] += 1);
        let mut sessions: Vec<_> = all.iter().filter_map(|a| a.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        let span = traffic.span();
        Self {
            calls: all.len(),
            by_class,
            span,
            rate: if span.is_zero() { 0.0 } else { all.len() as f64 / span.as_secs_f64() },
            gap_cv: gap_cv(all),
            peak_minute: peak_minute(all, span),
            input: Sizes::of(all.iter().map(|a| a.input).collect()),
            output: Sizes::of(all.iter().map(|a| a.output).collect()),
            shareable: shareable(all),
            sessions: sessions.len(),
        }
    }
}

impl Traffic {
    /// How long it is: from the start to the last call and a mean gap more, so that calls over span is the mean rate.
    pub fn span(&self) -> Duration {
        let last = self.arrivals.last().map_or(Instant::START, |a| a.at).since(Instant::START);
        let gaps = self.arrivals.len().saturating_sub(1).max(1);
        last + Duration::from_nanos((last.as_nanos() / gaps as u128) as u64)
    }
}

fn gap_cv(all: &[Arrival]) -> f64 {
    let gaps = || all.windows(2).map(|pair| pair[1].at.secs_since(pair[0].at));
    let count = all.len().saturating_sub(1).max(1) as f64;
    let mean = gaps().sum::<f64>() / count;
    let variance = gaps().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
    if mean > 0.0 { variance.sqrt() / mean } else { 0.0 }
}

/// Minutes are counted from the start, as a chart shows them. A workload of less than two minutes has no peak: 1.
fn peak_minute(all: &[Arrival], span: Duration) -> f64 {
    if span < Duration::from_secs(120) {
        return 1.0;
    }
    let minutes = all.chunk_by(|a, b| minute(a) == minute(b));
    let most = minutes.map(<[Arrival]>::len).max().unwrap_or(0);
    most as f64 / (all.len() as f64 * 60.0 / span.as_secs_f64())
}

const fn minute(arrival: &Arrival) -> u64 {
    arrival.at.as_nanos() / 60_000_000_000
}

fn shareable(all: &[Arrival]) -> f64 {
    let mut longest: BTreeMap<u64, u32> = BTreeMap::new();
    let (mut found, mut asked) = (0u64, 0u64);
    for arrival in all {
        asked += u64::from(arrival.input);
        let mut hit = 0u64;
        let mut whole = true;
        for block in arrival.prefix.iter() {
            let had = longest.entry(block.hash).or_insert(0);
            if whole {
                hit += u64::from(block.tokens.min(*had));
                whole = *had >= block.tokens;
            }
            *had = block.tokens.max(*had);
        }
        found += hit.min(u64::from(arrival.input));
    }
    if asked == 0 { 0.0 } else { found as f64 / asked as f64 }
}
