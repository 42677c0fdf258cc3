//! What an operator is told of configs: the one that runs, the one that was refused, and what a new one changed. Who reads
//! and takes them is not known here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::dialect::gridtie::v1;
use crate::domain::Timestamp;
use crate::edge::grpc::timestamp;

/// How it stands with configs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The one that runs.
    pub running: Running,
    /// The one that was offered last, if it was refused.
    pub rejected: Option<Rejected>,
    /// What the running one says that only a restart brings about.
    pub needs_restart: Vec<Change>,
}

/// The config that runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Running {
    /// The file that it is from, or the name of an embedded one.
    pub source: Arc<str>,
    /// SHA-256 of its text, in hex.
    pub sha256: String,
    /// Since when.
    pub since: Timestamp,
    /// Counts configs from the start, which is 1.
    pub edition: u64,
}

/// A config that was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// SHA-256 of its text, in hex; absent if there was none to read.
    pub sha256: Option<String>,
    /// When.
    pub at: Timestamp,
    /// One line a problem: where, what, and the remedy.
    pub why: Vec<String>,
}

/// Something that is not as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// In which way.
    pub kind: ChangeKind,
    /// `pool`, `model`, `class`, or the table of the config.
    pub what: &'static str,
    /// Its name, if it has one.
    pub name: String,
    /// What of it.
    pub details: Vec<String>,
}

/// In which way something is not as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
    /// It would be, and is left as it was until the router is started again.
    NeedsRestart,
}

/// What came of reading the config again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reload {
    /// In one word.
    pub outcome: Outcome,
    /// What is not as it was; of a config that was only tried, what would not be.
    pub changes: Vec<Change>,
    /// How it stands now.
    pub standing: Arc<Standing>,
}

/// What came of reading the config again, in one word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It runs.
    Taken,
    /// It would run, and was only tried.
    Good,
    /// It says what the running one says.
    Unchanged,
    /// It was refused for these reasons, and the running one goes on.
    Rejected(Vec<String>),
}

/// Who knows about configs.
pub trait Configs: Send + Sync + fmt::Debug {
    /// How it stands.
    fn standing(&self) -> Arc<Standing>;

    /// Reads the config again and takes it, or only tries it. The error says why that cannot be done at all.
    fn reload(&self, only_try: bool) -> Pin<Box<dyn Future<Output = Result<Reload, String>> + Send + '_>>;
}

pub(super) fn reload_to_wire(reload: Reload) -> v1::ReloadResponse {
    use v1::reload_response::Outcome as Wire;
    let (outcome, why) = match reload.outcome {
        Outcome::Taken => (Wire::Taken, Vec::new()),
        Outcome::Good => (Wire::Good, Vec::new()),
        Outcome::Unchanged => (Wire::Unchanged, Vec::new()),
        Outcome::Rejected(why) => (Wire::Rejected, why),
    };
    v1::ReloadResponse {
        outcome: outcome.into(),
        changes: reload.changes.iter().map(change_to_wire).collect(),
        why,
        config: Some(standing_to_wire(&reload.standing)),
    }
}

pub(super) fn standing_to_wire(standing: &Standing) -> v1::ConfigStatus {
    let Running { source, sha256, since, edition } = &standing.running;
    v1::ConfigStatus {
        source: source.to_string(),
        sha256: sha256.clone(),
        since: Some(timestamp(*since)),
        edition: *edition,
        rejected: standing.rejected.as_ref().map(|rejected| v1::RejectedConfig {
            sha256: rejected.sha256.clone().unwrap_or_default(),
            at: Some(timestamp(rejected.at)),
            why: rejected.why.clone(),
        }),
        needs_restart: standing.needs_restart.iter().map(change_to_wire).collect(),
    }
}

fn change_to_wire(change: &Change) -> v1::ConfigChange {
    use v1::config_change::Kind;
    let kind = match change.kind {
        ChangeKind::Added => Kind::Added,
        ChangeKind::Removed => Kind::Removed,
        ChangeKind::Changed => Kind::Changed,
        ChangeKind::NeedsRestart => Kind::NeedsRestart,
    };
    v1::ConfigChange {
        kind: kind.into(),
        what: change.what.to_owned(),
        name: change.name.clone(),
        details: change.details.clone(),
    }
}
