//! `gridtie explain`: where a call would go and why, term by term, in dollars; from a config, or as it was on record.

mod replay;
mod tell;
#[cfg(test)]
mod tests;
mod what_if;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::{EXIT_CONFIG, Paint, load};
use crate::app;
use crate::clock::Clock;
use crate::domain::request::AskKind;
use crate::domain::{Body, Capabilities, Hints, Request, TenantId};
use crate::fleet::Explanation;
use crate::flow::{Inbound, resolve};
use crate::telemetry::{LogSink, LogWriter};
use what_if::{NewPrice, what_if};

/// Say where a call would go and why, from a config (nothing is sent); or replay decisions on record.
///
/// With --without or --price, what would then have been chosen is said beside it, and the difference in dollars: about this
/// one decision, with shadow prices and queues as they are. `gridtie simulate` says what would come of all of them. Exits
/// with 1 if a replay chooses otherwise than the record says, and with 2 if the config or a record cannot be read.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The model
    #[arg(long, required_unless_present = "replay")]
    pub model: Option<String>,
    /// The class; without one, the default class
    #[arg(long)]
    pub class: Option<String>,
    /// The config; without one, the embedded default
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Input tokens
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub input: u32,
    /// The caller's limit on output tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// A whole answer instead of a stream
    #[arg(long)]
    pub unary: bool,
    /// Things an offer must be able to do: tools, images, json, logprobs, n
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub needs: Vec<String>,
    /// Decisions on record instead of a config: all of the file that `records` in a config names, one line of it, or one call (16 hex digits)
    #[arg(
        long,
        value_name = "FILE[:LINE|:CALL]",
        conflicts_with_all = ["model", "class", "config", "input", "max_tokens", "unary", "needs"]
    )]
    pub replay: Option<String>,
    /// As if this pool were not there
    #[arg(long, value_name = "POOL", value_delimiter = ',')]
    pub without: Vec<String>,
    /// As if this pool charged that, in dollars per million tokens of input and of output; one number is both, 0 is free
    #[arg(long, value_name = "POOL=IN/OUT", value_delimiter = ',')]
    pub price: Vec<NewPrice>,
}

/// Prints the table.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match &args.replay {
        Some(what) => replay::run(what, &what_if(args)?, out),
        None => from_config(args, paint, out),
    }
}

fn from_config(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let checked = match load(args.config.as_deref()) {
        Ok(checked) => checked,
        Err(problems) => {
            write!(out, "{}", problems.render(paint == Paint::Colour))?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let what_if = what_if(args)?;
    if let Some(unknown) = what_if.pools().find(|name| checked.catalog.pool_id(name).is_none()) {
        let there: Vec<&str> = checked.catalog.pools.iter().map(|pool| &*pool.name).collect();
        bail!(
            "--without, --price: there is no pool `{unknown}` in {}: there are {}",
            checked.name,
            there.join(", ")
        );
    }
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inbound = inbound(args, &checked.catalog)?;
    let record = runtime.block_on(async {
        let router = app::router(&checked, Clock::system(), 0, LogWriter::new(LogSink::Off)?, None)?;
        let now = router.clock().now();
        let facts = resolve(&checked.catalog, router.next_id(), now.mono, &inbound)
            .map_err(|refusal| anyhow::anyhow!(crate::edge::status::wire(&refusal).message))?;
        anyhow::Ok(router.with_fleet(|fleet| fleet.consider(&facts, &[], now)))
    })?;
    write!(out, "{}", Explanation::of(&record))?;
    if !what_if.is_nothing() {
        let then =
            crate::policy::record::replay(&record, &what_if).map_err(|why| anyhow::anyhow!("{why}"))?;
        tell::beside(&record, &then, &what_if, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn inbound(args: &Args, catalog: &crate::domain::Catalog) -> anyhow::Result<Inbound> {
    let model = args.model.clone().unwrap_or_default();
    let kind = catalog.model_id(&model).map_or(AskKind::Chat, |id| catalog.model(id).kind);
    let mut needs = match kind {
        AskKind::Chat => Capabilities::CHAT,
        AskKind::Completion => Capabilities::COMPLETION,
        AskKind::Embed => Capabilities::EMBED,
    };
    let stream = !args.unary && kind != AskKind::Embed;
    if stream {
        needs = needs.with(Capabilities::STREAM);
    }
    for name in &args.needs {
        let all: Vec<&str> = Capabilities::NAMES.iter().map(|(_, name)| *name).collect();
        let one = Capabilities::by_name(name);
        needs = needs.with(one.with_context(|| format!("--needs {name}: there are {}", all.join(", ")))?);
    }
    Ok(Inbound {
        request: Request {
            kind,
            stream,
            stream_usage: false,
            body: Body::OpenAi(bytes::Bytes::new()),
            input_tokens: args.input,
            forward: Vec::new(),
        },
        model,
        class: args.class.clone(),
        tenant: TenantId::default(),
        session: None,
        prefix: [].into(),
        hints: Hints::default(),
        needs,
        max_tokens: args.max_tokens,
        n: 1,
        timeout: None,
        client_retry: false,
    })
}
