//! Settings of agents that run as Jobs in the cluster.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::shared::{
    EnvironmentSource, KEY_PATTERN, KeyReference, NAME_PATTERN, SecretReference, words_schema,
};

/// Settings of a command-line agent that runs as a Kubernetes Job in the namespace of its sessions, one Job for each session.
///
/// Whoever may create a CodeAgent with these settings may run Pods in the namespace. What goes into the Pod's spec as it is (resources,
/// tolerations, affinity) is checked by the API server when the CodeAgent is applied and before each launch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.adapter != 'Process' || has(self.command)",
    "message": "command is missing: the adapter Process has no program of its own"
}]))]
pub struct JobSpec {
    /// Which command-line agent is run and whose output is read: Claude (claude), Codex (codex), Gemini (gemini), CursorCLI (agent), or
    /// Process for any other program, which gets the prompt on its standard input.
    pub adapter: JobAdapter,
    /// The image of the agent's container. It must hold the agent, git and a certificate store.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: String,
    /// The program and its first arguments instead of the adapter's own. Required for the adapter Process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024)))]
    pub command: Option<Vec<String>>,
    /// Further arguments of the program. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 1024)))]
    pub args: Option<Vec<String>>,
    /// Environment variables of the agent, at most 30. The key of the model's API belongs here, from a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 30), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Option<Vec<JobVariable>>,
    /// Secrets whose keys become environment variables of the agent, at most 10. Each must carry the label
    /// codeagents.dev/environment: "true".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub env_from: Option<Vec<EnvironmentSource>>,
    /// Requests and limits of the agent's container, as in a Pod. Default: the namespace's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_part")]
    pub resources: Option<Value>,
    /// The ServiceAccount of the Pod, whose token is mounted. Default: none is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub service_account_name: Option<String>,
    /// Labels of the nodes that the Pod may run on. Default: any node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "node_labels")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that the Pod tolerates, as in a Pod, at most 20. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_parts")]
    pub tolerations: Option<Vec<Value>>,
    /// Where the Pod is put, as in a Pod. Default: anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "pod_part")]
    pub affinity: Option<Value>,
    /// The RuntimeClass of the Pod, such as gvisor. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub runtime_class_name: Option<String>,
    /// Secrets that the images are pulled with, at most 8. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Option<Vec<SecretReference>>,
    /// The volume of the working copy and of the agent's home. Default: an emptyDir without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceSpec>,
    /// How long the agent may take to end after it was told to stop, in seconds, 1 to 3600. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
    /// How the repository's host is talked to. Default: without a token, so that nothing can be pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSpec>,
}

/// Default of `terminationGracePeriodSeconds`.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Which command-line agent a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobAdapter {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
    /// Cursor's command-line agent.
    CursorCLI,
    /// Any other program.
    Process,
}

words_schema!(JobAdapter: Claude, Codex, Gemini, CursorCLI, Process);

/// One environment variable: exactly one of value and secretKeyRef.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.value) != has(self.secretKeyRef)",
    "message": "set exactly one of value and secretKeyRef"
}]))]
pub struct JobVariable {
    /// Its name.
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$")
    )]
    pub name: String,
    /// Its value, at most 1024 characters. Nothing secret: it stands in the Pod's spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// The key of a Secret that holds its value. The Secret must carry the label codeagents.dev/environment: "true".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyReference>,
}

/// The volume of the working copy and of the agent's home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSpec {
    /// The largest size of the volume, an emptyDir, as a quantity such as 10Gi. Beyond it the Pod is evicted. Default: no limit but the
    /// node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|Ki|e[0-9]+)?$")
    )]
    pub size: Option<String>,
}

/// How the repository's host is talked to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSpec {
    /// The token for the repository's host. The Secret must carry the label codeagents.dev/credential: "true". It is mounted into
    /// the Pod and never read by the operator. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<GitTokenReference>,
    /// Whose API opens the pull request: GitHub, GitLab, Gitea (and Forgejo) or Other, which has none. Default: told from the
    /// repository's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<JobGitHost>,
    /// The base of that API, https. Default: the host's usual one.
    #[serde(default, rename = "apiURL", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^https://[A-Za-z0-9.\-_\[\]:]+(/[A-Za-z0-9.\-_~/]*)?$")
    )]
    pub api_url: Option<String>,
}

/// A Secret with a token for a repository's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitTokenReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// Key of the token within the Secret. Default: token.
    #[serde(default = "default_token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY_PATTERN))]
    pub key: String,
}

fn default_token_key() -> String {
    "token".to_owned()
}

/// The kind of a repository's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobGitHost {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
    /// Any other: branches only.
    Other,
}

words_schema!(JobGitHost: GitHub, GitLab, Gitea, Other);

/// A part of a Pod's spec that is handed on as it is. Kubernetes' own schema of an affinity alone has some 400 fields, more than
/// the whole rest of a CodeAgent, and would be older than the cluster's.
fn pod_part(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn node_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 63}
    })
}

fn pod_parts(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": 20, "items": pod_part(generator)})
}
