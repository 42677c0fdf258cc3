//! The rules of the house as tests: arrows between rooms run down, rooms of rules are pure, files and functions stay
//! small, names say something. Read from the source text, so that a rule holds in code that no test runs.

mod lexer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lexer::{Token, tokens};

/// The floor of every room. A module uses only lower floors.
const FLOORS: [(&str, u8); 25] = [
    ("domain", 0),
    ("dialect", 1),
    ("engine", 1),
    ("estimate", 1),
    ("health", 1),
    ("limit", 1),
    ("policy", 1),
    ("queue", 1),
    ("call", 2),
    ("fleet", 2),
    ("clock", 3),
    ("discover", 3),
    ("ledger", 3),
    ("probe", 3),
    ("telemetry", 3),
    ("upstream", 3),
    ("flow", 4),
    ("edge", 5),
    ("app", 6),
    ("cli", 6),
    ("config", 6),
    ("drill", 6),
    ("mock", 6),
    ("sim", 6),
    ("top", 6),
];

/// Rooms below this are pure.
const FIRST_IMPURE: u8 = 3;

/// Who may look across its own floor, and at whom.
const SIDEWAYS: [(&str, &str); 17] = [
    ("call", "fleet"),
    // Time is one struct that every adapter may ask.
    ("discover", "clock"),
    ("ledger", "clock"),
    ("probe", "clock"),
    ("telemetry", "clock"),
    ("upstream", "clock"),
    // The top is wiring, from the command line inwards.
    ("cli", "app"),
    ("cli", "config"),
    ("cli", "drill"),
    ("cli", "mock"),
    ("cli", "sim"),
    ("app", "config"),
    ("drill", "config"),
    ("drill", "sim"),
    ("mock", "config"),
    ("sim", "config"),
    ("top", "config"),
];

/// What a room without sockets and clocks has no use for. The order of a hash map differs between two runs.
const IMPURE_WORDS: [&str; 7] = ["HashMap", "HashSet", "async", "await", "tokio", "hyper", "reqwest"];

/// Parts of `std` that a pure room does not touch.
const IMPURE_STD: [&str; 5] = ["env", "fs", "io", "process", "thread"];

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 9] =
    ["common", "helper", "helpers", "manager", "misc", "util", "utilities", "utils", "stuff"];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Files that are longer, with the length that they may not pass. The list may only shrink.
const LONG_FILES: [(&str, usize); 0] = [];

/// Functions that are longer, likewise.
const LONG_FUNCTIONS: [(&str, usize); 0] = [];

struct Source {
    /// From the root of the tree, with `/`.
    path: String,
    text: String,
    tokens: Vec<Token>,
    /// Compiled for tests only.
    test: bool,
}

impl Source {
    /// `src/call/mod.rs` is in the room `call`, `src/clock.rs` in `clock`, `src/lib.rs` in none.
    fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("src/")?;
        let room = inner.split('/').next()?.trim_end_matches(".rs");
        (!matches!(room, "lib" | "main")).then_some(room)
    }

    fn floor(&self) -> Option<u8> {
        self.room().and_then(floor)
    }

    /// The module path of the file: `src/upstream/openai/mod.rs` is `["upstream", "openai"]`.
    fn modules(&self) -> Vec<&str> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs");
        inner.split('/').filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }

    /// Modules in files of their own that are there for tests only: `#[cfg(test)] mod name;`.
    fn test_modules(&self) -> Vec<String> {
        let words: Vec<_> = self.tokens.iter().map(|t| t.text.as_str()).collect();
        let own = self.modules().join("/");
        let declared = words.windows(10).filter(|w| w.starts_with(&lexer::TEST_MODULE) && w[9] == ";");
        declared.map(|w| format!("{own}/{}", w[8])).collect()
    }
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            files_below(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// Every source of the tree, read once.
fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for dir in ["src", "tests", "benches", "examples"] {
        files_below(&root().join(dir), "rs", &mut paths);
    }
    paths.sort();
    assert!(paths.len() > 10, "found only {} files: these tests look in the wrong place", paths.len());
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("source is UTF-8");
        let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
        Source { tokens: tokens(&text), test: !path.starts_with("src/"), path, text }
    };
    let mut sources: Vec<_> = paths.iter().map(read).collect();
    let tests: Vec<_> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let module = source.modules().join("/");
        let below = |test: &String| {
            module.strip_prefix(test.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        source.test |= tests.iter().any(below);
    }
    sources
}

#[track_caller]
fn check(rule: &str, mut sins: Vec<String>) {
    sins.sort();
    sins.dedup();
    assert!(sins.is_empty(), "{rule}\n  {}", sins.join("\n  "));
}

