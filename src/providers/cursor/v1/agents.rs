//! What is read of agents and their runs, and the snapshot that it makes.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::account;
use super::wire::{Agent, AgentList, Run, RunError, RunList, UsageReport};
use crate::domain::ids::{RunId, SessionId};
use crate::domain::repository::same_repository;
use crate::domain::snapshot::{Links, RemotePhase, Snapshot, Usage};
use crate::providers::contract::{CancelAnswer, Connection, PageToken};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Operation};
use crate::providers::recovery::scan::{Candidate, Page};
use crate::providers::wire::{branch, link, next_page, raw_status, repository};

pub(super) const PAGE_SIZE: &str = "100";
/// How old an active run is when its agent is looked at as well. A person may have archived the agent, which a run does
/// not tell, and the `updatedAt` of a running run stands still.
const ASK_FOR_AGENT_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// A connection to Cursor's API v1.
#[derive(Debug)]
pub(in crate::providers::cursor) struct CursorV1 {
    pub(super) api: Api,
}

impl CursorV1 {
    pub(in crate::providers::cursor) fn connect(
        connection: &Connection,
    ) -> Result<Self, ProviderError> {
        let api = account::sign_in(connection)?;
        Ok(Self { api })
    }

    pub(super) async fn agent(&self, id: &str) -> Result<Agent, ProviderError> {
        self.api
            .get(Operation::Get, &["v1", "agents", id], &[])
            .await
    }

    pub(super) async fn run(&self, id: &str, run_id: &str) -> Result<Run, ProviderError> {
        self.api
            .get(Operation::Get, &["v1", "agents", id, "runs", run_id], &[])
            .await
    }

    /// The newest run of an agent, if it has one.
    pub(super) async fn newest_run(&self, agent: &Agent) -> Result<Option<Run>, ProviderError> {
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

    pub(super) async fn cancel_run(
        &self,
        id: &str,
        run_id: &str,
    ) -> Result<CancelAnswer, ProviderError> {
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

    pub(super) async fn page(&self, page: Option<&PageToken>) -> Result<AgentList, ProviderError> {
        let mut query = vec![("limit", PAGE_SIZE)];
        query.extend(page.map(|token| ("cursor", token.0.as_str())));
        self.api
            .get(Operation::List, &["v1", "agents"], &query)
            .await
    }

    pub(super) async fn candidates(
        &self,
        page: Option<&PageToken>,
    ) -> Result<Page<Agent>, ProviderError> {
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
    pub(super) async fn look_at(&self, agent: Agent) -> Result<Snapshot, ProviderError> {
        let run = self.newest_run(&agent).await?;
        self.complete(self.snapshot(Some(&agent), run, &SessionId::new(agent.id.0.as_str())))
            .await
    }

    /// Puts agent and run together; at least one of them is there.
    pub(super) fn snapshot(
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
        let asked = agent.and_then(Agent::repository).map(Cow::into_owned);
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
    pub(super) async fn complete(&self, snapshot: Snapshot) -> Result<Snapshot, ProviderError> {
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

pub(super) fn phase_of_run(status: Option<&str>) -> RemotePhase {
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
pub(super) fn is_archived(agent: &Agent) -> bool {
    agent.status.as_deref() == Some("ARCHIVED")
}

/// Whether a run alone leaves open how it stands (an archived agent's run may seem active for ever) or which of several
/// branches is our repository's.
pub(super) fn needs_agent(run: &Run) -> bool {
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
