//! Stopping a launched session: why, how often, and what comes of it.

use std::time::Duration;

use super::super::remote::{CancelAnswer, Capability, ProviderError, SessionRef};
use super::observed::{Observed, Readiness};
use super::plan::{Effect, Guard, Note, Plan, Recorded, StatusWrite};
use super::progress::{standing, store_if_seen};
use super::view::{draft, stop_wanted, store};
use crate::api::{
    CancelReason, CancelRecord, ConditionStatus, DesiredState, Reason, SessionCondition, condition,
};

pub(super) fn stop_reason(o: &Observed<'_>) -> Option<CancelReason> {
    if let Some(cancel) = o.session.status.and_then(|status| status.cancel.as_ref()) {
        return Some(cancel.reason);
    }
    if o.session.deleting.is_some() {
        Some(CancelReason::Delete)
    } else if stop_wanted(o) {
        Some(CancelReason::User)
    } else if until_deadline(o).is_some_and(|left| left.is_zero()) {
        Some(CancelReason::Deadline)
    } else {
        None
    }
}

/// How long the session may still run.
pub(super) fn until_deadline(o: &Observed<'_>) -> Option<Duration> {
    let status = o.session.status?;
    let seconds = o
        .session
        .spec
        .active_deadline_seconds
        .or(status.effective.as_ref().map(|e| e.active_deadline_seconds))?;
    let deadline = status.started_at? + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let left = o.until(deadline);
    // Once a stop was asked for, the deadline has nothing more to say.
    (status.cancel.is_none()).then_some(left)
}

pub(super) fn stop(o: &Observed<'_>, session: SessionRef, reason: CancelReason) -> Plan {
    let possible = o
        .provider
        .as_ref()
        .is_some_and(|provider| provider.capabilities.contains(&Capability::Cancel));
    let refused = o.session.status.is_some_and(|status| {
        condition(&status.conditions, SessionCondition::Stalled.as_str())
            .is_some_and(|stalled| stalled.reason == Reason::CancelUnsupported.as_str())
    });
    if !possible || refused {
        if o.session.deleting.is_some() {
            return let_go(&session, "its provider cannot stop it: left running");
        }
        return followed_to_its_end(o, reason);
    }
    match &o.readiness {
        Readiness::Ready(_) => {}
        Readiness::Unverified if !o.stopping => return Plan::act(Effect::VerifyCredentials),
        Readiness::Blocked {
            objection, again, ..
        } => {
            let mut draft = draft(o);
            draft.stalled(
                objection.reason,
                format!("cannot be stopped: {}", objection.message),
            );
            return Plan::store(o, draft.finish()).again(*again);
        }
        Readiness::NotGathered | Readiness::Unverified => return Plan::wait(o.timing.recheck),
    }
    if o.stopping {
        return Plan::nothing();
    }
    let stored = o.session.status.and_then(|status| status.cancel.as_ref());
    if stored.is_none() {
        let mut draft = draft(o);
        let now = draft.now();
        let message = draft.first_message().name.clone();
        draft.status().cancel = Some(CancelRecord {
            reason,
            message,
            sent_at: now,
            accepted_at: None,
        });
        let why = match reason {
            CancelReason::User => match o.session.spec.desired_state() {
                DesiredState::Archived => "being stopped before it is archived",
                DesiredState::Running | DesiredState::Suspended | DesiredState::Cancelled => {
                    "being stopped on request"
                }
            },
            CancelReason::Delete => "being stopped because it is being deleted",
            CancelReason::Deadline => "being stopped: it ran longer than activeDeadlineSeconds",
            CancelReason::Duplicate => "being stopped as a duplicate",
        };
        draft.reconciling(Reason::Cancelling, why);
        return Plan {
            before: Some(StatusWrite {
                status: Box::new(draft.finish()),
                guard: Guard::Unchanged,
            }),
            effect: Some(Effect::Cancel(session)),
            notes: Vec::new(),
            again: None,
        };
    }
    let accepted = stored.is_some_and(|cancel| cancel.accepted_at.is_some());
    let pace = if accepted {
        o.timing.stop_again
    } else {
        o.timing.fault_wait(o.faults)
    };
    let wait = o
        .last_stop
        .and_then(|last| (last + pace).checked_sub(o.uptime))
        .filter(|wait| !wait.is_zero());
    match wait {
        Some(wait) => {
            let mut draft = draft(o);
            if is_stalled(o) {
                // What kept the stop from being sent is gone.
                draft.reconciling(Reason::Cancelling, "being stopped");
            }
            Plan::store(o, draft.finish()).again(wait)
        }
        None => Plan::act(Effect::Cancel(session)),
    }
}

/// Somebody wants it stopped and the provider cannot: that is said, and how the session fares is shown on.
fn followed_to_its_end(o: &Observed<'_>, reason: CancelReason) -> Plan {
    let mut draft = draft(o);
    if let Some(Ok(snapshot)) = o.look.map(|look| &look.result) {
        standing(&mut draft, o, snapshot);
    }
    draft.stalled(Reason::CancelUnsupported, cannot_be_stopped(reason));
    store_if_seen(o, draft.finish())
}

/// Said of a session that its provider cannot stop.
pub(super) fn cannot_be_stopped(reason: CancelReason) -> String {
    let why = match reason {
        CancelReason::Deadline => "it runs longer than activeDeadlineSeconds, and ",
        CancelReason::User | CancelReason::Delete | CancelReason::Duplicate => "",
    };
    format!(
        "{why}its provider cannot stop it: it goes on until it ends by itself. Stop it on the provider's page if there is a way"
    )
}

fn is_stalled(o: &Observed<'_>) -> bool {
    o.session.status.is_some_and(|status| {
        condition(&status.conditions, SessionCondition::Stalled.as_str())
            .is_some_and(|stalled| stalled.status == ConditionStatus::True)
    })
}

/// The object goes, the session stays.
pub(super) fn let_go(session: &SessionRef, why: &str) -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    plan.notes.push(Note::warning(
        Reason::Orphaned,
        format!("session {}: {why}", session.session_id),
    ));
    plan
}

pub(super) fn stopped(o: &Observed<'_>, answer: &Result<CancelAnswer, ProviderError>) -> Recorded {
    match answer {
        Ok(CancelAnswer::Accepted) => {
            let mut draft = draft(o);
            let now = draft.now();
            if let Some(cancel) = draft.status().cancel.as_mut() {
                cancel.accepted_at.get_or_insert(now);
            }
            Recorded {
                again: Some(o.timing.stop_again),
                ..store(o, draft.finish())
            }
        }
        Ok(CancelAnswer::NotCancellable) => Recorded {
            again: Some(o.timing.poll_min),
            ..Recorded::default()
        },
        Ok(CancelAnswer::Unsupported) => {
            let mut draft = draft(o);
            let stop = draft.status().cancel.as_ref();
            let reason = stop.map_or(CancelReason::User, |cancel| cancel.reason);
            draft.stalled(Reason::CancelUnsupported, cannot_be_stopped(reason));
            store(o, draft.finish())
        }
        Err(_) => {
            let wait = o.timing.fault_wait(o.faults.saturating_add(1));
            Recorded {
                again: Some(wait),
                fault: true,
                ..Recorded::default()
            }
        }
    }
}
