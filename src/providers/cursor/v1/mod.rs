//! Cursor's API v1.
//!
//! A session is an agent, a message is a run. The agent's id is ours (`bc-` and the launch key), so that a lost launch is
//! found by asking for it.

mod adopt;
mod marked;
mod wire;

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use self::wire::{
    Agent, AgentList, Created, ListedModel, ModelList, Run, RunError, RunList, UsageReport,
};
use super::account;
use crate::api::{CursorApiVersion, ProviderKind};
use crate::domain::ids::{InstallationId, LaunchKey, RunId, SessionId};
use crate::domain::marker::Marker;
use crate::domain::snapshot::{Links, RemotePhase, Snapshot, Usage};
use crate::providers::contract::{
    API_KEY, Account, AdoptAnswer, AdoptRequest, Archiving, CancelAnswer, Capability, Connection,
    ItemDetail, LaunchOutcome, LaunchRequest, Launched, ListItem, Listing, MAX_MODELS, MarkedPage,
    MarkedRequest, Models, PageToken, Provider, SessionPage, SessionRef,
};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Auth, Operation, judge_launch};
use crate::providers::recovery::scan::{Candidate, Page};
use crate::providers::repository::same_repository;
use crate::providers::wire::{branch, hint, link, next_page, raw_status, repository};

/// `BranchName` is not among them: Cursor's documentation dropped it between April and October 2026.
pub(super) const CAPABILITIES: [Capability; 14] = [
    Capability::Prompt,
    Capability::Model,
    Capability::ModelParameters,
    Capability::Repository,
    Capability::WorkOnCurrentBranch,
    Capability::AutoCreatePullRequest,
    Capability::SkipReviewerRequest,
    Capability::RecoverLaunch,
    Capability::Cancel,
    Capability::Archive,
    Capability::List,
    Capability::ListModels,
    Capability::Usage,
    Capability::Cost,
];

/// Documented in October 2026: `prompt.images`, `repos[].prUrl`, `POST …/runs`, `…/stream`, `…/artifacts`. Webhooks
/// are announced there for later.
pub(super) const OFFERED_LATER: [Capability; 6] = [
    Capability::Images,
    Capability::FromPullRequest,
    Capability::FollowUp,
    Capability::Events,
    Capability::Streaming,
    Capability::Artifacts,
];

/// No 409 of `POST /v1/agents` is known to say that nothing was started: `agent_id_conflict` says the opposite.
const REFUSING_CONFLICTS: [&str; 0] = [];
/// The most that Cursor takes, in characters.
const LONGEST_NAME: usize = 100;
const PAGE_SIZE: &str = "100";
/// How old an active run is when its agent is looked at as well. A person may have archived the agent, which a run does
/// not tell, and the `updatedAt` of a running run stands still.
const ASK_FOR_AGENT_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// A connection to Cursor's API v1.
#[derive(Debug)]
pub(super) struct CursorV1 {
    api: Api,
}

impl CursorV1 {
    pub(super) fn connect(connection: &Connection) -> Result<Self, ProviderError> {
        let key = connection.credential.require(API_KEY)?;
        let auth = Auth::Basic {
            user: key,
            password: "",
        };
        let api = connection.http.api(
            ProviderKind::Cursor,
            &connection.endpoint,
            &connection.credential,
            auth,
        )?;
        Ok(Self { api })
    }

    async fn agent(&self, id: &str) -> Result<Agent, ProviderError> {
        self.api
            .get(Operation::Get, &["v1", "agents", id], &[])
            .await
    }

    async fn run(&self, id: &str, run_id: &str) -> Result<Run, ProviderError> {
        self.api
            .get(Operation::Get, &["v1", "agents", id, "runs", run_id], &[])
            .await
    }

