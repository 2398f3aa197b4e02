//! The record of one paid request: its claim, its target and what became of it (docs/protocol.md).

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::shared::{open_words, time_schema, words_schema};

/// Write-ahead record of something paid that is or was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendRecord {
    /// The key of the attempt, a UUID.
    #[schemars(length(max = 64))]
    pub key: String,
    /// The attempt, counted from 1.
    #[schemars(range(min = 1, max = 1000))]
    pub attempt: i32,
    /// The claim: a new one for every request that is sent.
    #[schemars(length(max = 64))]
    pub claim_id: String,
    /// How many requests with this key may have reached the provider since the last one that was proven not to have.
    #[schemars(range(min = 1, max = 1000))]
    pub posts: i32,
    /// Where it stands.
    pub state: SendState,
    /// When the claim was made.
    #[schemars(schema_with = "time_schema")]
    pub claimed_at: Timestamp,
    /// When the first request that may yet be found was claimed, where this claim is not the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub first_claimed_at: Option<Timestamp>,
    /// When nothing of this claim is sent any more.
    #[schemars(schema_with = "time_schema")]
    pub not_after: Timestamp,
    /// Where it is sent to.
    pub target: SendTarget,
    /// How a launch whose answer was lost is found again: ClientId (by the id that we chose), Marker (by the mark of ours that it
    /// carries) or None (not for certain). Settled by what was sent, and kept for as long as a request that was sent so may be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// What was there before, where a provider is searched by comparing (newest run id, links of an issue).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub baseline: Option<String>,
    /// Digest of what is sent.
    #[schemars(length(max = 64))]
    pub request_digest: String,
    /// The refusal, while the state is Rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalRecord>,
}

impl SendRecord {
    /// When the first request that may yet be found was claimed.
    pub fn first_claim(&self) -> Timestamp {
        self.first_claimed_at.unwrap_or(self.claimed_at)
    }
}

/// How a launch whose answer was lost is found again (docs/protocol.md). A word of another version of the operator reads as
/// `None`: nothing is proven by a look that does not look for the right thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Recovery {
    /// The session has the id that we chose: look it up.
    ClientId,
    /// The session carries a mark of ours, at the end of its first message or in its name: scan the list.
    Marker,
    /// It cannot be found for certain.
    None,
}

words_schema!(Recovery: ClientId, Marker, None);
open_words!(Recovery, or None: ClientId, Marker, None);

impl Recovery {
    /// Whether a complete look proves that nothing was launched.
    pub fn proves_absence(self) -> bool {
        match self {
            Self::ClientId | Self::Marker => true,
            Self::None => false,
        }
    }
}

/// Where a send stands. A word of another version of the operator reads as `Unknown`: the send is looked for, and never
/// repeated before it is proven absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SendState {
    /// About to be sent, or sent without an answer yet.
    Claimed,
    /// It may or may not have arrived.
    Unknown,
    /// The provider has it.
    Confirmed,
    /// The provider refused it; nothing was started.
    Rejected,
    /// Proven not to be there.
    Absent,
    /// The provider had it and no longer knows it.
    Lost,
}

words_schema!(SendState: Claimed, Unknown, Confirmed, Rejected, Absent, Lost);
open_words!(SendState, or Unknown: Claimed, Unknown, Confirmed, Rejected, Absent, Lost);

impl SendState {
    /// Whether it may be at the provider, as far as is known.
    pub fn may_be_there(self) -> bool {
        match self {
            Self::Claimed | Self::Unknown | Self::Confirmed | Self::Lost => true,
            Self::Rejected | Self::Absent => false,
        }
    }

    /// Whether the provider is known to have, or to have had, it.
    pub fn arrived(self) -> bool {
        match self {
            Self::Confirmed | Self::Lost => true,
            Self::Claimed | Self::Unknown | Self::Rejected | Self::Absent => false,
        }
    }

    /// Whether its outcome is not known.
    pub fn is_open(self) -> bool {
        match self {
            Self::Claimed | Self::Unknown => true,
            Self::Confirmed | Self::Rejected | Self::Absent | Self::Lost => false,
        }
    }
}

/// Where something is sent to, pinned with the claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendTarget {
    /// The provider, as one word.
    #[schemars(length(max = 32))]
    pub kind: String,
    /// Version of the provider's API.
    #[schemars(length(max = 16))]
    pub api_version: String,
    /// Base URL.
    #[schemars(length(max = 253))]
    pub endpoint: String,
    /// Digest of the account.
    #[schemars(length(max = 64))]
    pub account: String,
    /// Name and key of the Secret, as name/key.
    #[schemars(length(max = 507))]
    pub secret_ref: String,
    /// The provider's template, where it has templates (Flapjack).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub template_id: Option<String>,
    /// The issue, where the provider takes issues (Firetiger).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub issue: Option<String>,
}

/// A refusal that settled a send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusalRecord {
    /// Class of the error.
    #[schemars(length(max = 32))]
    pub class: String,
    /// What it came to, as one word of the reasons.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// What makes another try worthwhile. Default: Others.
    #[serde(default)]
    pub mended_by: MendedBy,
    /// The provider's own words.
    #[schemars(length(max = 512))]
    pub message: String,
    /// How many times in a row, with the same mendedBy.
    #[schemars(range(min = 1))]
    pub count: i32,
    /// Not sent again before this, unless agent or credentials change.
    #[schemars(schema_with = "time_schema")]
    pub retry_at: Timestamp,
    /// The generation of the CodeAgent that was refused.
    #[serde(default)]
    pub agent_generation: i64,
    /// Digest of account and credential that were refused.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub credential: String,
}

/// What makes another try of a refused send worthwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum MendedBy {
    /// Waiting.
    Time,
    /// Somebody who changes the CodeAgent, the credentials or the account.
    #[default]
    Others,
    /// That is not clear: it may pass, or be about the session's own fields. It is tried a few times.
    Unclear,
    /// Nobody: it is about the session's own fields, which never change.
    Nobody,
}

words_schema!(MendedBy: Time, Others, Unclear, Nobody);
open_words!(MendedBy, or Others: Time, Others, Unclear, Nobody);
