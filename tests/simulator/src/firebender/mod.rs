//! Firebender cloud agents, API v0, in the version of 2026 or of 2025.
//!
//! Sources: the provider's pages. Not documented and decided here: error bodies (like Cursor's), `GET /v0/models` (like Cursor v0's), 409
//! `agent_not_active` for a stop of an agent that has ended, a continuation's conversation (its own messages only), unknown query keys (ignored).
//! Deliveries to webhooks are not documented: they are assumed to be like Cursor's ([`webhook`](crate::webhook)).

mod agent;
mod request;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::agent::{Agent, Birth};
use self::request::{CreateAgent, FollowUp};
use crate::clock::{Clock, Moment};
use crate::http::{Answer, Call, Effect, EffectKind, Refusal};
use crate::keys::Key;
use crate::members::insert;
use crate::operation::{Operation, Provider, Route};
use crate::options::{FirebenderDocument, FirebenderOptions};
use crate::page::Query;
use crate::provider::{Context, ProviderApi};
use crate::record::{PromptView, SessionView};
use crate::script::{CancelBehaviour, Script};
use crate::timeline::{Ending, Stage};
use crate::webhook::{Delivery, status_changes};

const MODELS: [&str; 3] = [
    "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-20250514",
    "gpt-5.5",
];
/// First path segment of presigned URLs, which the provider serves from another host.
const FILE_STORE: &str = "file-store";

pub(crate) struct Firebender {
    options: FirebenderOptions,
    url: String,
    /// Oldest first.
    agents: Vec<Agent>,
}

/// Which of an agent's facts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// `GET /v0/agents/{id}`: with the VNC session of an active agent.
    Single,
    Listed,
}

impl Firebender {
    pub(crate) fn new(options: FirebenderOptions, url: String) -> Self {
        Self {
            options,
            url,
            agents: Vec::new(),
        }
    }

    fn find(&self, id: &str, caller: &Key) -> Result<&Agent, Refusal> {
        self.agents
            .iter()
            .find(|agent| agent.id == id && agent.account == caller.account && !agent.deleted)
            .ok_or_else(not_found)
    }

    fn find_mut(&mut self, id: &str, caller: &Key) -> Result<&mut Agent, Refusal> {
        self.agents
            .iter_mut()
            .find(|agent| agent.id == id && agent.account == caller.account && !agent.deleted)
            .ok_or_else(not_found)
    }

