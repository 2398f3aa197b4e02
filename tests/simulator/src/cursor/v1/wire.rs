//! The JSON objects of Cursor v1.

use serde_json::{Map, Value, json};

use super::agent::{Agent, Branch, Run};
use crate::clock::{Clock, Moment};
use crate::members::insert;
use crate::script::Script;

/// Which of a run's facts are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunDetail {
    Full,
    /// List items lack `result` and `durationMs` (observed).
    ListItem,
}

/// An item of `GET /v1/agents`.
pub(super) fn summary(agent: &Agent, now: Moment, clock: &Clock) -> Value {
    let mut env = json!({"type": agent.env.kind});
    if let Some(name) = &agent.env.name {
        insert(&mut env, "name", json!(name));
    }
    let mut summary = json!({
        "id": agent.id,
        "name": agent.name,
        "status": agent.status(now),
        "env": env,
        "url": format!("https://cursor.com/agents/{}", agent.id),
        "createdAt": clock.iso(agent.created),
        "updatedAt": clock.iso(agent.updated(now)),
    });
    if let Some(run) = agent.latest_run() {
        insert(&mut summary, "latestRunId", json!(run.id));
    }
    if let Some(metadata) = &agent.metadata {
        let members: Map<String, Value> = metadata
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        insert(&mut summary, "metadata", Value::Object(members));
    }
    summary
}

/// The answer of `GET /v1/agents/{id}`.
pub(super) fn agent(agent: &Agent, now: Moment, clock: &Clock) -> Value {
    let repositories: Vec<Value> = agent
        .repositories
        .iter()
        .map(|repository| {
            let mut item = json!({"url": repository.url});
            if let Some(starting_ref) = &repository.starting_ref {
                insert(&mut item, "startingRef", json!(starting_ref));
            }
            if let Some(pr_url) = &repository.pr_url {
                insert(&mut item, "prUrl", json!(pr_url));
            }
            item
        })
        .collect();
    let mut object = summary(agent, now, clock);
    insert(&mut object, "repos", json!(repositories));
    insert(
        &mut object,
        "workOnCurrentBranch",
        json!(agent.work_on_current_branch),
    );
    insert(&mut object, "autoCreatePR", json!(agent.auto_create_pr));
    if let Some(skip) = agent.skip_reviewer_request {
        insert(&mut object, "skipReviewerRequest", json!(skip));
    }
    if let Some(open_as_app) = agent.open_as_app {
        insert(&mut object, "openAsCursorGithubApp", json!(open_as_app));
    }
    if let Some(subagents) = &agent.subagents {
        insert(&mut object, "customSubagents", subagents.clone());
    }
    object
}

/// A run of `agent`.
pub(super) fn run(
    agent: &Agent,
    run: &Run,
    detail: RunDetail,
    now: Moment,
    clock: &Clock,
) -> Value {
    let mut object = json!({
        "id": run.id,
        "agentId": agent.id,
        "status": run.status(now),
        "createdAt": clock.iso(run.timeline.begun),
        "updatedAt": clock.iso(run.updated(now)),
        "requestId": run.request_id,
    });
    let branches = agent.branches(now);
    if !branches.is_empty() {
        insert(&mut object, "git", git(&branches));
    }
    if detail == RunDetail::Full
        && let Some(duration) = duration_ms(run, now)
    {
        insert(&mut object, "durationMs", json!(duration));
        if let Some(result) = run.result(now) {
            insert(&mut object, "result", json!(result));
        }
        if let Some(error) = run.error(now) {
            insert(&mut object, "error", error);
        }
    }
    object
}

pub(super) fn duration_ms(run: &Run, now: Moment) -> Option<u64> {
    let (at, _) = run.timeline.ended(now)?;
    u64::try_from(at.since(run.timeline.begun).as_millis()).ok()
}

