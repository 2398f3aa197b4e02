//! Firetiger coding agents: sessions on issues, passed on to the provider behind each agent.
//!
//! Source: the provider's documentation, which names few members. Assumed here: JSON members as the provider's other services write them (camel case;
//! a switch for snake case), errors as Connect writes them, `GET /v1/issues/{id}` with `links` as an array of URLs, the id in a session's path equal to
//! its external id, `order_by` by name alone, pages of 50 and at most 100. A launch on an issue that has sessions already is accepted. A key's secret is
//! `USER:PASSWORD`. Every agent type is enabled, and the Connect form of the paths is not served.
//!
//! The prompt is the issue: a script's `prompt_contains` is compared with its name, e.g. `issues/FT-42`.

mod session;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::session::{Birth, Launch, Session};
use crate::clock::{Clock, Moment};
use crate::http::{Answer, Call, Code, Effect, EffectKind, Reason, Refusal};
use crate::members::insert;
use crate::operation::{Operation, Provider, Route};
use crate::options::{CodingAgentType, ConnectionType, FiretigerOptions, IssueLinks, MemberNames};
use crate::page::Query;
use crate::provider::{Context, ProviderApi};
use crate::record::{PromptView, SessionView};
use crate::script::Script;

const DEFAULT_PAGE_SIZE: usize = 50;
const MAX_PAGE_SIZE: usize = 100;

pub(crate) struct Firetiger {
    options: FiretigerOptions,
    /// Oldest first. Kept on behalf of the providers behind the agents: Firetiger itself keeps none.
    sessions: Vec<Session>,
    /// Links that people have added, with the issues.
    links: Vec<(String, String)>,
}

impl Firetiger {
    pub(crate) fn new(options: FiretigerOptions) -> Self {
        Self {
            options,
            sessions: Vec::new(),
            links: Vec::new(),
        }
    }

    /// A body in the names that the switch asks for.
    fn body(&self, body: Value) -> Answer {
        Answer::ok(match self.options.member_names {
            MemberNames::Camel => body,
            MemberNames::Snake => in_snake_case(body),
        })
    }

    fn coding_agent(&self, id: &str) -> Result<CodingAgentType, Refusal> {
        let connection = self
            .options
            .connections
            .iter()
            .find(|connection| connection.id == id)
            .ok_or_else(|| not_found(format!("coding agent {id} not found")))?;
        match connection.kind {
            ConnectionType::CodingAgent(kind) => Ok(kind),
            ConnectionType::Http => Err(not_found(format!(
                "connection {id} is not a coding-agent type"
            ))),
        }
    }

    fn list_coding_agents(&self, call: &Call) -> Result<Answer, Refusal> {
        let query = Query::lenient(call);
        if query.given("filter").is_some() {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "unimplemented",
                "filter is reserved for future use",
            ));
        }
        let mut agents: Vec<(&str, CodingAgentType)> = self
            .options
            .connections
            .iter()
            .filter_map(|connection| match connection.kind {
                ConnectionType::CodingAgent(kind) => Some((connection.id.as_str(), kind)),
                ConnectionType::Http => None,
            })
            .collect();
        agents.sort_by_key(|(id, _)| *id);
        match query.given("order_by") {
            None | Some("name" | "name asc") => {}
            Some("name desc") => agents.reverse(),
            Some(other) => {
                return Err(Refusal::validation(format!(
                    "order_by: cannot order by {other:?}"
                )));
            }
        }
        let size = match query.number("page_size", 0..=usize::MAX)? {
            None | Some(0) => DEFAULT_PAGE_SIZE,
            Some(size) => size.min(MAX_PAGE_SIZE),
        };
        let start = match query.given("page_token") {
            None => 0,
            Some(token) => {
                let last = read_token(token);
                agents
                    .iter()
                    .position(|(id, _)| last.as_deref() == Some(id))
                    .map(|position| position + 1)
                    .ok_or_else(|| Refusal::validation("page_token: invalid"))?
            }
        };
        let end = agents.len().min(start.saturating_add(size));
        let page = agents.get(start..end).unwrap_or_default();
        let items: Vec<Value> = page
            .iter()
            .map(|(id, kind)| coding_agent(id, *kind))
            .collect();
        let mut body = json!({ "codingAgents": items });
        // A default value is left out, as Connect does.
        if agents.len() > end
            && let Some((last, _)) = page.last()
        {
            let token = URL_SAFE_NO_PAD.encode(last);
            insert(&mut body, "nextPageToken", json!(token));
        }
        Ok(self.body(body))
    }

    fn check_issue(&self, name: &str) -> Result<(), Refusal> {
        let id = name
            .strip_prefix("issues/")
            .filter(|id| !id.is_empty() && !id.contains('/'))
            .ok_or_else(|| Refusal::validation("issue: must look like issues/{issue_id}"))?;
        if self.options.issues.iter().any(|issue| issue == id) {
            Ok(())
        } else {
            Err(not_found(format!("{name} not found")))
        }
    }

    fn launch(
        &mut self,
        agent: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context {
            now,
            scripts,
            caller,
            ..
        } = context;
        let kind = self.coding_agent(agent)?;
        let request = Launch::parse(&call.json_body()?)?;
        self.check_issue(&request.issue)?;
        let script = scripts.script_for(Provider::Firetiger, &request.issue, Script::default());
        let latency = script.latency();
        let linked_from = match self.options.issue_links {
            IssueLinks::Appended => now.plus(call.tampering.lag),
            IssueLinks::Lost => Moment::NEVER,
        };
        let birth = Birth {
            agent: agent.to_owned(),
            kind,
            account: caller.account.clone(),
            now,
            linked_from,
            script,
        };
        let session = Session::launch(request, birth);
        let mut answer = self.body(session.object(now)).with_effect(Effect {
            kind: EffectKind::Launched,
            session: session.id.clone(),
            run: None,
        });
        answer.latency = latency;
        self.sessions.push(session);
        Ok(answer)
    }

    fn get_session(&self, agent: &str, id: &str, context: &Context<'_>) -> Result<Answer, Refusal> {
        self.coding_agent(agent)?;
        let session = self
            .sessions
            .iter()
            .find(|session| {
                session.id == id
                    && session.agent == agent
                    && session.account == context.caller.account
            })
            .ok_or_else(|| not_found(format!("session {id} not found")))?;
        Ok(self.body(session.object(context.now)))
    }

    fn get_issue(&self, id: &str, context: &Context<'_>) -> Result<Answer, Refusal> {
        let name = format!("issues/{id}");
        self.check_issue(&name)?;
        let links: Vec<String> = self
            .sessions
            .iter()
            .filter(|session| session.issue == name && session.account == context.caller.account)
            .filter(|session| session.linked_from <= context.now)
            .map(Session::url)
            .chain(
                self.links
                    .iter()
                    .filter(|(issue, _)| *issue == name)
                    .map(|(_, url)| url.clone()),
            )
            .collect();
        Ok(self.body(json!({
            "name": name,
            "displayName": format!("Issue {id}"),
            "links": links,
        })))
    }
}