    fn object(
        &self,
        agent: &Agent,
        detail: Detail,
        caller: &Key,
        context: (Moment, &Clock),
    ) -> Value {
        let (now, clock) = context;
        let active = agent.conversation.is_active(now);
        let vnc_url = format!(
            "https://preview-{}.pit-1.try-eu.daytona.app/vnc.html",
            agent.id
        );
        let mut target = json!({
            "branchName": agent.branch,
            "url": match self.options.document {
                FirebenderDocument::Y2026 => vnc_url.clone(),
                FirebenderDocument::Y2025 => format!("https://firebender.com/agents?id={}", agent.id),
            },
            "autoCreatePr": agent.auto_create_pr,
        });
        if let Some(pull_request) = agent.pull_request(now) {
            insert(&mut target, "prUrl", json!(pull_request));
        }
        let mut object = json!({
            "id": agent.id,
            "name": agent.name,
            "status": agent.status(now),
            "source": {"repository": agent.repository, "ref": agent.git_ref},
            "target": target,
            "createdAt": clock.iso(agent.created),
        });
        if !active && let Some(summary) = agent.conversation.summary(now) {
            insert(&mut object, "summary", json!(summary));
        }
        if self.options.document == FirebenderDocument::Y2025 {
            return object;
        }
        // The preview exists from the set-up stage on (documented).
        if detail == Detail::Single && active && agent.conversation.stage(now) != Stage::Creating {
            insert(&mut object, "vncUrl", json!(vnc_url));
            insert(&mut object, "vncToken", json!(agent.vnc_token));
        }
        if !active && agent.mode.records_screen() {
            insert(
                &mut object,
                "recordingUrl",
                json!(format!("{}/v1/recordings/{}", self.url, agent.id)),
            );
        }
        if !active && caller.enterprise {
            insert(
                &mut object,
                "traceUrl",
                json!(format!("{}/v1/traces/{}", self.url, agent.id)),
            );
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
        let request = CreateAgent::parse(&call.json_body()?, self.options.document)?;
        let script = scripts.script_for(
            Provider::Firebender,
            &request.prompt,
            request.directive.clone(),
        );
        let latency = script.latency();
        let agent = Agent::launch(request, self.birth(call, caller, now, script));
        let object = self.object(&agent, Detail::Listed, caller, (now, clock));
        let mut answer = Answer::json(StatusCode::CREATED, object).with_effect(Effect {
            kind: EffectKind::Launched,
            session: agent.id.clone(),
            run: None,
        });
        answer.latency = latency;
        self.agents.push(agent);
        Ok(answer)
    }

    fn birth(&self, call: &Call, caller: &Key, now: Moment, script: Script) -> Birth {
        Birth {
            account: caller.account.clone(),
            now,
            listed_from: now.plus(call.tampering.lag),
            pull_request_number: self.agents.len() as u64 + 1,
            script,
            options: self.options,
        }
    }

    fn list_agents(&self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let Context {
            now, clock, caller, ..
        } = context;
        let query = Query::lenient(call);
        let agents: Vec<&Agent> = self
            .agents
            .iter()
            .rev()
            .filter(|agent| {
                agent.account == caller.account && !agent.deleted && agent.listed_from <= now
            })
            .collect();
        let (agents, next) = query.page()?.of(agents, |agent| &agent.id)?;
        let items: Vec<Value> = agents
            .iter()
            .map(|agent| self.object(agent, Detail::Listed, caller, (now, clock)))
            .collect();
        let mut list = json!({ "agents": items });
        if let Some(next) = next {
            insert(&mut list, "nextCursor", json!(next));
        }
        Ok(Answer::ok(list))
    }

    /// A living sandbox takes the message; otherwise a new agent continues on the same branch.
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
        self.find(id, caller)?;
        let request = FollowUp::parse(&call.json_body()?)?;
        let script = scripts.script_for(
            Provider::Firebender,
            &request.prompt,
            request.directive.clone(),
        );
        let latency = script.latency();
        let birth = self.birth(call, caller, now, script.clone());
        let agent = self.find_mut(id, caller)?;
        let mut answer = if agent.conversation.is_active(now) {
            agent.follow_up(request, now, script);
            Answer::ok(json!({ "id": id })).with_effect(Effect {
                kind: EffectKind::Messaged,
                session: id.to_owned(),
                run: None,
            })
        } else {
            let continuation = agent.continuation(request, birth);
            let answer = Answer::json(StatusCode::CREATED, json!({ "id": continuation.id }))
                .with_effect(Effect {
                    kind: EffectKind::Messaged,
                    session: continuation.id.clone(),
                    run: None,
                });
            self.agents.push(continuation);
            answer
        };
        answer.latency = latency;
        Ok(answer)
    }

    fn stop(&mut self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let now = context.now;
        let agent = self.find_mut(id, context.caller)?;
        let ended = || Refusal::conflict("agent_not_active", "Agent is not active");
        if !agent.conversation.is_active(now) {
            return Err(ended());
        }
        match agent.conversation.current(now).timeline.script.cancel() {
            CancelBehaviour::Accepted => {
                agent.conversation.interrupt(now, Ending::Cancelled);
                Ok(changed(id))
            }
            CancelBehaviour::Ignored => Ok(Answer::ok(json!({ "id": id }))),
            CancelBehaviour::Fails => Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Failed to stop agent",
            )),
            CancelBehaviour::Unsupported => Err(Refusal::conflict(
                "agent_not_stoppable",
                "Agent cannot be stopped",
            )),
            CancelBehaviour::TooLate => {
                agent.conversation.interrupt(now, Ending::Finished);
                Err(ended())
            }
        }
    }

    fn delete(&mut self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find_mut(id, context.caller)?;
        agent.deleted = true;
        agent.conversation.interrupt(context.now, Ending::Cancelled);
        Ok(changed(id))
    }

    fn conversation(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller)?;
        let messages: Vec<Value> = agent
            .conversation(context.now, self.options.conversation)
            .into_iter()
            .map(|message| json!({"id": message.id, "type": message.kind, "text": message.text}))
            .collect();
        Ok(Answer::ok(json!({"id": id, "messages": messages})))
    }

    fn recording(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller)?;
        if agent.conversation.is_active(context.now) || !agent.mode.records_screen() {
            return Err(Refusal::not_found(
                "recording_not_found",
                "Recording not found",
            ));
        }
        Ok(Answer::redirect(format!(
            "{}/{FILE_STORE}/{id}/recording.mp4",
            self.url
        )))
    }

    fn trace(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let agent = self.find(id, context.caller)?;
        if agent.conversation.is_active(context.now) || !context.caller.enterprise {
            return Err(Refusal::not_found("trace_not_found", "Trace not found"));
        }
        Ok(Answer::redirect(format!(
            "{}/{FILE_STORE}/{id}/trace.json",
            self.url
        )))
    }

    /// The content stands for a video or trace: it names what it belongs to.
    fn file(&self, call: &Call) -> Result<Answer, Refusal> {
        let segments = call.segments();
        let id = segments.get(1).copied().unwrap_or("");
        if !self.agents.iter().any(|agent| agent.id == id) {
            return Err(Refusal::not_found("file_not_found", "File not found"));
        }
        Ok(match segments.get(2).copied() {
            Some("recording.mp4") => Answer::file("video/mp4", format!("recording of {id}")),
            Some("trace.json") => {
                Answer::file("application/json", json!({"agent": id}).to_string())
            }
            _ => return Err(Refusal::not_found("file_not_found", "File not found")),
        })
    }
}

