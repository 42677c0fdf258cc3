//! `gridtie explain`: where a call would go and why, term by term, in dollars.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::{EXIT_CONFIG, Paint, load};
use crate::app;
use crate::clock::Clock;
use crate::domain::request::AskKind;
use crate::domain::{Body, Capabilities, Hints, Refusal, Request, TenantId};
use crate::flow::Inbound;
use crate::telemetry::{LogSink, LogWriter};

/// Say where a call would go and why, from a config (nothing is sent).
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The model
    #[arg(long)]
    pub model: String,
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
    /// As if this pool were not there
    #[arg(long, value_name = "POOL", value_delimiter = ',')]
    pub without: Vec<String>,
}

/// Prints the table.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let checked = match load(args.config.as_deref()) {
        Ok(checked) => checked,
        Err(problems) => {
            write!(out, "{}", problems.render(paint == Paint::Colour))?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inbound = inbound(args, &checked.catalog)?;
    let explanation = runtime.block_on(async {
        let router = app::router(&checked, Clock::system(), 0, LogWriter::new(LogSink::Off)?)?;
        router.explain(&inbound).map_err(|refusal| anyhow::anyhow!(said(&refusal)))
    })?;
    write!(out, "{explanation}")?;
    Ok(ExitCode::SUCCESS)
}

fn inbound(args: &Args, catalog: &crate::domain::Catalog) -> anyhow::Result<Inbound> {
    let kind = catalog.model_id(&args.model).map_or(AskKind::Chat, |id| catalog.model(id).kind);
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
    if let Some(unknown) = args.without.iter().find(|name| catalog.pool_id(name).is_none()) {
        bail!("--without {unknown}: there is no such pool");
    }
    let left = catalog.pools.iter().filter(|pool| !args.without.iter().any(|name| **name == *pool.name));
    let pools: Vec<Arc<str>> =
        if args.without.is_empty() { Vec::new() } else { left.map(|pool| pool.name.clone()).collect() };
    if !args.without.is_empty() && pools.is_empty() {
        bail!("--without leaves no pool");
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
        model: args.model.clone(),
        class: args.class.clone(),
        tenant: TenantId::default(),
        session: None,
        hints: Hints { pools, ..Hints::default() },
        needs,
        max_tokens: args.max_tokens,
        n: 1,
        timeout: None,
        client_retry: false,
    })
}

fn said(refusal: &Refusal) -> String {
    crate::edge::status::wire(refusal).message
}
