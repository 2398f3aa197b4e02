//! The conditions of a session whose newest message has ended.

use super::super::status::{Draft, FIRST_MESSAGE};
use super::observed::Observed;
use super::pending::next_message;
use super::stage::{Over, Stage};
use super::view::tell_end;
use crate::api::{
    CancelReason, CodeSessionStatus, ConditionStatus, ErrorStatus, Reason, SessionCondition,
    SessionPhase, condition,
};

/// Says that a further message is to be sent, where one is.
pub(super) fn tell_pending(draft: &mut Draft, o: &Observed<'_>) -> bool {
    if o.session.deleting.is_some() {
        return false;
    }
    let Some(next) = next_message(o.session.spec, Some(draft.status())) else {
        return false;
    };
    let what = format!("message {} is sent next", next.name);
    draft.reconciling(Reason::MessagePending, &what);
    draft.incomplete(Reason::MessagePending, &what);
    true
}

/// The conditions of the ended session in `draft`, from what is recorded of it and what the spec asks for.
pub(super) fn tell(draft: &mut Draft, o: &Observed<'_>) {
    let status = draft.status().clone();
    let Stage::Over(over) = Stage::of(Some(&status)) else {
        return;
    };
    if tell_pending(draft, o) {
        return;
    }
    restore_end(draft);
    let launched = matches!(over, Over::Ended(_) | Over::Lost(_));
    match newest_failure(&status).filter(|_| launched) {
        Some((name, error)) => {
            let reason = Reason::named(&error.reason).unwrap_or(Reason::MessageNotSent);
            draft.stalled(
                reason,
                format!("message {name} is not sent: {}", error.message),
            );
        }
        None => tell_end(draft, o, over),
    }
}

/// `Succeeded` and `Completed` as the newest message ended, where they spoke of another one that was to be sent.
pub(super) fn restore_end(draft: &mut Draft) {
    let status = draft.status().clone();
    let open = condition(&status.conditions, SessionCondition::Succeeded.as_str())
        .is_none_or(|stored| stored.status == ConditionStatus::Unknown);
    if !open || !status.phase.is_terminal() {
        return;
    }
    let url = status
        .pull_request
        .as_ref()
        .and_then(|found| found.url.as_deref());
    let stopped_by = status.cancel.as_ref().map(|cancel| cancel.reason);
    let (reason, message) = match (status.phase, &status.error) {
        (SessionPhase::Finished, _) => (
            Reason::Finished,
            url.map_or_else(|| "finished".to_owned(), |url| format!("finished: {url}")),
        ),
        (SessionPhase::Error, Some(error)) => (
            Reason::named(&error.reason).unwrap_or(Reason::ProviderError),
            error.message.clone(),
        ),
        (SessionPhase::Error, None) => (Reason::ProviderError, "the agent failed".to_owned()),
        (SessionPhase::Expired, _) if stopped_by == Some(CancelReason::Deadline) => (
            Reason::DeadlineExceeded,
            "stopped: it ran longer than activeDeadlineSeconds".to_owned(),
        ),
        (SessionPhase::Expired, _) => (
            Reason::ProviderExpired,
            "ended by the provider's own time limit".to_owned(),
        ),
        (SessionPhase::Cancelled, _) => (Reason::Cancelled, "stopped on request".to_owned()),
        (SessionPhase::Pending | SessionPhase::Creating | SessionPhase::Running, _) => return,
    };
    draft.set(
        SessionCondition::Succeeded,
        (status.phase == SessionPhase::Finished).into(),
        reason,
        message,
    );
    draft.set(
        SessionCondition::Completed,
        ConditionStatus::True,
        reason,
        "",
    );
}

/// The newest message that was not sent, and why, if nothing was sent since.
fn newest_failure(status: &CodeSessionStatus) -> Option<(&str, &ErrorStatus)> {
    let newest = status.messages.last()?;
    let unsent = newest.name != FIRST_MESSAGE && !newest.may_be_there();
    let failed = unsent && newest.phase == SessionPhase::Error;
    let error = newest.error.as_ref().filter(|_| failed)?;
    Some((newest.name.as_str(), error))
}
