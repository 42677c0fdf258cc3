//! What is thought to be otherwise, as it is said on the command line and said back to people.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::bail;

use super::Args;
use crate::policy::record::{PriceIs, WhatIf};

/// `POOL=IN/OUT` or `POOL=PRICE`, in dollars per million tokens.
#[derive(Clone, PartialEq, Debug)]
pub struct NewPrice {
    pool: String,
    input: f64,
    output: f64,
}

const MILLION: f64 = 1e6;

impl FromStr for NewPrice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form =
            || "expected POOL=IN/OUT in dollars per million tokens, like cloud-a=0.6/2.4 or own=0".to_owned();
        let (pool, prices) = text.rsplit_once('=').filter(|(pool, _)| !pool.is_empty()).ok_or_else(form)?;
        let (input, output) = prices.split_once('/').unwrap_or((prices, prices));
        let price = |text: &str| {
            let price = text.trim().trim_start_matches('$').parse::<f64>().ok();
            price.filter(|usd| usd.is_finite() && *usd >= 0.0).ok_or_else(form)
        };
        Ok(Self { pool: pool.to_owned(), input: price(input)?, output: price(output)? })
    }
}

/// What `--without` and `--price` say together.
pub(super) fn what_if(args: &Args) -> anyhow::Result<WhatIf> {
    for (i, price) in args.price.iter().enumerate() {
        if args.price[..i].iter().any(|p| p.pool == price.pool) {
            bail!("--price {}: it is there twice", price.pool);
        }
        if args.without.contains(&price.pool) {
            bail!("--price {0}, --without {0}: a pool that is not there has no price", price.pool);
        }
    }
    let price = |p: &NewPrice| PriceIs {
        pool: Arc::from(&*p.pool),
        input: p.input / MILLION,
        output: p.output / MILLION,
    };
    Ok(WhatIf {
        without: args.without.iter().map(|pool| Arc::from(&**pool)).collect(),
        prices: args.price.iter().map(price).collect(),
    })
}

/// `without owned, cloud-a at $0.6/$2.4 per million tokens`.
pub(super) fn said(what_if: &WhatIf) -> String {
    let mut s = String::new();
    for (i, pool) in what_if.without.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(s, "{}{pool}", if i == 0 { "without " } else { ", " });
    }
    for price in &what_if.prices {
        let comma = if s.is_empty() { "" } else { ", " };
        let (input, output) = (shown(price.input), shown(price.output));
        let _ = write!(s, "{comma}{} at ${input}/${output} per million tokens", price.pool);
    }
    s
}

/// Dollars per million tokens, without what division left over.
fn shown(per_token: f64) -> f64 {
    (per_token * MILLION * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_pool_and_one_or_two_numbers() {
        let read = |text: &str| text.parse::<NewPrice>().ok().map(|p| (p.pool, p.input, p.output));
        assert_eq!(read("cloud-a=0.6/2.4"), Some(("cloud-a".to_owned(), 0.6, 2.4)));
        assert_eq!(read("own=0"), Some(("own".to_owned(), 0.0, 0.0)));
        assert_eq!(read("a=$1/$2"), Some(("a".to_owned(), 1.0, 2.0)));
        for wrong in ["own", "own=", "=1", "own=1/", "own=-1", "own=1/2/3", "own=inf", "own=nan", "own=free"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
