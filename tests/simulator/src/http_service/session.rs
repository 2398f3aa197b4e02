//! The state of one session.

use std::time::Duration;

use uuid::Uuid;

use crate::clock::Moment;
use crate::conversation::{AfterFailure, Conversation, Turn};
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};

/// By which of the two APIs it was made, and is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Sessions with an id of the service's.
    Sessions,
    /// Runs with an id of the client's.
    Runs,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) api: Api,
    pub(super) account: String,
    pub(super) title: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) repository: Option<String>,
    pub(super) created: Moment,
    /// Missing from lists, and without messages, until then.
    pub(super) listed_from: Moment,
    pub(super) archived: bool,
    /// Asked for by a member of the body that only this service knows.
    pub(super) opens_pull_request: bool,
    pull_request_number: u64,
    pub(super) conversation: Conversation,
}

/// What a new session is made of.
pub(super) struct Birth {
    pub(super) id: Option<String>,
    pub(super) api: Api,
    pub(super) account: String,
    pub(super) now: Moment,
    pub(super) lag: Duration,
    pub(super) pull_request_number: u64,
    pub(super) prompt: String,
    pub(super) script: Script,
}

impl Session {
    pub(super) fn new(birth: Birth) -> Self {
        let new_id = || format!("devin-{}", Uuid::new_v4().simple());
        Self {
            id: birth.id.unwrap_or_else(new_id),
            api: birth.api,
            account: birth.account,
            title: None,
            tags: Vec::new(),
            repository: None,
            created: birth.now,
            listed_from: birth.now.plus(birth.lag),
            archived: false,
            opens_pull_request: false,
            pull_request_number: birth.pull_request_number,
            conversation: Conversation::new(
                Turn {
                    id: event_id(),
                    prompt: birth.prompt,
                    sent: birth.now,
                    timeline: Timeline::new(birth.now, birth.script, SetupStage::Skipped),
                },
                AfterFailure::Over,
            ),
        }
    }

    pub(super) fn message(&mut self, prompt: String, now: Moment, script: Script) {
        self.conversation
            .queue(event_id(), prompt, (now, Duration::ZERO), script);
    }

    /// Status and detail of a session. One that was terminated has exited.
    pub(super) fn status(&self, now: Moment) -> (&'static str, Option<&'static str>) {
        match self.conversation.stage(now) {
            Stage::Creating => ("new", None),
            Stage::Setup => ("claimed", None),
            Stage::Running => ("running", Some("working")),
            Stage::Ended(Ending::Finished) => ("running", Some("finished")),
            Stage::Ended(Ending::Cancelled) => ("exit", None),
            Stage::Ended(Ending::Error) => ("error", None),
            Stage::Ended(Ending::Expired) => ("suspended", Some("inactivity")),
        }
    }

    /// The state of a run.
    pub(super) fn state(&self, now: Moment) -> &'static str {
        match self.conversation.stage(now) {
            Stage::Creating | Stage::Setup => "queued",
            Stage::Running => "running",
            Stage::Ended(Ending::Finished) => "succeeded",
            Stage::Ended(Ending::Cancelled) => "cancelled",
            Stage::Ended(Ending::Error) => "failed",
            Stage::Ended(Ending::Expired) => "timed_out",
        }
    }

    /// The same as people read it.
    pub(super) fn shown_status(&self, now: Moment) -> String {
        match (self.api, self.status(now)) {
            (Api::Runs, _) => self.state(now).to_owned(),
            (Api::Sessions, (status, Some(detail))) => format!("{status}/{detail}"),
            (Api::Sessions, (status, None)) => status.to_owned(),
        }
    }

    pub(super) fn pull_request(&self, now: Moment) -> Option<String> {
        let repository = self.repository.as_deref()?;
        let wanted = self.opens_pull_request;
        let opened = self.conversation.opened_pull_request(wanted, now);
        let repository = repository.trim_end_matches('/').trim_end_matches(".git");
        opened.then(|| format!("{repository}/pull/{}", self.pull_request_number))
    }
}

fn event_id() -> String {
    format!("event-{}", Uuid::new_v4().simple())
}
