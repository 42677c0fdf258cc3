//! `gridtie schema`: the JSON Schema of a config, or of a drill, for editors.

use std::io::Write;
use std::process::ExitCode;

use crate::{config, drill};

/// Print the JSON Schema of the config, for editors.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Of a drill instead
    #[arg(long)]
    pub drill: bool,
}

/// Prints the schema.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let schema = if args.drill { drill::schema() } else { config::schema() };
    out.write_all(schema.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
