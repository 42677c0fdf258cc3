//! What is wrong with a trace or a description: where, what, and how to mend it.

use std::fmt;

/// A workload that cannot be used. The first thing that is wrong, because a broken column breaks every row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadTraffic {
    /// The file, or the description.
    pub name: String,
    /// The line, from 1; absent for what is wrong with all of it.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
}

/// `file:line: what; remedy`.
impl fmt::Display for BadTraffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for BadTraffic {}
