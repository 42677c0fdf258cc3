//! What is wrong with a config: every problem at once, each with its place, the words that would be right, and a
//! remedy. Rendered the way a compiler does it. Secrets that stand in the text are masked before anything is kept.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The config is refused.
    Error,
    /// It is taken, but probably not what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where in the text, in bytes; absent for what is wrong with the file as a whole.
    pub span: Option<Range<usize>>,
    /// What to say at that place.
    pub label: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Problem {
    /// An error at a place. `0..0` is the file as a whole.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        let (message, label) = (message.into(), String::new());
        let span = Some(span).filter(|span| *span != (0..0));
        Self { severity: Severity::Error, message, span, label, help: None }
    }

    /// A warning at a place.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// An error of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self::error(0..0, message)
    }

    /// What the parser of TOML says.
    pub(crate) fn of_syntax(error: &toml::de::Error) -> Self {
        Self::error(error.span().unwrap_or(0..0), error.message().trim_end())
    }

    /// With words at the place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong with one text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems {
    name: Arc<str>,
    /// The text with its secrets masked, byte for byte as long as the original.
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Problems of `text`, ordered by place. `secrets` are spans that no message may show.
    pub fn new(name: &str, text: &str, secrets: &[Range<usize>], mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|p| (p.severity, p.span.as_ref().map_or(0, |s| s.start)));
        list.dedup();
        Self { name: name.into(), text: masked(text, secrets), list }
    }

    /// Only the warnings, or nothing if one of them is an error.
    pub(crate) fn into_warnings(self) -> Result<Self, Self> {
        if self.list.iter().any(|p| p.severity == Severity::Error) { Err(self) } else { Ok(self) }
    }

    /// Errors first, then warnings, each in the order of the text.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Others of the same text.
    pub(super) fn instead(&self, list: Vec<Problem>) -> Self {
        Self { name: Arc::clone(&self.name), text: self.text.clone(), list }
    }

    /// All of them together, those of the same text.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.list.extend(others.list.iter().cloned());
        self
    }

    /// One line each of what is refused: `file:line:col: message; remedy`.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let refused = self.list.iter().filter(|p| p.severity == Severity::Error);
        refused.map(|problem| {
            let place = self.place(problem).map(|(line, column)| format!(":{line}:{column}"));
            let said = [Some(&problem.label).filter(|label| !label.is_empty()), problem.help.as_ref()];
            let said: String = said.into_iter().flatten().map(|said| format!("; {said}")).collect();
            format!("{}{}: {}{said}", self.name, place.unwrap_or_default(), problem.message)
        })
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|p| p.severity == Severity::Error).count()
    }

    /// `line:column` of a problem, both from 1, columns in characters; absent for the file as a whole.
    pub fn place(&self, problem: &Problem) -> Option<(usize, usize)> {
        let before = self.text.get(..problem.span.as_ref()?.start.min(self.text.len()))?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// For people: each problem with its line of the text. `styled` adds terminal colours.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let each = |p| renderer.render(&self.report(p)) + "\n";
        self.list.iter().map(each).collect::<Vec<_>>().join("\n")
    }

    fn report<'a>(&'a self, problem: &'a Problem) -> Vec<Group<'a>> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&problem.message));
        group = match &problem.span {
            None => group.element(Origin::path(&*self.name)),
            Some(span) => group.element(
                Snippet::source(&self.text)
                    .path(&*self.name)
                    .annotation(AnnotationKind::Primary.span(span.clone()).label(problem.label.as_str())),
            ),
        };
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        vec![group]
    }
}

/// One line a problem: `file:line:col: message`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", self.name)?;
            if let Some((line, column)) = self.place(problem) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Words that a key ends in when its value is a secret. The reader finds secrets by their place in the config; this
/// is for the ones in text that did not parse, or under a key that does not exist (`api_key`).
const SECRET_WORDS: [&str; 4] = ["key", "token", "secret", "password"];

/// The text with secrets overwritten, same length: those at `spans`, and those that look like one.
fn masked(text: &str, spans: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut blank = |range: Range<usize>| {
        for byte in bytes.get_mut(range).unwrap_or_default().iter_mut().filter(|b| **b != b'\n') {
            *byte = b'*';
        }
    };
    spans.iter().cloned().for_each(&mut blank);
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let end = line_start + line.trim_end().len();
        for (at, _) in line.match_indices('=') {
            let left = line[..at].trim_end().trim_end_matches(['"', '\'']).to_ascii_lowercase();
            let right = line[at + 1..].trim_start();
            let value = right.trim_start_matches(['"', '\'']);
            let reference = value.starts_with("env:") || value.starts_with("file:");
            let secret = SECRET_WORDS.iter().any(|w| left.ends_with(w)) && !left.ends_with("first_token");
            if secret && !reference {
                blank(line_start + line.len() - right.len()..end);
            }
        }
        line_start += line.len();
    }
    // Whole characters were overwritten with ASCII, so this cannot fail; if it did, nothing would be shown.
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_line_and_column_in_characters() {
        let text = "a = 1\nnäme = 2\n";
        let at = text.find('2').unwrap();
        let problems = Problems::new("x.toml", text, &[], vec![Problem::error(at..at + 1, "no")]);
        assert_eq!(problems.to_string(), "x.toml:2:8: no");
    }

    #[test]
    fn a_secret_in_the_text_is_never_rendered() {
        for text in [
            "key = \"sk-canary\"\nx = 1\n",
            "a = { api_key = 'sk-canary', b = 1 }\n",
            "\"admin_token\"=\"sk-canary\n",
            "password = sk-canary",
        ] {
            let problem = Problem::error(0..text.len(), "wrong");
            let problems = Problems::new("x.toml", text, &[], vec![problem]);
            for shown in [problems.render(false), problems.render(true), format!("{problems:?}")] {
                assert!(!shown.contains("canary"), "{shown}");
            }
        }
    }

    #[test]
    fn a_reference_stays_readable() {
        let text = "key = \"env:CLOUD_KEY\"\n";
        let problems = Problems::new("x.toml", text, &[], vec![Problem::error(0..3, "wrong")]);
        assert!(problems.render(false).contains("env:CLOUD_KEY"));
    }
}
