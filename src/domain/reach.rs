//! What an address is near to: decides what may be dialled at all, and what only where an operator said so.
//!
//! Asked of what a config says, of what DNS answers, and of what is dialled in the end, because any of the three may
//! be the one that an attacker controls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is near to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// The internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network.
    Private,
    /// Never an endpoint: link-local, metadata services, multicast, unspecified, reserved.
    Forbidden,
}

/// Metadata services outside the link-local range: they hand out the machine's own credentials.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(192, 0, 0, 192)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

impl Reach {
    /// Of an address. IPv6 spellings of IPv4 addresses (mapped, NAT64) are judged as what they stand for.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => match ip.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                    Self::of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
                }
                segments => Self::of_v6(ip, segments[0]),
            },
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        if ip.is_link_local() || ip.is_multicast() || a == 0 || a >= 240 || METADATA_V4.contains(&ip) {
            Self::Forbidden
        } else if ip.is_loopback() {
            Self::Loopback
        } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(ip: Ipv6Addr, first: u16) -> Self {
        if first & 0xffc0 == 0xfe80 || ip.is_multicast() || ip.is_unspecified() || METADATA_V6.contains(&ip) {
            Self::Forbidden
        } else if ip.is_loopback() {
            Self::Loopback
        } else if first & 0xfe00 == 0xfc00 {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// May it be dialled?
    pub const fn allowed(self, allow_private: bool) -> bool {
        match self {
            Self::Public => true,
            Self::Loopback | Self::Private => allow_private,
            Self::Forbidden => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_what_they_stand_for() {
        let of = |text: &str| Reach::of(text.parse().unwrap());
        for text in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "192.0.0.192",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "168.63.129.16",
        ] {
            assert_eq!(of(text), Reach::Forbidden, "{text}");
        }
        for text in ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "64:ff9b::a00:1"] {
            assert_eq!(of(text), Reach::Private, "{text}");
        }
        for text in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(text), Reach::Loopback, "{text}");
        }
        for text in ["1.1.1.1", "2606:4700::1", "172.32.0.1"] {
            assert_eq!(of(text), Reach::Public, "{text}");
        }
    }

    #[test]
    fn a_forbidden_address_is_never_allowed() {
        assert!(!Reach::Forbidden.allowed(true));
        assert!(Reach::Private.allowed(true) && !Reach::Private.allowed(false));
        assert!(Reach::Public.allowed(false));
    }
}