/// Rooms that a file names, with the line.
fn rooms_used(source: &Source) -> Vec<(usize, String)> {
    let file_modules = source.modules();
    let mut inline: Vec<usize> = Vec::new();
    let (mut depth, mut used) = (0_usize, Vec::new());
    let tokens = &source.tokens;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth = depth.saturating_sub(1);
            }
            "crate" => used.extend(heads(tokens, at + 1)),
            "super" if at == 0 || tokens[at - 1].text != "::" => {
                let mut end = at + 1;
                let mut up = 1;
                while lexer::is(tokens, end, "::") && lexer::is(tokens, end + 1, "super") {
                    up += 1;
                    end += 2;
                }
                if up >= file_modules.len() + inline.len() {
                    used.extend(heads(tokens, end));
                }
            }
            _ => {}
        }
    }
    used
}

/// The first names after a root: `::a::b` gives a, `::{a::b, c}` gives a and c.
fn heads(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    if !lexer::is(tokens, at, "::") {
        return found;
    }
    if !lexer::is(tokens, at + 1, "{") {
        found.extend(tokens.get(at + 1).map(|t| (t.line, t.text.clone())));
        return found;
    }
    let (mut depth, mut fresh) = (0, false);
    for token in &tokens[at + 1..] {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                fresh = depth == 1;
            }
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => fresh = depth == 1,
            name => {
                if fresh {
                    found.push((token.line, name.to_owned()));
                }
                fresh = false;
            }
        }
    }
    found
}

#[test]
fn no_arrow_between_rooms_runs_up() {
    let mut sins = Vec::new();
    for source in sources() {
        let Some(room) = source.room() else { continue };
        let Some(own) = floor(room) else {
            sins.push(format!("{}: the room `{room}` has no floor: give it one in FLOORS", source.path));
            continue;
        };
        for (line, other) in rooms_used(source) {
            if other == room || SIDEWAYS.contains(&(room, other.as_str())) {
                continue;
            }
            let place = format!("{}:{line}", source.path);
            match floor(&other) {
                None => sins.push(format!("{place}: `crate::{other}` is no room with a floor")),
                Some(floor) if floor > own => {
                    sins.push(format!("{place}: {room} ({own}) uses {other} ({floor})"))
                }
                Some(floor) if floor == own => {
                    sins.push(format!("{place}: {room} looks across its floor ({own}) at {other}"));
                }
                Some(_) => {}
            }
        }
    }
    check("a module uses only the floors below its own:", sins);
}

#[test]
fn rooms_of_rules_and_state_are_pure() {
    let mut sins = Vec::new();
    for source in sources().iter().filter(|s| !s.test && s.floor().is_some_and(|f| f < FIRST_IMPURE)) {
        for (at, token) in source.tokens.iter().enumerate() {
            let of_std = at >= 2
                && IMPURE_STD.contains(&token.text.as_str())
                && source.tokens[at - 1].text == "::"
                && source.tokens[at - 2].text == "std";
            if of_std || IMPURE_WORDS.contains(&token.text.as_str()) {
                sins.push(format!("{}:{}: {}", source.path, token.line, token.text));
            }
        }
    }
    check("no async, no I/O and no hash maps below the adapters:", sins);
}

#[test]
fn files_are_short() {
    let mut sins = Vec::new();
    let allowed = BTreeMap::from(LONG_FILES);
    for source in sources().iter().filter(|s| !s.test) {
        let lines = source.text.lines().count() - lexer::inline_test_lines(&source.tokens);
        sins.extend(ratchet(&source.path, lines, FILE_LINES_MAX, allowed.get(source.path.as_str()).copied()));
    }
    check("a file has at most 500 lines without its tests:", sins);
}

#[test]
fn functions_are_short() {
    let mut sins = Vec::new();
    let allowed = BTreeMap::from(LONG_FUNCTIONS);
    for source in sources().iter().filter(|s| !s.test) {
        // Of several with one name the longest counts.
        let mut longest: BTreeMap<String, usize> = BTreeMap::new();
        for function in lexer::functions(&source.tokens) {
            let lines = longest.entry(format!("{}::{}", source.path, function.name)).or_default();
            *lines = function.lines.max(*lines);
        }
        for (name, lines) in longest {
            let limit = allowed.get(name.as_str()).copied();
            sins.extend(ratchet(&name, lines, FUNCTION_LINES_MAX, limit));
        }
    }
    check("a function has at most 70 lines:", sins);
}

/// An old sinner may shrink and not grow; once it is good it leaves the list.
fn ratchet(name: &str, lines: usize, max: usize, allowed: Option<usize>) -> Option<String> {
    match allowed {
        None if lines > max => Some(format!("{name} has {lines} lines")),
        Some(limit) if lines > limit => Some(format!("{name} grew to {lines} lines (from {limit})")),
        Some(_) if lines <= max => {
            Some(format!("{name} has {lines} lines: take it off the list of long ones"))
        }
        None | Some(_) => None,
    }
}

