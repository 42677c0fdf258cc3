//! What the kernel knows about the processes and cores of a measurement.
//!
//! Problem: CPU per call is only worth printing if it is the whole process tree's, taken at the same two moments
//! as the call counts, and if nothing else ran on the cores meanwhile. This file reads `/proc` and refuses to know
//! what is being measured.

use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// `USER_HZ`: the kernel's unit of time in `/proc`, fixed at 100 on Linux.
const TICKS: f64 = 100.0;

/// Whom to watch, and where they are pinned.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Watched {
    /// Root of the proxy's process tree.
    #[arg(long)]
    proxy_pid: Option<u32>,
    /// The mock upstream.
    #[arg(long)]
    mock_pid: Option<u32>,
    /// The core the proxy is pinned to.
    #[arg(long, default_value_t = 0)]
    proxy_cpu: usize,
    /// The core that load and mock share.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
}

/// CPU seconds since boot, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    at: std::time::Instant,
    proxy: f64,
    load: f64,
    mock: f64,
    proxy_core: Core,
    load_core: Core,
}

#[derive(Debug, Clone, Copy, Default)]
struct Core {
    busy: f64,
    steal: f64,
}

/// What was used between two samples, in seconds and shares of one core.
#[derive(Debug, Serialize)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    pub(crate) proxy_cpu_s: f64,
    pub(crate) load_cpu_s: f64,
    pub(crate) mock_cpu_s: f64,
    /// Share of its core that the proxy used.
    pub(crate) proxy_busy: f64,
    /// Share of their core that load and mock used together.
    pub(crate) load_busy: f64,
    /// Share of the proxy's core that strangers used.
    pub(crate) proxy_core_foreign: f64,
    /// Share of the load's core that strangers used.
    pub(crate) load_core_foreign: f64,
    /// Share of both cores that the hypervisor gave to others.
    pub(crate) steal: f64,
}

impl Watched {
    /// Reads all counters now.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub(crate) fn sample(&self) -> Result<Sample> {
        Ok(Sample {
            at: std::time::Instant::now(),
            proxy: self.proxy_pid.map_or(Ok(0.0), tree_cpu)?,
            load: cpu(std::process::id())?,
            mock: self.mock_pid.map_or(Ok(0.0), tree_cpu)?,
            proxy_core: core(self.proxy_cpu)?,
            load_core: core(self.load_cpu)?,
        })
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Sample) -> Result<Used> {
        let now = self.sample()?;
        let seconds = (now.at - before.at).as_secs_f64();
        let proxy_cpu_s = now.proxy - before.proxy;
        let load_cpu_s = now.load - before.load;
        let mock_cpu_s = now.mock - before.mock;
        let proxy_core = now.proxy_core.busy - before.proxy_core.busy;
        let load_core = now.load_core.busy - before.load_core.busy;
        let stolen =
            now.proxy_core.steal - before.proxy_core.steal + now.load_core.steal - before.load_core.steal;
        Ok(Used {
            seconds,
            proxy_cpu_s,
            load_cpu_s,
            mock_cpu_s,
            proxy_busy: proxy_cpu_s / seconds,
            load_busy: (load_cpu_s + mock_cpu_s) / seconds,
            proxy_core_foreign: ((proxy_core - proxy_cpu_s) / seconds).max(0.0),
            load_core_foreign: ((load_core - load_cpu_s - mock_cpu_s) / seconds).max(0.0),
            steal: stolen / seconds / 2.0,
        })
    }

    /// Resident memory of the proxy's whole tree, in bytes.
    pub(crate) fn proxy_rss(&self) -> Result<u64> {
        self.proxy_pid.map_or(Ok(0), |root| tree(root)?.into_iter().map(rss).sum())
    }

    /// Open files of the proxy's root process.
    pub(crate) fn proxy_files(&self) -> Result<usize> {
        let pid = self.proxy_pid.context("no process to watch")?;
        Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
    }
}

fn tree_cpu(root: u32) -> Result<f64> {
    tree(root)?.into_iter().map(cpu).sum()
}

/// `root` and all its descendants.
fn tree(root: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while we look.
        if let Ok(stat) = stat(pid) {
            parents.push((pid, field(&stat, 4)? as u32));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    Ok(found)
}

fn stat(pid: u32) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))
}

/// Field `number` of a stat line as proc(5) counts them; the second may hold spaces and brackets.
fn field(stat: &str, number: usize) -> Result<u64> {
    let (_, rest) = stat.rsplit_once(')').context("a stat line without a name")?;
    let text = rest.split_ascii_whitespace().nth(number - 3).context("a short stat line")?;
    Ok(text.parse()?)
}

/// User and system time of all threads, living and dead, and of children that were waited for.
fn cpu(pid: u32) -> Result<f64> {
    let stat = stat(pid)?;
    let ticks: Result<u64> = [14, 15, 16, 17].into_iter().map(|number| field(&stat, number)).sum();
    Ok(ticks? as f64 / TICKS)
}

fn rss(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn core(number: usize) -> Result<Core> {
    let stat = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{number} ");
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name))
        .with_context(|| format!("no core {number}"))?;
    let ticks: Vec<f64> = line.split_ascii_whitespace().map_while(|t| t.parse().ok()).collect();
    let of = |at: usize| ticks.get(at).copied().unwrap_or(0.0) / TICKS;
    // user, nice, system, (idle, iowait,) irq, softirq
    Ok(Core { busy: of(0) + of(1) + of(2) + of(5) + of(6), steal: of(7) })
}
