//! Cursor Cloud Agents, API v0: flat agents, with webhooks.
//!
//! Sources: the provider's API description of March 2026 and its current documentation. Not documented and decided here: what a stop leaves as
//! status and what a message to a stopped agent does (both are switches); a stop of an agent that has ended changes nothing and is answered with
//! 200; a message to a working agent waits for its end; an expired agent counts as archived (409); codes of 409; unknown query keys are ignored; a
//! model that v1 does not have is refused. Webhooks are called ([`webhook`](crate::webhook)).

mod agent;
mod as_v1;
mod request;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::agent::{Agent, Birth};
use self::request::{CreateAgent, FollowUp};
use super::access::{PRESIGNED_FOR, check_access, check_pull_request};
use super::catalogue;
use super::shared::{Listed, page_of, pr_url};
use crate::clock::{Clock, Moment};
use crate::http::{Answer, Call, Effect, EffectKind, Refusal};
use crate::keys::{Key, KeyKind};
use crate::members::insert;
use crate::operation::{Operation, Provider, Route};
use crate::options::{CursorOptions, FollowUpAfterStop};
use crate::page::Query;
use crate::provider::{Context, ProviderApi};
use crate::record::{PromptView, SessionView};
use crate::script::{CancelBehaviour, Script};
use crate::timeline::{Ending, Stage};
use crate::webhook::{Delivery, status_changes};

/// First path segment of presigned URLs, which the provider serves from another host.
pub(crate) const ARTIFACT_STORE: &str = "artifact-store-v0";
/// Where artifacts are in an agent's environment (the documentation's example).
const ARTIFACTS: &str = "/opt/cursor/artifacts";
/// Documented.
const MAX_ARTIFACTS: usize = 100;

pub(crate) struct CursorV0 {
    options: CursorOptions,
    /// Base of presigned URLs.
    url: String,
    /// Oldest first; deleted ones stay, because some operations tell them from unknown ones.
    agents: Vec<Agent>,
}

/// What an operation says about a deleted agent (documented per operation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    NotFound,
    Conflict,
}

impl CursorV0 {
    pub(crate) fn new(options: CursorOptions, url: String) -> Self {
        Self {
            options,
            url,
            agents: Vec::new(),
        }
    }

    fn position(&self, id: &str, caller: &Key, deleted: Deleted) -> Result<usize, Refusal> {
        if !is_agent_id(id) {
            return Err(Refusal::validation("id: Invalid agent ID format"));
        }
        let (position, agent) = self
            .agents
            .iter()
            .enumerate()
            .find(|(_, agent)| agent.id.eq_ignore_ascii_case(id) && agent.account == caller.account)
            .ok_or_else(not_found)?;
        match (agent.deleted, deleted) {
            (false, _) => Ok(position),
            (true, Deleted::NotFound) => Err(not_found()),
            (true, Deleted::Conflict) => {
                Err(Refusal::conflict("agent_deleted", "Agent is deleted"))
            }
        }
    }

    fn find(&self, id: &str, caller: &Key, deleted: Deleted) -> Result<&Agent, Refusal> {
        let position = self.position(id, caller, deleted)?;
        self.agents.get(position).ok_or_else(not_found)
    }

    fn find_mut(&mut self, id: &str, caller: &Key) -> Result<&mut Agent, Refusal> {
        let position = self.position(id, caller, Deleted::Conflict)?;
        self.agents.get_mut(position).ok_or_else(not_found)
    }

    fn object(&self, agent: &Agent, now: Moment, clock: &Clock) -> Value {
        let mut source = json!({"repository": agent.source.repository()});
        if let Some(git_ref) = agent.source.git_ref() {
            insert(&mut source, "ref", json!(git_ref));
        }
        let mut target = json!({
            "branchName": agent.branch,
            "url": format!("https://cursor.com/agents?id={}", agent.id),
            "autoCreatePr": agent.target.auto_create_pr,
            "openAsCursorGithubApp": agent.target.open_as_app,
            "skipReviewerRequest": agent.target.skip_reviewer_request,
        });
        if let Some(pull_request) = agent.pull_request(now) {
            insert(&mut target, "prUrl", json!(pull_request));
        }
        let mut object = json!({
            "id": agent.id,
            "name": agent.name,
            "status": agent.status(now, &self.options.v0),
            "source": source,
            "target": target,
            "createdAt": clock.iso(agent.created),
        });
        if !agent.conversation.is_active(now)
            && let Some(summary) = agent.conversation.summary(now)
        {
            insert(&mut object, "summary", json!(summary));
        }
        object
    }

