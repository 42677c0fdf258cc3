//! The JSON Schema of a config file, for editors. Made from the same records that the reader is made from.

use serde_json::{Value, json};

use super::raw;
use super::read::{Definitions, Read};

/// The schema, as it stands in `config/schema.json`.
pub fn schema() -> String {
    let mut definitions = Definitions::new();
    let mut schema = raw::File::schema(&mut definitions);
    if let Value::Object(object) = &mut schema {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!("Gridtie config"));
        object.insert("$defs".to_owned(), json!(definitions));
    }
    format!("{schema:#}\n")
}
