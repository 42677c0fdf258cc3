//! From what a file says to a drill: names looked up, moments worked out, and everything checked that would waste the
//! time of a run. Goes on after a mistake, so that one look finds them all.

mod expect;
mod steps;
mod workload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw;
use super::script::{Control, Drill, Preconditions, Script, Target};
use crate::config::read::{At, Read as _, Reader, unknown};
use crate::config::values::Name;
use crate::config::{self, Checked, Problem, Problems, Surroundings, UpstreamSettings};
use crate::domain::{Catalog, ClassId, Duration, PoolId};

/// Routers side by side at most, as in a simulation.
const ROUTERS_MAX: u32 = 16;

/// Steps and targets of one drill: more are several drills.
const STEPS_MAX: usize = 64;

/// A drill is watched, not left alone: a day is a simulation.
const LENGTH_MAX: Duration = Duration::from_secs(24 * 3600);

/// What everything must hold for to count as recovered.
const HOLD: Duration = Duration::from_secs(30);

/// After the last fault.
const RESTORE_WITHIN: Duration = Duration::from_secs(60);

/// Loads a drill from a file.
pub fn load(path: &Path) -> Result<Drill, Problems> {
    let name = path.display().to_string();
    match config::read_file(path, config::FILE_MAX) {
        Ok(text) => load_str(&name, &text, path.parent().unwrap_or(Path::new(""))),
        Err(why) => Err(Problems::new(&name, "", &[], vec![Problem::whole(why)])),
    }
}

/// Loads a drill from a text. `name` is for messages; paths are relative to `folder`.
pub fn load_str(name: &str, text: &str, folder: &Path) -> Result<Drill, Problems> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let problems = |list: Vec<Problem>| Problems::new(name, text, &[], list);
    if !errors.is_empty() {
        return Err(problems(errors.iter().map(Problem::of_syntax).collect()));
    }
    let root = Spanned::new(0..0, DeValue::Table(table.into_inner()));
    let mut reader = Reader::default();
    let file = raw::File::read(&root, &mut reader);
    let Some(file) = file else { return Err(problems(reader.problems)) };
    let part = |key: &str| root.get_ref().as_table().and_then(|table| table.get(key));
    let (checked, config_sha256) = match (&file.config, part("config")) {
        (Some(At { value: raw::Config::Here, .. }), Some(value)) => {
            let whole = config::load_value(name, text, (value, &[]), folder, &Surroundings::Unread)?;
            (whole, None)
        }
        (Some(At { value: raw::Config::Path(path), span }), _) => {
            let path: PathBuf = folder.join(path);
            let text = config::read_file(&path, config::FILE_MAX).map_err(|why| {
                let what = format!("the config {} cannot be read: {why}", path.display());
                problems(vec![Problem::error(span.clone(), what)])
            })?;
            let at = path.parent().unwrap_or(Path::new(""));
            let name = path.display().to_string();
            (config::load_str(&name, &text, at, &Surroundings::Unread)?, Some(sha256(&text)))
        }
        _ => (config::embedded(), Some(sha256(config::DEFAULT))),
    };
    let mut lower = Lower { checked: &checked, folder, problems: reader.problems };
    let script = lower.script(&file);
    let source = lower.source(&file.workload, part("workload"));
    // What is only probably not meant is no use to a drill: it was told of the config by `gridtie check`.
    problems(lower.problems).into_warnings()?;
    let Some(source) = source else { return Err(problems(vec![Problem::whole("there is no workload")])) };
    let file = Path::new(name).file_name().map_or_else(|| name.into(), |n| n.to_string_lossy());
    Ok(Drill { file: file.into(), sha256: sha256(text), script, config: checked, config_sha256, source })
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What names mean, and what is wrong so far.
struct Lower<'a> {
    checked: &'a Checked,
    folder: &'a Path,
    problems: Vec<Problem>,
}

