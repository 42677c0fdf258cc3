//! `gridtie simulate`: a trace or a described workload through the router in virtual time, policy by policy.

mod ask;
mod places;
mod prepare;
mod records;
mod tell;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use self::ask::{Hours, Seeds, Shape};
use self::prepare::{Prepared, Refused};
use self::records::{Kept, Share};
use self::tell::Teller;
use super::{EXIT_CONFIG, Paint};
use crate::clock::Clock;
use crate::domain::Instant;
use crate::sim::experiment::{Entrant, Experiment};
use crate::sim::report::{self, Against, OURS, Report, Style};
use crate::sim::resume::Resume;
use crate::sim::summary::Beyond;
use crate::sim::{Tally, contender};

/// Play a trace or a described workload through the router in virtual time, and compare policies.
///
/// Calls go through the same decisions, retries, breakers and estimates as live ones; pools and clients are models. The
/// table (or JSON) goes to standard output and is the same for the same arguments, byte for byte; everything else goes
/// to standard error. Without arguments half an hour of described traffic is played on the pools of the embedded config.
#[derive(clap::Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// What comes in: a trace (Azure, Mooncake, ServeGen, or at_s,input,output), or a workload described in .toml;
    /// several are added up; without one, an embedded workload
    #[arg(long, value_name = "FILE")]
    pub trace: Vec<PathBuf>,
    /// Pools, classes and what happens to them; without one, the embedded config of simulations
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A second config on the same traffic, to compare the first with
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Policies, comma-separated, or `all`
    #[arg(long, value_name = "LIST", default_value = contender::USUAL, hide_default_value = true)]
    pub policy: String,
    /// How an endpoint is chosen within a pool, comma-separated, or `all`: each policy is played with each
    #[arg(long, value_name = "LIST", default_value = "work")]
    pub place: String,
    /// Seeds, like `1,2,5-9`: each is another draw of what a trace does not say, and of what pools do
    #[arg(long, value_name = "LIST", default_value = "1,2,3")]
    pub seed: Seeds,
    /// Mean demand over what the owned pools can do: makes them so much larger or smaller
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    pub load: Option<f64>,
    /// A part of the traffic: from hour to hour, like `9-12.5`, or so much around the busiest hour, like `peak:6h`
    #[arg(long, value_name = "PART")]
    pub hours: Option<Hours>,
    /// So many times the calls, with their bursts so many times as high
    #[arg(long, value_name = "K", default_value_t = 1.0, allow_negative_numbers = true)]
    pub scale: f64,
    /// Lets the traffic come and go, in its own time, as the rates in a column of a table do, of one day of them (from 0)
    /// if that is named
    #[arg(long, value_name = "FILE:COLUMN[:DAY]")]
    pub shape: Option<Shape>,
    /// One JSON object a line for each policy and seed, instead of the table
    #[arg(long)]
    pub json: bool,
    /// Write report.html, table.txt and runs.jsonl there, with what more capacity and another price of misses change
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// Run ours again with one more engine in each owned pool, and a tenth more of each contract
    #[arg(long)]
    pub worth: bool,
    /// Do without the certified bound on J
    #[arg(long)]
    pub no_bound: bool,
    /// Take the first settings of each policy instead of the best on another seed
    #[arg(long)]
    pub no_tune: bool,
    /// Keep each finished run there, and do not play again what is there already
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Write the decisions of the first policy on the first seed there, for `gridtie explain --replay`
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Of which share of calls (0 to 1)
    #[arg(long, value_name = "F", default_value = "0.01", requires = "records")]
    pub records_share: Share,
    /// Runs at once; without it, as many as there are cores
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Plays, and writes what came of it.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut teller = Teller::of_stderr();
    match simulate(args, &mut teller) {
        Ok(shown) => {
            let style = if paint == Paint::Colour { Style::Colour } else { Style::Plain };
            out.write_all(&written(&shown, args.json, style)?)?;
            if let Some(folder) = &args.report {
                write_report(folder, &shown, &mut teller)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Failed::Refused(refused)) => {
            write!(io::stderr(), "{}", refused.shown(Paint::of(&io::stderr()) == Paint::Colour))?;
            Ok(ExitCode::from(EXIT_CONFIG))
        }
        Err(Failed::Broken(error)) => Err(error),
    }
}

/// Why there is no result.
#[derive(Debug)]
enum Failed {
    /// What was asked makes no sense.
    Refused(Refused),
    /// The machine.
    Broken(anyhow::Error),
}

impl<E: Into<Refused>> From<E> for Failed {
    fn from(why: E) -> Self {
        Self::Refused(why.into())
    }
}

/// What there is to be shown.
#[derive(Clone, Debug)]
struct Shown {
    report: Report,
    /// Further lines for the table.
    more: String,
}

