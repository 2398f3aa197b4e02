//! Which webhook URLs are public. Names are not looked up: nothing is delivered.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Suffixes that never lead to a public host.
const LOCAL_SUFFIXES: [&str; 4] = ["localhost", "local", "internal", "localdomain"];

/// An https URL whose host is neither a private address nor a local name.
pub(super) fn is_public_https(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    url.scheme() == "https"
        && url.username().is_empty()
        && url.password().is_none()
        && match url.host() {
            Some(Host::Domain(name)) => is_public_name(name),
            Some(Host::Ipv4(address)) => is_public_v4(address),
            Some(Host::Ipv6(address)) => is_public_v6(address),
            None => false,
        }
}

fn is_public_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name.rsplit_once('.')
        .is_some_and(|(_, last)| !LOCAL_SUFFIXES.contains(&last))
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || first == 0
        || shared)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(address) = address.to_ipv4_mapped() {
        return is_public_v4(address);
    }
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_to_a_public_host_is_accepted() {
        for public in [
            "https://hooks.example.com/agents",
            "https://8.8.8.8:8443/x",
            "https://[2606:4700::1111]/",
        ] {
            assert!(is_public_https(public), "{public}");
        }
        for refused in [
            "http://hooks.example.com",
            "ftp://hooks.example.com",
            "not a url",
            "https://user:pass@example.com",
            "https://localhost/x",
            "https://hooks",
            "https://printer.local",
            "https://api.localhost.",
            "https://10.1.2.3",
            "https://192.168.0.1",
            "https://172.16.0.1",
            "https://127.0.0.1",
            "https://169.254.169.254",
            "https://100.64.0.1",
            "https://0.0.0.0",
            "https://2130706433",
            "https://[::1]",
            "https://[::ffff:10.0.0.1]",
            "https://[fd00::1]",
            "https://[fe80::1]",
        ] {
            assert!(!is_public_https(refused), "{refused}");
        }
    }
}
