//! The commands, one file each. A command gets its arguments parsed and writes to what it is given, so that a test can
//! read it; what it returns is the exit code.

pub mod admin;
pub mod check;
pub mod drain;
pub mod drill;
pub mod explain;
pub mod key;
pub mod mock;
pub mod reload;
pub mod schema;
pub mod serve;
pub mod simulate;
pub mod status;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{self, Checked, Problems};

/// Exit code of a config that is refused.
pub const EXIT_CONFIG: u8 = 2;

/// A router for inference requests: each goes where it is served best for the money.
#[derive(Parser, Debug)]
#[command(name = "gridtie", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Status(status::Args),
    /// Send no new calls to a pool; those under way finish
    Drain(drain::Args),
    /// Let a drained pool come back, with a slow start
    Resume(drain::Args),
    Reload(reload::Args),
    Explain(explain::Args),
    Simulate(Box<simulate::Args>),
    Drill(drill::Args),
    Mock(mock::Args),
    /// Make client keys
    #[command(subcommand)]
    Key(key::Command),
    Schema(schema::Args),
}

/// Parses the command line, runs the command, and says what went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let paint = Paint::of(&io::stdout());
    // Not locked: the log of calls writes to the same stream from its own thread.
    match run(cli.command, paint, &mut io::stdout()) {
        Ok(code) => code,
        // Whoever read our output has gone: nothing is wrong here.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_to_tell = writeln!(io::stderr(), "gridtie: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(&args, paint, out),
        Command::Check(args) => check::run(&args, paint, out),
        Command::Status(args) => status::run(&args, paint, out),
        Command::Drain(args) => drain::drain(&args, out),
        Command::Resume(args) => drain::resume(&args, out),
        Command::Reload(args) => reload::run(&args, out),
        Command::Explain(args) => explain::run(&args, paint, out),
        Command::Simulate(args) => simulate::run(&args, paint, out),
        Command::Drill(args) => drill::run(&args, paint, out),
        Command::Mock(args) => mock::run(&args, paint, out),
        Command::Key(key::Command::New(args)) => key::new(&args, app::seed::random_key(), out),
        Command::Schema(args) => schema::run(&args, out),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io =
        |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    error.chain().any(|cause| io(cause) == Some(io::ErrorKind::BrokenPipe))
}

/// The config of that path, or the embedded one.
fn load(path: Option<&Path>) -> Result<Checked, Problems> {
    path.map_or_else(|| Ok(config::embedded()), config::load)
}

/// Whether to colour what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Paint {
    /// Text only.
    Plain,
    /// With terminal colours.
    Colour,
}

impl Paint {
    /// Colours for a terminal whose user did not say `NO_COLOR`.
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        if stream.is_terminal() && !crate::config::no_color() { Self::Colour } else { Self::Plain }
    }
}
