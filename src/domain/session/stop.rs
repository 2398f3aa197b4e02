//! Stopping a launched session: why, when the next stop is due, what came of the last one, and what is said of it.
//!
//! A stop is repeated, but never blindly: after one that was taken or refused, only a look that was begun since and still
//! shows the session active makes the next one due. Where stops come to nothing, everything that a person needs stands in
//! the conditions: the provider's words, how often it was tried, when it is tried next, and the session's page.

use std::time::Duration;

use jiff::Timestamp;

use super::super::blocker::NotReady;
use super::super::remote::{CancelAnswer, Capability, ProviderError, SessionRef};
use super::super::status::{Draft, clip, newest_entry};
use super::observed::{Observed, Readiness, SessionView};
use super::pending::spec_of;
use super::plan::{Effect, Event, Guard, Plan, Recorded, StatusWrite};
use super::progress::{show_progress, store_if_seen};
use super::stage::Stage;
use super::view::{
    after, asks_for_stop, draft, next_try, spec_asks_for_stop, store, tries, until_deletion_ends,
    until_next_try,
};
use crate::api::{
    CancelReason, CancelRecord, CancelState, CodeSessionSpec, CodeSessionStatus, DesiredState,
    MessageSpec, Reason,
};

/// Stops in a row that came to nothing after which somebody should know.
const FAILURES_BEFORE_STALLED: i32 = 5;

/// Why the session is to be stopped, if it is. What was asked for once stays wanted, also where the spec no longer says so:
/// tools that apply manifests drop what a person has patched.
pub(super) fn reason(o: &Observed<'_>) -> Option<CancelReason> {
    if let Some(cancel) = recorded(o) {
        let asked = spec_asks_for_stop(o) && !cancel.reason.ends_session();
        return Some(if asked {
            CancelReason::User
        } else {
            cancel.reason
        });
    }
    if o.session.deleting.is_some() {
        Some(CancelReason::Delete)
    } else if spec_asks_for_stop(o) {
        Some(CancelReason::User)
    } else if newest_is_cancelled(o) {
        Some(CancelReason::Message)
    } else if until_deadline(o).is_some_and(|left| left.is_zero()) {
        Some(CancelReason::Deadline)
    } else {
        None
    }
}

/// Whether the message that runs is to be stopped, and it alone.
fn newest_is_cancelled(o: &Observed<'_>) -> bool {
    let newest = o.session.status.and_then(newest_entry);
    let spec = newest.and_then(|newest| spec_of(o, &newest.name));
    spec.is_some_and(MessageSpec::is_cancelled)
}

/// How long the newest message may still run, from its sending; `None` once a stop was asked for: then the deadline has nothing more to say.
pub(super) fn until_deadline(o: &Observed<'_>) -> Option<Duration> {
    let status = o.session.status.filter(|status| status.cancel.is_none())?;
    let seconds = o
        .session
        .spec
        .active_deadline_seconds
        .or(status.effective.as_ref().map(|e| e.active_deadline_seconds))?;
    let started = newest_entry(status).and_then(|newest| newest.started_at);
    let deadline =
        started.or(status.started_at)? + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(o.until(deadline))
}

/// Stores that the spec asks for the session's end, where no stop is sent in the same pass; `None` where that is known already.
pub(super) fn remember_wish(o: &Observed<'_>) -> Option<Plan> {
    let SessionView {
        spec,
        status,
        generation,
        ..
    } = o.session;
    requested(spec, status, generation, o.now).map(|status| Plan::store(o, status))
}

/// The status in which it is recorded that the spec asks for the session's end; `None` where there is nothing to record. Also while
/// a call is under way and nothing else can be decided: whoever drops the wish from the spec meanwhile does not take it back.
pub fn requested(
    spec: &CodeSessionSpec,
    status: Option<&CodeSessionStatus>,
    generation: i64,
    now: Timestamp,
) -> Option<CodeSessionStatus> {
    let recorded = status.and_then(|status| status.cancel.as_ref());
    let known = recorded.is_some_and(|cancel| cancel.reason.ends_session());
    let over = match Stage::of(status) {
        Stage::Waiting | Stage::Open(_) | Stage::Running(_) => false,
        Stage::Over(_) => true,
    };
    if known || over || !asks_for_stop(spec) {
        return None;
    }
    let mut draft = Draft::new(status, generation, now);
    request(&mut draft, CancelReason::User, CancelState::Requested);
    Some(draft.finish())
}

