//! What API v0 shows of an agent that was made through v1.

use http::StatusCode;
use serde_json::{Value, json};

use super::agent::{Agent, Run, status_word};
use super::{CursorV1, agent_not_found, changed};
use crate::clock::{Clock, Moment};
use crate::cursor::shared::Listed;
use crate::http::{Answer, Call, Effect, EffectKind, Refusal};
use crate::keys::Key;
use crate::members::insert;
use crate::operation::Operation;
use crate::options::ConversationStart;
use crate::provider::Context;
use crate::timeline::{Ending, Stage};

impl CursorV1 {
    pub(in crate::cursor) fn has(&self, id: &str, caller: &Key) -> bool {
        self.find(id, caller).is_ok()
    }

    /// Newest first.
    pub(in crate::cursor) fn listed_in_v0(
        &self,
        caller: &Key,
        now: Moment,
        clock: &Clock,
    ) -> Vec<Listed> {
        self.listed(caller, now, |agent| object(agent, now, clock))
    }

    /// Answers an operation of v0 on an agent of v1.
    pub(in crate::cursor) fn answer_v0(
        &mut self,
        operation: Operation,
        id: &str,
        call: &Call,
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context { now, clock, .. } = context;
        match operation {
            Operation::CursorV0GetAgent => {
                let agent = self.find(id, context.caller)?;
                Ok(Answer::ok(object(agent, now, clock)))
            }
            Operation::CursorV0GetConversation => {
                let agent = self.find(id, context.caller)?;
                let start = self.options.v0.conversation;
                let messages = conversation(agent, start, now);
                Ok(Answer::ok(json!({"id": agent.id, "messages": messages})))
            }
            Operation::CursorV0StopAgent => {
                let agent = self.find(id, context.caller)?;
                let (id, busy) = (agent.id.clone(), agent.is_busy(now));
                let run = agent.latest_run().map(|run| run.id.clone());
                match run.filter(|_| busy) {
                    Some(run) => self.cancel_run(&id, &run, context)?,
                    // A stop of an agent that has ended changes nothing.
                    None => return Ok(Answer::ok(json!({ "id": id }))),
                };
                Ok(changed(&id, None))
            }
            Operation::CursorV0FollowUp => {
                let id = self.find(id, context.caller)?.id.clone();
                let created = self.create_run(&id, call, context)?;
                let mut answer = Answer::json(StatusCode::OK, json!({ "id": id }));
                answer.latency = created.latency;
                Ok(answer.with_effect(Effect {
                    kind: EffectKind::Messaged,
                    session: id,
                    run: None,
                }))
            }
            Operation::CursorV0DeleteAgent => self.delete_agent(id, context),
            _ => Err(agent_not_found()),
        }
    }
}

fn object(agent: &Agent, now: Moment, clock: &Clock) -> Value {
    let mut object = json!({
        "id": agent.id,
        "name": agent.name,
        "status": agent.latest_run().map_or("CREATING", |run| status(run, now)),
        "createdAt": clock.iso(agent.created),
    });
    let mut source = json!({});
    if let Some(repository) = agent.repositories.first() {
        insert(&mut source, "repository", json!(repository.url));
        if let Some(git_ref) = &repository.starting_ref {
            insert(&mut source, "ref", json!(git_ref));
        }
    }
    let mut target = json!({
        "url": format!("https://cursor.com/agents?id={}", agent.id),
        "autoCreatePr": agent.auto_create_pr,
        "openAsCursorGithubApp": agent.open_as_app.unwrap_or(false),
        "skipReviewerRequest": agent.skip_reviewer_request.unwrap_or(false),
    });
    if let Some(branch) = agent.branches(now).into_iter().next() {
        insert(&mut target, "branchName", json!(branch.branch));
        if let Some(pull_request) = branch.pull_request {
            insert(&mut target, "prUrl", json!(pull_request));
        }
    }
    insert(&mut object, "source", source);
    insert(&mut object, "target", target);
    if let Some(summary) = agent.latest_run().and_then(|run| run.result(now)) {
        insert(&mut object, "summary", json!(summary));
    }
    object
}

/// v0 has no word for a run that was cancelled.
fn status(run: &Run, now: Moment) -> &'static str {
    match run.timeline.stage(now) {
        Stage::Ended(Ending::Cancelled) => status_word(Stage::Ended(Ending::Finished)),
        stage => status_word(stage),
    }
}

fn conversation(agent: &Agent, start: ConversationStart, now: Moment) -> Vec<Value> {
    let begun = agent.runs.first().is_some_and(|run| match start {
        ConversationStart::WithLaunch => true,
        ConversationStart::WithRun => {
            run.timeline.working_from() <= now || run.timeline.ended(now).is_some()
        }
    });
    if !begun || agent.listed_from > now {
        return Vec::new();
    }
    let mut messages = Vec::new();
    for run in &agent.runs {
        messages.push(
            json!({"id": format!("{}-prompt", run.id), "type": "user_message", "text": run.prompt}),
        );
        if let Some(result) = run.result(now) {
            messages.push(json!({"id": format!("{}-answer", run.id), "type": "assistant_message", "text": result}));
        }
    }
    messages
}
