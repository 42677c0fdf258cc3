//! `gridtie check FILE`: every problem of a config at once, with line and remedy; then, if it is right, the merit order
//! that follows from it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_CONFIG, Paint};
use crate::config::{self, Checked, Policy, Surroundings, TYPICAL_INPUT};
use crate::domain::{Class, Model, OfferId, Pool, Usage};

/// Check a config.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The config; without one, the embedded default
    #[arg(value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Read no environment variable and no file that the config refers to
    #[arg(long)]
    pub no_secrets: bool,
}

/// Output tokens of the call that the merit order is about.
const TYPICAL_OUTPUT: u32 = 200;

/// Checks, and writes what was found.
pub fn run(args: &Args, paint: Paint, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let surroundings = if args.no_secrets { Surroundings::Unread } else { Surroundings::Real };
    let loaded = match &args.config {
        Some(path) => config::load_from(path, &surroundings),
        None => Ok(config::embedded()),
    };
    let styled = paint == Paint::Colour;
    match loaded {
        Err(problems) => {
            writeln!(out, "{}", problems.render(styled))?;
            let (errors, all) = (problems.errors(), problems.list().len());
            writeln!(out, "refused: {}, {}", count(errors, "error"), count(all - errors, "warning"))?;
            Ok(ExitCode::from(EXIT_CONFIG))
        }
        Ok(checked) => {
            if !checked.warnings.is_empty() {
                writeln!(out, "{}", checked.warnings.render(styled))?;
            }
            summary(&checked, out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn summary(checked: &Checked, out: &mut dyn Write) -> std::io::Result<()> {
    let catalog = &checked.catalog;
    let keys = match checked.auth.keys.len() {
        0 => "no keys: everybody may ask".to_owned(),
        n => count(n, "key"),
    };
    write!(out, "{}: right; ", checked.name)?;
    write!(out, "{}, ", count(catalog.pools.len(), "pool"))?;
    write!(out, "{}, ", count(catalog.models.len(), "model"))?;
    write!(out, "{} classes, {keys}", catalog.classes.len())?;
    match checked.warnings.list().len() {
        0 => writeln!(out)?,
        n => writeln!(out, "; {}", count(n, "warning"))?,
    }
    writeln!(
        out,
        "\nMerit order under the policy `{}` for a typical call ({TYPICAL_INPUT} tokens in, {TYPICAL_OUTPUT} out), as \
         expected of idle\npools before anything is measured. The total is the bill, the wait and the miss in dollars.",
        checked.routing.policy.name(),
    )?;
    for model in catalog.models.iter().filter(|m| !m.offers.is_empty()) {
        for class in &catalog.classes {
            writeln!(out, "\n{} for {}{}", model.name, class.name, target(class))?;
            for (i, row) in merit_order(checked, model, class).into_iter().enumerate() {
                writeln!(out, "{:>3}  {row}", i + 1)?;
            }
        }
    }
    Ok(())
}

fn target(class: &Class) -> String {
    match (class.ttft_target, class.finish_target) {
        (Some(first), _) => format!(" (first token within {first:?})"),
        (None, Some(finish)) => format!(" (finished within {finish:?})"),
        (None, None) => String::new(),
    }
}

/// The pools that offer the model, first choice first, a line each.
fn merit_order(checked: &Checked, model: &Model, class: &Class) -> Vec<String> {
    let catalog = &checked.catalog;
    let width = catalog.pools.iter().map(|pool| pool.name.len()).max().unwrap_or(0);
    let mut quotes: Vec<Quote<'_>> = model.offers.iter().map(|id| Quote::of(checked, *id, class)).collect();
    quotes.sort_by(|a, b| match checked.routing.policy {
        Policy::Price => a.total_usd.total_cmp(&b.total_usd),
        Policy::Ordered => a.pool.order.cmp(&b.pool.order),
        Policy::Weighted => b.pool.weight.total_cmp(&a.pool.weight),
    });
    quotes.into_iter().map(|quote| quote.line(width)).collect()
}

/// What a pool would charge for a typical call, and what else it would cost.
struct Quote<'a> {
    pool: &'a Pool,
    bill_usd: f64,
    first_token_s: f64,
    late: bool,
    total_usd: f64,
}

impl<'a> Quote<'a> {
    fn of(checked: &'a Checked, id: OfferId, class: &Class) -> Self {
        let offer = checked.catalog.offer(id);
        let pool = checked.catalog.pool(offer.pool);
        let usage = Usage { input: TYPICAL_INPUT.into(), output: TYPICAL_OUTPUT.into(), ..Usage::default() };
        let bill_usd = offer.prices.cost(&usage).as_dollars();
        let first_token_s = config::first_token_s(&checked.catalog, id);
        let finish_s = first_token_s + pool.engine_prior.tpot_s * f64::from(TYPICAL_OUTPUT);
        let late = class.ttft_target.is_some_and(|target| first_token_s > target.as_secs_f64())
            || class.finish_target.is_some_and(|target| finish_s > target.as_secs_f64());
        let miss_usd = if late { class.miss_usd } else { 0.0 };
        let total_usd = bill_usd + class.delay_usd_per_s * first_token_s + miss_usd;
        Self { pool, bill_usd, first_token_s, late, total_usd }
    }

    fn line(&self, width: usize) -> String {
        let Self { pool, bill_usd, first_token_s, late, total_usd } = self;
        let (name, tenure) = (&pool.name, pool.tenure.name());
        let in_time = if *late { "late" } else { "in time" };
        let first_ms = first_token_s * 1e3;
        let mut line = format!(
            "{name:<width$}  {tenure:<7}  bill ${bill_usd:.6}  first token {first_ms:>5.0} ms  {in_time:<7}  total ${total_usd:.6}"
        );
        if let Some(contact) = pool.contact {
            line += &format!("  (in reach {:?} of every {:?})", contact.length, contact.period);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(args: &Args) -> (ExitCode, String) {
        let mut out = Vec::new();
        let code = run(args, Paint::Plain, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_embedded_config_has_its_owned_pool_first() {
        let (code, out) = checked(&Args { config: None, no_secrets: false });
        assert_eq!(code, ExitCode::SUCCESS);
        let order = out.split("chat-large for interactive").nth(1).unwrap();
        let names: Vec<&str> =
            order.lines().skip(1).take(4).filter_map(|l| l.split_whitespace().nth(1)).collect();
        assert_eq!(names[0], "owned", "{out}");
        assert!(names.contains(&"far") && names.contains(&"cloud-a"), "{out}");
        assert!(order.contains("in reach 720s of every 5400s"), "{out}");
    }

    #[test]
    fn a_config_that_is_not_there_is_refused_with_the_reason() {
        let (code, out) =
            checked(&Args { config: Some("/nonexistent/gridtie.toml".into()), no_secrets: false });
        assert_eq!(code, ExitCode::from(EXIT_CONFIG));
        assert!(out.contains("there is no such file") && out.contains("/nonexistent/gridtie.toml"), "{out}");
    }
}