/// Whether the session can be stopped.
fn is_possible(o: &Observed<'_>) -> bool {
    let can = o
        .provider
        .as_ref()
        .is_some_and(|provider| provider.capabilities.contains(&Capability::Cancel));
    let unsupported = |cancel: &CancelRecord| cancel.state == CancelState::Unsupported;
    can && !recorded(o).is_some_and(unsupported)
}

/// Whether a stop of a deletion that is past its bound can be sent, and none was: then it is, before the object is let go. It
/// holds the object no longer than that: once one was sent, whatever became of it, or where nothing can be sent, the bound
/// counts, and in the end this process's own clock.
pub(super) fn first_is_due(o: &Observed<'_>) -> bool {
    let sent = o.last_stop.is_some() || recorded(o).is_some_and(|cancel| cancel.sent_at.is_some());
    let connected = match &o.readiness {
        // A key that nobody has asked about is asked about first.
        Readiness::Ready(_) | Readiness::Unverified => true,
        Readiness::NotGathered | Readiness::NotReady(_) => false,
    };
    let in_time = until_deletion_ends(o).is_some_and(|left| !left.is_zero());
    !sent && connected && in_time && is_possible(o)
}

/// The next step of a session that is to be stopped.
pub(super) fn decide(o: &Observed<'_>, session: SessionRef, reason: CancelReason) -> Plan {
    if !is_possible(o) {
        if o.session.deleting.is_some() {
            return orphan(&session, "its provider cannot stop it: left running");
        }
        return follow_to_its_end(o, reason);
    }
    match &o.readiness {
        Readiness::Ready(_) => {}
        Readiness::NotReady(NotReady { blocker, again, .. }) => {
            let mut draft = draft(o);
            request(&mut draft, reason, CancelState::Requested);
            let left = draft.blocked(
                blocker.reason,
                format!("cannot be stopped: {}", blocker.message),
                o.timing.stalled_after,
            );
            return Plan::store(o, draft.finish()).again(*again).due(left);
        }
        Readiness::NotGathered | Readiness::Unverified => {
            if let Some(recorded) = remember_wish(o) {
                // The stop itself is still to be sent, and our own write wakes nobody.
                return recorded.again(Duration::ZERO);
            }
            return match o.readiness {
                Readiness::Unverified if !o.stopping => Plan::act(Effect::VerifyCredentials),
                _ => Plan::wait(o.timing.recheck),
            };
        }
    }
    if let Some(widened) = recorded(o).and_then(|_| remember_wish(o)) {
        // Our own write wakes nobody.
        return widened.again(Duration::ZERO);
    }
    if o.stopping {
        return Plan::nothing();
    }
    match recorded(o) {
        None => begin(o, session, reason),
        Some(cancel) if cancel.state == CancelState::Requested => begin(o, session, cancel.reason),
        Some(cancel) => match until_next(o, cancel) {
            None => Plan::act(Effect::Cancel(session)),
            Some(wait) => {
                let mut draft = draft(o);
                // Something else may have kept the stop from being sent meanwhile.
                say(&mut draft, o);
                Plan::store(o, draft.finish()).again(wait)
            }
        },
    }
}

/// The first stop, or one after others that the API server did not let us record: those keep their distance as well.
fn begin(o: &Observed<'_>, session: SessionRef, reason: CancelReason) -> Plan {
    let pace = pace(o, CancelState::Sent, 0);
    let wait = o
        .last_stop
        .map(|last| (last + pace).saturating_sub(o.uptime))
        .filter(|wait| !wait.is_zero());
    match wait {
        Some(wait) => Plan::wait(wait),
        None => first(o, session, reason),
    }
}

/// The first stop: `sentAt` is stored before it goes out.
fn first(o: &Observed<'_>, session: SessionRef, reason: CancelReason) -> Plan {
    let mut draft = draft(o);
    let now = draft.now();
    request(&mut draft, reason, CancelState::Sent);
    if let Some(cancel) = draft.status().cancel.as_mut() {
        cancel.state = CancelState::Sent;
        cancel.sent_at.get_or_insert(now);
    }
    say(&mut draft, o);
    Plan {
        before: Some(StatusWrite {
            status: Box::new(draft.finish()),
            guard: Guard::Unchanged,
        }),
        effect: Some(Effect::Cancel(session)),
        ..Plan::default()
    }
}