    fn create_agent(&mut self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let Context {
            now,
            clock,
            scripts,
            caller,
        } = context;
        let request = CreateAgent::parse(&call.json_body()?)?;
        check_access(&self.options, request.source.repository())?;
        check_pull_request(&self.options, request.source.pull_request())?;
        let script =
            scripts.script_for(Provider::Cursor, &request.prompt, request.directive.clone());
        let latency = script.latency();
        let birth = Birth {
            account: caller.account.clone(),
            now,
            listed_from: now.plus(call.tampering.lag),
            pull_request_number: self.agents.len() as u64 + 1,
            script,
        };
        let agent = Agent::launch(request, birth);
        let mut object = self.object(&agent, now, clock);
        // Documented: always, even if a script leaves no time for it.
        insert(&mut object, "status", json!("CREATING"));
        let mut answer = Answer::json(StatusCode::CREATED, object).with_effect(Effect {
            kind: EffectKind::Launched,
            session: agent.id.clone(),
            run: None,
        });
        answer.latency = latency;
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
                pull_requests: agent.pull_request(now).into_iter().collect(),
                archived: agent.conversation.stage(now) == Stage::Ended(Ending::Expired),
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
        let query = Query::lenient(call);
        let page = query.page()?;
        let wanted = pr_url(&query)?;
        let mut agents = self.listed(caller, now, |agent| self.object(agent, now, clock));
        agents.extend(others);
        agents.retain(|agent| agent.has(wanted));
        let (items, next) = page_of(agents, &page, self.options.list_order)?;
        let mut list = json!({ "agents": items });
        if let Some(next) = next {
            insert(&mut list, "nextCursor", json!(next));
        }
        Ok(Answer::ok(list))
    }

    fn delete(&mut self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find_mut(id, context.caller)?;
        agent.deleted = true;
        agent.conversation.interrupt(context.now, Ending::Cancelled);
        Ok(with_effect(id, EffectKind::Changed))
    }

    fn follow_up(
        &mut self,
        id: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context {
            now,
            scripts,
            caller,
            ..
        } = context;
        let after_stop = self.options.v0.follow_up_after_stop;
        let agent = self.find_mut(id, caller)?;
        let request = FollowUp::parse(&call.json_body()?)?;
        match agent.conversation.stage(now) {
            Stage::Ended(Ending::Expired) => return Err(archived()),
            Stage::Ended(Ending::Cancelled) if after_stop == FollowUpAfterStop::Refused => {
                return Err(Refusal::conflict(
                    "agent_stopped",
                    "Stopped agents cannot be resumed",
                ));
            }
            Stage::Creating | Stage::Setup | Stage::Running | Stage::Ended(_) => {}
        }
        let script =
            scripts.script_for(Provider::Cursor, &request.prompt, request.directive.clone());
        let latency = script.latency();
        agent.follow_up(request, now, script);
        let mut answer = with_effect(id, EffectKind::Messaged);
        answer.latency = latency;
        Ok(answer)
    }

