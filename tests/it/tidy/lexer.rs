//! As much of Rust's grammar as the rules of the house need: words and punctuation with their lines, without comments
//! and literals.

/// A word, or a piece of punctuation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
}

/// A function with a body.
pub(super) struct Function {
    pub(super) name: String,
    /// From `fn` to the closing brace, both included.
    pub(super) lines: usize,
}

/// Is the token at that place this one?
pub(super) fn is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at).is_some_and(|token| token.text == text)
}

/// Words, `::`, and single characters of other punctuation. A literal is the token `""`.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while lexer.step() {}
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        let rest = self.rest;
        if rest.starts_with("//") {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.skip(block_comment(rest));
        } else if let Some(length) = string(rest) {
            self.push("\"\"", length);
        } else if let Some(length) = char_literal(rest) {
            self.push("\"\"", length);
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            self.push(&rest[..end], end);
        } else if rest.starts_with("::") {
            self.push("::", 2);
        } else if first.is_whitespace() {
            self.skip(first.len_utf8());
        } else {
            self.push(&rest[..first.len_utf8()], first.len_utf8());
        }
        true
    }

    fn push(&mut self, text: &str, length: usize) {
        self.tokens.push(Token { text: text.to_owned(), line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

/// How long the comment is; block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// How long the string literal is that begins here, if one does: plain, raw, bytes, C.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c: char| !matches!(c, 'b' | 'r' | 'c')).filter(|length| *length <= 2)?;
    let after = &text[prefix..];
    if text[..prefix].contains('r') {
        let hashes = after.find(|c| c != '#')?;
        let open = after[hashes..].starts_with('"').then_some(prefix + hashes + 1)?;
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(text[open..].find(&close).map_or(text.len(), |at| open + at + close.len()));
    }
    if !after.starts_with('"') {
        return None;
    }
    let mut escaped = false;
    for (at, c) in after.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// How long the character literal is that begins here; a lifetime is none.
fn char_literal(text: &str) -> Option<usize> {
    let prefix = usize::from(text.starts_with("b'"));
    let inner = text[prefix..].strip_prefix('\'')?;
    let mut chars = inner.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        let (start, _) = chars.next()?;
        let after = start + inner[start..].chars().next().map_or(1, char::len_utf8);
        return inner[after..].find('\'').map(|at| prefix + 1 + after + at + 1);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(prefix + 1 + at + 1)
}

/// The index of the brace that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    tokens.len() - 1
}

/// Every function with a body, nested ones too.
pub(super) fn functions(tokens: &[Token]) -> Vec<Function> {
    let mut found = Vec::new();
    for at in 0..tokens.len() {
        let named = is(tokens, at, "fn")
            && tokens
                .get(at + 1)
                .is_some_and(|t| t.text.starts_with(|c: char| c.is_alphabetic() || c == '_'));
        if !named {
            continue;
        }
        let mut depth = 0_isize;
        for (open, token) in tokens.iter().enumerate().skip(at) {
            match token.text.as_str() {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                ";" if depth == 0 => break,
                "{" if depth == 0 => {
                    let lines = tokens[closing(tokens, open)].line + 1 - tokens[at].line;
                    found.push(Function { name: tokens[at + 1].text.clone(), lines });
                    break;
                }
                _ => {}
            }
        }
    }
    found
}

/// How a module for tests begins.
pub(super) const TEST_MODULE: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];

/// Lines of `#[cfg(test)] mod name { ... }`.
pub(super) fn inline_test_lines(tokens: &[Token]) -> usize {
    let words: Vec<_> = tokens.iter().map(|t| t.text.as_str()).collect();
    let mut lines = 0;
    for at in 0..words.len() {
        if words[at..].starts_with(&TEST_MODULE) && is(tokens, at + 9, "{") {
            lines += tokens[closing(tokens, at + 9)].line + 1 - tokens[at].line;
        }
    }
    lines
}

#[test]
fn literals_and_comments_are_not_words() {
    let words = |text| tokens(text).into_iter().map(|t| t.text).collect::<Vec<_>>();
    assert_eq!(words("a /* b /* c */ d */ e // f\ng"), ["a", "e", "g"]);
    assert_eq!(
        words(r##"x("a\"b", b"c", r#"d"e"#, 'f', '\'', '\u{1}', b'\n')"##).concat(),
        "x(\"\",\"\",\"\",\"\",\"\",\"\",\"\")"
    );
    assert_eq!(words("fn f<'a>(a: &'a str)").concat(), "fnf<'a>(a:&'astr)");
    assert_eq!(words("rust c::b")[0], "rust");
}

#[test]
fn lines_are_counted_through_literals() {
    let read = tokens("a\n\"b\nc\"\nd");
    assert_eq!(read.last().map(|t| t.line), Some(4));
}

#[test]
fn a_function_is_as_long_as_its_lines() {
    let text = "trait T { fn a(); }\nfn b(x: [u8; 4]) -> usize {\n  {}\n}\ntype F = fn(u8) -> u8;";
    let found = functions(&tokens(text));
    assert_eq!(found.iter().map(|f| (f.name.as_str(), f.lines)).collect::<Vec<_>>(), [("b", 3)]);
}

#[test]
fn tests_inside_a_file_do_not_count_as_its_lines() {
    assert_eq!(inline_test_lines(&tokens("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n")), 3);
    assert_eq!(inline_test_lines(&tokens("#[cfg(test)]\nmod tests;\n")), 0);
}
