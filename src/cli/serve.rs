//! `gridtie serve [--config FILE]`: the router.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{EXIT_CONFIG, Paint, load};
use crate::app::{self, serve::Descent};
use crate::clock::Clock;
use crate::config::{Checked, LogFormat};
use crate::domain::Duration;
use crate::telemetry::LogWriter;

/// Start the router.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The config; without one, the embedded default: four simulated pools, no keys, no network
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seed of all randomness, to repeat a run; without one, a fresh one
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Seconds of still serving after the first signal to stop, so that balancers notice
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub lame_duck: f64,
}

/// Serves until it is told to stop.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let checked = match load(args.config.as_deref()) {
        Ok(checked) => checked,
        Err(problems) => {
            write!(out, "{}", problems.render(paint == Paint::Colour))?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    logging(&checked)?;
    if !checked.warnings.is_empty() {
        write!(out, "{}", checked.warnings.render(paint == Paint::Colour))?;
    }
    // Another provider may have been installed by whoever embeds this; that is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let seed = args.seed.unwrap_or_else(app::seed::entropy);
    let descent = Descent {
        lame_duck: Duration::try_from_secs_f64(args.lame_duck).context("--lame-duck: a number of seconds")?,
        grace: checked.drain_grace,
    };
    let runtime = runtime()?;
    runtime.block_on(serve(checked, args.config.clone(), seed, descent, out))?;
    Ok(ExitCode::SUCCESS)
}

/// As many threads as there are cores to run on. On a single one a runtime without work stealing does the same for less:
/// it needs no atomics between workers and wakes nobody.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut builder = match cores {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

async fn serve(
    checked: Checked,
    source: Option<PathBuf>,
    seed: u64,
    descent: Descent,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let log = LogWriter::new(checked.log.calls)?;
    let records = app::records(&checked)?;
    let router = app::router(&checked, Clock::system(), seed, log, records)?;
    let name = checked.name.clone();
    let reads_again = source.is_some();
    let server = app::bind(router, checked, source, seed).await?;
    banner(&name, &server, out)?;
    let hang_ups = if reads_again { Some(hang_ups(server.reloads().clone())?) } else { None };
    let (mut first, mut second) = signals.split();
    let served = server.run(first.any(), second.any(), descent).await;
    drop(hang_ups);
    served
}

/// What is up and where, for the person who started it.
fn banner(name: &str, server: &app::Server, out: &mut dyn Write) -> std::io::Result<()> {
    let bound = server.bound();
    let catalog = server.router().catalog();
    let pools: Vec<&str> = catalog.pools.iter().map(|p| &*p.name).collect();
    let models: Vec<&str> = catalog.models.iter().map(|m| &*m.name).collect();
    writeln!(out, "gridtie {} with {name}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  pools   {}", pools.join(", "))?;
    writeln!(out, "  models  {}", models.join(", "))?;
    for (face, address) in [("http", bound.http), ("grpc", bound.grpc), ("admin", bound.admin)] {
        match address {
            Some(at) if face == "http" => writeln!(out, "  {face:<7} http://{at}/v1")?,
            Some(at) => writeln!(out, "  {face:<7} {at}")?,
            None => {}
        }
    }
    out.flush()
}

/// SIGHUP has the config read again. Without a file of its own the router ends with its terminal, as programs do.
fn hang_ups(reloads: app::Reloads) -> anyhow::Result<tokio::task::JoinSet<()>> {
    let mut signals = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        while signals.recv().await.is_some() {
            reloads.signal();
        }
    });
    Ok(task)
}

/// SIGTERM and SIGINT, counted: the first begins the way down, the second ends it.
struct Signals {
    terminate: [Signal; 2],
    interrupt: [Signal; 2],
}

/// One of the two.
struct Told<'a> {
    terminate: &'a mut Signal,
    interrupt: &'a mut Signal,
    times: u32,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let two = |kind| -> std::io::Result<[Signal; 2]> { Ok([signal(kind)?, signal(kind)?]) };
        Ok(Self {
            terminate: two(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: two(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    fn split(&mut self) -> (Told<'_>, Told<'_>) {
        let [t1, t2] = &mut self.terminate;
        let [i1, i2] = &mut self.interrupt;
        (Told { terminate: t1, interrupt: i1, times: 1 }, Told { terminate: t2, interrupt: i2, times: 2 })
    }
}

impl Told<'_> {
    /// Resolves when a signal has come as often as it takes.
    async fn any(&mut self) {
        for _ in 0..self.times {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        }
    }
}

/// Operational events go to standard error; the lines of calls have a log of their own.
fn logging(checked: &Checked) -> anyhow::Result<()> {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_new(&checked.log.filter).context("log.filter")?;
    let json = match checked.log.format {
        Some(format) => format == LogFormat::Json,
        None => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(Paint::of(&std::io::stderr()) == Paint::Colour).compact().try_init()
    };
    set.map_err(|error| anyhow::anyhow!("cannot set up logging: {error}"))
}
