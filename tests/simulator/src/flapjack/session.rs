//! One session ("code session"), its messages and its events.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::request::{SendMessage, StartSession};
use super::template::Template;
use crate::clock::{Clock, Moment};
use crate::conversation::{AfterFailure, Conversation, Turn};
use crate::members::insert;
use crate::naming::{branch_name, derived_name};
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};

#[derive(Debug)]
pub(super) struct Session {
    id: Uuid,
    pub(super) account: String,
    pub(super) org: String,
    pub(super) template: String,
    pub(super) repository: String,
    pub(super) archived: bool,
    pub(super) webhook_url: Option<String>,
    pub(super) created: Moment,
    /// Missing from lists until then.
    pub(super) listed_from: Moment,
    pub(super) conversation: Conversation,
    starting_ref: String,
    auto_create_pr: bool,
    model: String,
    branch: String,
    pull_request_number: u64,
}

/// A new session's circumstances beyond its request.
pub(super) struct Birth {
    pub(super) account: String,
    pub(super) now: Moment,
    pub(super) listed_from: Moment,
    pub(super) pull_request_number: u64,
    pub(super) script: Script,
}

/// One entry of the timeline.
pub(super) struct Event<'a> {
    pub(super) seq: u64,
    pub(super) message: &'a Turn,
    at: Moment,
    kind: &'static str,
    payload: Value,
}

impl Session {
    pub(super) fn start(
        request: StartSession,
        template: &Template,
        repository: String,
        birth: Birth,
    ) -> Self {
        let id = Uuid::new_v4();
        let starting_ref = request
            .starting_ref
            .unwrap_or_else(|| template.starting_ref.clone());
        let on_current_branch = request
            .work_on_current_branch
            .unwrap_or(template.work_on_current_branch);
        let branch = if on_current_branch {
            starting_ref.clone()
        } else {
            branch_name(&derived_name(&request.prompt), &id.to_string())
        };
        let begin = birth.now.plus(birth.script.pending());
        Self {
            id,
            account: birth.account,
            org: template.org.clone(),
            template: template.id.clone(),
            repository,
            archived: false,
            webhook_url: request.webhook_url,
            created: birth.now,
            listed_from: birth.listed_from,
            conversation: Conversation::new(
                Turn {
                    id: Uuid::new_v4().to_string(),
                    prompt: request.prompt,
                    sent: birth.now,
                    timeline: Timeline::new(begin, birth.script, SetupStage::Skipped),
                },
                AfterFailure::GoesOn,
            ),
            starting_ref,
            auto_create_pr: request.auto_create_pr.unwrap_or(template.auto_create_pr),
            model: request.model.unwrap_or_else(|| template.model.clone()),
            branch,
            pull_request_number: birth.pull_request_number,
        }
    }

    pub(super) fn id(&self) -> String {
        self.id.to_string()
    }

    /// A further message; returns its id.
    pub(super) fn send(&mut self, request: SendMessage, now: Moment, script: Script) -> String {
        let id = Uuid::new_v4().to_string();
        let at = (now, script.pending());
        self.conversation
            .queue(id.clone(), request.prompt, at, script);
        id
    }

