//! What an owned pool draws, and what that costs, as its operator says it.

use super::timetable::Timetable;

/// Power of an owned pool. Watts are those of one endpoint at its plug.
#[derive(Clone, PartialEq, Debug)]
pub struct Power {
    /// Nothing to do.
    pub idle_w: f64,
    /// A full batch decoding and no prompt.
    pub decode_w: f64,
    /// The same, and a prompt being prefilled: the most that it draws.
    pub full_w: f64,
    /// Watts that the site draws for each watt of the endpoints: cooling and losses.
    pub pue: f64,
    /// Dollars a megawatt-hour.
    pub usd_per_mwh: Timetable<f64>,
    /// The site gives the pool no more than this, in watts.
    pub max_w: Option<f64>,
}
