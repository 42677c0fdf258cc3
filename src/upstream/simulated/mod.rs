//! A pool that exists only here: engines in virtual time behind the [`Upstream`] seam.
//!
//! It answers like a real one would: after the network's delay, as fast as its engine decodes, with text, tool calls,
//! JSON or vectors that fit the request, with a bill, and with the faults it was told to have. Everything it says and
//! draws depends on the request, the attempt and its seed alone. It speaks no wire, so its answers are canonical.

mod answering;
mod endpoint;
mod prompt;
mod schema;
mod script;
pub mod settings;
mod vectors;
mod words;

#[cfg(test)]
mod tests;

pub use settings::{OutputLength, Settings};

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Attempt, Reply, Upstream};
use crate::clock::Clock;
use crate::dialect::FieldError;
use crate::dialect::openai::decode_request;
use crate::domain::names::shown;
use crate::domain::request::{Ask, Chat, Format};
use crate::domain::{Allowances, Body, Duration, Failure, FailureKind};
use crate::engine::draw::mix;
use crate::engine::{Door, Gate, Job, Load, Passage, told};

use answering::{Answering, Contact};
use endpoint::Endpoint;
use prompt::{Prompt, sampling};
use script::Script;

/// Choices of one request at most, over all its prompts: as OpenAI limits `n`.
const MAX_CHOICES: usize = 128;

/// Texts in one embedding request at most: as OpenAI limits them.
const MAX_TEXTS: usize = 2_048;

/// See the module. Cheap to clone; all clones are the same pool.
#[derive(Clone)]
pub struct Simulated(Arc<Pool>);

struct Pool {
    settings: Settings,
    clock: Clock,
    gate: Mutex<Gate>,
    endpoints: Vec<Arc<Endpoint>>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Simulated").field(&self.0.settings.name).finish()
    }
}

impl Simulated {
    /// An idle pool.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let endpoints = settings.engines.iter().map(|e| Endpoint::new(*e, clock.clone())).collect();
        let gate = Mutex::new(Gate::new(settings.door.clone()));
        Self(Arc::new(Pool { settings, clock, gate, endpoints }))
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Another way in, and other faults, from the next request on. A door that refuses connections also breaks the
    /// answers under way: the pool has gone.
    pub fn set_door(&self, door: Door) {
        let refuse = door.refuse;
        self.0.gate().set(door);
        if refuse {
            self.0.endpoints.iter().for_each(|e| e.lose_all());
        }
    }

    /// That endpoint takes `factor` times as long from now on; 1 is normal. False if there is no such endpoint.
    pub fn slow_down(&self, endpoint: u32, factor: f64) -> bool {
        let found = self.0.endpoints.get(endpoint as usize);
        found.into_iter().for_each(|e| e.slow_down(factor));
        found.is_some()
    }

    /// The clock it lives by.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Would a connection be taken now?
    pub fn reachable(&self) -> bool {
        self.0.gate().reachable(self.0.clock.now())
    }

    /// What is left of its limits, as a provider would say.
    pub fn left(&self) -> Allowances {
        self.0.gate().left(self.0.clock.mono())
    }

    /// How busy each endpoint is.
    pub fn loads(&self) -> Vec<Load> {
        self.0.endpoints.iter().map(|e| e.load()).collect()
    }

    /// Energy used so far by all endpoints, in joules.
    pub fn energy_j(&self) -> f64 {
        self.0.endpoints.iter().map(|e| e.energy_j()).sum()
    }
}

impl Upstream for Simulated {
    fn call(&self, attempt: Attempt) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>> {
        let pool = Arc::clone(&self.0);
        Box::pin(async move { pool.call(&attempt).await })
    }
}

impl Pool {
    async fn call(&self, attempt: &Attempt) -> Result<Reply, Failure> {
        let delay = self.gate().door().delay;
        tokio::time::sleep(delay).await;
        match self.begin(attempt, delay) {
            Ok(answering) => answering.reply(attempt.request.stream).await,
            Err(failure) => {
                tokio::time::sleep(delay).await;
                Err(failure)
            }
        }
    }

    /// The request has arrived: turns it away or hands it to an engine.
    fn begin(&self, attempt: &Attempt, delay: Duration) -> Result<Answering, Failure> {
        let endpoint = self.endpoint(&attempt.address.origin).ok_or_else(|| {
            Failure::new(FailureKind::Connect, format!("no endpoint {}", shown(&attempt.address.origin)))
        })?;
        let seed = mix(mix(self.settings.seed, attempt.call.0), u64::from(attempt.no.0));
        let read = self.read(attempt);
        let tokens =
            read.as_ref().map_or(0, |(ask, prompt, script)| prompt.input.saturating_add(output(ask, script)));
        // The door comes first: behind a closed one nobody finds fault with a request.
        let passage = self.gate().knock(self.clock.now(), seed, tokens).map_err(Failure::from)?;
        let (ask, prompt, script) = read?;
        let ask = &*ask;
        let vectors = match ask {
            Ask::Embed(embed) => Some(vectors::of(embed, &attempt.upstream_model)),
            Ask::Chat(_) | Ask::Completion(_) => None,
        };
        let job = Job {
            input: prompt.input,
            output: output(ask, &script),
            sequences: script.sequences().max(1),
            report_every: u32::from(attempt.request.stream || passage.breaks.is_some()),
            prefix: prompt.blocks.into(),
            seed,
        };
        let running = endpoint.submit(job).map_err(Failure::from)?;
        let id = format!("sim-{}-{}", attempt.call, attempt.no.0);
        let Passage { breaks, contact_ends } = passage;
        let clock = self.clock.clone();
        let contact = contact_ends.map(|ends| Contact::until(ends, delay, &clock));
        Ok(Answering { running, script, vectors, clock, delay, breaks, contact, input: prompt.input, id })
    }