    fn stop(&mut self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let now = context.now;
        let agent = self.find_mut(id, context.caller)?;
        let current = &agent.conversation.current(now).timeline;
        match (current.stage(now), current.script.cancel()) {
            // A stop that is broken is broken for ended agents too. Here it matters: their stop is else taken.
            (_, CancelBehaviour::Fails) => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Failed to stop agent",
            )),
            (Stage::Ended(Ending::Expired), _) => Err(archived()),
            (Stage::Ended(_), _) | (_, CancelBehaviour::Ignored) => {
                Ok(Answer::ok(json!({ "id": id })))
            }
            (_, CancelBehaviour::Accepted) => {
                agent.conversation.interrupt(now, Ending::Cancelled);
                Ok(with_effect(id, EffectKind::Changed))
            }
            (_, CancelBehaviour::TooLate) => {
                agent.conversation.interrupt(now, Ending::Finished);
                Ok(Answer::ok(json!({ "id": id })))
            }
            (_, CancelBehaviour::Unsupported) => Err(Refusal::conflict(
                "agent_not_stoppable",
                "Agent cannot be stopped",
            )),
        }
    }

    fn conversation(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller, Deleted::Conflict)?;
        let messages: Vec<Value> = agent
            .conversation(context.now, &self.options.v0)
            .into_iter()
            .map(|message| json!({"id": message.id, "type": message.kind, "text": message.text}))
            .collect();
        Ok(Answer::ok(json!({"id": id, "messages": messages})))
    }

    fn list_artifacts(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller, Deleted::NotFound)?;
        let artifacts: Vec<Value> = artifacts(agent, context.now)
            .iter()
            .map(|artifact| {
                json!({
                    "absolutePath": artifact.path,
                    "sizeBytes": artifact.content.len(),
                    "updatedAt": context.clock.iso(artifact.updated),
                })
            })
            .collect();
        Ok(Answer::ok(json!({ "artifacts": artifacts })))
    }

    fn download_artifact(
        &self,
        id: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller, Deleted::NotFound)?;
        let query = Query::lenient(call);
        let path = query
            .string("path")?
            .ok_or_else(|| Refusal::validation("path: Required"))?;
        if !artifacts(agent, context.now)
            .iter()
            .any(|artifact| artifact.path == path)
        {
            return Err(artifact_not_found());
        }
        Ok(Answer::ok(json!({
            "url": format!("{}/{ARTIFACT_STORE}/{}{path}", self.url, agent.id),
            "expiresAt": context.clock.iso(context.now.plus(PRESIGNED_FOR)),
        })))
    }

    fn fetch_artifact(&self, call: &Call, now: Moment) -> Result<Answer, Refusal> {
        let segments = call.segments();
        let [_, id, path @ ..] = segments.as_slice() else {
            return Err(artifact_not_found());
        };
        let path = format!("/{}", path.join("/"));
        self.agents
            .iter()
            .find(|agent| agent.id == *id)
            .and_then(|agent| {
                artifacts(agent, now)
                    .into_iter()
                    .find(|artifact| artifact.path == path)
            })
            .map(|artifact| Answer::file("text/plain; charset=utf-8", artifact.content))
            .ok_or_else(artifact_not_found)
    }

    fn list_repositories(&self) -> Answer {
        let repositories: Vec<Value> = self
            .options
            .repositories
            .iter()
            .map(|repository| {
                let mut parts = repository.trim_end_matches('/').rsplit('/');
                let name = parts.next().unwrap_or("").trim_end_matches(".git");
                json!({"owner": parts.next().unwrap_or(""), "name": name, "repository": repository})
            })
            .collect();
        Answer::ok(json!({ "repositories": repositories }))
    }
}

