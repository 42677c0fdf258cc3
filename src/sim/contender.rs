//! The policies of an experiment: their names, and the settings over which each is tuned.
//!
//! Ours is tuned like all others: over at most six settings, on a seed on which nobody is judged.

use crate::domain::names::{nearest, shown};
use crate::fleet;
use crate::policy::rival::{Place, Rule};
use crate::policy::{self, Policy, shadow};

use super::report::OURS;

/// One policy.
#[derive(Clone, PartialEq, Debug)]
pub struct Contender {
    /// In tables: `bid-price`, `spill-slo`, `bid-price+lmetric` for another placement.
    pub name: String,
    /// What it may be set to, the usual settings first; never empty.
    pub grid: Vec<Choice>,
}

/// One way to set a policy.
#[derive(Clone, PartialEq, Debug)]
pub struct Choice {
    /// In words.
    pub label: String,
    /// For the fleet.
    pub routing: fleet::Settings,
}

/// All that are known.
const ALL: &str = "all";

/// Ours with a part taken out, and how.
type Without = fn(&mut policy::Settings);

const ABLATIONS: [(&str, Without); 3] = [
    ("bid-price-no-shadow", without_shadow),
    ("bid-price-no-deferral", without_deferral),
    ("bid-price-no-staleness", without_correction),
];

/// Own capacity costs nothing, and stays at that; nor do grants.
fn without_shadow(settings: &mut policy::Settings) {
    settings.shadow = shadow::Settings {
        level_prior_usd: 0.0,
        level_samples: f64::INFINITY,
        ..shadow::Settings::default()
    };
}

/// Load counts as it was last reported, whatever was sent since.
fn without_correction(settings: &mut policy::Settings) {
    settings.hearsay_only = true;
}

/// Nobody waits for a better price.
fn without_deferral(settings: &mut policy::Settings) {
    settings.defer.first_bid = 1.0;
}

/// The policies that are compared unless somebody says which.
pub const USUAL: &str =
    "bid-price,bid-price-no-shadow,spill-slo,spill,lowest-latency,peak-ewma,cheapest,round-robin";

/// Names of policies, placements: for messages and help.
pub fn policy_names() -> Vec<&'static str> {
    let ablations = ABLATIONS.iter().map(|(name, _)| *name);
    let plain = [Policy::Ordered.name(), Policy::Weighted.name()];
    [OURS].into_iter().chain(ablations).chain(Rule::ALL.map(Rule::name)).chain(plain).collect()
}

/// See [`policy_names`].
pub fn place_names() -> Vec<&'static str> {
    Place::ALL.map(Place::name).to_vec()
}

/// The policies of a list of names, each with each of the placements. `usual` is what the config says.
pub fn contenders(policies: &str, places: &str, usual: &fleet::Settings) -> Result<Vec<Contender>, String> {
    let mut all = Vec::new();
    for policy in listed("policy", policies, &policy_names())? {
        // What cannot be run is left out of `all`, and refused where it is asked for.
        if policies.trim() == ALL && is_operators(policy) {
            continue;
        }
        for place in listed("placement", places, &place_names())? {
            let place = Place::named(place).unwrap_or_default();
            all.push(contender(policy, place, usual)?);
        }
    }
    Ok(all)
}

/// Orders and weights are an operator's: without his numbers they mean little.
fn is_operators(policy: &str) -> bool {
    [Policy::Ordered.name(), Policy::Weighted.name()].contains(&policy)
}

/// The names of a list, each once.
fn listed<'a>(what: &str, list: &str, known: &[&'a str]) -> Result<Vec<&'a str>, String> {
    if list.trim() == ALL {
        return Ok(known.to_vec());
    }
    let mut names = Vec::new();
    for word in list.split(',').map(str::trim) {
        let Some(name) = known.iter().find(|name| **name == word) else {
            let near = nearest(word, known.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "unknown {what} `{}`{near}\n  known: all, {}",
                shown(word),
                known.join(", ")
            ));
        };
        if !names.contains(name) {
            names.push(*name);
        }
    }
    Ok(names)
}

fn contender(policy: &str, place: Place, usual: &fleet::Settings) -> Result<Contender, String> {
    let grid = match Rule::named(policy) {
        Some(rule) => rule.grid().into_iter().map(|rule| rivals(rule, usual)).collect(),
        None => ours(policy, usual),
    };
    let name = if place == Place::Work { policy.to_owned() } else { format!("{policy}+{}", place.name()) };
    Ok(Contender { name, grid: placed(&grid, place) })
}

