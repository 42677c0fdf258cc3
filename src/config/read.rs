//! Reads a parsed TOML tree into typed records, and goes on after a mistake, so that one look finds them all.
//!
//! A record is declared once, with [`record!`]; its fields, its documentation, its reader and its JSON Schema come from
//! that one declaration and cannot drift apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use crate::domain::names::{nearest, shown};

/// A value of the tree with its place.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// The named parts of the JSON Schema.
pub(crate) type Definitions = BTreeMap<&'static str, Json>;

/// Collects what is wrong while a tree is read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// Where secrets stand that should not stand there.
    pub secrets: Vec<Range<usize>>,
    /// Records that could not be read, by the word for them: nothing is said about names that may be among them.
    pub dropped: BTreeSet<&'static str>,
}

/// Something that can be read from a config.
pub(crate) trait Read: Sized {
    /// Must a record that has it have it?
    const REQUIRED: bool = true;

    /// Reads it, or notes what is wrong.
    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self>;

    /// What it is when it is not there; nothing if it must be.
    fn absent() -> Option<Self> {
        None
    }

    /// Its JSON Schema.
    fn schema(definitions: &mut Definitions) -> Json;
}

/// Where a record stands, and where its keys do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// The record (its header, where it has one).
    pub span: Range<usize>,
    /// Its keys.
    pub keys: Vec<(String, Range<usize>)>,
}

impl Place {
    /// The place of a key, or of the record if it lacks the key.
    pub(crate) fn key(&self, name: &str) -> Range<usize> {
        self.has(name).unwrap_or_else(|| self.span.clone())
    }

    /// The place of a key, if it is there.
    pub(crate) fn has(&self, name: &str) -> Option<Range<usize>> {
        self.keys.iter().find(|(key, _)| key == name).map(|(_, span)| span.clone())
    }
}

/// A value that remembers its place.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Range<usize>,
}

impl<T: Read> Read for At<T> {
    const REQUIRED: bool = T::REQUIRED;

    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        T::read(value, reader).map(|read| Self { value: read, span: value.span() })
    }

    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }
}

/// A wrong value was noted already: the record goes on without it.
impl<T: Read> Read for Option<T> {
    const REQUIRED: bool = false;

    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        Some(T::read(value, reader))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(definitions: &mut Definitions) -> Json {
        T::schema(definitions)
    }
}

impl<T: Read> Read for Vec<T> {
    const REQUIRED: bool = false;

    fn read(value: &Value<'_>, reader: &mut Reader) -> Option<Self> {
        let Some(items) = value.get_ref().as_array() else {
            reader.expected(value, "a list");
            return Some(Self::new());
        };
        Some(items.iter().filter_map(|item| T::read(item, reader)).collect())
    }

    fn absent() -> Option<Self> {
        Some(Self::new())
    }

    fn schema(definitions: &mut Definitions) -> Json {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

impl Reader {
    /// Notes an error.
    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push(Problem::error(span, message));
    }

    /// Notes that a value is of the wrong type. The value itself is not shown: it could be a secret.
    pub(crate) fn expected(&mut self, value: &Value<'_>, what: &str) {
        let found = value.get_ref().type_str();
        let problem = Problem::error(value.span(), format!("expected {what}, found {}", article(found)));
        self.problems.push(problem.label(format!("expected {what}")));
    }

    /// The text of a string.
    pub(crate) fn text<'a>(&mut self, value: &'a Value<'_>, what: &str) -> Option<&'a str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.expected(value, what);
        }
        text
    }

    /// The table of a record; notes every key that the record does not know.
    pub(crate) fn table<'a, 'i>(
        &mut self,
        value: &'a Value<'i>,
        record: &'static str,
        known: &[&str],
    ) -> Option<(&'a DeTable<'i>, Place)> {
        let Some(table) = value.get_ref().as_table() else {
            self.expected(value, "a table");
            return None;
        };
        let keys = table.keys().map(|key| (key.get_ref().to_string(), key.span())).collect();
        let place = Place { span: value.span(), keys };
        for (key, span) in &place.keys {
            if !known.contains(&key.as_str()) {
                let of = if record.is_empty() { String::new() } else { format!(" in `{record}`") };
                self.problems.push(unknown("key", key, known.iter().copied(), span.clone(), &of));
            }
        }
        Some((table, place))
    }

    /// A field of a record.
    pub(crate) fn field<T: Read>(
        &mut self,
        (table, place): (&DeTable<'_>, &Place),
        record: &'static str,
        key: &'static str,
    ) -> Option<T> {
        if let Some(value) = table.get(key) {
            return T::read(value, self);
        }
        let absent = T::absent();
        if absent.is_none() {
            let problem = Problem::error(place.span.clone(), format!("`{record}` lacks the key `{key}`"));
            self.problems.push(problem.label(format!("add `{key} = ...`")));
        }
        absent
    }
}

