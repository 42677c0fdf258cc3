//! One line of JSON for each run, for programs: fields in a fixed order, floats rounded so that they compare as text.

use std::io::{self, Write};

use serde::{Serialize, Serializer};

use super::{ClassFacts, Report};
use crate::sim::{ClassTally, Tally};

/// A run on one line.
#[derive(Serialize)]
struct Line<'a> {
    policy: &'a str,
    seed: u64,
    calls: u64,
    usd: f64,
    j: f64,
    bound_j: Option<f64>,
    attainment: f64,
    attainment_by_class: ByClass<'a>,
    bound_attainment: Option<f64>,
    bound_attainment_by_class: ByClass<'a>,
    ttft_p50_ms: ByClass<'a>,
    ttft_p99_ms: ByClass<'a>,
    rejected: u64,
    owned_utilisation: Option<f64>,
}

/// An object in the order of the classes; null for a class of which there is nothing to say.
struct ByClass<'a>(Vec<(&'a str, Option<f64>)>);

impl Serialize for ByClass<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Writes one line for each run of the report. What is not a number is null.
pub fn json_lines(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for run in &report.runs {
        serde_json::to_writer(&mut *out, &line(report, run))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn line<'a>(report: &'a Report, run: &'a Tally) -> Line<'a> {
    let by_class = |of: &dyn Fn(&ClassTally) -> Option<f64>| {
        let of =
            |(at, class): (usize, &'a ClassFacts)| (class.name.as_str(), run.classes.get(at).and_then(of));
        ByClass(report.classes.iter().enumerate().map(of).collect())
    };
    let bound = report.bound(run.seed);
    let ceiling = |(at, class): (usize, &'a ClassFacts)| {
        let share = bound.and_then(|bound| bound.goodput_by_class.get(at)).filter(|share| share.is_finite());
        (class.name.as_str(), share.map(|share| rounded_up(*share, 6)))
    };
    let quantile = |q: f64| by_class(&|tally| tally.ttft_quantile(q).map(|ms| rounded(ms, 1)));
    Line {
        policy: &run.policy,
        seed: run.seed,
        calls: run.calls(),
        usd: rounded(run.usd(), 6),
        j: rounded(run.j(), 6),
        bound_j: bound.and_then(|bound| bound.j).map(|j| rounded(j, 6)),
        attainment: rounded(run.attainment(), 6),
        attainment_by_class: by_class(&|tally| (tally.offered > 0).then(|| rounded(tally.attainment(), 6))),
        bound_attainment: bound.and_then(|bound| bound.goodput).map(|share| rounded_up(share, 6)),
        bound_attainment_by_class: ByClass(report.classes.iter().enumerate().map(ceiling).collect()),
        ttft_p50_ms: quantile(0.5),
        ttft_p99_ms: quantile(0.99),
        rejected: run.rejected(),
        owned_utilisation: report.owned_use(run).map(|share| rounded(share, 6)),
    }
}

/// What no share is above stays that when it is rounded.
fn rounded_up(x: f64, decimals: i32) -> f64 {
    let unit = 10_f64.powi(decimals);
    ((x * unit).ceil() / unit).min(1.0)
}

/// To so many decimals, and never minus zero.
fn rounded(x: f64, decimals: i32) -> f64 {
    let unit = 10_f64.powi(decimals);
    (x * unit).round() / unit + 0.0
}
