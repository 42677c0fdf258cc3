//! Power, and hours of the week.

use super::Lower;
use super::pools::tenure;
use crate::config::raw::{self, Day};
use crate::config::read::{At, unknown};
use crate::config::values::{TimeOfDay, Within};
use crate::domain::{Hours, Lease, Power, Tenure, Timetable};
use crate::engine::power::{SERVERS, server};

/// From idle to full, a full batch that decodes takes this share: see the servers that are known.
const DECODE_SHARE: f64 = 0.33;

/// Hours of one table: each is looked at for each of the others, once.
const HOURS_MAX: usize = 64;

impl Lower<'_> {
    /// From when to when a pool is ours.
    pub(super) fn lease(&mut self, pool: &raw::Pool) -> Option<Lease> {
        let raw = pool.lease.as_ref()?;
        if tenure(pool) == Tenure::Metered {
            let problem = self.error(pool.place.key("lease"), "a metered pool is not leased");
            problem.help = Some("remove `lease`, or set tenure = \"owned\"".to_owned());
            return None;
        }
        let until = raw.until.as_ref();
        if let Some(until) = until.filter(|until| raw.from.is_some_and(|from| from >= until.value)) {
            self.error(until.span.clone(), "this lease ends before it begins");
            return None;
        }
        if raw.from.is_none() && until.is_none() {
            let problem = self.error(raw.place.span.clone(), "this lease neither begins nor ends");
            problem.help = Some("add `until = 2026-12-31T23:00:00Z`, or remove it".to_owned());
        }
        Some(Lease { from: raw.from, until: until.map(|until| until.value) })
    }

    /// What a pool draws. `endpoints` is how many it has, where that is known.
    pub(super) fn power(&mut self, pool: &raw::Pool, endpoints: Option<usize>) -> Option<Power> {
        let raw = pool.power.as_ref()?;
        if tenure(pool) == Tenure::Metered {
            let problem = self.error(pool.place.key("power"), "a metered pool's power is its provider's");
            problem.help = Some("remove `power`, or set tenure = \"owned\"".to_owned());
            return None;
        }
        let usd = raw.usd_per_mwh.map_or(0.0, |usd| usd.0);
        let mut hours = Vec::new();
        for h in &raw.hours {
            hours.push((self.hours(&h.from, &h.to, &h.days), h.usd_per_mwh.0));
        }
        self.not_too_many(&hours, raw.place.key("hours"));
        let [idle_w, decode_w, full_w] = self.watts(pool, raw)?;
        let power = Power {
            idle_w,
            decode_w,
            full_w,
            pue: raw.pue.map_or(1.0, |pue| pue.0),
            usd_per_mwh: Timetable::new(usd, &hours, utc_offset(pool)),
            max_w: raw.max_megawatts.as_ref().map(|max| max.value.0 * 1e6),
        };
        self.cap_leaves_room(raw, &power, endpoints);
        Some(power)
    }

    /// Idle, full-batch and full watts of an endpoint.
    fn watts(&mut self, pool: &raw::Pool, raw: &raw::Power) -> Option<[f64; 3]> {
        let known = match &raw.server {
            Some(name) => {
                let known = server(&name.value);
                if known.is_none() {
                    let names = SERVERS.into_iter().map(|(name, _)| name);
                    self.note(unknown("server", &name.value, names, name.span.clone(), ""));
                    return None;
                }
                known
            }
            None => of_presets(&pool.engine),
        };
        let said = |watts: &Option<At<Within<0, 1_000_000>>>| watts.as_ref().map(|w| w.value.0);
        let idle = said(&raw.idle_watts).or(known.map(|k| k[0]));
        let full = said(&raw.full_watts).or(known.map(|k| k[2]));
        let (Some(idle), Some(full)) = (idle, full) else {
            let problem = self.error(raw.place.span.clone(), "nothing says what an endpoint draws");
            problem.help = Some(
                "add `idle_watts` and `full_watts` as measured at the plug, or a `server` that is known"
                    .to_owned(),
            );
            return None;
        };
        let measured = raw.idle_watts.is_some() || raw.full_watts.is_some();
        let usual = known.filter(|_| !measured).map_or(idle + DECODE_SHARE * (full - idle), |k| k[1]);
        let decode = said(&raw.decode_watts).unwrap_or(usual);
        if !(idle <= decode && decode <= full) {
            let message =
                format!("an endpoint draws {idle} W idle, {decode} W decoding and {full} W at most");
            let problem = self.error(raw.place.span.clone(), message);
            problem.label = "these must grow in this order".to_owned();
            return None;
        }
        Some([idle, decode, full])
    }

    fn cap_leaves_room(&mut self, raw: &raw::Power, power: &Power, endpoints: Option<usize>) {
        let (Some(cap), Some(endpoints)) = (&raw.max_megawatts, endpoints) else { return };
        let idle_mw = power.idle_w * power.pue * endpoints as f64 / 1e6;
        if idle_mw >= cap.value.0 {
            let message = format!("{endpoints} endpoints draw {idle_mw:.4} MW before any call comes");
            let problem = self.error(cap.span.clone(), message);
            problem.label = "the pool could never take a call".to_owned();
        }
    }

    /// Hours of the week.
    pub(super) fn hours(&mut self, from: &At<TimeOfDay>, to: &At<TimeOfDay>, days: &[Day]) -> Hours {
        let day = |minute: u32| minute % crate::domain::timetable::DAY;
        if from.value == to.value {
            let problem = self.error(to.span.clone(), "these hours end when they begin");
            problem.help = Some("the whole day is from \"00:00\" to \"24:00\"".to_owned());
        }
        Hours { days: bits(days), from: day(from.value.0), to: day(to.value.0) }
    }

    /// A table that long is a mistake.
    pub(super) fn not_too_many<T>(&mut self, hours: &[T], at: std::ops::Range<usize>) {
        if hours.len() > HOURS_MAX {
            self.error(at, format!("there are more than {HOURS_MAX} hours"));
        }
    }
}

/// What the clock of a pool shows more than UTC, in minutes.
pub(super) fn utc_offset(pool: &raw::Pool) -> i32 {
    pool.utc_offset.map_or(0, |offset| offset.0)
}

fn bits(days: &[Day]) -> u8 {
    let bit = |day: &Day| match day {
        Day::Mon => 1,
        Day::Tue => 1 << 1,
        Day::Wed => 1 << 2,
        Day::Thu => 1 << 3,
        Day::Fri => 1 << 4,
        Day::Sat => 1 << 5,
        Day::Sun => 1 << 6,
        Day::Weekdays => 0b001_1111,
        Day::Weekend => 0b110_0000,
    };
    if days.is_empty() { Hours::EVERY_DAY } else { days.iter().map(bit).fold(0, |all, one| all | one) }
}

/// The watts of simulated engines, on average, if all their presets stand for servers that are known.
fn of_presets(engines: &[raw::Engine]) -> Option<[f64; 3]> {
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for group in engines {
        let name = match group.preset.value.as_str() {
            "h100" | "h100-bloom" => "dgx-h100",
            "a100" | "a100-bloom" => "dgx-a100",
            _ => return None,
        };
        let n = f64::from(group.count.as_ref().map_or(1, |n| n.value));
        sum.iter_mut().zip(server(name)?).for_each(|(sum, watts)| *sum += n * watts);
        count += n;
    }
    (count > 0.0).then(|| sum.map(|watts| watts / count))
}