    /// The newest run of an agent, if it has one.
    async fn newest_run(&self, agent: &Agent) -> Result<Option<Run>, ProviderError> {
        let id = agent.id.0.as_str();
        if let Some(run_id) = &agent.latest_run_id {
            match self.run(id, &run_id.0).await {
                Err(error) if error.class == ErrorClass::NotFound => {}
                answer => return answer.map(Some),
            }
        }
        let runs: RunList = self
            .api
            .get(
                Operation::Get,
                &["v1", "agents", id, "runs"],
                &[("limit", "1")],
            )
            .await?;
        let runs = runs.items.all().ok_or_else(|| {
            ProviderError::unreadable(None, "the runs of the agent cannot be read")
        })?;
        let Some(listed) = runs.first() else {
            return Ok(None);
        };
        // What the list tells of a run may lack its result.
        self.run(id, &listed.id.0).await.map(Some)
    }

    async fn cancel_run(&self, id: &str, run_id: &str) -> Result<CancelAnswer, ProviderError> {
        let path = ["v1", "agents", id, "runs", run_id, "cancel"];
        match self.api.post_empty(Operation::Cancel, &path).await {
            Ok(()) => Ok(CancelAnswer::Accepted),
            // `run_not_cancellable`: it ended before. `agent_archived`: nothing runs on it.
            Err(error) if error.class == ErrorClass::Conflict => {
                Ok(CancelAnswer::NotCancellable(Some(error.message)))
            }
            Err(error) => Err(error),
        }
    }

    async fn page(&self, page: Option<&PageToken>) -> Result<AgentList, ProviderError> {
        let mut query = vec![("limit", PAGE_SIZE)];
        query.extend(page.map(|token| ("cursor", token.0.as_str())));
        self.api
            .get(Operation::List, &["v1", "agents"], &query)
            .await
    }

    async fn candidates(&self, page: Option<&PageToken>) -> Result<Page<Agent>, ProviderError> {
        let agents = self.page(page).await?;
        Ok(Page {
            unreadable: agents.items.missing(),
            next: next_page(agents.next_cursor)?,
            candidates: agents
                .items
                .readable
                .into_iter()
                .map(|agent| Candidate {
                    id: SessionId::new(agent.id.0.as_str()),
                    item: agent,
                })
                .collect(),
        })
    }

    /// Everything about an agent, with its newest run.
    async fn look_at(&self, agent: Agent) -> Result<Snapshot, ProviderError> {
        let run = self.newest_run(&agent).await?;
        self.complete(self.snapshot(Some(&agent), run, &SessionId::new(agent.id.0.as_str())))
            .await
    }

    /// Puts agent and run together; at least one of them is there.
    fn snapshot(
        &self,
        agent: Option<&Agent>,
        run: Option<Run>,
        session_id: &SessionId,
    ) -> Snapshot {
        let archived = agent.is_some_and(is_archived);
        let agent_status = agent.and_then(|agent| agent.status.as_deref());
        let run_status = run.as_ref().and_then(|run| run.status.as_deref());
        let phase = match (&run, phase_of_run(run_status)) {
            (_, phase) if phase.is_terminal() => phase,
            // Nothing runs on an archived agent any more.
            _ if archived => RemotePhase::Expired,
            (Some(_), phase) => phase,
            // The run of an agent that was just made may not be visible yet.
            (None, _) => RemotePhase::Creating,
        };
        let asked = agent.and_then(Agent::repository).map(str::to_owned);
        let branches = run
            .as_ref()
            .and_then(|run| run.git.as_ref())
            .map_or(&[][..], |git| git.branches.readable.as_slice());
        let pushed = match &asked {
            Some(ours) => branches.iter().find(|branch| {
                branch
                    .repo_url
                    .as_deref()
                    .is_some_and(|theirs| same_repository(ours, theirs))
            }),
            // The agent is asked whenever there is more than one to choose from.
            None => branches.first(),
        };
        Snapshot {
            session_id: session_id.clone(),
            phase,
            raw_status: raw_status(run_status.or(agent_status).unwrap_or_default()),
            url: link(agent.and_then(|agent| agent.url.clone())),
            branch: branch(pushed.and_then(|branch| branch.branch.clone())),
            pull_request_url: link(pushed.and_then(|branch| branch.pr_url.clone())),
            repository: repository(
                asked.or_else(|| pushed.and_then(|branch| branch.repo_url.clone())),
            ),
            blocked: None,
            links: Links::default(),
            usage: None,
            created_at: agent.and_then(|agent| agent.created_at),
            run_id: run.as_ref().map(|run| RunId::new(run.id.0.as_str())),
            duration: run
                .as_ref()
                .and_then(|run| run.duration_ms)
                .map(Duration::from_millis),
            error: run
                .as_ref()
                .and_then(|run| run.error.as_ref())
                .map(|error| {
                    let (RunError::Text(message) | RunError::Object { message }) = error;
                    self.api.message(message)
                }),
            result: run
                .and_then(|run| run.result)
                .map(|result| self.api.closing_words(&result)),
        }
    }

