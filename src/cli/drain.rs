//! `gridtie drain POOL` takes a pool out of a running router, `gridtie resume POOL` puts it back in.

use std::io::Write;
use std::process::ExitCode;

use super::admin::{Reach, block_on};
use crate::dialect::gridtie::v1;

/// Take a pool out, or put it back in.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The pool, by its name in the config
    #[arg(value_name = "POOL")]
    pub pool: String,
    /// Which router.
    #[command(flatten)]
    pub reach: Reach,
}

/// No new calls to the pool; those under way finish.
pub fn drain(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    block_on(async {
        let message = v1::DrainPoolRequest { pool: args.pool.clone() };
        let router = args.reach.connect().await?;
        let answer =
            router.ask(message, |mut client, ask| async move { client.drain_pool(ask).await }).await?;
        let left = answer.pool.map_or(0, |pool| pool.in_flight);
        match left {
            0 => writeln!(out, "{} is drained: no calls under way", args.pool)?,
            1 => writeln!(out, "{} is drained: 1 call under way finishes", args.pool)?,
            n => writeln!(out, "{} is drained: {n} calls under way finish", args.pool)?,
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The pool comes back with a slow start.
pub fn resume(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    block_on(async {
        let message = v1::ResumePoolRequest { pool: args.pool.clone() };
        let router = args.reach.connect().await?;
        router.ask(message, |mut client, ask| async move { client.resume_pool(ask).await }).await?;
        writeln!(out, "{} is back, with a slow start", args.pool)?;
        Ok(ExitCode::SUCCESS)
    })
}
