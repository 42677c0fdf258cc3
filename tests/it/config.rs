//! The configs that come with the project: those that must load, and those that must be refused, and why.

use std::fs;
use std::path::{Path, PathBuf};

use gridtie::config::{self, Problems, Severity, Surroundings};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

#[test]
fn every_example_and_every_experiment_loads_without_a_warning() {
    let (examples, experiments) = (files("config/examples"), files("config/experiments"));
    assert!(examples.len() >= 4 && experiments.len() >= 6);
    for path in examples.into_iter().chain(experiments).chain([root().join("config/simulate.toml")]) {
        match config::load_from(&path, &Surroundings::Unread) {
            Ok(checked) => assert!(checked.warnings.is_empty(), "{}", checked.warnings.render(false)),
            Err(problems) => panic!("{}", problems.render(false)),
        }
    }
}

/// A refused config begins with `# expect:` lines, `line:column: part of the message`, one for each error.
#[test]
fn every_refused_config_is_refused_for_exactly_the_reasons_it_says() {
    let refused = files("config/refused");
    assert!(refused.len() >= 15);
    let mut wrong = Vec::new();
    for path in refused {
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# expect: ")).collect();
        assert!(expected.iter().any(|e| e.contains(": ")), "{} does not say why", path.display());
        let Err(problems) = config::load_from(&path, &Surroundings::Real) else {
            wrong.push(format!("{} is not refused", path.display()));
            continue;
        };
        let found = errors(&problems);
        let same =
            found.len() == expected.len() && found.iter().zip(&expected).all(|(f, e)| f.starts_with(e));
        if !same {
            wrong.push(format!("{}\n  expected {expected:#?}\n  found {found:#?}", path.display()));
        }
        assert!(!problems.render(true).contains("canary"), "{} shows a secret", path.display());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn errors(problems: &Problems) -> Vec<String> {
    let errors = problems.list().iter().filter(|p| p.severity == Severity::Error);
    let place = |p| problems.place(p).map_or("whole".to_owned(), |(line, column)| format!("{line}:{column}"));
    errors.map(|p| format!("{}: {}", place(p), p.message)).collect()
}

#[test]
fn the_schema_is_current() {
    let current = fs::read_to_string(root().join("config/schema.json")).unwrap_or_default();
    let update =
        "config/schema.json is not what the config reads: run `cargo run -- schema > config/schema.json`";
    assert!(current == config::schema(), "{update}");
}

#[test]
fn the_default_is_the_one_that_is_shown() {
    let shown = fs::read_to_string(root().join("config/default.toml")).unwrap();
    assert_eq!(config::DEFAULT, shown);
    let simulated = config::embedded_simulate();
    assert!(simulated.warnings.is_empty() && simulated.simulate.mix.len() == 3);
}