fn recorded<'a>(o: &Observed<'a>) -> Option<&'a CancelRecord> {
    o.session.status.and_then(|status| status.cancel.as_ref())
}

/// Records that a stop is wanted, where that is not recorded yet. Whoever wants the session's end, while one message is being
/// stopped, wants more than that stop.
pub(super) fn request(draft: &mut Draft, reason: CancelReason, state: CancelState) {
    draft.first_message();
    let newest = draft.status().messages.last();
    let message = newest.map(|it| it.name.clone()).unwrap_or_default();
    let cancel = draft.status().cancel.get_or_insert(CancelRecord {
        reason,
        message,
        state,
        sent_at: None,
        accepted_at: None,
        failures: 0,
        error: None,
        next_at: None,
    });
    if reason.ends_session() && !cancel.reason.ends_session() {
        cancel.reason = reason;
    }
}

/// How long until the next stop; `None` if it is due.
fn until_next(o: &Observed<'_>, cancel: &CancelRecord) -> Option<Duration> {
    let pace = pace(o, cancel.state, cancel.failures);
    let paced = o.last_stop.map_or(Duration::ZERO, |last| {
        (last + pace).saturating_sub(o.uptime)
    });
    // Another process may have sent the last one, and the provider may have asked for a longer wait.
    let wait = paced.max(until_next_try(cancel.next_at, o.now, o.timing));
    if !wait.is_zero() {
        return Some(wait);
    }
    let blind = match cancel.state {
        // It is not known to have reached the provider: it may be sent again at once.
        CancelState::Failing => false,
        // Sent by another process, which did not live to store the answer.
        CancelState::Sent => o.last_stop.is_some() && !seen_active_since_last_stop(o, cancel),
        CancelState::Requested
        | CancelState::Accepted
        | CancelState::Refused
        | CancelState::Unsupported => !seen_active_since_last_stop(o, cancel),
    };
    blind.then_some(o.timing.poll_min)
}

/// Whether a look that was begun after the last stop shows the session active.
fn seen_active_since_last_stop(o: &Observed<'_>, cancel: &CancelRecord) -> bool {
    let Some(poll) = o.poll else { return false };
    let active = poll
        .result
        .as_ref()
        .is_ok_and(|snapshot| !snapshot.phase.is_terminal());
    let since = match (o.last_stop, cancel.accepted_at) {
        (Some(last), _) => poll.begun > last,
        // The stop was an earlier process's: what this one saw, it saw later.
        (None, _) => true,
    };
    active && since
}

/// The shortest time between two stops.
fn pace(o: &Observed<'_>, state: CancelState, failures: i32) -> Duration {
    match state {
        CancelState::Accepted if failures < FAILURES_BEFORE_STALLED => o.timing.stop_again,
        CancelState::Accepted => o.timing.stop_again.max(o.timing.fault_wait_max),
        CancelState::Requested
        | CancelState::Sent
        | CancelState::Refused
        | CancelState::Failing
        | CancelState::Unsupported => o.timing.fault_wait(failures.max(o.faults)),
    }
    .max(o.timing.poll_min.min(o.timing.stop_again))
}

/// Puts into the conditions how the stop stands, as its record tells.
fn say(draft: &mut Draft, o: &Observed<'_>) {
    let Some(cancel) = draft.status().cancel.clone() else {
        return;
    };
    let (stalled, reason, message) = sentence(&cancel, draft.status(), o);
    if stalled {
        draft.stalled(reason, message);
    } else {
        draft.reconciling(reason, message);
    }
}

