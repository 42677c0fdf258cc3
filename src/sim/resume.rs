//! Runs that need not be repeated: each finished run is a line of JSON, with a fingerprint of everything that it is a
//! function of. A run whose fingerprint is known is not played again.
//!
//! The fingerprint covers the version of the program, not its text: between two builds of one version, begin a new file.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::Tally;
use super::crew::Job;
use super::source::Source;
use super::traffic::Mix;

/// Runs that were finished before.
#[derive(Debug, Default)]
pub struct Resume {
    known: BTreeMap<String, Tally>,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    fingerprint: String,
    tally: T,
}

impl Resume {
    /// From the lines of a file. A line that is not whole is a run that was not: it is played again.
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line<Tally>>(line).ok());
        Self { known: lines.map(|line| (line.fingerprint, line.tally)).collect() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What came of that run, if it was finished.
    pub fn get(&self, fingerprint: &str) -> Option<&Tally> {
        self.known.get(fingerprint)
    }
}

/// Writes a finished run.
pub fn append(fingerprint: String, tally: &Tally, out: &mut dyn io::Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Line { fingerprint, tally })?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Of the traffic of every seed.
pub fn of_traffic(source: &Source, mix: &Mix) -> u64 {
    digest(&(source, mix)) as u64
}

/// Of a run: its policy with all settings, its world, its seed, and its traffic.
pub fn of_run(job: &Job, traffic: u64) -> String {
    format!("{:032x}", digest(&(env!("CARGO_PKG_VERSION"), &job.policy, &job.setup, job.seed, traffic)))
}

/// A hash of all that `Debug` says, which for these types is all there is.
fn digest(what: &dyn fmt::Debug) -> u128 {
    struct Sink(Xxh3Default);
    impl fmt::Write for Sink {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut sink = Sink(Xxh3Default::new());
    let _cannot_fail = write!(sink, "{what:?}");
    sink.0.digest128()
}
