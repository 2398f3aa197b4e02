//! Flapjack code agents: templates, and sessions made from them that run at Cursor.
//!
//! Source: the provider's documentation. Not documented and decided here: 422 `VALIDATION_ERROR` for fields and queries, 400 `BAD_REQUEST` for a body
//! that is missing; an organisation that the key is not a member of is 403 `FORBIDDEN`; lists are newest first; `last_seq` is the last event of the
//! answer, or `since` if there is none; a limit above 500 is refused; a message to a working session waits (a switch); a cancel of a session that is
//! pending or has ended is 409 `SESSION_NOT_CANCELLABLE`; a repeated archive is 200; a message to an archived session is 409 `SESSION_ARCHIVED`;
//! deleting a template leaves its sessions alone. Any Cursor key is taken. Webhook URLs are validated; none is called.
//!
//! 502 `cursor_cancel_failed` comes from a script (`cancel=fails`: every time) or, as 502 `archive_failed`, from a fault: `error_before` on
//! `flapjack.cancel_session` or `flapjack.archive_session`.

mod request;
mod session;
mod template;
mod webhook_url;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::request::{
    EventQuery, SendMessage, SessionFilter, StartSession, conflict, webhook_change,
};
use self::session::{Birth, Session, status_of};
use self::template::{Template, TemplateChanges, template_not_found};
use crate::clock::{Clock, Moment};
use crate::http::{Answer, Call, Code, Effect, EffectKind, Reason, Refusal};
use crate::keys::Key;
use crate::operation::{Operation, Provider, Route};
use crate::options::{BusyMessage, FlapjackOptions};
use crate::page::Query;
use crate::provider::{Context, ProviderApi};
use crate::record::{PromptView, SessionView};
use crate::script::{CancelBehaviour, Script};
use crate::timeline::Ending;
use crate::webhook::Webhook;

pub(crate) struct Flapjack {
    options: FlapjackOptions,
    /// Oldest first.
    templates: Vec<Template>,
    /// Oldest first.
    sessions: Vec<Session>,
}

impl Flapjack {
    pub(crate) fn new(options: FlapjackOptions) -> Self {
        Self {
            options,
            templates: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// The organisation that a request is about: the account's own unless it names another.
    fn org(&self, asked: Option<&str>, caller: &Key) -> Result<String, Refusal> {
        let own = own_org(caller);
        match asked {
            None => Ok(own),
            Some(org) if self.is_member(caller, org) => Ok(org.to_owned()),
            Some(_) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "FORBIDDEN",
                "Not a member of this organization",
            )),
        }
    }

    fn is_member(&self, caller: &Key, org: &str) -> bool {
        own_org(caller) == org || self.options.shared_orgs.iter().any(|shared| shared == org)
    }

    fn template_position(&self, id: &str, caller: &Key) -> Result<usize, Refusal> {
        self.templates
            .iter()
            .position(|template| template.id == id && self.is_member(caller, &template.org))
            .ok_or_else(template_not_found)
    }

    fn template(&self, id: &str, caller: &Key) -> Result<&Template, Refusal> {
        let position = self.template_position(id, caller)?;
        self.templates.get(position).ok_or_else(template_not_found)
    }

    fn session_position(&self, id: &str, caller: &Key) -> Result<usize, Refusal> {
        self.sessions
            .iter()
            .position(|session| session.id() == id && self.is_member(caller, &session.org))
            .ok_or_else(session_not_found)
    }

    fn session(&self, id: &str, caller: &Key) -> Result<&Session, Refusal> {
        let position = self.session_position(id, caller)?;
        self.sessions.get(position).ok_or_else(session_not_found)
    }

    fn session_mut(&mut self, id: &str, caller: &Key) -> Result<&mut Session, Refusal> {
        let position = self.session_position(id, caller)?;
        self.sessions
            .get_mut(position)
            .ok_or_else(session_not_found)
    }

    fn list_templates(&self, call: &Call, context: &Context<'_>) -> Result<Answer, Refusal> {
        let query = Query::lenient(call);
        let org = self.org(query.string("orgId")?, context.caller)?;
        let templates: Vec<Value> = self
            .templates
            .iter()
            .rev()
            .filter(|template| template.org == org)
            .map(|template| template.object(context.clock))
            .collect();
        Ok(Answer::ok(json!(templates)))
    }

