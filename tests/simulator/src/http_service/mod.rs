//! A service that somebody reaches with a mapping of their own: two APIs that differ in all that mappings are about.
//!
//! *Sessions* are like the third version of Devin's API, by its published client and reference: an id of the service's, a status with a detail,
//! lists with `end_cursor` and `has_next_page`, messages by `source`. Decided here: error bodies (Cursor's), a 409 for terminating what has ended, page size 100.
//!
//! *Runs* have an id of the client's: the same id twice is one run. There is no list of them.

mod session;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use self::session::{Api, Birth, Session};
use crate::clock::{Clock, Moment};
use crate::fields::Fields;
use crate::http::{Answer, Call, Effect, EffectKind, Refusal};
use crate::keys::Key;
use crate::operation::{Operation, Provider, Route};
use crate::options::ConversationStart;
use crate::page::Query;
use crate::provider::{Context, ProviderApi};
use crate::record::{PromptView, SessionView};
use crate::script::{CancelBehaviour, Script};
use crate::timeline::Ending;

const LARGEST_PAGE: usize = 100;

#[derive(Default)]
pub(crate) struct HttpService {
    /// Oldest first.
    sessions: Vec<Session>,
}

fn not_found() -> Refusal {
    Refusal::not_found("not_found", "Not found")
}

impl HttpService {
    fn find(&self, api: Api, id: &str, caller: &Key) -> Result<&Session, Refusal> {
        let mut sessions = self.sessions.iter();
        let theirs = |session: &&Session| {
            session.api == api && session.id == id && session.account == caller.account
        };
        sessions.find(theirs).ok_or_else(not_found)
    }

    fn find_mut(&mut self, api: Api, id: &str, caller: &Key) -> Result<&mut Session, Refusal> {
        let mut sessions = self.sessions.iter_mut();
        let theirs = |session: &&mut Session| {
            session.api == api && session.id == id && session.account == caller.account
        };
        sessions.find(theirs).ok_or_else(not_found)
    }

    fn shown(session: &Session, (now, clock): (Moment, &Clock)) -> Value {
        let seconds = clock.timestamp(session.created).as_second();
        match session.api {
            Api::Sessions => {
                let (status, detail) = session.status(now);
                let pull_requests = session.pull_request(now).into_iter();
                json!({
                    "session_id": session.id,
                    "url": format!("https://app.devin.ai/sessions/{}", session.id),
                    "org_id": "org-1",
                    "status": status,
                    "status_detail": detail,
                    "title": session.title,
                    "tags": session.tags,
                    "pull_requests": pull_requests
                        .map(|url| json!({"pr_url": url, "pr_state": "open"}))
                        .collect::<Vec<_>>(),
                    "acus_consumed": 1.25,
                    "created_at": seconds,
                    "updated_at": seconds,
                    "is_archived": session.archived,
                    "structured_output": session.conversation.summary(now).map(|text| json!({"summary": text})),
                })
            }
            Api::Runs => json!({"run": {
                "id": session.id,
                "status": session.state(now),
                "startedAt": clock.iso(session.created),
                "summary": session.conversation.summary(now),
                "pullRequest": session.pull_request(now),
            }}),
        }
    }

    fn birth(&self, api: Api, call: &Call, caller: &Key, now: Moment) -> Birth {
        Birth {
            id: None,
            api,
            account: caller.account.clone(),
            now,
            lag: call.tampering.lag,
            pull_request_number: self.sessions.len() as u64 + 1,
            prompt: String::new(),
            script: Script::default(),
        }
    }

