//! Cursor's API v0: flat agents, whose ids Cursor chooses.
//!
//! No idempotency key either: a lost launch is found by the marker in the first message ([`prompts`]).

mod wire;

use async_trait::async_trait;

use self::wire::{Agent, ModelList};
use super::{account, artifacts};
use crate::api::CursorApiVersion;
use crate::domain::ids::{InstallationId, SessionId};
use crate::domain::pull_request::StartingPoint;
use crate::domain::snapshot::{Links, RemotePhase, Snapshot};
use crate::providers::contract::{
    Account, AdoptAnswer, AdoptRequest, ArtifactList, Artifacts, BaseProvider, CancelAnswer,
    Capability, Connection, Extended, Extensions, FollowUps, LaunchOutcome, LaunchRequest,
    Launched, Listing, MAX_MODELS, MarkedPage, MarkedRequest, MessageOutcome, MessageRequest,
    Models, PageToken, SessionPage, SessionRef, TemporaryUrl, Timeline, TimelinePage,
    TimelineRequest,
};
use crate::providers::error::{ErrorClass, ProviderError, Subject};
use crate::providers::http::{Api, Operation, judge_launch, judge_message};
use crate::providers::recovery::prompts::{self, Conversation, PromptSource, Snapshots};
use crate::providers::v0_agents::{self, AgentSource, told_by_list};
use crate::providers::wire::{branch, link, raw_status, repository};

/// `WorkOnCurrentBranch` is not among them: the only branch that v0 pushes to beside new ones is that of a pull request.
pub(super) const CAPABILITIES: &[Capability] = &[
    Capability::Prompt,
    Capability::Images,
    Capability::Model,
    Capability::Repository,
    Capability::FromPullRequest,
    Capability::BranchName,
    Capability::WorkOnPullRequest,
    Capability::AutoCreatePullRequest,
    Capability::SkipReviewerRequest,
    Capability::Cancel,
    Capability::Webhooks,
    Capability::Result,
];

/// No 409 of `POST /v0/agents` is documented.
const REFUSING_CONFLICTS: [&str; 0] = [];

/// A 409 of a follow-up is documented for an agent that is archived or deleted, and for one that was stopped in one of two documents
/// that contradict each other.
const REFUSED_MESSAGES: [(&str, Subject); 3] = [
    ("agent_archived", Subject::Archived),
    ("agent_deleted", Subject::Archived),
    ("agent_stopped", Subject::Archived),
];

/// A connection to Cursor's API v0.
#[derive(Debug)]
pub(super) struct CursorV0 {
    api: Api,
}

impl CursorV0 {
    pub(super) fn connect(connection: &Connection) -> Result<Self, ProviderError> {
        let api = account::sign_in(connection)?;
        Ok(Self { api })
    }

    fn snapshot(&self, agent: Agent) -> Snapshot {
        let status = agent.status.unwrap_or_default();
        let target = agent.target.unwrap_or_default();
        Snapshot {
            session_id: SessionId::new(agent.id.0),
            run_id: None,
            phase: phase_of(&status),
            raw_status: raw_status(&status),
            repository: repository(agent.source.and_then(AgentSource::repository)),
            url: link(target.url),
            branch: branch(target.branch_name),
            pull_request_url: link(target.pr_url),
            blocked: None,
            result: agent
                .summary
                .map(|summary| self.api.closing_words(&summary)),
            error: None,
            links: Links::default(),
            usage: None,
            duration: None,
            created_at: agent.created_at,
        }
    }

    async fn create(&self, request: &LaunchRequest) -> Result<Launched, ProviderError> {
        let body = create_agent(request)?;
        let agent: Agent = v0_agents::launch(&self.api, request, &body).await?;
        Ok(v0_agents::launched(self.snapshot(agent)))
    }
}

#[async_trait]
impl PromptSource for CursorV0 {
    async fn snapshots(
        &self,
        page: Option<&PageToken>,
        _: Option<&str>,
    ) -> Result<Snapshots, ProviderError> {
        v0_agents::snapshots(&self.api, page, |agent| self.snapshot(agent)).await
    }

    async fn conversation(&self, session: &SessionId) -> Result<Conversation, ProviderError> {
        v0_agents::conversation(&self.api, session).await
    }
}

#[async_trait]
impl BaseProvider for CursorV0 {
    async fn verify(&self) -> Result<Account, ProviderError> {
        account::verify(&self.api, CursorApiVersion::V0).await
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        judge_launch(self.create(request).await, &REFUSING_CONFLICTS)
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        prompts::adopt(self, request).await
    }

    async fn shows_marker(
        &self,
        session: &SessionId,
        installation: &InstallationId,
        uid: &str,
    ) -> Result<Option<bool>, ProviderError> {
        prompts::shows_marker(self, session, installation, uid).await
    }

