//! The vocabulary of records and faults: which provider, which of its operations, and what kind of operation that is.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::{Deserialize, Serialize};

/// A simulated provider. Each has its own listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Cursor Cloud Agents, API v0 and v1.
    Cursor,
    /// Firebender cloud agents.
    Firebender,
    /// Flapjack code agents.
    Flapjack,
    /// Firetiger coding agents.
    Firetiger,
    /// A service that is reached with a mapping.
    Http,
}

impl Provider {
    /// Every provider, in the order of their ports.
    pub const ALL: [Self; 5] = [
        Self::Cursor,
        Self::Firebender,
        Self::Flapjack,
        Self::Firetiger,
        Self::Http,
    ];

    /// The name used in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Firebender => "firebender",
            Self::Flapjack => "flapjack",
            Self::Firetiger => "firetiger",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an operation means, whichever provider it belongs to. Faults can be aimed at a class, so that one test serves all providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationClass {
    /// Starts a paid session.
    Launch,
    /// Sends a further message to a session.
    FollowUp,
    /// Reads one session or run.
    Get,
    /// Lists sessions or runs, or what links to them.
    List,
    /// Stops a run.
    Cancel,
    /// Archives or unarchives.
    Archive,
    /// Deletes a session for good.
    Delete,
    /// Reads what was said or done: conversation, stream.
    Events,
    /// Reads facts about the account: key, models, repositories.
    Account,
    /// Reads or changes what sessions are made from or report to: templates, webhooks.
    Configure,
    /// Reads files and numbers that a session left: artifacts, recordings, usage.
    Output,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident;)*) => {
        /// One documented operation of one provider. Its name, e.g. `cursor_v1.create_agent`, is what the control API uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name used in the control API.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What kind of operation this is.
            pub fn class(self) -> OperationClass {
                match self { $(Self::$variant => OperationClass::$class,)* }
            }
        }
    };
}

