//! The state of one Firebender agent.

use std::time::Duration;

use uuid::Uuid;

use super::request::{CreateAgent, FollowUp, Mode};
use crate::clock::Moment;
use crate::conversation::{AfterFailure, Conversation, Message, Turn};
use crate::naming::derived_name;
use crate::options::{ConversationStart, FirebenderBranch, FirebenderDocument, FirebenderOptions};
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};
use crate::webhook::Webhook;

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) name: String,
    pub(super) repository: String,
    pub(super) git_ref: String,
    pub(super) mode: Mode,
    skip_gradle_sync: bool,
    pub(super) auto_create_pr: bool,
    pub(super) branch: String,
    pub(super) created: Moment,
    /// Missing from lists, and without a conversation, until then.
    pub(super) listed_from: Moment,
    pub(super) deleted: bool,
    pub(super) vnc_token: String,
    pull_request_number: u64,
    pub(super) webhook: Option<Webhook>,
    /// A follow-up to a living sandbox is one more.
    pub(super) conversation: Conversation,
}

/// A new agent's circumstances beyond its request.
pub(super) struct Birth {
    pub(super) account: String,
    pub(super) now: Moment,
    pub(super) listed_from: Moment,
    pub(super) pull_request_number: u64,
    pub(super) script: Script,
    pub(super) options: FirebenderOptions,
}

fn setup_stage(document: FirebenderDocument) -> SetupStage {
    match document {
        FirebenderDocument::Y2026 => SetupStage::Shown,
        FirebenderDocument::Y2025 => SetupStage::Skipped,
    }
}

/// Without the wait for Gradle the set-up stage passes at once.
fn launch_script(mut script: Script, skip_gradle_sync: bool) -> Script {
    if skip_gradle_sync {
        script.setup = Some(Duration::ZERO);
    }
    script
}

impl Agent {
    pub(super) fn launch(request: CreateAgent, birth: Birth) -> Self {
        let suffix = Uuid::new_v4().simple().to_string();
        let generated = || format!("firebender/{suffix}");
        let branch = match birth.options.branch {
            FirebenderBranch::Kept => request.branch_name.unwrap_or_else(generated),
            FirebenderBranch::Rewritten => generated(),
        };
        let script = launch_script(birth.script, request.skip_gradle_sync);
        Self {
            id: format!("fb_{suffix}"),
            account: birth.account,
            name: derived_name(&request.prompt),
            repository: request.repository,
            git_ref: request.git_ref,
            mode: request.mode,
            skip_gradle_sync: request.skip_gradle_sync,
            auto_create_pr: request.auto_create_pr,
            branch,
            created: birth.now,
            listed_from: birth.listed_from,
            deleted: false,
            vnc_token: Uuid::new_v4().to_string(),
            pull_request_number: birth.pull_request_number,
            webhook: request.webhook,
            conversation: Conversation::new(
                Turn {
                    id: message_id(),
                    prompt: request.prompt,
                    sent: birth.now,
                    timeline: Timeline::new(birth.now, script, setup_stage(birth.options.document)),
                },
                AfterFailure::Over,
            ),
        }
    }

    /// A new agent that goes on where this one ended, on its branch and with a conversation of its own.
    pub(super) fn continuation(&self, request: FollowUp, birth: Birth) -> Self {
        let branch = self.branch.clone();
        let launch = CreateAgent {
            prompt: request.prompt,
            directive: request.directive,
            repository: self.repository.clone(),
            git_ref: self.git_ref.clone(),
            mode: self.mode,
            skip_gradle_sync: self.skip_gradle_sync,
            auto_create_pr: self.auto_create_pr,
            branch_name: None,
            webhook: self.webhook.clone(),
        };
        Self {
            branch,
            ..Self::launch(launch, birth)
        }
    }

    /// A further message to a living sandbox: it starts when the present work is done, without another sandbox.
    pub(super) fn follow_up(&mut self, request: FollowUp, now: Moment, script: Script) {
        let at = (now, Duration::ZERO);
        self.conversation
            .queue(message_id(), request.prompt, at, script);
    }

    /// A stopped agent is shown as finished (documented).
    pub(super) fn status(&self, now: Moment) -> &'static str {
        match self.conversation.stage(now) {
            Stage::Creating => "CREATING",
            Stage::Setup => "SETUP",
            Stage::Running => "RUNNING",
            Stage::Ended(Ending::Finished | Ending::Cancelled) => "FINISHED",
            Stage::Ended(Ending::Error) => "ERROR",
            Stage::Ended(Ending::Expired) => "EXPIRED",
        }
    }

    pub(super) fn pull_request(&self, now: Moment) -> Option<String> {
        let opened = self.mode.changes_code()
            && self
                .conversation
                .opened_pull_request(self.auto_create_pr, now);
        let repository = self
            .repository
            .trim_end_matches('/')
            .trim_end_matches(".git");
        opened.then(|| format!("{repository}/pull/{}", self.pull_request_number))
    }

    pub(super) fn conversation(&self, now: Moment, start: ConversationStart) -> Vec<Message<'_>> {
        if self.listed_from > now {
            return Vec::new();
        }
        self.conversation.messages(now, start)
    }
}

fn message_id() -> String {
    format!("msg_{}", Uuid::new_v4().simple())
}