    pub(super) fn status(&self, now: Moment) -> &'static str {
        status_of(self.conversation.current(now), now)
    }

    fn started(&self, now: Moment) -> Option<Moment> {
        started(self.conversation.first(), now)
    }

    /// When the newest message ended, if nothing runs.
    fn completed(&self, now: Moment) -> Option<Moment> {
        self.conversation
            .current(now)
            .timeline
            .ended(now)
            .map(|(at, _)| at)
    }

    fn pushed(&self, now: Moment) -> bool {
        self.conversation.iter().any(|turn| turn.pushed(now))
    }

    pub(super) fn pull_request(&self, now: Moment) -> Option<String> {
        let repository = self.repository.trim_end_matches('/');
        let repository = repository.strip_suffix(".git").unwrap_or(repository);
        self.conversation
            .opened_pull_request(self.auto_create_pr, now)
            .then(|| format!("{repository}/pull/{}", self.pull_request_number))
    }

    /// An item of the list.
    pub(super) fn listed(&self, now: Moment, clock: &Clock) -> Value {
        let run = self
            .conversation
            .iter()
            .rev()
            .find(|turn| started(turn, now).is_some())
            .map(run_id);
        json!({
            "id": self.id(),
            "org_id": self.org,
            "code_agent_id": self.template,
            "cursor_agent_id": self.started(now).map(|_| format!("bc-{}", self.id)),
            "repo_url": self.repository,
            "starting_ref": self.starting_ref,
            "status": self.status(now),
            "latest_run_id": run,
            "pr_url": self.pull_request(now),
            "pr_branch": self.pushed(now).then_some(&self.branch),
            "archived": self.archived,
            "model_id": self.model,
            "created_at": clock.iso(self.created),
            "started_at": self.started(now).map(|at| clock.iso(at)),
            "completed_at": self.completed(now).map(|at| clock.iso(at)),
        })
    }

    /// The session without its messages.
    pub(super) fn object(&self, now: Moment, clock: &Clock) -> Value {
        let events = self.events(now);
        let last = events.last();
        let mut object = self.listed(now, clock);
        let error = error_of(self.conversation.current(now), now);
        insert(&mut object, "error", json!(error));
        insert(&mut object, "webhook_url", json!(self.webhook_url));
        insert(
            &mut object,
            "last_event_seq",
            json!(last.map_or(0, |event| event.seq)),
        );
        insert(
            &mut object,
            "last_event_at",
            json!(last.map(|event| clock.iso(event.at))),
        );
        object
    }

    /// The session with its messages.
    pub(super) fn full(&self, now: Moment, clock: &Clock) -> Value {
        let messages: Vec<Value> = self
            .conversation
            .iter()
            .map(|turn| self.message(turn, now, clock))
            .collect();
        let mut object = self.object(now, clock);
        insert(&mut object, "messages", json!(messages));
        object
    }

    fn message(&self, turn: &Turn, now: Moment, clock: &Clock) -> Value {
        let started = started(turn, now);
        let ended = turn.timeline.ended(now).map(|(at, _)| at);
        let duration = ended.zip(started).map(|(end, start)| end.since(start));
        let pull_request = self.pull_request(now).filter(|_| turn.pushed(now));
        json!({
            "id": turn.id,
            "cursor_run_id": started.map(|_| run_id(turn)),
            "role": "user",
            "prompt": turn.prompt,
            "status": status_of(turn, now),
            "result_text": turn.result(now),
            "duration_ms": duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()),
            "pr_url": pull_request,
            "error": error_of(turn, now),
            "started_at": started.map(|at| clock.iso(at)),
            "completed_at": ended.map(|at| clock.iso(at)),
            "created_at": clock.iso(turn.sent),
        })
    }

    /// What happened until now, in order. Only the past decides it, so a number once given keeps its event.
    pub(super) fn events(&self, now: Moment) -> Vec<Event<'_>> {
        let mut events: Vec<Event<'_>> = Vec::new();
        let mut add = |message, at, kind, payload| {
            events.push(Event {
                seq: events.len() as u64 + 1,
                message,
                at,
                kind,
                payload,
            });
        };
        for turn in self.conversation.iter() {
            let end = turn.timeline.ended(now);
            let until = end.map_or(now, |(at, _)| at);
            let working = turn.timeline.working_from();
            if working <= until && started(turn, now).is_some() {
                add(turn, working, "status", json!({"status": "running"}));
                let text = format!("Working on {}\n", self.repository);
                add(turn, working, "stdout", json!({ "text": text }));
                for second in 1..=until.since(working).as_secs() {
                    let at = working.plus(Duration::from_secs(second));
                    if second % 2 == 1 {
                        let payload = json!({"tool": "edit_file", "path": "src/auth.ts"});
                        add(turn, at, "tool_call", payload);
                    } else {
                        add(turn, at, "file_edit", json!({"path": "src/auth.ts"}));
                    }
                }
            }
            if let Some((at, _)) = end {
                add(turn, at, "status", json!({"status": status_of(turn, now)}));
            }
        }
        events
    }

    pub(super) fn event(&self, event: &Event<'_>, clock: &Clock) -> Value {
        // The low bits are free: they tell a session's events apart, and no event changes its id.
        let id = Uuid::from_u128(self.id.as_u128() ^ u128::from(event.seq));
        json!({
            "id": id.to_string(),
            "session_id": self.id(),
            "message_id": event.message.id,
            "cursor_run_id": run_id(event.message),
            "event_type": event.kind,
            "payload": event.payload,
            "seq": event.seq,
            "created_at": clock.iso(event.at),
        })
    }
}

fn run_id(turn: &Turn) -> String {
    format!("run-{}", turn.id)
}

/// When a message was handed to Cursor, if it was.
fn started(turn: &Turn, now: Moment) -> Option<Moment> {
    let begun = turn.timeline.begun;
    let end = turn.timeline.ended(now);
    (begun <= now && end.is_none_or(|(at, _)| begun <= at)).then_some(begun)
}

pub(super) fn status_of(turn: &Turn, now: Moment) -> &'static str {
    match turn.timeline.stage(now) {
        Stage::Creating if now < turn.timeline.begun => "pending",
        Stage::Creating => "creating",
        Stage::Setup | Stage::Running => "running",
        Stage::Ended(Ending::Finished) => "finished",
        Stage::Ended(Ending::Error) => "error",
        Stage::Ended(Ending::Expired) => "expired",
        Stage::Ended(Ending::Cancelled) => "cancelled",
    }
}

fn error_of(turn: &Turn, now: Moment) -> Option<&str> {
    match turn.timeline.stage(now) {
        Stage::Ended(Ending::Error) => Some(
            turn.timeline
                .script
                .result
                .as_deref()
                .unwrap_or("Cursor run ended with an error"),
        ),
        Stage::Creating | Stage::Setup | Stage::Running | Stage::Ended(_) => None,
    }
}
