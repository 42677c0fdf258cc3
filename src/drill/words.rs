//! How figures of a drill are written.

pub(super) use crate::sim::report::figures::{count, fixed, money};

/// Seconds with two figures that mean something: 0.31 s, 4.2 s, 118 s.
pub(super) fn seconds_short(s: f64) -> String {
    if s < 0.005 {
        return "<0.01 s".to_owned();
    }
    let decimals = match s.abs() {
        s if s < 0.9995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    format!("{} s", fixed(s, decimals))
}

/// Dollars more or less: +$3.12, −$0.40.
pub(super) fn signed_dollars(usd: f64) -> String {
    format!("{}${}", if usd < 0.0 { "−" } else { "+" }, money(usd.abs()))
}

/// Percent more or less: +21 %, −6 %.
pub(super) fn signed_percent(percent: f64) -> String {
    format!("{}{} %", if percent < 0.0 { "−" } else { "+" }, fixed(percent.abs(), 0))
}
