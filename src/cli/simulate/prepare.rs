//! From arguments to an experiment: files read, names looked up, and everything refused that would waste the time of a
//! run: before it starts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::thread;

use super::Args;
use super::ask::Shape;
use crate::config::{self, Checked, Problems};
use crate::domain::Tenure;
use crate::sim::experiment::{self, Experiment, Tuned};
use crate::sim::source::{Part, Source, Window};
use crate::sim::traffic::{BYTES_MAX, BadTraffic, Profile};
use crate::sim::{Traffic, contender, size};

/// Why nothing is played.
#[derive(Debug)]
pub(super) enum Refused {
    /// A config.
    Config(Problems),
    /// Traffic.
    Traffic(BadTraffic),
    /// Anything else, in a sentence.
    Text(String),
}

impl From<Problems> for Refused {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

impl From<BadTraffic> for Refused {
    fn from(bad: BadTraffic) -> Self {
        Self::Traffic(bad)
    }
}

impl From<String> for Refused {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Refused {
    /// For people, with a line break at the end.
    pub(super) fn shown(&self, styled: bool) -> String {
        match self {
            Self::Config(problems) => problems.render(styled) + "\n",
            Self::Traffic(bad) => format!("error: {bad}\n"),
            Self::Text(text) => format!("error: {text}\n"),
        }
    }
}

/// All that is needed to begin.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) experiment: Experiment,
    /// The second config, with its name.
    pub(super) against: Option<(String, Experiment)>,
    /// The name of the config.
    pub(super) config: String,
    /// Of the first seed.
    pub(super) traffic: Traffic,
    /// Of what is probably not meant.
    pub(super) warnings: Vec<String>,
}

pub(super) fn prepare(args: &Args) -> Result<Prepared, Refused> {
    let checked = match &args.config {
        Some(path) => config::load_from(path, &config::Surroundings::Unread)?,
        None => config::embedded_simulate(),
    };
    let source = source(args)?;
    let asked = args.load.or(checked.simulate.load);
    if let Some(load) = args.load.filter(|load| !(load.is_finite() && *load > 0.0 && *load <= 100.0)) {
        return Err(format!("--load {load}: write a number above zero, like 0.9 or 1.2").into());
    }
    let mut experiment = experiment(args, &checked, source, 1.0)?;
    let traffic = experiment.traffic(experiment.seeds[0])?;
    let factor = match asked {
        Some(load) => enlarged(&checked, &experiment, &traffic, load)?,
        None => 1.0,
    };
    experiment.setup = experiment::world(&checked, factor);
    experiment.load = asked;
    sound(&checked.name, &experiment, &traffic)?;
    let warned = checked.warnings.list().iter().map(|problem| problem.message.clone());
    let warnings = warned.chain(experiment::hopeless(&experiment.setup, &traffic)).collect();
    let against = match &args.against {
        Some(path) => Some(against(args, path, &experiment, factor)?),
        None => None,
    };
    Ok(Prepared { experiment, against, config: checked.name.to_string(), traffic, warnings })
}

fn experiment(args: &Args, checked: &Checked, source: Source, factor: f64) -> Result<Experiment, Refused> {
    Ok(Experiment {
        setup: experiment::world(checked, factor),
        load: None,
        source,
        mix: experiment::mix(checked),
        contenders: contender::contenders(&args.policy, &args.place, &checked.routing)?,
        seeds: args.seed.0.clone(),
        tuned: if args.no_tune { Tuned::Not } else { Tuned::OnAnotherSeed },
        threads: threads(args)?,
    })
}

fn threads(args: &Args) -> Result<usize, Refused> {
    match args.threads {
        Some(0) => Err("--threads 0: nobody would play".to_owned().into()),
        Some(n) => Ok(n.min(1024)),
        None => Ok(thread::available_parallelism().map_or(1, usize::from)),
    }
}

fn source(args: &Args) -> Result<Source, Refused> {
    if !(args.scale.is_finite() && args.scale > 0.0 && args.scale <= 10_000.0) {
        return Err(format!("--scale {}: write a number above zero, like 0.5 or 6", args.scale).into());
    }
    let mut source = Source::usual()?;
    if !args.trace.is_empty() {
        source.parts = args.trace.iter().map(|path| part(path)).collect::<Result<_, _>>()?;
    }
    source.window = args.hours.map_or(Window::All, |hours| hours.0);
    source.scale = args.scale;
    source.shape = args.shape.as_ref().map(profile).transpose()?;
    Ok(source)
}

fn profile(shape: &Shape) -> Result<Profile, Refused> {
    let (name, text) = text(&shape.file)?;
    let all = Profile::read(&name, &text, &shape.column)?;
    let Some(day) = shape.day else { return Ok(all) };
    all.day(day).ok_or_else(|| format!("{name} has no day {day} (from 0) with a rate above zero").into())
}

fn part(path: &Path) -> Result<Part, Refused> {
    let (name, text) = text(path)?;
    Ok(Part::read(&name, text)?)
}

/// The name of a file, for people, and all that is in it.
fn text(path: &Path) -> Result<(String, String), Refused> {
    let name =
        path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
    let unread = |why: &dyn std::fmt::Display| format!("the trace {} cannot be read: {why}", path.display());
    let file = File::open(path).map_err(|error| unread(&error))?;
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| unread(&error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(unread(&"it is larger than 2 GiB").into());
    }
    Ok((name, text))
}

/// How many times as large the owned pools must be.
fn enlarged(
    checked: &Checked,
    experiment: &Experiment,
    traffic: &Traffic,
    load: f64,
) -> Result<f64, Refused> {
    if !checked.catalog.pools.iter().any(|pool| pool.tenure == Tenure::Owned) {
        return Err(format!("a load of {load} means nothing here: {} has no owned pool", checked.name).into());
    }
    let now = size::load(&experiment.setup, traffic);
    let now = now.ok_or_else(|| {
        format!(
            "a load of {load} cannot be reached: no owned pool of {} is simulated, so nothing is known of how much \
             it can do",
            checked.name
        )
    })?;
    Ok(now / load)
}

fn sound(config: &str, experiment: &Experiment, traffic: &Traffic) -> Result<(), Refused> {
    match &experiment::orphans(&experiment.setup, traffic)[..] {
        [] => Ok(()),
        [model] => {
            Err(format!("{}: calls ask for `{model}`, and no pool of {config} offers it", traffic.name)
                .into())
        }
        all => Err(format!(
            "{}: calls ask for {}, and no pool of {config} offers them",
            traffic.name,
            all.join(", ")
        )
        .into()),
    }
}

/// The second config with the same traffic. Its owned pools are resized as those of the first: what they differ in is
/// what is compared.
fn against(
    args: &Args,
    path: &Path,
    first: &Experiment,
    factor: f64,
) -> Result<(String, Experiment), Refused> {
    let checked = config::load_from(path, &config::Surroundings::Unread)?;
    let names = |catalog: &crate::domain::Catalog| -> Vec<String> {
        catalog.classes.iter().map(|class| class.name.to_string()).collect()
    };
    let (here, there) = (names(&first.setup.catalog), names(&checked.catalog));
    if here != there {
        return Err(format!(
            "{} has the classes {}, the other {}: their misses cannot be compared",
            checked.name,
            there.join(", "),
            here.join(", ")
        )
        .into());
    }
    let mut other = experiment(args, &checked, first.source.clone(), factor)?;
    // The same calls in the same classes.
    other.mix = first.mix.clone();
    let traffic = other.traffic(other.seeds[0])?;
    sound(&checked.name, &other, &traffic)?;
    Ok((checked.name.to_string(), other))
}