    /// Adds the cost once it is final.
    async fn complete(&self, snapshot: Snapshot) -> Result<Snapshot, ProviderError> {
        if !snapshot.phase.is_terminal() {
            return Ok(snapshot);
        }
        let report: Result<UsageReport, _> = self
            .api
            .get(
                Operation::Usage,
                &["v1", "agents", snapshot.session_id.as_str(), "usage"],
                &[],
            )
            .await;
        // Some plans may not read it (403), and a result is worth more than its price: no failure holds it up.
        let usage = report.ok().and_then(|report| usage_of(&report));
        Ok(Snapshot { usage, ..snapshot })
    }
}

#[async_trait]
impl Provider for CursorV1 {
    async fn verify(&self) -> Result<Account, ProviderError> {
        account::verify(&self.api, CursorApiVersion::V1).await
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        let answer = self
            .api
            .launch(&["v1", "agents"], &create_agent(request), request.window)
            .await
            .map(|created: Created| {
                let run_status = created.run.as_ref().and_then(|run| run.status.as_deref());
                let asked = agent_id(&request.key);
                Launched {
                    id_honoured: Some(created.agent.id.0 == asked),
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

    fn archiving(&self) -> Option<&dyn Archiving> {
        Some(self)
    }

    fn models(&self) -> Option<&dyn Models> {
        Some(self)
    }

    fn listing(&self) -> Option<&dyn Listing> {
        Some(self)
    }
}

#[async_trait]
impl Archiving for CursorV1 {
    /// Documented as idempotent. That Cursor refuses it while a run is active is not documented.
    async fn archive(&self, session: &SessionId) -> Result<(), ProviderError> {
        let path = ["v1", "agents", session.as_str(), "archive"];
        self.api.post_empty(Operation::Archive, &path).await
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

/// The id that we give an agent.
fn agent_id(key: &LaunchKey) -> String {
    format!("bc-{key}")
}

/// What the end of an agent's name tells: v1 lets nobody read a prompt, and with it the marker.
struct Named<'a> {
    /// [`LaunchKey::short`] of its key.
    key: &'a str,
    installation: InstallationId,
}

/// What the name that we give an agent ends with, for people and for whoever looks for it.
fn name_suffix(key: &LaunchKey, installation: Option<&InstallationId>) -> String {
    match installation {
        Some(installation) => format!(" [{} {installation}]", key.short()),
        None => format!(" [{}]", key.short()),
    }
}

/// Reads [`name_suffix`] again.
fn named(name: &str) -> Option<Named<'_>> {
    let (_, suffix) = name.strip_suffix(']')?.rsplit_once(" [")?;
    let (key, installation) = suffix.split_once(' ')?;
    (is_digits(key) && is_digits(installation)).then(|| Named {
        key,
        installation: InstallationId::new(installation),
    })
}

/// The digits of a key that a name ends with, if it names no installation.
fn key_digits(name: &str) -> Option<&str> {
    let (_, digits) = name.strip_suffix(']')?.rsplit_once(" [")?;
    is_digits(digits).then_some(digits)
}

fn is_digits(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn create_agent(request: &LaunchRequest) -> wire::CreateAgent<'_> {
    let marker = Marker::find(&request.prompt);
    let installation = marker.as_ref().map(|marker| &marker.installation);
    let suffix = name_suffix(&request.key, installation);
    let room = LONGEST_NAME.saturating_sub(suffix.chars().count());
    let name: String = request.name.chars().take(room).collect();
    let policy = &request.pull_request;
    wire::CreateAgent {
        agent_id: agent_id(&request.key),
        name: name + &suffix,
        prompt: wire::Prompt {
            text: &request.prompt,
        },
        // "auto" is the absence of a choice: Cursor then takes the user's, the team's or its own default.
        model: request
            .model
            .as_ref()
            .filter(|model| model.id != "auto")
            .map(|model| wire::Model {
                id: &model.id,
                params: model
                    .params
                    .iter()
                    .map(|(id, value)| wire::ModelParameter { id, value })
                    .collect(),
            }),
        repos: [wire::Repo {
            url: &request.repository,
            starting_ref: request.reference.as_deref(),
        }],
        work_on_current_branch: policy.work_on_current_branch,
        auto_create_pr: policy.auto_create,
        skip_reviewer_request: policy.auto_create && policy.skip_reviewer_request,
    }
}

fn phase_of_run(status: Option<&str>) -> RemotePhase {
    match status {
        Some("CREATING") => RemotePhase::Creating,
        Some("RUNNING") => RemotePhase::Running,
        Some("FINISHED") => RemotePhase::Finished,
        Some("ERROR") => RemotePhase::Error,
        Some("CANCELLED") => RemotePhase::Cancelled,
        Some("EXPIRED") => RemotePhase::Expired,
        _ => RemotePhase::Unrecognised,
    }
}

/// Archived by a person, or expired: Cursor's documentation makes no difference.
fn is_archived(agent: &Agent) -> bool {
    agent.status.as_deref() == Some("ARCHIVED")
}

/// Whether a run alone leaves open how it stands (an archived agent's run may seem active for ever) or which of several
/// branches is our repository's.
fn needs_agent(run: &Run) -> bool {
    let long_active = !phase_of_run(run.status.as_deref()).is_terminal()
        && run
            .created_at
            .is_none_or(|created| Timestamp::now().duration_since(created) >= ASK_FOR_AGENT_AFTER);
    let several_branches = run
        .git
        .as_ref()
        .is_some_and(|git| git.branches.readable.len() > 1);
    long_active || several_branches
}

/// Differs once something about the agent has moved.
fn moved(agent: &Agent) -> String {
    hint(&[
        agent.updated_at.as_deref(),
        agent.latest_run_id.as_ref().map(|id| id.0.as_str()),
        agent.status.as_deref(),
    ])
}

fn usage_of(report: &UsageReport) -> Option<Usage> {
    let cents = report
        .cost
        .as_ref()
        .and_then(|cost| cost.charged_cents.or(cost.raw_cost_cents))
        .filter(|cents| cents.is_finite() && *cents >= 0.0)
        .map(|cents| cents.ceil() as i64);
    let tokens = report.total_usage.as_ref();
    if tokens.is_none() && cents.is_none() {
        return None;
    }
    Some(Usage {
        input_tokens: tokens.map_or(0, |tokens| {
            tokens
                .input_tokens
                .max(0)
                .saturating_add(tokens.cache_read_tokens.max(0))
                .saturating_add(tokens.cache_write_tokens.max(0))
        }),
        output_tokens: tokens.map_or(0, |tokens| tokens.output_tokens.max(0)),
        cost_cents: cents,
    })
}
