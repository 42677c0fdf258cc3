//! The catalogue of faults (`docs/faults.md`) against the tests that bear its ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How many cases each group has.
const GROUPS: [(char, u32); 9] =
    [('B', 17), ('N', 18), ('P', 30), ('O', 13), ('C', 10), ('R', 8), ('T', 5), ('K', 9), ('S', 26)];

/// A row of the catalogue.
struct Row {
    /// Names in backticks in the last column.
    tests: Vec<String>,
    /// The last column.
    proof: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> BTreeMap<String, Row> {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let id = cells[0].trim_start_matches("| ");
        if id == "id" {
            continue;
        }
        assert_eq!(cells.len(), 4, "{line}");
        let tests = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let row = Row { tests, proof: cells[3].to_owned() };
        assert!(rows.insert(id.to_owned(), row).is_none(), "{id} is there twice");
    }
    rows
}

fn sources(dir: &Path, extension: &str, all: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, extension, all);
        } else if path.extension().is_some_and(|e| e == extension) {
            all.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of all functions in Rust, and of all client tests.
fn functions() -> BTreeSet<String> {
    let mut rust = String::new();
    sources(&root().join("src"), "rs", &mut rust);
    sources(&root().join("tests"), "rs", &mut rust);
    let mut python = String::new();
    sources(&root().join("tests/clients"), "py", &mut python);
    let named = |text: &str, keyword: &str| {
        let name = |after: &str| after.split('(').next().unwrap_or_default().to_owned();
        text.split(keyword).skip(1).map(name).collect::<Vec<_>>()
    };
    named(&rust, "fn ").into_iter().chain(named(&python, "def ")).collect()
}

/// The ids with which the name of a test begins: `b07_p11_…` has two.
fn ids(name: &str) -> Vec<String> {
    let is_id = |part: &&str| {
        let number = part.get(1..).filter(|n| n.len() == 2).and_then(|n| n.parse::<u32>().ok());
        let group = part.chars().next().map(|c| c.to_ascii_uppercase());
        GROUPS.iter().any(|(g, most)| group == Some(*g) && number.is_some_and(|n| (1..=*most).contains(&n)))
    };
    name.split('_').take_while(is_id).map(str::to_ascii_uppercase).collect()
}

#[test]
fn every_fault_has_its_row_and_every_row_its_tests() {
    let (rows, functions) = (rows(), functions());
    let mut sins = Vec::new();
    for (group, count) in GROUPS {
        for n in 1..=count {
            let id = format!("{group}{n:02}");
            let Some(row) = rows.get(&id) else {
                sins.push(format!("{id} has no row"));
                continue;
            };
            let excused = row.proof.contains("due with") || row.proof.starts_with("none");
            let named = row.tests.iter().any(|test| ids(test).contains(&id));
            // What began before there were ids may keep its name.
            if !(named || excused || group == 'C' && !row.tests.is_empty()) {
                sins.push(format!("{id} names no test that bears it, and no reason"));
            }
        }
    }
    let known: u32 = GROUPS.iter().map(|(_, count)| count).sum();
    if rows.len() != known as usize {
        sins.push(format!("there are {} rows, and {known} cases", rows.len()));
    }
    for (id, row) in &rows {
        for test in row.tests.iter().filter(|test| !test.ends_with('*')) {
            let looks_like_one = test.contains('_')
                && test.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if looks_like_one && !functions.contains(test) {
                sins.push(format!("{id}: there is no `{test}`"));
            }
        }
    }
    for test in &functions {
        for id in ids(test) {
            let listed = rows.get(&id).is_some_and(|row| {
                let family = |t: &String| t.strip_suffix('*').is_some_and(|start| test.starts_with(start));
                row.tests.iter().any(|t| t == test || family(t))
            });
            if !listed {
                sins.push(format!("{test} is not in the row of {id}"));
            }
        }
    }
    assert!(sins.is_empty(), "docs/faults.md:\n  {}", sins.join("\n  "));
}
