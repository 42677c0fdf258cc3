//! What came of a drill, told three ways: lines for a terminal, JSON for programs, one HTML page for people.

mod html;
mod text;

pub use html::html;
pub use text::text;

use super::Findings;

/// One JSON object, with a line break at the end.
pub fn json(findings: &Findings) -> serde_json::Result<String> {
    serde_json::to_string(findings).map(|text| text + "\n")
}
