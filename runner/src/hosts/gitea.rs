//! Gitea and Forgejo: <https://docs.gitea.com/api/>, `/repos/{owner}/{repo}/pulls`.

use codeagent_runner_protocol::PullRequest;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Api, ApiError, Wanted, authorization, opened, pull_request};

/// The list has no filter for a branch. Beyond this many pages of fifty open pull requests, the creation's own refusal of a second
/// one has to do.
const PAGES: u32 = 40;

pub async fn find(api: &Api, wanted: &Wanted) -> Result<Option<PullRequest>, ApiError> {
    let path = format!("/repos/{}/pulls", wanted.repository);
    for page in 1..=PAGES {
        let headers = authorization("token", &api.token)?;
        let page = page.to_string();
        let query = [("state", "open"), ("limit", "50"), ("page", &page)];
        let answer = api.send(Method::GET, &path, headers, &query, None).await?;
        let list = answer.ok("looking for the pull request")?;
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut of_branch = list.iter().filter(|open| {
            let branch = open.pointer("/head/ref").and_then(Value::as_str);
            // One from a fork can have a branch of the same name.
            let fork = open.pointer("/head/repo_id") != open.pointer("/base/repo_id");
            branch == Some(&wanted.branch) && !fork
        });
        if let Some(found) = of_branch.find_map(|open| pull_request(open, "html_url", "number")) {
            return Ok(Some(found));
        }
        // A host may have a smaller limit of its own, so only an empty page is surely the last.
        if list.is_empty() {
            break;
        }
    }
    Ok(None)
}

pub async fn create(api: &Api, wanted: &Wanted) -> Result<PullRequest, ApiError> {
    let path = format!("/repos/{}/pulls", wanted.repository);
    // Drafts are told by their title.
    let title = if wanted.draft {
        format!("WIP: {}", wanted.title)
    } else {
        wanted.title.clone()
    };
    let body = json!({
        "head": wanted.branch,
        "base": wanted.base,
        "title": title,
        "body": wanted.body,
    });
    let headers = authorization("token", &api.token)?;
    let answer = api
        .send(Method::POST, &path, headers, &[], Some(&body))
        .await?;
    opened(
        &answer.ok("opening the pull request")?,
        "html_url",
        "number",
    )
}
