//! How figures are written: enough digits to tell two apart, separators in the long ones, and nothing that shifts
//! between runs.

/// Stands where there is no figure.
pub(crate) const NOTHING: &str = "–";

/// 97,286.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many decimals, with separators.
pub(crate) fn fixed(x: f64, decimals: usize) -> String {
    if !x.is_finite() {
        return NOTHING.to_owned();
    }
    let text = format!("{:.decimals$}", x.abs());
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    // Past 64 bits there is nothing to read in the digits anyway.
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    let negative = x < 0.0 && text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    format!("{}{whole}{rest}", if negative { "−" } else { "" })
}

/// About how much: two figures. 0.026, 0.53, 4.0, 12.
pub(crate) fn rough(x: f64) -> String {
    let decimals = match x.abs() {
        x if x < 0.0995 => 3,
        x if x < 0.995 => 2,
        x if x < 9.95 => 1,
        _ => 0,
    };
    fixed(x, decimals)
}

/// Dollars without their sign: 15.60, 121.2, 12,345, 0.0042.
pub(crate) fn money(x: f64) -> String {
    let size = x.abs();
    let decimals = match size {
        _ if size == 0.0 => 0,
        _ if size < 0.01 => 4,
        _ if size < 1.0 => 3,
        _ if size < 99.995 => 2,
        _ if size < 999.95 => 1,
        _ => 0,
    };
    fixed(x, decimals)
}

/// Dollars with their sign: $15.60, −$2.10.
pub(crate) fn dollars(x: f64) -> String {
    let text = money(x);
    match text.strip_prefix('−') {
        Some(size) => format!("−${size}"),
        None if text == NOTHING => text,
        None => format!("${text}"),
    }
}

/// A difference says which way it goes: +1.20, −0.40.
pub(crate) fn signed(text: String) -> String {
    let zero = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if zero || text.starts_with('−') { text } else { format!("+{text}") }
}

/// A share in percent without its sign. What is nearly all or nearly nothing keeps two decimals.
pub(crate) fn percent(share: f64) -> String {
    let x = 100.0 * share;
    fixed(x, if (90.0..100.0).contains(&x) { 2 } else { 1 })
}

/// Milliseconds as seconds with three figures: 0.245, 1.53, 28.5, 1,910.
pub(crate) fn seconds(ms: f64) -> String {
    let s = ms / 1e3;
    let decimals = match s.abs() {
        s if s < 0.9995 => 3,
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    fixed(s, decimals)
}

/// A time for a person: 250 ms, 1.5 s, 15 min, 2 h.
pub(crate) fn span(ms: f64) -> String {
    let unit = |x: f64, name: &str| {
        let text = fixed(x, if x < 9.95 { 1 } else { 0 });
        format!("{} {name}", text.strip_suffix(".0").unwrap_or(&text))
    };
    match ms {
        ms if !ms.is_finite() => NOTHING.to_owned(),
        ms if ms < 999.5 => format!("{} ms", fixed(ms, 0)),
        ms if ms < 119_500.0 => unit(ms / 1e3, "s"),
        ms if ms < 7_170_000.0 => unit(ms / 6e4, "min"),
        ms => unit(ms / 3.6e6, "h"),
    }
}

/// At most so many characters; the last of a longer one is an ellipsis.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
