//! What goes over the wire with Cursor's API v0 (its OpenAPI of March 2026).
//!
//! Only ids are required of an answer. Everything else may be missing or odd without making the answer unreadable: an
//! accepted launch must not become an unknown one because of a date.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::providers::v0_agents::{self, AgentSource, AgentTarget, Prompt};
use crate::providers::wire::{Items, WireId, lenient};

/// `POST /v0/agents`.
#[derive(Debug, Serialize)]
pub(super) struct CreateAgent<'a> {
    pub(super) prompt: Prompt<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    pub(super) source: Source<'a>,
    pub(super) target: Target<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook: Option<v0_agents::Webhook<'a>>,
}

/// Where an agent starts: the one excludes the other.
#[derive(Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub(super) enum Source<'a> {
    Repository(v0_agents::Source<'a>),
    PullRequest { pr_url: &'a str },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target<'a> {
    pub(super) auto_create_pr: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) open_as_cursor_github_app: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) skip_reviewer_request: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) branch_name: Option<&'a str>,
    /// Whether an agent that starts from a pull request gets a branch of its own; else it pushes to the pull request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auto_branch: Option<bool>,
}

/// An agent, the same in every answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agent {
    pub(super) id: WireId,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) source: Option<AgentSource>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) target: Option<AgentTarget>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) summary: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
}

/// `GET /v0/models`.
#[derive(Debug, Deserialize)]
pub(super) struct ModelList {
    pub(super) models: Items<String>,
}
