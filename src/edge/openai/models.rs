//! `GET /v1/models` from the catalog.

use bytes::Bytes;
use serde::Serialize;

use crate::domain::names::{nearest, shown};
use crate::domain::{Catalog, Model, Refusal};

/// A model as OpenAI's SDKs read it. `created` is what they demand and nobody here knows, so it is 0.
#[derive(Serialize)]
struct Card<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// The largest context window on offer, in tokens; vLLM's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_model_len: Option<u32>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Card<'a>>,
}

fn card<'a>(catalog: &Catalog, model: &Model, id: &'a str) -> Card<'a> {
    let max_model_len = model.offers.iter().filter_map(|o| catalog.offer(*o).context_window).max();
    Card { id, object: "model", created: 0, owned_by: "gridtie", max_model_len }
}

/// Every name that can be asked for, aliases too.
pub(super) fn list(catalog: &Catalog) -> Bytes {
    let names =
        |model: &'_ Model| -> Vec<_> { [&model.name].into_iter().chain(&model.aliases).cloned().collect() };
    let mut named: Vec<_> = catalog.live_models().map(|model| (model, names(model))).collect();
    named.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let data =
        named.iter().flat_map(|(model, names)| names.iter().map(|name| card(catalog, model, name))).collect();
    write(&List { object: "list", data })
}

/// One model; `id` as the path has it, percent-encoded.
pub(super) fn one(catalog: &Catalog, id: &str) -> Result<Bytes, Refusal> {
    let name = percent_decoded(id);
    match catalog.model_id(&name) {
        Some(found) => Ok(write(&card(catalog, catalog.model(found), &name))),
        None => Err(Refusal::ModelNotFound {
            model: shown(&name),
            nearest: nearest(&name, catalog.live_models().map(|m| &*m.name)).map(str::to_owned),
        }),
    }
}

fn write(value: &impl Serialize) -> Bytes {
    // Strings and numbers always serialize.
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// Model names hold slashes, which some clients encode. Broken escapes stand for themselves.
fn percent_decoded(text: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    let digit = |byte: u8| char::from(byte).to_digit(16);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if let (b'%', [high, low, after @ ..]) = (byte, tail)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
