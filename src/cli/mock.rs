//! `gridtie mock [--config FILE]`: the simulated pools of a config as real servers.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{EXIT_CONFIG, Paint};
use crate::clock::Clock;
use crate::config;
use crate::mock::{self, MockPool};

/// Serve the simulated pools of a config over real sockets.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The config; without one, the embedded default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,
    /// HTTP port of the first pool; the others follow
    #[arg(long, value_name = "PORT", default_value_t = 18_080)]
    pub http_from: u16,
    /// gRPC port of the first pool; the others follow
    #[arg(long, value_name = "PORT", default_value_t = 18_051)]
    pub grpc_from: u16,
}

/// Serves until it is interrupted.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let loaded = match &args.config {
        Some(path) => config::load(path),
        None => Ok(config::embedded()),
    };
    let checked = match loaded {
        Ok(checked) => checked,
        Err(problems) => {
            writeln!(out, "{}", problems.render(paint == Paint::Colour))?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let pools = mock::simulated_pools(&checked);
    if pools.is_empty() {
        writeln!(out, "{}: no pool is simulated, so there is nothing to serve", checked.name)?;
        return Ok(ExitCode::from(EXIT_CONFIG));
    }
    let mut placed = Vec::with_capacity(pools.len());
    for (i, settings) in pools.into_iter().enumerate() {
        let at = |from: u16| {
            let port = u16::try_from(i).ok().and_then(|i| from.checked_add(i));
            port.map(|port| SocketAddr::new(args.host, port)).context("more pools than ports")
        };
        placed.push(MockPool { settings, http: at(args.http_from)?, grpc: Some(at(args.grpc_from)?) });
    }
    tokio::runtime::Runtime::new()?.block_on(serve(placed, out))
}

async fn serve(pools: Vec<MockPool>, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mock = mock::bind(pools, &Clock::system()).await.context("cannot open a port")?;
    for bound in mock.bound()? {
        write!(out, "{}: http://{}/v1", bound.pool, bound.http)?;
        match bound.grpc {
            Some(grpc) => writeln!(out, ", gRPC {grpc}")?,
            None => writeln!(out)?,
        }
    }
    out.flush()?;
    mock.run(interrupted()).await;
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C, or the signal with which a supervisor ends a process.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        biased;
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
