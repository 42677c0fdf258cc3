//! Decisions of a simulated router on record: a line each, as a live router writes them.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;

use crate::domain::CallId;
use crate::policy::record::DecisionRecord;
use crate::sim::witness::Witness;
use crate::telemetry::on_record;

/// A share of calls.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share(f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| "a share of calls is a number from 0 to 1".to_owned())
    }
}

/// A file that is being written.
pub(super) struct Kept {
    path: PathBuf,
    share: f64,
    out: BufWriter<File>,
    lines: usize,
    /// What went wrong first; nothing is written after it.
    error: Option<io::Error>,
}

impl Kept {
    /// Begins the file anew.
    pub(super) fn open(path: &Path, share: Share) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("{} cannot be written", path.display()))?;
        let out = BufWriter::new(file);
        Ok(Self { path: path.to_owned(), share: share.0, out, lines: 0, error: None })
    }

    /// All of it is written: what is there.
    pub(super) fn done(mut self) -> anyhow::Result<String> {
        let flushed = self.out.flush();
        let written = self.error.map_or(flushed, Err);
        written.with_context(|| format!("{} cannot be written", self.path.display()))?;
        Ok(format!("{} decisions in {}", self.lines, self.path.display()))
    }
}

impl Witness for Kept {
    fn records(&self, call: CallId) -> bool {
        on_record(call, self.share)
    }

    fn decided(&mut self, decision: &DecisionRecord) {
        if self.error.is_none() {
            let written = serde_json::to_writer(&mut self.out, decision).map_err(io::Error::from);
            self.error = written.and_then(|()| self.out.write_all(b"\n")).err();
            self.lines += 1;
        }
    }
}
