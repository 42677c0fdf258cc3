//! The kinds of values that records are made of: how each is read, what is wrong with it when it cannot be, and how
//! an editor may check it.

use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::problem::Problem;
use super::quantity;
use super::read::{At, Definitions, Read, Reader, Value, unknown};
use super::secret::Reference;
use crate::domain::Timestamp;
use crate::upstream::openai::Flavour;

impl Read for bool {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            reader.expected(value, "true or false");
        }
        read
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "boolean" })
    }
}

/// A whole number from 0 to `u32::MAX`.
impl Read for u32 {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let Some(number) = value.get_ref().as_integer() else {
            reader.expected(value, "a whole number");
            return None;
        };
        let read = Self::from_str_radix(number.as_str(), number.radix()).ok();
        if read.is_none() {
            reader.error(value.span(), format!("expected a whole number from 0 to {}", Self::MAX));
        }
        read
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "integer", "minimum": 0, "maximum": Self::MAX })
    }
}

/// A number of a range, ends included.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Within<const LEAST: i32, const MOST: i32>(pub f64);

impl<const LEAST: i32, const MOST: i32> Read for Within<LEAST, MOST> {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(whole) => {
                i64::from_str_radix(whole.as_str(), whole.radix()).ok().map(|n| n as f64)
            }
            _ => {
                reader.expected(value, "a number");
                return None;
            }
        };
        let inside = number.filter(|n| (f64::from(LEAST)..=f64::from(MOST)).contains(n));
        if inside.is_none() {
            let problem = Problem::error(value.span(), format!("expected a number from {LEAST} to {MOST}"));
            reader.problems.push(problem.label("out of range"));
        }
        inside.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "number", "minimum": LEAST, "maximum": MOST })
    }
}

/// Dollars, or a weight, or anything that is zero or more; a billion is a slip.
pub(crate) type Amount = Within<0, 1_000_000_000>;
/// A share of the whole.
pub(crate) type Share = Within<0, 1>;

/// Shares by name, of any scale: `{ interactive = 5, agent = 3 }`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(pub Vec<(At<String>, Amount)>);

impl Read for Shares {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            reader.expected(value, "a table of shares like { interactive = 5, agent = 3 }");
            return None;
        };
        let read = |(key, share): (&toml::Spanned<std::borrow::Cow<'_, str>>, &Value<'_>)| {
            let name = At { value: key.get_ref().to_string(), span: key.span() };
            Some((name, Amount::read(share, reader)?))
        };
        Some(Self(table.iter().filter_map(read).collect()))
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "object", "additionalProperties": Amount::schema(definitions) })
    }
}

impl Read for Duration {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const WHAT: &str = "a duration like \"250ms\" or \"90m\"";
        let text = reader.text(value, WHAT)?;
        let read = quantity::duration(text);
        if read.is_none() {
            let problem = Problem::error(value.span(), format!("expected {WHAT}"));
            reader.problems.push(problem.help("units: ns, us, ms, s, m, h, d; at most ten years"));
        }
        read
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": r"^\s*([0-9.]+\s*(ns|us|ms|s|m|h|d)\s*)+$" })
    }
}

/// A minute of the day, from 0 to 1440: `08:00`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TimeOfDay(pub u32);

impl Read for TimeOfDay {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const WHAT: &str = "a time of the day like \"08:00\"";
        let text = reader.text(value, WHAT)?;
        let read = quantity::minutes(text).filter(|minute| *minute <= 24 * 60);
        if read.is_none() {
            reader.error(value.span(), format!("expected {WHAT}, from \"00:00\" to \"24:00\""));
        }
        read.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$" })
    }
}

/// What a clock shows more than UTC, in minutes: `+02:00`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UtcOffset(pub i32);

