//! What a config file says about the hours of the week, and about power.

use crate::config::read::{At, record, words};
use crate::config::values::{Amount, TimeOfDay, Within};
use crate::domain::Timestamp;

words! {
    /// A day of the week.
    Day as "day" {
        /// Monday.
        Mon = "mon",
        /// Tuesday.
        Tue = "tue",
        /// Wednesday.
        Wed = "wed",
        /// Thursday.
        Thu = "thu",
        /// Friday.
        Fri = "fri",
        /// Saturday.
        Sat = "sat",
        /// Sunday.
        Sun = "sun",
        /// Monday to Friday.
        Weekdays = "weekdays",
        /// Saturday and Sunday.
        Weekend = "weekend",
    }
}

record! {
    /// From when to when an owned pool is yours. Outside of it nothing is sent there, nor what would not be done by its end.
    Lease as "pool.lease" {
        /// The first moment; default since ever.
        from: Option<Timestamp>,
        /// The first moment at which it is not yours any more; default for good.
        until: Option<At<Timestamp>>,
    }
}

record! {
    /// What an owned pool draws, and what that costs. Watts are those of one endpoint, measured at its plug.
    Power as "pool.power" {
        /// A server whose watts are known, `dgx-h100` or `dgx-a100`, for what is not said below; default for simulated
        /// pools: by the presets of their engines.
        server: Option<At<String>>,
        /// Nothing to do.
        idle_watts: Option<At<Within<0, 1_000_000>>>,
        /// A full batch being decoded and no prompt; default a third of the way from idle to full.
        decode_watts: Option<At<Within<0, 1_000_000>>>,
        /// The same, and a prompt being prefilled: the most that it draws.
        full_watts: Option<At<Within<0, 1_000_000>>>,
        /// Watts at the site's meter for each watt of the endpoints: cooling and losses; default 1.
        pue: Option<Within<1, 10>>,
        /// Dollars a megawatt-hour; 80 is eight cents a kilowatt-hour; default 0.
        usd_per_mwh: Option<Amount>,
        /// Hours at which it costs something else, on the pool's clock; the first that fits counts.
        hours: Vec<PowerHours>,
        /// The site gives the pool no more than this; default no limit.
        max_megawatts: Option<At<Within<0, 100_000>>>,
    }
}

record! {
    /// Hours at which power costs something else.
    PowerHours as "pool.power.hours" {
        /// From, like "08:00".
        from: At<TimeOfDay>,
        /// To, like "20:00"; not after `from` is on the next day.
        to: At<TimeOfDay>,
        /// Days on which these hours begin; default every day.
        days: Vec<Day>,
        /// Dollars a megawatt-hour.
        usd_per_mwh: Amount,
    }
}

record! {
    /// Hours at which tokens cost something else. What is not said is as usual.
    OfferHours as "pool.offer.hours" {
        /// From, like "08:00".
        from: At<TimeOfDay>,
        /// To, like "20:00"; not after `from` is on the next day.
        to: At<TimeOfDay>,
        /// Days on which these hours begin; default every day.
        days: Vec<Day>,
        /// All prices so many times as usual; 0.5 is half. Instead of the prices below.
        times: Option<Amount>,
        /// Input tokens that were not cached.
        input: Option<Amount>,
        /// Input tokens read from the cache.
        cached: Option<Amount>,
        /// Input tokens written to the cache.
        cache_write: Option<Amount>,
        /// Output tokens.
        output: Option<Amount>,
    }
}
