//! Every example with something wrong in it: an answer, never a panic, and a place for everything that is wrong.

use super::*;

/// What a line may become.
#[derive(Clone, Debug)]
enum Change {
    Drop,
    Twice,
    Blank,
    Cut(u16),
    /// Another value behind the `=`.
    Value(usize),
    /// Another line of some example in its place.
    Swap(u16),
    /// A character somewhere in it.
    Insert(u16, char),
}

const VALUES: [&str; 30] = [
    "",
    "\"\"",
    "''",
    "0",
    "-1",
    "-0.0",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e-320",
    "9223372036854775807",
    "-9223372036854775808",
    "true",
    "[]",
    "[[]]",
    "{}",
    "{ a = 1 }",
    "\"0s\"",
    "\"999999999999h\"",
    "\"-1s\"",
    "\"1e99\"",
    "\"env:\"",
    "\"file:\\u0000\"",
    "\"\\u0000\"",
    "\"a\\nb\"",
    "\"😀\"",
    "2026-01-01",
    "1979-05-27T07:32:00Z",
    "[\"\", 1, true]",
];

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Drop),
        Just(Change::Twice),
        Just(Change::Blank),
        any::<u16>().prop_map(Change::Cut),
        (0..VALUES.len()).prop_map(Change::Value),
        (0..VALUES.len()).prop_map(Change::Value),
        any::<u16>().prop_map(Change::Swap),
        (any::<u16>(), any::<char>()).prop_map(|(at, c)| Change::Insert(at, c)),
    ]
}

/// All configs that come with the program.
fn examples() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut all = vec![DEFAULT.to_owned(), SIMULATE.to_owned()];
    for folder in ["examples", "experiments", "refused"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        all.extend(files.into_iter().filter_map(|path| std::fs::read_to_string(path).ok()));
    }
    assert!(all.len() > 10);
    all
}

fn mutated(text: &str, others: &[String], changes: &[(u16, Change)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let byte = |line: &str, to: u16| {
        let to = usize::from(to) % (line.chars().count() + 1);
        line.char_indices().nth(to).map_or(line.len(), |(i, _)| i)
    };
    for (at, change) in changes {
        if lines.is_empty() {
            break;
        }
        let at = usize::from(*at) % lines.len();
        match change {
            Change::Drop => drop(lines.remove(at)),
            Change::Twice => lines.insert(at, lines[at].clone()),
            Change::Blank => lines[at].clear(),
            Change::Cut(to) => {
                let to = byte(&lines[at], *to);
                lines[at].truncate(to);
            }
            Change::Value(i) => {
                if let Some((key, _)) = lines[at].clone().split_once('=') {
                    lines[at] = format!("{key}= {}", VALUES[*i]);
                }
            }
            Change::Swap(i) => {
                let other = &others[usize::from(*i) % others.len()];
                let line = other.lines().nth(usize::from(*i) % other.lines().count().max(1));
                lines[at] = line.unwrap_or_default().to_owned();
            }
            Change::Insert(to, c) => {
                let to = byte(&lines[at], *to);
                lines[at].insert(to, *c);
            }
        }
    }
    lines.join("\n")
}

/// Right with all its numbers, or wrong with a place for every problem; with secrets taken for granted, and with none.
fn holds(text: &str) -> Result<(), TestCaseError> {
    for surroundings in [Surroundings::Unread, Surroundings::Given(BTreeMap::new())] {
        match load_str("x.toml", text, Path::new("/nonexistent"), &surroundings) {
            Ok(checked) => is_right(&checked)?,
            Err(problems) => {
                prop_assert!(problems.errors() > 0);
                for problem in problems.list() {
                    let placed = problem.span.is_none() || problems.place(problem).is_some();
                    prop_assert!(placed && !problem.message.is_empty(), "{:?}", problem);
                }
                prop_assert!(problems.lines().all(|line| line.starts_with("x.toml")));
                prop_assert!(!problems.render(false).is_empty() && !problems.to_string().is_empty());
            }
        }
    }
    Ok(())
}

/// It can be run, and taken after any other.
fn is_right(checked: &Checked) -> Result<(), TestCaseError> {
    prop_assert_eq!(checked.warnings.errors(), 0);
    let c = &checked.catalog;
    prop_assert!(!c.pools.is_empty() && !c.classes.is_empty());
    let known = |o: &crate::domain::Offer| o.pool.index() < c.pools.len() && o.model.index() < c.models.len();
    prop_assert!(c.offers.iter().all(known) && c.default_class.index() < c.classes.len());
    let numbers = c.classes.iter().flat_map(|c| [c.miss_usd, c.delay_usd_per_s, c.floor, c.reserve]);
    let mut numbers = numbers.chain(c.pools.iter().map(|p| p.weight));
    prop_assert!(numbers.all(|n| n.is_finite() && n >= 0.0));
    let wall = Timestamp::from_millis(1_800_000_000_000);
    let now = crate::domain::Now { mono: crate::domain::Instant::START, wall };
    let mut fleet = crate::fleet::Fleet::new(embedded().catalog, crate::fleet::Settings::default(), now);
    let editions = crate::domain::Editions { next: 2, oldest: 1 };
    let next = crate::domain::Catalog::clone(c).succeed(fleet.catalog(), editions).unwrap();
    fleet.adopt(Arc::new(next.catalog), checked.routing, &[], now);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn c10_a_config_with_anything_wrong_is_refused_with_its_place_or_right(
        example in any::<u16>(),
        changes in prop::collection::vec((any::<u16>(), change()), 1..4),
    ) {
        let examples = examples();
        let text = &examples[usize::from(example) % examples.len()];
        holds(&mutated(text, &examples, &changes))?;
    }
}

/// Every line of every example, one after the other, with every odd value.
#[test]
#[ignore = "some minutes; `cargo nextest run --lib --run-ignored only c10_every`"]
fn c10_every_value_of_every_example_may_be_any_odd_one() {
    for text in examples() {
        for at in 0..text.lines().count() {
            let values = (0..VALUES.len()).map(Change::Value);
            for change in values.chain([Change::Drop, Change::Twice, Change::Blank]) {
                let text = mutated(&text, &[String::new()], &[(at as u16, change.clone())]);
                holds(&text).unwrap_or_else(|error| panic!("line {at}, {change:?}: {error}\n{text}"));
            }
        }
    }
}
