//! Origins of endpoints: what may be dialled at all, and what only where the operator said so.
//!
//! A name is judged by its spelling here; what it resolves to is judged again when it is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::domain::Reach;

/// A parsed origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// `dns+` stood before it: every address of the name is an endpoint.
    pub many: bool,
    /// `https`.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: Arc<str>,
    /// The port, given or the scheme's own.
    pub port: u16,
    /// `scheme://authority` as configured.
    pub text: Arc<str>,
}

/// Metadata services under names.
const METADATA_NAMES: [&str; 4] = ["metadata", "metadata.google.internal", "metadata.goog", "instance-data"];

impl Origin {
    /// Parses `https://host`, `http://host:port`, `dns+http://name:port`. The error says what is wrong and never shows
    /// the text, which could hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (many, rest) = match text.strip_prefix("dns+") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (tls, authority) = if let Some(authority) = rest.strip_prefix("https://") {
            (true, authority)
        } else if let Some(authority) = rest.strip_prefix("http://") {
            (false, authority)
        } else {
            return Err("it must begin with https://, http:// or dns+http://");
        };
        if authority.contains('@') {
            return Err("it must not hold a user or password; a key goes into `key`");
        }
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#']) {
            return Err("it must end after the port; a path goes into `base_path`");
        }
        let (host, port) = split(authority)?;
        let port = match port {
            None => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => {
                port.parse().ok().filter(|p| *p > 0).ok_or("its port is not one from 1 to 65535")?
            }
        };
        if many && host.parse::<IpAddr>().is_ok() {
            return Err("`dns+` needs a name, not an address");
        }
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { many, tls, host: host.into(), port, text: format!("{scheme}://{authority}").into() })
    }

    /// How near it is, as far as its spelling tells.
    pub(super) fn reach(&self) -> Reach {
        let name = self.host.trim_end_matches('.').to_ascii_lowercase();
        match self.host.parse::<IpAddr>() {
            Ok(ip) => Reach::of(ip),
            Err(_) if METADATA_NAMES.contains(&&*name) => Reach::Forbidden,
            Err(_) if name == "localhost" || name.ends_with(".localhost") => Reach::Loopback,
            Err(_) if name.ends_with(".internal") || name.ends_with(".svc") || name.ends_with(".local") => {
                Reach::Private
            }
            Err(_) if !name.contains('.') => Reach::Private,
            Err(_) => Reach::Public,
        }
    }
}

fn split(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("its IPv6 address lacks the closing bracket")?;
        host.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is not an IPv6 address")?;
        return match after.strip_prefix(':') {
            None if after.is_empty() => Ok((host, None)),
            None => Err("only a port may follow the bracket"),
            Some(port) => Ok((host, Some(port))),
        };
    }
    let (host, port) = match authority.split_once(':') {
        None => (authority, None),
        Some((host, port)) => (host, Some(port)),
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(sound) {
        return Err("its host is neither a name nor an address");
    }
    // Numbers that only look like addresses (`127.1`, `0x7f.1`) are addresses to some resolvers.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let numeric = last.chars().all(|c| c.is_ascii_digit()) || last.starts_with("0x");
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err("its host is an odd spelling of an address; write all four parts in decimal");
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = Origin::parse("dns+http://engines.svc:8000").unwrap();
        assert_eq!((origin.many, origin.tls, &*origin.host, origin.port), (true, false, "engines.svc", 8000));
        assert_eq!(&*origin.text, "http://engines.svc:8000");
        assert_eq!(Origin::parse("https://api.example.com/").unwrap().port, 443);
        assert_eq!(&*Origin::parse("http://[::1]:80").unwrap().host, "::1");
    }

    #[test]
    fn anything_else_is_refused_without_being_shown() {
        for wrong in [
            "api.example.com",
            "ftp://a",
            "https://user:canary@a",
            "https://a/v1",
            "https://a?x",
            "https://",
            "https://a b",
            "http://a:0",
            "http://a:65536",
            "http://127.1",
            "http://0x7f.0x1",
            "http://2130706433",
            "http://[::1",
            "http://[zz]",
            "http://[::1]x",
            "dns+http://10.0.0.1:80",
        ] {
            let error = Origin::parse(wrong).unwrap_err();
            assert!(!error.contains("canary"), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_told_apart_by_what_they_are_near_to() {
        let reach = |text: &str| Origin::parse(text).unwrap().reach();
        for text in [
            "http://169.254.169.254",
            "http://[fe80::1]",
            "http://[::ffff:169.254.169.254]",
            "http://0.0.0.0",
            "http://metadata.google.internal",
            "http://100.100.100.200",
            "http://224.0.0.1",
        ] {
            assert_eq!(reach(text), Reach::Forbidden, "{text}");
        }
        for text in [
            "http://10.1.2.3",
            "http://192.168.0.1",
            "http://[fd12::1]",
            "http://engines",
            "http://100.64.0.1",
        ] {
            assert_eq!(reach(text), Reach::Private, "{text}");
        }
        for text in ["http://127.0.0.1", "http://[::1]", "http://localhost:8000", "http://[::ffff:127.0.0.1]"]
        {
            assert_eq!(reach(text), Reach::Loopback, "{text}");
        }
        assert_eq!(reach("https://api.example.com"), Reach::Public);
    }
}
