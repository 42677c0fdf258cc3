//! Secrets by reference. A config names where a secret is (`env:NAME`, `file:/path`), never the secret itself; this
//! is the only module that reads environment variables and files, and what it read shows itself to nobody by accident.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// A key file larger than this is a mistake (a whole CA bundle is about 250 KiB).
const FILE_MAX: u64 = 1 << 20;

/// Where a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reference {
    /// In an environment variable.
    Env(String),
    /// In a file; a relative path is relative to the config's folder.
    File(PathBuf),
}

impl Reference {
    /// Parses `env:NAME` or `file:PATH`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            let sound = |c: char| c.is_ascii_alphanumeric() || c == '_';
            return (!name.is_empty() && name.chars().all(sound)).then(|| Self::Env(name.to_owned()));
        }
        let path = text.strip_prefix("file:")?;
        (!path.is_empty() && !path.contains('\0')).then(|| Self::File(path.into()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// A secret and where it came from. Debug and errors show only the latter.
#[derive(Clone)]
pub struct Secret {
    reference: Reference,
    value: SecretString,
    /// Of the text that it was read from.
    digest: String,
}

impl Secret {
    /// Where it came from, to read it again after a rotation.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The secret itself. Every use of this is a place to look at twice.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// SHA-256 of the text that it was read from, in hex: to see that a file has changed.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// For an upstream or an edge to keep.
    pub fn value(&self) -> &SecretString {
        &self.value
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}

/// Where references are looked up.
#[derive(Clone, Default)]
pub enum Surroundings {
    /// In the process's environment and the file system.
    #[default]
    Real,
    /// Nowhere: every reference is taken for granted and reads as empty. For `check --no-secrets`, where the
    /// machine that checks is not the one that serves.
    Unread,
    /// In these, by the text of the reference. For tests.
    Given(BTreeMap<String, String>),
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "Real",
            Self::Unread => "Unread",
            Self::Given(_) => "Given",
        })
    }
}

impl Surroundings {
    /// True if references are taken for granted, so that what they stand for cannot be checked.
    pub(super) const fn unread(&self) -> bool {
        matches!(self, Self::Unread)
    }

    /// Reads a secret. A trailing line break is not part of it. The error says what is wrong, without the reference
    /// and without a value.
    pub fn read(&self, reference: &Reference, folder: &Path) -> Result<Secret, String> {
        let text = match self {
            Self::Unread => String::new(),
            Self::Given(values) => values.get(&reference.to_string()).cloned().ok_or("it is not given")?,
            Self::Real => match reference {
                Reference::Env(name) => std::env::var(name).map_err(|e| match e {
                    std::env::VarError::NotPresent => "the environment variable is not set",
                    std::env::VarError::NotUnicode(_) => "the environment variable is not UTF-8",
                })?,
                Reference::File(path) => file(&folder.join(path), FILE_MAX)?,
            },
        };
        let value = text.strip_suffix('\n').map_or(&*text, |t| t.strip_suffix('\r').unwrap_or(t));
        if value.is_empty() && !matches!(self, Self::Unread) {
            return Err("it is empty".to_owned());
        }
        Ok(Secret { reference: reference.clone(), value: value.to_owned().into(), digest: digest(&text) })
    }
}

/// Did the user ask for no colours (<https://no-color.org>)? Here, because this is where the environment is read.
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// SHA-256 of a text, in hex.
pub fn digest(text: &str) -> String {
    use sha2::Digest as _;
    use std::fmt::Write as _;
    sha2::Sha256::digest(text.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The digest of what is in a file of a config or a secret now; none if it cannot be read.
pub fn digest_of(path: &Path) -> Option<String> {
    file(path, FILE_MAX).ok().map(|text| digest(&text))
}

/// Reads a text file of at most `max` bytes.
pub(crate) fn file(path: &Path, max: u64) -> Result<String, String> {
    use std::io::Read;
    let open = std::fs::File::open(path).map_err(|e| cause(&e))?;
    let mut text = String::new();
    open.take(max + 1).read_to_string(&mut text).map_err(|e| cause(&e))?;
    if text.len() as u64 > max {
        return Err(format!("the file is larger than {max} bytes"));
    }
    Ok(text)
}

fn cause(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "this user may not read the file".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::InvalidData => "the file is not UTF-8".to_owned(),
        _ => format!("the file cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(reference: &str, value: &str) -> Surroundings {
        Surroundings::Given(BTreeMap::from([(reference.to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_secret_hides_in_debug_and_loses_its_line_break() {
        let reference = Reference::parse("env:K").unwrap();
        let secret = given("env:K", "sk-canary\r\n").read(&reference, Path::new("")).unwrap();
        assert_eq!(secret.expose(), "sk-canary");
        assert_eq!(format!("{secret:?}"), "Secret(env:K)");
    }

    #[test]
    fn only_references_parse() {
        assert!(Reference::parse("env:CLOUD_KEY").is_some());
        assert!(Reference::parse("file:/run/secrets/key").is_some());
        for wrong in ["sk-abc", "env:", "env:A B", "file:", "ENV:X", "environment:X"] {
            assert_eq!(Reference::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_missing_or_empty_secret_is_an_error_that_shows_nothing() {
        let reference = Reference::parse("file:/nonexistent/gridtie/key").unwrap();
        assert_eq!(Surroundings::Real.read(&reference, Path::new("")).unwrap_err(), "there is no such file");
        let reference = Reference::parse("env:K").unwrap();
        assert_eq!(given("env:K", "\n").read(&reference, Path::new("")).unwrap_err(), "it is empty");
    }
}