    /// Begins a session or a run.
    fn begin(
        &mut self,
        birth: Birth,
        body: &Fields<'_>,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context {
            now,
            clock,
            scripts,
            ..
        } = context;
        let prompt = body.required_string("prompt")?.to_owned();
        let directive =
            Script::from_prompt(&prompt).map_err(|error| Refusal::validation(error.explain()))?;
        let script = scripts.script_for(Provider::Http, &prompt, directive);
        let latency = script.latency();
        let mut session = Session::new(Birth {
            prompt,
            script,
            ..birth
        });
        session.title = body.nullable_string("title")?.map(str::to_owned);
        session.repository = body.nullable_string("repository")?.map(str::to_owned);
        if let Some(repositories) = body.list_of_strings("repos")? {
            session.repository = repositories.first().cloned();
        }
        session.opens_pull_request = body.boolean("open_pull_request")?.unwrap_or(false);
        session.tags = body.list_of_strings("tags")?.unwrap_or_default();
        let shown = Self::shown(&session, (now, clock));
        let mut answer = Answer::json(StatusCode::CREATED, shown).with_effect(Effect {
            kind: EffectKind::Launched,
            session: session.id.clone(),
            run: None,
        });
        answer.latency = latency;
        self.sessions.push(session);
        Ok(answer)
    }

    fn create_session(&mut self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let body = call.json_body()?;
        let birth = self.birth(Api::Sessions, call, context.caller, context.now);
        self.begin(birth, &Fields::root(&body), context)
    }

    fn create_run(&mut self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let body = call.json_body()?;
        let id = Fields::root(&body).required_string("id")?.to_owned();
        if let Ok(there) = self.find(Api::Runs, &id, context.caller) {
            return Ok(Answer::ok(Self::shown(there, (context.now, context.clock))));
        }
        let birth = Birth {
            id: (!call.tampering.ignore_agent_id).then_some(id),
            ..self.birth(Api::Runs, call, context.caller, context.now)
        };
        self.begin(birth, &Fields::root(&body), context)
    }

    fn list(&self, call: &Call, context: Context<'_>) -> Result<Answer, Refusal> {
        let Context {
            now, clock, caller, ..
        } = context;
        let query = Query::lenient(call);
        let tag = query.given("tags");
        let sessions: Vec<&Session> = self
            .sessions
            .iter()
            .rev()
            .filter(|session| session.api == Api::Sessions && session.account == caller.account)
            .filter(|session| session.listed_from <= now)
            .filter(|session| tag.is_none_or(|tag| session.tags.iter().any(|own| own == tag)))
            .collect();
        let total = sessions.len();
        let page = query.page_of("first", "after", LARGEST_PAGE)?;
        let (sessions, next) = page.of(sessions, |session| &session.id)?;
        let items: Vec<Value> = sessions
            .iter()
            .map(|session| Self::shown(session, (now, clock)))
            .collect();
        let last = sessions.last().map(|session| session.id.clone());
        Ok(Answer::ok(json!({
            "items": items, "end_cursor": last, "has_next_page": next.is_some(), "total": total,
        })))
    }

    fn send_message(
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
        let session = self.find_mut(Api::Sessions, id, caller)?;
        let body = call.json_body()?;
        let text = Fields::root(&body).required_string("message")?.to_owned();
        let directive =
            Script::from_prompt(&text).map_err(|error| Refusal::validation(error.explain()))?;
        let script = scripts.script_for(Provider::Http, &text, directive);
        let latency = script.latency();
        session.message(text, now, script);
        let shown = Self::shown(session, (now, clock));
        let mut answer = Answer::ok(shown).with_effect(Effect {
            kind: EffectKind::Messaged,
            session: id.to_owned(),
            run: None,
        });
        answer.latency = latency;
        Ok(answer)
    }

    fn messages(&self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let now = context.now;
        let session = self.find(Api::Sessions, id, context.caller)?;
        let messages = match session.listed_from > now {
            true => Vec::new(),
            false => session
                .conversation
                .messages(now, ConversationStart::WithLaunch),
        };
        let items: Vec<Value> = messages
            .into_iter()
            .map(|message| {
                let source = match message.kind {
                    "user_message" => "user",
                    _ => "devin",
                };
                json!({"event_id": message.id, "source": source, "message": message.text})
            })
            .collect();
        Ok(Answer::ok(json!({"items": items, "has_next_page": false})))
    }

    fn stop(&mut self, api: Api, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let (now, clock) = (context.now, context.clock);
        let session = self.find_mut(api, id, context.caller)?;
        let ended = || Refusal::conflict("not_active", "It has ended already");
        if !session.conversation.is_active(now) {
            return Err(ended());
        }
        match session.conversation.current(now).timeline.script.cancel() {
            CancelBehaviour::Accepted => session.conversation.interrupt(now, Ending::Cancelled),
            CancelBehaviour::Ignored => {}
            CancelBehaviour::Fails => {
                return Err(Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal_error",
                    "Failed to stop",
                ));
            }
            CancelBehaviour::Unsupported => {
                return Err(Refusal::conflict("not_stoppable", "It cannot be stopped"));
            }
            CancelBehaviour::TooLate => {
                session.conversation.interrupt(now, Ending::Finished);
                return Err(ended());
            }
        }
        let shown = Self::shown(session, (now, clock));
        Ok(changed(shown, id))
    }

    fn archive(&mut self, id: &str, context: Context<'_>) -> Result<Answer, Refusal> {
        let (now, clock) = (context.now, context.clock);
        let session = self.find_mut(Api::Sessions, id, context.caller)?;
        if session.conversation.is_active(now) {
            return Err(Refusal::conflict("active", "It still works"));
        }
        session.archived = true;
        let shown = Self::shown(session, (now, clock));
        Ok(changed(shown, id))
    }
}