impl Lower<'_> {
    fn script(&mut self, file: &raw::File) -> Script {
        let length = file.workload.length.value;
        if length.is_zero() || length > LENGTH_MAX {
            self.error(file.workload.length.span.clone(), "a drill is longer than nothing and at most a day");
        }
        let too_many =
            [file.step.get(STEPS_MAX).map(|s| &s.place), file.target.get(STEPS_MAX).map(|t| &t.place)];
        for place in too_many.into_iter().flatten() {
            self.error(place.span.clone(), format!("more than {STEPS_MAX} are several drills"));
        }
        let targets: Vec<Target> = file.target.iter().take(STEPS_MAX).map(|raw| self.target(raw)).collect();
        self.twice("target", file.target.iter().map(|target| &target.name));
        let routers =
            self.routers(file.routers.as_ref()).unwrap_or_else(|| self.checked.simulate.routers.max(1));
        let steps = self.steps(file, &targets, routers, length);
        let expect = self.expect(file.expect.as_ref());
        let steady = file.steady_state.iter().filter_map(|raw| self.hypothesis(raw, expect.hold)).collect();
        if file.steady_state.is_empty() {
            let mut problem = Problem::whole("the drill says nothing about what must hold");
            problem.help = Some(
                "add [[steady_state]] with sli = \"success_ratio\" and min = 0.999, for example".to_owned(),
            );
            self.problems.push(problem);
        }
        let aborts = file.abort.iter().filter_map(|raw| self.abort(raw)).collect();
        let restore = file.restore.as_ref().and_then(|restore| restore.timeout);
        Script {
            name: file.name.value.0.as_str().into(),
            description: file.description.clone().unwrap_or_default(),
            seed: file.seed.map_or(1, u64::from),
            length,
            routers,
            targets,
            preconditions: preconditions(file.preconditions.as_ref()),
            steady,
            steps,
            expect,
            aborts,
            restore_within: restore.unwrap_or(RESTORE_WITHIN),
            control: file.control.as_ref().map(|raw| self.control(raw)),
        }
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.checked.catalog)
    }

    fn error(&mut self, span: std::ops::Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem::error(span, message));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    fn pool(&mut self, name: &At<Name>) -> Option<PoolId> {
        let catalog = self.catalog();
        let found = catalog.pool_id(&name.value.0);
        if found.is_none() {
            let known = catalog.pools.iter().map(|pool| &*pool.name);
            self.problems.push(unknown("pool", &name.value.0, known, name.span.clone(), ""));
        }
        found
    }

    fn class(&mut self, name: Option<&At<Name>>) -> Option<ClassId> {
        let catalog = self.catalog();
        let name = name?;
        let found = catalog.class_id(&name.value.0);
        if found.is_none() {
            let known = catalog.classes.iter().map(|class| &*class.name);
            self.problems.push(unknown("class", &name.value.0, known, name.span.clone(), ""));
        }
        found
    }

    fn twice<'n>(&mut self, what: &str, names: impl Iterator<Item = &'n At<Name>>) {
        let mut seen: Vec<&str> = Vec::new();
        for name in names {
            if seen.contains(&name.value.0.as_str()) {
                self.error(name.span.clone(), format!("the {what} `{}` is there twice", name.value.0));
            }
            seen.push(&name.value.0);
        }
    }

    fn routers(&mut self, raw: Option<&At<u32>>) -> Option<u16> {
        let raw = raw?;
        if !(1..=ROUTERS_MAX).contains(&raw.value) {
            self.error(raw.span.clone(), format!("expected 1 to {ROUTERS_MAX} routers"));
        }
        Some(raw.value.clamp(1, ROUTERS_MAX) as u16)
    }

    fn target(&mut self, raw: &raw::Target) -> Target {
        let pool = self.pool(&raw.pool);
        let count = pool.map_or(0, |pool| match &self.checked.upstreams[pool.index()] {
            UpstreamSettings::Simulated(simulated) => simulated.engines.len(),
            // Such pools are played as one provider.
            UpstreamSettings::OpenAi(_) | UpstreamSettings::Grpc(_) => 1,
        });
        for endpoint in raw.endpoints.iter().flatten().filter(|_| pool.is_some()) {
            if endpoint.value as usize >= count {
                let message = format!("`{}` has {count} endpoints, counted from 0", raw.pool.value.0);
                self.error(endpoint.span.clone(), message);
            }
        }
        if raw.endpoints.as_ref().is_some_and(Vec::is_empty) {
            self.error(raw.place.key("endpoints"), "nothing is a target here").help =
                Some("leave `endpoints` out for all of them".to_owned());
        }
        Target {
            name: raw.name.value.0.as_str().into(),
            pool: pool.unwrap_or(PoolId(0)),
            endpoints: raw.endpoints.iter().flatten().map(|endpoint| endpoint.value as usize).collect(),
        }
    }

    fn control(&mut self, raw: &raw::Control) -> Control {
        let control = Control {
            no_failover: raw.failover == Some(false),
            no_breakers: raw.breakers == Some(false),
            without: raw.without.iter().flatten().filter_map(|name| self.pool(name)).collect(),
            routers: self.routers(raw.routers.as_ref()),
        };
        if control == Control::default() {
            let problem = self.error(raw.place.span.clone(), "the control lacks nothing");
            problem.help =
                Some("say failover = false, breakers = false, without = [..] or routers = 1".into());
        }
        control
    }
}

fn preconditions(raw: Option<&raw::Preconditions>) -> Preconditions {
    let Some(raw) = raw else { return Preconditions::default() };
    Preconditions {
        headroom_min: raw.headroom_min.map(|least| least.0),
        calls_min: raw.calls_min.map_or(0, u64::from),
    }
}
