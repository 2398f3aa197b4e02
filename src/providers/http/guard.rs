//! Which addresses an endpoint may have that a user of the cluster chose: public ones alone. Otherwise the operator would be a way into
//! the cluster's network, with its errors for a port scanner.
//!
//! The guard is the resolver of the client itself, so what was checked is what is dialled; a literal address never reaches a resolver and is
//! checked in the parsed URL, where every odd spelling of it has become an address. Such a client uses no proxy of the environment: a proxy
//! would resolve the name once more.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::network::address::{is_public, unwrapped};

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const STRICT: Guard = Guard { loopback: false };
    const DEVELOPMENT: Guard = Guard { loopback: true };

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