fn changed(body: Value, id: &str) -> Answer {
    Answer::ok(body).with_effect(Effect {
        kind: EffectKind::Changed,
        session: id.to_owned(),
        run: None,
    })
}

impl ProviderApi for HttpService {
    fn route(&self, method: &Method, segments: &[&str]) -> Route {
        let operations: &[(Method, Operation)] = match segments {
            ["v3", "organizations", "org-1", rest @ ..] => match rest {
                ["sessions"] => &[
                    (Method::POST, Operation::HttpCreateSession),
                    (Method::GET, Operation::HttpListSessions),
                ],
                ["sessions", _] => &[
                    (Method::GET, Operation::HttpGetSession),
                    (Method::DELETE, Operation::HttpTerminateSession),
                ],
                ["sessions", _, "archive"] => &[(Method::POST, Operation::HttpArchiveSession)],
                ["sessions", _, "messages"] => &[
                    (Method::POST, Operation::HttpSendMessage),
                    (Method::GET, Operation::HttpListMessages),
                ],
                _ => &[],
            },
            ["runs"] => &[(Method::POST, Operation::HttpCreateRun)],
            ["runs", _] => &[(Method::GET, Operation::HttpGetRun)],
            ["runs", _, "cancel"] => &[(Method::POST, Operation::HttpCancelRun)],
            ["me"] => &[(Method::GET, Operation::HttpWhoAmI)],
            _ => &[],
        };
        Route::among(operations, method)
    }

    fn session_in_path<'a>(&self, segments: &[&'a str]) -> Option<&'a str> {
        match segments {
            ["v3", "organizations", _, "sessions", id, ..] | ["runs", id, ..] => Some(id),
            _ => None,
        }
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
        let id = self.session_in_path(&segments).unwrap_or("");
        let at = (context.now, context.clock);
        match operation {
            Operation::HttpCreateSession => self.create_session(call, context),
            Operation::HttpListSessions => self.list(call, context),
            Operation::HttpGetSession => {
                let session = self.find(Api::Sessions, id, context.caller)?;
                Ok(Answer::ok(Self::shown(session, at)))
            }
            Operation::HttpTerminateSession => self.stop(Api::Sessions, id, context),
            Operation::HttpArchiveSession => self.archive(id, context),
            Operation::HttpSendMessage => self.send_message(id, call, context),
            Operation::HttpListMessages => self.messages(id, context),
            Operation::HttpCreateRun => self.create_run(call, context),
            Operation::HttpGetRun => {
                let run = self.find(Api::Runs, id, context.caller)?;
                Ok(Answer::ok(Self::shown(run, at)))
            }
            Operation::HttpCancelRun => self.stop(Api::Runs, id, context),
            Operation::HttpWhoAmI => Ok(Answer::ok(json!({"name": context.caller.name}))),
            _ => Err(not_found()),
        }
    }

    fn sessions(&self, now: Moment, clock: &Clock) -> Vec<SessionView> {
        let view = |session: &Session| SessionView {
            provider: Provider::Http,
            id: session.id.clone(),
            account: session.account.clone(),
            status: session.shown_status(now),
            active: session.conversation.is_active(now),
            archived: session.archived,
            deleted: false,
            repository: session.repository.clone(),
            pull_request: session.pull_request(now),
            on_behalf_of: None,
            created_at: clock.timestamp(session.created),
            webhook: None,
            prompts: session
                .conversation
                .iter()
                .map(|turn| {
                    let status = format!("{:?}", turn.timeline.stage(now));
                    let text = turn.prompt.clone();
                    PromptView::new(None, text, status, &turn.timeline, (now, clock))
                })
                .collect(),
        };
        self.sessions.iter().map(view).collect()
    }

    fn rescript(&mut self, session: &str, script: Script, now: Moment) -> bool {
        match self.sessions.iter_mut().find(|known| known.id == session) {
            Some(known) => {
                known.conversation.rescript(now, script);
                true
            }
            None => false,
        }
    }
}
