//! `CodeAgent`: a reusable template for sessions.

pub(super) mod parameters;
pub(super) mod repository;
mod status;

pub use parameters::*;
pub use status::*;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::provider::ProviderSpec;
use crate::api::shared::{
    DeletionPolicy, EnvironmentSource, KEY_PATTERN, KeyReference, NAME_PATTERN, OnUnknownLaunch,
    WebhookSpec, params_schema, words_schema,
};

/// A template for sessions: provider, credentials, repository, model, preamble and pull request behaviour.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "codeagents.dev",
    version = "v1alpha1",
    kind = "CodeAgent",
    namespaced,
    doc = "A reusable template for cloud coding agent sessions: provider, credentials, repository, model, preamble and pull request behaviour.",
    status = "CodeAgentStatus",
    derive = "PartialEq",
    shortname = "cagent",
    category = "codeagent-operator",
    printcolumn(
        name = "Provider",
        type_ = "string",
        json_path = ".status.provider",
        description = "Which provider runs the sessions"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status",
        description = "Whether sessions can start"
    ),
    printcolumn(
        name = "Active",
        type_ = "integer",
        json_path = ".status.sessions.active",
        description = "Sessions that run now"
    ),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".spec.model.id",
        description = "The model"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.credentials) || has(self.provider.job)",
    "fieldPath": ".credentials",
    "reason": "FieldValueRequired",
    "message": "credentials are missing: name the Secret that holds the provider's key"
}, {
    "rule": "!has(self.credentials) || !has(self.provider.job)",
    "fieldPath": ".credentials",
    "message": "a job agent has no provider's key: remove credentials, and give the agent the key of its model's API by provider.job.env or provider.job.envFrom"
}]))]
pub struct CodeAgentSpec {
    /// Name for people. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// What this agent is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Which provider runs the sessions: exactly one member.
    pub provider: ProviderSpec,
    /// The credentials for the provider; required, but for a job agent, which has none. A session that was launched keeps those that it
    /// was launched with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The repository to work on. A session may choose another one. A change has no effect on sessions that were launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositorySpec>,
    /// The model. Default: auto, the provider's own choice. A change has no effect on sessions that were launched.
    #[serde(default)]
    pub model: ModelSpec,
    /// Text put before every prompt, at most 32 KiB of UTF-8. A change has no effect on sessions that were launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32768), extend("x-kubernetes-validations" = [{
        "rule": "size(bytes(self)) <= 32768",
        "message": "the preamble is larger than 32 KiB of UTF-8: shorten it, or put the text into the repository and refer to it"
    }]))]
    pub preamble: Option<String>,
    /// Parameters that the sessions give values for, at most 20: {{ .params.NAME }} stands for the value of one in a prompt, in the
    /// preamble and in messages. Where none is declared, texts stay as they are. A change has no effect on sessions that were
    /// launched. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20), extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name"],
        "x-kubernetes-validations" = parameters::defaults_rules()
    ))]
    pub parameters: Option<Vec<ParameterSpec>>,
    /// Secrets whose keys become environment variables of the hosted agent (Cursor API v1), at most 10; together at most 50
    /// variables, of 4096 bytes each. Of a name that stands in several the last counts. The API then refuses an id of our choice: a
    /// launch whose answer is lost is found by its name, launchGuarantee counts for that, and an extra session is only ever reported.
    /// A change has no effect on sessions that were launched. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub env_from: Option<Vec<EnvironmentSource>>,
    /// What happens with branch and pull request. A change has no effect on sessions that were launched.
    #[serde(default)]
    pub pull_request: PullRequestSpec,
    /// Pause: no new session starts. It has no effect on sessions that were launched: they go on, and cost. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// How many sessions of this agent may be active at the same time, 1 to 1000; further ones wait. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_sessions: Option<i32>,
    /// What happens with a session at the provider that was launched once more for a CodeSession of this agent, by a request
    /// that took effect after it was given up: Report or Cancel. Sessions that no CodeSession accounts for are only ever
    /// reported, in status.orphans. Default: Report.
    #[serde(default)]
    pub orphan_policy: OrphanPolicy,
    /// Where changes of the sessions are reported (docs/webhooks.md). A session may name another one. A change has no effect on sessions
    /// that were launched. Default: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// Defaults for the sessions. A change has no effect on sessions that were launched.
    #[serde(default)]
    pub session_defaults: SessionDefaults,
}

/// What happens with an extra session at the provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrphanPolicy {
    /// It is reported and left alone.
    #[default]
    Report,
    /// It is stopped, if it is ours beyond doubt.
    Cancel,
}

words_schema!(OrphanPolicy: Report, Cancel);

/// Where the credentials are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// The Secret, in the same namespace. It must carry the label codeagents.dev/credential: "true".
    pub secret_ref: CredentialReference,
}

/// A Secret with a provider's credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Key of the API key within the Secret. Default: api-key. What else a provider needs has a fixed key in the same Secret
    /// (flapjack: cursor-api-key; firetiger: username and password).
    #[serde(default = "default_secret_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY_PATTERN))]
    pub key: String,
}

