//! `gridtie drill`: a declared rehearsal, its verdict and its report.
//!
//! ```text
//! file ──► lower ──► Script ──► a runner (sim; mock and live later) ──► Journal ──► judge ──► Findings ──► report
//! ```
//!
//! A script says nothing about how it is played, and the judge asks nothing of who played it: a runner is whoever turns
//! a script into a [`journal::Journal`], which is what clients, routers and pools wrote down, each by itself.

pub mod findings;
pub mod journal;
pub mod judge;
mod lower;
mod raw;
pub mod report;
pub mod script;
pub mod simulated;
#[cfg(test)]
mod tests;
mod words;

pub use findings::{Findings, Verdict};
pub use lower::{load, load_str};
pub use script::{Drill, Script};

use crate::sim::traffic::BadTraffic;
use judge::{Evidence, abort_at, judge, refused};
use simulated::Take;

/// How a drill is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// In virtual time.
    Sim,
    /// With a real router and simulated pools behind real sockets.
    Mock,
    /// With a running router and real pools.
    Live,
}

impl Mode {
    /// The word in commands and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Mock => "mock",
            Self::Live => "live",
        }
    }
}

/// The JSON Schema of a drill file, for editors, as it stands in `config/drill-schema.json`.
pub fn schema() -> String {
    crate::config::schema_of::<raw::File>("Gridtie drill")
}

/// Plays a drill in virtual time: as it is, without its faults, and once more if it must be broken off. The same drill
/// and seed give the same findings.
pub fn simulate(drill: &Drill, seed: u64, control: bool) -> Result<Findings, BadTraffic> {
    let script = &drill.script;
    let calls = simulated::traffic(drill, seed)?;
    let headroom = simulated::headroom(drill, &calls);
    let nothing = journal::Journal::default();
    let evidence = Evidence {
        drill,
        script,
        mode: Mode::Sim,
        seed,
        control,
        journal: &nothing,
        without: None,
        headroom,
        aborted: None,
    };
    // What the control lacks is often what there is room in.
    if let Some(why) = too_full(script, headroom).filter(|_| !control) {
        return Ok(refused(&evidence, vec![why]));
    }
    let take = Take { seed, control };
    let calm = simulated::play(drill, &script.calm(), &calls, take);
    let mut journal = simulated::play(drill, script, &calls, take);
    let aborted = abort_at(script, &journal);
    let mut cut = None;
    if let Some(at) = aborted {
        // What was played up to then is the same again.
        let shorter = cut.insert(script.cut_at(at));
        journal = simulated::play(drill, shorter, &calls, take);
    }
    let script = cut.as_ref().unwrap_or(script);
    Ok(judge(&Evidence { script, journal: &journal, without: Some(&calm), aborted, ..evidence }))
}

/// Why the loss of the targets would be more than a rehearsal, if it would.
fn too_full(script: &Script, headroom: Option<f64>) -> Option<String> {
    let least = script.preconditions.headroom_min?;
    let there = headroom.unwrap_or(0.0);
    (there < least).then(|| {
        format!(
            "without its targets there is room for {there:.2} times what comes, and {least} are asked for; let fewer              calls come, or add a pool"
        )
    })
}
