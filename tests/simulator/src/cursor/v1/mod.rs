//! Cursor Cloud Agents, API v1: durable agents and their runs.
//!
//! Sources: the provider's API description of April 2026 and its current documentation; where they differ, the current documentation holds
//! (status `IDLE`, models as objects, several repositories, `nextCursor` left out at the end). Undocumented and decided here: codes of 404 for an
//! unknown path (`not_found`) and 405 (`method_not_allowed`); an agent id stays taken after a delete; archiving an agent leaves its run alone; a sub-token
//! is not accepted by these endpoints.

mod agent;
mod as_v0;
mod request;
mod stream;
mod wire;

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use self::agent::{Agent, Birth, Run};
use self::request::{CreateAgent, CreateRun, sub_token_user};
use self::wire::RunDetail;
use super::access::{PRESIGNED_FOR, check_access, check_pull_request};
use super::catalogue;
use super::shared::{Listed, page_of, pr_url};
use crate::clock::{Clock, Moment};
use crate::http::{
    Answer, AnswerBody, Call, Effect, EffectKind, Refusal, StreamPosition, StreamStep,
};
use crate::keys::{Key, KeyKind};
use crate::members::insert;
use crate::operation::{Operation, Provider, Route};
use crate::options::{AgentIds, CursorOptions, IdempotencyKey};
use crate::page::Query;
use crate::provider::{Context, ProviderApi};
use crate::record::{PromptView, SessionView};
use crate::script::{CancelBehaviour, Script};
use crate::timeline::Ending;

/// How long a sub-token is valid.
const SUB_TOKEN_FOR: Duration = Duration::from_secs(60 * 60);
/// First path segment of presigned URLs, which the provider serves from another host.
const ARTIFACT_STORE: &str = "artifact-store";

pub(crate) struct CursorV1 {
    options: CursorOptions,
    /// Base of presigned URLs.
    url: String,
    /// Oldest first; deleted ones stay, so that their ids stay taken.
    agents: Vec<Agent>,
    /// `Idempotency-Key` per account, with the agent that its first request created.
    idempotency: HashMap<(String, String), String>,
}

impl CursorV1 {
    pub(crate) fn new(options: CursorOptions, url: String) -> Self {
        Self {
            options,
            url,
            agents: Vec::new(),
            idempotency: HashMap::new(),
        }
    }

    fn find(&self, id: &str, caller: &Key) -> Result<&Agent, Refusal> {
        self.agents
            .iter()
            .find(|agent| agent.is(id) && agent.account == caller.account && !agent.deleted)
            .ok_or_else(agent_not_found)
    }

    fn find_mut(&mut self, id: &str, caller: &Key) -> Result<&mut Agent, Refusal> {
        self.agents
            .iter_mut()
            .find(|agent| agent.is(id) && agent.account == caller.account && !agent.deleted)
            .ok_or_else(agent_not_found)
    }

    fn create_agent(&mut self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let Context {
            now,
            clock,
            scripts,
            caller,
        } = context;
        let request = CreateAgent::parse(&call.json_body()?)?;
        for repository in &request.repositories {
            check_access(&self.options, &repository.url)?;
            check_pull_request(&self.options, repository.pr_url.as_deref())?;
        }
        let idempotency_key = match self.options.idempotency_key {
            IdempotencyKey::Ignored => None,
            IdempotencyKey::Honoured => call
                .header("idempotency-key")
                .map(|key| (caller.account.clone(), key.to_owned())),
        };
        if let Some(agent) = idempotency_key
            .as_ref()
            .and_then(|key| self.idempotency.get(key))
            .and_then(|id| self.agents.iter().find(|agent| agent.id == *id))
        {
            return Ok(Answer::json(
                StatusCode::CREATED,
                created(agent, now, clock),
            ));
        }
        let asked = request.agent_id.clone().filter(|_| {
            self.options.agent_ids == AgentIds::Honoured && !call.tampering.ignore_agent_id
        });
        if let Some(id) = &asked
            && self.agents.iter().any(|agent| agent.id == *id)
        {
            return Err(Refusal::conflict(
                "agent_id_conflict",
                format!("Agent {id} already exists"),
            ));
        }
        let id = asked.unwrap_or_else(|| format!("bc-{}", Uuid::new_v4()));
        let script =
            scripts.script_for(Provider::Cursor, &request.prompt, request.directive.clone());
        let latency = script.latency();
        let agent = Agent::new(
            request,
            Birth {
                id: id.clone(),
                account: caller.account.clone(),
                now,
                list_lag: call.tampering.lag,
                pull_request_number: self.agents.len() as u64 + 1,
                script,
            },
        );
        let mut answer = Answer::json(StatusCode::CREATED, created(&agent, now, clock))
            .with_effect(Effect {
                kind: EffectKind::Launched,
                session: id.clone(),
                run: agent.latest_run().map(|run| run.id.clone()),
            });
        answer.latency = latency;
        if let Some(key) = idempotency_key {
            self.idempotency.insert(key, id);
        }
        self.agents.push(agent);
        Ok(answer)
    }

