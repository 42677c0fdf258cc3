//! `gridtie key new`: makes a client's key, shows it once, and says what to put into the config.

use std::io::Write;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::edge::auth::{KEY_PREFIX, KeyHash};

/// What to do with keys.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Make a key for a tenant, shown once
    New(New),
}

/// Make a key for a tenant.
#[derive(clap::Args, Clone, Debug)]
pub struct New {
    /// Whose key it is
    #[arg(long, value_name = "NAME", value_parser = tenant)]
    pub tenant: String,
}

/// So many characters of a key stay in the config, to tell keys apart: 24 of 256 bits.
const SHOWN: usize = KEY_PREFIX.len() + 4;

fn tenant(name: &str) -> Result<String, String> {
    if crate::config::is_name(name) {
        return Ok(name.to_owned());
    }
    Err("a name is 1 to 128 visible ASCII characters without spaces, commas, quotes or braces".to_owned())
}

/// Prints a new key. `random` must come from the system's source of secrets: it is the key.
pub fn new(args: &New, random: [u8; 32], out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    writeln!(out, "{key}\n")?;
    writeln!(out, "This is the only time the key is shown. Add this to the config:\n")?;
    writeln!(out, "[[auth.key]]")?;
    writeln!(out, "tenant = \"{}\"", args.tenant)?;
    writeln!(out, "prefix = \"{}\"", &key[..SHOWN])?;
    writeln!(out, "hash = \"{}\"", KeyHash::of(&key))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::config::{DEFAULT, Surroundings, load_str};
    use crate::edge::auth::Gate;

    #[test]
    fn a_new_key_opens_the_door_of_a_config_with_its_snippet() {
        let mut out = Vec::new();
        new(&New { tenant: "team-a".to_owned() }, [0xa5; 32], &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let key = out.lines().next().unwrap();
        assert!(key.starts_with(KEY_PREFIX) && key.len() == KEY_PREFIX.len() + 43, "{key}");
        assert_eq!(out.matches(key).count(), 1, "shown once");

        let snippet = &out[out.find("[[auth.key]]").unwrap()..];
        let text = format!("{DEFAULT}\n{snippet}");
        let checked = load_str("x.toml", &text, Path::new(""), &Surroundings::Unread).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
        let tenant = Gate::new(checked.auth).client(&headers).unwrap();
        assert_eq!(&*checked.catalog.tenant(tenant).name, "team-a");
    }

    #[test]
    fn a_tenant_that_would_break_the_snippet_is_refused() {
        assert!(tenant("team-a").is_ok());
        assert!(tenant("a\"\nhash = \"x").is_err());
        assert!(tenant("").is_err());
    }
}