/// Every setting of the policy with the usual setting of the placement, then its usual one with every other of the
/// placement: six and six are twelve runs, not thirty-six.
fn placed(grid: &[Choice], place: Place) -> Vec<Choice> {
    let with = |choice: &Choice, place: Place, label: String| {
        let mut routing = choice.routing;
        routing.choice.place = place;
        Choice { label, routing }
    };
    let places = place.grid();
    let usual = |choice: &Choice| with(choice, places[0], choice.label.clone());
    let others =
        places.iter().skip(1).map(|other| with(&grid[0], *other, format!("{}; {other:?}", grid[0].label)));
    grid.iter().map(usual).chain(others).collect()
}

fn rivals(rule: Rule, usual: &fleet::Settings) -> Choice {
    let mut routing = *usual;
    routing.choice.policy = Policy::Rival(rule);
    let label = rule.to_string();
    let inner = label.strip_prefix(rule.name()).map_or(&*label, |rest| rest.trim_matches([' ', '(', ')']));
    Choice { label: inner.to_owned(), routing }
}

fn ours(policy: &str, usual: &fleet::Settings) -> Vec<Choice> {
    let mut base = *usual;
    for plain in [Policy::Ordered, Policy::Weighted] {
        if policy == plain.name() {
            base.choice.policy = plain;
            return vec![Choice { label: "as the config says".to_owned(), routing: base }];
        }
    }
    base.choice.policy = Policy::Price;
    let without = ABLATIONS
        .iter()
        .find(|(name, _)| *name == policy)
        .map_or((|_: &mut policy::Settings| {}) as Without, |(_, without)| *without);
    // What is left of ours is tuned as ours is.
    let choices = shadows(usual.choice.shadow).into_iter().map(|shadow| {
        let mut choice = priced(base, shadow);
        without(&mut choice.routing.choice);
        choice
    });
    let mut distinct: Vec<Choice> = Vec::new();
    for choice in choices {
        if !distinct.iter().any(|c| c.routing == choice.routing) {
            distinct.push(choice);
        }
    }
    distinct
}

fn priced(mut routing: fleet::Settings, shadow: shadow::Settings) -> Choice {
    routing.choice.shadow = shadow;
    let label = format!(
        "own worth what it saves at {:.2} of its slots or {:.2} s of prefill",
        shadow.slots_target, shadow.backlog_target_s
    );
    Choice { label, routing }
}

/// What the config says, then set points around it.
fn shadows(usual: shadow::Settings) -> Vec<shadow::Settings> {
    let at = |slots_target: f64, backlog_target_s: f64| shadow::Settings {
        slots_target,
        backlog_target_s,
        ..usual
    };
    let (slots, backlog_s) = (usual.slots_target, usual.backlog_target_s);
    // A third of what is left up to full, and as much down; half the backlog.
    let step = (1.0 - slots) / 2.0;
    vec![
        usual,
        at(slots - step, backlog_s),
        at(slots + step, backlog_s),
        at(slots, backlog_s / 2.0),
        at(slots - step, backlog_s / 2.0),
        at(slots + step, backlog_s / 2.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(policies: &str, places: &str) -> Result<Vec<Contender>, String> {
        contenders(policies, places, &fleet::Settings::default())
    }

    #[test]
    fn all_is_ours_and_what_can_be_taken_out_of_it_and_every_rival() {
        let all = named("all", "work").unwrap();
        let names: Vec<&str> = all.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names[..3], [OURS, "bid-price-no-shadow", "bid-price-no-deferral"]);
        assert_eq!(names[3..5], ["bid-price-no-staleness", "round-robin"]);
        assert_eq!(names.len(), 4 + Rule::ALL.len());
        assert!(all.iter().all(|c| (1..=6).contains(&c.grid.len())), "{all:?}");
    }

    #[test]
    fn the_first_of_our_grid_is_what_the_config_says() {
        let mut usual = fleet::Settings::default();
        usual.choice.shadow.slots_target = 0.7;
        usual.choice.policy = Policy::Ordered;
        let ours = contenders(OURS, "work", &usual).unwrap();
        usual.choice.policy = Policy::Price;
        assert_eq!(ours[0].grid[0].routing, usual);
        assert!(ours[0].grid.iter().all(|c| c.routing.choice.shadow.slots_target < 1.0));
    }

    #[test]
    fn a_name_that_is_not_known_is_refused_with_the_nearest() {
        let error = named("bid-price,spil", "work").unwrap_err();
        assert!(error.contains("unknown policy `spil`; did you mean `spill`?"), "{error}");
        let error = named("bid-price", "lmetrics").unwrap_err();
        assert!(error.contains("did you mean `lmetric`?"), "{error}");
        assert!(named("bid-price-no-staleness", "work").unwrap()[0].grid[0].routing.choice.hearsay_only);
    }

    #[test]
    fn placements_are_told_apart_by_name_and_tuned_too() {
        let two = named("bid-price", "work,chwbl").unwrap();
        let names: Vec<&str> = two.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, [OURS, "bid-price+chwbl"]);
        assert_eq!(two[1].grid.len(), 6 + 5);
    }
}
