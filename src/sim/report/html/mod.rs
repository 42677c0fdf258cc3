//! The page for people: one file that needs nothing else, neither a script nor the network. Every plot has a sentence
//! that says how to read it and its figures as a table.

pub(crate) mod canvas;
mod money;
pub(crate) mod scale;
mod tables;
mod time;
mod waits;

use super::digest::Digest;
use super::figures::{count, dollars, fixed, percent, seconds};
use super::text::{ceilings, compared};
use super::{OURS, Report};
use canvas::escaped;

/// Of a plot, in its own units.
const WIDTH: f64 = 920.0;

/// Characters of a policy's name in a plot.
const LABEL_MAX: usize = 23;

/// What the page may load: nothing. Its styles are its own.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

pub(crate) const STYLE: &str = include_str!("style.css");

/// The whole page. The same report gives the same bytes.
pub fn html(report: &Report) -> String {
    let digests = report.digests();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>{} · Gridtie</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        escaped(&report.title)
    );
    page.push_str(&head(report, &digests));
    page.push_str("<main>\n");
    for section in [money(report, &digests), over_time(report, &digests), waits(report, &digests)] {
        page.push_str(&section);
    }
    page.push_str(&tables::capacity(report));
    page.push_str(&tables::against(report, &digests));
    page.push_str(&tables::pools(report, digests.first()));
    page.push_str("</main>\n");
    page.push_str(&tables::foot(report));
    page.push_str("</body>\n</html>\n");
    page
}

