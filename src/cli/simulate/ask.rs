//! Arguments with a small language of their own.

use std::path::PathBuf;
use std::str::FromStr;

use crate::domain::{Duration, Instant};
use crate::sim::experiment::TUNING_SEED;
use crate::sim::source::Window;

/// Seeds of one experiment at most: beyond that a range is a slip.
const SEEDS_MAX: usize = 1000;

/// Different seeds, as they were given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seeds(pub Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |word: &str| {
            let word = word.trim();
            word.parse::<u64>().map_err(|_| format!("`{word}` is no seed; write whole numbers like 1,2,5-9"))
        };
        let mut seeds = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(format!("{first}-{last} runs backwards"));
            }
            if last - first >= SEEDS_MAX as u64 || seeds.len() >= SEEDS_MAX {
                return Err(format!("more than {SEEDS_MAX} seeds"));
            }
            for seed in first..=last {
                if seeds.contains(&seed) {
                    return Err(format!("seed {seed} is there twice"));
                }
                seeds.push(seed);
            }
        }
        if seeds.contains(&TUNING_SEED) {
            return Err(format!(
                "{TUNING_SEED} is the seed that policies are tuned on; judge them on others"
            ));
        }
        Ok(Self(seeds))
    }
}

/// A part of the traffic.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hours(pub Window);

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no part of a day; write 9-17, 9-12.5 or peak:6h");
        let hours = |word: &str| word.trim().parse::<f64>().ok().filter(|h| (0.0..=8784.0).contains(h));
        if let Some(length) = text.strip_prefix("peak:") {
            let hours =
                length.trim().strip_suffix('h').and_then(hours).filter(|h| *h > 0.0).ok_or_else(wrong)?;
            return Ok(Self(Window::Peak(Duration::from_secs_f64(hours * 3600.0))));
        }
        let (from, to) = text.split_once('-').ok_or_else(wrong)?;
        let (from, to) = hours(from).zip(hours(to)).ok_or_else(wrong)?;
        if from >= to {
            return Err(format!("`{text}` has no time in it: the first hour must be before the second"));
        }
        let at = |hours: f64| Instant::from_secs_f64(hours * 3600.0);
        Ok(Self(Window::Between(at(from), at(to))))
    }
}

/// Rates to follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// A table: `t_s` and rates.
    pub file: PathBuf,
    /// Which.
    pub column: String,
    /// Of these 24 hours, from 0; absent is all of it.
    pub day: Option<u32>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` names no rates; write rates.csv:COLUMN, or rates.csv:COLUMN:DAY");
        let (rest, last) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (file, column, day) = match (rest.rsplit_once(':'), last.parse()) {
            (Some((file, column)), Ok(day)) => (file, column, Some(day)),
            _ => (rest, last, None),
        };
        if file.is_empty() || column.is_empty() {
            return Err(wrong());
        }
        Ok(Self { file: PathBuf::from(file), column: column.to_owned(), day })
    }
}
