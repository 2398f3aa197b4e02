//! The state of one agent and its runs.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::request::{CreateAgent, Env, Repository};
use crate::clock::Moment;
use crate::cursor::repository::repository_path;
use crate::naming::{branch_name, derived_name};
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) name: String,
    pub(super) env: Env,
    pub(super) repositories: Vec<Repository>,
    pub(super) work_on_current_branch: bool,
    pub(super) auto_create_pr: bool,
    pub(super) skip_reviewer_request: Option<bool>,
    pub(super) open_as_app: Option<bool>,
    /// As they were given.
    pub(super) subagents: Option<Value>,
    pub(super) metadata: Option<Vec<(String, String)>>,
    pub(super) created: Moment,
    /// Missing from lists until then.
    pub(super) listed_from: Moment,
    /// The newest archive (`true`) or unarchive (`false`).
    shelved: Option<(Moment, bool)>,
    pub(super) deleted: bool,
    /// Number of the pull request, should there be one.
    pull_request_number: u64,
    /// Oldest first; never empty.
    pub(super) runs: Vec<Run>,
}

#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) prompt: String,
    pub(super) timeline: Timeline,
    pub(super) request_id: String,
}

/// One entry of `git.branches`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// Without a scheme.
    pub(super) repository: String,
    pub(super) branch: String,
    pub(super) pull_request: Option<String>,
}

/// A new agent's circumstances beyond its request.
pub(super) struct Birth {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) now: Moment,
    pub(super) list_lag: Duration,
    pub(super) pull_request_number: u64,
    pub(super) script: Script,
}

impl Agent {
    pub(super) fn new(request: CreateAgent, birth: Birth) -> Self {
        let name = request
            .name
            .unwrap_or_else(|| derived_name(&request.prompt));
        Self {
            id: birth.id,
            account: birth.account,
            name,
            env: request.env,
            repositories: request.repositories,
            work_on_current_branch: request.work_on_current_branch,
            auto_create_pr: request.auto_create_pr,
            skip_reviewer_request: request.skip_reviewer_request,
            open_as_app: request.open_as_app,
            subagents: request.subagents,
            metadata: request.metadata,
            created: birth.now,
            listed_from: birth.now.plus(birth.list_lag),
            shelved: None,
            deleted: false,
            pull_request_number: birth.pull_request_number,
            runs: vec![Run::new(request.prompt, birth.now, birth.script)],
        }
    }

