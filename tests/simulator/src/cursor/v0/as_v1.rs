//! What API v1 shows of an agent that was made through v0: its messages are runs.

use serde_json::{Value, json};

use super::agent::Agent;
use super::{CursorV0, Deleted, not_found};
use crate::clock::{Clock, Moment};
use crate::conversation::Turn;
use crate::cursor::repository::repository_path;
use crate::cursor::shared::Listed;
use crate::http::{Answer, AnswerBody, Refusal};
use crate::keys::Key;
use crate::members::insert;
use crate::operation::Operation;
use crate::provider::Context;
use crate::timeline::{Ending, Stage};

impl CursorV0 {
    pub(in crate::cursor) fn has(&self, id: &str, caller: &Key) -> bool {
        self.position(id, caller, Deleted::NotFound).is_ok()
    }

    /// Newest first.
    pub(in crate::cursor) fn listed_in_v1(
        &self,
        caller: &Key,
        now: Moment,
        clock: &Clock,
    ) -> Vec<Listed> {
        self.listed(caller, now, |agent| summary(agent, now, clock))
    }

    /// Answers an operation of v1 on an agent of v0.
    pub(in crate::cursor) fn answer_v1(
        &mut self,
        operation: Operation,
        (id, run): (&str, &str),
        context: Context<'_>,
    ) -> Result<Answer, Refusal> {
        let Context { now, clock, .. } = context;
        let agent = self.find(id, context.caller, Deleted::NotFound)?;
        let turn = |run: &str| agent.conversation.iter().find(|turn| run_id(turn) == run);
        match operation {
            Operation::CursorV1GetAgent => Ok(Answer::ok(object(agent, now, clock))),
            Operation::CursorV1ListRuns => {
                let runs: Vec<Value> = agent
                    .conversation
                    .iter()
                    .rev()
                    .map(|turn| run_object(agent, turn, now, clock))
                    .collect();
                Ok(Answer::ok(json!({ "items": runs })))
            }
            Operation::CursorV1GetRun => {
                let turn = turn(run).ok_or_else(run_not_found)?;
                Ok(Answer::ok(run_object(agent, turn, now, clock)))
            }
            Operation::CursorV1CancelRun => {
                let turn = turn(run).ok_or_else(run_not_found)?;
                if turn.timeline.ended(now).is_some() {
                    return Err(Refusal::conflict(
                        "run_not_cancellable",
                        "Run is already terminal or was never active",
                    ));
                }
                let id = agent.id.clone();
                let mut answer = self.stop(&id, context)?;
                answer.body = AnswerBody::Json(json!({ "id": run }));
                Ok(answer)
            }
            Operation::CursorV1DeleteAgent => self.delete(id, context),
            _ => Err(not_found()),
        }
    }
}

fn run_not_found() -> Refusal {
    Refusal::not_found("run_not_found", "Run not found")
}

fn run_id(turn: &Turn) -> String {
    format!("run-{}", turn.id)
}

fn summary(agent: &Agent, now: Moment, clock: &Clock) -> Value {
    let newest = agent.conversation.newest();
    let status = match agent.conversation.stage(now) {
        Stage::Ended(Ending::Expired) => "ARCHIVED",
        Stage::Ended(_) => "IDLE",
        Stage::Creating | Stage::Setup | Stage::Running => "ACTIVE",
    };
    let ended = newest.timeline.ended(now).map(|(at, _)| at);
    json!({
        "id": agent.id,
        "name": agent.name,
        "status": status,
        "env": {"type": "cloud"},
        "url": format!("https://cursor.com/agents/{}", agent.id),
        "createdAt": clock.iso(agent.created),
        "updatedAt": clock.iso(ended.unwrap_or(newest.timeline.begun).max(agent.created).min(now)),
        "latestRunId": run_id(newest),
    })
}

fn object(agent: &Agent, now: Moment, clock: &Clock) -> Value {
    let mut object = summary(agent, now, clock);
    let mut repository = json!({"url": agent.source.repository()});
    if let Some(git_ref) = agent.source.git_ref() {
        insert(&mut repository, "startingRef", json!(git_ref));
    }
    if let Some(pull_request) = agent.source.pull_request() {
        insert(&mut repository, "prUrl", json!(pull_request));
    }
    insert(&mut object, "repos", json!([repository]));
    let on_current = agent.source.pull_request().is_some() && !agent.target.auto_branch;
    insert(&mut object, "workOnCurrentBranch", json!(on_current));
    insert(
        &mut object,
        "autoCreatePR",
        json!(agent.target.auto_create_pr),
    );
    object
}

fn run_object(agent: &Agent, turn: &Turn, now: Moment, clock: &Clock) -> Value {
    let status = match turn.timeline.stage(now) {
        Stage::Creating => "CREATING",
        Stage::Setup | Stage::Running => "RUNNING",
        Stage::Ended(Ending::Finished) => "FINISHED",
        Stage::Ended(Ending::Error) => "ERROR",
        Stage::Ended(Ending::Cancelled) => "CANCELLED",
        Stage::Ended(Ending::Expired) => "EXPIRED",
    };
    let begun = turn.timeline.begun.min(now);
    let ended = turn.timeline.ended(now).map(|(at, _)| at);
    let mut object = json!({
        "id": run_id(turn),
        "agentId": agent.id,
        "status": status,
        "createdAt": clock.iso(begun),
        "updatedAt": clock.iso(ended.unwrap_or(begun)),
    });
    if let Some(ended) = ended {
        let duration = u64::try_from(ended.since(begun).as_millis()).unwrap_or(u64::MAX);
        insert(&mut object, "durationMs", json!(duration));
    }
    if let Some(result) = turn.result(now) {
        insert(&mut object, "result", json!(result));
    }
    if agent.conversation.iter().any(|turn| turn.pushed(now)) {
        let repository = agent.source.repository();
        let mut branch = json!({
            "repoUrl": repository_path(repository).unwrap_or_else(|| repository.to_owned()),
            "branch": agent.branch,
        });
        if let Some(pull_request) = agent.pull_request(now) {
            insert(&mut branch, "prUrl", json!(pull_request));
        }
        insert(&mut object, "git", json!({"branches": [branch]}));
    }
    object
}
