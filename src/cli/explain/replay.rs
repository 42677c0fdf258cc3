//! `gridtie explain --replay FILE`: reads decisions on record and makes them again.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde::Deserialize;

use super::tell::{self, Moved};
use crate::cli::EXIT_CONFIG;
use crate::domain::CallId;
use crate::policy::record::{CannotReplay, DecisionRecord, VERSION, WhatIf, replay};

/// A record of 256 pools is a tenth of this; what is longer is no record.
const LINE_MAX: u64 = 4 << 20;

/// Of a file with more decisions than this, only those whose replay differs are shown, and so many at most.
const SHOWN_MAX: usize = 10;

/// Which of a file's records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    All,
    Line(u64),
    Call(CallId),
}

/// What is wrong with what was given: for people, with the place and what to do about it.
pub(super) type Bad = String;

/// Makes the decisions again and says what came of it.
pub(super) fn run(what: &str, what_if: &WhatIf, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match replayed(what, what_if) {
        Ok((text, same)) => {
            out.write_all(&text)?;
            Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(bad) => {
            writeln!(io::stderr(), "gridtie: {bad}")?;
            Ok(ExitCode::from(EXIT_CONFIG))
        }
    }
}

/// What is to be said, and whether every choice was the same again.
pub(super) fn replayed(what: &str, what_if: &WhatIf) -> Result<(Vec<u8>, bool), Bad> {
    let (path, which) = parse(what);
    let mut told = Told::new(what_if, which);
    told.read(&path)?;
    let mut text = Vec::new();
    told.tell(&path, &mut text).map_err(|e| e.to_string())?;
    Ok((text, told.differ == 0))
}

/// `FILE`, `FILE:LINE` or `FILE:CALL`. A file that is there under the whole name is meant as a whole.
fn parse(what: &str) -> (PathBuf, Which) {
    let part = what.rsplit_once(':').filter(|_| !Path::new(what).exists());
    let which = part.and_then(|(_, which)| match CallId::parse(which) {
        Some(call) => Some(Which::Call(call)),
        None => which.parse().ok().map(Which::Line),
    });
    match (part, which) {
        (Some((path, _)), Some(which)) => (path.into(), which),
        _ => (what.into(), Which::All),
    }
}

/// What was found so far.
struct Told<'a> {
    what_if: &'a WhatIf,
    which: Which,
    /// The first few, as they are shown.
    first: Vec<Vec<u8>>,
    /// The first few whose replay differs.
    differing: Vec<Vec<u8>>,
    decisions: u64,
    differ: u64,
    /// Cannot be replayed, and why the first cannot.
    beyond: u64,
    why: Option<CannotReplay>,
    moved: Moved,
    /// Every pool of every record: a name that is not among them is a slip.
    pools: BTreeSet<Arc<str>>,
}

impl<'a> Told<'a> {
    fn new(what_if: &'a WhatIf, which: Which) -> Self {
        Self {
            what_if,
            which,
            first: Vec::new(),
            differing: Vec::new(),
            decisions: 0,
            differ: 0,
            beyond: 0,
            why: None,
            moved: Moved::default(),
            pools: BTreeSet::new(),
        }
    }

    fn read(&mut self, path: &Path) -> Result<(), Bad> {
        let file = path.display();
        let open = File::open(path).map_err(|e| {
            format!(
                "{file} cannot be read: {e}; records are kept where `file` in [records] of the config says"
            )
        })?;
        let mut reader = BufReader::new(open);
        let mut text = Vec::new();
        for line in 1_u64.. {
            text.clear();
            let mut limited = (&mut reader).take(LINE_MAX);
            let read = limited.read_until(b'\n', &mut text).map_err(|e| format!("{file}:{line}: {e}"))?;
            if read == 0 {
                break;
            }
            let meant = match self.which {
                Which::All | Which::Call(_) => true,
                Which::Line(n) => n == line,
            };
            if meant && !text.trim_ascii().is_empty() {
                let record = record(&text).map_err(|why| format!("{file}:{line}: {why}"))?;
                self.take(&format!("{file}:{line}"), &record)?;
            }
            if self.which == Which::Line(line) {
                break;
            }
        }
        self.whole(path)
    }