    /// Newest first.
    fn listed(&self, caller: &Key, now: Moment, item: impl Fn(&Agent) -> Value) -> Vec<Listed> {
        self.agents
            .iter()
            .rev()
            .filter(|agent| agent.account == caller.account && !agent.deleted)
            .filter(|agent| agent.listed_from <= now)
            .map(|agent| Listed {
                id: agent.id.clone(),
                created: agent.created,
                pull_requests: agent.pull_requests(now),
                archived: agent.is_archived(now),
                item: item(agent),
            })
            .collect()
    }

    /// Agents of this version, and `others`.
    pub(super) fn list_agents(
        &self,
        call: &Call,
        context: Context<'_>,
        others: Vec<Listed>,
    ) -> Result<Answer, Refusal> {
        let Context {
            now, clock, caller, ..
        } = context;
        let query = Query::strict(call, &["limit", "cursor", "prUrl", "includeArchived"])?;
        let page = query.page()?;
        let wanted = pr_url(&query)?;
        let with_archived = query.boolean("includeArchived")?.unwrap_or(true);
        let mut agents = self.listed(caller, now, |agent| wire::summary(agent, now, clock));
        agents.extend(others);
        agents.retain(|agent| with_archived || !agent.archived);
        agents.retain(|agent| agent.has(wanted));
        let (items, next) = page_of(agents, &page, self.options.list_order)?;
        Ok(Answer::ok(list(items, next)))
    }

    fn delete_agent(&mut self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find_mut(id, context.caller)?;
        agent.deleted = true;
        if let Some(run) = agent.latest_run_mut() {
            run.timeline.interrupt(context.now, Ending::Cancelled);
        }
        Ok(changed(id, None))
    }

    fn shelve(
        &mut self,
        id: &str,
        archived: bool,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        self.find_mut(id, context.caller)?
            .shelve(archived, context.now);
        Ok(changed(id, None))
    }

    fn create_run(
        &mut self,
        id: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context {
            now,
            clock,
            scripts,
            caller,
        } = context;
        let agent = self.find_mut(id, caller)?;
        let request = CreateRun::parse(&call.json_body()?)?;
        if agent.is_archived(now) {
            return Err(Refusal::conflict("agent_archived", "Agent is archived"));
        }
        if agent.is_busy(now) {
            return Err(Refusal::conflict(
                "agent_busy",
                "Agent already has an active run",
            ));
        }
        let script = scripts.script_for(Provider::Cursor, &request.prompt, request.directive);
        let latency = script.latency();
        let run = Run::new(request.prompt, now, script);
        let run_id = run.id.clone();
        let object = wire::run(agent, &run, RunDetail::Full, now, clock);
        agent.runs.push(run);
        let mut answer =
            Answer::json(StatusCode::CREATED, json!({"run": object})).with_effect(Effect {
                kind: EffectKind::Messaged,
                session: id.to_owned(),
                run: Some(run_id),
            });
        answer.latency = latency;
        Ok(answer)
    }

    fn list_runs(&self, id: &str, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let Context {
            now, clock, caller, ..
        } = context;
        let agent = self.find(id, caller)?;
        let query = Query::strict(call, &["limit", "cursor"])?;
        let (runs, next) = query
            .page()?
            .of(agent.runs.iter().rev().collect(), |run| &run.id)?;
        let items: Vec<Value> = runs
            .iter()
            .map(|run| wire::run(agent, run, RunDetail::ListItem, now, clock))
            .collect();
        Ok(Answer::ok(list(items, next)))
    }