operations! {
    /// `POST /v1/agents`
    CursorV1CreateAgent = "cursor_v1.create_agent", Launch;
    /// `GET /v1/agents`
    CursorV1ListAgents = "cursor_v1.list_agents", List;
    /// `GET /v1/agents/{id}`
    CursorV1GetAgent = "cursor_v1.get_agent", Get;
    /// `DELETE /v1/agents/{id}`
    CursorV1DeleteAgent = "cursor_v1.delete_agent", Delete;
    /// `POST /v1/agents/{id}/archive`
    CursorV1ArchiveAgent = "cursor_v1.archive_agent", Archive;
    /// `POST /v1/agents/{id}/unarchive`
    CursorV1UnarchiveAgent = "cursor_v1.unarchive_agent", Archive;
    /// `POST /v1/agents/{id}/runs`
    CursorV1CreateRun = "cursor_v1.create_run", FollowUp;
    /// `GET /v1/agents/{id}/runs`
    CursorV1ListRuns = "cursor_v1.list_runs", List;
    /// `GET /v1/agents/{id}/runs/{runId}`
    CursorV1GetRun = "cursor_v1.get_run", Get;
    /// `POST /v1/agents/{id}/runs/{runId}/cancel`
    CursorV1CancelRun = "cursor_v1.cancel_run", Cancel;
    /// `GET /v1/agents/{id}/runs/{runId}/stream`
    CursorV1StreamRun = "cursor_v1.stream_run", Events;
    /// `GET /v1/agents/{id}/usage`
    CursorV1GetUsage = "cursor_v1.get_usage", Output;
    /// `GET /v1/agents/{id}/artifacts`
    CursorV1ListArtifacts = "cursor_v1.list_artifacts", Output;
    /// `GET /v1/agents/{id}/artifacts/download`
    CursorV1DownloadArtifact = "cursor_v1.download_artifact", Output;
    /// `GET` of the URL that an artifact download gives
    CursorV1FetchArtifact = "cursor_v1.fetch_artifact", Output;
    /// `GET /v1/me`
    CursorV1GetMe = "cursor_v1.get_me", Account;
    /// `GET /v1/models`
    CursorV1ListModels = "cursor_v1.list_models", Account;
    /// `GET /v1/repositories`
    CursorV1ListRepositories = "cursor_v1.list_repositories", Account;
    /// `POST /v1/sub-tokens`
    CursorV1CreateSubToken = "cursor_v1.create_sub_token", Account;
    /// `POST /v0/agents`
    CursorV0CreateAgent = "cursor_v0.create_agent", Launch;
    /// `GET /v0/agents`
    CursorV0ListAgents = "cursor_v0.list_agents", List;
    /// `GET /v0/agents/{id}`
    CursorV0GetAgent = "cursor_v0.get_agent", Get;
    /// `DELETE /v0/agents/{id}`
    CursorV0DeleteAgent = "cursor_v0.delete_agent", Delete;
    /// `POST /v0/agents/{id}/followup`
    CursorV0FollowUp = "cursor_v0.follow_up", FollowUp;
    /// `POST /v0/agents/{id}/stop`
    CursorV0StopAgent = "cursor_v0.stop_agent", Cancel;
    /// `GET /v0/agents/{id}/conversation`
    CursorV0GetConversation = "cursor_v0.get_conversation", Events;
    /// `GET /v0/agents/{id}/artifacts`
    CursorV0ListArtifacts = "cursor_v0.list_artifacts", Output;
    /// `GET /v0/agents/{id}/artifacts/download`
    CursorV0DownloadArtifact = "cursor_v0.download_artifact", Output;
    /// `GET` of the URL that an artifact download gives
    CursorV0FetchArtifact = "cursor_v0.fetch_artifact", Output;
    /// `GET /v0/me`
    CursorV0GetMe = "cursor_v0.get_me", Account;
    /// `GET /v0/models`
    CursorV0ListModels = "cursor_v0.list_models", Account;
    /// `GET /v0/repositories`
    CursorV0ListRepositories = "cursor_v0.list_repositories", Account;
    /// `POST /v0/agents`
    FirebenderCreateAgent = "firebender.create_agent", Launch;
    /// `GET /v0/agents`
    FirebenderListAgents = "firebender.list_agents", List;
    /// `GET /v0/agents/{id}`
    FirebenderGetAgent = "firebender.get_agent", Get;
    /// `DELETE /v0/agents/{id}`
    FirebenderDeleteAgent = "firebender.delete_agent", Delete;
    /// `POST /v0/agents/{id}/followup`
    FirebenderFollowUp = "firebender.follow_up", FollowUp;
    /// `POST /v0/agents/{id}/stop`
    FirebenderStopAgent = "firebender.stop_agent", Cancel;
    /// `GET /v0/agents/{id}/conversation`
    FirebenderGetConversation = "firebender.get_conversation", Events;
    /// `GET /v0/models`
    FirebenderListModels = "firebender.list_models", Account;
    /// `GET /v1/recordings/{id}`
    FirebenderGetRecording = "firebender.get_recording", Output;
    /// `GET /v1/traces/{id}`
    FirebenderGetTrace = "firebender.get_trace", Output;
    /// `GET` of the URL that a recording or trace redirects to
    FirebenderFetchFile = "firebender.fetch_file", Output;
    /// `GET /api/code-agents`
    FlapjackListTemplates = "flapjack.list_templates", Configure;
    /// `POST /api/code-agents`
    FlapjackCreateTemplate = "flapjack.create_template", Configure;
    /// `GET /api/code-agents/{id}`
    FlapjackGetTemplate = "flapjack.get_template", Configure;
    /// `PATCH /api/code-agents/{id}`
    FlapjackUpdateTemplate = "flapjack.update_template", Configure;
    /// `DELETE /api/code-agents/{id}`
    FlapjackDeleteTemplate = "flapjack.delete_template", Configure;
    /// `POST /api/code-sessions`
    FlapjackStartSession = "flapjack.start_session", Launch;
    /// `GET /api/code-sessions`
    FlapjackListSessions = "flapjack.list_sessions", List;
    /// `GET /api/code-sessions/{id}`
    FlapjackGetSession = "flapjack.get_session", Get;
    /// `PATCH /api/code-sessions/{id}`
    FlapjackUpdateSession = "flapjack.update_session", Configure;
    /// `POST /api/code-sessions/{id}/messages`
    FlapjackSendMessage = "flapjack.send_message", FollowUp;
    /// `GET /api/code-sessions/{id}/events`
    FlapjackListEvents = "flapjack.list_events", Events;
    /// `POST /api/code-sessions/{id}/cancel`
    FlapjackCancelSession = "flapjack.cancel_session", Cancel;
    /// `POST /api/code-sessions/{id}/archive`
    FlapjackArchiveSession = "flapjack.archive_session", Archive;
    /// `GET /v1/codingAgents`
    FiretigerListCodingAgents = "firetiger.list_coding_agents", Account;
    /// `GET /v1/coding-agents/{id}`
    FiretigerGetCodingAgent = "firetiger.get_coding_agent", Account;
    /// `POST /v1/coding-agents/{id}/sessions:launch`
    FiretigerLaunchSession = "firetiger.launch_session", Launch;
    /// `GET /v1/coding-agents/{id}/sessions/{sessionId}`
    FiretigerGetSession = "firetiger.get_session", Get;
    /// `GET /v1/issues/{id}`
    FiretigerGetIssue = "firetiger.get_issue", List;
    /// `POST /v3/organizations/{org}/sessions`
    HttpCreateSession = "http.create_session", Launch;
    /// `GET /v3/organizations/{org}/sessions`
    HttpListSessions = "http.list_sessions", List;
    /// `GET /v3/organizations/{org}/sessions/{id}`
    HttpGetSession = "http.get_session", Get;
    /// `DELETE /v3/organizations/{org}/sessions/{id}`
    HttpTerminateSession = "http.terminate_session", Cancel;
    /// `POST /v3/organizations/{org}/sessions/{id}/archive`
    HttpArchiveSession = "http.archive_session", Archive;
    /// `POST /v3/organizations/{org}/sessions/{id}/messages`
    HttpSendMessage = "http.send_message", FollowUp;
    /// `GET /v3/organizations/{org}/sessions/{id}/messages`
    HttpListMessages = "http.list_messages", Events;
    /// `POST /runs`
    HttpCreateRun = "http.create_run", Launch;
    /// `GET /runs/{id}`
    HttpGetRun = "http.get_run", Get;
    /// `POST /runs/{id}/cancel`
    HttpCancelRun = "http.cancel_run", Cancel;
    /// `GET /me`
    HttpWhoAmI = "http.who_am_i", Account;
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|operation| operation.name() == name)
            .ok_or_else(|| UnknownOperation(name.to_owned()))
    }
}

/// No operation has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown operation {0:?}")]
pub struct UnknownOperation(String);

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    To(Operation),
    /// The path exists, with these methods.
    MethodNotAllowed(Vec<Method>),
    NotFound,
}

impl Route {
    /// Picks the operation for `method` from those that a path has.
    pub(crate) fn among(operations: &[(Method, Operation)], method: &Method) -> Self {
        match operations.iter().find(|(candidate, _)| candidate == method) {
            Some((_, operation)) => Self::To(*operation),
            None if operations.is_empty() => Self::NotFound,
            None => Self::MethodNotAllowed(
                operations
                    .iter()
                    .map(|(method, _)| method.clone())
                    .collect(),
            ),
        }
    }
}