impl ProviderApi for CursorV0 {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        let operations: &[(Method, Operation)] = match segments {
            ["v0", "agents"] => &[
                (Method::POST, Operation::CursorV0CreateAgent),
                (Method::GET, Operation::CursorV0ListAgents),
            ],
            ["v0", "agents", _] => &[
                (Method::GET, Operation::CursorV0GetAgent),
                (Method::DELETE, Operation::CursorV0DeleteAgent),
            ],
            ["v0", "agents", _, "followup"] => &[(Method::POST, Operation::CursorV0FollowUp)],
            ["v0", "agents", _, "stop"] => &[(Method::POST, Operation::CursorV0StopAgent)],
            ["v0", "agents", _, "conversation"] => {
                &[(Method::GET, Operation::CursorV0GetConversation)]
            }
            ["v0", "agents", _, "artifacts"] => &[(Method::GET, Operation::CursorV0ListArtifacts)],
            ["v0", "agents", _, "artifacts", "download"] => {
                &[(Method::GET, Operation::CursorV0DownloadArtifact)]
            }
            ["v0", "me"] => &[(Method::GET, Operation::CursorV0GetMe)],
            ["v0", "models"] => &[(Method::GET, Operation::CursorV0ListModels)],
            ["v0", "repositories"] => &[(Method::GET, Operation::CursorV0ListRepositories)],
            [ARTIFACT_STORE, ..] => &[(Method::GET, Operation::CursorV0FetchArtifact)],
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
        (operation == Operation::CursorV0FetchArtifact).then(|| self.fetch_artifact(call, now))
    }

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let segments = call.segments();
        let id = segments.get(2).copied().unwrap_or("");
        let Context {
            now, clock, caller, ..
        } = context;
        match operation {
            Operation::CursorV0CreateAgent => self.create_agent(call, context),
            Operation::CursorV0ListAgents => self.list_agents(call, context, Vec::new()),
            Operation::CursorV0GetAgent => {
                let agent = self.find(id, caller, Deleted::NotFound)?;
                Ok(Answer::ok(self.object(agent, now, clock)))
            }
            Operation::CursorV0DeleteAgent => self.delete(id, context),
            Operation::CursorV0FollowUp => self.follow_up(id, call, context),
            Operation::CursorV0StopAgent => self.stop(id, context),
            Operation::CursorV0GetConversation => self.conversation(id, context),
            Operation::CursorV0ListArtifacts => self.list_artifacts(id, context),
            Operation::CursorV0DownloadArtifact => self.download_artifact(id, call, context),
            Operation::CursorV0GetMe => Ok(Answer::ok(me(caller, clock))),
            Operation::CursorV0ListModels => {
                let models: Vec<&str> = catalogue::ids().collect();
                Ok(Answer::ok(json!({ "models": models })))
            }
            Operation::CursorV0ListRepositories => Ok(self.list_repositories()),
            _ => Err(Refusal::no_such_path(&call.path)),
        }
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        self.agents
            .iter()
            .map(|agent| SessionView {
                provider: Provider::Cursor,
                id: agent.id.clone(),
                account: agent.account.clone(),
                status: agent.status(now, &self.options.v0).to_owned(),
                active: agent.conversation.is_active(now),
                archived: false,
                deleted: agent.deleted,
                repository: Some(agent.source.repository().to_owned()),
                pull_request: agent.pull_request(now),
                on_behalf_of: None,
                created_at: clock.timestamp(agent.created),
                webhook: agent.webhook.clone(),
                prompts: agent
                    .conversation
                    .iter()
                    .map(|turn| {
                        let status = format!("{:?}", turn.timeline.stage(now));
                        let text = turn.prompt.clone();
                        PromptView::new(None, text, status, &turn.timeline, (now, clock))
                    })
                    .collect(),
            })
            .collect()
    }

    fn deliveries(&self, now: Moment, clock: &Clock) -> Vec<Delivery> {
        let reporting = self.agents.iter().filter_map(|agent| {
            let webhook = agent.webhook.as_ref()?;
            let object = self.object(agent, now, clock);
            let (id, conversation) = (&agent.id, &agent.conversation);
            Some(status_changes(
                webhook,
                id,
                conversation,
                &object,
                (now, clock),
            ))
        });
        reporting.flatten().collect()
    }

    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool {
        let named = |agent: &&mut Agent| agent.id.eq_ignore_ascii_case(session);
        match self.agents.iter_mut().find(named) {
            Some(agent) => {
                agent.conversation.rescript(now, script);
                true
            }
            None => false,
        }
    }
}

/// `bc_` or `bc-` and letters, digits or hyphens: the forms in the description's examples.
fn is_agent_id(id: &str) -> bool {
    id.strip_prefix("bc_")
        .or_else(|| id.strip_prefix("bc-"))
        .is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
}

fn not_found() -> Refusal {
    Refusal::not_found("agent_not_found", "Agent not found")
}

fn archived() -> Refusal {
    Refusal::conflict("agent_archived", "Agent is archived")
}

fn artifact_not_found() -> Refusal {
    Refusal::not_found("artifact_not_found", "Artifact not found")
}

fn with_effect(id: &str, kind: EffectKind) -> Answer {
    Answer::ok(json!({ "id": id })).with_effect(Effect {
        kind,
        session: id.to_owned(),
        run: None,
    })
}

/// The e-mail is absent for a service account.
fn me(caller: &Key, clock: &Clock) -> Value {
    let mut me = json!({"apiKeyName": caller.name, "createdAt": clock.iso(Moment::START)});
    if caller.kind == KeyKind::User {
        insert(&mut me, "userEmail", json!(caller.account));
    }
    me
}

struct Artifact {
    path: String,
    content: String,
    updated: Moment,
}

/// What the ended turns left.
fn artifacts(agent: &Agent, now: Moment) -> Vec<Artifact> {
    let mut artifacts = Vec::new();
    for (number, turn) in agent.conversation.iter().enumerate() {
        let Some((ended, _)) = turn.timeline.ended(now) else {
            continue;
        };
        for index in 1..=turn.timeline.script.artifacts.unwrap_or(0) {
            artifacts.push(Artifact {
                path: format!("{ARTIFACTS}/turn-{}/file-{index}.txt", number + 1),
                content: format!("Artifact {index} of {}\n", turn.id),
                updated: ended,
            });
        }
    }
    artifacts.truncate(MAX_ARTIFACTS);
    artifacts
}
