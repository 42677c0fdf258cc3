//! Who asks: a client's key becomes a tenant, an admin's token becomes a yes.
//!
//! Pure functions over header values, so that every face asks the same way. A client key is 256 random bits, so that
//! a plain SHA-256 of it is enough to keep: nobody can try 2^256 keys, and salt or a slow hash only help where people
//! choose the secret. What is kept is public as far as impersonation goes.
//!
//! A lookup finds the hash by its leading bytes and then compares all of it in constant time. The time that the
//! search takes depends on the hash of what was sent, which the sender cannot steer towards a stored one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::{Refusal, TenantId};

/// What every client key begins with, so that a leaked one is found by scanners.
pub const KEY_PREFIX: &str = "gtk_";

/// A longer header is no key and is not hashed: hashing costs the sender nothing and us something.
const KEY_MAX: usize = 256;

/// SHA-256 of a client key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The leading bytes, to search by.
    const fn index(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Parses `sha256:` and 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:")?.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(Self(hash))
    }
}

/// `sha256:` and 64 hex digits.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{:02x}{:02x}...", self.0[0], self.0[1])
    }
}

/// A key that we know.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// Its hash.
    pub hash: KeyHash,
    /// Whose it is.
    pub tenant: TenantId,
    /// How it begins, for people: `gtk_` and a few characters that open nothing.
    pub prefix: Option<Arc<str>>,
}

/// What an operator may set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Client keys. None at all: everybody is the anonymous tenant.
    pub keys: Vec<ClientKey>,
    /// What admin callers that are not on loopback must show.
    pub admin_token: Option<SecretString>,
}

impl Settings {
    /// Is the token of admin callers the same, or is there none in both?
    pub fn same_token(&self, other: &Self) -> bool {
        let token = |settings: &Self| settings.admin_token.as_ref().map(|t| t.expose_secret().to_owned());
        token(self) == token(other)
    }
}

/// Decides who asks.
#[derive(Clone, Debug)]
pub struct Gate {
    /// By hash.
    keys: Vec<ClientKey>,
    admin_token: Option<SecretString>,
}

impl Gate {
    /// Ready to decide.
    pub fn new(settings: Settings) -> Self {
        let Settings { mut keys, admin_token } = settings;
        keys.sort_by_key(|key| key.hash);
        Self { keys, admin_token }
    }

    /// True if no key is needed.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose call this is, from `authorization: Bearer KEY` or `x-api-key: KEY`. An open gate looks at neither, because
    /// SDKs insist on sending some key.
    pub fn client(&self, headers: &HeaderMap) -> Result<TenantId, Refusal> {
        if self.is_open() {
            return Ok(TenantId::default());
        }
        self.tenant(shown(headers)?).ok_or(Refusal::Unauthenticated)
    }

    fn tenant(&self, key: &str) -> Option<TenantId> {
        let hash = KeyHash::of(key);
        let at = self.keys.binary_search_by_key(&hash.index(), |known| known.hash.index()).ok()?;
        let known = self.keys.get(at)?;
        bool::from(known.hash.0.ct_eq(&hash.0)).then_some(known.tenant)
    }

    /// May this caller use the admin listener? Over loopback yes: whoever is on this machine can stop the process
    /// anyway. From elsewhere the token must be shown; without a token set, nobody from elsewhere comes in.
    pub fn admin(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        if peer.to_canonical().is_loopback() {
            return Ok(());
        }
        let Some(token) = &self.admin_token else { return Err(Refusal::Unauthenticated) };
        // Hashed first, so that not even the length of the token shows in the time.
        let (given, token) = (KeyHash::of(shown(headers)?), KeyHash::of(token.expose_secret()));
        if bool::from(given.0.ct_eq(&token.0)) { Ok(()) } else { Err(Refusal::Unauthenticated) }
    }
}

/// The one key that the caller shows. Two different ones are a mistake or a trick: neither is taken.
fn shown(headers: &HeaderMap) -> Result<&str, Refusal> {
    let bearer = headers.get_all(AUTHORIZATION).iter().map(bearer);
    let api_key = headers.get_all("x-api-key").iter().map(|value| value.to_str().ok().map(str::trim));
    let mut found = None;
    for key in bearer.chain(api_key) {
        let key = key.filter(|k| !k.is_empty() && k.len() <= KEY_MAX).ok_or(Refusal::Unauthenticated)?;
        if found.is_some_and(|other| other != key) {
            return Err(Refusal::Unauthenticated);
        }
        found = Some(key);
    }
    found.ok_or(Refusal::Unauthenticated)
}

fn bearer(value: &HeaderValue) -> Option<&str> {
    let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests;
