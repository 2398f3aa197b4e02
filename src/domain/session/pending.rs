//! Which follow-up messages are still to be sent.

use super::super::status::entry;
use super::observed::Observed;
use super::stage::{OpenSend, Over, Stage};
use super::view::asks_for_stop;
use crate::api::{CodeSessionSpec, CodeSessionStatus, MessageSpec};

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
    if !takes_messages || asks_for_stop(spec) || stopped || status.archive.is_some() {
        return None;
    }
    let mut messages = spec.messages.iter().flatten();
    messages.find(|message| is_unsent(message, status))
}

/// Whether nobody has the message, and there is no verdict on it.
pub(super) fn is_unsent(message: &MessageSpec, status: &CodeSessionStatus) -> bool {
    entry(status, &message.name)
        .is_none_or(|entry| !entry.may_be_there() && !entry.phase.is_terminal())
}

/// The message of this name, as it stands in the spec.
pub(super) fn spec_of<'a>(o: &Observed<'a>, name: &str) -> Option<&'a MessageSpec> {
    let mut messages = o.session.spec.messages.iter().flatten();
    messages.find(|message| message.name == name)
}
