//! GitLab: <https://docs.gitlab.com/api/merge_requests/>.

use codeagent_runner_protocol::PullRequest;
use reqwest::Method;
use serde_json::json;
use url::form_urlencoded::byte_serialize;

use super::{Api, ApiError, Wanted, authorization, opened, pull_request};

/// The project is one segment of the path, its slashes encoded.
fn path(wanted: &Wanted) -> String {
    let project: String = byte_serialize(wanted.repository.as_bytes()).collect();
    // The encoding of forms; a `+` in a path is no space.
    format!("/projects/{}/merge_requests", project.replace('+', "%20"))
}

pub async fn find(api: &Api, wanted: &Wanted) -> Result<Option<PullRequest>, ApiError> {
    let headers = authorization("Bearer", &api.token)?;
    let query = [
        ("state", "opened"),
        ("source_branch", wanted.branch.as_str()),
        ("per_page", "10"),
    ];
    let answer = api
        .send(Method::GET, &path(wanted), headers, &query, None)
        .await?;
    let list = answer.ok("looking for the merge request")?;
    let open = list.as_array().into_iter().flatten();
    let mut of_branch = open.filter(|open| {
        let branch = open.get("source_branch").and_then(|name| name.as_str());
        // One from a fork can have a branch of the same name.
        let fork = open.get("source_project_id") != open.get("target_project_id");
        branch == Some(&wanted.branch) && !fork
    });
    Ok(of_branch.find_map(|open| pull_request(open, "web_url", "iid")))
}

pub async fn create(api: &Api, wanted: &Wanted) -> Result<PullRequest, ApiError> {
    let headers = authorization("Bearer", &api.token)?;
    // Drafts are told by their title.
    let title = if wanted.draft {
        format!("Draft: {}", wanted.title)
    } else {
        wanted.title.clone()
    };
    let body = json!({
        "source_branch": wanted.branch,
        "target_branch": wanted.base,
        "title": title,
        "description": wanted.body,
    });
    let answer = api
        .send(Method::POST, &path(wanted), headers, &[], Some(&body))
        .await?;
    opened(&answer.ok("opening the merge request")?, "web_url", "iid")
}
