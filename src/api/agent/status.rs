//! What the operator reports of a CodeAgent.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{Condition, open_words, time_schema, words_schema};

/// What the operator knows of a CodeAgent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeAgentStatus {
    /// The generation of the spec that was last evaluated; -1 before the first look.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub observed_generation: i64,
    /// Ready, CredentialsValid, ProviderReachable, Reconciling and Stalled.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The provider, as one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub provider: Option<String>,
    /// The account behind the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountStatus>,
    /// The models that may be chosen, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 128)))]
    pub models: Vec<String>,
    /// What the provider can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 64)))]
    pub capabilities: Vec<String>,
    /// ExactlyOnce or AtMostOnce: how often a launch is paid for when its answer is lost. ExactlyOnce only after the endpoint and
    /// account were once seen to use the session id that we choose, or to show the marker under a prompt; with environment variables
    /// (Cursor API v1), to keep the name that we give. It tells of sessions without an envFrom of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_guarantee: Option<Guarantee>,
    /// The same for follow-up messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_guarantee: Option<Guarantee>,
    /// The endpoint and account that have been seen to use the session id we choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id_honoured: Option<LaunchEvidence>,
    /// The endpoint and account that have been seen to show the marker under the prompt of a session (Cursor API v1: in its name), or not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker_honoured: Option<LaunchEvidence>,
    /// How many sessions there are. Written at most once in 10 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionCounts>,
    /// The template at the provider that sessions are launched from, where the provider has templates (Flapjack).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateStatus>,
    /// What the examples of an HTTP service's mapping read as, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 512)))]
    pub mapping_examples: Vec<String>,
    /// Sessions of this installation that run at the provider and that no CodeSession accounts for, the 20 oldest. Those that
    /// were left running on purpose come last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["sessionId"]))]
    pub orphans: Vec<OrphanStatus>,
}

/// The template at the provider that the sessions of a CodeAgent are launched from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateStatus {
    /// Whether sessions can be launched from it.
    pub state: TemplateState,
    /// The provider's id of it, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub id: Option<String>,
    /// The endpoint at which it is.
    #[schemars(length(max = 253))]
    pub endpoint: String,
    /// Digest of the account that it belongs to.
    #[schemars(length(max = 64))]
    pub account: String,
    /// Tells this try to make it from others; absent where it was found and not made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub claim_id: Option<String>,
    /// When it was tried to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub claimed_at: Option<Timestamp>,
    /// The generation of the spec that it was last brought in line with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// Where a template stands. A word of another version of the operator reads as `Claimed`: it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum TemplateState {
    /// About to be made, or it is not known yet whether it was made.
    Claimed,
    /// It is there: sessions are launched from it.
    Ready,
}

words_schema!(TemplateState: Claimed, Ready);
open_words!(TemplateState, or Claimed: Claimed, Ready);

/// The most orphans that are kept in the status.
pub const MAX_ORPHANS: usize = 20;

/// A session at the provider that no CodeSession accounts for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrphanStatus {
    /// The provider's id of the session.
    #[schemars(length(min = 1, max = 256))]
    pub session_id: String,
    /// Why: NoCodeSession, NotRecorded, Duplicate or Released.
    pub reason: OrphanReason,
    /// When it was first seen.
    #[schemars(schema_with = "time_schema")]
    pub since: Timestamp,
    /// The CodeSession that it was launched for, if that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub session: Option<String>,
    /// Its page at the provider.
    #[serde(
        default,
        rename = "sessionURL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(max = 2048))]
    pub session_url: Option<String>,
}

/// Why no CodeSession accounts for a session. A word of another version of the operator reads as `NotRecorded`; the next sweep
/// finds the reason again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum OrphanReason {
    /// The CodeSession that it was launched for has another one: it was launched twice.
    Duplicate,
    /// The CodeSession that it was launched for is there and has none.
    NotRecorded,
    /// The CodeSession that it was launched for is gone.
    NoCodeSession,
    /// It was left running on purpose, by deletionPolicy Orphan.
    Released,
}

words_schema!(OrphanReason: Duplicate, NotRecorded, NoCodeSession, Released);
open_words!(OrphanReason, or NotRecorded: Duplicate, NotRecorded, NoCodeSession, Released);

/// The account behind a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountStatus {
    /// The key's name at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub name: Option<String>,
    /// The e-mail address of the key's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 320))]
    pub email: Option<String>,
    /// A digest that tells this account from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub fingerprint: Option<String>,
}

/// Whether a provider uses the session id that we choose, or shows the marker under a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LaunchEvidence {
    /// The endpoint that answered.
    #[schemars(length(max = 253))]
    pub endpoint: String,
    /// The account it answered to.
    #[schemars(length(max = 64))]
    pub account: String,
    /// Whether the answer carried the id or the marker that we had sent.
    pub honoured: bool,
    /// When it was seen.
    #[schemars(schema_with = "time_schema")]
    pub seen_at: Timestamp,
}

/// How often a launch is paid for. A word of another version of the operator reads as the weaker promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Guarantee {
    /// Exactly one launch, also after a crash at any moment.
    ExactlyOnce,
    /// Never two; after a crash at the wrong moment a person may have to look.
    AtMostOnce,
}

words_schema!(Guarantee: ExactlyOnce, AtMostOnce);
open_words!(Guarantee, or AtMostOnce: ExactlyOnce, AtMostOnce);

/// Sessions of a CodeAgent by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionCounts {
    /// Not launched yet.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub pending: i32,
    /// Being created or running.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub active: i32,
    /// Ended, however.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub finished: i32,
}
