//! The page for people.

use super::Report;

/// The page.
pub fn html(report: &Report) -> String {
    report.title.clone()
}