pub(super) fn git(branches: &[Branch]) -> Value {
    let branches: Vec<Value> = branches
        .iter()
        .map(|branch| {
            let mut item = json!({"repoUrl": branch.repository, "branch": branch.branch});
            if let Some(pull_request) = &branch.pull_request {
                insert(&mut item, "prUrl", json!(pull_request));
            }
            item
        })
        .collect();
    json!({ "branches": branches })
}

/// Tokens and cents of one or several runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    input: u64,
    output: u64,
    cache_write: u64,
    cache_read: u64,
    raw_cents: f64,
    charged_cents: f64,
    /// Whether all of it has been counted: the cost is told only then.
    complete: bool,
}

impl Usage {
    /// What a run has used: nothing before it works, the script's numbers from then on.
    pub(super) fn of(run: &Run, now: Moment) -> Self {
        if now < run.timeline.working_from() {
            return Self::NONE;
        }
        let all = Self::in_the_end(&run.timeline.script);
        let lag = run.timeline.script.usage_lag();
        let counted = lag.is_zero()
            || run
                .timeline
                .ended(now)
                .is_some_and(|(at, _)| now.since(at) >= lag);
        if counted {
            return all;
        }
        Self {
            input: all.input / 2,
            output: all.output / 2,
            cache_write: all.cache_write / 2,
            cache_read: all.cache_read / 2,
            complete: false,
            ..Self::NONE
        }
    }

    /// All of a run.
    pub(super) fn in_the_end(script: &Script) -> Self {
        Self {
            input: script.input_tokens.unwrap_or(1200),
            output: script.output_tokens.unwrap_or(340),
            cache_write: script.cache_write_tokens.unwrap_or(90),
            cache_read: script.cache_read_tokens.unwrap_or(5600),
            raw_cents: script.cost_cents(),
            charged_cents: script.charged_cents(),
            complete: true,
        }
    }

    const NONE: Self = Self {
        input: 0,
        output: 0,
        cache_write: 0,
        cache_read: 0,
        raw_cents: 0.0,
        charged_cents: 0.0,
        complete: true,
    };

    fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            raw_cents: self.raw_cents + other.raw_cents,
            charged_cents: self.charged_cents + other.charged_cents,
            complete: self.complete && other.complete,
        }
    }

    fn tokens(self) -> Value {
        let total = [self.input, self.output, self.cache_write, self.cache_read]
            .into_iter()
            .fold(0, u64::saturating_add);
        json!({
            "inputTokens": self.input,
            "outputTokens": self.output,
            "cacheWriteTokens": self.cache_write,
            "cacheReadTokens": self.cache_read,
            "totalTokens": total,
        })
    }

    /// As the event that ends a turn tells it.
    pub(super) fn of_turn(self) -> Value {
        json!({
            "inputTokens": self.input,
            "outputTokens": self.output,
            "cacheReadTokens": self.cache_read,
            "cacheWriteTokens": self.cache_write,
        })
    }

    pub(super) fn output(self) -> u64 {
        self.output
    }

    /// Tokens, and the cost where it is known.
    fn told(self, tokens: &str) -> Value {
        let mut told = json!({ tokens: self.tokens() });
        if self.complete {
            let cost = json!({"rawCostCents": self.raw_cents, "chargedCents": self.charged_cents});
            insert(&mut told, "cost", cost);
        }
        told
    }
}

/// The answer of `GET /v1/agents/{id}/usage` for some of its runs.
pub(super) fn usage(runs: &[&Run], now: Moment) -> Value {
    let total = runs
        .iter()
        .map(|run| Usage::of(run, now))
        .fold(Usage::NONE, Usage::plus);
    let items: Vec<Value> = runs
        .iter()
        .map(|run| {
            let mut item = Usage::of(run, now).told("usage");
            insert(&mut item, "id", json!(run.id));
            item
        })
        .collect();
    let mut report = total.told("totalUsage");
    insert(&mut report, "runs", json!(items));
    report
}
