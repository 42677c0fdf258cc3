//! Watts of batching engines, and what their work costs in energy.
//!
//! An endpoint draws its idle watts always, a share more while a prompt is prefilled, and as much again, seat by seat, as a
//! full batch draws: `idle + prefill * [a prompt is prefilled] + seat * sequences`. Because that is a sum, the energy
//! of a run is exactly what its calls took: so many prefill seconds and so many seat-seconds. Idle energy is nobody's: it
//! is paid whether a call comes or not, like the lease.
//!
//! Real servers are not quite sums: a batch of one already draws more than its share of a full one. The figures are an
//! average over the batches that a busy engine has.

use crate::domain::Power;

/// Joules of a megawatt-hour.
const JOULES_PER_MWH: f64 = 3.6e9;

/// What an endpoint draws, in watts at the site's meter: with what cooling adds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Draw {
    /// Always.
    pub idle_w: f64,
    /// While a prompt is prefilled.
    pub prefill_w: f64,
    /// For each sequence in the batch.
    pub seat_w: f64,
}

/// What energy costs beyond idling, in dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct EnergyPrice {
    /// A second of prefill at one endpoint.
    pub prefill_usd_per_s: f64,
    /// A second of one decode slot.
    pub slot_usd_per_s: f64,
}

impl Draw {
    /// Of an endpoint whose full batch is `slots` sequences.
    pub fn of(power: &Power, slots: f64) -> Self {
        let decode_w = (power.decode_w - power.idle_w).max(0.0);
        Self {
            idle_w: power.idle_w * power.pue,
            prefill_w: (power.full_w - power.decode_w).max(0.0) * power.pue,
            seat_w: decode_w * power.pue / slots.max(1.0),
        }
    }

    /// Of so many endpoints, of which so many prefill a prompt, with so many sequences in all batches together.
    pub fn watts(&self, endpoints: f64, prefilling: f64, sequences: f64) -> f64 {
        self.idle_w * endpoints + self.prefill_w * prefilling + self.seat_w * sequences
    }

    /// The most that so many calls can make `endpoints` draw: as many prompts are prefilled at once as can be. What is
    /// more than the slots waits, and draws nothing.
    pub fn most_watts(&self, endpoints: u32, slots: f64, calls: u32) -> f64 {
        let (endpoints, calls) = (f64::from(endpoints), f64::from(calls));
        self.watts(endpoints, calls.min(endpoints), calls.min(endpoints * slots))
    }

    /// How many calls at once keep [`Self::most_watts`] within `max_w`; absent if any number does.
    pub fn calls_within(&self, max_w: f64, endpoints: u32, slots: f64) -> Option<u32> {
        let all = f64::from(endpoints) * slots;
        if self.watts(f64::from(endpoints), f64::from(endpoints), all) <= max_w {
            return None;
        }
        // Watts grow with calls: halve the stretch between what fits and what does not.
        let fits = |calls: u32| self.most_watts(endpoints, slots, calls) <= max_w;
        let (mut low, mut high) = (0, all.ceil() as u32);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if fits(middle) { low = middle } else { high = middle - 1 }
        }
        Some(low)
    }

    /// What it costs beyond idling.
    pub fn price(&self, usd_per_mwh: f64) -> EnergyPrice {
        let usd_per_s = |watts: f64| watts * usd_per_mwh / JOULES_PER_MWH;
        EnergyPrice { prefill_usd_per_s: usd_per_s(self.prefill_w), slot_usd_per_s: usd_per_s(self.seat_w) }
    }
}

impl EnergyPrice {
    /// Of so many seconds of each.
    pub fn usd(&self, prefill_s: f64, slot_s: f64) -> f64 {
        self.prefill_usd_per_s * prefill_s + self.slot_usd_per_s * slot_s
    }
}

/// Servers whose watts are known, by name: idle, a full batch, all of it.
///
/// The most is what their makers publish: 10.2 kW for DGX H100, 6.5 kW for DGX A100 (NVIDIA, DGX H100 and DGX A100 user
/// guides, power specifications). Both are ceilings; servers were seen to stay a sixth below. Nobody publishes their idle
/// watts; 15 % is what NVIDIA's specification of a GB200 tray gives (1000 of 6667 W), and of the same order as its GPUs
/// alone. A full batch that decodes takes a third of what lies between: the shares that `Power` of the presets has.
pub const SERVERS: [(&str, [f64; 3]); 2] =
    [("dgx-h100", [1530.0, 4390.0, 10_200.0]), ("dgx-a100", [975.0, 2800.0, 6500.0])];

/// Idle, full-batch and full watts of that server.
pub fn server(name: &str) -> Option<[f64; 3]> {
    SERVERS.into_iter().find(|(n, _)| *n == name).map(|(_, watts)| watts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timetable;
    use proptest::prelude::*;

    fn power(idle_w: f64, decode_w: f64, full_w: f64) -> Power {
        Power { idle_w, decode_w, full_w, pue: 1.25, usd_per_mwh: Timetable::always(100.0), max_w: None }
    }

    #[test]
    fn an_endpoint_with_everything_to_do_draws_its_full_watts() {
        let draw = Draw::of(&power(1000.0, 2600.0, 6000.0), 64.0);
        assert_eq!(draw.watts(1.0, 0.0, 0.0), 1250.0);
        assert_eq!(draw.watts(1.0, 0.0, 64.0), 1.25 * 2600.0);
        assert_eq!(draw.watts(1.0, 1.0, 64.0), 1.25 * 6000.0);
    }

    #[test]
    fn energy_is_priced_by_the_megawatt_hour_and_idling_is_not() {
        let price = Draw::of(&power(1000.0, 2600.0, 6000.0), 64.0).price(100.0);
        // An hour of prefill: 3.4 kW more than without, and a quarter of that for cooling, at ten cents a kilowatt-hour.
        assert!((price.usd(3600.0, 0.0) - 0.425).abs() < 1e-12);
        assert!((price.usd(0.0, 64.0 * 3600.0) - 0.2).abs() < 1e-12);
    }

    #[test]
    fn the_servers_that_are_known_draw_more_the_more_they_do() {
        for (name, [idle, decode, full]) in SERVERS {
            assert!(0.0 < idle && idle < decode && decode < full, "{name}");
        }
    }

    proptest! {
        /// So many calls fit, and not one more.
        #[test]
        fn a_cap_holds_exactly(
            idle in 0.0f64..2000.0, decode in 0.0f64..3000.0, prefill in 0.0f64..6000.0,
            endpoints in 1u32..9, slots in 1u32..100, share in 0.0f64..1.2,
        ) {
            let draw = Draw::of(&power(idle, idle + decode, idle + decode + prefill), f64::from(slots));
            let slots = f64::from(slots);
            let cap = share * draw.watts(endpoints.into(), endpoints.into(), f64::from(endpoints) * slots);
            match draw.calls_within(cap, endpoints, slots) {
                None => prop_assert!(draw.most_watts(endpoints, slots, u32::MAX) <= cap),
                Some(calls) => {
                    prop_assert!(calls == 0 || draw.most_watts(endpoints, slots, calls) <= cap);
                    prop_assert!(draw.most_watts(endpoints, slots, calls + 1) > cap);
                }
            }
        }
    }
}
