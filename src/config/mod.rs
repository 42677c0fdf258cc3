//! What an operator wrote, and what it means.
//!
//! A file goes through three steps, and each goes on after a mistake, so that one look finds them all: `toml` parses
//! the text, `raw` says what the file says (`read` does the reading, and makes the JSON Schema from the same records),
//! and `lower` says what it means. What comes out ([`Checked`]) needs no further look-up and no further check. Nothing
//! else in the program reads files or environment variables for its settings.

mod lower;
mod origin;
mod problem;
mod quantity;
mod raw;
pub(crate) mod read;
mod schema;
mod secret;
mod settings;
pub(crate) mod values;

pub(crate) use lower::TYPICAL_INPUT;
pub use problem::{Problem, Problems, Severity};
pub(crate) use quantity::spelt;

pub use schema::schema;
pub(crate) use schema::schema_of;
pub(crate) use secret::file as read_file;
pub use secret::{Reference, Secret, Surroundings, digest, digest_of, no_color};
pub use settings::{
    Checked, Limits, Listen, Log, LogFormat, ReadFrom, Records, Simulate, SimulateEvent, Tls, Trouble,
    UpstreamSettings, Written,
};
pub(crate) use values::is_name;

use std::path::Path;
use std::sync::Arc;

use read::{Read, Reader, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The config of a router that was given none: four simulated pools, no keys, no network.
pub const DEFAULT: &str = include_str!("../../config/default.toml");

/// The config of a simulation that was given none: an owned cluster, a leased one, and three providers.
pub const SIMULATE: &str = include_str!("../../config/simulate.toml");

/// A config of more than a megabyte was not written by anybody.
pub(crate) const FILE_MAX: u64 = 1 << 20;

/// Loads a file. Secrets come from the process's environment and from files.
pub fn load(path: &Path) -> Result<Checked, Problems> {
    load_from(path, &Surroundings::Real)
}

/// Loads a file, with secrets from `surroundings`.
pub fn load_from(path: &Path, surroundings: &Surroundings) -> Result<Checked, Problems> {
    let name = path.display().to_string();
    match secret::file(path, FILE_MAX) {
        Ok(text) => load_str(&name, &text, path.parent().unwrap_or(Path::new("")), surroundings),
        Err(why) => Err(Problems::new(&name, "", &[], vec![Problem::whole(why)])),
    }
}

/// The embedded default.
#[expect(clippy::expect_used, reason = "a test loads it")]
pub fn embedded() -> Checked {
    load_str("default.toml", DEFAULT, Path::new(""), &Surroundings::Unread)
        .expect("the embedded config is right")
}

/// The embedded config of simulations.
#[expect(clippy::expect_used, reason = "a test loads it")]
pub fn embedded_simulate() -> Checked {
    load_str("simulate.toml", SIMULATE, Path::new(""), &Surroundings::Unread)
        .expect("the embedded config is right")
}

/// Loads a text. `name` is for messages; relative paths of secrets are relative to `folder`.
pub fn load_str(
    name: &str,
    text: &str,
    folder: &Path,
    surroundings: &Surroundings,
) -> Result<Checked, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let root = Spanned::new(0..0, DeValue::Table(table.into_inner()));
    load_value(name, text, (&root, &errors), folder, surroundings)
}

/// Loads a table of a text, which may be all of it, with what is wrong with the text already.
pub(crate) fn load_value(
    name: &str,
    text: &str,
    (root, errors): (&Value<'_>, &[toml::de::Error]),
    folder: &Path,
    surroundings: &Surroundings,
) -> Result<Checked, Problems> {
    let mut reader = Reader::default();
    let file = raw::File::read(root, &mut reader);
    let Reader { mut problems, mut secrets, dropped } = reader;
    let mut parts = None;
    let mut read = ReadFrom { digest: digest(text), ..ReadFrom::default() };
    if !errors.is_empty() {
        // What a broken text would mean otherwise is of no interest to anybody.
        problems = errors.iter().map(Problem::of_syntax).collect();
    } else if let Some(file) = file {
        let found = lower::lower(&file, &dropped, surroundings, folder);
        problems.extend(found.problems);
        secrets.extend(found.secrets);
        read = ReadFrom { secrets: found.files, endpoints: found.written, ..read };
        parts = Some(found.parts);
    }
    let warnings = Problems::new(name, text, &secrets, problems).into_warnings()?;
    let Some(parts) = parts else {
        return Err(warnings);
    };
    Ok(Checked {
        name: name.into(),
        catalog: Arc::new(parts.catalog),
        listen: parts.listen,
        auth: parts.auth,
        routing: parts.routing,
        upstreams: parts.upstreams,
        endpoints: parts.endpoints,
        probes: parts.probes,
        limits: parts.limits,
        flow: parts.flow,
        log: parts.log,
        records: parts.records,
        drain_grace: parts.drain_grace,
        simulate: parts.simulate,
        warnings,
        read,
    })
}

#[cfg(test)]
mod tests;
