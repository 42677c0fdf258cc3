//! Workloads without a trace: who calls, how often and how much, as a small file.
//!
//! The numbers that have a default are ours, chosen to be plausible and round, except those of `bursty`, which are
//! Azure's code trace of 2023 (Patel et al., "Splitwise", ISCA 2024). Everything is drawn from one seed.
//!
//! ```toml
//! name = "an office day"       # for people
//! hours = 24                   # how long
//!
//! [[chat]]                     # people: conversations that begin as they like
//! per_s = 0.5                  # conversations a second
//! class = "interactive"        # the default for chat; likewise `agent`, `background`
//! model = "large"              # default: the model of the simulation
//! turns = 5                    # mean; how many follow is geometric
//! system = 500                 # tokens that all of them begin with
//! message = { mean = 120, sigma = 1.0 }    # tokens that a turn adds: log-normal, sigma of the logarithm
//! answer = { mean = 250, sigma = 0.8 }     # tokens
//! pause_s = { mean = 45, sigma = 1.0 }     # from an answer to the next turn
//! context = 128_000            # a longer prompt is summed up in a fifth, and its prefix is lost
//!
//! [[agents]]                   # the same with tools: 40 turns, 6 s between them, 3000 tokens of instructions
//! per_s = 0.02
//!
//! [[nightly]]                  # routines: all at once, every day
//! at_hours = [1.0, 3.5]
//! calls = 5000
//! over_s = 60                  # released within
//! system = 1500
//! input = { mean = 2000, sigma = 0.8 }     # without the instructions
//! output = { mean = 300, sigma = 0.6 }
//!
//! [[bursty]]                   # calls that come in bursts; without a class, each call has one of the mix
//! per_s = 2.6
//! cv = 13                      # standard deviation of the gaps over their mean; 1 is a Poisson process
//! peak = 8                     # rate inside a burst over the mean rate
//! input = { mean = 2048, sigma = 0.82 }
//! output = { mean = 28, sigma = 1.24 }
//!
//! [[surge]]                    # everything above, so many times as often
//! at_hours = 10
//! minutes = 10
//! factor = 17
//! ```

mod bursty;
mod check;
mod conversations;
mod nightly;

use serde::Deserialize;

use super::{Arrival, BadTraffic, CALLS_MAX, ReadOptions, TOKENS_MAX, Traffic};
use crate::domain::{ClassId, Duration, Instant, ModelId, names};
use crate::engine::draw;

/// Sets the parts of a description apart from all other draws of the same seed.
const PART: u64 = 0x7061_7274;

/// See the module.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// How long.
    pub hours: f64,
    /// People who converse.
    #[serde(default)]
    pub chat: Vec<Conversations>,
    /// Programs that call tools and come back to their prefix.
    #[serde(default)]
    pub agents: Vec<Conversations>,
    /// Batches at given hours of every day.
    #[serde(default)]
    pub nightly: Vec<Nightly>,
    /// Single calls, in bursts or evenly.
    #[serde(default)]
    pub bursty: Vec<Bursty>,
    /// Times when everything comes more often.
    #[serde(default)]
    pub surge: Vec<Surge>,
}

/// Log-normal numbers.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Mean, not median.
    pub mean: f64,
    /// Standard deviation of the logarithm; 0 is always the mean.
    #[serde(default)]
    pub sigma: f64,
}

/// Conversations; what is absent depends on who converses.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversations {
    /// How many begin a second.
    pub per_s: f64,
    /// Class by name.
    pub class: Option<String>,
    /// Model by name.
    pub model: Option<String>,
    /// Turns on average.
    pub turns: Option<f64>,
    /// Tokens that all conversations begin with.
    pub system: Option<u32>,
    /// Tokens that a turn adds.
    pub message: Option<Spread>,
    /// Tokens of an answer.
    pub answer: Option<Spread>,
    /// Seconds from an answer to the next turn.
    pub pause_s: Option<Spread>,
    /// Tokens of a prompt at most.
    pub context: Option<u32>,
}

