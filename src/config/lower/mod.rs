//! From what a file says to what it means: defaults filled in, names looked up, secrets read, and everything checked
//! that a single value cannot tell. Goes on after a mistake, like the reader.

mod doors;
mod grants;
mod offers;
mod pools;
mod routing;
mod simulate;
mod supply;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Problem;
use super::quantity::spelt;
use super::raw;
use super::read::{At, unknown};
use super::secret::{Reference, Secret, Surroundings};
use super::settings::Written;
use super::values::Name;
use crate::domain::{Class, ClassId};

pub(crate) use whole::TYPICAL_INPUT;
pub(in crate::config) use whole::lower;

/// Where secrets come from, and the problems found so far.
#[derive(Debug)]
pub(super) struct Lower<'a> {
    surroundings: &'a Surroundings,
    /// What relative paths are relative to.
    folder: &'a Path,
    /// What is wrong so far.
    pub problems: Vec<Problem>,
    /// Where secrets stand in the text.
    pub secrets: Vec<Range<usize>>,
    /// Files that were read for secrets, and the digest of what was in each.
    pub files: Vec<(PathBuf, String)>,
    /// Endpoints.
    pub written: Vec<Written>,
    /// Records that could not be read.
    dropped: &'a BTreeSet<&'static str>,
}

impl Lower<'_> {
    fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.note(Problem::error(span, message))
    }

    fn warn(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.note(Problem::warning(span, message))
    }

    fn note(&mut self, problem: Problem) -> &mut Problem {
        let at = self.problems.len();
        self.problems.push(problem);
        &mut self.problems[at]
    }

    /// Notes a name that is there twice. Returns whether it is new.
    fn fresh<'n>(
        &mut self,
        seen: &mut BTreeMap<&'n str, Range<usize>>,
        what: &str,
        name: &'n At<Name>,
    ) -> bool {
        let taken = seen.contains_key(&*name.value.0);
        if taken {
            let message = format!("the {what} `{}` is there twice", name.value.0);
            self.error(name.span.clone(), message).label = format!("rename or remove this {what}");
        } else {
            seen.insert(&name.value.0, name.span.clone());
        }
        !taken
    }

    fn secret(&mut self, reference: &At<Reference>) -> Option<Secret> {
        match self.surroundings.read(&reference.value, self.folder) {
            Ok(secret) => {
                if let Reference::File(path) = &reference.value {
                    self.files.push((self.folder.join(path), secret.digest().to_owned()));
                }
                Some(secret)
            }
            Err(why) => {
                let message = format!("`{}` cannot be read: {why}", reference.value);
                let problem = self.error(reference.span.clone(), message);
                problem.help = Some("`gridtie check --no-secrets` checks everything else".to_owned());
                None
            }
        }
    }

    fn secret_if(&mut self, reference: Option<&At<Reference>>) -> Option<Secret> {
        reference.and_then(|reference| self.secret(reference))
    }
}

/// The class names and targets of a config without any: what a person, a program and a night job can bear. The
/// targets are those that public measurements of routers use (one second, five seconds, a quarter of an hour).
fn usual_classes() -> Vec<Class> {
    let class = |name: &str| Class {
        name: name.into(),
        ttft_target: None,
        finish_target: None,
        miss_usd: 0.005,
        in_time: None,
        delay_usd_per_s: 0.0,
        deadline: CLASS_DEADLINE,
        reserve: 0.0,
        may_wait: false,
        floor: FLOOR,
    };
    let secs = Duration::from_secs;
    let (interactive, agent) = (class("interactive"), class("agent"));
    let (watched, worked) = (Some(secs(1)), Some(secs(5)));
    vec![
        Class { ttft_target: watched, miss_usd: 0.01, delay_usd_per_s: 0.002, floor: 0.25, ..interactive },
        Class { ttft_target: worked, delay_usd_per_s: 0.0002, deadline: secs(600), floor: 0.1, ..agent },
        Class { finish_target: Some(secs(900)), deadline: secs(3600), may_wait: true, ..class("background") },
    ]
}

/// The floor of a class that says nothing: one place in twenty keeps a night's work moving through a long day without
/// anybody noticing that waits in front of it.
const FLOOR: f64 = 0.05;

/// What of a budget each class leaves to those above it, where nothing is said: most those that may wait, then those whose
/// misses cost less than others'.
fn reserve(classes: &mut [Class], said: impl Fn(usize) -> Option<f64>) {
    let most = classes.iter().map(|c| c.miss_usd).fold(0.0, f64::max);
    for (i, class) in classes.iter_mut().enumerate() {
        let usual = match class.may_wait {
            true => 0.3,
            false if class.miss_usd < most => 0.1,
            false => 0.0,
        };
        class.reserve = said(i).unwrap_or(usual);
    }
}

/// Two minutes: longer than any answer that a person waits for.
const CLASS_DEADLINE: Duration = Duration::from_secs(120);

/// Longer deadlines hold memory for callers that are long gone.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A [`ClassId`] is a byte, and metrics have a label for each.
const CLASSES_MAX: usize = 64;

