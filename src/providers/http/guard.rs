//! Which addresses an endpoint may have that a user of the cluster chose: public ones alone. Otherwise the operator would be a way into
//! the cluster's network, with its errors for a port scanner.
//!
//! The guard is the resolver of the client itself, so what was checked is what is dialled; a literal address never reaches a resolver and is
//! checked in the parsed URL, where every odd spelling of it has become an address. Such a client uses no proxy of the environment: a proxy
//! would resolve the name once more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What an endpoint may be reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any address, through the environment's proxy: for endpoints that the administrator has chosen.
    Anywhere,
    /// Public addresses only, without a proxy: for all others.
    Public,
}

/// An address that is not public, or a name that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "it has an address that is not public; the administrator of this installation allows such a host with --allow-endpoint-hosts",
        )
    }
}

impl std::error::Error for NotPublic {}

/// Checks addresses before anything is dialled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// Whether this machine's own addresses count as public; for development.
    pub(super) loopback: bool,
}

impl Guard {
    /// Checks the host of `url` if it is an address.
    pub(super) fn check_literal(self, url: &Url) -> Result<(), NotPublic> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.check(&[address])
    }

    /// All of them, because a client tries one after the other.
    fn check(self, addresses: &[IpAddr]) -> Result<(), NotPublic> {
        let allowed = |address: &IpAddr| {
            is_public(*address) || (self.loopback && unwrapped(*address).is_loopback())
        };
        if addresses.iter().all(allowed) {
            Ok(())
        } else {
            Err(NotPublic)
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            guard.check(&addresses)?;
            // Port 0 is replaced by the URL's.
            let dialled = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(dialled) as Addrs)
        })
    }
}

/// The IPv4 address that an IPv6 address stands for, where it does.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else {
        return address;
    };
    let low = |bits: u128| IpAddr::V4(Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32));
    let bits = six.to_bits();
    let within =
        |network: Ipv6Addr, prefix: u32| (bits ^ network.to_bits()).leading_zeros() >= prefix;
    // `::` and `::1` are IPv6's own.
    if six.is_unspecified() || six.is_loopback() {
        address
    } else if [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
    ]
    .into_iter()
    .any(|network| within(network, 96))
    {
        low(bits)
    } else if within(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16) {
        low(bits >> 80)
    } else if within(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32) {
        // Teredo: the client's address, inverted.
        low(!bits)
    } else {
        address
    }
}

/// Whether an address is somebody's on the internet. Source: IANA's special-purpose address registries.
fn is_public(address: IpAddr) -> bool {
    match unwrapped(address) {
        IpAddr::V4(four) => {
            let bits = four.to_bits();
            !NOT_PUBLIC_V4.into_iter().any(|(network, prefix)| {
                (bits ^ Ipv4Addr::from(network).to_bits()).leading_zeros() >= prefix
            })
        }
        IpAddr::V6(six) => {
            let bits = six.to_bits();
            let within = |(network, prefix): (Ipv6Addr, u32)| {
                (bits ^ network.to_bits()).leading_zeros() >= prefix
            };
            within((Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3))
                && ![
                    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
                    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
                    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
                ]
                .into_iter()
                .any(within)
        }
    }
}

const NOT_PUBLIC_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const STRICT: Guard = Guard { loopback: false };
    const DEVELOPMENT: Guard = Guard { loopback: true };

    #[test]
    fn only_somebodys_address_on_the_internet_is_public() {
        for (address, public) in [
            ("1.1.1.1", true),
            ("172.15.0.1", true),
            ("172.32.0.1", true),
            ("100.128.0.1", true),
            ("192.0.1.1", true),
            ("2606:4700::1111", true),
            ("::ffff:1.1.1.1", true),
            ("64:ff9b::1.1.1.1", true),
            ("2002:101:101::", true),
            ("0.0.0.0", false),
            ("10.96.0.1", false),
            ("100.64.0.1", false),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.19.0.1", false),
            ("203.0.113.7", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::7f00:1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:0:10.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::1", false),
            ("2002:a00:1::", false),
            // Teredo of 10.0.0.1: inverted.
            ("2001::f5ff:fffe", false),
            ("2001:db8::1", false),
            ("2001:2::1", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_seen_however_it_is_spelled() {
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127.0.0.1.",
            "user@127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            let url = Url::parse(&format!("https://{host}:8443/x")).unwrap();
            assert_eq!(STRICT.check_literal(&url), Err(NotPublic), "{host}");
            assert_eq!(DEVELOPMENT.check_literal(&url), Ok(()), "{host}");
        }
        let private = Url::parse("https://10.0.0.1").unwrap();
        assert_eq!(DEVELOPMENT.check_literal(&private), Err(NotPublic));
    }

    #[test]
    fn one_address_that_is_not_public_is_enough() {
        let addresses = ["1.1.1.1", "10.0.0.1"].map(|text| text.parse().unwrap());
        assert_eq!(STRICT.check(&addresses), Err(NotPublic));
        assert_eq!(STRICT.check(addresses.get(..1).unwrap()), Ok(()));
    }

    #[tokio::test]
    async fn a_name_is_resolved_to_checked_addresses_or_refused() {
        let name = || "localhost".parse::<Name>().unwrap();
        let refused = STRICT.resolve(name()).await.map(|_| ()).unwrap_err();
        assert!(refused.is::<NotPublic>(), "{refused}");
        let addresses: Vec<SocketAddr> = DEVELOPMENT.resolve(name()).await.unwrap().collect();
        assert!(!addresses.is_empty());
        assert!(
            addresses
                .iter()
                .all(|it| it.ip().is_loopback() && it.port() == 0)
        );
    }
}