impl ProviderApi for Firetiger {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        let operations: &[(Method, Operation)] = match segments {
            ["v1", "codingAgents"] => &[(Method::GET, Operation::FiretigerListCodingAgents)],
            ["v1", "coding-agents", _] => &[(Method::GET, Operation::FiretigerGetCodingAgent)],
            ["v1", "coding-agents", _, "sessions:launch"] => {
                &[(Method::POST, Operation::FiretigerLaunchSession)]
            }
            ["v1", "coding-agents", _, "sessions", _] => {
                &[(Method::GET, Operation::FiretigerGetSession)]
            }
            ["v1", "issues", _] => &[(Method::GET, Operation::FiretigerGetIssue)],
            _ => &[],
        };
        Route::among(operations, method)
    }

    fn session_in_path<'a>(&self, segments: &[&'a str]) -> Option<&'a str> {
        match segments {
            ["v1", "coding-agents", _, "sessions", id] => Some(id),
            _ => None,
        }
    }

    fn refusal(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let code = match &refusal.code {
            Code::Common(reason) => match reason {
                Reason::Unauthorized => "unauthenticated",
                Reason::NoSuchPath => "not_found",
                Reason::MethodNotAllowed => "unimplemented",
                Reason::TooManyRequests | Reason::TooLarge => "resource_exhausted",
                Reason::MissingBody | Reason::Invalid => "invalid_argument",
            },
            Code::Own(word) => word,
        };
        (
            refusal.status,
            json!({"code": code, "message": refusal.message}),
        )
    }

    fn presented_key(&self, call: &Call) -> Option<String> {
        call.basic_credentials()
    }

    fn answer(
        &mut self,
        operation: Operation,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let segments = call.segments();
        let id = segments.get(2).copied().unwrap_or("");
        let session = segments.get(4).copied().unwrap_or("");
        match operation {
            Operation::FiretigerListCodingAgents => self.list_coding_agents(call),
            Operation::FiretigerGetCodingAgent => {
                let kind = self.coding_agent(id)?;
                Ok(self.body(coding_agent(id, kind)))
            }
            Operation::FiretigerLaunchSession => self.launch(id, call, context),
            Operation::FiretigerGetSession => self.get_session(id, session, &context),
            Operation::FiretigerGetIssue => self.get_issue(id, &context),
            _ => Err(Refusal::no_such_path(&call.path)),
        }
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        self.sessions
            .iter()
            .map(|session| SessionView {
                provider: Provider::Firetiger,
                id: session.id.clone(),
                account: session.account.clone(),
                status: session.status(now).to_owned(),
                active: session.timeline.ended(now).is_none(),
                archived: false,
                deleted: false,
                repository: None,
                pull_request: None,
                on_behalf_of: session.actor.clone(),
                created_at: clock.timestamp(session.timeline.begun),
                webhook: None,
                prompts: vec![PromptView::new(
                    None,
                    session.issue.clone(),
                    session.status(now).to_owned(),
                    &session.timeline,
                    (now, clock),
                )],
            })
            .collect()
    }

    fn link_issue(&mut self, issue: &str, url: &str) -> bool {
        let known = self.check_issue(issue).is_ok();
        if known {
            self.links.push((issue.to_owned(), url.to_owned()));
        }
        known
    }

    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool {
        match self.sessions.iter_mut().find(|found| found.id == session) {
            Some(session) => {
                session.timeline.rescript(now, script);
                true
            }
            None => false,
        }
    }
}

fn coding_agent(id: &str, kind: CodingAgentType) -> Value {
    json!({
        "name": format!("coding-agents/{id}"),
        "displayName": id,
        "connectionType": match kind {
            CodingAgentType::Cursor => "CONNECTION_TYPE_CURSOR",
            CodingAgentType::Inspect => "CONNECTION_TYPE_INSPECT",
        },
    })
}

fn read_token(token: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()
}

fn in_snake_case(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, member)| (snake_case(&name), in_snake_case(member)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(in_snake_case).collect()),
        other => other,
    }
}

fn snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut snake, character| {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
        snake
    })
}

fn not_found(message: String) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}
