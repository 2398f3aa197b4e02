//! What makes a session ours: the marker line under its first prompt. A branch never does: it may be the user's, and a
//! provider may rewrite it.

use super::contract::{AdoptRequest, Found, Mark, Marked, MarkedRequest};
use super::repository::same_repository;
use super::scan::{Quest, Verdict};
use crate::domain::marker::{Marker, MarkerSubject};
use crate::domain::snapshot::Snapshot;

/// What is looked for where prompts can be read.
pub(super) trait PromptQuest: Quest {
    /// Whether what the list says of a session leaves it possible that it is looked for.
    fn possible(&self, listed: &Snapshot) -> bool;

    /// The template that it was launched from.
    fn template_id(&self) -> Option<&str>;

    /// Whether this marker is looked for.
    fn recognises(&self, marker: &Marker) -> bool;

    /// A session with such a marker.
    fn found(snapshot: Snapshot, marker: Marker) -> Self::Found;
}

impl PromptQuest for AdoptRequest {
    fn possible(&self, listed: &Snapshot) -> bool {
        // The list may leave the repository out; then it may be any.
        listed
            .repository
            .as_deref()
            .is_none_or(|theirs| same_repository(&self.repository, theirs))
    }

    fn template_id(&self) -> Option<&str> {
        self.template_id.as_deref()
    }

    fn recognises(&self, marker: &Marker) -> bool {
        marker.is_launch_of(&self.installation, &self.uid)
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

impl PromptQuest for MarkedRequest {
    fn possible(&self, listed: &Snapshot) -> bool {
        let old = listed
            .created_at
            .is_some_and(|created| created < self.ended_from);
        !(old && listed.phase.is_terminal())
    }

    fn template_id(&self) -> Option<&str> {
        None
    }

    fn recognises(&self, marker: &Marker) -> bool {
        marker.installation == self.installation
    }

    fn found(snapshot: Snapshot, marker: Marker) -> Marked {
        Marked {
            snapshot,
            mark: Mark::Prompt(marker),
        }
    }
}

/// Judges a session by its prompts, in the order in which the provider tells them; `None` is one that cannot be read.
pub(super) fn judge_prompts<'a, Q: PromptQuest>(
    prompts: impl IntoIterator<Item = Option<&'a str>>,
    quest: &Q,
    snapshot: Snapshot,
) -> Verdict<Q::Found> {
    let ours = |prompt: &str| Marker::find(prompt).filter(|marker| quest.recognises(marker));
    let mut prompts = prompts.into_iter();
    let Some(Some(first)) = prompts.next() else {
        // Without a prompt yet, as while it is being set up, it may be anybody's.
        return Verdict::Undecided;
    };
    match ours(first) {
        Some(marker) => Verdict::Ours(Box::new(Q::found(snapshot, marker))),
        // That the first prompt stands first is not documented: a marker elsewhere is no proof, but a doubt.
        None => match prompts.flatten().find_map(ours) {
            Some(_) => Verdict::Undecided,
            None => Verdict::Foreign,
        },
    }
}
