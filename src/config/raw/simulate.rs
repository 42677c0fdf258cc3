//! What a config file says about simulations of it.

use std::time::Duration;

use crate::config::read::{At, record};
use crate::config::values::{Name, Shares, Within};

record! {
    /// What `gridtie simulate` plays on these pools. A router that serves does not look at it.
    Simulate as "simulate" {
        /// Shares of the classes among calls whose trace has none; default
        /// `{ interactive = 0.5, agent = 0.3, background = 0.2 }`, as far as these classes exist.
        mix: Option<Shares>,
        /// Mean demand over what the owned pools can do, in the scarcer of prefill and decoding: the owned pools are
        /// made larger or smaller until it is so; default: they stay as they are.
        load: Option<At<Within<0, 100>>>,
        /// Routers side by side that do not see each other; a call comes to any of them; default 1.
        routers: Option<At<u32>>,
        /// How often engines of owned pools tell every router how busy they are; default never: a single router knows what
        /// it has sent.
        told_every: Option<At<Duration>>,
        /// What happens to pools.
        event: Vec<SimulateEvent>,
    }
}

record! {
    /// Something that happens to a pool in a simulation.
    SimulateEvent as "simulate.event" {
        /// When, from the first moment of the traffic.
        at: At<Duration>,
        /// When it is over; default never.
        ends: Option<At<Duration>>,
        /// To whom.
        pool: At<Name>,
        /// To one endpoint of it, counted from 0; default to all.
        endpoint: Option<At<u32>>,
        /// It refuses every connection, and answers under way break off.
        refuse: Option<bool>,
        /// It takes so many times as long.
        slow: Option<At<Within<0, 1000>>>,
    }
}
