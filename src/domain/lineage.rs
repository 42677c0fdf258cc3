//! Ids that outlive a config: a name that stays keeps its id when a new config is taken, and what no config names any
//! more keeps its place for as long as a call may know it.
//!
//! Places are dealt again, so that no number of new configs makes tables grow, but never while a call is open that
//! began when they meant something else. Those of tenants are not dealt again at all: who asks is found out before a
//! call begins.

use std::collections::BTreeMap;

use super::catalog::{Catalog, Class, Model, Offer, Pool};
use super::ids::{ClassId, ModelId, OfferId, PoolId, TenantId};

/// What became of the entries of earlier configs. Empty in a catalog that is the first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lineage {
    /// Pools in the order of the config, where that is not the order of their ids.
    order: Option<Vec<PoolId>>,
    pools: Gone,
    offers: Gone,
    models: Gone,
    classes: Gone,
}

/// Places that no config names any more, by index, with the edition that was the first without them, or [`FORGOTTEN`].
type Gone = BTreeMap<usize, u64>;

/// Of a place that no open call can know. Editions count from 1.
const FORGOTTEN: u64 = 0;

/// Which configs there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Editions {
    /// The number of the one that is to be taken; counts from 1.
    pub next: u64,
    /// The oldest that an open call may have begun with.
    pub oldest: u64,
}

/// A catalog whose names have the ids that they had before, and where its own ids went.
#[derive(Debug)]
pub struct Successor {
    /// With all entries of before that somebody may still know.
    pub catalog: Catalog,
    /// By the id that a pool had in its own config.
    pub pools: Vec<PoolId>,
    /// By the id that a tenant had in its own config.
    pub tenants: Vec<TenantId>,
}

