//! The small checks of single fields, each with its remedy.

use serde_json::value::RawValue;

use crate::dialect::FieldError;

/// Deeper JSON is an attack on somebody's parser.
const JSON_DEPTH_MAX: usize = 64;

pub(super) fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub(super) fn required(text: &str, at: impl Fn() -> String) -> Result<(), FieldError> {
    if text.is_empty() {
        return Err(FieldError::at(at(), "Required."));
    }
    Ok(())
}

pub(super) fn at_most(text: &str, max: usize, at: impl Fn() -> String) -> Result<(), FieldError> {
    if text.len() > max {
        return Err(FieldError::at(at(), format!("At most {max} bytes.")));
    }
    Ok(())
}

pub(super) fn at_least_one(field: &str, value: Option<u32>) -> Result<(), FieldError> {
    if value == Some(0) {
        return Err(FieldError::at(field, "At least 1; leave it out for the default."));
    }
    Ok(())
}

pub(super) fn up_to(field: &str, value: Option<u32>, max: u32) -> Result<(), FieldError> {
    if value.is_some_and(|value| value > max) {
        return Err(FieldError::at(field, format!("At most {max}.")));
    }
    Ok(())
}

pub(super) fn within(field: &str, value: Option<f64>, min: f64, max: f64) -> Result<(), FieldError> {
    if value.is_some_and(|value| !(min..=max).contains(&value)) {
        return Err(FieldError::at(field, format!("From {min} to {max}.")));
    }
    Ok(())
}

pub(super) fn json_object(text: &str, at: impl Fn() -> String) -> Result<Box<RawValue>, FieldError> {
    let refused = |message: String| FieldError::at(at(), message);
    if depth(text) > JSON_DEPTH_MAX {
        return Err(refused(format!("Nested more than {JSON_DEPTH_MAX} deep.")));
    }
    let json: Box<RawValue> =
        serde_json::from_str(text).map_err(|error| refused(format!("Not JSON: {error}.")))?;
    if !json.get().starts_with('{') {
        return Err(refused("It must be a JSON object.".to_owned()));
    }
    Ok(json)
}

/// How deep the brackets go; exact for valid JSON, and for other text never less than a parser would recurse.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
