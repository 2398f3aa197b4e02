//! The state of one Firebender agent.

use uuid::Uuid;

use super::request::{CreateAgent, FollowUp, Mode};
use crate::simulator::clock::Moment;
use crate::simulator::options::{
    ConversationStart, FirebenderBranch, FirebenderDocument, FirebenderOptions,
};
use crate::simulator::script::Script;
use crate::simulator::timeline::{Ending, SetupStage, Stage, Timeline};

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
    /// Oldest first; never empty. A follow-up to a living sandbox is one more.
    turns: Vec<Turn>,
}

#[derive(Debug)]
struct Turn {
    id: String,
    prompt: String,
    sent: Moment,
    timeline: Timeline,
}

/// One entry of a conversation.
pub(super) struct Message<'a> {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) text: &'a str,
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
        script.setup = Some(std::time::Duration::ZERO);
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
            turns: vec![Turn {
                id: format!("msg_{}", Uuid::new_v4().simple()),
                prompt: request.prompt,
                sent: birth.now,
                timeline: Timeline::new(birth.now, script, setup_stage(birth.options.document)),
            }],
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
        };
        Self {
            branch,
            ..Self::launch(launch, birth)
        }
    }

    /// A further message to a living sandbox: it starts when the present work is done, without another sandbox.
    pub(super) fn follow_up(&mut self, request: FollowUp, now: Moment, mut script: Script) {
        script.creating = Some(std::time::Duration::ZERO);
        let begin = self
            .turns
            .iter()
            .filter_map(|turn| turn.timeline.end().map(|(at, _)| at))
            .fold(now, Moment::max);
        self.turns.push(Turn {
            id: format!("msg_{}", Uuid::new_v4().simple()),
            prompt: request.prompt,
            sent: now,
            timeline: Timeline::new(begin, script, SetupStage::Skipped),
        });
    }

    /// The first turn that has not ended well decides; with none, the last.
    fn current(&self, now: Moment) -> Option<&Turn> {
        self.turns
            .iter()
            .find(|turn| !matches!(turn.timeline.stage(now), Stage::Ended(Ending::Finished)))
            .or_else(|| self.turns.last())
    }

    pub(super) fn stage(&self, now: Moment) -> Stage {
        self.current(now)
            .map_or(Stage::Ended(Ending::Finished), |turn| {
                turn.timeline.stage(now)
            })
    }

    pub(super) fn is_active(&self, now: Moment) -> bool {
        !matches!(self.stage(now), Stage::Ended(_))
    }

    /// A stopped agent is shown as finished (documented).
    pub(super) fn status(&self, now: Moment) -> &'static str {
        match self.stage(now) {
            Stage::Creating => "CREATING",
            Stage::Setup => "SETUP",
            Stage::Running => "RUNNING",
            Stage::Ended(Ending::Finished | Ending::Cancelled) => "FINISHED",
            Stage::Ended(Ending::Error) => "ERROR",
            Stage::Ended(Ending::Expired) => "EXPIRED",
        }
    }

    /// The script of the turn that a stop would meet.
    pub(super) fn current_script(&self, now: Moment) -> Option<&Script> {
        self.current(now).map(|turn| &turn.timeline.script)
    }

    /// Ends all that has not ended.
    pub(super) fn interrupt(&mut self, now: Moment, ending: Ending) {
        for turn in &mut self.turns {
            turn.timeline.interrupt(now, ending);
        }
    }

    pub(super) fn rescript(&mut self, now: Moment, script: Script) {
        if let Some(turn) = self.turns.last_mut() {
            turn.timeline.rescript(now, script);
        }
    }

    pub(super) fn pull_request(&self, now: Moment) -> Option<String> {
        let opened = self.mode.changes_code()
            && self.turns.iter().any(|turn| {
                turn.timeline
                    .script
                    .pull_request
                    .unwrap_or(self.auto_create_pr)
                    && turn.timeline.pushed_at().is_some_and(|at| at <= now)
            });
        let repository = self
            .repository
            .trim_end_matches('/')
            .trim_end_matches(".git");
        opened.then(|| format!("{repository}/pull/{}", self.pull_request_number))
    }

    /// The final text of the newest turn that finished.
    pub(super) fn summary(&self, now: Moment) -> Option<&str> {
        self.turns
            .iter()
            .rev()
            .find(|turn| turn.timeline.stage(now) == Stage::Ended(Ending::Finished))
            .map(|turn| turn.timeline.script.result())
    }

    pub(super) fn conversation(&self, now: Moment, start: ConversationStart) -> Vec<Message<'_>> {
        let first_word = match start {
            ConversationStart::WithLaunch => Some(self.created),
            ConversationStart::WithRun => self.turns.first().map(|turn| {
                let working = turn.timeline.working_from();
                turn.timeline
                    .end()
                    .map_or(working, |(end, _)| end.min(working))
            }),
        };
        if self.listed_from > now || first_word.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut messages = Vec::new();
        for turn in self.turns.iter().filter(|turn| turn.sent <= now) {
            messages.push(Message {
                id: turn.id.clone(),
                kind: "user_message",
                text: &turn.prompt,
            });
            if turn.timeline.stage(now) == Stage::Ended(Ending::Finished) {
                messages.push(Message {
                    id: format!("{}_answer", turn.id),
                    kind: "assistant_message",
                    text: turn.timeline.script.result(),
                });
            }
        }
        messages
    }

    pub(super) fn prompts(&self, now: Moment) -> impl Iterator<Item = (&str, Stage)> {
        self.turns
            .iter()
            .map(move |turn| (turn.prompt.as_str(), turn.timeline.stage(now)))
    }
}

fn derived_name(prompt: &str) -> String {
    let words: Vec<&str> = prompt.split_whitespace().take(8).collect();
    words.join(" ").chars().take(60).collect()
}