impl ProviderApi for Firebender {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        let current = self.options.document == FirebenderDocument::Y2026;
        let operations: &[(Method, Operation)] = match segments {
            ["v0", "agents"] => &[
                (Method::POST, Operation::FirebenderCreateAgent),
                (Method::GET, Operation::FirebenderListAgents),
            ],
            ["v0", "agents", _] => &[
                (Method::GET, Operation::FirebenderGetAgent),
                (Method::DELETE, Operation::FirebenderDeleteAgent),
            ],
            ["v0", "agents", _, "followup"] => &[(Method::POST, Operation::FirebenderFollowUp)],
            ["v0", "agents", _, "stop"] => &[(Method::POST, Operation::FirebenderStopAgent)],
            ["v0", "agents", _, "conversation"] => {
                &[(Method::GET, Operation::FirebenderGetConversation)]
            }
            ["v0", "models"] => &[(Method::GET, Operation::FirebenderListModels)],
            ["v1", "recordings", _] if current => {
                &[(Method::GET, Operation::FirebenderGetRecording)]
            }
            ["v1", "traces", _] if current => &[(Method::GET, Operation::FirebenderGetTrace)],
            [FILE_STORE, _, _] if current => &[(Method::GET, Operation::FirebenderFetchFile)],
            _ => &[],
        };
        Route::among(operations, method)
    }

    fn presented_key(&self, call: &Call) -> Option<String> {
        call.header("x-api-key").map(str::to_owned)
    }

    fn public_answer(
        &self,
        operation: Operation,
        call: &Call,
        _now: Moment,
    ) -> Option<Result<Answer, Refusal>> {
        (operation == Operation::FirebenderFetchFile).then(|| self.file(call))
    }

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let segments = call.segments();
        let id = segments.get(2).copied().unwrap_or("");
        match operation {
            Operation::FirebenderCreateAgent => self.create_agent(call, context),
            Operation::FirebenderListAgents => self.list_agents(call, context),
            Operation::FirebenderGetAgent => {
                let agent = self.find(id, context.caller)?;
                let at = (context.now, context.clock);
                Ok(Answer::ok(self.object(
                    agent,
                    Detail::Single,
                    context.caller,
                    at,
                )))
            }
            Operation::FirebenderDeleteAgent => self.delete(id, context),
            Operation::FirebenderFollowUp => self.follow_up(id, call, context),
            Operation::FirebenderStopAgent => self.stop(id, context),
            Operation::FirebenderGetConversation => self.conversation(id, context),
            Operation::FirebenderListModels => Ok(Answer::ok(json!({ "models": MODELS }))),
            Operation::FirebenderGetRecording => self.recording(id, context),
            Operation::FirebenderGetTrace => self.trace(id, context),
            _ => Err(Refusal::not_found("not_found", "No such path")),
        }
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        self.agents
            .iter()
            .map(|agent| SessionView {
                provider: Provider::Firebender,
                id: agent.id.clone(),
                account: agent.account.clone(),
                status: agent.status(now).to_owned(),
                active: agent.conversation.is_active(now),
                archived: false,
                deleted: agent.deleted,
                repository: Some(agent.repository.clone()),
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
            let object = json!({
                "source": {"repository": agent.repository, "ref": agent.git_ref},
                "target": {"branchName": agent.branch, "prUrl": agent.pull_request(now)},
                "summary": agent.conversation.summary(now),
            });
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
        match self.agents.iter_mut().find(|agent| agent.id == session) {
            Some(agent) => {
                agent.conversation.rescript(now, script);
                true
            }
            None => false,
        }
    }
}

fn not_found() -> Refusal {
    Refusal::not_found("agent_not_found", "Agent not found")
}

fn changed(id: &str) -> Answer {
    Answer::ok(json!({ "id": id })).with_effect(Effect {
        kind: EffectKind::Changed,
        session: id.to_owned(),
        run: None,
    })
}
