//! GitHub: <https://docs.github.com/en/rest/pulls/pulls>, version 2022-11-28.

use codeagent_runner_protocol::PullRequest;
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::json;

use super::{Api, ApiError, Wanted, authorization, opened, pull_request};

fn headers(api: &Api) -> Result<HeaderMap, ApiError> {
    let mut headers = authorization("Bearer", &api.token)?;
    headers.insert(
        ACCEPT,
        HeaderValue::from_static("application/vnd.github+json"),
    );
    headers.insert(
        "x-github-api-version",
        HeaderValue::from_static("2022-11-28"),
    );
    Ok(headers)
}

/// `head` has to name the owner: without it the filter is ignored and any pull request would be found.
pub async fn find(api: &Api, wanted: &Wanted) -> Result<Option<PullRequest>, ApiError> {
    let path = format!("/repos/{}/pulls", wanted.repository);
    let owner = wanted.repository.split('/').next().unwrap_or_default();
    let head = format!("{owner}:{}", wanted.branch);
    let query = [("state", "open"), ("head", &head), ("per_page", "10")];
    let answer = api
        .send(Method::GET, &path, headers(api)?, &query, None)
        .await?;
    let list = answer.ok("looking for the pull request")?;
    let open = list.as_array().into_iter().flatten();
    let mut of_branch = open.filter(|open| {
        open.pointer("/head/ref").and_then(|name| name.as_str()) == Some(&wanted.branch)
    });
    Ok(of_branch.find_map(|open| pull_request(open, "html_url", "number")))
}

pub async fn create(api: &Api, wanted: &Wanted) -> Result<PullRequest, ApiError> {
    let path = format!("/repos/{}/pulls", wanted.repository);
    let body = json!({
        "title": wanted.title,
        "body": wanted.body,
        "head": wanted.branch,
        "base": wanted.base,
        "draft": wanted.draft,
    });
    let answer = api
        .send(Method::POST, &path, headers(api)?, &[], Some(&body))
        .await?;
    opened(
        &answer.ok("opening the pull request")?,
        "html_url",
        "number",
    )
}
