//! The page for people: one file that needs nothing else, neither a script nor the network, in the style of the
//! simulation's report.

mod plots;
mod tables;

use crate::drill::findings::{Findings, StepFound, Verdict};
use crate::drill::words::{count, fixed, money, seconds_short, signed_dollars, signed_percent};
use crate::sim::report::html::canvas::escaped;
use crate::sim::report::html::{POLICY, STYLE};

/// What a drill's page has beyond a simulation's.
const OWN_STYLE: &str = include_str!("html/style.css");

/// The whole page. The same findings give the same bytes.
pub fn html(findings: &Findings) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>{} · Gridtie drill</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n",
        escaped(&findings.drill)
    );
    page.push_str(&head(findings));
    if !findings.checks.is_empty() {
        page.push_str("<main>\n");
        page.push_str(&section(
            "What happened",
            &plots::timeline(findings),
            "How to read: three plots over one time. Shaded is the time in which a fault was on; the numbered lines are \
             the moments in the list below. From the top: calls in flight, one layer for each pool (blue is owned \
             capacity); calls that ended, with those that were not answered whole in orange; the time within which 99 of \
             100 first tokens of a second came, on a logarithmic scale, with the limit dashed.",
        ));
        page.push_str(&tables::moments(findings));
        page.push_str(&tables::checks(findings));
        page.push_str(&tables::steps(findings));
        page.push_str(&tables::latency(findings));
        page.push_str(&tables::pools(findings));
        page.push_str("</main>\n");
    }
    page.push_str(&foot(findings));
    page.push_str("</body>\n</html>\n");
    page
}

const fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed | Verdict::RestoreFailed => "failed",
        Verdict::Aborted | Verdict::Refused | Verdict::Inconclusive => "open",
    }
}

fn head(findings: &Findings) -> String {
    let control = if findings.control { ", negative control" } else { "" };
    let mut text = format!(
        "<header>\n<p class=\"eyebrow\">Gridtie drill · {} · {}, seed {}{control}</p>\n<h1>{} \
         <span class=\"verdict {}\">{}</span></h1>\n<p class=\"lede\">{}</p>\n",
        escaped(&findings.config),
        findings.mode.name(),
        findings.seed,
        escaped(&findings.drill),
        verdict_class(findings.verdict),
        findings.verdict.name().to_lowercase(),
        escaped(&findings.description),
    );
    if !findings.reasons.is_empty() {
        let items = findings.reasons.iter().map(|why| format!("<li>{}</li>\n", escaped(why)));
        text.push_str(&format!("<ul class=\"reasons\">\n{}</ul>\n", items.collect::<String>()));
    }
    if !findings.checks.is_empty() {
        text.push_str(&key_figures(findings));
    }
    text.push_str("</header>\n");
    text
}

fn key_figures(findings: &Findings) -> String {
    let requests = &findings.requests;
    let worst = |of: fn(&StepFound) -> Option<f64>| {
        let all: Option<Vec<f64>> = findings.steps.iter().map(of).collect();
        all.and_then(|all| all.into_iter().reduce(f64::max))
    };
    let time = |s: Option<f64>| s.map_or_else(|| "–".to_owned(), seconds_short);
    let detect = worst(|step| step.detect_s)
        .map_or_else(String::new, |s| format!("noticed after {}", seconds_short(s)));
    let back = worst(|step| step.failback_s)
        .map_or_else(String::new, |s| format!("as before {} after its end", seconds_short(s)));
    let aside = [detect, back].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("<br>");
    let extra = findings.cost.extra_usd.map_or_else(|| "–".to_owned(), signed_dollars);
    let percent =
        findings.cost.extra_pct.map_or_else(String::new, |pct| format!("{} against ", signed_percent(pct)));
    let without = findings
        .cost
        .without_usd
        .map_or_else(String::new, |usd| format!("{percent}${} without it", money(usd)));
    let figures = [
        ("Steady again after", time(worst(|step| step.failover_s)), aside),
        (
            "Calls lost",
            count(requests.lost),
            format!("of {}<br>{} answered whole", count(requests.sent), count(requests.whole)),
        ),
        (
            "Streams interrupted, and told so",
            count(requests.interrupted),
            format!(
                "{} looked whole and were not<br>{} calls refused",
                count(requests.silent_truncations),
                count(requests.refused)
            ),
        ),
        (
            "Extra cost",
            extra,
            format!("{without}<br>{} attempts a call", fixed(findings.retries.amplification, 2)),
        ),
    ];
    let one = |(name, figure, aside): &(&str, String, String)| {
        format!("<div><dt>{name}</dt><dd>{figure}</dd><dd class=\"aside\">{aside}</dd></div>\n")
    };
    format!("<dl class=\"key\">\n{}</dl>\n", figures.iter().map(one).collect::<String>())
}

/// A plot with its sentence.
fn section(title: &str, drawing: &str, how: &str) -> String {
    format!(
        "<section>\n<h2>{}</h2>\n<figure>\n<div class=\"scroll\">{drawing}</div>\n\
         <figcaption>{how}</figcaption>\n</figure>\n</section>\n",
        escaped(title)
    )
}

fn foot(findings: &Findings) -> String {
    let config = findings.config_sha256.as_ref().map_or_else(String::new, |sha| {
        format!(", config {} <code>{}</code>", escaped(&findings.config), &sha[..sha.len().min(12)])
    });
    format!(
        "<footer>\n<p>Again: <code>{}</code></p>\n<p>Gridtie {}, file {} <code>{}</code>{config}. A simulation shows what \
         the rules do: the router's decisions, retries and breakers are the code that serves, pools and clients are \
         models. It shows nothing about sockets, memory and processes. The books of clients, routers and pools are kept \
         apart and were compared.</p>\n</footer>\n",
        escaped(&findings.reproduce),
        findings.version,
        escaped(&findings.file),
        &findings.file_sha256[..findings.file_sha256.len().min(12)],
    )
}
