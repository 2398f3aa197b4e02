//! The state of one agent of Cursor v0.

use std::time::Duration;

use uuid::Uuid;

use super::request::{CreateAgent, FollowUp, Source, Target};
use crate::clock::Moment;
use crate::conversation::{AfterFailure, Conversation, Message, Turn};
use crate::naming::{branch_name, derived_name};
use crate::options::{CursorV0Options, StoppedStatus};
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};
use crate::webhook::Webhook;

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) target: Target,
    pub(super) branch: String,
    pub(super) created: Moment,
    /// Missing from lists, and without a conversation, until then.
    pub(super) listed_from: Moment,
    pub(super) deleted: bool,
    pull_request_number: u64,
    pub(super) webhook: Option<Webhook>,
    pub(super) conversation: Conversation,
}

/// A new agent's circumstances beyond its request.
pub(super) struct Birth {
    pub(super) account: String,
    pub(super) now: Moment,
    pub(super) listed_from: Moment,
    pub(super) pull_request_number: u64,
    pub(super) script: Script,
}

impl Agent {
    pub(super) fn launch(request: CreateAgent, birth: Birth) -> Self {
        let id = format!("bc_{}", Uuid::new_v4().simple());
        let name = derived_name(&request.prompt);
        let branch = match (&request.source, request.target.auto_branch) {
            (Source::PullRequest { .. }, false) => "pull-request-head".to_owned(),
            (Source::PullRequest { .. }, true) | (Source::Repository { .. }, _) => request
                .target
                .branch_name
                .clone()
                .unwrap_or_else(|| branch_name(&name, &id)),
        };
        Self {
            id,
            account: birth.account,
            name,
            source: request.source,
            target: request.target,
            branch,
            created: birth.now,
            listed_from: birth.listed_from,
            deleted: false,
            pull_request_number: birth.pull_request_number,
            webhook: request.webhook,
            conversation: Conversation::new(
                Turn {
                    id: message_id(),
                    prompt: request.prompt,
                    sent: birth.now,
                    timeline: Timeline::new(birth.now, birth.script, SetupStage::Skipped),
                },
                AfterFailure::GoesOn,
            ),
        }
    }

    /// A further message. It starts when the present work is done.
    pub(super) fn follow_up(&mut self, request: FollowUp, now: Moment, script: Script) {
        let at = (now, Duration::ZERO);
        self.conversation
            .queue(message_id(), request.prompt, at, script);
    }

    pub(super) fn status(&self, now: Moment, options: &CursorV0Options) -> &'static str {
        let timeline = &self.conversation.current(now).timeline;
        let Some((ended, ending)) = timeline.ended(now) else {
            return match timeline.stage(now) {
                Stage::Creating => "CREATING",
                Stage::Setup | Stage::Running | Stage::Ended(_) => "RUNNING",
            };
        };
        match ending {
            Ending::Finished => "FINISHED",
            Ending::Error => "ERROR",
            Ending::Expired => "EXPIRED",
            Ending::Cancelled => {
                let shown_as_before = match options.stopped_status {
                    StoppedStatus::FinishedAtOnce => false,
                    StoppedStatus::FinishedLater => now.since(ended) < options.stop_takes,
                    StoppedStatus::Unchanged => true,
                };
                match (shown_as_before, ended < timeline.working_from()) {
                    (false, _) => "FINISHED",
                    (true, true) => "CREATING",
                    (true, false) => "RUNNING",
                }
            }
        }
    }

    /// The pull request that it was created from until it has opened its own, if it is to.
    pub(super) fn pull_request(&self, now: Moment) -> Option<String> {
        let own = || {
            let repository = self.source.repository().trim_end_matches('/');
            let repository = repository.strip_suffix(".git").unwrap_or(repository);
            self.conversation
                .opened_pull_request(self.target.auto_create_pr, now)
                .then(|| format!("{repository}/pull/{}", self.pull_request_number))
        };
        match (self.source.pull_request(), self.target.auto_branch) {
            (Some(existing), false) => Some(existing.to_owned()),
            (existing, _) => own().or_else(|| existing.map(str::to_owned)),
        }
    }

    pub(super) fn conversation(&self, now: Moment, options: &CursorV0Options) -> Vec<Message<'_>> {
        if self.listed_from > now {
            return Vec::new();
        }
        self.conversation.messages(now, options.conversation)
    }
}

fn message_id() -> String {
    format!("msg_{}", Uuid::new_v4().simple())
}
