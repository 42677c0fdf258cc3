//! What heads say beside their answers.

use super::*;
use crate::domain::Aside;

const RATES: &str = "X-RateLimit-Limit-Requests: 60\r\nx-ratelimit-remaining-requests: 12\r\nx-ratelimit-reset-requests: 48s\r\nx-ratelimit-remaining-tokens: -1\r\n";

fn left(aside: Option<Box<Aside>>) -> Option<u64> {
    let allowances = aside?.allowances?;
    assert_eq!(allowances.tokens.remaining, None);
    allowances.requests.remaining
}

#[tokio::test]
async fn streams_whole_answers_and_refusals_all_carry_what_is_left() {
    let events = [TEXT, STOP, END].concat();
    let fake = Fake::new(vec![answer("200 OK", &format!("{SSE}{RATES}"), &events)]).await;
    let pieces = stream_of(&settings(), attempt(&fake.origin(), true)).await;
    assert_eq!(left(pieces.1), Some(12));
    let fake = Fake::new(vec![answer("200 OK", &format!("{RATES}{JSON}"), WHOLE)]).await;
    let Ok(Reply::Whole(whole)) = call(&settings(), attempt(&fake.origin(), false)).await else { panic!() };
    assert_eq!(left(whole.aside), Some(12));
    let failure = fails(vec![answer("429 Too Many Requests", &format!("{RATES}{JSON}"), "{}")], true).await;
    assert_eq!((failure.kind, left(failure.aside)), (FailureKind::RateLimited, Some(12)));
}

#[tokio::test]
async fn a_head_that_says_nothing_beside_carries_nothing() {
    let fake = Fake::new(vec![answer("200 OK", JSON, WHOLE)]).await;
    let Ok(Reply::Whole(whole)) = call(&settings(), attempt(&fake.origin(), false)).await else { panic!() };
    assert_eq!(whole.aside, None);
}