/// The class of a policy's mark: ours, a part of ours, another.
fn kind(digest: &Digest<'_>) -> &'static str {
    match () {
        () if digest.is_ours() => "ours",
        () if digest.is_ablation() => "part",
        () => "other",
    }
}

/// The class of a policy's name.
fn label_class(digest: &Digest<'_>) -> &'static str {
    match () {
        () if digest.is_ours() => "b tours halo",
        () if digest.is_ablation() => "tours halo",
        () => "halo",
    }
}

fn head(report: &Report, digests: &[Digest<'_>]) -> String {
    let facts = &report.traffic;
    let load = report.load.map_or_else(String::new, |load| {
        format!(
            " The owned pools are sized so that mean demand is {} % of what they can do.",
            fixed(100.0 * load, 0)
        )
    });
    let mut text = format!(
        "<header>\n<p class=\"eyebrow\">Gridtie simulation · {}</p>\n<h1>{}</h1>\n\
         <p class=\"facts\">{}: {} calls in {} minutes, {} a second and {} in the busiest minute (CV of arrivals {}), \
         with {} tokens in and {} out on average.{load}</p>\n",
        escaped(&report.config),
        escaped(&report.title),
        escaped(&facts.name),
        count(facts.calls),
        fixed(facts.length.as_secs_f64() / 60.0, 0),
        fixed(facts.mean_rps, 1),
        fixed(facts.peak_rps, 1),
        fixed(facts.cv, 1),
        fixed(facts.mean_input, 0),
        fixed(facts.mean_output, 0),
    );
    let ours = digests.iter().find(|digest| digest.is_ours());
    let other = report.best_other(digests);
    if let Some((ours, other)) = ours.zip(other) {
        text.push_str(&format!(
            "<p class=\"lede\"><strong>{OURS}</strong> comes to {} in dollars and misses, {} {} ({}), the best of the other policies here.</p>\n",
            dollars(ours.j.mean),
            compared(ours.j.mean, other.j.mean),
            escaped(other.policy),
            dollars(other.j.mean)
        ));
    }
    if let Some(ours) = ours {
        text.push_str(&key_figures(report, ours, other));
    }
    text.push_str("</header>\n");
    text
}

/// Four figures of ours with those of the best other below.
fn key_figures(report: &Report, ours: &Digest<'_>, other: Option<&Digest<'_>>) -> String {
    let lead = report.lead_name();
    type Figure = fn(&Digest<'_>) -> String;
    let figures: [(String, Figure); 4] = [
        ("J: dollars and misses".to_owned(), |d| dollars(d.j.mean)),
        ("Dollars spent".to_owned(), |d| dollars(d.usd.mean)),
        ("Calls that met every target".to_owned(), |d| format!("{} %", percent(d.attainment.mean))),
        (format!("First token p99, {lead}"), |d| {
            d.lead_p99_ms.map_or_else(|| "–".to_owned(), |ms| format!("{} s", seconds(ms.mean)))
        }),
    ];
    let mut text = "<dl class=\"key\">\n".to_owned();
    for (at, (name, figure)) in figures.iter().enumerate() {
        let bound = ours.bound.filter(|_| at == 0);
        let bound = bound.map(|b| format!("bound: {}", dollars(b.mean)));
        let other = other.map(|d| format!("{}: {}", escaped(d.policy), figure(d)));
        let aside = [other, bound].into_iter().flatten().collect::<Vec<_>>().join("<br>");
        text.push_str(&format!(
            "<div><dt>{}</dt><dd>{}</dd><dd class=\"aside\">{aside}</dd></div>\n",
            escaped(name),
            figure(ours)
        ));
    }
    text.push_str("</dl>\n");
    text
}

/// A plot with its sentence and its figures.
fn plot(title: &str, drawing: &str, how: &str, figures: &str) -> String {
    let figures = if figures.is_empty() {
        String::new()
    } else {
        format!("<details><summary>The figures</summary>\n<div class=\"scroll\">{figures}</div></details>\n")
    };
    format!(
        "<section>\n<h2>{}</h2>\n<figure>\n<div class=\"scroll\">{drawing}</div>\n\
         <figcaption>{how}</figcaption>\n</figure>\n{figures}</section>\n",
        escaped(title)
    )
}

/// Instead of a plot that there is nothing for.
fn nothing(title: &str, why: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n<p class=\"nothing\">{}</p>\n</section>\n", escaped(title), escaped(why))
}

fn money(report: &Report, digests: &[Digest<'_>]) -> String {
    // What has no figure has no place in a plot. The table has it all the same.
    let known: Vec<Digest<'_>> = digests.iter().filter(|digest| digest.j.mean.is_finite()).cloned().collect();
    let every = format!(
        "<section>\n<h2>Every policy</h2>\n<div class=\"scroll\">{}</div>\n</section>\n",
        tables::policies(report, digests)
    );
    if known.is_empty() {
        return nothing("What it cost and what it met", "No policy was run, or none has a bill.") + &every;
    }
    let several = digests.iter().any(|digest| digest.runs.len() > 1);
    let seeds = if several { " Small dots are single seeds, large ones their mean." } else { "" };
    let line = if report.frontier.is_empty() {
        ""
    } else {
        " The line is what one policy does as misses are priced lower or higher."
    };
    let first = money::dollars_against_attainment(report, &known);
    let ceilings = ceilings(report).map_or_else(String::new, |text| format!(" {}.", escaped(&text)));
    let how = format!(
        "How to read: up is better, left is cheaper, so the top left corner wins. The scale spreads out what is missing \
         to 100\u{a0}%: each step from 90 to 99 to 99.9\u{a0}% has the same height.{seeds}{line} Open circles are our policy with \
         a part taken out.{ceilings}"
    );
    let bound = digests.iter().any(|digest| digest.bound.is_some());
    let bound = if bound {
        " The vertical line is a certified bound: no policy at all, not even one that knows the future, can end left of it."
    } else {
        ""
    };
    let whisker = if several { " Thin lines are the range over the seeds." } else { "" };
    let second = format!(
        "How to read: a bar is J, the dollars spent plus what the misses cost at the prices of their classes; shorter \
         is better.{bound}{whisker} A bar that is broken off is longer than there is room for."
    );
    plot("What it cost and what it met", &first, &how, &tables::points(report, digests))
        + &plot("The bill: money and misses", &money::bills(&known), &second, &tables::bills(digests))
        + &every
}

fn over_time(report: &Report, digests: &[Digest<'_>]) -> String {
    let Some(first) = digests.first() else { return String::new() };
    let title = format!("Where the calls were: {}", first.policy);
    let mut text = match time::load(report, first) {
        Some(drawing) => plot(
            &title,
            &drawing,
            "How to read: each layer is a pool, as thick as it has calls in flight; grey on top are calls that wait for \
             a pool. Blue layers are owned capacity, which costs the same whether it is used or not. One seed.",
            &tables::load(report, first),
        ),
        None => nothing(&title, "There are no samples over time."),
    };
    if let Some(drawing) = time::loads_of_others(report, digests) {
        text.push_str(&plot(
            "Where the calls were: the other policies",
            &drawing,
            "How to read: as above, in the same colours and all on one scale. Where a policy piles up more than that, \
             the layer is cut off and the highest number is given.",
            "",
        ));
    }
    let title = "What an owned slot was worth";
    text.push_str(&match time::shadow_prices(report, first) {
        Some(drawing) => plot(
            title,
            &drawing,
            "How to read: the shadow price that the policy put on one slot of an owned pool, as dollars an hour, on a \
             logarithmic scale. A gap is a time when slots were free for the taking; a peak is a time when a call had \
             to be worth that much to get in.",
            &tables::shadow_prices(report, first),
        ),
        None => nothing(title, "No slot of an owned pool was scarce at any time, or the policy sets no price on slots."),
    });
    text
}

fn waits(report: &Report, digests: &[Digest<'_>]) -> String {
    let title = "How long the first token took";
    let classes: Vec<usize> = (0..report.classes.len()).collect();
    let mut text = if classes.is_empty() || digests.is_empty() {
        nothing(title, "No call was answered.")
    } else {
        let drawings = classes.chunks(waits::PANELS).map(|some| waits::first_tokens(report, digests, some));
        let drawings: String = drawings.collect();
        let floor = if report.bounds.iter().any(|bound| !bound.floor.is_empty()) {
            " The last row is what the fastest pool takes for the same prompts when nobody waits."
        } else {
            ""
        };
        let how = format!(
            "How to read: half of the answered calls had their first token by the filled dot, 90 of 100 by the tick, 99 of \
             100 by the ring; left is better, and what lies right of the green line is late.{floor} Each panel has its \
             own logarithmic scale. Calls that were rejected have no first token and are not here: they count as misses."
        );
        plot(title, &drawings, &how, &tables::first_tokens(report, digests))
    };
    let title = "When calls missed their targets";
    text.push_str(&match waits::misses(digests) {
        Some(drawing) => plot(
            title,
            &drawing,
            "How to read: one strip for each policy, time from left to right. The stronger the colour, the larger the \
             share of the calls that ended then and were late, rejected or cut; empty is a time when none ended. On the right the share of the \
             whole run. The grey hill is the calls that came. One seed.",
            &tables::misses(digests),
        ),
        None => nothing(title, "There are no samples over time."),
    });
    text
}
