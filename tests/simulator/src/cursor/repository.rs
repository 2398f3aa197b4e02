//! URLs of repositories and pull requests, as both versions of Cursor's API read them.

use http::StatusCode;
use url::Url;

use crate::http::Refusal;

/// `host/owner/name` of a repository URL, which may lack its scheme and may end in `.git`.
pub(crate) fn repository_path(url: &str) -> Option<String> {
    let without_scheme = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .unwrap_or(url);
    let trimmed = without_scheme.trim_end_matches('/');
    let path = trimmed.strip_suffix(".git").unwrap_or(trimmed);
    let parts: Vec<&str> = path.split('/').collect();
    let well_formed = parts.len() >= 3
        && parts.first().is_some_and(|host| host.contains('.'))
        && parts.iter().all(|part| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        });
    well_formed.then(|| path.to_owned())
}

/// The URL of the repository that a pull request belongs to.
pub(crate) fn pull_request_repository(url: &Url) -> Option<String> {
    let segments: Vec<&str> = url
        .path_segments()
        .map(Iterator::collect)
        .unwrap_or_default();
    match segments.as_slice() {
        [owner, name, "pull", number] if number.parse::<u64>().is_ok() => {
            Some(format!("https://{}/{owner}/{name}", url.host_str()?))
        }
        _ => None,
    }
}

/// The refusal for a URL that is not a pull request's, or one of which there is none.
pub(crate) fn unresolved_pull_request(url: &str) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "pr_resolution_failed",
        format!("Cannot resolve pull request {url}"),
    )
}