    /// What a stop leaves as status is not documented; there is none for it. A stopped agent that is `FINISHED` looks like
    /// any other: only the caller knows whether it asked for the stop.
    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        let path = ["v0", "agents", session.session_id.as_str()];
        let agent = self.api.get(Operation::Get, &path, &[]).await?;
        Ok(self.snapshot(agent))
    }

    /// Looks before it stops: a stop of an agent that has ended is not documented to be refused, and a session that finished
    /// by itself would pass for a stopped one.
    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        match self.get(session).await {
            Ok(snapshot) if snapshot.phase.is_terminal() => {
                return Ok(CancelAnswer::NotCancellable(None));
            }
            Err(error) if error.class == ErrorClass::NotFound => return Err(error),
            // Trouble with looking must not hold up the stop.
            Ok(_) | Err(_) => {}
        }
        let path = ["v0", "agents", session.session_id.as_str(), "stop"];
        match self.api.post_empty(Operation::Cancel, &path).await {
            Ok(()) => Ok(CancelAnswer::Accepted),
            // It is deleted or archived: nothing runs on it.
            Err(error) if error.class == ErrorClass::Conflict => {
                Ok(CancelAnswer::NotCancellable(Some(error.message)))
            }
            Err(error) => Err(error),
        }
    }
}

impl Extended for CursorV0 {
    const EXTENSIONS: Extensions<Self> = Extensions {
        artifacts: Some(|it| it),
        follow_ups: Some(|it| it),
        listing: Some(|it| it),
        models: Some(|it| it),
        timeline: Some(|it| it),
        ..Extensions::NONE
    };
}

#[async_trait]
impl Artifacts for CursorV0 {
    async fn list(&self, sessions: &[SessionId]) -> Result<ArtifactList, ProviderError> {
        artifacts::list(&self.api, "v0", sessions).await
    }

    async fn locate(
        &self,
        sessions: &[SessionId],
        path: &str,
    ) -> Result<TemporaryUrl, ProviderError> {
        artifacts::locate(&self.api, "v0", sessions, path).await
    }
}

#[async_trait]
impl Timeline for CursorV0 {
    async fn page(
        &self,
        request: &TimelineRequest,
        limit: usize,
    ) -> Result<TimelinePage, ProviderError> {
        v0_agents::timeline_page(&self.api, request, limit).await
    }
}

#[async_trait]
impl FollowUps for CursorV0 {
    async fn send(&self, request: &MessageRequest) -> MessageOutcome {
        let answer = v0_agents::follow_up(&self.api, request, RemotePhase::Running).await;
        judge_message(answer, &REFUSED_MESSAGES)
    }

    async fn find(
        &self,
        session: &SessionRef,
        lost: &AdoptRequest,
    ) -> Result<AdoptAnswer, ProviderError> {
        prompts::find_message(self, session, lost).await
    }
}

#[async_trait]
impl Listing for CursorV0 {
    async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        Ok(told_by_list(self.snapshots(page, None).await?))
    }

    async fn marked(&self, request: &MarkedRequest) -> Result<MarkedPage, ProviderError> {
        prompts::marked(self, request).await
    }
}

#[async_trait]
impl Models for CursorV0 {
    async fn list_models(&self) -> Result<Vec<String>, ProviderError> {
        let list: ModelList = self
            .api
            .get(Operation::Models, &["v0", "models"], &[])
            .await?;
        Ok(list
            .models
            .readable
            .into_iter()
            .map(|id| self.api.message(&id))
            .take(MAX_MODELS)
            .collect())
    }
}

fn create_agent(request: &LaunchRequest) -> Result<wire::CreateAgent<'_>, ProviderError> {
    let policy = &request.pull_request;
    // Cursor skips the request only for pull requests that its GitHub app opens, so that one comes with the other.
    let by_app = policy.auto_create && policy.skip_reviewer_request;
    Ok(wire::CreateAgent {
        prompt: v0_agents::Prompt::new(&request.prompt, &request.images)?,
        model: v0_agents::chosen_model(request),
        source: match &request.start {
            StartingPoint::PullRequest(url) => wire::Source::PullRequest {
                pr_url: url.as_str(),
            },
            StartingPoint::DefaultBranch | StartingPoint::Reference(_) => {
                wire::Source::Repository(v0_agents::Source {
                    repository: &request.repository,
                    reference: request.start.reference(),
                })
            }
        },
        target: wire::Target {
            auto_create_pr: policy.auto_create,
            open_as_cursor_github_app: by_app,
            skip_reviewer_request: by_app,
            branch_name: policy.branch_name.as_deref(),
            auto_branch: request
                .start
                .pull_request()
                .map(|_| !policy.work_on_current_branch),
        },
        webhook: v0_agents::Webhook::of(request),
    })
}

fn phase_of(status: &str) -> RemotePhase {
    match status {
        "CREATING" => RemotePhase::Creating,
        "RUNNING" => RemotePhase::Running,
        "FINISHED" => RemotePhase::Finished,
        "ERROR" => RemotePhase::Error,
        // In no document, but seen: stopped by a person at the provider.
        "STOPPED" | "CANCELLED" | "CANCELED" => RemotePhase::Cancelled,
        "EXPIRED" => RemotePhase::Expired,
        _ => RemotePhase::Unrecognised,
    }
}