    /// Whether this is its id; ids are kept in lower case, and read in any.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.eq_ignore_ascii_case(id)
    }

    /// Those that it was made for, and those that it has opened.
    pub(super) fn pull_requests(&self, now: Moment) -> Vec<String> {
        let given = self.repositories.iter().filter_map(|it| it.pr_url.clone());
        let opened = self
            .branches(now)
            .into_iter()
            .filter_map(|it| it.pull_request);
        given.chain(opened).collect()
    }

    pub(super) fn latest_run(&self) -> Option<&Run> {
        self.runs.last()
    }

    pub(super) fn latest_run_mut(&mut self) -> Option<&mut Run> {
        self.runs.last_mut()
    }

    pub(super) fn run(&self, id: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    pub(super) fn run_mut(&mut self, id: &str) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.id == id)
    }

    pub(super) fn is_busy(&self, now: Moment) -> bool {
        self.latest_run()
            .is_some_and(|run| run.timeline.ended(now).is_none())
    }

    /// Archived, or expired and not unarchived since.
    pub(super) fn is_archived(&self, now: Moment) -> bool {
        let expired = self
            .latest_run()
            .and_then(|run| run.timeline.ended(now))
            .filter(|(_, ending)| *ending == Ending::Expired)
            .map(|(at, _)| at);
        match (self.shelved, expired) {
            (Some((shelved, flag)), Some(expired)) if shelved >= expired => flag,
            (_, Some(_)) => true,
            (Some((_, flag)), None) => flag,
            (None, None) => false,
        }
    }

    /// Archives or unarchives; a repetition changes nothing.
    pub(super) fn shelve(&mut self, archived: bool, now: Moment) {
        if self.is_archived(now) != archived {
            self.shelved = Some((now, archived));
        }
    }

    pub(super) fn status(&self, now: Moment) -> &'static str {
        if self.is_archived(now) {
            "ARCHIVED"
        } else if self.is_busy(now) {
            "ACTIVE"
        } else {
            "IDLE"
        }
    }

    /// The newest of creation, start and end of the newest run, archiving.
    pub(super) fn updated(&self, now: Moment) -> Moment {
        let run = self.latest_run();
        [
            Some(self.created),
            run.map(|run| run.timeline.begun),
            run.and_then(|run| run.timeline.ended(now))
                .map(|(at, _)| at),
            self.shelved.map(|(at, _)| at),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(self.created)
    }

    /// The branches and pull requests that exist now. They belong to the agent, so every run shows the same.
    pub(super) fn branches(&self, now: Moment) -> Vec<Branch> {
        let pushed: Vec<&Run> = self
            .runs
            .iter()
            .filter(|run| run.timeline.pushed_at().is_some_and(|at| at <= now))
            .collect();
        if pushed.is_empty() {
            return Vec::new();
        }
        let opened = pushed.iter().any(|run| {
            run.timeline
                .script
                .pull_request
                .unwrap_or(self.auto_create_pr)
        });
        self.repositories
            .iter()
            .filter_map(|repository| self.branch(repository, opened))
            .collect()
    }

    fn branch(&self, repository: &Repository, opened: bool) -> Option<Branch> {
        let path = repository_path(&repository.url)?;
        let branch = match (self.work_on_current_branch, &repository.pr_url) {
            (false, _) => branch_name(&self.name, &self.id),
            (true, Some(_)) => "pull-request-head".to_owned(),
            (true, None) => repository
                .starting_ref
                .clone()
                .unwrap_or_else(|| "main".to_owned()),
        };
        let new_pull_request =
            || opened.then(|| format!("https://{path}/pull/{}", self.pull_request_number));
        let pull_request = match (self.work_on_current_branch, &repository.pr_url) {
            (true, Some(existing)) => Some(existing.clone()),
            (true, None) | (false, _) => new_pull_request(),
        };
        Some(Branch {
            repository: path,
            branch,
            pull_request,
        })
    }
}

impl Run {
    pub(super) fn new(prompt: String, now: Moment, script: Script) -> Self {
        Self {
            id: format!("run-{}", Uuid::new_v4()),
            prompt,
            timeline: Timeline::new(now, script, SetupStage::Skipped),
            request_id: Uuid::new_v4().to_string(),
        }
    }

    pub(super) fn status(&self, now: Moment) -> &'static str {
        status_word(self.timeline.stage(now))
    }

    /// While it runs this stays at one second after creation (observed: not a sign of life).
    pub(super) fn updated(&self, now: Moment) -> Moment {
        match self.timeline.ended(now) {
            Some((at, _)) => at,
            None if self.timeline.stage(now) == Stage::Creating => self.timeline.begun,
            None => self.timeline.begun.plus(Duration::from_secs(1)),
        }
    }

    /// The final text: what the script says after success, what there was until then otherwise.
    pub(super) fn result(&self, now: Moment) -> Option<&str> {
        match self.timeline.stage(now) {
            Stage::Ended(Ending::Finished) => Some(self.timeline.script.result()),
            // Cursor shows errors without a cause unless there was a last message.
            Stage::Ended(Ending::Error) => self.timeline.script.result.as_deref(),
            Stage::Ended(Ending::Cancelled | Ending::Expired)
            | Stage::Creating
            | Stage::Setup
            | Stage::Running => None,
        }
    }
}

impl Run {
    /// What a run that ended with an error says of it, if it says anything.
    pub(super) fn error(&self, now: Moment) -> Option<Value> {
        let script = &self.timeline.script;
        let message = script.error.as_deref()?;
        let failed = self.timeline.stage(now) == Stage::Ended(Ending::Error);
        failed.then(|| match &script.error_code {
            Some(code) => json!({"message": message, "code": code}),
            None => json!({ "message": message }),
        })
    }
}

pub(super) fn status_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Creating => "CREATING",
        Stage::Setup | Stage::Running => "RUNNING",
        Stage::Ended(Ending::Finished) => "FINISHED",
        Stage::Ended(Ending::Error) => "ERROR",
        Stage::Ended(Ending::Cancelled) => "CANCELLED",
        Stage::Ended(Ending::Expired) => "EXPIRED",
    }
}