/// The problem of a word that is not among the known ones.
pub(crate) fn unknown<'a>(
    what: &str,
    word: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    span: Range<usize>,
    of: &str,
) -> Problem {
    let problem = Problem::error(span, format!("unknown {what} `{}`{of}", shown(word)));
    let problem = match nearest(word, known.clone()) {
        Some(near) => problem.label(format!("did you mean `{near}`?")),
        None => problem.label(format!("no such {what}")),
    };
    let known = known.collect::<Vec<_>>();
    if known.is_empty() { problem } else { problem.help(format!("known: {}", known.join(", "))) }
}

fn article(found: &str) -> String {
    match found {
        "integer" | "array" => format!("an {found}"),
        _ => format!("a {found}"),
    }
}

/// Declares a record: a table of the config with its keys.
macro_rules! record {
    (
        $(#[doc = $doc:literal])*
        $name:ident as $word:literal {
            $( $(#[doc = $field_doc:literal])* $field:ident: $type:ty, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name {
            /// Where it stands.
            #[allow(dead_code, reason = "not every record has a problem of its own")]
            pub place: $crate::config::read::Place,
            $( $(#[doc = $field_doc])* pub $field: $type, )*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                value: &$crate::config::read::Value<'_>,
                reader: &mut $crate::config::read::Reader,
            ) -> Option<Self> {
                let found = reader.table(value, $word, &[$($crate::config::read::word(stringify!($field))),*]);
                let Some((table, place)) = found else {
                    reader.dropped.insert($word);
                    return None;
                };
                $( let $field = reader.field::<$type>(
                    (table, &place), $word, $crate::config::read::word(stringify!($field)),
                ); )*
                // Only now, so that every field was looked at.
                let build = || Some(Self { $( $field: $field?, )* place });
                let built = build();
                if built.is_none() {
                    reader.dropped.insert($word);
                }
                built
            }

            fn schema(definitions: &mut $crate::config::read::Definitions) -> serde_json::Value {
                if !definitions.contains_key(stringify!($name)) {
                    definitions.insert(stringify!($name), serde_json::Value::Null);
                    let fields = [$( (
                        $crate::config::read::word(stringify!($field)),
                        [$($field_doc),*].concat(),
                        <$type as $crate::config::read::Read>::REQUIRED,
                        <$type as $crate::config::read::Read>::schema(definitions),
                    ), )*];
                    let schema = $crate::config::read::record_schema(&[$($doc),*].concat(), fields);
                    definitions.insert(stringify!($name), schema);
                }
                serde_json::json!({ "$ref": concat!("#/$defs/", stringify!($name)) })
            }
        }
    };
}
pub(crate) use record;

/// The word in a file of a field whose name may be a word of the language, too.
pub(crate) fn word(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// The JSON Schema of a record.
pub(crate) fn record_schema<const N: usize>(doc: &str, fields: [(&str, String, bool, Json); N]) -> Json {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for (name, doc, must, schema) in fields {
        let mut schema = schema;
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".to_owned(), doc.trim().into());
        }
        properties.insert(name.to_owned(), schema);
        if must {
            required.push(name);
        }
    }
    json!({
        "type": "object",
        "description": doc.trim(),
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// Declares a closed set of words.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $name:ident as $what:literal { $( $(#[doc = $word_doc:literal])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum $name {
            $( $(#[doc = $word_doc])* $variant, )*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                value: &$crate::config::read::Value<'_>,
                reader: &mut $crate::config::read::Reader,
            ) -> Option<Self> {
                const WORDS: &[&str] = &[$($word),*];
                let text = reader.text(value, concat!("a ", $what))?;
                match text {
                    $( $word => Some(Self::$variant), )*
                    _ => {
                        let words = WORDS.iter().copied();
                        let problem = $crate::config::read::unknown($what, text, words, value.span(), "");
                        reader.problems.push(problem);
                        None
                    }
                }
            }

            fn schema(_: &mut $crate::config::read::Definitions) -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use words;
