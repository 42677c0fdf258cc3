//! `gridtie schema`: the JSON Schema of a config, for editors.

use std::io::Write;
use std::process::ExitCode;

use crate::config;

/// Prints the schema.
pub fn run(out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    out.write_all(config::schema().as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
