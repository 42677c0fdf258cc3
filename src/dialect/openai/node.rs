//! JSON read level by level, so that an error can name the exact place: `messages[2].content[0].type`.
//!
//! A level is validated and cut into its members without building what is inside them. `null` counts as absent, as it
//! does at OpenAI; a second member of the same name is refused, because two readers could choose differently.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::FieldError;

/// Objects that we read member by member have a few dozen known members.
const MEMBERS_MAX: usize = 256;

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'p> {
    Root,
    Member(&'p At<'p>, &'p str),
    Item(&'p At<'p>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl At<'_> {
    pub(super) fn error(&self, message: impl Into<String>) -> FieldError {
        match self {
            Self::Root => FieldError::body(message),
            _ => FieldError::at(self.to_string(), message),
        }
    }

    /// A member or value that we know and cannot translate.
    pub(super) fn unsupported(&self, what: &str) -> FieldError {
        self.error(format!("{what} cannot be served here: remove it")).with_code("unsupported_parameter")
    }
}

/// A value and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a, 'p> {
    pub raw: &'a RawValue,
    pub at: At<'p>,
}

impl<'a> Node<'a, '_> {
    pub(super) fn is_text(&self) -> bool {
        self.raw.get().starts_with('"')
    }

    pub(super) fn is_list(&self) -> bool {
        self.raw.get().starts_with('[')
    }

    pub(super) fn read<T: Deserialize<'a>>(&self, expected: &str) -> Result<T, FieldError> {
        serde_json::from_str(self.raw.get())
            .map_err(|_| self.at.error(format!("expected {expected}")).with_code("invalid_type"))
    }

    pub(super) fn text(&self) -> Result<String, FieldError> {
        self.read("text")
    }

    pub(super) fn word(&self) -> Result<Cow<'a, str>, FieldError> {
        if !self.is_text() {
            return Err(self.at.error("expected text").with_code("invalid_type"));
        }
        // Borrowed where it has no escapes, which a Cow by itself would not be.
        match serde_json::from_str::<&'a str>(self.raw.get()) {
            Ok(word) => Ok(Cow::Borrowed(word)),
            Err(_) => self.read::<String>("text").map(Cow::Owned),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<&'a RawValue>, FieldError> {
        self.read("a list")
    }

    pub(super) fn object(&self) -> Result<Object<'a>, FieldError> {
        serde_json::from_str(self.raw.get()).map_err(|e| {
            let why = e.to_string();
            let told = if why.contains("twice") { why } else { "expected an object".to_owned() };
            self.at.error(told).with_code("invalid_type")
        })
    }

    /// A finite number in `low..=high`.
    pub(super) fn number(&self, low: f64, high: f64) -> Result<f64, FieldError> {
        let number: f64 = self.read("a number")?;
        if (low..=high).contains(&number) {
            return Ok(number);
        }
        Err(self.at.error(format!("must be between {low} and {high}")).with_code("invalid_value"))
    }

    pub(super) fn count(&self) -> Result<u32, FieldError> {
        self.read("a whole number that is not negative")
    }
}

/// An object, cut into its members.
#[derive(Debug)]
pub(super) struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// The member, unless it is absent or `null`.
    pub(super) fn get<'p>(&self, at: &'p At<'p>, name: &'p str) -> Option<Node<'a, 'p>> {
        let (_, raw) = self.members.iter().find(|(n, _)| n == name)?;
        (raw.get() != "null").then_some(Node { raw, at: At::Member(at, name) })
    }

    /// The member, which must be there.
    pub(super) fn need<'p>(&self, at: &'p At<'p>, name: &'p str) -> Result<Node<'a, 'p>, FieldError> {
        self.get(at, name).ok_or_else(|| {
            At::Member(at, name).error(format!("`{name}` is missing")).with_code("missing_required_parameter")
        })
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<Cow<'de, str>, &'de RawValue>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                    if members.len() >= MEMBERS_MAX {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((name, value));
                }
                Ok(Object { members })
            }
        }

        from.deserialize_map(Members)
    }
}
