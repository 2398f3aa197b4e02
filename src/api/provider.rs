//! The providers by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http_agent::HttpSpec;
use super::job_agent::JobSpec;
use super::shared::{ENDPOINT_PATTERN, words_schema};

/// A kind of provider: which external service runs the agents.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Cursor Cloud Agents.
    Cursor,
    /// Firebender cloud agents.
    Firebender,
    /// Flapjack code agents.
    Flapjack,
    /// Firetiger coding agents.
    Firetiger,
    /// Any HTTP service.
    Http,
    /// Command-line agents that run as Jobs in the cluster.
    Job,
}

impl ProviderKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Cursor,
        Self::Firebender,
        Self::Flapjack,
        Self::Firetiger,
        Self::Http,
        Self::Job,
    ];

    /// The member of `spec.provider` that selects this kind; also the label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Firebender => "firebender",
            Self::Flapjack => "flapjack",
            Self::Firetiger => "firetiger",
            Self::Http => "http",
            Self::Job => "job",
        }
    }

    /// The name as its vendor writes it, for messages to people.
    pub fn display_name(self) -> &'static str {
        match self {
            Self::Cursor => "Cursor",
            Self::Firebender => "Firebender",
            Self::Flapjack => "Flapjack",
            Self::Firetiger => "Firetiger",
            Self::Http => "HTTP",
            Self::Job => "Job",
        }
    }
}

impl std::fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which provider runs the sessions: exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// Atomic, one value for server-side apply: leaf by leaf, another manager's provider would come to stand beside the former one, and
// a provider whose only setting is taken away would become `null`, which is refused.
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.cursor), has(self.firebender), has(self.flapjack), has(self.firetiger), has(self.http), has(self.job)].exists_one(x, x)",
    "message": "set exactly one provider: cursor, firebender, flapjack, firetiger, http or job"
}], "x-kubernetes-map-type" = "atomic"))]
pub struct ProviderSpec {
    /// Cursor Cloud Agents. `cursor: {}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<CursorSpec>,
    /// Firebender cloud agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firebender: Option<FirebenderSpec>,
    /// Flapjack code agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapjack: Option<FlapjackSpec>,
    /// Firetiger coding agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firetiger: Option<FiretigerSpec>,
    /// An agent behind any HTTP service: how it is called and how its answers read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// A command-line agent that runs as a Job in the namespace of its sessions. Only where the operator is started with --jobs (in the
    /// chart jobs.enabled).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobSpec>,
}

impl ProviderSpec {
    /// The kind that is selected; `None` where none or several members are set, which the API server refuses.
    pub fn kind(&self) -> Option<ProviderKind> {
        let members = [
            (ProviderKind::Cursor, self.cursor.is_some()),
            (ProviderKind::Firebender, self.firebender.is_some()),
            (ProviderKind::Flapjack, self.flapjack.is_some()),
            (ProviderKind::Firetiger, self.firetiger.is_some()),
            (ProviderKind::Http, self.http.is_some()),
            (ProviderKind::Job, self.job.is_some()),
        ];
        let mut set = members.into_iter().filter(|(_, set)| *set);
        match (set.next(), set.next()) {
            (Some((kind, _)), None) => Some(kind),
            _ => None,
        }
    }

    /// The endpoint the user set instead of the provider's own.
    pub fn endpoint(&self) -> Option<&str> {
        match self.kind()? {
            ProviderKind::Cursor => self.cursor.as_ref()?.endpoint.as_deref(),
            ProviderKind::Firebender => self.firebender.as_ref()?.endpoint.as_deref(),
            ProviderKind::Flapjack => self.flapjack.as_ref()?.endpoint.as_deref(),
            ProviderKind::Firetiger => self.firetiger.as_ref()?.endpoint.as_deref(),
            ProviderKind::Http => Some(&self.http.as_ref()?.endpoint),
            ProviderKind::Job => None,
        }
    }

    /// These settings, with the endpoint and the version of the API that a claim was sent to, whatever is the default now.
    #[must_use]
    pub fn pinned(mut self, endpoint: &str, api_version: &str) -> Self {
        let member = [
            self.cursor.as_mut().map(|spec| &mut spec.endpoint),
            self.firebender.as_mut().map(|spec| &mut spec.endpoint),
            self.flapjack.as_mut().map(|spec| &mut spec.endpoint),
            self.firetiger.as_mut().map(|spec| &mut spec.endpoint),
        ];
        for pinned in member.into_iter().flatten() {
            *pinned = Some(endpoint.to_owned());
        }
        if let Some(http) = &mut self.http {
            http.endpoint = endpoint.to_owned();
        }
        if let Some(cursor) = &mut self.cursor {
            cursor.api_version = match api_version {
                "v0" => Some(CursorApiVersion::V0),
                "v1" => Some(CursorApiVersion::V1),
                _ => cursor.api_version,
            };
        }
        self
    }

