//! What the operator reports of a session.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phase::SessionPhase;
use super::send::SendRecord;
use super::webhook::WebhookStatus;
use crate::api::agent::parameters::values_schema;
use crate::api::agent::{ModelSpec, PullRequestSpec};
use crate::api::provider::ProviderSpec;
use crate::api::shared::{
    Condition, DeletionPolicy, KeyReference, OnUnknownLaunch, known_or_default, open_words,
    time_schema, words_schema,
};

/// What the operator knows of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeSessionStatus {
    /// The generation of the spec that was last evaluated; -1 before the first look.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,
    /// Where the session stands, derived for people: Pending, Creating, Running, then Finished, Error, Cancelled or Expired.
    #[serde(default)]
    pub phase: SessionPhase,
    /// Launched, Succeeded, Completed, Blocked, PullRequestCreated, Archived, WebhookDelivered, Reconciling and Stalled.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The session at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderStatus>,
    /// The record of the launch (docs/reliability.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<SendRecord>,
    /// What agent and session together came to, resolved with the claim. From then on only this is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// The pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestStatus>,
    /// Further links. Never a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<LinksStatus>,
    /// The messages, the first one is named prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub messages: Vec<MessageStatus>,
    /// The stop that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelRecord>,
    /// The archiving that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveStatus>,
    /// Tokens and money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,
    /// The place among the sessions that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// What keeps the session from getting further until somebody changes something outside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<BlockerStatus>,
    /// The reports to the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookStatus>,
    /// When the provider accepted the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub started_at: Option<Timestamp>,
    /// When the session was seen to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub completed_at: Option<Timestamp>,
    /// What went wrong, in the phase Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorStatus>,
}

/// The session at the provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// The provider, as one word.
    #[schemars(length(max = 32))]
    pub kind: String,
    /// The provider's id of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub session_id: Option<String>,
    /// The page on which a person can watch it.
    #[serde(
        default,
        rename = "sessionURL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub session_url: Option<String>,
    /// The status in the provider's words when it was last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub raw_status: Option<String>,
    /// Earlier ids of the session, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 51), inner(length(max = 256)))]
    pub chain: Vec<String>,
}

/// What agent and session together came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Provider and its settings.
    pub provider: EffectiveProvider,
    /// Name and key of the Secret; none for a job agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<KeyReference>,
    /// URL of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub repository: Option<String>,
    /// Where to start.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub reference: Option<String>,
    /// The pull request that it starts from.
    #[serde(
        default,
        rename = "pullRequestURL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 512))]
    pub pull_request_url: Option<String>,
    /// The model.
    pub model: ModelSpec,
    /// Branch and pull request.
    pub pull_request: PullRequestSpec,
    /// The value of each parameter that the CodeAgent declares: the session's, or else the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "values_schema")]
    pub parameters: BTreeMap<String, String>,
    /// The Secrets whose keys are the environment variables of the hosted agent, in order; of a name that stands in several the last counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 253)))]
    pub env_from: Vec<String>,
    /// How long it may run, in seconds from its launch.
    pub active_deadline_seconds: i64,
    /// How long it may wait for its launch, in seconds from its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_deadline_seconds: Option<i64>,
    /// How long it is kept when finished, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What deletion does.
    #[serde(deserialize_with = "known_or_default")]
    pub deletion_policy: DeletionPolicy,
    /// What happens after an unknown outcome.
    #[serde(deserialize_with = "known_or_default")]
    pub on_unknown_launch: OnUnknownLaunch,
    /// The generation of the CodeAgent.
    pub agent_generation: i64,
}

impl Effective {
    /// Name and key of the Secret as a claim records them, `NAME/KEY`; empty where there is none.
    pub fn secret_path(&self) -> String {
        let secret = self.credentials_ref.as_ref();
        secret
            .map(|secret| format!("{}/{}", secret.name, secret.key))
            .unwrap_or_default()
    }
}

/// Provider and its settings, with the endpoint that is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectiveProvider {
    /// The settings.
    #[serde(flatten)]
    pub spec: ProviderSpec,
    /// The base URL.
    #[schemars(length(max = 253))]
    pub endpoint: String,
}

/// The pull request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PullRequestStatus {
    /// Its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// The branch that the agent pushes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub branch: Option<String>,
}

/// Further links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinksStatus {
    /// A recording of the emulator's screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub recording: Option<String>,
    /// The execution trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub trace: Option<String>,
    /// A live view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub preview: Option<String>,
}

/// A message and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageStatus {
    /// Its name; prompt is the first.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The provider's id of its execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub run_id: Option<String>,
    /// Where it stands.
    #[serde(default)]
    pub phase: SessionPhase,
    /// The record of its sending; the first message's is status.launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<SendRecord>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub started_at: Option<Timestamp>,
    /// When it was seen to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub completed_at: Option<Timestamp>,
    /// How long it ran, in seconds: the provider's measure, or else ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub duration_seconds: Option<i64>,
    /// The agent's closing words: at most 2 KiB of the newest message, 256 bytes of an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub result: Option<String>,
    /// The pull request when it ended.
    #[serde(
        default,
        rename = "pullRequestURL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub pull_request_url: Option<String>,
    /// Why it was not sent, or what went wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorStatus>,
}

