//! Which follow-up messages are still to be sent.

use super::observed::Observed;
use super::stage::{OpenSend, Over, Stage};
use crate::api::{CodeSessionSpec, CodeSessionStatus, DesiredState, MessageSpec, MessageStatus};

/// The message that is sent next, once the one before it has ended; `None` where none is left, or the session takes none any
/// more: it was never launched, is lost, or its end was asked for.
pub fn next_message<'a>(
    spec: &'a CodeSessionSpec,
    status: Option<&CodeSessionStatus>,
) -> Option<&'a MessageSpec> {
    let status = status?;
    let takes_messages = match Stage::of(Some(status)) {
        Stage::Running(_) | Stage::Open(OpenSend::Message { .. }) | Stage::Over(Over::Ended(_)) => {
            true
        }
        Stage::Waiting
        | Stage::Open(OpenSend::Launch(_))
        | Stage::Over(Over::NeverLaunched | Over::Unknown(_) | Over::Lost(_)) => false,
    };
    let stopped = status
        .cancel
        .as_ref()
        .is_some_and(|cancel| cancel.reason.ends_session());
    let wanted = match spec.desired_state() {
        DesiredState::Running | DesiredState::Suspended => true,
        DesiredState::Cancelled | DesiredState::Archived => false,
    };
    if !takes_messages || !wanted || stopped || status.archive.is_some() {
        return None;
    }
    let mut messages = spec.messages.iter().flatten();
    messages.find(|message| is_unsent(message, status))
}

/// Whether nobody has the message, and there is no verdict on it.
pub(super) fn is_unsent(message: &MessageSpec, status: &CodeSessionStatus) -> bool {
    entry(status, &message.name).is_none_or(|entry| {
        let record = entry.send.as_ref();
        let there = record.is_some_and(|record| record.state.may_be_there());
        !there && !entry.phase.is_terminal()
    })
}

pub(super) fn entry<'a>(status: &'a CodeSessionStatus, name: &str) -> Option<&'a MessageStatus> {
    status.messages.iter().find(|entry| entry.name == name)
}

/// The message of this name, as it stands in the spec.
pub(super) fn spec_of<'a>(o: &Observed<'a>, name: &str) -> Option<&'a MessageSpec> {
    let mut messages = o.session.spec.messages.iter().flatten();
    messages.find(|message| message.name == name)
}
