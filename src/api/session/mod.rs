//! `CodeSession`: one execution of a CodeAgent.

mod phase;
pub(super) mod rules;
mod send;
mod status;
mod webhook;

pub use phase::*;
pub use send::*;
pub use status::*;
pub use webhook::*;

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::agent::{
    Credentials, ParameterValue, RepositorySpec, parameters, repository::branch_rules,
};
use crate::api::shared::{
    DeletionPolicy, EnvironmentSource, KeyReference, NAME_PATTERN, OnUnknownLaunch, TextSource,
    WebhookSpec, params_schema, words_schema,
};

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
#[schemars(extend("x-kubernetes-validations" = rules::of_spec()))]
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
    /// Images beside the prompt: png, jpeg, gif or webp, at most 5, 15 MB each. Never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    pub images: Option<Vec<ImageSource>>,
    /// Secrets whose keys become environment variables of the hosted agent (Cursor API v1), at most 10, beside the agent's; together at
    /// most 50 variables, of 4096 bytes each. Of a name that stands in several the last counts, and the session's come last. The
    /// API then refuses an id of our choice: a launch whose answer is lost is found by its name, which is as good only where the
    /// account has shown that it keeps names, and an extra session is only ever reported. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub env_from: Option<Vec<EnvironmentSource>>,
    /// Another repository or starting point than the agent's, leaf by leaf. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySpec>,
    /// Another model than the agent's, leaf by leaf. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelOverride>,
    /// Another pull request behaviour than the agent's, leaf by leaf. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequestOverride>,
    /// Other credentials than the agent's. May change until the launch is claimed; afterwards change the Secret's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How long the session may run, in seconds from its launch, 60 to 604800. A change applies to a running session. Default: the
    /// agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 604_800))]
    pub active_deadline_seconds: Option<i64>,
    /// How long the session may wait for its launch, in seconds from its creation, 1 to 31536000; then it becomes Expired and is never
    /// launched. Set it where a late run would do harm. Suspension counts as well. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub launch_deadline_seconds: Option<i64>,
    /// How long the finished session is kept, in seconds, 0 to 31536000. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What deleting the active session does at the provider: Cancel or Orphan. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens when the launch may or may not have arrived: Recover, Fail or Retry. No effect once the provider has the
    /// session. Default: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown_launch: Option<OnUnknownLaunch>,
    /// E-mail address of the person on whose behalf the session runs; forwarded where the provider knows user attribution. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 320), regex(pattern = r"^[^\s@]+@[^\s@]+$"))]
    pub on_behalf_of: Option<String>,
    /// Who goes first while sessions wait for a free slot, -1000 to 1000, higher first. No effect once the session was launched.
    /// Default: 0.
    #[serde(default)]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: i32,
    /// Values of the parameters that the CodeAgent declares, at most 20, together at most 32 KiB of UTF-8: they are filled into the
    /// prompt, the preamble and the messages, once. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = parameters::values_rules()
    ))]
    pub parameters: Option<Vec<ParameterValue>>,
    /// Where changes of the session are reported (docs/webhooks.md): its phase, its messages', a pull request, that it waits for a person, is
    /// stuck or archived. May be changed and removed at any time. Default: the CodeAgent's, as it was at the launch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// What should become of the session: Running, Suspended (held before the launch; a session that was launched runs on, and only
    /// later messages are held), Cancelled or Archived (put away once it has ended: archived at the provider where it can, and nothing more
    /// is read, sent or looked at). Absent means Running. Cancelled never goes back but to Archived, Archived
    /// never; either may be left out again, and the stop that was seen stays in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<DesiredState>,
    /// Follow-ups on the same workspace, in order; append-only, at most 50, together at most 64 KiB. Add one by hand with
    /// `kubectl patch --type json` (`add` to `/spec/messages/-`) or with server-side apply; `kubectl apply` without `--server-side` of a
    /// manifest that lists fewer would remove it, and is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = rules::of_messages()
    ))]
    pub messages: Option<Vec<MessageSpec>>,
}

impl CodeSession {
    /// The status, unless it is only the default that the API server shows for a new object.
    pub fn stored_status(&self) -> Option<&CodeSessionStatus> {
        let status = self.status.as_ref();
        status.filter(|status| status.observed_generation >= 0)
    }

    /// Its phase; Pending before the first write of its status.
    pub fn phase(&self) -> SessionPhase {
        let status = self.status.as_ref();
        status.map(|status| status.phase).unwrap_or_default()
    }

    /// When the object was created; the API server always says.
    pub fn created_at(&self) -> Timestamp {
        let created = self.metadata.creation_timestamp.as_ref();
        created.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    }
}

impl CodeSessionSpec {
    /// What should become of the session; `Running` where nothing is said.
    pub fn desired_state(&self) -> DesiredState {
        self.desired_state.unwrap_or_default()
    }
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
    /// Public https URL, which the provider reads itself (Cursor API v1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https://[^\s]+$"))]
    pub url: Option<String>,
    /// A key of a ConfigMap in the same namespace: the image under binaryData, or its base64 under data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyReference>,
    /// A key of a Secret in the same namespace. The Secret must carry the label codeagents.dev/prompt: "true" and not be labelled as a credential.
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
    /// Push to the starting branch instead of a new one. Sessions that push to one branch at the same time overwrite each other's
    /// work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_on_current_branch: Option<bool>,
    /// Do not ask anyone for a review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reviewer_request: Option<bool>,
    /// Name of the branch to create; {session} stands for the name of this CodeSession. Sessions of a namespace that push to one
    /// branch run one after the other (WaitingForBranch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = branch_rules()))]
    pub branch_name: Option<String>,
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

/// What of a message never changes.
const MESSAGE_STAYS: &str = "has(self.prompt) == has(oldSelf.prompt) && (!has(self.prompt) || self.prompt == oldSelf.prompt) && has(self.promptFrom) == has(oldSelf.promptFrom) && (!has(self.promptFrom) || self.promptFrom == oldSelf.promptFrom) && has(self.images) == has(oldSelf.images) && (!has(self.images) || self.images == oldSelf.images) && has(self.model) == has(oldSelf.model) && (!has(self.model) || self.model == oldSelf.model)";

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
        "rule": MESSAGE_STAYS,
        "message": "a message never changes but for cancel: add another one at the end"
    },
    {
        "rule": "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        "fieldPath": ".cancel",
        "message": "cancel is only ever set: keep it, and add another message at the end to send it again"
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
    /// Images beside the text, as in spec.images; at most 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5))]
    pub images: Option<Vec<ImageSource>>,
    /// The model that works on it, for providers that take one for a message. With Cursor it stays the model of later messages.
    /// Default: the one that the session works with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<MessageModel>,
    /// Stop this message: one that waits is never sent, one that runs is stopped; the messages after it go on. Only ever set, never
    /// unset. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
}

impl MessageSpec {
    /// Whether it is to be stopped, or never sent.
    pub fn is_cancelled(&self) -> bool {
        self.cancel == Some(true)
    }
}

/// The model that works on a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageModel {
    /// The provider's id of the model.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\s]+$"))]
    pub id: String,
    /// Parameters by name, at most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "params_schema")]
    pub params: BTreeMap<String, String>,
}
