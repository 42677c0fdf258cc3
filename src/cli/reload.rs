//! `gridtie reload` has a running router read its config again, and says what came of it.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use super::admin::{Reach, block_on};
use super::{EXIT_CONFIG, status};
use crate::dialect::gridtie::v1;
use v1::config_change::Kind;
use v1::reload_response::Outcome;

/// Read the config again. Calls under way are not disturbed; a config that is refused changes nothing
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
    /// Which router.
    #[command(flatten)]
    pub reach: Reach,
}

/// Asks, and says what changed.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let answer = block_on(async {
        let message = v1::ReloadRequest { only_try: args.dry_run };
        let router = args.reach.connect().await?;
        router.ask(message, |mut client, ask| async move { client.reload(ask).await }).await
    })?;
    out.write_all(render(&answer).as_bytes())?;
    let refused = answer.outcome() == Outcome::Rejected;
    Ok(if refused { ExitCode::from(EXIT_CONFIG) } else { ExitCode::SUCCESS })
}

fn render(answer: &v1::ReloadResponse) -> String {
    let config = answer.config.clone().unwrap_or_default();
    let mut text = match answer.outcome() {
        Outcome::Taken => format!("{} is taken: {}\n", config.source, status::config(&config)),
        Outcome::Good => format!("{} is right and would be taken\n", config.source),
        Outcome::Unchanged => {
            format!("{} says what runs already: {}\n", config.source, status::config(&config))
        }
        Outcome::Rejected => {
            format!("{} is refused; what runs goes on: {}\n", config.source, status::config(&config))
        }
        Outcome::Unspecified => "the router did not say what came of it\n".to_owned(),
    };
    for why in &answer.why {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {why}");
    }
    for change in answer.changes.iter().filter(|change| change.kind() != Kind::NeedsRestart) {
        let _ = writeln!(text, "  {}", line(change));
    }
    let later: Vec<_> = answer.changes.iter().filter(|c| c.kind() == Kind::NeedsRestart).collect();
    if !later.is_empty() {
        text.push_str("left as it was until the router is started again:\n");
        for change in later {
            let _ = writeln!(text, "  {}", line(change));
        }
    }
    text
}

/// `+ pool leased`, `~ pool owned: key, prices of chat`, `listen.http: 127.0.0.1:1, and the file says 127.0.0.1:2`.
pub(super) fn line(change: &v1::ConfigChange) -> String {
    let sign = match change.kind() {
        Kind::Added => "+ ",
        Kind::Removed => "- ",
        Kind::Changed => "~ ",
        Kind::NeedsRestart | Kind::Unspecified => "",
    };
    let joint = if sign.is_empty() { "." } else { " " };
    let name = if change.name.is_empty() { String::new() } else { format!("{joint}{}", change.name) };
    let note = match change.kind() {
        Kind::Added if change.what == "pool" => ", with a slow start",
        Kind::Removed if change.what == "pool" => ", calls under way finish there",
        _ => "",
    };
    let details =
        if change.details.is_empty() { String::new() } else { format!(": {}", change.details.join(", ")) };
    format!("{sign}{}{name}{note}{details}", change.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: Kind, what: &str, name: &str, details: &[&str]) -> v1::ConfigChange {
        let details = details.iter().map(|d| (*d).to_owned()).collect();
        v1::ConfigChange { kind: kind.into(), what: what.to_owned(), name: name.to_owned(), details }
    }

    fn config() -> v1::ConfigStatus {
        v1::ConfigStatus {
            source: "gridtie.toml".to_owned(),
            sha256: "0123456789abcdef".repeat(4),
            edition: 3,
            ..Default::default()
        }
    }

    #[test]
    fn what_changed_and_what_needs_a_restart_are_told_apart() {
        let answer = v1::ReloadResponse {
            outcome: Outcome::Taken.into(),
            changes: vec![
                change(Kind::Added, "pool", "leased", &[]),
                change(Kind::Removed, "pool", "old", &[]),
                change(Kind::Changed, "pool", "owned", &["key", "prices of chat"]),
                change(Kind::Changed, "auth", "", &["1 key added"]),
                change(Kind::NeedsRestart, "listen", "http", &["127.0.0.1:1, and the file says 127.0.0.1:2"]),
            ],
            why: Vec::new(),
            config: Some(config()),
        };
        let expected = "\
gridtie.toml is taken: edition 3, sha256 0123456789ab
  + pool leased, with a slow start
  - pool old, calls under way finish there
  ~ pool owned: key, prices of chat
  ~ auth: 1 key added
left as it was until the router is started again:
  listen.http: 127.0.0.1:1, and the file says 127.0.0.1:2
";
        assert_eq!(render(&answer), expected);
    }

    #[test]
    fn c02_a_refusal_says_where_and_why_and_what_runs() {
        let answer = v1::ReloadResponse {
            outcome: Outcome::Rejected.into(),
            changes: Vec::new(),
            why: vec!["gridtie.toml:3:1: there is no pool; add [[pool]]".to_owned()],
            config: Some(config()),
        };
        let expected = "\
gridtie.toml is refused; what runs goes on: edition 3, sha256 0123456789ab
  gridtie.toml:3:1: there is no pool; add [[pool]]
";
        assert_eq!(render(&answer), expected);
    }
}