    /// Is everything there that was asked for?
    fn whole(&self, path: &Path) -> Result<(), Bad> {
        let file = path.display();
        if self.decisions == 0 {
            return Err(match self.which {
                Which::All => format!("{file} holds no record yet; is the share in [records] above 0?"),
                Which::Line(n) => format!("{file}:{n}: there is no record on this line; lines count from 1"),
                Which::Call(call) => {
                    format!(
                        "{file}: no record of the call {call}; only a share of calls is kept, see [records]"
                    )
                }
            });
        }
        match self.what_if.pools().find(|name| !self.pools.contains(*name)) {
            None => Ok(()),
            Some(unknown) => {
                let there: Vec<&str> = self.pools.iter().map(|name| &**name).collect();
                Err(format!(
                    "--without, --price: no record in {file} has a pool `{unknown}`; there are {}",
                    there.join(", ")
                ))
            }
        }
    }

    fn take(&mut self, place: &str, record: &DecisionRecord) -> Result<(), Bad> {
        if matches!(self.which, Which::Call(call) if record.call != call) {
            return Ok(());
        }
        self.decisions += 1;
        self.pools.extend(record.offers.iter().map(|o| Arc::clone(&o.pool)));
        let again = match replay(record, &WhatIf::default()) {
            Ok(again) => again,
            Err(why) if self.which == Which::All => {
                self.beyond += 1;
                self.why.get_or_insert(why);
                return Ok(());
            }
            Err(why) => return Err(format!("{place}: this decision cannot be replayed: {why}")),
        };
        let same = again.outcome.same_as(&record.outcome);
        self.differ += u64::from(!same);
        let mut shown = Vec::new();
        let show = self.which != Which::All
            || self.first.len() <= SHOWN_MAX
            || (!same && self.differing.len() < SHOWN_MAX);
        if show {
            tell::replayed(place, record, &again, &mut shown).map_err(|e| format!("{place}: {e}"))?;
        }
        if !self.what_if.is_nothing()
            && let Ok(then) = replay(record, self.what_if)
        {
            // What is compared is one set of rules with itself, even where the rules have changed since.
            self.moved.count(&again, &then);
            if show {
                tell::beside(&again, &then, self.what_if, &mut shown).map_err(|e| format!("{place}: {e}"))?;
            }
        }
        if !same && self.differing.len() < SHOWN_MAX {
            self.differing.push(shown.clone());
        }
        if self.which != Which::All || self.first.len() <= SHOWN_MAX {
            self.first.push(shown);
        }
        Ok(())
    }

    fn tell(&self, path: &Path, out: &mut dyn Write) -> io::Result<()> {
        let all = self.which != Which::All || self.first.len() <= SHOWN_MAX;
        let shown = if all { &self.first } else { &self.differing };
        for one in shown {
            out.write_all(one)?;
            writeln!(out)?;
        }
        if self.decisions > 1 {
            writeln!(
                out,
                "{} decisions in {}: {} chosen the same again, {} differ",
                self.decisions,
                path.display(),
                self.decisions - self.differ - self.beyond,
                self.differ
            )?;
            if let Some(why) = self.why {
                writeln!(out, "{} cannot be replayed: {why}", self.beyond)?;
            }
            if !self.what_if.is_nothing() {
                self.moved.tell(self.what_if, out)?;
            }
        }
        Ok(())
    }
}

/// One line.
fn record(line: &[u8]) -> Result<DecisionRecord, Bad> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let long = line.len() as u64 >= LINE_MAX;
    let Versioned { v } = serde_json::from_slice(line).map_err(|why| {
        let cause = if long { "the line is too long".to_owned() } else { why.to_string() };
        format!("this is no record of a decision: {cause}; give a file of [records], and remove a line that was cut off")
    })?;
    if v != VERSION {
        return Err(format!("{}; use the release that wrote it", CannotReplay::Version(v)));
    }
    serde_json::from_slice(line).map_err(|why| {
        format!(
            "this record of a decision is damaged: {why}; remove the line, or use the release that wrote it"
        )
    })
}
