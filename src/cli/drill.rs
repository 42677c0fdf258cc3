//! `gridtie drill`: plays a rehearsal, and says whether it came out as expected.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use super::{EXIT_CONFIG, Paint};
use crate::drill::{self, Findings, Mode, Verdict, report};
use crate::sim::report::Style;

/// Rehearse the loss of a pool, a surge, or whatever a drill file says, and judge what comes of it.
///
/// The verdict and its figures go to standard output. Exit codes: 0 passed, 1 failed, 2 the file is wrong, 3 refused, 4
/// broken off, 5 too little was seen, 6 not restored. In `sim` mode the same file and seed give the same bytes.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The drill
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How it is played: `sim` in virtual time; `mock` and `live` are not there yet
    #[arg(long, value_enum, default_value_t = Played::Sim)]
    pub mode: Played,
    /// Another seed than the file's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Play its negative control: the verdict must be failed
    #[arg(long)]
    pub control: bool,
    /// One JSON object instead of the table
    #[arg(long)]
    pub json: bool,
    /// Write drill.html, drill.txt and drill.json there
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
}

/// See [`Mode`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Played {
    /// In virtual time
    Sim,
    /// A real router, simulated pools, real sockets
    Mock,
    /// A running router and real pools
    Live,
}

/// Plays, and writes what came of it.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let drill = match drill::load(&args.file) {
        Ok(drill) => drill,
        Err(problems) => {
            let styled = Paint::of(&io::stderr()) == Paint::Colour;
            writeln!(io::stderr(), "{}", problems.render(styled))?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    if let Some(why) = refusal(args, &drill) {
        writeln!(io::stderr(), "error: {why}")?;
        return Ok(ExitCode::from(Verdict::Refused.exit_code()));
    }
    let findings = match drill::simulate(&drill, args.seed.unwrap_or(drill.script.seed), args.control) {
        Ok(findings) => findings,
        Err(bad) => {
            writeln!(io::stderr(), "error: {bad}")?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let style = if paint == Paint::Colour { Style::Colour } else { Style::Plain };
    let text = if args.json { report::json(&findings)? } else { report::text(&findings, style) };
    out.write_all(text.as_bytes())?;
    if let Some(folder) = &args.report {
        write_report(folder, &findings)?;
    }
    Ok(ExitCode::from(findings.verdict.exit_code()))
}

/// Why nothing is played, if nothing is.
fn refusal(args: &Args, drill: &drill::Drill) -> Option<String> {
    let mode = match args.mode {
        Played::Sim => Mode::Sim,
        Played::Mock => Mode::Mock,
        Played::Live => Mode::Live,
    };
    if mode != Mode::Sim {
        return Some(format!(
            "mode `{}` is not built yet; --mode sim plays {} in virtual time",
            mode.name(),
            drill.script.name
        ));
    }
    if args.control && drill.script.control.is_none() {
        return Some(format!(
            "{} has no negative control; add a [control] table that says without what it must fail",
            drill.script.name
        ));
    }
    None
}

fn write_report(folder: &Path, findings: &Findings) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let files = [
        ("drill.html", report::html(findings)),
        ("drill.txt", report::text(findings, Style::Plain)),
        ("drill.json", report::json(findings)?),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    writeln!(io::stderr(), "report: {}", folder.join("drill.html").display())?;
    Ok(())
}
