//! Pull requests, by the REST API of the repository's host. An open one of the branch is taken, not a second one opened; it is looked
//! for again where the answer to the creation was lost or says that there is one.

mod gitea;
mod github;
mod gitlab;

use std::time::Duration;

use codeagent_runner_protocol::{GitHost, PullRequest, clip};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use serde_json::Value;

/// One answer of the API, from the request to its last byte.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer that is read: a page of fifty pull requests.
const ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// A pull request to be opened.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `owner/name`, at GitLab with groups before.
    pub repository: String,
    pub branch: String,
    pub base: String,
    pub title: String,
    pub body: String,
    pub draft: bool,
}

/// The API of a host.
pub struct Api {
    host: GitHost,
    base: String,
    token: String,
    client: Client,
}

/// Why there is no pull request: a sentence without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError(pub String);

/// An answer: any status.
struct Answer {
    status: u16,
    body: Value,
}

impl Api {
    /// # Errors
    /// The token would go over a connection that is not encrypted, or no HTTP client can be made, as without certificate authorities.
    pub fn new(host: GitHost, base: &str, token: String) -> Result<Self, ApiError> {
        if !base.starts_with("https://") {
            return Err(ApiError(format!(
                "the token is not sent to {base}, which is not https"
            )));
        }
        // Somebody else may have installed one; that serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("codeagent-runner/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            // A creation that is sent on would become a reading.
            .redirect(Policy::none())
            .build()
            .map_err(|error| {
                let cause = cause(&error);
                ApiError(format!("no HTTP client can be made: {cause} (does the image hold certificate authorities?)"))
            })?;
        Ok(Self {
            host,
            base: base.trim_end_matches('/').to_owned(),
            token,
            client,
        })
    }

    /// The open pull request of the branch, opened if there is none.
    ///
    /// # Errors
    /// The host refuses, or cannot be reached.
    pub async fn open(&self, wanted: &Wanted) -> Result<PullRequest, ApiError> {
        if let Some(found) = self.find(wanted).await? {
            return Ok(found);
        }
        let created = match self.host {
            GitHost::GitHub => github::create(self, wanted).await,
            GitHost::GitLab => gitlab::create(self, wanted).await,
            GitHost::Gitea => gitea::create(self, wanted).await,
            GitHost::Other => Err(ApiError("the host is of no kind that is known".into())),
        };
        match created {
            Ok(opened) => Ok(opened),
            // It may have been opened all the same.
            Err(error) => match self.find(wanted).await {
                Ok(Some(found)) => Ok(found),
                Ok(None) | Err(_) => Err(error),
            },
        }
    }

    async fn find(&self, wanted: &Wanted) -> Result<Option<PullRequest>, ApiError> {
        match self.host {
            GitHost::GitHub => github::find(self, wanted).await,
            GitHost::GitLab => gitlab::find(self, wanted).await,
            GitHost::Gitea => gitea::find(self, wanted).await,
            GitHost::Other => Ok(None),
        }
    }

    /// Sends a request; `query` is encoded.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, ApiError> {
        let url = format!("{}{path}", self.base);
        let failed =
            |error: reqwest::Error| ApiError(format!("{url} cannot be reached: {}", cause(&error)));
        let mut request = self
            .client
            .request(method, &url)
            .headers(headers)
            .query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES {
                return Err(ApiError(format!(
                    "{url} answered more than {ANSWER_BYTES} bytes"
                )));
            }
        }
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The body of a success.
    fn ok(self, doing: &str) -> Result<Value, ApiError> {
        match self.status {
            200..=299 => Ok(self.body),
            status => {
                let hint = match status {
                    401 => " (the host refuses the token)",
                    403 | 404 => " (may the token open pull requests here?)",
                    _ => "",
                };
                let said = clip(&said(&self.body), 400);
                Err(ApiError(format!(
                    "{doing} was answered with HTTP {status}{hint}: {said}"
                )))
            }
        }
    }
}

/// The words of an error: `message`, which can be a text, a list or an object, and those of `errors`.
fn said(body: &Value) -> String {
    let plain = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    if let Value::String(text) = body {
        return clip(text, 200);
    }
    let message = body.get("message").or_else(|| body.get("error")).map(plain);
    let errors = body
        .get("errors")
        .filter(|errors| errors.as_array().is_some_and(|list| !list.is_empty()));
    let words: Vec<_> = message.into_iter().chain(errors.map(plain)).collect();
    words.join(" ")
}

/// The innermost of an error's causes: the outer ones only name the address again.
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// A pull request in an answer.
fn pull_request(value: &Value, url: &str, number: &str) -> Option<PullRequest> {
    Some(PullRequest {
        url: value.get(url)?.as_str()?.to_owned(),
        number: value.get(number).and_then(Value::as_u64),
    })
}

fn opened(value: &Value, url: &str, number: &str) -> Result<PullRequest, ApiError> {
    pull_request(value, url, number)
        .ok_or_else(|| ApiError("the answer to the creation holds no address".into()))
}

/// `Authorization: SCHEME TOKEN`, not shown by whoever prints the request.
fn authorization(scheme: &str, token: &str) -> Result<HeaderMap, ApiError> {
    let mut value = reqwest::header::HeaderValue::from_str(&format!("{scheme} {token}"))
        .map_err(|_| ApiError("the token holds characters that no header can hold".into()))?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(reqwest::header::AUTHORIZATION, value);
    Ok(headers)
}
