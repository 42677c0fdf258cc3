//! The page for people.
use crate::drill::findings::Findings;

/// The page.
pub fn html(findings: &Findings) -> String {
    findings.headline.clone()
}
