//! What of a session changed.

use schemars::JsonSchema;
use serde::Serialize;

use crate::api::ReportedState;

/// Something that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The session's phase.
    Phase,
    /// The newest message, or its phase.
    Message,
    /// The pull request.
    PullRequest,
    /// Whether the agent waits for a person.
    Blocked,
    /// Whether the session does not get further without help.
    Stalled,
    /// Whether it is put away.
    Archived,
}

impl Change {
    /// What differs.
    pub(super) fn between(before: &ReportedState, now: &ReportedState) -> Vec<Self> {
        let message = |state: &ReportedState| (state.message.clone(), state.message_phase);
        [
            (Self::Phase, before.phase != now.phase),
            (Self::Message, message(before) != message(now)),
            (
                Self::PullRequest,
                before.pull_request_url != now.pull_request_url,
            ),
            (Self::Blocked, before.blocked != now.blocked),
            (Self::Stalled, before.stalled != now.stalled),
            (Self::Archived, before.archived != now.archived),
        ]
        .into_iter()
        .filter_map(|(change, differs)| differs.then_some(change))
        .collect()
    }
}
