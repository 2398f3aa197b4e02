//! Cursor's API v1.
//!
//! A session is an agent, a message is a run. The agent's id is ours (`bc-` and the launch key), so that a lost launch is
//! found by asking for it. Beside environment variables v1 refuses an id: such a launch is found by the name that every agent of
//! ours is given.

mod adopt;
mod agents;
mod follow_ups;
mod marked;
mod name;
mod timeline;
mod wire;

use async_trait::async_trait;

pub(super) use self::agents::CursorV1;
use self::agents::{needs_agent, phase_of_run};
use self::name::{agent_id, name_suffix, named};
use self::wire::{Agent, Archived, Created, ListedModel, ModelList};
use super::{account, artifacts};
use crate::api::CursorApiVersion;
use crate::domain::ids::{InstallationId, RunId, SessionId};
use crate::domain::marker::Marker;
use crate::domain::pull_request::PullRequestUrl;
use crate::domain::snapshot::{RemotePhase, Snapshot};
use crate::providers::contract::{
    Account, AdoptAnswer, AdoptRequest, Archiving, ArtifactList, Artifacts, BaseProvider,
    CancelAnswer, Capability, Extended, Extensions, ItemDetail, LaunchOutcome, LaunchRequest,
    Launched, ListItem, Listing, MAX_MODELS, MarkedPage, MarkedRequest, Models, PageToken,
    SessionPage, SessionRef, TemporaryUrl,
};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Operation, judge_launch};
use crate::providers::wire::{hint, link, next_page, raw_status};

/// `BranchName` is not among them: Cursor's documentation dropped it between April and October 2026.
pub(super) const CAPABILITIES: &[Capability] = &[
    Capability::Prompt,
    Capability::Images,
    Capability::ImageUrls,
    Capability::Environment,
    Capability::Model,
    Capability::ModelParameters,
    Capability::Repository,
    Capability::FromPullRequest,
    Capability::WorkOnCurrentBranch,
    Capability::WorkOnPullRequest,
    Capability::AutoCreatePullRequest,
    Capability::SkipReviewerRequest,
    Capability::MessageModel,
    Capability::Cancel,
    Capability::Result,
    Capability::Usage,
    Capability::Cost,
];

/// Webhooks are announced in the documentation of October 2026 for later.
pub(super) const OFFERED_LATER: [Capability; 0] = [];

/// No 409 of `POST /v1/agents` is known to say that nothing was started: `agent_id_conflict` says the opposite.
const REFUSING_CONFLICTS: [&str; 0] = [];
/// The most that Cursor takes, in characters.
const LONGEST_NAME: usize = 100;
#[async_trait]
impl BaseProvider for CursorV1 {
    async fn verify(&self) -> Result<Account, ProviderError> {
        account::verify(&self.api, CursorApiVersion::V1).await
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        let body = create_agent(request);
        let withholding;
        let api = match request.environment.is_empty() {
            true => &self.api,
            false => {
                withholding = self.api.withholding(request.environment.values());
                &withholding
            }
        };
        let answer = api
            .launch(&["v1", "agents"], &body, request.window)
            .await
            .map(|created: Created| {
                let run_status = created.run.as_ref().and_then(|run| run.status.as_deref());
                let asked = body.agent_id.as_ref();
                Launched {
                    id_honoured: asked.map(|asked| created.agent.id.0 == *asked),
                    phase: match &created.run {
                        Some(_) => phase_of_run(run_status),
                        None => RemotePhase::Creating,
                    },
                    raw_status: raw_status(
                        run_status
                            .or(created.agent.status.as_deref())
                            .unwrap_or_default(),
                    ),
                    session_id: SessionId::new(created.agent.id.0),
                    run_id: created
                        .run
                        .map(|run| run.id)
                        .or(created.agent.latest_run_id)
                        .map(|id| RunId::new(id.0)),
                    url: link(created.agent.url),
                }
            });
        judge_launch(answer, &REFUSING_CONFLICTS)
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        adopt::adopt(self, request).await
    }

