//! What makes a session ours: the marker under its first prompt. A branch never does: it may be the user's, and a provider may
//! rewrite it.

use jiff::{SignedDuration, Timestamp};

use super::scan::{Evidence, Query, Reach};
use super::similarity::SentText;
use crate::domain::marker::{Marker, MarkerSubject, unmarked};
use crate::domain::repository::same_repository;
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{AdoptRequest, Found, Mark, Marked, MarkedRequest};

/// A session that was created so long before the earliest moment of a launch, by the provider's own clock, is only ours if its
/// marker says so: no difference of clocks or time zones is as large.
const LONG_BEFORE: SignedDuration = SignedDuration::from_hours(48);
/// What Cursor puts in front of messages that nobody wrote, but that count as the user's.
const NOTIFICATION: &str = "<system_notification>";

/// One message of a session's conversation.
pub(in crate::providers) struct Message {
    /// Who said it.
    pub(in crate::providers) by: Speaker,
    /// What it says; `None` if it cannot be read.
    pub(in crate::providers) text: Option<String>,
}

/// Who said something in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) enum Speaker {
    /// The user: where our prompt is looked for.
    User,
    /// The agent. What it quotes says nothing of who made the session.
    Agent,
    /// Anybody else, or nobody knows: a system message may hold the prompt.
    Other,
}

/// What is looked for where prompts can be read.
pub(in crate::providers) trait PromptQuery: Query {
    /// Which candidates are looked at, by what the list says of them.
    fn reach(&self, listed: &Snapshot) -> Reach;

    /// The template that it was launched from.
    fn template_id(&self) -> Option<&str>;

    /// The prompt that was sent, where it is known and told apart by more than its marker.
    fn sent(&self) -> Option<SentText>;

    /// Whether this marker is looked for.
    fn recognises(&self, marker: &Marker) -> bool;

    /// Whether a session was created so long before what is looked for that only its marker could make it ours.
    fn is_too_old(&self, listed: &Snapshot) -> bool;

    /// Whether a session without any marker may still be one that is looked for, whose marker does not show.
    fn may_be_ours(&self, messages: &[Message], sent: Option<&SentText>, listed: &Snapshot)
    -> bool;

    /// A session with such a marker.
    fn found(snapshot: Snapshot, marker: Marker) -> Self::Found;
}

impl PromptQuery for AdoptRequest {
    fn reach(&self, listed: &Snapshot) -> Reach {
        // The list may leave the repository out; then it may be any.
        let same_repository = listed
            .repository
            .as_deref()
            .is_none_or(|theirs| same_repository(&self.repository, theirs));
        if same_repository && self.in_window(listed.created_at) {
            Reach::Near
        } else {
            Reach::Far
        }
    }

    fn template_id(&self) -> Option<&str> {
        self.template_id.as_deref()
    }

    fn sent(&self) -> Option<SentText> {
        self.sent
            .as_deref()
            .map(|sent| SentText::new(unmarked(sent)))
    }

    fn recognises(&self, marker: &Marker) -> bool {
        match &self.message {
            None => marker.is_launch_of(&self.installation, &self.uid),
            Some(name) => marker.is_message_of(&self.installation, &self.uid, name),
        }
    }

    fn is_too_old(&self, listed: &Snapshot) -> bool {
        listed
            .created_at
            .is_some_and(|created| is_long_before(created, self.created_from))
    }

    fn may_be_ours(
        &self,
        messages: &[Message],
        sent: Option<&SentText>,
        listed: &Snapshot,
    ) -> bool {
        if self.is_too_old(listed) {
            return false;
        }
        // Where markers have not been seen to show, nothing that the provider shows need look like what was sent.
        let blind = !self.evidence_seen && self.reach(listed) == Reach::Near;
        let alike =
            || sent.is_none_or(|sent| texts_but_the_agents(messages).any(|text| sent.may_be(text)));
        blind || alike()
    }

    fn found(snapshot: Snapshot, marker: Marker) -> Found {
        Found {
            doubt: None,
            snapshot,
            attempt: match marker.subject {
                MarkerSubject::Launch(attempt) => Some(attempt),
                MarkerSubject::Message(_) => None,
            },
        }
    }
}

