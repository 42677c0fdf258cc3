//! Models, and what pools offer of them.

use std::collections::BTreeMap;

use super::Lower;
use super::pools::tenure;
use super::supply::utc_offset;
use crate::config::raw;
use crate::config::read::{At, unknown};
use crate::config::values::{Amount, Name, Within};
use crate::domain::{
    AskKind, Capabilities, Model, ModelId, Offer, OfferId, PoolId, Price, Prices, Tenure, Timetable,
};

/// A [`ModelId`] is 16 bits; metrics and tables are kept for each model.
const MODELS_MAX: usize = 4096;

/// An [`OfferId`] is 16 bits.
const OFFERS_MAX: usize = 16_384;

impl Lower<'_> {
    /// Models sorted by name, without offers yet.
    pub(super) fn models(&mut self, file: &raw::File) -> Vec<Model> {
        if file.model.is_empty() && !self.dropped.contains("model") {
            let problem = self.error(file.place.key("model"), "there is no model");
            problem.help = Some("add [[model]] with a `name` that clients ask for".to_owned());
        }
        if let Some(one_too_many) = file.model.get(MODELS_MAX) {
            self.error(one_too_many.place.span.clone(), format!("there are more than {MODELS_MAX} models"));
        }
        let mut seen = BTreeMap::new();
        let mut models = Vec::new();
        for model in file.model.iter().take(MODELS_MAX) {
            for alias in &model.aliases {
                self.fresh(&mut seen, "model name", alias);
            }
            if self.fresh(&mut seen, "model", &model.name) {
                models.push(Model {
                    name: model.name.value.0.as_str().into(),
                    aliases: model.aliases.iter().map(|alias| alias.value.0.as_str().into()).collect(),
                    kind: match model.kind {
                        Some(raw::ModelKind::Embed) => AskKind::Embed,
                        Some(raw::ModelKind::Chat) | None => AskKind::Chat,
                    },
                    offers: Vec::new(),
                });
            }
        }
        models.sort_by(|a, b| a.name.cmp(&b.name));
        models
    }

    /// The offers of a pool, added to `offers` and to their models.
    pub(super) fn offers(
        &mut self,
        (id, pool): (PoolId, &raw::Pool),
        by_price: bool,
        models: &mut [Model],
        offers: &mut Vec<Offer>,
    ) {
        if pool.offer.is_empty() && !self.dropped.contains("pool.offer") {
            let message = format!("pool `{}` offers no model", pool.name.value.0);
            let problem = self.error(pool.place.span.clone(), message);
            problem.help = Some("add [[pool.offer]] with a `model`".to_owned());
        }
        for offer in &pool.offer {
            let name = &*offer.model.value.0;
            let at = models.iter().position(|m| *m.name == *name);
            let kind = at.map_or(AskKind::Chat, |at| models[at].kind);
            // Also for an unknown model, so that every problem shows.
            let capabilities = self.capabilities(offer, kind);
            self.numbers_of(pool, offer, by_price);
            let hours = self.price_hours(pool, offer);
            let Some(at) = at else {
                self.unknown_model(&offer.model, models);
                continue;
            };
            let twice = models[at].offers.iter().any(|other| offers[other.index()].pool == id);
            if twice {
                let message = format!("pool `{}` offers `{name}` twice", pool.name.value.0);
                self.error(offer.model.span.clone(), message).label = "remove one of them".to_owned();
                continue;
            }
            if offers.len() >= OFFERS_MAX {
                self.error(offer.place.span.clone(), format!("there are more than {OFFERS_MAX} offers"));
                return;
            }
            models[at].offers.push(OfferId(offers.len() as u16));
            offers.push(Offer {
                pool: id,
                model: ModelId(at as u16),
                upstream_model: offer.upstream.as_deref().unwrap_or(name).into(),
                prices: usual(offer),
                hours,
                context_window: offer.context.as_ref().map(|c| c.value),
                capabilities,
            });
        }
    }

    fn unknown_model(&mut self, name: &At<Name>, models: &[Model]) {
        let span = name.span.clone();
        if let Some(model) = models.iter().find(|m| m.aliases.iter().any(|a| **a == *name.value.0)) {
            let message = format!("`{}` is an alias of the model `{}`", name.value.0, model.name);
            self.error(span, message).help = Some(format!("write `model = \"{}\"`", model.name));
        } else if !self.dropped.contains("model") {
            let known = models.iter().map(|m| &*m.name);
            self.note(unknown("model", &name.value.0, known, span, ""));
        }
    }

    fn numbers_of(&mut self, pool: &raw::Pool, offer: &raw::Offer, by_price: bool) {
        if let Some(context) = offer.context.as_ref().filter(|c| c.value == 0) {
            let problem = self.error(context.span.clone(), "a context window of 0 tokens serves nobody");
            problem.help = Some("leave the key out if it is unknown".to_owned());
        }
        let unpriced = offer.place.has("input").is_none() && offer.place.has("output").is_none();
        if by_price && unpriced && tenure(pool) == Tenure::Metered {
            let message = format!("the offer of `{}` is metered and has no prices", offer.model.value.0);
            let problem = self.warn(offer.model.span.clone(), message);
            problem.label = "looks free to the policy `price`".to_owned();
            problem.help = Some(
                "add `input` and `output` in dollars per million tokens, or set `policy = \"ordered\"` in [routing]"
                    .to_owned(),
            );
        }
    }

    /// The prices of all hours, where they change.
    fn price_hours(&mut self, pool: &raw::Pool, offer: &raw::Offer) -> Option<Timetable<Prices>> {
        let mut all = Vec::new();
        for h in &offer.hours {
            let hours = self.hours(&h.from, &h.to, &h.days);
            let own = [h.input, h.cached, h.cache_write, h.output];
            let said = [offer.input, offer.cached, offer.cache_write, offer.output];
            let amounts = match h.times {
                Some(_) if own.iter().any(Option::is_some) => {
                    let span = h.place.key("times");
                    self.error(span, "`times` is about all prices: these hours have prices of their own");
                    continue;
                }
                Some(times) => said.map(|usual| usual.map(|usual| Within(usual.0 * times.0))),
                None if own.iter().all(Option::is_none) => {
                    let problem =
                        self.error(h.place.span.clone(), "nothing costs something else at these hours");
                    problem.help = Some("add `times = 0.5`, or `input` and `output`".to_owned());
                    continue;
                }
                None => std::array::from_fn(|i| own[i].or(said[i])),
            };
            all.push((hours, prices(amounts)));
        }
        self.not_too_many(&all, offer.place.key("hours"));
        let table = Timetable::new(usual(offer), &all, utc_offset(pool));
        (!table.is_constant()).then_some(table)
    }

    fn capabilities(&mut self, offer: &raw::Offer, kind: AskKind) -> Capabilities {
        let usual = match kind {
            AskKind::Embed => Capabilities::EMBED,
            AskKind::Chat | AskKind::Completion => Capabilities::CHAT_DEFAULT,
        };
        offer.capabilities.iter().fold(usual, |set, word| {
            let (take, name) = match word.value.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word.value.as_str()),
            };
            match Capabilities::by_name(name) {
                Some(capability) if take => capability.lacks(set),
                Some(capability) => set.with(capability),
                None => {
                    let known = Capabilities::NAMES.into_iter().map(|(_, name)| name);
                    self.note(unknown("capability", name, known, word.span.clone(), ""));
                    set
                }
            }
        })
    }
}

/// What an offer costs at the usual hours.
fn usual(offer: &raw::Offer) -> Prices {
    prices([offer.input, offer.cached, offer.cache_write, offer.output])
}

/// Cached tokens cost as much as others unless a price is said: a discount is never assumed.
fn prices([input, cached, cache_write, output]: [Option<Amount>; 4]) -> Prices {
    let price = |amount: Option<Amount>| amount.map(|dollars| Price::per_million(dollars.0));
    let input = price(input).unwrap_or_default();
    Prices {
        input,
        cached: price(cached).unwrap_or(input),
        cache_write: price(cache_write).unwrap_or(input),
        output: price(output).unwrap_or_default(),
    }
}
