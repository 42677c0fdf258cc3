//! `gridtie check FILE`: every problem of a config at once, with line and remedy; then, if it is right, the merit order
//! that follows from it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{EXIT_CONFIG, Paint};
use crate::config::{self, Checked, Surroundings, TYPICAL_INPUT, spelt};
use crate::discover;
use crate::domain::{
    Address, AskKind, CallFacts, CallId, Capabilities, Catalog, Class, ClassId, Duration, Hints, Instant,
    ModelId, Now, Pool, PoolId, TenantId, Timestamp,
};
use crate::fleet::Fleet;
use crate::fleet::explain::{Explanation, Row, Standing};
use crate::policy::Policy;

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
    merit_orders(checked, out)
}

/// Where a typical call would go, for every model and class.
fn merit_orders(checked: &Checked, out: &mut dyn Write) -> std::io::Result<()> {
    let catalog = always_in_reach(&checked.catalog);
    let now = Now { mono: Instant::START, wall: Timestamp::default() };
    let mut fleet = Fleet::new(Arc::clone(&catalog), checked.routing, now);
    for (i, endpoints) in checked.endpoints.iter().enumerate() {
        let stands_for =
            |name: &discover::DnsName| Arc::new(Address { origin: name.origin.clone(), socket: None });
        let found = endpoints.fixed.iter().cloned().chain(endpoints.names.iter().map(stands_for));
        fleet.set_endpoints(PoolId(i as u16), &found.collect::<Vec<_>>(), now);
    }
    writeln!(
        out,
        "\nMerit order under the policy `{}`: where a call with {TYPICAL_INPUT} tokens would go if every pool were idle, \
         in reach\nand as good as expected. The total adds lateness, risk and scarcity to the bill, in dollars.",
        checked.routing.choice.policy.name(),
    )?;
    let width = catalog.pools.iter().map(|pool| pool.name.len()).max().unwrap_or(0);
    for (m, model) in catalog.models.iter().enumerate().filter(|(_, model)| !model.offers.is_empty()) {
        for (c, class) in catalog.classes.iter().enumerate() {
            let facts = typical(model.kind, ModelId(m as u16), ClassId(c as u8), class.deadline);
            let Explanation { output_tokens, mut rows, policy, .. } = fleet.explain(&facts, now);
            in_order(&mut rows, policy, &catalog);
            let answer = if model.kind == AskKind::Embed {
                String::new()
            } else {
                format!(", about {output_tokens} out")
            };
            writeln!(out, "\n{} for {}{}{answer}", model.name, class.name, target(class))?;
            for (i, row) in rows.iter().enumerate() {
                let pool = catalog.pools.iter().find(|pool| pool.name == row.pool);
                writeln!(out, "{:>3}  {}", i + 1, line(row, pool, &checked.catalog, width))?;
            }
        }
    }
    Ok(())
}

/// The same catalog with every pool always in reach, so that the order does not depend on the hour.
fn always_in_reach(catalog: &Catalog) -> Arc<Catalog> {
    let pools = catalog.pools.iter().map(|pool| Pool { contact: None, lease: None, ..pool.clone() });
    Arc::new(Catalog {
        pools: pools.collect(),
        offers: catalog.offers.clone(),
        models: catalog.models.clone(),
        classes: catalog.classes.clone(),
        tenants: catalog.tenants.clone(),
        default_class: catalog.default_class,
        lineage: catalog.lineage.clone(),
    })
}

/// A policy without money has its own order; an explanation sorts by money.
fn in_order(rows: &mut [Row], policy: Policy, catalog: &Catalog) {
    let rank = |row: &Row| {
        let pool = catalog.pools.iter().find(|pool| pool.name == row.pool);
        let rank = pool.map_or(0.0, |pool| match policy {
            Policy::Price | Policy::Rival(_) => 0.0,
            Policy::Ordered => f64::from(pool.order),
            Policy::Weighted => -pool.weight,
        });
        (matches!(row.standing, Standing::Excluded { .. }), rank)
    };
    rows.sort_by(|a, b| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
}

fn typical(kind: AskKind, model: ModelId, class: ClassId, deadline: Duration) -> CallFacts {
    CallFacts {
        id: CallId(0),
        kind,
        model,
        class,
        tenant: TenantId::default(),
        input_tokens: TYPICAL_INPUT,
        max_tokens: None,
        n: 1,
        needs: if kind == AskKind::Embed { Capabilities::EMBED } else { Capabilities::CHAT },
        stream: kind != AskKind::Embed,
        session: None,
        prefix: Default::default(),
        hints: Hints::default(),
        arrived: Instant::START,
        deadline: Instant::START + deadline,
        client_retry: false,
    }
}

fn target(class: &Class) -> String {
    match (class.ttft_target, class.finish_target) {
        (Some(first), _) => format!(" (first token within {})", spelt(first)),
        (None, Some(finish)) => format!(" (finished within {})", spelt(finish)),
        (None, None) => String::new(),
    }
}

/// A pool's place in the order, on one line.
fn line(row: &Row, pool: Option<&Pool>, catalog: &Catalog, width: usize) -> String {
    let tenure = pool.map_or("", |pool| pool.tenure.name());
    let mut line = format!("{:<width$}  {tenure:<7}  ", row.pool);
    match &row.standing {
        Standing::Eligible { terms, quote, .. } => {
            let in_time = 100.0 * (1.0 - quote.p_miss);
            line += &format!(
                "bill ${:.6}  first token {:>5.0} ms  in time {in_time:>5.1} %  total ${:.6}",
                terms.money,
                quote.ttft_s * 1e3,
                terms.total()
            );
        }
        Standing::Excluded { reason, .. } => line += reason,
    }
    let contact = catalog.pools.iter().find(|pool| pool.name == row.pool).and_then(|pool| pool.contact);
    if let Some(contact) = contact {
        line += &format!("  (in reach {} of every {})", spelt(contact.length), spelt(contact.period));
    }
    line
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
        assert!(order.contains("in reach 12m of every 90m"), "{out}");
    }

    #[test]
    fn a_policy_without_money_shows_its_own_order() {
        let reversed = config::DEFAULT
            .replace("policy = \"price\"", "policy = \"ordered\"")
            .replace("order = 4", "order = 0");
        let load = |text: &str| config::load_str("x.toml", text, "".as_ref(), &Surroundings::Unread).unwrap();
        let mut out = Vec::new();
        summary(&load(&reversed), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let order = out.split("chat-large for agent").nth(1).unwrap();
        let names: Vec<&str> =
            order.lines().skip(1).take(4).filter_map(|l| l.split_whitespace().nth(1)).collect();
        assert_eq!(names, ["far", "owned", "cloud-a", "cloud-b"], "{out}");
    }

    #[test]
    fn a_config_that_is_not_there_is_refused_with_the_reason() {
        let (code, out) =
            checked(&Args { config: Some("/nonexistent/gridtie.toml".into()), no_secrets: false });
        assert_eq!(code, ExitCode::from(EXIT_CONFIG));
        assert!(out.contains("there is no such file") && out.contains("/nonexistent/gridtie.toml"), "{out}");
    }
}