impl Read for UtcOffset {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const WHAT: &str = "an offset to UTC like \"+02:00\"";
        /// The clocks that are farthest ahead: Kiritimati.
        const MOST: u32 = 14 * 60;
        let text = reader.text(value, WHAT)?;
        let signed = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(ahead), _) => quantity::minutes(ahead).map(|m| (m, 1)),
            (None, Some(behind)) => quantity::minutes(behind).map(|m| (m, -1)),
            (None, None) => None,
        };
        let read =
            signed.filter(|(minutes, _)| *minutes <= MOST).map(|(minutes, sign)| minutes as i32 * sign);
        if read.is_none() {
            let problem = Problem::error(value.span(), format!("expected {WHAT}"));
            reader.problems.push(problem.help(
                "names of time zones are not known: a zone with summer time needs its offset changed twice a year",
            ));
        }
        read.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^[+-][0-9]{2}:[0-9]{2}$" })
    }
}

/// A size in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bytes(pub u64);

impl Read for Bytes {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const WHAT: &str = "a size like \"32MiB\"";
        let text = reader.text(value, WHAT)?;
        let read = quantity::size(text);
        if read.is_none() {
            let problem = Problem::error(value.span(), format!("expected {WHAT}"));
            reader.problems.push(problem.help("units: B, kB, MB, GB, KiB, MiB, GiB"));
        }
        read.map(Self)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": r"^\s*[0-9.]+\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*$" })
    }
}

impl Read for Timestamp {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        const WHAT: &str = "a moment like 2026-01-01T00:00:00Z, not before 1970";
        let parsed = match value.get_ref() {
            DeValue::Datetime(at) => Some(*at),
            DeValue::String(text) => text.parse().ok(),
            _ => {
                reader.expected(value, WHAT);
                return None;
            }
        };
        let read = parsed.and_then(|at| quantity::timestamp(&at));
        if read.is_none() {
            reader.error(value.span(), format!("expected {WHAT}"));
        }
        read
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "format": "date-time" })
    }
}

/// Any text.
impl Read for String {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        reader.text(value, "a string").map(str::to_owned)
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string" })
    }
}

/// A name that goes to headers, logs and metrics: 1 to 128 visible ASCII characters, without those that separate
/// or quote names there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Name(pub String);

/// Longer names would be cut in logs and metrics.
const NAME_MAX: usize = 128;

/// Is it a [`Name`]?
pub(crate) fn is_name(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '"' | '\'' | '\\' | '`' | '{' | '}');
    (1..=NAME_MAX).contains(&text.len()) && text.chars().all(sound)
}

impl Read for Name {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(value, "a name")?;
        if is_name(text) {
            return Some(Self(text.to_owned()));
        }
        let problem = Problem::error(value.span(), "this cannot be a name".to_owned());
        reader.problems.push(problem.help(format!(
            "a name is 1 to {NAME_MAX} visible ASCII characters without spaces, commas, quotes or braces"
        )));
        None
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": NAME_MAX })
    }
}

/// A reference to a secret or a file. Anything else in its place may be the secret itself and is never shown.
impl Read for Reference {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let reference = value.get_ref().as_str().and_then(Self::parse);
        if reference.is_none() {
            reader.secrets.push(value.span());
            let problem =
                Problem::error(value.span(), "expected a reference to a secret, not the secret itself")
                    .label("hidden, in case it is one")
                    .help("write \"env:NAME\" or \"file:/path\"; if a key stood here, treat it as leaked");
            reader.problems.push(problem);
        }
        reference
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "type": "string", "pattern": "^(env:[A-Za-z0-9_]+|file:.+)$" })
    }
}

/// Whose variety of OpenAI's API; the upstream knows the words.
impl Read for Flavour {
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let text = reader.text(value, "a flavour")?;
        let flavour = Self::by_name(text);
        if flavour.is_none() {
            let known = Self::NAMES.iter().map(|(_, name)| *name);
            reader.problems.push(unknown("flavour", text, known, value.span(), ""));
        }
        flavour
    }

    fn schema(_: &mut Definitions) -> Json {
        json!({ "enum": Self::NAMES.map(|(_, name)| name) })
    }
}
