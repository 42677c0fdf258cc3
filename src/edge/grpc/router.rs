//! The router's reasoning in the words of `Explain`.

use std::sync::Arc;

use super::{ExplainAsk, Explained, Explains, Row, Term, Verdict};
use crate::domain::{Body, Duration, Refusal, Request};
use crate::fleet::explain::{self, Explanation, Standing};
use crate::flow::{Inbound, Router};

impl Explains for Router {
    fn explain(&self, ask: ExplainAsk) -> Result<Explained, Refusal> {
        let catalog = Arc::clone(self.catalog());
        let at = self.clock().now().wall;
        let explanation = Self::explain(self, &inbound(ask, &catalog)?)?;
        Ok(explained(&explanation, &catalog, at))
    }
}

/// The call that is only thought of. Pools that are thought away are left out of the hints.
fn inbound(ask: ExplainAsk, catalog: &crate::domain::Catalog) -> Result<Inbound, Refusal> {
    let mut hints = ask.hints;
    if !ask.without.is_empty() {
        if let Some(unknown) = ask.without.iter().find(|name| catalog.pool_id(name).is_none()) {
            let message = format!("there is no pool `{}`", crate::domain::names::shown(unknown));
            return Err(Refusal::Invalid { field: Some("without_pools".into()), message, code: None });
        }
        let asked = |name: &str| hints.pools.is_empty() || hints.pools.iter().any(|p| **p == *name);
        let left = catalog.pools.iter().filter(|pool| asked(&pool.name));
        let left = left.filter(|pool| !ask.without.iter().any(|name| **name == *pool.name));
        let pools: Vec<Arc<str>> = left.map(|pool| pool.name.clone()).collect();
        if pools.is_empty() {
            let message = "no pool is left".to_owned();
            return Err(Refusal::Invalid { field: Some("without_pools".into()), message, code: None });
        }
        hints.pools = pools;
    }
    Ok(Inbound {
        request: Request {
            kind: ask.kind,
            stream: ask.stream,
            stream_usage: false,
            body: Body::OpenAi(bytes::Bytes::new()),
            input_tokens: ask.input_tokens,
            forward: Vec::new(),
        },
        model: ask.model,
        class: ask.class,
        tenant: ask.tenant,
        session: ask.session,
        hints,
        needs: ask.needs,
        max_tokens: ask.max_tokens,
        n: ask.n,
        timeout: ask.timeout,
        client_retry: false,
    })
}

fn explained(explanation: &Explanation, catalog: &crate::domain::Catalog, at: crate::domain::Timestamp) -> Explained {
    let verdict = match explanation.rows.iter().find(|row| row.chosen) {
        Some(row) => Verdict::Dispatch(row.pool.clone()),
        None if explanation.waits => Verdict::Wait,
        None => Verdict::Shed,
    };
    Explained {
        verdict,
        reason: explanation.outcome.clone(),
        rows: explanation.rows.iter().map(|row| one(row, explanation, catalog)).collect(),
        class: explanation.class.clone(),
        policy: explanation.policy.name(),
        at,
    }
}

fn one(row: &explain::Row, explanation: &Explanation, catalog: &crate::domain::Catalog) -> Row {
    let pool = row.pool.clone();
    let offer = catalog.offers.iter().find(|offer| {
        catalog.pool(offer.pool).name == pool && catalog.model(offer.model).name == explanation.model
    });
    let upstream_model = offer.map_or_else(|| explanation.model.clone(), |offer| offer.upstream_model.clone());
    match &row.standing {
        Standing::Excluded { reason, .. } => Row {
            pool,
            upstream_model,
            excluded: Some(reason.clone()),
            terms: Vec::new(),
            total_usd: None,
            cost_usd: None,
            ttft: None,
            finish: None,
        },
        Standing::Eligible { terms: t, quote, .. } => {
            let named = [
                ("money", t.money, "the bill expected"),
                ("scarcity", t.scarcity, "what the own capacity is worth to others"),
                ("miss", t.miss, "the class's price of a missed target, times its probability"),
                ("delay", t.delay, "the class's price of a second, times the wait expected"),
                ("risk", t.risk, "failing here and going elsewhere, times its probability"),
                ("switching", t.switching, "what the session's next turn loses by moving"),
            ];
            let term = |(name, usd, note): (&'static str, f64, &str)| Term { name, usd, note: note.to_owned() };
            Row {
                pool,
                upstream_model,
                excluded: None,
                terms: named.into_iter().map(term).collect(),
                total_usd: Some(t.total()),
                cost_usd: Some(t.money),
                ttft: Some(seconds(quote.ttft_s)),
                finish: Some(seconds(quote.finish_s)),
            }
        }
    }
}

fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}
