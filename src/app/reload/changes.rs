//! What one config says that another does not, for people; and what of it a running router cannot change.

use std::fmt::Display;
use std::net::SocketAddr;

use crate::config::{Checked, Limits, Listen, Log, Records, Tls, UpstreamSettings};
use crate::domain::{Catalog, Duration, Offer, PoolId};
use crate::edge::admin::configs::{Change, ChangeKind};
use crate::policy::Policy;

/// What of a config holds for as long as the process does.
#[derive(Debug)]
pub(super) struct Fixed {
    listen: Listen,
    limits: Limits,
    log: Log,
    records: Option<Records>,
    drain_grace: Duration,
}

impl Fixed {
    pub(super) fn of(checked: &Checked) -> Self {
        Self {
            listen: checked.listen.clone(),
            limits: checked.limits.clone(),
            log: checked.log.clone(),
            records: checked.records.clone(),
            drain_grace: checked.drain_grace,
        }
    }

    /// What `next` says otherwise.
    pub(super) fn differs(&self, next: &Checked) -> Vec<Change> {
        let mut out = Vec::new();
        let mut note = |what: &'static str, name: &str, details: Vec<String>| {
            out.push(Change { kind: ChangeKind::NeedsRestart, what, name: name.to_owned(), details });
        };
        let (was, is) = (&self.listen, &next.listen);
        let addresses =
            [("grpc", was.grpc, is.grpc), ("http", was.http, is.http), ("admin", was.admin, is.admin)];
        for (name, was, is) in addresses.into_iter().filter(|(_, was, is)| was != is) {
            note("listen", name, vec![instead(at(was), at(is))]);
        }
        if was.reflection != is.reflection {
            note("listen", "reflection", vec![instead(was.reflection, is.reflection)]);
        }
        for (name, was, is) in [("tls", &was.tls, &is.tls), ("admin_tls", &was.admin_tls, &is.admin_tls)] {
            if was.is_some() != is.is_some() {
                let word = |tls: &Option<Tls>| if tls.is_some() { "TLS" } else { "plain text" };
                note("listen", name, vec![instead(word(was), word(is))]);
            }
        }
        let (was, is) = (&self.limits, &next.limits);
        for (name, was, is) in [
            ("body", was.body, is.body),
            ("connections", was.connections.into(), is.connections.into()),
            ("streams", was.streams.into(), is.streams.into()),
        ] {
            if was != is {
                note("limits", name, vec![instead(was, is)]);
            }
        }
        if (&self.log.filter, self.log.format, &self.log.calls)
            != (&next.log.filter, next.log.format, &next.log.calls)
        {
            note("log", "", Vec::new());
        }
        if self.records != next.records {
            note("records", "", Vec::new());
        }
        if self.drain_grace != next.drain_grace {
            let seconds = |grace: Duration| format!("{} s", grace.as_secs_f64());
            note("shutdown", "grace", vec![instead(seconds(self.drain_grace), seconds(next.drain_grace))]);
        }
        out
    }
}

fn instead(was: impl Display, is: impl Display) -> String {
    format!("{was}, and the file says {is}")
}