/// Routines that are released in a batch.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nightly {
    /// Hours from midnight, which is when the workload starts.
    pub at_hours: Vec<f64>,
    /// Calls of a batch.
    pub calls: u32,
    /// Seconds in which they are released; 0 is all at once.
    #[serde(default = "a_minute")]
    pub over_s: f64,
    /// Class by name.
    pub class: Option<String>,
    /// Model by name.
    pub model: Option<String>,
    /// Tokens that all calls begin with.
    #[serde(default = "Nightly::system")]
    pub system: u32,
    /// Tokens of a prompt after that.
    #[serde(default = "Nightly::input")]
    pub input: Spread,
    /// Tokens of an answer.
    #[serde(default = "Nightly::output")]
    pub output: Spread,
}

/// Single calls.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursty {
    /// Calls a second on average.
    pub per_s: f64,
    /// Class by name; absent: each call has one of the mix.
    pub class: Option<String>,
    /// Model by name.
    pub model: Option<String>,
    /// Standard deviation of the gaps over their mean; at least 1.
    #[serde(default = "Bursty::cv")]
    pub cv: f64,
    /// Rate inside a burst over the mean rate; more than 1.
    #[serde(default = "Bursty::peak")]
    pub peak: f64,
    /// Tokens of a prompt.
    #[serde(default = "Bursty::input")]
    pub input: Spread,
    /// Tokens of an answer.
    #[serde(default = "Bursty::output")]
    pub output: Spread,
}

/// A time when everything comes more often.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surge {
    /// Hours from the start.
    pub at_hours: f64,
    /// How long.
    pub minutes: f64,
    /// How many times as often.
    #[serde(default = "Surge::factor")]
    pub factor: f64,
}

const fn a_minute() -> f64 {
    60.0
}

impl Nightly {
    const fn system() -> u32 {
        1500
    }

    const fn input() -> Spread {
        Spread { mean: 2000.0, sigma: 0.8 }
    }

    const fn output() -> Spread {
        Spread { mean: 300.0, sigma: 0.6 }
    }
}

/// As in Azure's code trace, an hour of 8,819 calls: gaps with a coefficient of variation of 13.2; a busiest minute of
/// 4.1 times the mean, which is what bursts of 8 times the mean come to in such an hour; prompts with mean 2048 and
/// median 1469, answers with mean 28 and median 13, hence the sigmas. Its prompts end at 7,437 tokens; these do not.
impl Bursty {
    const fn cv() -> f64 {
        13.0
    }

    const fn peak() -> f64 {
        8.0
    }

    const fn input() -> Spread {
        Spread { mean: 2048.0, sigma: 0.82 }
    }

    const fn output() -> Spread {
        Spread { mean: 28.0, sigma: 1.24 }
    }
}

impl Surge {
    /// The surge that Gridtie is built to be tried with.
    const fn factor() -> f64 {
        17.0
    }
}

impl Spread {
    /// In the unit of the mean.
    fn draw(&self, seed: u64) -> f64 {
        draw::log_normal(seed, self.mean * (-self.sigma * self.sigma / 2.0).exp(), self.sigma)
    }

    /// At least one token.
    fn tokens(&self, seed: u64) -> u32 {
        (self.draw(seed).round() as u32).clamp(1, TOKENS_MAX)
    }
}