impl Lower<'_> {
    fn classes(&mut self, file: &raw::File) -> Vec<Class> {
        let Some(classes) = &file.class else {
            let mut classes = usual_classes();
            reserve(&mut classes, |_| None);
            return classes;
        };
        if classes.is_empty() && !self.dropped.contains("class") {
            let problem = self.error(file.place.key("class"), "there is no class");
            problem.help = Some("leave the key out to get interactive, agent and background".to_owned());
        }
        if let Some(one_too_many) = classes.get(CLASSES_MAX) {
            self.error(one_too_many.place.span.clone(), format!("there are more than {CLASSES_MAX} classes"));
        }
        let mut seen = BTreeMap::new();
        for class in classes {
            self.fresh(&mut seen, "class", &class.name);
        }
        let rest = self.floor_of_the_rest(classes);
        let mut lowered: Vec<Class> =
            classes.iter().take(CLASSES_MAX).map(|class| self.class(class, rest)).collect();
        reserve(&mut lowered, |i| classes[i].reserve.map(|share| share.0));
        lowered
    }

    /// The floor of each class that names none: what the others leave, up to [`FLOOR`].
    fn floor_of_the_rest(&mut self, classes: &[raw::Class]) -> f64 {
        let floors = classes.iter().filter_map(|class| class.floor.as_ref());
        let sum: f64 = floors.clone().map(|floor| floor.value.0).sum();
        // A thousandth of a per cent is dust of decimal fractions.
        if let Some(last) = floors.clone().next_back().filter(|_| sum > 1.0 + 1e-5) {
            let message = format!("the floors of the classes add up to {sum:.2}: more than there is");
            let problem = self.error(last.span.clone(), message);
            problem.help = Some("lower some until they are at most 1 together".to_owned());
        }
        let rest = classes.len() - floors.count();
        ((1.0 - sum).max(0.0) / rest.max(1) as f64).min(FLOOR)
    }

    fn class(&mut self, class: &raw::Class, rest: f64) -> Class {
        let deadline = class.deadline.as_ref().map_or(CLASS_DEADLINE, |d| d.value);
        let deadline_at = class.place.key("deadline");
        for (key, target) in [("first_token", &class.first_token), ("finish", &class.finish)] {
            let Some(target) = target else { continue };
            if target.value.is_zero() {
                self.error(target.span.clone(), format!("`{key}` is zero: every call would miss it"));
            } else if target.value > deadline {
                let message = format!(
                    "the deadline of class `{}` ({}) is shorter than its `{key}` ({})",
                    class.name.value.0,
                    spelt(deadline),
                    spelt(target.value)
                );
                let problem = self.error(deadline_at.clone(), message);
                problem.label = "every call that misses the target would be cut off".to_owned();
                problem.help =
                    Some("set a `deadline` above the target, best at twice the target or more".to_owned());
            }
        }
        if deadline.is_zero() || deadline > DEADLINE_MAX {
            self.error(deadline_at, "a deadline must be longer than zero and at most 24h");
        }
        Class {
            name: class.name.value.0.as_str().into(),
            ttft_target: class.first_token.as_ref().map(|d| d.value),
            finish_target: class.finish.as_ref().map(|d| d.value),
            miss_usd: class.miss_usd.map_or(0.0, |usd| usd.0),
            in_time: self.in_time(class),
            delay_usd_per_s: class.second_usd.map_or(0.0, |usd| usd.0),
            deadline,
            reserve: 0.0,
            may_wait: class.may_wait.unwrap_or(false),
            floor: class.floor.as_ref().map_or(rest, |floor| floor.value.0),
        }
    }

    /// A promise to be in time, of a class that has a target and says what a miss costs.
    fn in_time(&mut self, class: &raw::Class) -> Option<f64> {
        let promised = class.in_time.as_ref()?;
        if !(0.0 < promised.value.0 && promised.value.0 < 1.0) {
            self.error(
                promised.span.clone(),
                "in_time must be between 0 and 1, such as 0.995: no network keeps a promise of all",
            );
        } else if class.first_token.is_none() && class.finish.is_none() {
            self.error(promised.span.clone(), "in_time needs a target: set first_token or finish");
        } else if class.miss_usd.is_none_or(|usd| usd.0 <= 0.0) {
            self.error(
                promised.span.clone(),
                "in_time needs miss_usd: what a miss costs is what grows while too many are late",
            );
        }
        Some(promised.value.0)
    }

    fn default_class(&mut self, file: &raw::File, classes: &[Class]) -> ClassId {
        let Some(name) = file.routing.as_ref().and_then(|r| r.default_class.as_ref()) else {
            return ClassId::default();
        };
        let at = classes.iter().position(|c| *c.name == *name.value.0);
        if at.is_none() && !self.dropped.contains("class") {
            let known = classes.iter().map(|c| &*c.name);
            self.note(unknown("class", &name.value.0, known, name.span.clone(), ""));
        }
        ClassId(at.unwrap_or(0) as u8)
    }
}