fn at(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

/// What a running router does otherwise with `next` than with `running`.
pub(super) fn changes(running: &Checked, next: &Checked) -> Vec<Change> {
    let mut out = Vec::new();
    pools(running, next, &mut out);
    let (was, is) = (&running.catalog, &next.catalog);
    let details = |was: &crate::domain::Model, is: &crate::domain::Model| {
        words([("kind", was.kind != is.kind), ("aliases", was.aliases != is.aliases)])
    };
    table("model", &was.models, &is.models, |m| &m.name, details, &mut out);
    let details = |was: &crate::domain::Class, is: &crate::domain::Class| {
        if was == is { Vec::new() } else { vec!["targets and worth".to_owned()] }
    };
    table("class", &was.classes, &is.classes, |c| &c.name, details, &mut out);
    let mut note = |what: &'static str, details: Vec<String>| {
        if !details.is_empty() {
            out.push(Change { kind: ChangeKind::Changed, what, name: String::new(), details });
        }
    };
    let default = |c: &Catalog| c.classes.get(c.default_class.index()).map(|c| c.name.clone());
    // How many may wait is a limit.
    let (queue, deferred_max) = (next.routing.queue, next.routing.deferred_max);
    let routed = crate::fleet::Settings { queue, deferred_max, ..running.routing };
    let routing = routed != next.routing;
    let order = next.routing.choice.policy == Policy::Ordered && in_order(was, is) != in_order(is, was);
    let default_class = default(was) != default(is);
    note(
        "routing",
        words([("settings", routing), ("default_class", default_class), ("order of the pools", order)]),
    );
    let waiting = running.routing.queue != next.routing.queue || running.flow != next.flow;
    let deferred = running.routing.deferred_max != next.routing.deferred_max;
    note("limits", words([("waiting", waiting), ("deferred", deferred)]));
    note("auth", auth(running, next));
    let (was, is) = (&running.listen, &next.listen);
    let another =
        |was: Option<&Tls>, is: Option<&Tls>| was.zip(is).is_some_and(|(was, is)| !same_identity(was, is));
    let certificates = [
        ("tls", another(was.tls.as_ref(), is.tls.as_ref())),
        ("admin_tls", another(was.admin_tls.as_ref(), is.admin_tls.as_ref())),
    ];
    note("certificates", words(certificates));
    out
}

/// The pools that `other` has too, in the order of a config that says one.
fn in_order<'a>(of: &'a Catalog, other: &Catalog) -> Vec<&'a str> {
    let mut both: Vec<_> = of.pools.iter().filter(|pool| other.pool_id(&pool.name).is_some()).collect();
    both.sort_by_key(|pool| pool.order);
    both.iter().map(|pool| &*pool.name).collect()
}

fn words<const N: usize>(of: [(&str, bool); N]) -> Vec<String> {
    of.into_iter().filter(|(_, differs)| *differs).map(|(word, _)| word.to_owned()).collect()
}

fn table<T>(
    what: &'static str,
    was: &[T],
    is: &[T],
    name: impl Fn(&T) -> &str,
    details: impl Fn(&T, &T) -> Vec<String>,
    out: &mut Vec<Change>,
) {
    let change = |kind, of: &T, details| Change { kind, what, name: name(of).to_owned(), details };
    for new in is {
        match was.iter().find(|old| name(old) == name(new)) {
            None => out.push(change(ChangeKind::Added, new, Vec::new())),
            Some(old) => {
                let details = details(old, new);
                if !details.is_empty() {
                    out.push(change(ChangeKind::Changed, new, details));
                }
            }
        }
    }
    let gone = was.iter().filter(|old| !is.iter().any(|new| name(new) == name(old)));
    out.extend(gone.map(|old| change(ChangeKind::Removed, old, Vec::new())));
}

/// The pool of that name: its position in its own config.
pub(super) fn position(checked: &Checked, name: &str) -> Option<usize> {
    checked.catalog.pools.iter().position(|pool| *pool.name == *name)
}

fn pools(running: &Checked, next: &Checked, out: &mut Vec<Change>) {
    let details = |was: &crate::domain::Pool, is: &crate::domain::Pool| {
        let (Some(a), Some(b)) = (position(running, &was.name), position(next, &is.name)) else {
            return Vec::new();
        };
        let mut details = way(&running.upstreams[a], &next.upstreams[b]);
        details.extend(words([
            ("endpoints", running.endpoints[a] != next.endpoints[b]),
            ("metrics_every", running.probes[a] != next.probes[b]),
            ("tenure", was.tenure != is.tenure),
            ("region", was.region != is.region),
            ("failure_domain", was.failure_domain != is.failure_domain),
            ("contact", was.contact != is.contact),
            ("lease", was.lease != is.lease),
            ("power", was.power != is.power),
            ("grants", was.grants != is.grants),
            ("round_trip", was.rtt_prior != is.rtt_prior),
            ("max_in_flight", was.max_in_flight != is.max_in_flight),
            ("weight", was.weight != is.weight),
            ("expect", was.engine_prior != is.engine_prior),
        ]));
        details.extend(offers((&running.catalog, a), (&next.catalog, b)));
        details
    };
    table("pool", &running.catalog.pools, &next.catalog.pools, |p| &p.name, details, out);
}