fn sentence(
    cancel: &CancelRecord,
    status: &CodeSessionStatus,
    o: &Observed<'_>,
) -> (bool, Reason, String) {
    let why = being_stopped(cancel.reason, o);
    let failures = cancel.failures;
    let stalled = failures >= FAILURES_BEFORE_STALLED;
    let advice = if stalled {
        format!(". If it must end now, {}", on_its_page(status))
    } else {
        String::new()
    };
    match cancel.state {
        CancelState::Refused => {
            let said = cancel.error.as_deref().unwrap_or("no reason");
            let (said, next) = (said.trim_end_matches('.'), next_try(cancel.next_at));
            let reason = if stalled {
                Reason::CancelRefused
            } else {
                Reason::Cancelling
            };
            let message = format!(
                "{why}; the provider refuses and reports the session as active: {said}; tried {failures} times{next}{advice}"
            );
            (stalled, reason, message)
        }
        CancelState::Failing => {
            let reason = if stalled {
                Reason::CancelFailing
            } else {
                Reason::Cancelling
            };
            let tries = tries(cancel.error.as_deref(), failures, cancel.next_at);
            let message = format!("{why}; {tries}{advice}");
            (stalled, reason, message)
        }
        CancelState::Accepted if stalled => (
            true,
            Reason::CancelFailing,
            format!(
                "{why}; the provider took the stop, {failures} times again, and still reports the session as active{advice}"
            ),
        ),
        CancelState::Unsupported => (
            true,
            Reason::CancelUnsupported,
            cannot_be_stopped(cancel.reason, status),
        ),
        CancelState::Requested | CancelState::Sent | CancelState::Accepted => {
            (false, Reason::Cancelling, why.to_owned())
        }
    }
}

fn being_stopped(reason: CancelReason, o: &Observed<'_>) -> &'static str {
    match reason {
        CancelReason::User => match o.session.spec.desired_state() {
            DesiredState::Archived => "being stopped before it is archived",
            DesiredState::Running | DesiredState::Suspended | DesiredState::Cancelled => {
                "being stopped on request"
            }
        },
        CancelReason::Delete => "being stopped because it is being deleted",
        CancelReason::Deadline => "being stopped: it ran longer than activeDeadlineSeconds",
        CancelReason::Duplicate => "being stopped as a duplicate",
        CancelReason::Message => "its message is being stopped, as its cancel asks",
    }
}

fn on_its_page(status: &CodeSessionStatus) -> String {
    let url = status
        .provider
        .as_ref()
        .and_then(|provider| provider.session_url.as_deref());
    match url {
        Some(url) => format!("stop it on its page: {url}"),
        None => "stop it on the provider's page".to_owned(),
    }
}

/// Somebody wants it stopped and the provider cannot: that is said, and how the session fares is shown on.
fn follow_to_its_end(o: &Observed<'_>, reason: CancelReason) -> Plan {
    let mut draft = draft(o);
    if let Some(Ok(snapshot)) = o.poll.map(|poll| &poll.result) {
        show_progress(&mut draft, o, snapshot);
    }
    request(&mut draft, reason, CancelState::Unsupported);
    if let Some(cancel) = draft.status().cancel.as_mut() {
        cancel.state = CancelState::Unsupported;
    }
    let first = recorded(o).is_none_or(|cancel| cancel.state != CancelState::Unsupported);
    let message = cannot_be_stopped(reason, draft.status());
    draft.stalled(Reason::CancelUnsupported, &message);
    let plan = store_if_seen(o, draft.finish());
    if first {
        plan.with_event(Event::warning(Reason::CancelUnsupported, message))
    } else {
        plan
    }
}

/// Said of a session that its provider cannot stop.
fn cannot_be_stopped(reason: CancelReason, status: &CodeSessionStatus) -> String {
    let why = match reason {
        CancelReason::Deadline => "it runs longer than activeDeadlineSeconds, and ",
        CancelReason::User
        | CancelReason::Delete
        | CancelReason::Duplicate
        | CancelReason::Message => "",
    };
    format!(
        "{why}its provider cannot stop it: it goes on until it ends by itself. If there is a way, {}",
        on_its_page(status)
    )
}

/// The object goes, the session stays.
pub(super) fn orphan(session: &SessionRef, why: &str) -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    plan.events.push(Event::warning(
        Reason::Orphaned,
        format!("session {}: {why}", session.session_id),
    ));
    plan
}

