use super::*;
use crate::domain::catalog::{EnginePrior, Offer, Tenant, Tenure};
use crate::domain::{AskKind, Capabilities, Duration, Prices};

fn pool(name: &str) -> Pool {
    Pool {
        name: name.into(),
        tenure: Tenure::Metered,
        region: None,
        failure_domain: name.into(),
        contact: None,
        lease: None,
        power: None,
        rtt_prior: Duration::ZERO,
        grants: Default::default(),
        max_in_flight: None,
        order: 0,
        weight: 1.0,
        engine_prior: EnginePrior::default(),
    }
}

/// A config as the loader makes it: models sorted, every pool offering every model.
fn config(pools: &[&str], models: &[&str], tenants: &[&str]) -> Catalog {
    let mut models: Vec<Model> = models
        .iter()
        .map(|name| Model { name: (*name).into(), aliases: vec![], kind: AskKind::Chat, offers: vec![] })
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    let mut offers = Vec::new();
    for p in 0..pools.len() {
        for (m, model) in models.iter_mut().enumerate() {
            model.offers.push(OfferId(offers.len() as u16));
            offers.push(Offer {
                pool: PoolId(p as u16),
                model: ModelId(m as u16),
                upstream_model: format!("{}@{}", model.name, pools[p]).into(),
                prices: Prices::default(),
                hours: None,
                context_window: None,
                capabilities: Capabilities::CHAT,
            });
        }
    }
    Catalog {
        pools: pools.iter().map(|name| pool(name)).collect(),
        offers,
        models,
        tenants: tenants.iter().map(|name| Tenant { name: (*name).into() }).collect(),
        ..Catalog::default()
    }
}

fn names<'a>(pools: impl Iterator<Item = (PoolId, &'a Pool)>) -> Vec<(u16, &'a str)> {
    pools.map(|(id, pool)| (id.0, &*pool.name)).collect()
}

fn next(catalog: Catalog, before: &Catalog, next: u64, oldest: u64) -> Catalog {
    catalog.succeed(before, Editions { next, oldest }).unwrap().catalog
}

/// Every offer of every live model is one of that model, of a live pool, and says the name that it should.
fn holds_together(catalog: &Catalog) {
    for model in catalog.live_models() {
        for id in &model.offers {
            let offer = catalog.offer(*id);
            let expected = format!("{}@{}", model.name, catalog.pool(offer.pool).name);
            assert_eq!(*offer.upstream_model, *expected);
            assert!(catalog.has_offer(*id) && catalog.has_pool(offer.pool) && catalog.has_model(offer.model));
            assert_eq!(catalog.model(offer.model).name, model.name);
        }
        assert_eq!(catalog.model(catalog.model_id(&model.name).unwrap()).name, model.name);
    }
}

#[test]
fn names_keep_their_ids_in_whatever_order_the_config_has_them() {
    let first = config(&["a", "b"], &["m", "x"], &["anonymous", "t"]);
    let second = config(&["c", "b", "a"], &["x", "k", "m"], &["anonymous", "u", "t"]);
    let then = second.succeed(&first, Editions { next: 2, oldest: 1 }).unwrap();
    holds_together(&then.catalog);
    assert_eq!(
        names(then.catalog.live_pools()),
        [(2, "c"), (1, "b"), (0, "a")],
        "listed as the config has them"
    );
    assert_eq!(then.pools, [PoolId(2), PoolId(1), PoolId(0)]);
    assert_eq!(then.tenants, [TenantId(0), TenantId(2), TenantId(1)]);
    for (name, id) in [("m", 0), ("x", 1), ("k", 2)] {
        assert_eq!(then.catalog.model_id(name), Some(ModelId(id)), "{name}");
    }
    let of = |c: &Catalog, p, m| {
        c.offers.iter().position(|o| (o.pool, o.model) == (PoolId(p), ModelId(m))).unwrap()
    };
    assert_eq!(of(&then.catalog, 1, 1), of(&first, 1, 1));
}

#[test]
fn what_is_gone_cannot_be_asked_for_and_keeps_its_name_for_those_who_know_it() {
    let first = config(&["a", "b"], &["m", "x"], &[]);
    let then = next(config(&["b"], &["x"], &[]), &first, 2, 1);
    holds_together(&then);
    assert_eq!((then.pool_id("a"), then.model_id("m")), (None, None));
    assert_eq!(&*then.pool(PoolId(0)).name, "a");
    assert!(then.model(ModelId(0)).offers.is_empty() && !then.pool_is_forgotten(PoolId(0)));
    assert_eq!(then.live_models().count(), 1);
}

#[test]
fn a_place_is_dealt_again_only_when_no_open_call_can_know_it() {
    let first = config(&["a", "b"], &["m"], &[]);
    let second = next(config(&["b"], &["m"], &[]), &first, 2, 1);
    // A call of the first edition is open still.
    let third = next(config(&["b", "c"], &["m"], &[]), &second, 3, 1);
    assert_eq!(third.pool_id("c"), Some(PoolId(2)));
    // It has ended.
    let fourth = next(config(&["b", "c", "d"], &["m"], &[]), &third, 4, 3);
    assert_eq!(fourth.pool_id("d"), Some(PoolId(0)));
    holds_together(&fourth);
}

#[test]
fn a_name_that_comes_back_has_the_id_that_it_had() {
    let first = config(&["a", "b"], &["m"], &[]);
    let second = next(config(&["b"], &["m"], &[]), &first, 2, 1);
    let third = next(config(&["b", "a"], &["m"], &[]), &second, 3, 1);
    assert_eq!(third.pool_id("a"), Some(PoolId(0)));
    assert_eq!((third.pools.len(), third.offers.len()), (2, 2));
    holds_together(&third);
}

#[test]
fn tables_do_not_grow_with_the_number_of_configs() {
    let mut catalog = config(&["stays", "p0"], &["m0", "always"], &[]);
    for n in 1..500_u64 {
        let (pool, model) = (format!("p{n}"), format!("m{n}"));
        let config = config(&["stays", &pool], &[&model, "always"], &[]);
        catalog = next(config, &catalog, n + 1, n);
        holds_together(&catalog);
    }
    assert!(catalog.pools.len() <= 4 && catalog.models.len() <= 4, "{}", catalog.pools.len());
    assert!(catalog.offers.len() <= 12, "{}", catalog.offers.len());
}

#[test]
fn tenants_are_never_confused_with_those_that_came_before() {
    let first = config(&["a"], &["m"], &["anonymous", "gone"]);
    let second = next(config(&["a"], &["m"], &["anonymous"]), &first, 2, 2);
    let third = config(&["a"], &["m"], &["anonymous", "new"]);
    let third = third.succeed(&second, Editions { next: 3, oldest: 3 }).unwrap();
    assert_eq!(third.tenants, [TenantId(0), TenantId(2)]);
}

#[test]
fn more_classes_than_there_are_ids_are_refused() {
    let class =
        |i: usize| crate::domain::Class { name: format!("c{i}").into(), ..crate::domain::plain::class() };
    let classes = |from| Catalog { classes: (from..from + 200).map(class).collect(), ..Catalog::default() };
    let editions = Editions { next: 2, oldest: 1 };
    assert!(matches!(classes(200).succeed(&classes(0), editions), Err(NoRoom("classes"))));
    // The same names are no new ones, and what nobody knows makes room.
    assert!(classes(50).succeed(&classes(0), editions).is_ok());
}