impl PromptQuery for MarkedRequest {
    fn reach(&self, listed: &Snapshot) -> Reach {
        let old = listed
            .created_at
            .is_some_and(|created| created < self.ended_from);
        let settled = old && listed.phase.is_terminal();
        if self.in_window(listed.created_at) && !settled {
            Reach::Near
        } else {
            Reach::Never
        }
    }

    fn template_id(&self) -> Option<&str> {
        None
    }

    fn sent(&self) -> Option<SentText> {
        None
    }

    fn recognises(&self, marker: &Marker) -> bool {
        marker.installation == self.installation
    }

    fn is_too_old(&self, _: &Snapshot) -> bool {
        false
    }

    /// What is left of a marker that was cut may be of ours, and the rest may show later. Without any trace of one nothing could be
    /// done about it.
    fn may_be_ours(&self, messages: &[Message], _: Option<&SentText>, _: &Snapshot) -> bool {
        texts_but_the_agents(messages).any(Marker::has_remains)
    }

    fn found(snapshot: Snapshot, marker: Marker) -> Marked {
        Marked {
            snapshot,
            mark: Mark::Prompt(marker),
        }
    }
}

/// Whether a session was created so long before `from` that clocks cannot be the reason.
pub(in crate::providers) fn is_long_before(created: Timestamp, from: Timestamp) -> bool {
    from.duration_since(created) > LONG_BEFORE
}

/// Judges a session by its conversation, in the order in which the provider tells it.
pub(super) fn judge<Q: PromptQuery>(
    messages: &[Message],
    query: &Q,
    sent: Option<&SentText>,
    snapshot: Snapshot,
) -> Evidence<Q::Found> {
    let Some(first) = first_prompt(messages) else {
        // Without a prompt yet, as while it is being set up, it may be anybody's.
        return if query.is_too_old(&snapshot) {
            Evidence::Foreign
        } else {
            Evidence::Undecided
        };
    };
    let theirs = match Marker::find(first) {
        Some(marker) if query.recognises(&marker) => {
            return Evidence::Ours(Box::new(Q::found(snapshot, marker)));
        }
        Some(_) => true,
        None => false,
    };
    // That the first prompt stands first is not documented: a marker elsewhere is no proof, but a doubt.
    let elsewhere = texts_but_the_agents(messages)
        .filter_map(Marker::find)
        .any(|marker| query.recognises(&marker));
    if elsewhere {
        return Evidence::Undecided;
    }
    if theirs {
        return Evidence::Foreign;
    }
    if query.may_be_ours(messages, sent, &snapshot) {
        Evidence::Undecided
    } else {
        Evidence::Foreign
    }
}

/// Whether the conversation of a session that was launched with `marker`'s uid shows the marker where it is looked for; `None`
/// while nothing shows.
pub(super) fn shows(messages: &[Message], is_ours: impl Fn(&Marker) -> bool) -> Option<bool> {
    let first = first_prompt(messages)?;
    Some(Marker::find(first).is_some_and(|marker| is_ours(&marker)))
}

/// Whether the conversation of a session shows the message that is looked for.
pub(super) enum Shown {
    /// It does.
    There,
    /// It shows other prompts of the same CodeSession, and not this one.
    NotThere,
    /// It shows no marker of ours at all: that this one does not show proves nothing.
    Nothing,
}

/// What a conversation tells of the message that is looked for.
pub(super) fn shown(messages: &[Message], lost: &AdoptRequest) -> Shown {
    let mut ours = texts_but_the_agents(messages)
        .filter_map(Marker::find)
        .filter(|marker| marker.installation == lost.installation && marker.uid == lost.uid)
        .peekable();
    if ours.peek().is_none() {
        return Shown::Nothing;
    }
    if ours.any(|marker| lost.recognises(&marker)) {
        Shown::There
    } else {
        Shown::NotThere
    }
}

fn texts_but_the_agents(messages: &[Message]) -> impl Iterator<Item = &str> {
    messages
        .iter()
        .filter(|message| message.by != Speaker::Agent)
        .filter_map(|message| message.text.as_deref())
}

/// What the user said first, if it can be read.
fn first_prompt(messages: &[Message]) -> Option<&str> {
    let mut prompts = messages
        .iter()
        .filter(|message| message.by == Speaker::User);
    let first = prompts.find(|message| {
        let text = message.text.as_deref().unwrap_or_default();
        !text.trim_start().starts_with(NOTIFICATION)
    })?;
    first.text.as_deref()
}
