//! Where a URL leads that a user of the cluster wrote: as it is understood, and only if it is written so.

use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

/// Why a URL is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL.
    #[error("the URL cannot be read: {0}")]
    Unreadable(String),
    /// Not https.
    #[error("the URL is not https: what is sent would cross the network unencrypted")]
    NotHttps,
    /// A user or a password stands in it.
    #[error(
        "the URL holds a user name or a password: remove them, and verify the signature instead"
    )]
    UserPart,
    /// Its host is an address in another spelling than the usual one, or ends with a dot.
    #[error("the URL's host is not written as it is understood: write {0}")]
    Spelling(String),
}

/// Where a URL leads, as it is written and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As in the URL: IPv6 in brackets.
    pub(super) host: String,
    /// The address, where the host is one.
    pub(super) literal: Option<IpAddr>,
    pub(super) port: u16,
    /// Whether by TLS.
    pub(super) secure: bool,
    /// Path and query.
    pub(super) path: String,
    /// The `Host` header.
    pub(super) authority: String,
}

impl Target {
    /// Reads a URL; `development` allows plain http.
    ///
    /// # Errors
    /// If it must not be used.
    pub(super) fn parse(text: &str, development: bool) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|error| UrlError::Unreadable(error.to_string()))?;
        let secure = match url.scheme() {
            "https" => true,
            "http" if development => false,
            _ => return Err(UrlError::NotHttps),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserPart);
        }
        let (Some(host), Some(understood), Some(port)) =
            (url.host(), url.host_str(), url.port_or_known_default())
        else {
            return Err(UrlError::Unreadable("it has no host".to_owned()));
        };
        let written = written_host(text);
        let odd = || {
            Err(UrlError::Spelling(
                understood.trim_end_matches('.').to_owned(),
            ))
        };
        let literal = match host {
            Host::Ipv4(address) if written == address.to_string() => Some(address.into()),
            Host::Ipv6(address) => {
                let inner = written.trim_start_matches('[').trim_end_matches(']');
                match inner.parse::<Ipv6Addr>() {
                    Ok(same) if same == address => Some(address.into()),
                    Ok(_) | Err(_) => return odd(),
                }
            }
            Host::Domain(name) if !name.ends_with('.') => None,
            Host::Ipv4(_) | Host::Domain(_) => return odd(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Ok(Self {
            host: understood.to_owned(),
            literal,
            port,
            secure,
            path,
            authority: url.port().map_or_else(
                || understood.to_owned(),
                |port| format!("{understood}:{port}"),
            ),
        })
    }

    /// The host without the brackets of IPv6.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// The host as it stands in the text of a URL.
fn written_host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused(text: &str) -> Option<UrlError> {
        Target::parse(text, false).err()
    }

    #[test]
    fn a_host_is_written_as_it_is_understood_or_refused() {
        for host in [
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127.0.0.1.",
            "hooks.example.com.",
        ] {
            let refused = refused(&format!("https://{host}:8443/x"));
            assert!(
                matches!(refused, Some(UrlError::Spelling(_))),
                "{host}: {refused:?}"
            );
        }
        for (text, literal) in [
            ("https://127.0.0.1:443/x", true),
            ("https://[::1]:8443/x?a=b", true),
            ("https://[::ffff:127.0.0.1]", true),
            ("https://hooks.example.com", false),
            ("https://Hooks.Example.com:8443/a/b?c", false),
            ("https://bücher.example", false),
        ] {
            let target = Target::parse(text, false).unwrap();
            assert_eq!(target.literal.is_some(), literal, "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_https_is_refused() {
        assert_eq!(refused("http://example.com"), Some(UrlError::NotHttps));
        assert_eq!(refused("ftp://example.com"), Some(UrlError::NotHttps));
        assert_eq!(refused("https://a@example.com"), Some(UrlError::UserPart));
        assert_eq!(refused("https://a:b@example.com"), Some(UrlError::UserPart));
        assert!(matches!(refused("https://"), Some(UrlError::Unreadable(_))));
        assert!(matches!(refused("hooks"), Some(UrlError::Unreadable(_))));
        assert!(Target::parse("http://example.com", true).is_ok());
    }

    #[test]
    fn what_is_asked_for_is_what_stands_in_the_url() {
        let target = Target::parse("https://[::1]:8443/a%20b?c=d#e", false).unwrap();
        assert_eq!(target.path, "/a%20b?c=d");
        assert_eq!(target.authority, "[::1]:8443");
        assert_eq!(target.bare_host(), "::1");
        assert_eq!((target.port, target.secure), (8443, true));
        let plain = Target::parse("https://hooks.example.com", false).unwrap();
        assert_eq!((plain.path.as_str(), plain.port), ("/", 443));
        assert_eq!(plain.authority, "hooks.example.com");
    }
}