    fn create_template(&mut self, call: &Call, context: &Context<'_>) -> Result<Answer, Refusal> {
        let changes = TemplateChanges::parse(&call.json_body()?)?;
        let org = self.org(changes.org.as_deref(), context.caller)?;
        let creator = stable_uuid("user", &context.caller.account);
        let mut template = Template::new(Uuid::new_v4().to_string(), org, creator, context.now);
        template.change(changes, context.now);
        let object = template.object(context.clock);
        self.templates.push(template);
        Ok(Answer::json(StatusCode::CREATED, object))
    }

    fn update_template(
        &mut self,
        id: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Answer, Refusal> {
        let position = self.template_position(id, context.caller)?;
        let changes = TemplateChanges::parse(&call.json_body()?)?;
        let template = self
            .templates
            .get_mut(position)
            .ok_or_else(template_not_found)?;
        template.change(changes, context.now);
        Ok(Answer::ok(template.object(context.clock)))
    }

    fn delete_template(&mut self, id: &str, context: &Context<'_>) -> Result<Answer, Refusal> {
        let position = self.template_position(id, context.caller)?;
        self.templates.remove(position);
        Ok(Answer::ok(json!({"ok": true})))
    }

    fn list_sessions(&self, call: &Call, context: &Context<'_>) -> Result<Answer, Refusal> {
        let query = Query::lenient(call);
        let org = self.org(query.string("orgId")?, context.caller)?;
        let filter = SessionFilter::parse(&query)?;
        let now = context.now;
        let sessions: Vec<Value> = self
            .sessions
            .iter()
            .rev()
            .filter(|session| session.org == org && session.listed_from <= now)
            .filter(|session| {
                filter
                    .template
                    .as_ref()
                    .is_none_or(|only| *only == session.template)
                    && filter
                        .status
                        .as_ref()
                        .is_none_or(|only| only == session.status(now))
                    && filter.archived.is_none_or(|only| only == session.archived)
            })
            .map(|session| session.listed(now, context.clock))
            .collect();
        Ok(Answer::ok(json!(sessions)))
    }

    fn start_session(&mut self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let Context {
            now,
            scripts,
            caller,
            ..
        } = context;
        let request = StartSession::parse(&call.json_body()?)?;
        let asked_org = match &request.org {
            Some(org) => Some(self.org(Some(org), caller)?),
            None => None,
        };
        let template = self
            .template(&request.template, caller)
            .ok()
            .filter(|template| asked_org.as_ref().is_none_or(|org| *org == template.org))
            .ok_or_else(template_not_found)?;
        let repository = request
            .repository
            .clone()
            .or_else(|| template.repository.clone())
            .ok_or_else(|| Refusal::validation("repoUrl: Required, the template has no default"))?;
        let directive = request.directive.clone();
        let script = scripts.script_for(Provider::Flapjack, &request.prompt, directive);
        let latency = script.latency();
        let birth = Birth {
            account: caller.account.clone(),
            now,
            listed_from: now.plus(call.tampering.lag),
            pull_request_number: self.sessions.len() as u64 + 1,
            script,
        };
        let session = Session::start(request, template, repository, birth);
        let message = session.conversation.first().id.clone();
        let body = json!({"session_id": session.id(), "message_id": message});
        let mut answer = Answer::json(StatusCode::CREATED, body).with_effect(Effect {
            kind: EffectKind::Launched,
            session: session.id(),
            run: Some(message),
        });
        answer.latency = latency;
        self.sessions.push(session);
        Ok(answer)
    }

    fn update_session(
        &mut self,
        id: &str,
        call: &Call,
        context: &Context<'_>,
    ) -> Result<Answer, Refusal> {
        let session = self.session_mut(id, context.caller)?;
        if let Some(url) = webhook_change(&call.json_body()?)? {
            session.webhook_url = url;
        }
        let object = session.object(context.now, context.clock);
        Ok(changed(id, object))
    }

    fn send_message(
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
        let busy_message = self.options.busy_message;
        let session = self.session_mut(id, caller)?;
        let request = SendMessage::parse(&call.json_body()?)?;
        if session.archived {
            return Err(conflict("SESSION_ARCHIVED", "Session is archived"));
        }
        if busy_message == BusyMessage::Refused && session.conversation.is_active(now) {
            return Err(conflict("SESSION_ACTIVE", "Session is still working"));
        }
        let directive = request.directive.clone();
        let script = scripts.script_for(Provider::Flapjack, &request.prompt, directive);
        let latency = script.latency();
        let message = session.send(request, now, script);
        let body = json!({ "message_id": message });
        let mut answer = Answer::json(StatusCode::CREATED, body).with_effect(Effect {
            kind: EffectKind::Messaged,
            session: id.to_owned(),
            run: Some(message),
        });
        answer.latency = latency;
        Ok(answer)
    }

    fn list_events(&self, id: &str, call: &Call, context: &Context<'_>) -> Result<Answer, Refusal> {
        let session = self.session(id, context.caller)?;
        let query = EventQuery::parse(call)?;
        let mut last = query.since;
        let mut events = Vec::new();
        for event in session
            .events(context.now)
            .iter()
            .filter(|event| event.seq > query.since)
            .filter(|event| {
                let message = query.message.as_ref();
                message.is_none_or(|only| *only == event.message.id)
            })
            .take(query.limit)
        {
            last = event.seq;
            events.push(session.event(event, context.clock));
        }
        Ok(Answer::ok(json!({"events": events, "last_seq": last})))
    }

    fn cancel(&mut self, id: &str, context: &Context<'_>) -> Result<Answer, Refusal> {
        let now = context.now;
        let session = self.session_mut(id, context.caller)?;
        let not_cancellable = || {
            conflict(
                "SESSION_NOT_CANCELLABLE",
                "Only sessions with status creating or running can be cancelled",
            )
        };
        let current = session.conversation.current(now);
        if !matches!(status_of(current, now), "creating" | "running") {
            return Err(not_cancellable());
        }
        match current.timeline.script.cancel() {
            CancelBehaviour::Accepted => {
                session.conversation.interrupt(now, Ending::Cancelled);
                Ok(changed(id, json!({"ok": true, "status": "cancelled"})))
            }
            CancelBehaviour::Ignored => Ok(Answer::ok(json!({"ok": true, "status": "cancelled"}))),
            CancelBehaviour::Fails => Err(Refusal::new(
                StatusCode::BAD_GATEWAY,
                "cursor_cancel_failed",
                "Upstream Cursor cancel failed; retry",
            )),
            CancelBehaviour::Unsupported => Err(conflict(
                "CANCEL_UNSUPPORTED",
                "The Cursor run does not support cancellation; wait for natural completion",
            )),
            CancelBehaviour::TooLate => {
                session.conversation.interrupt(now, Ending::Finished);
                Err(not_cancellable())
            }
        }
    }

    fn archive(&mut self, id: &str, context: &Context<'_>) -> Result<Answer, Refusal> {
        let session = self.session_mut(id, context.caller)?;
        if session.conversation.is_active(context.now) {
            return Err(conflict("SESSION_ACTIVE", "Cancel the session first"));
        }
        session.archived = true;
        Ok(changed(id, json!({"ok": true, "archived": true})))
    }
}

impl ProviderApi for Flapjack {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        let operations: &[(Method, Operation)] = match segments {
            ["api", "code-agents"] => &[
                (Method::GET, Operation::FlapjackListTemplates),
                (Method::POST, Operation::FlapjackCreateTemplate),
            ],
            ["api", "code-agents", _] => &[
                (Method::GET, Operation::FlapjackGetTemplate),
                (Method::PATCH, Operation::FlapjackUpdateTemplate),
                (Method::DELETE, Operation::FlapjackDeleteTemplate),
            ],
            ["api", "code-sessions"] => &[
                (Method::GET, Operation::FlapjackListSessions),
                (Method::POST, Operation::FlapjackStartSession),
            ],
            ["api", "code-sessions", _] => &[
                (Method::GET, Operation::FlapjackGetSession),
                (Method::PATCH, Operation::FlapjackUpdateSession),
            ],
            ["api", "code-sessions", _, "messages"] => {
                &[(Method::POST, Operation::FlapjackSendMessage)]
            }
            ["api", "code-sessions", _, "events"] => {
                &[(Method::GET, Operation::FlapjackListEvents)]
            }
            ["api", "code-sessions", _, "cancel"] => {
                &[(Method::POST, Operation::FlapjackCancelSession)]
            }
            ["api", "code-sessions", _, "archive"] => {
                &[(Method::POST, Operation::FlapjackArchiveSession)]
            }
            _ => &[],
        };
        Route::among(operations, method)
    }