/// There are more names, those of open calls included, than there are ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are too many {0}, together with those that open calls began with")]
pub struct NoRoom(&'static str);

impl Catalog {
    /// The pools of the config, in its order.
    pub fn live_pools(&self) -> impl Iterator<Item = (PoolId, &Pool)> {
        let own = (0..self.pools.len()).map(|i| PoolId(i as u16)).filter(|id| self.has_pool(*id));
        let order = self.lineage.order.as_deref();
        let own = own.filter(move |_| order.is_none());
        order.into_iter().flatten().copied().chain(own).map(|id| (id, self.pool(id)))
    }

    /// The models of the config.
    pub fn live_models(&self) -> impl Iterator<Item = &Model> {
        let live = self.models.iter().enumerate().filter(|(i, _)| !self.lineage.models.contains_key(i));
        live.map(|(_, model)| model)
    }

    /// The classes of the config.
    pub fn live_classes(&self) -> impl Iterator<Item = &Class> {
        let live = self.classes.iter().enumerate().filter(|(i, _)| !self.lineage.classes.contains_key(i));
        live.map(|(_, class)| class)
    }

    /// Is the pool in the config?
    pub fn has_pool(&self, id: PoolId) -> bool {
        !self.lineage.pools.contains_key(&id.index())
    }

    /// Is the offer in the config?
    pub fn has_offer(&self, id: OfferId) -> bool {
        !self.lineage.offers.contains_key(&id.index())
    }

    /// Is the model in the config?
    pub fn has_model(&self, id: ModelId) -> bool {
        !self.lineage.models.contains_key(&id.index())
    }

    /// Is the class in the config?
    pub fn has_class(&self, id: ClassId) -> bool {
        !self.lineage.classes.contains_key(&id.index())
    }

    /// Is the pool in no config that an open call can know?
    pub fn pool_is_forgotten(&self, id: PoolId) -> bool {
        self.lineage.pools.get(&id.index()) == Some(&FORGOTTEN)
    }

    /// Is the offer in no config that an open call can know?
    pub fn offer_is_forgotten(&self, id: OfferId) -> bool {
        self.lineage.offers.get(&id.index()) == Some(&FORGOTTEN)
    }

    /// Is the model in no config that an open call can know?
    pub fn model_is_forgotten(&self, id: ModelId) -> bool {
        self.lineage.models.get(&id.index()) == Some(&FORGOTTEN)
    }

    /// Is the class in no config that an open call can know?
    pub fn class_is_forgotten(&self, id: ClassId) -> bool {
        self.lineage.classes.get(&id.index()) == Some(&FORGOTTEN)
    }

    /// This catalog as the successor of `before`: its names have the ids that they had there.
    pub fn succeed(self, before: &Self, editions: Editions) -> Result<Successor, NoRoom> {
        let own = &before.lineage;
        let names = |all: &[Pool]| all.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
        let pools =
            Places::deal(&names(&before.pools), &names(&self.pools), &own.pools, editions, u16::MAX.into())
                .ok_or(NoRoom("pools"))?;
        let names = |all: &[Model]| all.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        let models = Places::deal(
            &names(&before.models),
            &names(&self.models),
            &own.models,
            editions,
            u16::MAX.into(),
        )
        .ok_or(NoRoom("models"))?;
        let names = |c: &Self| c.classes.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        let classes = Places::deal(&names(before), &names(&self), &own.classes, editions, u8::MAX.into())
            .ok_or(NoRoom("classes"))?;
        let names = |c: &Self| c.tenants.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        let tenants = Places::deal(&names(before), &names(&self), &Gone::new(), editions, u16::MAX.into())
            .ok_or(NoRoom("tenants"))?;
        let key = |o: &Offer| (o.pool, o.model);
        let now: Vec<_> =
            self.offers.iter().map(key).map(|(p, m)| (pools.pool(p), models.model(m))).collect();
        let then: Vec<_> = before.offers.iter().map(key).collect();
        let offers =
            Places::deal(&then, &now, &own.offers, editions, u16::MAX.into()).ok_or(NoRoom("offers"))?;
        Ok(self.moved(before, &Moves { pools, models, classes, tenants, offers }))
    }

    fn moved(self, before: &Self, to: &Moves) -> Successor {
        let (pools, models) = (&to.pools, &to.models);
        let offers = self.offers.into_iter().map(|o| Offer {
            pool: pools.pool(o.pool),
            model: models.model(o.model),
            ..o
        });
        let own_models = self.models.into_iter().map(|m| Model {
            offers: m.offers.iter().map(|o| OfferId(to.offers.at(o.index()) as u16)).collect(),
            ..m
        });
        let order: Vec<PoolId> = pools.at.iter().map(|at| PoolId(*at as u16)).collect();
        let mut catalog = Self {
            pools: pools.merge(&before.pools, self.pools),
            offers: to.offers.merge(&before.offers, offers),
            models: models.merge(&before.models, own_models),
            classes: to.classes.merge(&before.classes, self.classes),
            tenants: to.tenants.merge(&before.tenants, self.tenants),
            default_class: ClassId(to.classes.at(self.default_class.index()) as u8),
            lineage: Lineage {
                order: Some(order.clone()),
                pools: pools.gone.clone(),
                offers: to.offers.gone.clone(),
                models: models.gone.clone(),
                classes: to.classes.gone.clone(),
            },
        };
        for at in models.gone.keys() {
            if let Some(model) = catalog.models.get_mut(*at) {
                model.offers.clear();
            }
        }
        let tenants = to.tenants.at.iter().map(|at| TenantId(*at as u16)).collect();
        Successor { catalog, pools: order, tenants }
    }
}

struct Moves {
    pools: Places,
    models: Places,
    classes: Places,
    tenants: Places,
    offers: Places,
}

/// Where the entries of one table go.
struct Places {
    /// By position in their own config.
    at: Vec<usize>,
    gone: Gone,
}

impl Places {
    /// The place that a name had, or one that nobody knows any more, or a new one. `None` if there are more than `most`.
    fn deal<K: Ord>(before: &[K], next: &[K], gone: &Gone, editions: Editions, most: usize) -> Option<Self> {
        let had: BTreeMap<&K, usize> = before.iter().enumerate().map(|(i, key)| (key, i)).collect();
        let kept: Vec<Option<usize>> = next.iter().map(|key| had.get(key).copied()).collect();
        let mut taken = vec![false; before.len()];
        kept.iter().flatten().for_each(|at| taken[*at] = true);
        let unknown = |since: u64| since <= editions.oldest;
        let free: Vec<usize> =
            gone.iter().filter(|(at, since)| !taken[**at] && unknown(**since)).map(|(at, _)| *at).collect();
        let mut free = free.into_iter().chain(before.len()..);
        let at: Vec<usize> = kept.into_iter().map(|kept| kept.or_else(|| free.next()).unwrap_or(0)).collect();
        if at.iter().any(|at| *at > most) {
            return None;
        }
        at.iter().filter_map(|at| taken.get_mut(*at).map(|t| *t = true)).for_each(drop);
        let left = taken.iter().enumerate().filter(|(_, taken)| !**taken);
        let since = |at: &usize| match gone.get(at) {
            Some(since) if unknown(*since) => FORGOTTEN,
            Some(since) => *since,
            None => editions.next,
        };
        Some(Self { gone: left.map(|(at, _)| (at, since(&at))).collect(), at })
    }

    fn at(&self, own: usize) -> usize {
        self.at.get(own).copied().unwrap_or(0)
    }

    fn pool(&self, own: PoolId) -> PoolId {
        PoolId(self.at(own.index()) as u16)
    }

    fn model(&self, own: ModelId) -> ModelId {
        ModelId(self.at(own.index()) as u16)
    }

    /// What was there before, with the new entries in their places.
    fn merge<T: Clone>(&self, before: &[T], next: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut all = before.to_vec();
        for (entry, at) in next.into_iter().zip(&self.at) {
            match all.get_mut(*at) {
                Some(place) => *place = entry,
                // New places are dealt in order.
                None => all.push(entry),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests;
