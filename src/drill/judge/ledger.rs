//! Three books of the same calls, kept by clients, routers and pools, each by itself, laid side by side.

use super::Evidence;
use crate::call::AttemptResult;
use crate::domain::Ending;
use crate::drill::findings::{Matching, PoolMatch, Requests};
use crate::drill::journal::{Account, Attempt, Call, Heard, Journal};

/// So many examples are enough to begin with.
const EXAMPLES: usize = 5;

/// What became of the calls, by their clients.
pub(super) fn requests(journal: &Journal) -> Requests {
    let count = |is: fn(&Call) -> bool| journal.calls.iter().filter(|call| is(call)).count() as u64;
    let mut accounts = vec![0_u32; journal.calls.len()];
    let mut bills = accounts.clone();
    for account in &journal.accounts {
        if let Some(n) = accounts.get_mut(account.call) {
            *n += 1;
            bills[account.call] += u32::from(account.usd > 0.0);
        }
    }
    let twice = |call: &Call, accounts: u32| call.ends > 1 || accounts > 1;
    Requests {
        sent: journal.calls.len() as u64,
        whole: count(|call| call.heard == Some(Heard::Whole)),
        refused: count(|call| call.heard == Some(Heard::Refused)),
        interrupted: count(|call| call.heard == Some(Heard::Broken)),
        lost: count(|call| matches!(call.heard, None | Some(Heard::Cut))),
        duplicated: journal.calls.iter().zip(&accounts).filter(|(call, n)| twice(call, **n)).count() as u64,
        silent_truncations: count(|call| {
            call.heard == Some(Heard::Whole) && call.whole.is_some_and(|whole| call.tokens < whole)
        }),
        double_billed: bills.iter().filter(|n| **n > 1).count() as u64,
    }
}

/// Clients against routers, call by call; routers against pools, count by count.
pub(super) fn matching(evidence: &Evidence<'_>) -> Matching {
    let journal = evidence.journal;
    let mut matching = Matching::default();
    let mut accounts: Vec<Option<&Account>> = vec![None; journal.calls.len()];
    for account in &journal.accounts {
        if let Some(place) = accounts.get_mut(account.call) {
            *place = Some(account);
        }
    }
    for (no, (call, account)) in journal.calls.iter().zip(&accounts).enumerate() {
        match account {
            None if matches!(call.heard, None | Some(Heard::Cut)) => {}
            None => {
                matching.unaccounted += 1;
                example(&mut matching, format!("call {no} was {:?} and has no account", call.heard));
            }
            Some(account) if agree(call, account) => {}
            Some(account) => {
                matching.contradicted += 1;
                let (client, router) = (call.heard, account.ending);
                example(
                    &mut matching,
                    format!(
                        "call {no}: its client heard {client:?} and {} tokens, its router wrote {router:?} and {}",
                        call.tokens, account.tokens
                    ),
                );
            }
        }
    }
    let lost = requests(journal).lost;
    let names = evidence.drill.config.catalog.pools.iter();
    for (i, (pool, count)) in names.zip(&journal.pools).enumerate() {
        let attempts = || journal.accounts.iter().flat_map(|a| &a.attempts).filter(|a| a.pool.index() == i);
        let sum = |is: fn(&Attempt) -> bool| attempts().filter(|attempt| is(attempt)).count() as u64;
        let row = PoolMatch {
            pool: pool.name.to_string(),
            attempts: sum(|_| true),
            unseen: sum(Attempt::unseen),
            recalled: count.recalled,
            arrived: count.arrived,
            answers: sum(|attempt| attempt.result == AttemptResult::Ok),
            answered: count.answered,
            late: count.late,
        };
        let expected = row.attempts.saturating_sub(row.unseen + row.recalled);
        matching.attempts_off += expected.abs_diff(row.arrived);
        matching.answers_off += row.answers.abs_diff(row.answered.saturating_sub(row.late));
        matching.pools.push(row);
    }
    // A router that is killed takes its books with it: each call that was cut may have had an attempt that no account
    // tells of, and the pool may have answered it.
    let off = matching.attempts_off.saturating_sub(lost) + matching.answers_off.saturating_sub(lost);
    matching.agreed = matching.unaccounted + matching.contradicted + off == 0;
    matching
}

fn agree(call: &Call, account: &Account) -> bool {
    match (call.heard, account.ending) {
        (Some(Heard::Whole), Some(Ending::Ok)) => u64::from(call.tokens) == account.tokens,
        (Some(Heard::Refused), Some(Ending::Refused | Ending::Failed)) => account.usd == 0.0,
        (Some(Heard::Broken), Some(Ending::Broken)) => true,
        (Some(Heard::Cut), Some(Ending::ClientGone)) => true,
        _ => false,
    }
}

fn example(matching: &mut Matching, text: String) {
    if matching.examples.len() < EXAMPLES {
        matching.examples.push(text);
    }
}
