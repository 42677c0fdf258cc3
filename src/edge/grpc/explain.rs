//! The table behind a decision, in words that do not depend on the policy: named terms, in dollars.

use std::sync::Arc;

use super::inbound;
use crate::dialect::FieldError;
use crate::dialect::gridtie::{request, v1};
use crate::domain::{AskKind, Capabilities, Duration, Hints, TenantId, Timestamp};

/// What is assumed about a prompt of which nothing is said.
const INPUT_TOKENS: u32 = 1_000;

/// A call that is only thought of.
#[derive(Clone, Debug)]
pub struct ExplainAsk {
    /// The model.
    pub model: String,
    /// What would be asked for.
    pub kind: AskKind,
    /// Input tokens.
    pub input_tokens: u32,
    /// The limit on output tokens a choice.
    pub max_tokens: Option<u32>,
    /// Choices; at least 1.
    pub n: u32,
    /// The answer would be streamed.
    pub stream: bool,
    /// What an offer must be able to do.
    pub needs: Capabilities,
    /// The class.
    pub class: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// What the caller would ask of routing.
    pub hints: Hints,
    /// What is left until the deadline.
    pub timeout: Option<Duration>,
    /// As if these pools were not there.
    pub without: Vec<String>,
    /// Who asks.
    pub tenant: TenantId,
}

/// What would be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Sent to this pool.
    Dispatch(Arc<str>),
    /// Held back until something changes.
    Wait,
    /// Refused.
    Shed,
}

/// Where a call would go and why.
#[derive(Clone, Debug)]
pub struct Explained {
    /// What would be done.
    pub verdict: Verdict,
    /// Why, in one line.
    pub reason: String,
    /// Every offer of the model, the best first, excluded ones last.
    pub rows: Vec<Row>,
    /// The class that the terms were valued with.
    pub class: Arc<str>,
    /// The policy that decided.
    pub policy: &'static str,
    /// When this was true.
    pub at: Timestamp,
}

/// An offer in the comparison.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its pool.
    pub pool: Arc<str>,
    /// The pool's name of the model.
    pub upstream_model: Arc<str>,
    /// Why it may not serve the call, if so.
    pub excluded: Option<String>,
    /// What the total is made of.
    pub terms: Vec<Term>,
    /// The sum, in dollars.
    pub total_usd: Option<f64>,
    /// The bill expected, in dollars.
    pub cost_usd: Option<f64>,
    /// Time to the first token.
    pub ttft: Option<Duration>,
    /// Time to the whole answer.
    pub finish: Option<Duration>,
}

/// A term of a total.
#[derive(Clone, Debug)]
pub struct Term {
    /// Its name.
    pub name: &'static str,
    /// In dollars.
    pub usd: f64,
    /// Where it comes from, for people; may be empty.
    pub note: String,
}

/// Reads the question.
pub(super) fn read(ask: v1::ExplainRequest, tenant: TenantId) -> Result<ExplainAsk, FieldError> {
    let kind = match ask.kind() {
        v1::AskKind::Unspecified | v1::AskKind::Chat => AskKind::Chat,
        v1::AskKind::Completion => AskKind::Completion,
        v1::AskKind::Embed => AskKind::Embed,
    };
    if ask.model.is_empty() {
        return Err(FieldError::at("model", "Name the model; ListModels has those there are."));
    }
    let needs = request::capabilities("needs", &ask.needs)?;
    let hinted = request::hints(ask.routing)?;
    let timeout = ask.timeout.map(|timeout| inbound::duration("timeout", timeout)).transpose()?;
    let own = match kind {
        AskKind::Chat => Capabilities::CHAT,
        AskKind::Completion => Capabilities::COMPLETION,
        AskKind::Embed => Capabilities::EMBED,
    };
    let streamed = if ask.stream { Capabilities::STREAM } else { Capabilities::NONE };
    Ok(ExplainAsk {
        model: ask.model,
        kind,
        input_tokens: ask.input_tokens.unwrap_or(INPUT_TOKENS),
        max_tokens: ask.max_tokens,
        n: ask.n.unwrap_or(1).max(1),
        stream: ask.stream,
        needs: needs.with(own).with(streamed),
        class: hinted.class,
        session: hinted.session,
        hints: hinted.hints,
        timeout,
        without: ask.without_pools,
        tenant,
    })
}

/// Writes the table.
pub(super) fn write(explained: Explained) -> v1::ExplainResponse {
    use v1::explain_response::Verdict as Wire;
    let (verdict, pool) = match explained.verdict {
        Verdict::Dispatch(pool) => (Wire::Dispatch, pool.to_string()),
        Verdict::Wait => (Wire::Wait, String::new()),
        Verdict::Shed => (Wire::Shed, String::new()),
    };
    v1::ExplainResponse {
        verdict: verdict.into(),
        pool,
        reason: explained.reason,
        rows: explained.rows.into_iter().map(row).collect(),
        traffic_class: explained.class.to_string(),
        policy: explained.policy.to_owned(),
        at: Some(timestamp(explained.at)),
    }
}

fn row(row: Row) -> v1::ExplainRow {
    let term = |term: Term| v1::ExplainTerm { name: term.name.to_owned(), usd: term.usd, note: term.note };
    v1::ExplainRow {
        pool: row.pool.to_string(),
        upstream_model: row.upstream_model.to_string(),
        excluded: row.excluded.unwrap_or_default(),
        terms: row.terms.into_iter().map(term).collect(),
        total_usd: row.total_usd,
        expected_cost_usd: row.cost_usd,
        expected_ttft: row.ttft.and_then(|ttft| ttft.try_into().ok()),
        expected_finish: row.finish.and_then(|finish| finish.try_into().ok()),
    }
}

/// A moment as the wire spells it.
pub(crate) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.as_millis();
    prost_types::Timestamp {
        seconds: i64::try_from(millis / 1_000).unwrap_or(i64::MAX),
        nanos: (millis % 1_000) as i32 * 1_000_000,
    }
}