    fn cancel_run(
        &mut self,
        id: &str,
        run_id: &str,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let now = context.now;
        let run = self
            .find_mut(id, context.caller)?
            .run_mut(run_id)
            .ok_or_else(run_not_found)?;
        let not_cancellable = || {
            Refusal::conflict(
                "run_not_cancellable",
                "Run is already terminal or was never active",
            )
        };
        if run.timeline.ended(now).is_some() {
            return Err(not_cancellable());
        }
        match run.timeline.script.cancel() {
            CancelBehaviour::Ignored => Ok(Answer::ok(json!({ "id": run_id }))),
            CancelBehaviour::Accepted => {
                let takes = run.timeline.script.cancel_takes();
                run.timeline.interrupt_after(now, takes, Ending::Cancelled);
                let mut answer = changed(id, Some(run_id));
                answer.body = AnswerBody::Json(json!({"id": run_id}));
                Ok(answer)
            }
            CancelBehaviour::Fails => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Failed to cancel run",
            )),
            CancelBehaviour::Unsupported => Err(not_cancellable()),
            CancelBehaviour::TooLate => {
                run.timeline.interrupt(now, Ending::Finished);
                Err(not_cancellable())
            }
        }
    }

    fn stream_run(
        &self,
        id: &str,
        run_id: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context {
            now, clock, caller, ..
        } = context;
        let agent = self.find(id, caller)?;
        let run = agent.run(run_id).ok_or_else(run_not_found)?;
        let last_event_id = call.header("last-event-id").filter(|id| !id.is_empty());
        let position = stream::open(agent, run, last_event_id, &self.options, now, clock)?;
        let mut answer = Answer::ok(Value::Null);
        answer.body = AnswerBody::Stream(position);
        answer.headers = vec![
            (
                "x-cursor-stream-retention-seconds",
                self.options.stream_retention.as_secs().to_string(),
            ),
            ("cache-control", "no-cache".to_owned()),
        ];
        Ok(answer)
    }

    fn usage(&self, id: &str, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller)?;
        let query = Query::strict(call, &["runId"])?;
        let runs: Vec<&Run> = match query.string("runId")? {
            Some(run_id) => vec![agent.run(run_id).ok_or_else(run_not_found)?],
            None => agent.runs.iter().rev().collect(),
        };
        Ok(Answer::ok(wire::usage(&runs, context.now)))
    }

    fn list_artifacts(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller)?;
        let items: Vec<Value> = artifacts(agent, context.now)
            .iter()
            .map(|artifact| {
                json!({
                    "path": artifact.path,
                    "sizeBytes": artifact.content.len(),
                    "updatedAt": context.clock.iso(artifact.updated),
                })
            })
            .collect();
        Ok(Answer::ok(json!({ "items": items })))
    }

    fn download_artifact(
        &self,
        id: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller)?;
        let query = Query::strict(call, &["path"])?;
        let path = query
            .string("path")?
            .ok_or_else(|| Refusal::validation("path: Required"))?;
        let relative = path.starts_with("artifacts/") && !path.split('/').any(|part| part == "..");
        if !relative {
            return Err(Refusal::validation(
                "path: Must be a relative path under artifacts/",
            ));
        }
        if !artifacts(agent, context.now)
            .iter()
            .any(|artifact| artifact.path == path)
        {
            return Err(Refusal::not_found(
                "artifact_not_found",
                "Artifact not found",
            ));
        }
        Ok(Answer::ok(json!({
            "url": format!("{}/{ARTIFACT_STORE}/{}/{path}", self.url, agent.id),
            "expiresAt": context.clock.iso(context.now.plus(PRESIGNED_FOR)),
        })))
    }

    fn fetch_artifact(&self, path: &str, now: Moment) -> Result<Answer, Refusal> {
        let missing = || Refusal::not_found("artifact_not_found", "Artifact not found");
        let (id, path) = path
            .trim_start_matches('/')
            .strip_prefix(ARTIFACT_STORE)
            .and_then(|rest| rest.trim_start_matches('/').split_once('/'))
            .ok_or_else(missing)?;
        let agent = self
            .agents
            .iter()
            .find(|agent| agent.id == id)
            .ok_or_else(missing)?;
        let artifact = artifacts(agent, now)
            .into_iter()
            .find(|artifact| artifact.path == path)
            .ok_or_else(missing)?;
        Ok(Answer::file("text/plain; charset=utf-8", artifact.content))
    }

    fn list_repositories(&self) -> Answer {
        let items: Vec<Value> = self
            .options
            .repositories
            .iter()
            .map(|url| json!({"url": url}))
            .collect();
        Answer::ok(json!({ "items": items }))
    }
}