    fn session_in_path<'a>(&self, segments: &[&'a str]) -> Option<&'a str> {
        match segments {
            ["api", "code-sessions", id, ..] => Some(id),
            _ => None,
        }
    }

    fn refusal(&self, refusal: &Refusal) -> (StatusCode, Value) {
        let (status, code) = match &refusal.code {
            Code::Common(reason) => match reason {
                Reason::Unauthorized => (refusal.status, "UNAUTHORIZED"),
                Reason::NoSuchPath => (refusal.status, "NOT_FOUND"),
                Reason::MethodNotAllowed => (refusal.status, "METHOD_NOT_ALLOWED"),
                Reason::TooManyRequests => (refusal.status, "RATE_LIMITED"),
                Reason::TooLarge => (refusal.status, "PAYLOAD_TOO_LARGE"),
                Reason::MissingBody => (refusal.status, "BAD_REQUEST"),
                Reason::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR"),
            },
            Code::Own(word) => (refusal.status, &**word),
        };
        (status, json!({"error": code, "detail": refusal.message}))
    }

    fn presented_key(&self, call: &Call) -> Option<String> {
        call.bearer_token()
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
            Operation::FlapjackListTemplates => self.list_templates(call, &context),
            Operation::FlapjackCreateTemplate => self.create_template(call, &context),
            Operation::FlapjackGetTemplate => {
                let template = self.template(id, context.caller)?;
                Ok(Answer::ok(template.object(context.clock)))
            }
            Operation::FlapjackUpdateTemplate => self.update_template(id, call, &context),
            Operation::FlapjackDeleteTemplate => self.delete_template(id, &context),
            Operation::FlapjackListSessions => self.list_sessions(call, &context),
            Operation::FlapjackStartSession => self.start_session(call, context),
            Operation::FlapjackGetSession => {
                let session = self.session(id, context.caller)?;
                Ok(Answer::ok(session.full(context.now, context.clock)))
            }
            Operation::FlapjackUpdateSession => self.update_session(id, call, &context),
            Operation::FlapjackSendMessage => self.send_message(id, call, context),
            Operation::FlapjackListEvents => self.list_events(id, call, &context),
            Operation::FlapjackCancelSession => self.cancel(id, &context),
            Operation::FlapjackArchiveSession => self.archive(id, &context),
            _ => Err(Refusal::no_such_path(&call.path)),
        }
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        self.sessions
            .iter()
            .map(|session| SessionView {
                provider: Provider::Flapjack,
                id: session.id(),
                account: session.account.clone(),
                status: session.status(now).to_owned(),
                active: session.conversation.is_active(now),
                archived: session.archived,
                deleted: false,
                repository: Some(session.repository.clone()),
                pull_request: session.pull_request(now),
                on_behalf_of: None,
                created_at: clock.timestamp(session.created),
                webhook: session
                    .webhook_url
                    .clone()
                    .map(|url| Webhook { url, secret: None }),
                prompts: session
                    .conversation
                    .iter()
                    .map(|turn| {
                        let status = status_of(turn, now).to_owned();
                        let (id, text) = (Some(turn.id.clone()), turn.prompt.clone());
                        PromptView::new(id, text, status, &turn.timeline, (now, clock))
                    })
                    .collect(),
            })
            .collect()
    }

    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool {
        match self.sessions.iter_mut().find(|found| found.id() == session) {
            Some(session) => {
                session.conversation.rescript(now, script);
                true
            }
            None => false,
        }
    }
}

/// The organisation that an account has of itself.
fn own_org(caller: &Key) -> String {
    stable_uuid("org", &caller.account)
}

/// A UUID that is the same for the same account.
fn stable_uuid(what: &str, account: &str) -> String {
    let digest = Sha256::digest(format!("{what}/{account}"));
    let mut bytes = [0; 16];
    for (byte, from) in bytes.iter_mut().zip(digest) {
        *byte = from;
    }
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

fn session_not_found() -> Refusal {
    Refusal::not_found("NOT_FOUND", "Code session not found")
}

fn changed(id: &str, body: Value) -> Answer {
    Answer::ok(body).with_effect(Effect {
        kind: EffectKind::Changed,
        session: id.to_owned(),
        run: None,
    })
}
