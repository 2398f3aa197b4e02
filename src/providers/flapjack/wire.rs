//! What goes over the wire with Flapjack (its documentation of 2026): requests in camelCase, answers in snake_case, lists as
//! bare arrays.
//!
//! Only ids are required of an answer. Everything else may be missing or odd without making the answer unreadable.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::providers::wire::{Items, WireId, lenient, lenient_items};

/// `POST /api/code-sessions`. Without `Debug`: it holds a key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartSession<'a> {
    pub(super) code_agent_id: &'a str,
    pub(super) prompt: &'a str,
    pub(super) cursor_api_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) org_id: Option<&'a str>,
    pub(super) repo_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) starting_ref: Option<&'a str>,
    /// Public https only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook_url: Option<&'a str>,
    #[serde(flatten)]
    pub(super) behaviour: Behaviour<'a>,
}

/// The answer to `POST /api/code-sessions/{id}/archive`.
#[derive(Debug, Deserialize)]
pub(super) struct Archived {
    pub(super) archived: bool,
}

/// What sessions and templates have in common.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Behaviour<'a> {
    #[serde(rename = "autoCreatePR")]
    pub(super) auto_create_pr: bool,
    pub(super) work_on_current_branch: bool,
    pub(super) skip_reviewer_request: bool,
    pub(super) model_id: &'a str,
    pub(super) model_params: &'a BTreeMap<String, String>,
}

/// The answer to it.
#[derive(Debug, Deserialize)]
pub(super) struct Started {
    pub(super) session_id: WireId,
}

/// `POST /api/code-sessions/{id}/messages`.
#[derive(Debug, Serialize)]
pub(super) struct SendMessage<'a> {
    pub(super) prompt: &'a str,
}

/// The answer to it.
#[derive(Debug, Deserialize)]
pub(super) struct SentMessage {
    #[serde(rename = "message_id")]
    pub(super) _message_id: WireId,
}

/// A session; items of the list lack `messages`, `error` and what a message tells.
#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub(super) id: WireId,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) repo_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) latest_run_id: Option<WireId>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pr_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pr_branch: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) error: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) completed_at: Option<String>,
    #[serde(default, deserialize_with = "lenient_items")]
    pub(super) messages: Option<Items<Message>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(default, deserialize_with = "lenient")]
    pub(super) role: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) prompt: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) cursor_run_id: Option<WireId>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) result_text: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) duration_ms: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) pr_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) error: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
}

/// The answer to `GET /api/code-sessions/{id}/events`. Whose its `last_seq` is, the session's or this answer's, is not documented: with the
/// session's one would pass over what did not fit, so that it is not read.
#[derive(Deserialize)]
pub(super) struct Events {
    pub(super) events: Items<Event>,
}

/// One event. `Debug` is not derived: nothing of its content is logged.
#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) seq: u64,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) event_type: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) payload: Option<Value>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) cursor_run_id: Option<WireId>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
}

/// `POST` and `PATCH /api/code-agents`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WriteTemplate<'a> {
    pub(super) name: String,
    pub(super) description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) org_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_repo_url: Option<&'a str>,
    pub(super) default_starting_ref: &'a str,
    #[serde(flatten)]
    pub(super) behaviour: Behaviour<'a>,
    #[serde(skip_serializing_if = "Preamble::is_kept")]
    pub(super) preamble: Preamble,
}

/// What becomes of a template's preamble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preamble {
    /// There is none.
    Kept,
    /// Taken away. That `null` does it is said of the webhook's URL alone.
    Cleared,
}

impl Preamble {
    fn is_kept(&self) -> bool {
        *self == Self::Kept
    }
}

impl Serialize for Preamble {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// A template as it is stored.
#[derive(Debug, Deserialize)]
pub(super) struct StoredTemplate {
    pub(super) id: WireId,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) description: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) model_id: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) model_params: Option<BTreeMap<String, Value>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) default_repo_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) default_starting_ref: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) auto_create_pr: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) work_on_current_branch: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) skip_reviewer_request: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) preamble: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(super) created_at: Option<Timestamp>,
}
