//! A value that a JSON schema accepts: for the arguments of simulated tool calls and for structured answers.
//!
//! Knows `$ref` within the schema, `const`, `enum`, `anyOf`, `oneOf`, `allOf`, `type`, `properties`, `required`, `items`,
//! `prefixItems`, and the bounds of numbers, strings and arrays. Does not know `pattern`, `not`, `if` or
//! `dependentSchemas`. A schema comes from outside: depth, size and lengths are bounded.

use serde_json::{Map, Number, Value, json};

use super::words::noun;
use crate::engine::draw::{below, mix};

/// Deeper than any sensible schema; ends schemas that refer to themselves.
const MAX_DEPTH: u32 = 24;

/// Optional properties are filled in above this depth, and left out below, so that trees end.
const OPTIONAL_DEPTH: u32 = 4;

/// Bytes of JSON in one instance: once they are used up everything else is null. References can repeat a long constant
/// any number of times.
const MAX_BYTES: usize = 262_144;

/// What a short value takes with its punctuation.
const VALUE_BYTES: usize = 8;

/// Longer minimal strings and arrays are not honoured.
const MAX_LENGTH: u64 = 1_024;

/// A value for the schema, the same for the same seed.
pub(super) fn instance(schema: &Value, seed: u64) -> Value {
    Maker { root: schema, left: MAX_BYTES }.make(schema, seed, 0)
}

struct Maker<'a> {
    root: &'a Value,
    /// Bytes that may still be made.
    left: usize,
}

impl<'a> Maker<'a> {
    fn make(&mut self, schema: &'a Value, seed: u64, depth: u32) -> Value {
        if depth > MAX_DEPTH || !self.spend(VALUE_BYTES) {
            return Value::Null;
        }
        let Value::Object(s) = schema else { return json!(noun(seed)) };
        if let Some(target) = s.get("$ref").and_then(Value::as_str) {
            return match target.strip_prefix('#').and_then(|p| self.root.pointer(p)) {
                Some(target) => self.make(target, seed, depth + 1),
                None => Value::Null,
            };
        }
        let values = s.get("enum").and_then(Value::as_array);
        if let Some(value) = s.get("const").or_else(|| values.and_then(|v| v.get(below(seed, v.len())))) {
            return if self.spend(value.to_string().len()) { value.clone() } else { Value::Null };
        }
        for word in ["anyOf", "oneOf"] {
            if let Some(choices) = s.get(word).and_then(Value::as_array) {
                // Something rather than null, where there is a choice.
                let choice =
                    choices.iter().find(|c| c.get("type") != Some(&json!("null"))).or(choices.first());
                return choice.map_or(Value::Null, |c| self.make(c, seed, depth + 1));
            }
        }
        if let Some(parts) = s.get("allOf").and_then(Value::as_array) {
            return self.all_of(s, parts, seed, depth);
        }
        self.typed(s, seed, depth)
    }

    fn typed(&mut self, s: &'a Map<String, Value>, seed: u64, depth: u32) -> Value {
        match kind(s) {
            "object" => Value::Object(self.object(s, seed, depth)),
            "array" => self.array(s, seed, depth),
            "integer" => number(s, seed, true),
            "number" => number(s, seed, false),
            "boolean" => Value::Bool(below(seed, 2) == 0),
            "null" => Value::Null,
            _ => {
                let text = string(s, seed);
                if self.spend(text.len()) { Value::String(text) } else { Value::Null }
            }
        }
    }

    /// False if that is more than may be made; then nothing more is.
    fn spend(&mut self, bytes: usize) -> bool {
        let enough = bytes <= self.left;
        self.left = if enough { self.left - bytes } else { 0 };
        enough
    }

    /// The objects of all parts together; of other types the first part's.
    fn all_of(&mut self, s: &'a Map<String, Value>, parts: &'a [Value], seed: u64, depth: u32) -> Value {
        let mut all = if s.contains_key("properties") { self.object(s, seed, depth) } else { Map::new() };
        for part in parts {
            match self.make(part, seed, depth + 1) {
                Value::Object(more) => all.extend(more),
                other if all.is_empty() => return other,
                _ => {}
            }
        }
        Value::Object(all)
    }

    fn object(&mut self, s: &'a Map<String, Value>, seed: u64, depth: u32) -> Map<String, Value> {
        let required: Vec<&str> = s
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut out = Map::new();
        let properties = s.get("properties").and_then(Value::as_object);
        for (i, (name, property)) in properties.into_iter().flatten().enumerate() {
            let wanted = depth < OPTIONAL_DEPTH || required.contains(&name.as_str());
            if wanted && self.spend(name.len()) {
                out.insert(name.clone(), self.make(property, mix(seed, i as u64), depth + 1));
            }
        }
        // Required without being described: anything will do.
        for name in required {
            if !out.contains_key(name) && self.spend(name.len() + VALUE_BYTES) {
                out.insert(name.to_owned(), json!(noun(seed)));
            }
        }
        out
    }

    fn array(&mut self, s: &'a Map<String, Value>, seed: u64, depth: u32) -> Value {
        let bound = |word| s.get(word).and_then(Value::as_u64);
        let first = s.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let most = bound("maxItems").unwrap_or(MAX_LENGTH);
        let wanted = bound("minItems").unwrap_or(u64::from(depth < OPTIONAL_DEPTH)).max(first.len() as u64);
        let length = wanted.min(most).min(MAX_LENGTH) as usize;
        let mut out = Vec::new();
        for i in 0..length {
            if !self.spend(VALUE_BYTES) {
                break;
            }
            let seed = mix(seed, i as u64);
            out.push(match first.get(i).or_else(|| s.get("items")) {
                Some(item) => self.make(item, seed, depth + 1),
                None => json!(noun(seed)),
            });
        }
        Value::Array(out)
    }
}

