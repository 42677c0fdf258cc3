//! Sentences that mean little and read well: what a simulated model says. About one token a piece of a word.

use crate::engine::draw::{below, mix};

const OPENINGS: [&str; 6] =
    ["In short,", "Put simply,", "As a rule,", "At peak,", "On most days,", "By design,"];
const ADJECTIVES: [&str; 10] =
    ["steady", "warm", "idle", "busy", "local", "remote", "cheap", "spare", "quiet", "shared"];
const NOUNS: [&str; 14] = [
    "plant", "grid", "pool", "queue", "cache", "engine", "router", "turbine", "session", "batch", "reserve",
    "line", "meter", "cluster",
];
const VERBS: [&str; 10] = [
    "feeds", "follows", "balances", "carries", "relieves", "watches", "serves", "outlasts", "fills", "spares",
];
const ADVERBS: [&str; 8] = [
    "at night",
    "under load",
    "without a pause",
    "in good order",
    "for less",
    "in time",
    "at dawn",
    "as planned",
];
const LINKS: [&str; 4] = ["and so", "because", "while", "until"];

/// Longer words come in two pieces, as tokenizers cut them.
const PIECE_MAX: usize = 6;

/// Nouns of the vocabulary, for values that want one word.
pub(super) fn noun(seed: u64) -> &'static str {
    pick(&NOUNS, seed)
}

/// Tokens of prose: at least `tokens` of them, up to the end of the sentence.
pub(super) fn prose(seed: u64, tokens: usize) -> Vec<String> {
    let mut out = Vec::with_capacity(tokens + 16);
    let mut sentence = 0;
    while out.len() < tokens {
        push_sentence(&mut out, mix(seed, sentence));
        sentence += 1;
    }
    out
}

/// Text that is not prose (JSON) in pieces of about four bytes.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let mut out = Vec::with_capacity(text.len() / 4 + 1);
    let mut piece = String::new();
    for c in text.chars() {
        piece.push(c);
        if piece.len() >= 4 {
            out.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        out.push(piece);
    }
    out
}

fn push_sentence(out: &mut Vec<String>, seed: u64) {
    let mut words = String::new();
    let draw = |salt| mix(seed, salt);
    if below(draw(1), 3) == 0 {
        words += pick(&OPENINGS, draw(2));
        words += " the";
    } else {
        words += "The";
    }
    clause(&mut words, draw(3));
    if below(draw(4), 2) == 0 {
        words.push(' ');
        words += pick(&LINKS, draw(5));
        words += " the";
        clause(&mut words, draw(6));
    }
    for word in words.split(' ') {
        push_word(out, word);
    }
    out.push(".".to_owned());
}

fn clause(words: &mut String, seed: u64) {
    for (salt, part) in [&ADJECTIVES[..], &NOUNS, &VERBS, &["the"], &NOUNS, &ADVERBS].into_iter().enumerate()
    {
        words.push(' ');
        words.push_str(pick(part, mix(seed, salt as u64)));
    }
}

fn push_word(out: &mut Vec<String>, word: &str) {
    let gap = if out.is_empty() { "" } else { " " };
    if word.len() <= PIECE_MAX {
        out.push(format!("{gap}{word}"));
        return;
    }
    // The vocabulary is ASCII, so every byte is a boundary.
    let (head, tail) = word.split_at(word.len() / 2);
    out.push(format!("{gap}{head}"));
    out.push(tail.to_owned());
}

fn pick(from: &[&'static str], seed: u64) -> &'static str {
    from.get(below(seed, from.len())).copied().unwrap_or_default()
}
