//! The JSON Schema of a config file, for editors. Made from the same records that the reader is made from.

use serde_json::{Value, json};

use super::raw;
use super::read::{Definitions, Read};

/// The schema, as it stands in `config/schema.json`.
pub fn schema() -> String {
    schema_of::<raw::File>("Gridtie config")
}

/// Of any file that is read as a config is.
pub(crate) fn schema_of<T: Read>(title: &str) -> String {
    let mut definitions = Definitions::new();
    let mut schema = T::schema(&mut definitions);
    if let Value::Object(object) = &mut schema {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!(title));
        object.insert("$defs".to_owned(), json!(definitions));
    }
    format!("{schema:#}\n")
}
