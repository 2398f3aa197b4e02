//! The proxy on the way to the API server, by the rules that kubectl follows.
//!
//! kube (5.0) takes `HTTPS_PROXY` whatever the API server's scheme is, and compares `NO_PROXY` with the proxy's own host. kubectl
//! (Go's `http.ProxyFromEnvironment`) compares it with the API server's host, takes `HTTP_PROXY` for plain http, and reaches
//! this machine without a proxy.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::Kubeconfig;

/// What the environment says about proxies. An empty value is no value.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `HTTP_PROXY`, or else `http_proxy`.
    pub http: Option<String>,
    /// `HTTPS_PROXY`, or else `https_proxy`.
    pub https: Option<String>,
    /// `NO_PROXY`, or else `no_proxy`: hosts, domains, addresses and networks that are reached directly.
    pub no: Option<String>,
}

impl Environment {
    /// The environment of this process.
    pub fn read() -> Self {
        let variable = |names: [&str; 2]| {
            names
                .into_iter()
                .filter_map(|name| std::env::var(name).ok())
                .find(|value| !value.is_empty())
        };
        Self {
            http: variable(["HTTP_PROXY", "http_proxy"]),
            https: variable(["HTTPS_PROXY", "https_proxy"]),
            no: variable(["NO_PROXY", "no_proxy"]),
        }
    }

    /// The proxy on the way to `server`.
    fn proxy(&self, server: &Uri) -> Option<Uri> {
        let host = server.host()?;
        let excluded = self
            .no
            .iter()
            .flat_map(|no| no.split(','))
            .any(|entry| entry.trim() == "*");
        if is_this_machine(host) || excluded {
            return None;
        }
        // The matcher decides whether; which one is taken as it was written, because a user and a password belong to it.
        let own = |value: &Option<String>| value.clone().unwrap_or_default();
        let matcher = Matcher::builder()
            .http(own(&self.http))
            .https(own(&self.https))
            .no(own(&self.no))
            .build();
        matcher.intercept(server)?;
        let written = match server.scheme_str() {
            Some("http") => self.http.as_deref()?,
            _ => self.https.as_deref()?,
        };
        if written.contains("://") {
            written.parse().ok()
        } else {
            format!("http://{written}").parse().ok()
        }
    }
}

/// Sets the proxy of a client that was configured from `kubeconfig`: the one that its cluster names (`proxy-url`), or else the
/// environment's.
pub fn apply(config: &mut Config, kubeconfig: &Kubeconfig, environment: &Environment) {
    let context = kubeconfig.current_context.as_ref().and_then(|current| {
        let named = kubeconfig.contexts.iter().find(|one| one.name == *current);
        named.and_then(|named| named.context.as_ref())
    });
    let cluster = context.and_then(|context| {
        let named = kubeconfig
            .clusters
            .iter()
            .find(|one| one.name == context.cluster);
        named.and_then(|named| named.cluster.as_ref())
    });
    let Some(cluster) = cluster else { return };
    let named = cluster.proxy_url.as_deref().filter(|url| !url.is_empty());
    config.proxy_url = match named {
        Some(url) => url.parse().ok(),
        None => environment.proxy(&config.cluster_url),
    };
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn proxy(server: &str, named: &str, environment: &Environment) -> Option<String> {
        let kubeconfig = Kubeconfig::from_yaml(&format!(
            "{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
             clusters: [{{name: k, cluster: {{server: \"{server}\", proxy-url: \"{named}\"}}}}]}}"
        ))
        .unwrap();
        let mut config = Config::new(server.parse().unwrap());
        // What kube made of it counts for nothing.
        config.proxy_url = Some("http://guessed.example.com:1".parse().unwrap());
        apply(&mut config, &kubeconfig, environment);
        config.proxy_url.map(|url| url.to_string())
    }

    fn environment(http: &str, https: &str, no: &str) -> Environment {
        let some = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        Environment {
            http: some(http),
            https: some(https),
            no: some(no),
        }
    }

    #[test]
    fn the_proxy_is_the_one_that_kubectl_takes() {
        let (web, tls) = ("http://web.example.com:1", "http://tls.example.com:2");
        let api = "https://10.1.2.3:6443";
        for (server, named, no, expected) in [
            (api, "", "", Some("http://tls.example.com:2/")),
            (
                "http://10.1.2.3:8080",
                "",
                "",
                Some("http://web.example.com:1/"),
            ),
            // NO_PROXY speaks of the API server, not of the proxy.
            (api, "", "10.0.0.0/8", None),
            (api, "", "10.1.2.3", None),
            (api, "", "*", None),
            (
                api,
                "",
                "tls.example.com",
                Some("http://tls.example.com:2/"),
            ),
            ("https://k8s.example.org", "", "example.org", None),
            ("https://k8s.example.org", "", ".example.org", None),
            (
                "https://k8s.example.org",
                "",
                "notexample.org",
                Some("http://tls.example.com:2/"),
            ),
            // Nobody asks a proxy for this machine.
            ("https://127.0.0.1:6443", "", "", None),
            ("https://[::1]:6443", "", "", None),
            ("https://localhost:6443", "", "", None),
            // What the kubeconfig names goes before the environment, and NO_PROXY does not change it.
            (
                api,
                "http://named.example.com:3",
                "*",
                Some("http://named.example.com:3/"),
            ),
        ] {
            let found = proxy(server, named, &environment(web, tls, no));
            assert_eq!(
                found.as_deref(),
                expected,
                "{server}, {named:?}, NO_PROXY={no}"
            );
        }
    }

    #[test]
    fn a_proxy_without_a_scheme_is_an_http_proxy_and_keeps_its_user() {
        let environment = environment("", "user:secret@proxy.example.com:3128", "");
        let found = environment.proxy(&"https://10.1.2.3".parse().unwrap());
        let found = found.unwrap();
        assert_eq!(found.scheme_str(), Some("http"));
        assert_eq!(
            found.authority().unwrap().as_str(),
            "user:secret@proxy.example.com:3128"
        );
    }

    #[test]
    fn without_variables_there_is_no_proxy() {
        assert_eq!(proxy("https://10.1.2.3", "", &Environment::default()), None);
    }
}
