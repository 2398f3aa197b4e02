//! A launched session: follow it, stop it when asked, and end it when the provider says so.

use std::time::Duration;

use super::super::blocker::NotReady;
use super::super::remote::ErrorClass;
use super::finish::{ended, silently_stopped};
use super::observed::{Observed, Origin, Poll, Readiness};
use super::plan::{Effect, Plan};
use super::progress::{progress, store_if_seen};
use super::stop;
use super::view::{
    deletion_overdue, deletion_policy, draft, session_ref, until_deletion_bound,
    until_deletion_ends,
};
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
        .poll
        .and_then(|poll| ended(o, record, poll).or_else(|| silently_stopped(o, poll)))
    {
        return ended;
    }
    if o.session.deleting.is_some() {
        if deletion_policy(o) == DeletionPolicy::Orphan {
            return stop::orphan(
                &session,
                "left running at the provider, as deletionPolicy: Orphan asks",
            );
        }
        // A deletion may be past its bound before anybody could do anything, by another clock than this process's. One stop is
        // sent first; that it was is recorded before, so that it holds the object only once.
        if deletion_overdue(o) && !stop::first_is_due(o) {
            return stop::orphan(
                &session,
                "deleted without a confirmed stop: it may still be running at the provider",
            );
        }
    }
    let plan = match stop::reason(o) {
        // A stop needs no finalizer, and must not wait for one that is refused.
        Some(reason) => stop::decide(o, session, reason),
        None if !o.session.has_finalizer && o.session.origin != Origin::Copy && !o.stopping => {
            // `kubectl replace` removes it; a deletion would then leave the session running unseen.
            return Plan::act(Effect::AddFinalizer);
        }
        None => follow(o),
    };
    plan.due(stop::until_deadline(o))
        .due(until_deletion_bound(o))
        .due(until_deletion_ends(o))
}

/// Stores what a user can see; a change of the provider's own words alone is not worth a write.
fn follow(o: &Observed<'_>) -> Plan {
    match o.poll {
        None => unseen(o),
        Some(poll) => match &poll.result {
            Ok(snapshot) => {
                let mut draft = draft(o);
                progress(&mut draft, o, snapshot);
                store_if_seen(o, draft.finish())
            }
            Err(error) => unanswered(o, poll, error.class),
        },
    }
}

/// Nobody has looked yet: a process that has just started has no credential in memory, and without one nobody looks.
fn unseen(o: &Observed<'_>) -> Plan {
    let mut draft = draft(o);
    let mut again = None;
    let mut due = None;
    if let Readiness::NotReady(NotReady {
        blocker,
        transient,
        again: recheck,
    }) = &o.readiness
    {
        again = Some(*recheck);
        let message = format!(
            "the session runs, but cannot be followed: {}",
            blocker.message
        );
        if !transient {
            due = draft.blocked(blocker.reason, message, o.timing.stalled_after);
        }
    }
    store_if_seen(o, draft.finish())
        .no_later_than(again)
        .due(due)
}

/// The newest look failed: what lasts is said.
fn unanswered(o: &Observed<'_>, poll: &Poll, class: ErrorClass) -> Plan {
    let error = poll.result.as_ref().err();
    let said = error.map(ToString::to_string).unwrap_or_default();
    let lasted = poll.begun.saturating_sub(poll.unchanged_since);
    let mut draft = draft(o);
    let mut due = None;
    match class {
        ErrorClass::Unauthorized | ErrorClass::Forbidden => {
            due = draft.blocked(
                Reason::CredentialsInvalid,
                format!("the session runs, but the provider no longer accepts the key: {said}. Mend the Secret"),
                o.timing.stalled_after,
            );
        }
        ErrorClass::Protocol => {
            draft.reconciling(
                Reason::ProviderProtocolError,
                format!("the session runs, but the provider's answer cannot be read: {said}"),
            );
        }
        ErrorClass::NotFound if lasted >= o.timing.consistency_window => {
            draft.reconciling(
                Reason::SessionLost,
                "the provider says that it does not know this session; if that lasts, and the key is found to be right, the session counts as lost",
            );
        }
        ErrorClass::InvalidRequest
        | ErrorClass::Conflict
        | ErrorClass::RateLimited
        | ErrorClass::QuotaExhausted
        | ErrorClass::Unavailable
        | ErrorClass::Intermediary
        | ErrorClass::Timeout
        | ErrorClass::Unknown
            if lasted >= worth_saying(o) =>
        {
            let reason = error.map_or(Reason::ProviderUnavailable, |error| error.outage());
            draft.reconciling(
                reason,
                "the session runs, but the provider cannot be asked about it at the moment; it is tried again by itself",
            );
        }
        ErrorClass::NotFound
        | ErrorClass::InvalidRequest
        | ErrorClass::Conflict
        | ErrorClass::RateLimited
        | ErrorClass::QuotaExhausted
        | ErrorClass::Unavailable
        | ErrorClass::Intermediary
        | ErrorClass::Timeout
        | ErrorClass::Unknown => {
            // Looks that say the same trigger nothing.
            due = Some(
                worth_saying(o)
                    .saturating_sub(lasted)
                    .max(o.timing.poll_min),
            );
        }
    }
    store_if_seen(o, draft.finish()).due(due)
}

/// How long looks must have failed until it is worth a write.
fn worth_saying(o: &Observed<'_>) -> Duration {
    o.timing.poll_max * 4
}
