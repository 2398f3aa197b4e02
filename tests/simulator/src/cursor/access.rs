//! What a Cursor account may reach, the same in both versions of the API: repositories, pull requests and, for a while, artifacts.

use std::time::Duration;

use http::StatusCode;

use super::repository::{repository_path, unresolved_pull_request};
use crate::http::Refusal;
use crate::options::{CursorOptions, RepositoryAccess};
use crate::provider::NOT_CONNECTED;

/// How long a presigned URL is valid.
pub(crate) const PRESIGNED_FOR: Duration = Duration::from_secs(15 * 60);

/// Refuses a repository that the account does not reach.
pub(crate) fn check_access(options: &CursorOptions, repository: &str) -> Result<(), Refusal> {
    let reached = match options.repository_access {
        RepositoryAccess::Any => true,
        RepositoryAccess::NotConnected => {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                NOT_CONNECTED,
                "Connect GitHub to work on this repository",
            ));
        }
        RepositoryAccess::Listed => repository_path(repository).is_some_and(|path| {
            options
                .repositories
                .iter()
                .filter_map(|url| repository_path(url))
                .any(|listed| listed.eq_ignore_ascii_case(&path))
        }),
    };
    if reached {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        "repository_access",
        format!("No access to repository {repository}"),
    ))
}

/// Refuses a pull request that there is not.
pub(crate) fn check_pull_request(
    options: &CursorOptions,
    pull_request: Option<&str>,
) -> Result<(), Refusal> {
    let missing = &options.missing_pull_requests;
    match pull_request.filter(|url| missing.iter().any(|missing| missing == url)) {
        Some(url) => Err(unresolved_pull_request(url)),
        None => Ok(()),
    }
}
