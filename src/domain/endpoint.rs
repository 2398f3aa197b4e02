//! Where keys may be sent besides the providers' own endpoints: hosts, as administrators and owners of Secrets name them.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// A host and one port of it, written as `host` (port 443) or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHost {
    /// As a URL has it: a name in lower case and ASCII, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: u16,
}

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host: write HOST (port 443) or HOST:PORT")]
pub struct NoHost(String);

impl EndpointHost {
    /// The host and port of an endpoint; `None` if it has no host.
    pub fn of(endpoint: &Url) -> Option<Self> {
        Some(Self {
            host: endpoint.host_str()?.to_owned(),
            port: endpoint.port_or_known_default()?,
        })
    }
}

impl FromStr for EndpointHost {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoHost(text.to_owned());
        // What delimits other parts of a URL is no part of a host.
        if text.contains(['/', '?', '#', '@', '\\']) || text.chars().any(char::is_whitespace) {
            return Err(wrong());
        }
        let url = Url::parse(&format!("https://{text}")).map_err(|_| wrong())?;
        Self::of(&url).ok_or_else(wrong)
    }
}

impl fmt::Display for EndpointHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn allows(host: &str, endpoint: &str) -> bool {
        let endpoint = Url::parse(endpoint).unwrap();
        Some(host.parse().unwrap()) == EndpointHost::of(&endpoint)
    }

    #[test]
    fn a_host_without_a_port_is_port_443_alone() {
        assert!(allows("proxy.acme.com", "https://proxy.acme.com/v1"));
        assert!(allows("Proxy.Acme.com", "https://proxy.acme.com:443"));
        assert!(allows("proxy.acme.com:8443", "https://proxy.acme.com:8443"));
        assert!(allows("[::1]:8443", "https://[::1]:8443"));
        assert!(!allows("proxy.acme.com", "https://proxy.acme.com:8443"));
        assert!(!allows("proxy.acme.com", "http://proxy.acme.com"));
        assert!(!allows("acme.com", "https://proxy.acme.com"));
    }

    #[test]
    fn what_names_no_host_is_refused_and_a_host_is_written_as_it_is_read() {
        for text in [
            "",
            "https://acme.com",
            "acme.com/v1",
            "user@acme.com",
            "acme.com:port",
            "a b",
        ] {
            assert_eq!(text.parse::<EndpointHost>(), Err(NoHost(text.to_owned())));
        }
        for text in ["acme.com", "acme.com:8443", "[::1]:80"] {
            assert_eq!(text.parse::<EndpointHost>().unwrap().to_string(), text);
        }
    }
}
