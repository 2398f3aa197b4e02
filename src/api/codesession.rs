//! `CodeSession`: one execution of a CodeAgent.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::codeagent::{Credentials, RepositorySpec};
use super::provider::ProviderSpec;
use super::shared::{
    Condition, DeletionPolicy, KeyReference, NAME_PATTERN, OnUnknownLaunch, TextSource,
    params_schema, time_schema, words_schema,
};

/// Advice of every rule that keeps a launched session what it was.
const NEW_NAME: &str =
    "create a CodeSession with a new name; do not use --force: it cancels this one and pays again";

/// The rules over the whole spec.
fn spec_rules() -> Value {
    let mut rules = vec![
        json!({
            "rule": "[has(self.prompt), has(self.promptFrom), has(self.issue)].exists_one(x, x)",
            "message": "set exactly one of prompt, promptFrom and issue"
        }),
        json!({
            "rule": "!has(self.prompt) || size(bytes(self.prompt)) <= 65536",
            "fieldPath": ".prompt",
            "message": "the prompt is larger than 64 KiB of UTF-8: shorten it, or put it into a ConfigMap and use promptFrom"
        }),
        json!({
            "rule": "self.agentRef == oldSelf.agentRef",
            "fieldPath": ".agentRef",
            "message": format!("agentRef never changes: {NEW_NAME}")
        }),
        json!({
            "rule": "!has(oldSelf.messages) || has(self.messages)",
            "fieldPath": ".messages",
            "message": "messages are append-only: keep the ones that are there and add new ones at the end"
        }),
        json!({
            "rule": "oldSelf.desiredState == self.desiredState || oldSelf.desiredState in ['Running', 'Suspended'] || (oldSelf.desiredState == 'Cancelled' && self.desiredState == 'Archived')",
            "fieldPath": ".desiredState",
            "message": "a cancelled session can only be archived and an archived one stays so: create a CodeSession with a new name to run again"
        }),
        json!({
            "rule": "!(self.desiredState in ['Cancelled', 'Archived']) || !has(self.messages) || (has(oldSelf.messages) && size(self.messages) == size(oldSelf.messages))",
            "fieldPath": ".messages",
            "message": "no message can be added to a cancelled or archived session: create a CodeSession with a new name"
        }),
    ];
    for field in [
        "prompt",
        "promptFrom",
        "issue",
        "images",
        "repository",
        "model",
        "pullRequest",
        "onBehalfOf",
    ] {
        rules.push(json!({
            "rule": format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"),
            "fieldPath": format!(".{field}"),
            "message": format!("{field} never changes: {NEW_NAME}")
        }));
    }
    Value::Array(rules)
}