/// How a pool is spoken to.
fn way(was: &UpstreamSettings, is: &UpstreamSettings) -> Vec<String> {
    use UpstreamSettings::{Grpc, OpenAi, Simulated};
    if let (Simulated(was), Simulated(is)) = (was, is) {
        return words([("engines", was != is)]);
    }
    let keyless = match (was.clone(), is) {
        (OpenAi(was), OpenAi(is)) => OpenAi(crate::upstream::openai::Settings { key: is.key.clone(), ..was }),
        (Grpc(was), Grpc(is)) => Grpc(crate::upstream::grpc::Settings { key: is.key.clone(), ..was }),
        (was, _) => was,
    };
    words([("key", keyless != *was), ("connection", keyless != *is)])
}

fn offers((was, a): (&Catalog, usize), (is, b): (&Catalog, usize)) -> Vec<String> {
    fn of(c: &Catalog, pool: usize) -> impl Iterator<Item = (&str, &Offer)> {
        let own = c.offers.iter().filter(move |o| o.pool == PoolId(pool as u16));
        own.map(|o| (&*c.model(o.model).name, o))
    }
    let mut out = Vec::new();
    for (model, new) in of(is, b) {
        match of(was, a).find(|(name, _)| *name == model) {
            None => out.push(format!("offers {model} now")),
            Some((_, old)) => {
                let differs = [
                    ("prices", old.prices != new.prices || old.hours != new.hours),
                    ("upstream name", old.upstream_model != new.upstream_model),
                    ("context", old.context_window != new.context_window),
                    ("capabilities", old.capabilities != new.capabilities),
                ];
                out.extend(words(differs).into_iter().map(|word| format!("{word} of {model}")));
            }
        }
    }
    let gone = of(was, a).filter(|(model, _)| !of(is, b).any(|(name, _)| name == *model));
    out.extend(gone.map(|(model, _)| format!("offers {model} no more")));
    out
}

fn auth(running: &Checked, next: &Checked) -> Vec<String> {
    let tenant = |c: &Checked, key: &crate::edge::auth::ClientKey| c.catalog.tenant(key.tenant).name.clone();
    let beyond = |a: &Checked, b: &Checked| {
        let same = |x, y: &crate::edge::auth::ClientKey, (a, b)| {
            let x: &crate::edge::auth::ClientKey = x;
            x.hash == y.hash && tenant(a, x) == tenant(b, y)
        };
        a.auth.keys.iter().filter(|x| !b.auth.keys.iter().any(|y| same(x, y, (a, b)))).count()
    };
    let count = |n: usize, what: &str| match n {
        0 => None,
        1 => Some(format!("1 key {what}")),
        n => Some(format!("{n} keys {what}")),
    };
    let token = (!next.auth.same_token(&running.auth)).then(|| "admin_token".to_owned());
    [count(beyond(next, running), "added"), count(beyond(running, next), "removed"), token]
        .into_iter()
        .flatten()
        .collect()
}

/// Certificate, key and roots are the same.
fn same_identity(was: &Tls, is: &Tls) -> bool {
    let ca = |tls: &Tls| tls.client_ca.as_ref().map(|ca| ca.expose().to_owned());
    was.cert.expose() == is.cert.expose() && was.key.expose() == is.key.expose() && ca(was) == ca(is)
}