fn simulate(args: &Args, teller: &mut Teller) -> Result<Shown, Failed> {
    let Prepared { experiment, against, config, traffic, warnings } = prepare::prepare(args)?;
    for warning in &warnings {
        teller.line(&format!("warning: {warning}"));
    }
    teller.line(&format!(
        "{}: {} calls, {} on {}, runs at once: {}",
        traffic.name,
        traffic.arrivals.len(),
        counted(experiment.contenders.len(), "policy", "policies"),
        counted(experiment.seeds.len(), "seed", "seeds"),
        experiment.threads
    ));
    let kept = args.records.as_deref().map(|file| Kept::open(file, args.records_share));
    let kept = kept.transpose().map_err(Failed::Broken)?;
    let entrants = tuned(&experiment, teller)?;
    let runs = judged(args, &experiment, &entrants, teller)?;
    if let (Some(mut kept), Some(first)) = (kept, entrants.first()) {
        teller.phase("decisions on record");
        experiment.witnessed(first, &mut kept)?;
        let what = kept.done().map_err(Failed::Broken)?;
        teller.line(&format!("{}, {what}", first.name));
    }
    let mut beyond = Beyond { bounds: bounds(args, &experiment, teller)?, ..Beyond::default() };
    if let Some(ours) = entrants.iter().find(|e| e.name == OURS) {
        if args.worth || args.report.is_some() {
            teller.phase("more capacity");
            beyond.capacity = experiment.capacity(ours, &runs, teller)?;
        }
        if args.report.is_some() {
            teller.phase("other prices of misses");
            beyond.frontier = experiment.frontier(ours, &runs, teller)?;
        }
    }
    if let Some((name, other)) = against {
        teller.line(&format!("against {name}"));
        let entrants = tuned(&other, teller)?;
        teller.phase("the other config");
        let runs = other.judge(&entrants, &Resume::default(), teller)?;
        beyond.against = Some(Against { name, runs });
    }
    teller.done();
    let mut more = places::table(&runs);
    more.push_str(&limit_hits(&runs, beyond.against.as_ref()));
    if args.worth {
        more.push_str(&worths(&beyond));
    }
    Ok(Shown { report: experiment.report(&config, &traffic, &entrants, runs, beyond), more })
}

fn tuned(experiment: &Experiment, teller: &mut Teller) -> Result<Vec<Entrant>, Failed> {
    teller.phase("tuning");
    let entrants = experiment.tune(teller)?;
    for entrant in &entrants {
        teller.line(&format!("  {}: {}", entrant.name, entrant.tuning.chosen));
    }
    Ok(entrants)
}

fn judged(
    args: &Args,
    experiment: &Experiment,
    entrants: &[Entrant],
    teller: &mut Teller,
) -> Result<Vec<Tally>, Failed> {
    let resume = match &args.resume {
        Some(path) => teller.keep_in(path, experiment).map_err(Failed::Broken)?,
        None => Resume::default(),
    };
    teller.phase("playing");
    let runs = experiment.judge(entrants, &resume, teller)?;
    teller.keep_no_more().map_err(Failed::Broken)?;
    Ok(runs)
}

/// What no policy can beat.
fn bounds(args: &Args, experiment: &Experiment, teller: &mut Teller) -> Result<Vec<report::Bound>, Failed> {
    if args.no_bound {
        return Ok(Vec::new());
    }
    teller.phase("bounds");
    let clock = Clock::system();
    let bounds = experiment.bounds()?;
    let took = clock.mono().since(Instant::START).as_secs_f64();
    teller.line(&format!("bounds: {} in {took:.1} s", counted(bounds.len(), "seed", "seeds")));
    Ok(bounds)
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Refusals by rate limits and quotas, where two configs are compared: the table has no column for them.
fn limit_hits(runs: &[Tally], against: Option<&Against>) -> String {
    let Some(against) = against else { return String::new() };
    let mut text = String::from("\nLimit hits, all seeds (here, there)\n");
    let hits = |runs: &[Tally], policy: &str| -> u64 {
        let mine = runs.iter().filter(|run| run.policy == policy);
        mine.flat_map(|run| &run.pools).map(|pool| pool.limited).sum()
    };
    let mut names: Vec<&str> = runs.iter().map(|run| run.policy.as_str()).collect();
    names.dedup();
    for name in names {
        text.push_str(&format!("{name}: {}, {}\n", hits(runs, name), hits(&against.runs, name)));
    }
    text
}

fn worths(beyond: &Beyond) -> String {
    let mut text = String::from(
        "\nWhat more would be worth, $ an hour (by its price during the run; by running it again)\n",
    );
    for value in &beyond.capacity {
        let dollars = |x: f64| if x.is_finite() { format!("{x:.2}") } else { "–".to_owned() };
        let checked = value.checked_usd_per_hour.map_or_else(|| "–".to_owned(), dollars);
        text.push_str(&format!("{}: {}; {checked}\n", value.what, dollars(value.shadow_usd_per_hour)));
    }
    text
}

fn written(shown: &Shown, json: bool, style: Style) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    if json {
        report::json_lines(&shown.report, &mut text)?;
    } else {
        text.extend(report::table(&shown.report, style).bytes());
        text.extend(shown.more.bytes());
    }
    Ok(text)
}

fn write_report(folder: &Path, shown: &Shown, teller: &mut Teller) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let files = [
        ("report.html", report::html(&shown.report).into_bytes()),
        ("table.txt", written(shown, false, Style::Plain)?),
        ("runs.jsonl", written(shown, true, Style::Plain)?),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    teller.line(&format!("report: {}", folder.join("report.html").display()));
    Ok(())
}