impl Described {
    /// From TOML; `name` is for errors, and for people where the text says none.
    pub fn read(name: &str, text: &str) -> Result<Self, BadTraffic> {
        let mut described: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map(|before| before.matches('\n').count() + 1);
            let remedy = "tables are chat, agents, nightly, bursty and surge".into();
            BadTraffic { name: name.into(), line, what: error.message().into(), remedy }
        })?;
        if described.name.is_empty() {
            described.name = name.into();
        }
        Ok(described)
    }

    /// The calls. `model` has those that name none.
    pub fn traffic(&self, options: &ReadOptions<'_>) -> Result<Traffic, BadTraffic> {
        self.check().map_err(|(what, remedy)| self.problem(what, remedy))?;
        let length = Instant::from_secs_f64(self.hours * 3600.0);
        let mut number = 0;
        let mut draft = |class: &Option<String>, usual: Option<&str>, model: &Option<String>| {
            number += 1;
            let seed = draw::mix(draw::mix(options.seed, PART), number);
            let class = self.class(class.as_deref(), usual, options)?;
            Ok(Draft { seed, number, length, class, model: self.model(model.as_deref(), options)?, options })
        };
        let mut arrivals = Vec::new();
        for part in &self.chat {
            let draft = draft(&part.class, Some("interactive"), &part.model)?;
            conversations::draw(part, &conversations::CHAT, &draft, &mut arrivals);
        }
        for part in &self.agents {
            let draft = draft(&part.class, Some("agent"), &part.model)?;
            conversations::draw(part, &conversations::AGENTS, &draft, &mut arrivals);
        }
        for part in &self.nightly {
            nightly::draw(part, &draft(&part.class, Some("background"), &part.model)?, &mut arrivals);
        }
        for part in &self.bursty {
            bursty::draw(part, &draft(&part.class, None, &part.model)?, &mut arrivals);
        }
        let mut traffic = Traffic::sorted(self.name.clone(), arrivals);
        for (surge, number) in self.surge.iter().zip(1..) {
            let at = Instant::from_secs_f64(surge.at_hours * 3600.0);
            let length = Duration::from_secs_f64(surge.minutes * 60.0);
            traffic = traffic.surge(at, length, surge.factor, draw::mix(options.seed, number));
        }
        match traffic.arrivals.len() {
            0 => Err(self.problem("no calls".into(), "describe more calls or a longer time".into())),
            n if n >= CALLS_MAX => Err(self.problem(format!("{n} calls"), format!("stay below {CALLS_MAX}"))),
            _ => Ok(traffic),
        }
    }

    fn problem(&self, what: String, remedy: String) -> BadTraffic {
        BadTraffic { name: self.name.clone(), line: None, what, remedy }
    }

    /// Nothing is a draw from the mix.
    fn class(
        &self,
        named: Option<&str>,
        usual: Option<&str>,
        options: &ReadOptions<'_>,
    ) -> Result<Option<ClassId>, BadTraffic> {
        let catalog = options.catalog;
        let Some(name) = named else {
            return Ok(usual.map(|usual| catalog.class_id(usual).unwrap_or(catalog.default_class)));
        };
        let known = || catalog.classes.iter().map(|c| &*c.name);
        match catalog.class_id(name) {
            Some(id) => Ok(Some(id)),
            None => Err(self.unknown("class", name, names::nearest(name, known()))),
        }
    }

    fn model(&self, named: Option<&str>, options: &ReadOptions<'_>) -> Result<ModelId, BadTraffic> {
        let Some(name) = named else { return Ok(options.model) };
        let known = || options.catalog.models.iter().map(|m| &*m.name);
        options
            .catalog
            .model_id(name)
            .ok_or_else(|| self.unknown("model", name, names::nearest(name, known())))
    }

    fn unknown(&self, what: &str, name: &str, near: Option<&str>) -> BadTraffic {
        let remedy = near.map_or("name one of the config".into(), |near| format!("did you mean `{near}`?"));
        self.problem(format!("no {what} is called `{}`", names::shown(name)), remedy)
    }
}

/// What the calls of one part have in common.
struct Draft<'a> {
    /// The part's own.
    seed: u64,
    /// From 1.
    number: u64,
    length: Instant,
    /// Absent is a draw from the mix.
    class: Option<ClassId>,
    model: ModelId,
    options: &'a ReadOptions<'a>,
}

impl Draft<'_> {
    /// The class of the call or conversation of that number.
    fn class(&self, number: u64) -> ClassId {
        self.class.unwrap_or_else(|| self.options.mix.draw(self.seed, number))
    }

    /// Names the instructions that all calls of the part begin with.
    fn instructions(&self) -> u64 {
        draw::mix(PART, self.number)
    }
}

/// An exponential time with mean 1.
fn exponential(seed: u64) -> f64 {
    -(1.0 - draw::unit(seed)).ln()
}

/// May another call be drawn for that second? A rate of zero calls nothing: its first call is infinitely late, or not a
/// number.
fn goes_on(at_s: f64, draft: &Draft<'_>, arrivals: &[Arrival]) -> bool {
    at_s < draft.length.as_secs_f64() && arrivals.len() < CALLS_MAX
}
