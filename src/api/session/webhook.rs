//! Reporting a session's changes to a web address of the user's.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::SessionPhase;
use crate::api::shared::{WebhookSpec, open_words, time_schema, words_schema};

/// The reports to the webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookStatus {
    /// The CodeAgent's webhook as it was at the launch; used where spec.webhook is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherited: Option<WebhookSpec>,
    /// The newest report's webhook-id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub id: Option<String>,
    /// Number of the session's state: it grows with each change that is reported. Default: 0, there was none.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub change: i64,
    /// Number of the state that the newest report told. Default: 0, there was none.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// What became of the newest report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ReportOutcome>,
    /// HTTP status of the last answer; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 999))]
    pub last_code: Option<i32>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub error: Option<String>,
    /// Attempts for the newest report.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempts: i32,
    /// When the newest report was first tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub first_attempt_at: Option<Timestamp>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_attempt_at: Option<Timestamp>,
    /// When the webhook last took a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub last_delivered_at: Option<Timestamp>,
    /// What the last report said that the webhook took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<ReportedState>,
    /// Reports that were given up. Default: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub undelivered: i64,
    /// Digest of the webhook that the newest report went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub target: Option<String>,
}

// Serde hands over a reference.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What became of a report. A word that another version of the operator stored reads as `Retrying`: then it is tried once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ReportOutcome {
    /// The webhook took it.
    Delivered,
    /// It did not, and it is tried again.
    Retrying,
    /// It was given up.
    Undelivered,
    /// The webhook answered 410: nothing is reported to it any more until it is changed.
    Gone,
}

words_schema!(ReportOutcome: Delivered, Retrying, Undelivered, Gone);
open_words!(ReportOutcome, or Retrying: Delivered, Retrying, Undelivered, Gone);

/// The state of a session, as far as its changes are reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedState {
    /// Its phase.
    #[serde(default)]
    pub phase: SessionPhase,
    /// Name of its newest message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub message: Option<String>,
    /// Where that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_phase: Option<SessionPhase>,
    /// Its pull request.
    #[serde(
        default,
        rename = "pullRequestURL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub pull_request_url: Option<String>,
    /// Whether the agent waits for a person.
    #[serde(default)]
    pub blocked: bool,
    /// Whether it does not get further without help.
    #[serde(default)]
    pub stalled: bool,
    /// Whether it is put away.
    #[serde(default)]
    pub archived: bool,
}