    /// What decides besides the key whose sessions are seen: an organisation, or one of several agents.
    pub fn tenant(&self) -> Option<&str> {
        match self.kind()? {
            ProviderKind::Cursor | ProviderKind::Firebender | ProviderKind::Http => None,
            ProviderKind::Job => None,
            ProviderKind::Flapjack => self.flapjack.as_ref()?.org_id.as_deref(),
            ProviderKind::Firetiger => Some(&self.firetiger.as_ref()?.coding_agent_id),
        }
    }
}

/// Settings of Cursor Cloud Agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CursorSpec {
    /// Version of Cursor's API: v1 or v0. Default: v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<CursorApiVersion>,
    /// Base URL instead of https://api.cursor.com. The Secret must allow its host with the annotation
    /// codeagents.dev/allowed-hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = ENDPOINT_PATTERN))]
    pub endpoint: Option<String>,
}

/// Versions of Cursor's API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CursorApiVersion {
    /// Durable agents with runs; the session's id is chosen by us.
    #[default]
    V1,
    /// The older, flat API.
    V0,
}

words_schema!(CursorApiVersion: V1, V0);

/// Settings of Firebender cloud agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirebenderSpec {
    /// What the agent may do: write (default), read, mobile_use (write with an Android emulator) or debug_auto (mobile_use with a
    /// debugger).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FirebenderMode>,
    /// Start without waiting for Gradle's synchronisation. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_gradle_sync: Option<bool>,
    /// Base URL instead of https://cloud.firebender.com. The Secret must allow its host with the annotation
    /// codeagents.dev/allowed-hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = ENDPOINT_PATTERN))]
    pub endpoint: Option<String>,
}

/// Firebender's modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirebenderMode {
    /// Reads and writes code.
    #[default]
    Write,
    /// Reads and analyses code, changes nothing.
    Read,
    /// Write, with a remote Android emulator that is recorded.
    MobileUse,
    /// Like mobile_use, with breakpoints and hypotheses.
    DebugAuto,
}

words_schema!(FirebenderMode: Write, Read, MobileUse, DebugAuto);

/// Settings of Flapjack code agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlapjackSpec {
    /// The organisation, for keys that belong to several. Default: the key's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub org_id: Option<String>,
    /// Base URL instead of https://api.flapjack.dev. The Secret must allow its host with the annotation
    /// codeagents.dev/allowed-hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = ENDPOINT_PATTERN))]
    pub endpoint: Option<String>,
}

/// Settings of Firetiger coding agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FiretigerSpec {
    /// Which of the configured coding agents works on the issues: the id of its connection, such as cursor-prod.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._\-]+$"))]
    pub coding_agent_id: String,
    /// Base URL instead of https://api.cloud.firetiger.com. The Secret must allow its host with the annotation
    /// codeagents.dev/allowed-hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = ENDPOINT_PATTERN))]
    pub endpoint: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn spec(member: Value) -> ProviderSpec {
        serde_json::from_value(member).unwrap()
    }

    #[test]
    fn a_claim_pins_endpoint_and_version_whatever_is_set_or_default_now() {
        for member in [
            json!({"cursor": {}}),
            json!({"cursor": {"endpoint": "https://now.example", "apiVersion": "v1"}}),
            json!({"firebender": {}}),
            json!({"flapjack": {"orgId": "org"}}),
            json!({"firetiger": {"codingAgentId": "agent"}}),
            json!({"http": {
                "endpoint": "https://now.example",
                "launch": {"path": "/sessions", "body": {"prompt": "{prompt}"}},
                "get": {"path": "/sessions/{sessionId}"},
                "list": {"path": "/sessions"},
                "session": {"id": {"path": "id"}, "phase": {"path": "status"}}
            }}),
        ] {
            let before = spec(member.clone());
            let pinned = before.clone().pinned("https://then.example", "v0");
            assert_eq!(pinned.kind(), before.kind(), "{member}");
            assert_eq!(pinned.endpoint(), Some("https://then.example"), "{member}");
            assert_eq!(pinned.tenant(), before.tenant(), "{member}");
            if let Some(cursor) = pinned.cursor {
                assert_eq!(cursor.api_version, Some(CursorApiVersion::V0), "{member}");
            }
        }
    }
}
