//! What goes over the wire with Cursor's API v1 (its documentation of October 2026 and its OpenAPI of April 2026).
//!
//! Only ids are required of an answer. Everything else may be missing or odd without making the answer unreadable: an
//! accepted launch must not become an unknown one because of a date.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::api::ModelSpec;
use crate::domain::environment::Environment;
use crate::domain::image::Image;
use crate::domain::pull_request::PullRequestUrl;
use crate::providers::wire::{Base64, Dimension, Items, WireId, lenient, lenient_items};

/// `POST /v1/agents`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateAgent<'a> {
    /// Refused beside `envVars`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<String>,
    pub(super) name: String,
    pub(super) prompt: Prompt<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Model<'a>>,
    pub(super) repos: [Repo<'a>; 1],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) work_on_current_branch: bool,
    #[serde(rename = "autoCreatePR")]
    pub(super) auto_create_pr: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) skip_reviewer_request: bool,
    #[serde(skip_serializing_if = "EnvVars::is_empty")]
    pub(super) env_vars: EnvVars<'a>,
}

/// At most 50; `Debug` does not show their values.
#[derive(Debug)]
pub(super) struct EnvVars<'a>(pub(super) &'a Environment);

impl EnvVars<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for EnvVars<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Prompt<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<PromptImage<'a>>,
}

impl<'a> Prompt<'a> {
    pub(super) fn new(text: &'a str, images: &'a [Image]) -> Self {
        Self {
            text,
            images: images.iter().map(PromptImage::of).collect(),
        }
    }
}

/// An image: its content with its media type, or where it is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PromptImage<'a> {
    #[serde(rename_all = "camelCase")]
    Data {
        data: Base64<'a>,
        mime_type: &'static str,
        dimension: Dimension,
    },
    Url {
        url: &'a str,
    },
}

impl<'a> PromptImage<'a> {
    fn of(image: &'a Image) -> Self {
        match image {
            Image::Data(data) => Self::Data {
                data: Base64(data.content()),
                mime_type: data.format().media_type(),
                dimension: Dimension::of(data),
            },
            Image::Url(url) => Self::Url { url },
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Model<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) params: Vec<ModelParameter<'a>>,
}

impl<'a> Model<'a> {
    /// "auto" is the absence of a choice: Cursor then takes the user's, the team's or its own default.
    pub(super) fn chosen(model: &'a ModelSpec) -> Option<Self> {
        (model.id != "auto").then(|| Self {
            id: &model.id,
            params: model
                .params
                .iter()
                .map(|(id, value)| ModelParameter { id, value })
                .collect(),
        })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ModelParameter<'a> {
    pub(super) id: &'a str,
    pub(super) value: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Repo<'a> {
    pub(super) url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) starting_ref: Option<&'a str>,
    /// `url` and `startingRef` are ignored beside it, and `url` is required all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pr_url: Option<&'a str>,
}

/// `POST /v1/agents/{id}/runs`.
#[derive(Debug, Serialize)]
pub(super) struct CreateRun<'a> {
    pub(super) prompt: Prompt<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<Model<'a>>,
}

/// The answer to it.
#[derive(Debug, Deserialize)]
pub(super) struct CreatedRun {
    pub(super) run: Run,
}

/// The answer to `POST /v1/agents/{id}/archive`.
#[derive(Debug, Deserialize)]
pub(super) struct Archived {
    #[serde(rename = "id")]
    pub(super) _id: WireId,
}

/// The answer to `POST /v1/agents`.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    pub(super) agent: Agent,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) run: Option<Run>,
}

/// An agent; items of the list lack `repos`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agent {
    pub(super) id: WireId,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient_items")]
    pub(super) repos: Option<Items<AgentRepo>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) updated_at: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) latest_run_id: Option<WireId>,
}

impl Agent {
    /// The repository that it works on, where all of them can be read.
    pub(super) fn repository(&self) -> Option<Cow<'_, str>> {
        let repos = self.repos.as_ref()?.all()?;
        repos.iter().find_map(AgentRepo::repository)
    }
}

/// That `url` is there beside `prUrl` is not documented.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentRepo {
    #[serde(default, deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pr_url: Option<String>,
}

impl AgentRepo {
    fn repository(&self) -> Option<Cow<'_, str>> {
        let of_pull_request = || {
            let url = PullRequestUrl::parse(self.pr_url.as_deref()?)?;
            Some(Cow::Owned(url.repository().to_owned()))
        };
        let url = self.url.as_deref().map(Cow::Borrowed);
        url.or_else(of_pull_request)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentList {
    pub(super) items: Items<Agent>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

/// The execution of one prompt.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    pub(super) id: WireId,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) duration_ms: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) result: Option<String>,
    /// Undocumented; a text or an object with a message.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) error: Option<RunError>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) git: Option<Git>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RunError {
    Text(String),
    Object { message: String },
}

/// The state of the agent's branches, the same for every run.
#[derive(Debug, Deserialize)]
pub(super) struct Git {
    pub(super) branches: Items<Branch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Branch {
    /// Without a scheme: `github.com/acme/app`.
    #[serde(default, deserialize_with = "lenient")]
    pub(super) repo_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) branch: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pr_url: Option<String>,
}

/// Newest first.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunList {
    pub(super) items: Items<Run>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

/// `GET /v1/agents/{id}/usage`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageReport {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) total_usage: Option<Tokens>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) cost: Option<Cost>,
}

/// `inputTokens` does not contain the cached ones: `totalTokens` is the sum of all four.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tokens {
    #[serde(default)]
    pub(super) input_tokens: i64,
    #[serde(default)]
    pub(super) output_tokens: i64,
    #[serde(default)]
    pub(super) cache_write_tokens: i64,
    #[serde(default)]
    pub(super) cache_read_tokens: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) raw_cost_cents: Option<f64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) charged_cents: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ModelList {
    pub(super) items: Items<ListedModel>,
}

/// Texts until April 2026, objects since.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ListedModel {
    Id(String),
    Object { id: String },
}
