//! Errors as gRPC spells them: a code, a message, `google.rpc` details for programs, and metadata for everybody.

use std::time::Duration;

use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic_types::{
    BadRequest, ErrorDetail, ErrorInfo, FieldViolation, QuotaFailure, RetryInfo, StatusExt as _,
};

use crate::domain::Refusal;
use crate::edge::status::{self, Wire};
use crate::flow::{Broken, Head, Refused};

/// `ErrorInfo.domain` of every error of ours.
pub(crate) const DOMAIN: &str = "gridtie";

/// Status and details travel in trailers, which many clients limit to 8 KiB, and the message is there twice or thrice.
const MESSAGE_MAX: usize = 1_024;

/// The end of a call without an answer.
pub(super) fn refused(refused: &Refused) -> Status {
    let mut said = Said::default();
    said.add("call", refused.call.to_string());
    if let Some(pool) = &refused.pool {
        said.add("pool", pool.to_string());
    }
    said.add("attempts", refused.attempts.to_string());
    build(&status::refused(refused), Some(&refused.refusal), said)
}

/// A refusal before there was a call.
pub(crate) fn of(refusal: &Refusal) -> Status {
    build(&status::wire(refusal), Some(refusal), Said::default())
}

/// The end of a stream that broke after its first content.
pub(super) fn broken(head: &Head, broken: &Broken) -> Status {
    let mut said = Said::default();
    said.add("call", head.call.to_string());
    said.add("pool", head.pool.to_string());
    said.add("attempts", head.attempts.to_string());
    said.add("cost-usd", broken.bill.cost.to_string());
    said.details.push(("tokens_delivered", broken.tokens_delivered.to_string()));
    build(&status::broken(broken), None, said)
}

/// What happened, for metadata and for `ErrorInfo`.
#[derive(Default)]
struct Said {
    metadata: MetadataMap,
    details: Vec<(&'static str, String)>,
}

impl Said {
    fn add(&mut self, name: &'static str, value: String) {
        let key = match name {
            "call" => "x-gridtie-call",
            "pool" => "x-gridtie-pool",
            "attempts" => "x-gridtie-attempts",
            "cost-usd" => "x-gridtie-cost-usd",
            _ => "x-gridtie-reason",
        };
        // A name that metadata cannot carry is still in the details.
        if let Ok(text) = MetadataValue::try_from(value.as_str()) {
            self.metadata.insert(key, text);
        }
        self.details.push((name, value));
    }
}

fn build(wire: &Wire, refusal: Option<&Refusal>, mut said: Said) -> Status {
    said.add("reason", wire.code.to_string());
    if let Some(pushback) = pushback(wire) {
        said.metadata.insert("grpc-retry-pushback-ms", pushback.into());
    }
    let message = cut(&wire.message);
    let info = ErrorInfo {
        reason: wire.reason.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: said.details.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let mut details: Vec<ErrorDetail> = vec![info.into()];
    if let Some(after) = wire.retry_after {
        details.push(RetryInfo::new(Some(after)).into());
    }
    if wire.grpc == tonic::Code::InvalidArgument
        && let Some(field) = &wire.param
    {
        details.push(BadRequest::new([FieldViolation::new(cut(field), message.clone())]).into());
    }
    if let Some(Refusal::RateLimited { message, .. }) = refusal {
        details.push(QuotaFailure::with_violation("key", cut(message)).into());
    }
    Status::with_error_details_vec_and_metadata(wire.grpc, message, details, said.metadata)
}

/// When to retry, in milliseconds; negative for never. A client's own backoff where there is nothing to say.
fn pushback(wire: &Wire) -> Option<i64> {
    if !wire.should_retry {
        return Some(-1);
    }
    wire.retry_after.map(|after: Duration| i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MESSAGE_MAX)].to_owned()
}