/// One execution of a CodeAgent against a repository: a prompt, its follow-ups, a pull request.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "codeagents.dev",
    version = "v1alpha1",
    kind = "CodeSession",
    namespaced,
    doc = "One execution of a CodeAgent against a repository: a prompt, its follow-ups, a pull request.",
    status = "CodeSessionStatus",
    derive = "PartialEq",
    shortname = "csess",
    category = "codeagent-operator",
    selectable = ".spec.agentRef.name",
    selectable = ".status.phase",
    printcolumn(
        name = "Agent",
        type_ = "string",
        json_path = ".spec.agentRef.name",
        description = "The CodeAgent"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "Where the session stands"
    ),
    printcolumn(
        name = "PR",
        type_ = "string",
        json_path = ".status.pullRequest.url",
        description = "The pull request"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Provider",
        type_ = "string",
        json_path = ".status.provider.kind",
        priority = 1,
        description = "Which provider runs it"
    ),
    printcolumn(
        name = "Session",
        type_ = "string",
        json_path = ".status.provider.sessionId",
        priority = 1,
        description = "The provider's id"
    ),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".status.effective.model.id",
        priority = 1,
        description = "The model"
    ),
    printcolumn(
        name = "Started",
        type_ = "date",
        json_path = ".status.startedAt",
        priority = 1,
        description = "When it was launched"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Succeeded')].message",
        priority = 1,
        description = "What there is to say"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub struct CodeSessionSpec {
    /// The CodeAgent to run, in the same namespace. Never changes.
    pub agent_ref: AgentReference,
    /// The task, at most 64 KiB of UTF-8. Never changes. Exactly one of prompt, promptFrom and issue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub prompt: Option<String>,
    /// Where the task is read from when the session is launched. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_from: Option<TextSource>,
    /// The issue to work on, such as issues/FT-42, for providers that take issues instead of prompts (Firetiger). Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^[^\s]+$"))]
    pub issue: Option<String>,
    /// Images beside the prompt, at most 5. Never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    pub images: Option<Vec<ImageSource>>,
    /// Another repository or starting point than the agent's, leaf by leaf. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySpec>,
    /// Another model than the agent's, leaf by leaf. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelOverride>,
    /// Another pull request behaviour than the agent's, leaf by leaf. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestOverride>,
    /// Other credentials than the agent's. May change until the launch is claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How long the session may run, in seconds from its launch, 60 to 604800. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 604_800))]
    pub active_deadline_seconds: Option<i64>,
    /// How long the finished session is kept, in seconds, 0 to 31536000. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What deleting the active session does at the provider: Cancel or Orphan. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens when the launch may or may not have arrived: Recover, Fail or Retry. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown_launch: Option<OnUnknownLaunch>,
    /// E-mail address of the person on whose behalf the session runs; forwarded where the provider knows user attribution. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 320), regex(pattern = r"^[^\s@]+@[^\s@]+$"))]
    pub on_behalf_of: Option<String>,
    /// Who goes first while sessions wait for a free place, -1000 to 1000, higher first. Default: 0.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// Where changes of the phase are reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// What should become of the session: Running, Suspended (held before the launch, later messages held), Cancelled or Archived.
    /// Cancelled never goes back but to Archived, Archived never. Default: Running.
    #[serde(default)]
    pub desired_state: DesiredState,
    /// Follow-ups on the same workspace, in order; append-only, at most 50, together at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = [
            {
                "rule": "self.size() >= oldSelf.size() && oldSelf.all(i, o, self[i].name == o.name)",
                "message": "messages are append-only and keep their order: add new ones at the end"
            },
            {
                "rule": "!self.exists(m, m.name == 'prompt')",
                "message": "the name prompt is taken by the session's first message: choose another"
            },
            {
                "rule": "self.map(m, has(m.prompt) ? size(bytes(m.prompt)) : 0).sum() <= 65536",
                "message": "the messages are together larger than 64 KiB: use promptFrom, or a new CodeSession"
            }
        ]
    ))]
    pub messages: Option<Vec<MessageSpec>>,
}

/// A CodeAgent in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentReference {
    /// Name of the CodeAgent.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Kind of the agent. Default: CodeAgent, the only kind there is.
    #[serde(default)]
    pub kind: AgentKind,
}

/// Kinds of agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentKind {
    /// In the session's namespace.
    #[default]
    CodeAgent,
}

words_schema!(AgentKind: CodeAgent);

/// An image: exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.url), has(self.configMapKeyRef), has(self.secretKeyRef)].exists_one(x, x)",
    "message": "set exactly one of url, configMapKeyRef and secretKeyRef"
}]))]
pub struct ImageSource {
    /// Public https URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\s]+$"))]
    pub url: Option<String>,
    /// A key of a ConfigMap (binaryData) in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
    /// A key of a Secret in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
}

/// Another model than the agent's; what is absent is the agent's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelOverride {
    /// The provider's id of the model, or auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\s]+$"))]
    pub id: Option<String>,
    /// Parameters by name, at most 20; each replaces the agent's parameter of that name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "params_schema")]
    pub params: BTreeMap<String, String>,
}

/// Another pull request behaviour than the agent's; what is absent is the agent's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.workOnCurrentBranch) && self.workOnCurrentBranch && has(self.branchName))",
    "message": "workOnCurrentBranch and branchName exclude each other: remove one"
}]))]
pub struct PullRequestOverride {
    /// Open a pull request when done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_create: Option<bool>,
    /// Push to the starting branch instead of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_on_current_branch: Option<bool>,
    /// Do not ask anyone for a review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reviewer_request: Option<bool>,
    /// Name of the branch to create.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\s]+$"))]
    pub branch_name: Option<String>,
}

/// Where changes of the phase are reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    /// Public https URL.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https://[^\s]+$"))]
    pub url: String,
    /// The key that signs the reports (Standard Webhooks). Default: unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeyReference>,
}

/// What should become of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DesiredState {
    /// Run it.
    #[default]
    Running,
    /// Hold it: nothing new is sent.
    Suspended,
    /// Stop it.
    Cancelled,
    /// Put it away.
    Archived,
}

