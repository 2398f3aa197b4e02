//! Whether two texts name the same repository.

/// Whether `a` and `b` name the same repository: without scheme, user, port 443, `.git`, trailing slash and letter case.
///
/// Providers give back another spelling than they were given (`github.com/acme/app` for `https://github.com/Acme/app.git`).
pub fn same_repository(a: &str, b: &str) -> bool {
    let (a, b) = (canonical(a), canonical(b));
    !a.is_empty() && a == b
}

/// One spelling for every repository: equal for two texts that name the same one. Empty for what names none.
pub fn canonical(url: &str) -> String {
    let url = url.trim().to_ascii_lowercase();
    // `git@github.com:acme/app` is the same as `ssh://git@github.com/acme/app`.
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url.as_str()),
    };
    let (authority, path) = match (scheme, rest.split_once('/')) {
        (None, _) if is_scp_like(rest) => rest.split_once(':').unwrap_or((rest, "")),
        (_, Some(split)) => split,
        (_, None) => (rest, ""),
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let host = host.strip_suffix(":443").unwrap_or(host);
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    if host.is_empty() || path.is_empty() {
        return String::new();
    }
    format!("{host}/{path}")
}

fn is_scp_like(text: &str) -> bool {
    text.split_once(':').is_some_and(|(host, path)| {
        !host.contains('/') && !path.starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_many_spellings() {
        for other in [
            "https://github.com/acme/app",
            "https://github.com/acme/app/",
            "https://github.com/acme/app.git",
            "https://github.com/acme/app.git/",
            "http://github.com/Acme/App",
            "https://token@github.com/acme/app",
            "https://user:pass@github.com:443/acme/app",
            "github.com/acme/app",
            "ssh://git@github.com/acme/app.git",
            "git@github.com:acme/app.git",
            " https://GitHub.com/acme/app\n",
        ] {
            assert!(
                same_repository("https://github.com/acme/app", other),
                "{other}"
            );
            assert!(same_repository(other, "github.com/acme/app"), "{other}");
        }
    }

    #[test]
    fn other_hosts_owners_and_names_are_other_repositories() {
        for other in [
            "https://github.com/acme/app2",
            "https://github.com/acme2/app",
            "https://gitlab.com/acme/app",
            "https://github.com:8443/acme/app",
            "https://github.com/acme",
            "acme/app",
            "",
        ] {
            assert!(
                !same_repository("https://github.com/acme/app", other),
                "{other}"
            );
        }
        assert!(!same_repository("", ""));
        assert!(!same_repository("https://github.com", "github.com"));
    }
}