impl CodeAgent {
    /// The status, if the operator has written a whole one: the claim of a template is stored before.
    pub fn stored_status(&self) -> Option<&CodeAgentStatus> {
        let status = self.status.as_ref();
        status.filter(|status| status.observed_generation >= 0)
    }
}

impl CodeAgentSpec {
    /// Name and key of the Secret with the credentials; `None` where the provider has none.
    pub fn secret(&self) -> Option<KeyReference> {
        let credentials = self.credentials.as_ref();
        credentials.map(|credentials| (&credentials.secret_ref).into())
    }
}

impl From<&CredentialReference> for KeyReference {
    fn from(reference: &CredentialReference) -> Self {
        Self {
            name: reference.name.clone(),
            key: reference.key.clone(),
        }
    }
}

fn default_secret_key() -> String {
    "api-key".to_owned()
}

/// A repository and where to start in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.ref) && has(self.pullRequestURL))",
    "message": "ref and pullRequestURL exclude each other, because a session that starts from a pull request starts from its branches: remove one"
}]))]
pub struct RepositorySpec {
    /// The repository's https address, such as https://github.com/acme/app, without user, query or page within it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = repository::url_rules()))]
    pub url: Option<String>,
    /// Branch, tag or commit to start from. Default: the repository's default branch; Firebender needs one.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\s]+$"))]
    pub reference: Option<String>,
    /// The pull request to start from instead of a branch (Cursor), such as https://github.com/acme/app/pull/42. It names the
    /// repository as well; url may be left out, and must not be another one. With pullRequest.workOnCurrentBranch the agent
    /// pushes to the pull request itself, else to a new branch. Exactly one of ref and pullRequestURL may be set.
    #[serde(
        default,
        rename = "pullRequestURL",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-validations" = repository::pull_request_rules()))]
    pub pull_request_url: Option<String>,
}

/// The model of a CodeAgent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// The provider's id of the model, or auto for the provider's own choice. Default: auto.
    #[serde(default = "default_model")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[^\s]+$"))]
    pub id: String,
    /// Parameters of the model by name, at most 20. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "params_schema")]
    pub params: BTreeMap<String, String>,
}

/// The model id that leaves the choice to the provider.
pub const AUTO_MODEL: &str = "auto";

fn default_model() -> String {
    AUTO_MODEL.to_owned()
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            id: default_model(),
            params: BTreeMap::new(),
        }
    }
}

/// What happens with branch and pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(self.workOnCurrentBranch && has(self.branchName))",
    "message": "workOnCurrentBranch and branchName exclude each other: remove one"
}]))]
pub struct PullRequestSpec {
    /// Open a pull request when done. Default: true.
    #[serde(default = "yes")]
    pub auto_create: bool,
    /// Push to the starting branch instead of a new one. Sessions of a namespace that push to one branch run one after the other
    /// (WaitingForBranch). Default: false.
    #[serde(default)]
    pub work_on_current_branch: bool,
    /// Do not ask anyone for a review. Default: false.
    #[serde(default)]
    pub skip_reviewer_request: bool,
    /// Name of the branch to create, where the provider lets us choose; {session} stands for the name of the CodeSession, as in
    /// agent/{session}. Without it the sessions of the agent push to one branch, one after the other (WaitingForBranch).
    /// Default: the provider's choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), extend("x-kubernetes-validations" = repository::branch_rules()))]
    pub branch_name: Option<String>,
}

fn yes() -> bool {
    true
}

impl Default for PullRequestSpec {
    fn default() -> Self {
        Self {
            auto_create: true,
            work_on_current_branch: false,
            skip_reviewer_request: false,
            branch_name: None,
        }
    }
}

/// Defaults for the sessions of a CodeAgent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaults {
    /// How long a session may run, in seconds from its launch, 60 to 604800; then it is cancelled and becomes Expired. Default: 7200.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 60, max = 604_800))]
    pub active_deadline_seconds: i64,
    /// How long a session may wait for its launch, in seconds from its creation, 1 to 31536000; then it becomes Expired and is never
    /// launched. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub launch_deadline_seconds: Option<i64>,
    /// How long a finished session is kept, in seconds, 0 to 31536000; then the object is deleted. Default: for ever. Leave it unset
    /// where GitOps applies the sessions: it would create and run again what was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
    /// What deleting an active session does at the provider: Cancel or Orphan. Default: Cancel.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What happens when a launch may or may not have arrived: Recover, Fail or Retry. Default: Recover.
    #[serde(default)]
    pub on_unknown_launch: OnUnknownLaunch,
}

/// Default of `activeDeadlineSeconds`.
pub const DEFAULT_DEADLINE_SECONDS: i64 = 7200;

fn default_deadline() -> i64 {
    DEFAULT_DEADLINE_SECONDS
}

impl Default for SessionDefaults {
    fn default() -> Self {
        Self {
            active_deadline_seconds: DEFAULT_DEADLINE_SECONDS,
            launch_deadline_seconds: None,
            ttl_seconds_after_finished: None,
            deletion_policy: DeletionPolicy::default(),
            on_unknown_launch: OnUnknownLaunch::default(),
        }
    }
}