    /// A name shows it: v1 lets nobody read a prompt.
    async fn shows_marker(
        &self,
        session: &SessionId,
        installation: &InstallationId,
        _uid: &str,
    ) -> Result<Option<bool>, ProviderError> {
        let agent = self.agent(session.as_str()).await?;
        let name = agent.name.as_deref();
        Ok(name.map(|name| named(name).is_some_and(|named| named.installation == *installation)))
    }

    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        let id = session.session_id.as_str();
        let Some(run_id) = &session.run_id else {
            return self.look_at(self.agent(id).await?).await;
        };
        let run = match self.run(id, run_id.as_str()).await {
            Ok(run) => run,
            Err(error)
                if error.class == ErrorClass::NotFound
                    && error.code.as_deref() != Some("agent_not_found") =>
            {
                return self.look_at(self.agent(id).await?).await;
            }
            Err(error) => return Err(error),
        };
        let agent = if needs_agent(&run) {
            Some(self.agent(id).await?)
        } else {
            None
        };
        self.complete(self.snapshot(agent.as_ref(), Some(run), &session.session_id))
            .await
    }

    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        let id = session.session_id.as_str();
        if let Some(run_id) = &session.run_id {
            match self.cancel_run(id, run_id.as_str()).await {
                // There is a newer one, or none.
                Err(error) if error.class == ErrorClass::NotFound => {}
                answer => return answer,
            }
        }
        match self.newest_run(&self.agent(id).await?).await? {
            Some(run) => self.cancel_run(id, &run.id.0).await,
            None => Ok(CancelAnswer::NotCancellable(None)),
        }
    }
}

impl Extended for CursorV1 {
    const EXTENSIONS: Extensions<Self> = Extensions {
        archiving: Some(|it| it),
        artifacts: Some(|it| it),
        follow_ups: Some(|it| it),
        listing: Some(|it| it),
        models: Some(|it| it),
        timeline: Some(|it| it),
        timeline_stream: Some(|it| it),
        ..Extensions::NONE
    };
}

#[async_trait]
impl Artifacts for CursorV1 {
    async fn list(&self, sessions: &[SessionId]) -> Result<ArtifactList, ProviderError> {
        artifacts::list(&self.api, "v1", sessions).await
    }

    async fn locate(
        &self,
        sessions: &[SessionId],
        path: &str,
    ) -> Result<TemporaryUrl, ProviderError> {
        artifacts::locate(&self.api, "v1", sessions, path).await
    }
}

#[async_trait]
impl Archiving for CursorV1 {
    /// Documented as idempotent. That Cursor refuses it while a run is active is not documented.
    async fn archive(&self, session: &SessionId) -> Result<(), ProviderError> {
        let path = ["v1", "agents", session.as_str(), "archive"];
        let _: Archived = self.api.post_for(Operation::Archive, &path).await?;
        Ok(())
    }
}

#[async_trait]
impl Listing for CursorV1 {
    async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        let agents = self.page(page).await?;
        Ok(SessionPage {
            items: agents
                .items
                .readable
                .into_iter()
                .map(|agent| ListItem {
                    detail: ItemDetail::Hint(moved(&agent)),
                    created_at: agent.created_at,
                    session_id: SessionId::new(agent.id.0),
                })
                .collect(),
            next: next_page(agents.next_cursor)?,
        })
    }

    async fn marked(&self, request: &MarkedRequest) -> Result<MarkedPage, ProviderError> {
        marked::marked(self, request).await
    }
}

#[async_trait]
impl Models for CursorV1 {
    async fn list_models(&self) -> Result<Vec<String>, ProviderError> {
        let models: ModelList = self
            .api
            .get(Operation::Models, &["v1", "models"], &[])
            .await?;
        Ok(models
            .items
            .readable
            .into_iter()
            .map(|(ListedModel::Id(id) | ListedModel::Object { id })| self.api.message(&id))
            .take(MAX_MODELS)
            .collect())
    }
}

fn create_agent(request: &LaunchRequest) -> wire::CreateAgent<'_> {
    let marker = Marker::find(&request.prompt);
    let installation = marker.as_ref().map(|marker| &marker.installation);
    let suffix = name_suffix(&request.key, installation);
    let room = LONGEST_NAME.saturating_sub(suffix.chars().count());
    let name: String = request.name.chars().take(room).collect();
    let policy = &request.pull_request;
    wire::CreateAgent {
        agent_id: request
            .environment
            .is_empty()
            .then(|| agent_id(&request.key)),
        name: name + &suffix,
        prompt: wire::Prompt::new(&request.prompt, &request.images),
        model: request.model.as_ref().and_then(wire::Model::chosen),
        repos: [wire::Repo {
            url: &request.repository,
            starting_ref: request.start.reference(),
            pr_url: request.start.pull_request().map(PullRequestUrl::as_str),
        }],
        work_on_current_branch: policy.work_on_current_branch,
        auto_create_pr: policy.auto_create,
        skip_reviewer_request: policy.auto_create && policy.skip_reviewer_request,
        env_vars: wire::EnvVars(&request.environment),
    }
}

/// Differs once something about the agent has moved.
fn moved(agent: &Agent) -> String {
    hint(&[
        agent.updated_at.as_deref(),
        agent.latest_run_id.as_ref().map(|id| id.0.as_str()),
        agent.status.as_deref(),
    ])
}