impl MessageStatus {
    /// Whether it was sent, and may have reached the provider. Of the first message the launch tells.
    pub fn may_be_there(&self) -> bool {
        let record = self.send.as_ref();
        record.is_some_and(|record| record.state.may_be_there())
    }
}

/// The stop that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelRecord {
    /// Who or what asked for it.
    pub reason: CancelReason,
    /// The message it stops.
    #[schemars(length(max = 63))]
    pub message: String,
    /// Where it stands. Default: Sent.
    #[serde(default)]
    pub state: CancelState,
    /// When the first stop was about to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub sent_at: Option<Timestamp>,
    /// When the provider first took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub accepted_at: Option<Timestamp>,
    /// Stops in a row that failed, were refused, or were taken without effect. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failures: i32,
    /// The provider's words at the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub error: Option<String>,
    /// When it is tried again, after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_at: Option<Timestamp>,
}

/// Where a stop stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum CancelState {
    /// It is wanted; nothing was sent yet.
    Requested,
    /// It is about to be sent, or was sent without an answer yet.
    #[default]
    Sent,
    /// The provider took it; a look has to show the end.
    Accepted,
    /// The provider says that there is nothing to stop, and reports the session as active.
    Refused,
    /// It could not be sent, or failed at the provider.
    Failing,
    /// The provider cannot stop this session.
    Unsupported,
}

words_schema!(CancelState: Requested, Sent, Accepted, Refused, Failing, Unsupported);
open_words!(CancelState, or Sent: Requested, Sent, Accepted, Refused, Failing, Unsupported);

/// Who or what asked for a stop. A word of another version of the operator reads as `User`: the stop stays in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CancelReason {
    /// spec.desiredState.
    User,
    /// activeDeadlineSeconds.
    Deadline,
    /// The object is being deleted.
    Delete,
    /// A second session of the same launch.
    Duplicate,
    /// spec.messages[].cancel: this message alone, and what waits behind it goes on.
    Message,
}

impl CancelReason {
    /// Whether nothing of the session is sent any more after a stop for this reason. The others end one message, and the next one is
    /// sent.
    pub fn ends_session(self) -> bool {
        match self {
            Self::User | Self::Delete => true,
            Self::Deadline | Self::Duplicate | Self::Message => false,
        }
    }
}

words_schema!(CancelReason: User, Deadline, Delete, Duplicate, Message);
open_words!(CancelReason, or User: User, Deadline, Delete, Duplicate, Message);

/// The archiving that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveStatus {
    /// Where it stands.
    pub state: ArchiveState,
    /// When the session was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub archived_at: Option<Timestamp>,
    /// Tries in a row that failed or were refused. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failures: i32,
    /// The provider's words at the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub error: Option<String>,
    /// When it is tried again, after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_at: Option<Timestamp>,
}

/// Where the archiving of a session stands. A word of another version of the operator reads as `Requested`: archiving once more
/// changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ArchiveState {
    /// It is wanted; the provider has not taken it yet.
    Requested,
    /// The provider has archived it, or no longer has it.
    Archived,
    /// Nothing of it can be archived at a provider: the operator leaves it alone.
    Local,
}

words_schema!(ArchiveState: Requested, Archived, Local);
open_words!(ArchiveState, or Requested: Requested, Archived, Local);

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageStatus {
    /// Tokens read, cached ones included.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub input_tokens: i64,
    /// Tokens written.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub output_tokens: i64,
    /// Cost in hundredths of a US dollar, rounded up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cost_cents: Option<i64>,
}

/// What keeps a session from getting further, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockerStatus {
    /// Why, as one word of the reasons.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Since when something has kept it, this or another.
    #[schemars(schema_with = "time_schema")]
    pub since: Timestamp,
}

/// What a session waits for together with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum QueueResource {
    /// A slot among the sessions of its CodeAgent (maxConcurrentSessions).
    #[default]
    Capacity,
    /// A slot among the sessions of its account, over all namespaces (--max-concurrent-per-credential of the operator).
    Account,
    /// The issue it works on, on which one launch at a time may be open.
    Issue,
    /// The branch it would push to, on which one session at a time may work.
    Branch,
}

words_schema!(QueueResource: Capacity, Account, Issue, Branch);
open_words!(QueueResource, or Capacity: Capacity, Account, Issue, Branch);

/// The place among the sessions that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// What it waits for. Default: Capacity.
    #[serde(default)]
    pub of: QueueResource,
    /// Digest of the account and its endpoint, where it waits for one of the account's slots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub account: Option<String>,
    /// Position when this was written, 1 is next; only for the first ten, and at most once a minute. Absent where there is no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub position: Option<i32>,
    /// Since when it waits.
    #[schemars(schema_with = "time_schema")]
    pub since: Timestamp,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorStatus {
    /// Why, as one word of a documented list.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Why, for people; the provider's own words where it said something.
    #[schemars(length(max = 1024))]
    pub message: String,
}