impl ProviderApi for CursorV1 {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        let operations: &[(Method, Operation)] = match segments {
            ["v1", "agents"] => &[
                (Method::POST, Operation::CursorV1CreateAgent),
                (Method::GET, Operation::CursorV1ListAgents),
            ],
            ["v1", "agents", _] => &[
                (Method::GET, Operation::CursorV1GetAgent),
                (Method::DELETE, Operation::CursorV1DeleteAgent),
            ],
            ["v1", "agents", _, "archive"] => &[(Method::POST, Operation::CursorV1ArchiveAgent)],
            ["v1", "agents", _, "unarchive"] => {
                &[(Method::POST, Operation::CursorV1UnarchiveAgent)]
            }
            ["v1", "agents", _, "runs"] => &[
                (Method::POST, Operation::CursorV1CreateRun),
                (Method::GET, Operation::CursorV1ListRuns),
            ],
            ["v1", "agents", _, "runs", _] => &[(Method::GET, Operation::CursorV1GetRun)],
            ["v1", "agents", _, "runs", _, "cancel"] => {
                &[(Method::POST, Operation::CursorV1CancelRun)]
            }
            ["v1", "agents", _, "runs", _, "stream"] => {
                &[(Method::GET, Operation::CursorV1StreamRun)]
            }
            ["v1", "agents", _, "usage"] => &[(Method::GET, Operation::CursorV1GetUsage)],
            ["v1", "agents", _, "artifacts"] => &[(Method::GET, Operation::CursorV1ListArtifacts)],
            ["v1", "agents", _, "artifacts", "download"] => {
                &[(Method::GET, Operation::CursorV1DownloadArtifact)]
            }
            ["v1", "me"] => &[(Method::GET, Operation::CursorV1GetMe)],
            ["v1", "models"] => &[(Method::GET, Operation::CursorV1ListModels)],
            ["v1", "repositories"] => &[(Method::GET, Operation::CursorV1ListRepositories)],
            ["v1", "sub-tokens"] => &[(Method::POST, Operation::CursorV1CreateSubToken)],
            [ARTIFACT_STORE, ..] => &[(Method::GET, Operation::CursorV1FetchArtifact)],
            _ => &[],
        };
        Route::among(operations, method)
    }

    fn public_answer(
        &self,
        operation: Operation,
        call: &Call,
        now: Moment,
    ) -> Option<Result<Answer, Refusal>> {
        (operation == Operation::CursorV1FetchArtifact)
            .then(|| self.fetch_artifact(&call.path, now))
    }

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let segments = call.segments();
        let id = segments.get(2).copied().unwrap_or("");
        let run_id = segments.get(4).copied().unwrap_or("");
        let Context {
            now, clock, caller, ..
        } = context;
        match operation {
            Operation::CursorV1CreateAgent => self.create_agent(call, context),
            Operation::CursorV1ListAgents => self.list_agents(call, context, Vec::new()),
            Operation::CursorV1GetAgent => {
                let agent = self.find(id, caller)?;
                Ok(Answer::ok(wire::agent(agent, now, clock)))
            }
            Operation::CursorV1DeleteAgent => self.delete_agent(id, context),
            Operation::CursorV1ArchiveAgent => self.shelve(id, true, context),
            Operation::CursorV1UnarchiveAgent => self.shelve(id, false, context),
            Operation::CursorV1CreateRun => self.create_run(id, call, context),
            Operation::CursorV1ListRuns => self.list_runs(id, call, context),
            Operation::CursorV1GetRun => {
                let agent = self.find(id, caller)?;
                let run = agent.run(run_id).ok_or_else(run_not_found)?;
                Ok(Answer::ok(wire::run(
                    agent,
                    run,
                    RunDetail::Full,
                    now,
                    clock,
                )))
            }
            Operation::CursorV1CancelRun => self.cancel_run(id, run_id, context),
            Operation::CursorV1StreamRun => self.stream_run(id, run_id, call, context),
            Operation::CursorV1GetUsage => self.usage(id, call, context),
            Operation::CursorV1ListArtifacts => self.list_artifacts(id, context),
            Operation::CursorV1DownloadArtifact => self.download_artifact(id, call, context),
            Operation::CursorV1GetMe => Ok(Answer::ok(me(caller, clock))),
            Operation::CursorV1ListModels => Ok(Answer::ok(catalogue::list(self.options.models))),
            Operation::CursorV1ListRepositories => Ok(self.list_repositories()),
            Operation::CursorV1CreateSubToken => sub_token(call, context),
            _ => Err(Refusal::not_found("not_found", "No such path")),
        }
    }

    fn stream(&self, position: &mut StreamPosition, now: Moment, clock: &Clock) -> StreamStep {
        let agent = self
            .agents
            .iter()
            .find(|agent| agent.id == position.session && !agent.deleted);
        match agent.and_then(|agent| agent.run(&position.run).map(|run| (agent, run))) {
            Some((agent, run)) => stream::step(agent, run, position, &self.options, now, clock),
            None => StreamStep::End,
        }
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        self.agents
            .iter()
            .map(|agent| SessionView {
                provider: Provider::Cursor,
                id: agent.id.clone(),
                account: agent.account.clone(),
                status: agent
                    .latest_run()
                    .map_or("", |run| run.status(now))
                    .to_owned(),
                active: agent.is_busy(now),
                archived: agent.is_archived(now),
                deleted: agent.deleted,
                repository: agent
                    .repositories
                    .first()
                    .map(|repository| repository.url.clone()),
                pull_request: agent
                    .branches(now)
                    .into_iter()
                    .find_map(|branch| branch.pull_request),
                on_behalf_of: None,
                created_at: clock.timestamp(agent.created),
                webhook: None,
                prompts: agent
                    .runs
                    .iter()
                    .map(|run| {
                        let status = run.status(now).to_owned();
                        let (id, text) = (Some(run.id.clone()), run.prompt.clone());
                        PromptView::new(id, text, status, &run.timeline, (now, clock))
                    })
                    .collect(),
            })
            .collect()
    }

    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool {
        let run = self
            .agents
            .iter_mut()
            .find(|agent| agent.is(session))
            .and_then(Agent::latest_run_mut);
        match run {
            Some(run) => {
                run.timeline.rescript(now, script);
                true
            }
            None => false,
        }
    }
}

