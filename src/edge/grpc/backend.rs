//! What stands behind the face: the router, or in tests a script.

use std::sync::Arc;

use bytes::Bytes;

use super::{ExplainAsk, Explained, Row, Term, Verdict};
use crate::domain::names::{nearest, shown};
use crate::domain::{self, Catalog, Duration, Hints, ModelId, Refusal};
use crate::edge::openai::Calls;
use crate::fleet::explain::{self, Explanation, Standing};
use crate::flow::{Inbound, Router, resolve};

/// Says what would be done with a call.
pub trait Explains: Send + Sync + 'static {
    /// Where it would go now, and why.
    fn explain(&self, ask: ExplainAsk) -> Result<Explained, Refusal>;
}

/// All that the face needs of the router.
pub trait Backend: Calls + Explains {}

impl<B: Calls + Explains> Backend for B {}

impl Explains for Router {
    fn explain(&self, ask: ExplainAsk) -> Result<Explained, Refusal> {
        let catalog = &*Self::catalog(self);
        let now = self.clock().now();
        let inbound = thought(catalog, ask)?;
        let facts = resolve(catalog, self.next_id(), now.mono, &inbound)?;
        let explanation = self.with_fleet(|fleet| fleet.explain(&facts, now));
        Ok(explained(catalog, facts.model, explanation, now.wall))
    }
}

/// The call that is thought of, with names that are looked up like those of any call.
fn thought(catalog: &Catalog, ask: ExplainAsk) -> Result<Inbound, Refusal> {
    let hints = Hints { pools: without(catalog, &ask.hints.pools, &ask.without)?, ..ask.hints };
    let request = domain::Request {
        kind: ask.kind,
        stream: ask.stream,
        stream_usage: false,
        body: domain::Body::OpenAi(Bytes::new()),
        input_tokens: ask.input_tokens,
        forward: Vec::new(),
    };
    Ok(Inbound {
        request,
        model: ask.model,
        class: ask.class,
        tenant: ask.tenant,
        session: ask.session,
        prefix: Arc::default(),
        hints,
        needs: ask.needs,
        max_tokens: ask.max_tokens,
        n: ask.n,
        timeout: ask.timeout,
        client_retry: false,
    })
}

/// The pools that are asked for (none: all) without some.
fn without(catalog: &Catalog, asked: &[Arc<str>], without: &[String]) -> Result<Vec<Arc<str>>, Refusal> {
    if without.is_empty() {
        return Ok(asked.to_vec());
    }
    let refused = |message: String| Refusal::Invalid {
        field: Some("without_pools".to_owned()),
        message,
        code: Some("unknown_pool".to_owned()),
    };
    let all = || catalog.live_pools().map(|(_, pool)| &pool.name);
    if let Some(name) = without.iter().find(|name| catalog.pool_id(name).is_none()) {
        let hint = nearest(name, all().map(|name| &**name)).map(|near| format!("; did you mean `{near}`?"));
        return Err(refused(format!("no pool is called `{}`{}", shown(name), hint.unwrap_or_default())));
    }
    let asked: Vec<_> = if asked.is_empty() { all().cloned().collect() } else { asked.to_vec() };
    let left: Vec<_> =
        asked.into_iter().filter(|pool| !without.iter().any(|name| **name == **pool)).collect();
    if left.is_empty() {
        return Err(refused("no pool is left".to_owned()));
    }
    Ok(left)
}

fn explained(
    catalog: &Catalog,
    model: ModelId,
    explanation: Explanation,
    at: domain::Timestamp,
) -> Explained {
    let verdict = match explanation.rows.iter().find(|row| row.chosen) {
        Some(row) => Verdict::Dispatch(Arc::clone(&row.pool)),
        None if explanation.outcome.starts_with("wait ") => Verdict::Wait,
        None => Verdict::Shed,
    };
    Explained {
        verdict,
        reason: explanation.outcome,
        rows: explanation.rows.into_iter().map(|row| table_row(catalog, model, row)).collect(),
        class: explanation.class,
        policy: explanation.policy.name(),
        at,
    }
}

fn table_row(catalog: &Catalog, model: ModelId, row: explain::Row) -> Row {
    let offers = catalog.model(model).offers.iter().map(|offer| catalog.offer(*offer));
    let upstream_model = offers
        .filter(|offer| catalog.pool(offer.pool).name == row.pool)
        .map(|offer| Arc::clone(&offer.upstream_model))
        .next();
    let bare = Row {
        pool: row.pool,
        upstream_model: upstream_model.unwrap_or_default(),
        excluded: None,
        terms: Vec::new(),
        total_usd: None,
        cost_usd: None,
        ttft: None,
        finish: None,
    };
    match row.standing {
        Standing::Excluded { reason, .. } => Row { excluded: Some(reason), ..bare },
        Standing::Eligible { terms, quote, held_back } => {
            let term = |name, usd, note: String| Term { name, usd, note };
            let none = String::new;
            let slow = if held_back { "slow start keeps this call away" } else { "" };
            Row {
                terms: vec![
                    term("money", terms.money, slow.to_owned()),
                    term("scarcity", terms.scarcity, format!("{:.3} slot-seconds", quote.slot_s)),
                    term("miss", terms.miss, format!("{:.1} % likely", 100.0 * quote.p_miss)),
                    term("delay", terms.delay, none()),
                    term("risk", terms.risk, format!("{:.1} % fail", 100.0 * quote.p_err)),
                    term("switching", terms.switching, none()),
                ],
                total_usd: Some(terms.total()),
                cost_usd: Some(terms.money),
                ttft: Duration::try_from_secs_f64(quote.ttft_s).ok(),
                finish: Duration::try_from_secs_f64(quote.finish_s).ok(),
                ..bare
            }
        }
    }
}