/// The type of a schema; where it names several the first that is not null, where none what its words suggest.
fn kind(s: &Map<String, Value>) -> &str {
    match s.get("type") {
        Some(Value::String(one)) => one,
        Some(Value::Array(many)) => {
            let mut names = many.iter().filter_map(Value::as_str);
            names.clone().find(|n| *n != "null").or_else(|| names.next()).unwrap_or("string")
        }
        _ if s.contains_key("properties") || s.contains_key("required") => "object",
        _ if s.contains_key("items") || s.contains_key("prefixItems") => "array",
        _ if s.contains_key("minimum") || s.contains_key("maximum") => "number",
        _ => "string",
    }
}

/// Near the lower bound, where there is one: between the bounds, off the excluded ones, on the grid of `multipleOf`.
fn number(s: &Map<String, Value>, seed: u64, integer: bool) -> Value {
    let bound = |word| s.get(word).and_then(Value::as_f64).filter(|v| v.is_finite());
    let grid = bound("multipleOf").filter(|g| *g > 0.0).unwrap_or(if integer { 1.0 } else { 0.5 });
    let grid = if integer { grid.ceil() } else { grid };
    let low = bound("minimum").or(bound("exclusiveMinimum"));
    let high = bound("maximum").or(bound("exclusiveMaximum"));
    let mut value = match (low, high) {
        (Some(low), _) => (low / grid).ceil() * grid,
        (None, Some(high)) => (high / grid).floor() * grid,
        (None, None) => grid * below(seed, 20) as f64,
    };
    if bound("exclusiveMinimum").is_some_and(|low| value <= low) {
        value += grid;
    }
    if low.is_none() && bound("exclusiveMaximum").is_some_and(|high| value >= high) {
        value -= grid;
    }
    // A narrow range may hold no point of our own grid of halves; its middle is in it then.
    if let (Some(low), Some(high), false, None) = (low, high, integer, bound("multipleOf"))
        && value >= high
    {
        value = f64::midpoint(low, high);
    }
    if integer { json!(value as i64) } else { Number::from_f64(value).map_or(Value::Null, Value::Number) }
}

fn string(s: &Map<String, Value>, seed: u64) -> String {
    let bound = |word| s.get(word).and_then(Value::as_u64);
    match s.get("format").and_then(Value::as_str) {
        Some("date") => return "2026-01-31".to_owned(),
        Some("time") => return "12:00:00Z".to_owned(),
        Some("date-time") => return "2026-01-31T12:00:00Z".to_owned(),
        Some("duration") => return "PT1H".to_owned(),
        Some("email") => return "someone@example.com".to_owned(),
        Some("hostname") => return "example.com".to_owned(),
        Some("ipv4") => return "192.0.2.1".to_owned(),
        Some("ipv6") => return "2001:db8::1".to_owned(),
        Some("uri") => return "https://example.com/".to_owned(),
        Some("uuid") => return format!("{:08x}-0000-4000-8000-{:012x}", seed as u32, seed >> 16),
        _ => {}
    }
    let mut text = noun(seed).to_owned();
    let least = bound("minLength").unwrap_or(0).min(MAX_LENGTH) as usize;
    for i in 0.. {
        if text.len() >= least {
            break;
        }
        text.push(' ');
        text += noun(mix(seed, i));
    }
    let most = bound("maxLength").unwrap_or(u64::MAX).max(least as u64);
    text.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_keep_to_the_words_of_their_schema() {
        let cases = [
            (json!({"const": 5}), json!(5)),
            (json!({"enum": ["a"]}), json!("a")),
            (json!({"anyOf": [{"type": "null"}, {"const": 1}]}), json!(1)),
            (json!({"$ref": "#/$defs/x", "$defs": {"x": {"const": true}}}), json!(true)),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}),
                json!({"a": 1, "b": 2}),
            ),
            (json!({"type": ["null", "integer"], "minimum": 7}), json!(7)),
            (json!({"type": "integer", "exclusiveMinimum": 7}), json!(8)),
            (json!({"type": "integer", "maximum": -2}), json!(-2)),
            (json!({"type": "number", "minimum": 0.1, "maximum": 0.2}), json!(0.15000000000000002)),
            (json!({"type": "integer", "minimum": 5, "multipleOf": 4}), json!(8)),
            (json!({"type": "array", "maxItems": 0}), json!([])),
            (json!({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}), json!([1, 2])),
            (json!({"type": "string", "format": "date"}), json!("2026-01-31")),
        ];
        for (schema, value) in cases {
            assert_eq!(instance(&schema, 1), value, "{schema}");
        }
        let long = instance(&json!({"type": "string", "minLength": 50, "maxLength": 60}), 1);
        assert!((50..=60).contains(&long.as_str().unwrap().len()));
    }

    #[test]
    fn a_schema_that_refers_to_itself_or_asks_for_millions_ends() {
        let tree = json!({"type": "object", "required": ["l", "r"], "properties": {"l": {"$ref": "#"}, "r": {"$ref": "#"}}});
        let wide = json!({"type": "array", "minItems": 4_000_000_000u64, "items": {"type": "array", "minItems": 4_000_000_000u64}});
        for hostile in
            [tree, wide, json!({"$ref": "#"}), json!({"type": "string", "minLength": 4_000_000_000u64})]
        {
            assert!(instance(&hostile, 1).to_string().len() < 1_000_000);
        }
    }
}