#[test]
fn lists_of_long_things_name_things_that_exist() {
    let sources = sources();
    let gone = LONG_FILES
        .iter()
        .chain(&LONG_FUNCTIONS)
        .map(|(name, _)| name.split("::").next().unwrap_or(name))
        .filter(|path| !sources.iter().any(|s| s.path == *path))
        .map(str::to_owned);
    check("files on a list that are gone:", gone.collect());
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let mut sins = Vec::new();
    // Tests in a file of their own are about the file next to them.
    for source in sources().iter().filter(|s| !s.modules().contains(&"tests")) {
        let header: Vec<_> = source.text.lines().map_while(|line| line.strip_prefix("//! ")).collect();
        let header = header.join(" ");
        let said = header.chars().next().is_some_and(|c| c.is_uppercase() || c == '`' || c == '[');
        // A name and a colon before it is fine: `gridtie.v1.Inference: ...`.
        if !(said || header.contains(": ")) || !header.ends_with(['.', ':', '?']) {
            sins.push(format!("{}: {header:?}", source.path));
        }
    }
    check("the first line of a file is a `//! ` sentence:", sins);
}

#[test]
fn every_select_is_biased() {
    let mut sins = Vec::new();
    for source in sources() {
        let tokens = &source.tokens;
        for at in 0..tokens.len() {
            let select = lexer::is(tokens, at, "select") && lexer::is(tokens, at + 1, "!");
            if select && !(lexer::is(tokens, at + 3, "biased") && lexer::is(tokens, at + 4, ";")) {
                sins.push(format!("{}:{}", source.path, tokens[at].line));
            }
        }
    }
    check("`select!` begins with `biased;`, or two runs differ:", sins);
}

#[test]
fn names_say_something() {
    let mut sins = Vec::new();
    for source in sources() {
        let parts = source.path.trim_end_matches(".rs").split(['/', '_']);
        sins.extend(
            parts.filter(|part| BANNED_NAMES.contains(part)).map(|part| format!("{}: {part}", source.path)),
        );
        for pair in source.tokens.windows(2).filter(|pair| pair[0].text == "mod") {
            if pair[1].text.split('_').any(|part| BANNED_NAMES.contains(&part)) {
                sins.push(format!("{}:{}: mod {}", source.path, pair[1].line, pair[1].text));
            }
        }
    }
    check("no module is called by a name that fits everything:", sins);
}

/// A path of somebody's machine is no use to anybody else.
#[test]
fn no_text_names_a_path_of_one_machine() {
    let mut paths = vec![root().join(".ci/run")];
    for entry in fs::read_dir(root()).expect("the root").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "md" || e == "toml") {
            paths.push(path);
        }
    }
    for (dir, extension) in [
        ("src", "rs"),
        ("tests", "rs"),
        ("tests", "py"),
        ("docs", "md"),
        ("proto", "proto"),
        ("config", "toml"),
        ("drills", "toml"),
        ("bench", "py"),
        ("deploy", "yaml"),
    ] {
        files_below(&root().join(dir), extension, &mut paths);
    }
    let mut sins = Vec::new();
    for path in paths.iter().filter(|path| path.exists()) {
        let text = fs::read_to_string(path).expect("text is UTF-8");
        for (index, line) in text.lines().enumerate() {
            // Spelt in two halves, or this file would name them itself.
            for start in ["home", "work", "root", "Users"].map(|word| format!("/{word}/")) {
                let own = line.match_indices(&start).any(|(at, _)| {
                    // A path begins after nothing, a space or a quote; `https://host/work/` is somebody's URL.
                    line[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || "\"'`(=".contains(c))
                });
                if own {
                    sins.push(format!("{}:{}: {start}", path.display(), index + 1));
                }
            }
        }
    }
    check("no text names a path of one machine:", sins);
}

fn used(path: &str, text: &str) -> Vec<String> {
    let source = Source { path: path.to_owned(), text: text.to_owned(), tokens: tokens(text), test: false };
    rooms_used(&source).into_iter().map(|(_, room)| room).collect()
}

#[test]
fn the_reader_of_paths_sees_groups_and_supers_and_no_comments() {
    assert_eq!(used("src/call/mod.rs", "use crate::fleet::Fleet;"), ["fleet"]);
    assert_eq!(
        used("src/call/mod.rs", "use crate::{fleet::{a, b}, domain, self};"),
        ["fleet", "domain", "self"]
    );
    assert_eq!(
        used("src/call/mod.rs", "// crate::edge\n/* crate::edge */ let a = \"crate::edge\";"),
        [""; 0]
    );
    assert_eq!(used("src/call/mod.rs", "pub(crate) fn f(a: &crate::flow::Router) {}"), ["flow"]);
    assert_eq!(used("src/call/record.rs", "use super::Close; use super::super::flow::Out;"), ["flow"]);
    assert_eq!(used("src/call/mod.rs", "mod tests { use super::Close; use super::super::flow; }"), ["flow"]);
    assert_eq!(used("src/clock.rs", "use super::domain::Now;"), ["domain"]);
}
