//! Our own form, for people who have logs: a header that names the columns, in any order.
//!
//! | column | holds |
//! |---|---|
//! | `at_s` | seconds from the start of the trace, with a fraction |
//! | `input`, `output` | tokens |
//! | `class`, `model` | a name from the config; empty or absent: the mix, the model of the simulation |
//! | `client` | a number; empty or absent: 0 |
//! | `session` | any word; calls of one session are a conversation: each prompt begins with the one before |

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::read::{Row, Sheet, lines};
use super::{BadTraffic, LENGTH_MAX_S};
use crate::domain::{ClassId, Instant, ModelId, names};
use crate::engine::Block;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Column {
    At,
    Input,
    Output,
    Class,
    Model,
    Client,
    Session,
}

impl Column {
    const ALL: [(&'static str, Self); 7] = [
        ("at_s", Self::At),
        ("input", Self::Input),
        ("output", Self::Output),
        ("class", Self::Class),
        ("model", Self::Model),
        ("client", Self::Client),
        ("session", Self::Session),
    ];

    pub(super) fn of(cell: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == cell.trim()).map(|(_, column)| *column)
    }
}

pub(super) fn read(header: &str, text: &str, sheet: &mut Sheet<'_>) -> Result<(), BadTraffic> {
    let columns = columns(header, sheet)?;
    for (line, text) in lines(text, 1) {
        let mut row = Row::default();
        let mut found = 0;
        for cell in text.split(',') {
            if let Some(column) = columns.get(found) {
                set(&mut row, *column, line, cell.trim(), sheet)?;
            }
            found += 1;
        }
        if found != columns.len() {
            return Err(sheet.miscounted(line, found, &header.split(',').collect::<Vec<_>>()));
        }
        let named = row.session.map(|hash| Block { hash, tokens: row.input });
        row.prefix = named.map(|block| Arc::from([block]));
        sheet.push(line, row)?;
    }
    Ok(())
}

fn columns(header: &str, sheet: &Sheet<'_>) -> Result<Vec<Column>, BadTraffic> {
    let known = Column::ALL.map(|(name, _)| name);
    let mut columns = Vec::with_capacity(known.len());
    for cell in header.split(',').map(str::trim) {
        let Some(column) = Column::of(cell) else {
            let what = format!("no column is called `{}`", names::shown(cell));
            return Err(sheet.problem(1, what, near(cell, &known, "columns are")));
        };
        if columns.contains(&column) {
            return Err(sheet.problem(1, format!("column {cell} comes twice"), "leave one of them out"));
        }
        columns.push(column);
    }
    for (name, needed) in &Column::ALL[..3] {
        if !columns.contains(needed) {
            let remedy = "at_s, input and output are required; class, model, client and session are not";
            return Err(sheet.problem(1, format!("column {name} is missing"), remedy));
        }
    }
    Ok(columns)
}

fn set(row: &mut Row, column: Column, line: usize, cell: &str, sheet: &Sheet<'_>) -> Result<(), BadTraffic> {
    match column {
        Column::At => row.at = moment(line, cell, sheet)?,
        Column::Input => row.input = sheet.tokens(line, "input", cell)?,
        Column::Output => row.output = sheet.tokens(line, "output", cell)?,
        _ if cell.is_empty() => {}
        Column::Class => row.class = Some(class(line, cell, sheet)?),
        Column::Model => row.model = Some(model(line, cell, sheet)?),
        Column::Client => {
            row.client = cell.parse().map_err(|_| sheet.not(line, "client", cell, "a number of a client"))?;
        }
        Column::Session => row.session = Some(xxh3_64(cell.as_bytes())),
    }
    Ok(())
}

fn moment(line: usize, cell: &str, sheet: &Sheet<'_>) -> Result<Instant, BadTraffic> {
    match cell.parse::<f64>() {
        Ok(secs) if secs > LENGTH_MAX_S as f64 && secs.is_finite() => {
            let what = format!("at_s is {secs:.0} s, more than a year");
            Err(sheet.problem(
                line,
                what,
                "say seconds from the start of the trace, not a date or milliseconds",
            ))
        }
        Ok(secs) if secs >= 0.0 && secs.is_finite() => Ok(Instant::from_secs_f64(secs)),
        _ => Err(sheet.not(line, "at_s", cell, "a number of seconds from the start")),
    }
}

fn class(line: usize, cell: &str, sheet: &Sheet<'_>) -> Result<ClassId, BadTraffic> {
    let catalog = sheet.options.catalog;
    catalog.class_id(cell).ok_or_else(|| {
        let known: Vec<_> = catalog.classes.iter().map(|c| &*c.name).collect();
        let what = format!("no class is called `{}`", names::shown(cell));
        sheet.problem(line, what, near(cell, &known, "classes are"))
    })
}

fn model(line: usize, cell: &str, sheet: &Sheet<'_>) -> Result<ModelId, BadTraffic> {
    let catalog = sheet.options.catalog;
    catalog.model_id(cell).ok_or_else(|| {
        let known: Vec<_> = catalog.models.iter().map(|m| &*m.name).collect();
        let what = format!("no model is called `{}`", names::shown(cell));
        sheet.problem(line, what, near(cell, &known, "models are"))
    })
}

/// Names listed in a message at most.
const LISTED: usize = 12;

fn near(name: &str, known: &[&str], are: &str) -> String {
    match names::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{are} {}", known[..known.len().min(LISTED)].join(", ")),
    }
}