    /// What is asked, as far as it can be answered.
    fn read<'a>(&self, attempt: &'a Attempt) -> Result<(Cow<'a, Ask>, Prompt, Script), Failure> {
        self.knows(&attempt.upstream_model)?;
        let ask = match &attempt.request.body {
            Body::Canonical(ask) => Cow::Borrowed(&**ask),
            Body::OpenAi(body) => Cow::Owned(decode_request(attempt.request.kind, body).map_err(wrong)?),
        };
        check(&ask)?;
        let prompt = Prompt::of(&ask, &attempt.upstream_model);
        self.check_window(&ask, &prompt)?;
        let script = Script::write(&ask, &prompt, self.settings.output);
        Ok((ask, prompt, script))
    }

    /// `sim://<pool>/<i>`.
    fn endpoint(&self, origin: &str) -> Option<&Arc<Endpoint>> {
        let (pool, i) = origin.strip_prefix("sim://")?.rsplit_once('/')?;
        self.endpoints.get(i.parse::<usize>().ok()?).filter(|_| *pool == *self.settings.name)
    }

    fn knows(&self, model: &str) -> Result<(), Failure> {
        let models = &self.settings.models;
        if models.is_empty() || models.iter().any(|m| **m == *model) {
            return Ok(());
        }
        let message = format!("The model `{}` does not exist", shown(model));
        Err(told(FailureKind::ModelMissing, 404, message, Some("model"), Some("model_not_found")))
    }

    fn check_window(&self, ask: &Ask, prompt: &Prompt) -> Result<(), Failure> {
        let output = sampling(ask).and_then(|s| s.max_tokens).unwrap_or(0);
        let Some(window) = self.settings.context_window else { return Ok(()) };
        let wanted = prompt.input.saturating_add(output);
        if wanted <= window {
            return Ok(());
        }
        let message = format!(
            "This model's maximum context length is {window} tokens, and {wanted} were asked for ({} in the prompt, {output} in the answer)",
            prompt.input
        );
        Err(told(FailureKind::ContextTooLong, 400, message, None, Some("context_length_exceeded")))
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens that are made for the answer.
fn output(ask: &Ask, script: &Script) -> u32 {
    if matches!(ask, Ask::Embed(_)) { 0 } else { script.steps() }
}

/// What even a patient model refuses.
fn check(ask: &Ask) -> Result<(), Failure> {
    let n = sampling(ask).and_then(|s| s.n).unwrap_or(1) as usize;
    let problem = match ask {
        Ask::Chat(chat) if chat.messages.is_empty() => Some(("messages", "must not be empty".to_owned())),
        Ask::Chat(Chat { format: Format::JsonSchema { schema, .. }, .. })
            if serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(schema.get()).is_err() =>
        {
            Some(("response_format", "the schema must be an object".to_owned()))
        }
        Ask::Chat(_) => choices(n),
        Ask::Completion(c) if c.prompts.is_empty() => Some(("prompt", "must not be empty".to_owned())),
        Ask::Completion(c) => choices(n.saturating_mul(c.prompts.len())),
        Ask::Embed(e) if e.inputs.is_empty() || e.inputs.len() > MAX_TEXTS => {
            Some(("input", format!("must hold 1 to {MAX_TEXTS} texts")))
        }
        Ask::Embed(e) if e.dimensions.is_some_and(|d| !vectors::LENGTHS.contains(&d)) => Some((
            "dimensions",
            format!("must be {} to {}", vectors::LENGTHS.start(), vectors::LENGTHS.end()),
        )),
        Ask::Embed(_) => None,
    };
    let Some((field, message)) = problem else { return Ok(()) };
    Err(told(FailureKind::BadRequest, 400, format!("{field}: {message}"), Some(field), Some("invalid_value")))
}

fn choices(n: usize) -> Option<(&'static str, String)> {
    (n > MAX_CHOICES).then(|| ("n", format!("at most {MAX_CHOICES} choices over all prompts")))
}

fn wrong(error: FieldError) -> Failure {
    let FieldError { field, message, code } = error;
    told(FailureKind::BadRequest, 400, message, field.as_deref(), code.as_deref())
}