fn agent_not_found() -> Refusal {
    Refusal::not_found("agent_not_found", "Agent not found")
}

fn run_not_found() -> Refusal {
    Refusal::not_found("run_not_found", "Run not found")
}

fn changed(id: &str, run: Option<&str>) -> Answer {
    Answer::ok(json!({ "id": id })).with_effect(Effect {
        kind: EffectKind::Changed,
        session: id.to_owned(),
        run: run.map(str::to_owned),
    })
}

fn created(agent: &Agent, now: Moment, clock: &Clock) -> Value {
    let run = agent
        .latest_run()
        .map(|run| wire::run(agent, run, RunDetail::Full, now, clock));
    json!({"agent": wire::agent(agent, now, clock), "run": run})
}

fn list(items: Vec<Value>, next: Option<String>) -> Value {
    let mut list = json!({ "items": items });
    if let Some(next) = next {
        insert(&mut list, "nextCursor", json!(next));
    }
    list
}

struct Artifact {
    path: String,
    content: String,
    updated: Moment,
}

/// What the ended runs left, at most 100 (documented).
fn artifacts(agent: &Agent, now: Moment) -> Vec<Artifact> {
    let mut artifacts = Vec::new();
    for (number, run) in agent.runs.iter().enumerate() {
        if let Some((ended, _)) = run.timeline.ended(now) {
            for index in 0..run.timeline.script.artifacts.unwrap_or(0) {
                artifacts.push(Artifact {
                    path: format!("artifacts/run-{}/file-{}.txt", number + 1, index + 1),
                    content: format!("Artifact {} of {}\n", index + 1, run.id),
                    updated: ended,
                });
            }
        }
    }
    artifacts.truncate(100);
    artifacts
}

/// User fields are absent for a service account (documented).
fn me(caller: &Key, clock: &Clock) -> Value {
    let mut me = json!({"apiKeyName": caller.name, "createdAt": clock.iso(Moment::START)});
    if caller.kind == KeyKind::User {
        insert(&mut me, "userId", json!(stable_number(&caller.account)));
        insert(&mut me, "userEmail", json!(caller.account));
        insert(&mut me, "userFirstName", json!("Demo"));
        insert(&mut me, "userLastName", json!("User"));
    }
    me
}

/// A number that is the same for the same account.
fn stable_number(account: &str) -> u32 {
    account.bytes().fold(7, |sum: u32, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    })
}

fn sub_token(call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
    if context.caller.kind != KeyKind::ServiceAccount {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "service_account_required",
            "A service account key is required",
        ));
    }
    let user = sub_token_user(&call.json_body()?)?;
    Ok(Answer::ok(json!({
        "accessToken": format!("sub_{}", Uuid::new_v4().simple()),
        "expiresAt": context.clock.iso(context.now.plus(SUB_TOKEN_FOR)),
        "userId": stable_number(&user),
        "teamId": 1,
    })))
}
