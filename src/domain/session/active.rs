//! A launched session: follow it, stop it when asked, and end it when the provider says so.

use super::super::remote::ErrorClass;
use super::finish::{ended, silently_stopped};
use super::observed::{Observed, Origin, Readiness};
use super::plan::{Effect, Plan};
use super::progress::{progress, store_if_seen};
use super::stop::{let_go, stop, stop_reason, until_deadline};
use super::view::{deletion_overdue, deletion_policy, draft, session_ref};
use crate::api::{DeletionPolicy, Reason, SendRecord};

pub(super) fn decide(o: &Observed<'_>, record: &SendRecord) -> Plan {
    let Some(session) = session_ref(o.session.status) else {
        // A confirmed launch always has an id; a status that was tampered with is left alone but for the object's deletion.
        return match o.session.deleting {
            Some(_) => Plan::act(Effect::ReleaseFinalizer),
            None => Plan::nothing(),
        };
    };
    if let Some(ended) = o
        .look
        .and_then(|look| ended(o, record, look).or_else(|| silently_stopped(o, look)))
    {
        return ended;
    }
    if o.session.deleting.is_some() {
        if deletion_policy(o) == DeletionPolicy::Orphan {
            return let_go(
                &session,
                "left running at the provider, as deletionPolicy: Orphan asks",
            );
        }
        if deletion_overdue(o) {
            return let_go(
                &session,
                "deleted without a confirmed stop: it may still be running at the provider",
            );
        }
    }
    if !o.session.has_finalizer && o.session.origin != Origin::Copy && !o.stopping {
        // `kubectl replace` removes it; a deletion would then leave the session running unseen.
        return Plan::act(Effect::AddFinalizer);
    }
    match stop_reason(o) {
        Some(reason) => stop(o, session, reason),
        None => follow(o),
    }
    // One that has passed is dealt with above; it must not wake the next pass at once.
    .no_later_than(until_deadline(o).filter(|left| !left.is_zero()))
}

/// Stores what a user can see; a change of the provider's own words alone is not worth a write.
fn follow(o: &Observed<'_>) -> Plan {
    let mut draft = draft(o);
    let mut again = None;
    match o.look.map(|look| &look.result) {
        // A process that has just started has no credential in memory, and without one nobody looks.
        None => {
            if let Readiness::Blocked {
                objection,
                passing,
                again: recheck,
            } = &o.readiness
            {
                again = Some(*recheck);
                if !passing {
                    draft.stalled(
                        objection.reason,
                        format!(
                            "the session runs, but cannot be followed: {}",
                            objection.message
                        ),
                    );
                }
            }
        }
        Some(Ok(snapshot)) => progress(&mut draft, o, snapshot),
        Some(Err(error)) => match error.class {
            ErrorClass::Unauthorized | ErrorClass::Forbidden => {
                draft.stalled(
                    Reason::CredentialsInvalid,
                    format!("the session runs, but the provider no longer accepts the key: {error}. Mend the Secret"),
                );
            }
            ErrorClass::Protocol => {
                draft.reconciling(
                    Reason::ProviderProtocolError,
                    format!("the session runs, but the provider's answer cannot be read: {error}"),
                );
            }
            ErrorClass::InvalidRequest
            | ErrorClass::NotFound
            | ErrorClass::Conflict
            | ErrorClass::RateLimited
            | ErrorClass::QuotaExhausted
            | ErrorClass::Unavailable
            | ErrorClass::Intermediary
            | ErrorClass::Timeout
            | ErrorClass::Unknown => {}
        },
    }
    store_if_seen(o, draft.finish()).no_later_than(again)
}
