//! What a person hears while it runs, on standard error: what begins, how far it is, how fast it was. Nothing of this
//! is in a result.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;

use crate::domain::Duration;
use crate::sim::Experiment;
use crate::sim::crew::{Audience, Job, Played, Progress};
use crate::sim::resume::{self, Resume};

/// A bar is only worth its flicker after this.
const BAR_AFTER: Duration = Duration::from_secs(2);

/// Where lines cannot be taken back, one every so often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Characters of the bar.
const BAR: usize = 30;

/// See the module.
pub(super) struct Teller {
    err: Box<dyn Write>,
    /// Can a line be taken back?
    terminal: bool,
    phase: String,
    /// A bar stands on the present line.
    bar: bool,
    said: Duration,
    runs: usize,
    calls: u64,
    busy: Duration,
    /// Finished runs go there, with the fingerprint of their traffic.
    kept: Option<(File, u64)>,
    broken: Option<io::Error>,
}

impl Teller {
    /// Tells whoever started the program.
    pub(super) fn of_stderr() -> Self {
        let terminal = io::stderr().is_terminal();
        Self { terminal, ..Self::new(Box::new(io::stderr())) }
    }

    pub(super) fn new(err: Box<dyn Write>) -> Self {
        Self {
            err,
            terminal: false,
            phase: String::new(),
            bar: false,
            said: Duration::ZERO,
            runs: 0,
            calls: 0,
            busy: Duration::ZERO,
            kept: None,
            broken: None,
        }
    }

    /// A line that stays.
    pub(super) fn line(&mut self, text: &str) {
        self.finish();
        // Nobody listens: not a reason to stop.
        let _nobody = writeln!(self.err, "{text}");
    }

    /// Something else begins.
    pub(super) fn phase(&mut self, name: &str) {
        self.finish();
        name.clone_into(&mut self.phase);
        self.said = Duration::ZERO;
    }

    /// All is over.
    pub(super) fn done(&mut self) {
        self.finish();
    }

    /// Ends a phase: takes its bar away, and says how fast it was.
    fn finish(&mut self) {
        self.clear();
        if self.runs > 0 {
            let rate = self.calls as f64 / self.busy.as_secs_f64().max(1e-9);
            let runs = if self.runs == 1 { "run" } else { "runs" };
            let _nobody = writeln!(
                self.err,
                "{}: {} {runs}, {} calls, {:.1} s of work, {rate:.0} calls/s a core",
                self.phase,
                self.runs,
                self.calls,
                self.busy.as_secs_f64(),
            );
        }
        (self.runs, self.calls, self.busy) = (0, 0, Duration::ZERO);
    }

    fn clear(&mut self) {
        if self.bar {
            let _nobody = write!(self.err, "\r\x1b[2K");
            self.bar = false;
        }
    }

    /// Keeps finished runs in that file, and says which are there.
    pub(super) fn keep_in(&mut self, path: &Path, experiment: &Experiment) -> anyhow::Result<Resume> {
        let what = || format!("{} cannot be used to resume from", path.display());
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).with_context(what)?;
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(what)?;
        let resume = Resume::read(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            // What was cut off stays a line of its own.
            file.write_all(b"\n").with_context(what)?;
        }
        if !resume.is_empty() {
            self.line(&format!("{}: {} finished runs", path.display(), resume.len()));
        }
        self.kept = Some((file, resume::of_traffic(&experiment.source, &experiment.mix)));
        Ok(resume)
    }

    /// Further runs are not kept. Says if one could not be.
    pub(super) fn keep_no_more(&mut self) -> anyhow::Result<()> {
        self.kept = None;
        self.broken.take().map_or(Ok(()), |error| Err(error).context("a finished run could not be kept"))
    }
}

impl Audience for Teller {
    fn told(&mut self, progress: Progress) {
        let Progress { calls, of, elapsed } = progress;
        let share = if of == 0 { 0.0 } else { (calls as f64 / of as f64).min(1.0) };
        let rate = calls as f64 / elapsed.as_secs_f64().max(1e-9);
        let left = (of.saturating_sub(calls)) as f64 / rate.max(1e-9);
        let figures = format!("{:.0} %, {rate:.0} calls/s, {left:.0} s left", 100.0 * share);
        if self.terminal && elapsed >= BAR_AFTER {
            let full = (share * BAR as f64) as usize;
            let bar = "█".repeat(full) + &"░".repeat(BAR - full);
            let _nobody = write!(self.err, "\r\x1b[2K{} {bar} {figures}", self.phase);
            let _nobody = self.err.flush();
            self.bar = true;
        } else if !self.terminal && elapsed >= self.said + LINE_EVERY {
            self.said = elapsed;
            let _nobody = writeln!(self.err, "{}: {figures}", self.phase);
        }
    }

    fn played(&mut self, job: &Job, played: &Played) {
        self.runs += 1;
        self.calls += played.tally.calls();
        self.busy += played.took;
        if let Some((file, traffic)) = &mut self.kept {
            let kept = resume::append(resume::of_run(job, *traffic), &played.tally, file);
            self.broken = self.broken.take().or(kept.err());
        }
        if played.took >= BAR_AFTER {
            let rate = played.tally.calls() as f64 / played.took.as_secs_f64();
            let text = format!(
                "  {}, seed {}: {} calls in {:.1} s, {rate:.0} a second",
                job.policy,
                job.seed,
                played.tally.calls(),
                played.took.as_secs_f64()
            );
            self.clear();
            let _nobody = writeln!(self.err, "{text}");
        }
    }
}