words_schema!(DesiredState: Running, Suspended, Cancelled, Archived);

/// A follow-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.prompt) != has(self.promptFrom)",
        "message": "set exactly one of prompt and promptFrom"
    },
    {
        "rule": "!has(self.prompt) || size(bytes(self.prompt)) <= 16384",
        "message": "the message is larger than 16 KiB of UTF-8: shorten it, or use promptFrom"
    },
    {
        "rule": "self == oldSelf",
        "message": "a message never changes: add another one at the end"
    }
]))]
pub struct MessageSpec {
    /// Name of the message, unique within the session; prompt is taken.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// What to do next, at most 16 KiB of UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16384))]
    pub prompt: Option<String>,
    /// Where the text is read from when the message is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_from: Option<TextSource>,
    /// Images beside the text, at most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    pub images: Option<Vec<ImageSource>>,
}

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
    /// Launched, Succeeded, Completed, Blocked, PullRequestCreated, Reconciling and Stalled.
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
    /// Tokens and money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,
    /// The place among the sessions that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// What keeps the session from getting further until somebody changes something outside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<BlockerStatus>,
    /// The reports to spec.webhook.
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

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionPhase {
    /// Not launched yet.
    #[default]
    Pending,
    /// A launch is under way, or the provider prepares the machine.
    Creating,
    /// The agent works.
    Running,
    /// Done.
    Finished,
    /// Ended with an error, or could not be launched as asked.
    Error,
    /// Stopped on request.
    Cancelled,
    /// Ended by a time limit, ours or the provider's.
    Expired,
}

words_schema!(SessionPhase: Pending, Creating, Running, Finished, Error, Cancelled, Expired);

impl SessionPhase {
    /// Whether the newest message has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Creating | Self::Running => false,
            Self::Finished | Self::Error | Self::Cancelled | Self::Expired => true,
        }
    }

    /// As written in manifests; also the label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Creating => "Creating",
            Self::Running => "Running",
            Self::Finished => "Finished",
            Self::Error => "Error",
            Self::Cancelled => "Cancelled",
            Self::Expired => "Expired",
        }
    }
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
    /// When nothing of this claim is sent any more.
    #[schemars(schema_with = "time_schema")]
    pub not_after: Timestamp,
    /// Where it is sent to.
    pub target: SendTarget,
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

/// Where a send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// What agent and session together came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// Provider and its settings.
    pub provider: EffectiveProvider,
    /// Name and key of the Secret.
    pub credentials_ref: KeyReference,
    /// URL of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub repository: Option<String>,
    /// Where to start.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub reference: Option<String>,
    /// The model.
    pub model: super::codeagent::ModelSpec,
    /// Branch and pull request.
    pub pull_request: super::codeagent::PullRequestSpec,
    /// How long it may run, in seconds from its launch.
    pub active_deadline_seconds: i64,
    /// How long it is kept when finished, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What deletion does.
    pub deletion_policy: DeletionPolicy,
    /// What happens after an unknown outcome.
    pub on_unknown_launch: OnUnknownLaunch,
    /// The generation of the CodeAgent.
    pub agent_generation: i64,
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
    /// The agent's closing words, at most 2 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub result: Option<String>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// Who or what asked for a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CancelReason {
    /// spec.desiredState.
    User,
    /// activeDeadlineSeconds.
    Deadline,
    /// The object is being deleted.
    Delete,
    /// A second session of the same launch.
    Duplicate,
}

words_schema!(CancelReason: User, Deadline, Delete, Duplicate);

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueResource {
    /// A slot among the sessions of its CodeAgent (maxConcurrentSessions).
    #[default]
    Capacity,
    /// The issue it works on, on which one launch at a time may be open.
    Issue,
}

words_schema!(QueueResource: Capacity, Issue);

/// The place among the sessions that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// What it waits for. Default: Capacity.
    #[serde(default)]
    pub of: QueueResource,
    /// Place when this was written, 1 is next; absent where there is no order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub position: Option<i32>,
    /// Since when it waits.
    #[schemars(schema_with = "time_schema")]
    pub since: Timestamp,
}

/// The reports to spec.webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookStatus {
    /// HTTP status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 999))]
    pub last_code: Option<i32>,
    /// Attempts for the last report.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempts: i32,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_attempt_at: Option<Timestamp>,
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