/// What a stop comes to.
pub(super) fn stopped(o: &Observed<'_>, answer: &Result<CancelAnswer, ProviderError>) -> Recorded {
    match answer {
        Ok(CancelAnswer::Accepted) => taken(o),
        Ok(CancelAnswer::NotCancellable(_)) if o.faults == 0 && !failed_before(o) => Recorded {
            // It may just have ended: the next look tells. Only if it does not is there something to say.
            again: Some(o.timing.poll_min),
            fault: true,
            ..Recorded::default()
        },
        Ok(CancelAnswer::NotCancellable(words)) => {
            let why = match words {
                Some(words) => format!("it cannot be stopped now: {words}"),
                None => "it cannot be stopped now".to_owned(),
            };
            let failures = failures(o).max(o.faults).saturating_add(1);
            failed(o, CancelState::Refused, failures, &why, Duration::ZERO)
        }
        Ok(CancelAnswer::Unsupported) => {
            let mut draft = draft(o);
            if let Some(cancel) = draft.status().cancel.as_mut() {
                cancel.state = CancelState::Unsupported;
            }
            say(&mut draft, o);
            let mut recorded = store(o, draft.finish());
            emit(&mut recorded, o);
            recorded
        }
        Err(error) => failed(
            o,
            CancelState::Failing,
            failures(o).saturating_add(1),
            &error.to_string(),
            error.retry_after.unwrap_or_default(),
        ),
    }
}

fn failures(o: &Observed<'_>) -> i32 {
    recorded(o).map_or(0, |cancel| cancel.failures)
}

fn failed_before(o: &Observed<'_>) -> bool {
    failures(o) > 0
}

/// The provider took a stop. One that follows on another that was taken shows that the other had no effect, which is said
/// once that has lasted: until then repeating is worth no write.
fn taken(o: &Observed<'_>) -> Recorded {
    let mut draft = draft(o);
    let now = draft.now();
    let without_effect = without_effect(o);
    let repeats = o.faults.saturating_add(1);
    let mut news = false;
    let mut repeated = false;
    if let Some(cancel) = draft.status().cancel.as_mut() {
        repeated = cancel.state == CancelState::Accepted;
        if !repeated {
            cancel.failures = 0;
        } else if without_effect && cancel.failures < FAILURES_BEFORE_STALLED {
            cancel.failures = repeats.max(FAILURES_BEFORE_STALLED);
            news = true;
        }
        cancel.state = CancelState::Accepted;
        cancel.accepted_at.get_or_insert(now);
        cancel.error = None;
        cancel.next_at = None;
    }
    say(&mut draft, o);
    let mut recorded = Recorded {
        again: Some(o.timing.stop_again),
        fault: repeated,
        ..store(o, draft.finish())
    };
    if news {
        emit(&mut recorded, o);
    }
    recorded
}

/// Whether the stop that was taken first should have shown by now, to this process as well.
fn without_effect(o: &Observed<'_>) -> bool {
    let patience = o.timing.stop_silence * 2;
    let observed = o
        .uptime
        .saturating_sub(o.claim_first_seen.unwrap_or_default());
    let accepted = recorded(o).and_then(|cancel| cancel.accepted_at);
    accepted.is_some_and(|accepted| o.since(accepted) >= patience && observed >= patience)
}

/// A stop came to nothing: that is stored with everything a person needs.
fn failed(
    o: &Observed<'_>,
    state: CancelState,
    failures: i32,
    said: &str,
    at_least: Duration,
) -> Recorded {
    let wait = pace(o, state, failures).max(at_least);
    let mut draft = draft(o);
    if let Some(cancel) = draft.status().cancel.as_mut() {
        cancel.state = state;
        cancel.failures = failures;
        cancel.error = Some(clip(said, 512));
        cancel.next_at = Some(after(o, wait));
    }
    say(&mut draft, o);
    let mut recorded = Recorded {
        again: Some(wait),
        fault: true,
        ..store(o, draft.finish())
    };
    if failures == FAILURES_BEFORE_STALLED {
        emit(&mut recorded, o);
    }
    recorded
}

/// Says in an Event what the conditions say, once it is stored.
fn emit(recorded: &mut Recorded, o: &Observed<'_>) {
    let Some(write) = &recorded.write else { return };
    let Some(cancel) = &write.status.cancel else {
        return;
    };
    let (_, reason, message) = sentence(cancel, &write.status, o);
    recorded.events.push(Event::warning(reason, message));
}
