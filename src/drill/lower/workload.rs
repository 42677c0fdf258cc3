//! Who calls: a file beside the drill's, or a description in it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, ValueDeserializer};

use super::Lower;
use crate::config::Problem;
use crate::config::read::Value;
use crate::domain::{Duration, Instant};
use crate::drill::raw;
use crate::sim::source::{Part, Source, Window};
use crate::sim::traffic::Described;

/// A trace of a drill at most: it is minutes, not months.
const TRACE_MAX: u64 = 256 << 20;

impl Lower<'_> {
    pub(super) fn source(&mut self, raw: &raw::Workload, value: Option<&Value<'_>>) -> Option<Source> {
        let length = raw.length.value;
        let table = value.and_then(|value| value.get_ref().as_table())?;
        let here = [raw.chat, raw.agents, raw.nightly, raw.bursty].iter().any(Option::is_some);
        let part = match &raw.file {
            Some(file) if here => {
                self.error(file.span.clone(), "the workload is said twice: in a file and here");
                return None;
            }
            Some(file) => self.part(&file.value, file.span.clone())?,
            None if here => Part::Described(Box::new(self.described(table, length)?)),
            None => {
                let problem = self.error(raw.place.span.clone(), "nobody calls");
                problem.help =
                    Some("add file = \"...\", or [[workload.bursty]] with per_s = 20, for example".into());
                return None;
            }
        };
        if let Some(zero) = raw.scale.as_ref().filter(|scale| scale.value.0 <= 0.0) {
            self.error(zero.span.clone(), "expected a number above zero");
        }
        let window = Window::Between(Instant::START, Instant::START + length);
        let scale = raw.scale.as_ref().map_or(1.0, |scale| scale.value.0);
        Some(Source { parts: vec![part], window, scale, shape: None })
    }

    fn part(&mut self, file: &str, span: std::ops::Range<usize>) -> Option<Part> {
        let path = self.folder.join(file);
        let read = crate::config::read_file(&path, TRACE_MAX)
            .and_then(|text| Part::read(file, text).map_err(|bad| bad.to_string()));
        read.map_err(|why| self.error(span, format!("the workload cannot be read: {why}"))).ok()
    }

    fn described(&mut self, table: &DeTable<'_>, length: Duration) -> Option<Described> {
        let chat = self.list(table, "chat");
        let agents = self.list(table, "agents");
        let nightly = self.list(table, "nightly");
        let bursty = self.list(table, "bursty");
        Some(Described {
            name: "as the drill says".to_owned(),
            hours: length.as_secs_f64() / 3600.0,
            chat: chat?,
            agents: agents?,
            nightly: nightly?,
            bursty: bursty?,
            surge: Vec::new(),
        })
    }

    /// As the descriptions of simulations are read; a mistake keeps its place in the file.
    fn list<T: DeserializeOwned>(&mut self, table: &DeTable<'_>, key: &str) -> Option<Vec<T>> {
        let Some(value) = table.get(key) else { return Some(Vec::new()) };
        let (span, owned) = (value.span(), value.get_ref().clone());
        match Vec::<T>::deserialize(ValueDeserializer::from(Spanned::new(span.clone(), owned))) {
            Ok(list) => Some(list),
            Err(error) => {
                let span = error.span().unwrap_or(span);
                self.problems.push(Problem::error(span, error.message().trim_end()));
                None
            }
        }
    }
}
