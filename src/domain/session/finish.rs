//! The end of a launched session, as the newest look at it tells.

use super::super::remote::{CancelVisibility, ErrorClass, ProviderError};
use super::super::snapshot::{RemotePhase, Snapshot};
use super::super::status::Draft;
use super::conclusion;
use super::ended::missing;
use super::observed::{Observed, Poll, Readiness};
use super::plan::{Effect, Event, Plan};
use super::progress::{PullRequestWish, apply, pull_request_of, pull_request_wish};
use super::stop;
use super::view::{draft, stop_wanted};
use crate::api::{
    CancelReason, ConditionStatus, Reason, SendRecord, SendState, SessionCondition, SessionPhase,
};

/// The plan that ends the session, if the look shows that it has ended.
pub(super) fn ended(o: &Observed<'_>, record: &SendRecord, poll: &Poll) -> Option<Plan> {
    match &poll.result {
        Ok(snapshot) if snapshot.phase.is_terminal() => Some(end(o, snapshot)),
        Ok(_) => None,
        Err(error) if error.class == ErrorClass::NotFound => {
            if poll.account.as_str() != record.target.account {
                return o.session.deleting.is_none().then(|| {
                    let mut draft = draft(o);
                    let left = draft.blocked(
                        Reason::CredentialsChanged,
                        "the credentials now belong to another account, which does not know this session: restore the credentials it was launched with",
                        o.timing.stalled_after,
                    );
                    Plan::store(o, draft.finish()).due(left)
                });
            }
            lost(o, record, poll, error)
        }
        Err(_) => None,
    }
}

/// The plan for a session that the provider says it does not know, once that has lasted.
///
/// The end of a session that runs on costs money and cannot be followed any more. So it takes long, the provider itself has
/// to say it (an answer of something in between has another class), and the key must have been accepted since it began.
fn lost(o: &Observed<'_>, record: &SendRecord, poll: &Poll, error: &ProviderError) -> Option<Plan> {
    let started = o
        .session
        .status
        .and_then(|status| status.started_at)
        .unwrap_or(record.claimed_at);
    // A new session need not be visible before the fence, however early its launch was answered, and the clock that
    // said when may have been another's.
    let must_show = o.timing.fence() + o.timing.clock_margin + o.timing.poll_max;
    let lasted = poll.begun.saturating_sub(poll.unchanged_since);
    if o.since(started) < must_show || lasted < o.timing.lost_after {
        return None;
    }
    let verified = match &o.readiness {
        Readiness::Ready(connected) => connected.verified,
        Readiness::NotGathered | Readiness::Unverified | Readiness::NotReady(_) => return None,
    };
    if verified.is_none_or(|verified| verified < poll.unchanged_since) {
        return (!o.stopping).then(|| Plan::act(Effect::VerifyCredentials));
    }
    let message = format!("the provider no longer knows this session: {error}");
    let mut draft = draft(o);
    if let Some(record) = draft.status().launch.as_mut() {
        record.state = SendState::Lost;
    }
    draft.end(SessionPhase::Error, false, Reason::SessionLost, &message);
    Some(Plan::store(o, draft.finish()).with_event(Event::warning(Reason::SessionLost, message)))
}

/// The plan that ends a session whose stop was taken where the status cannot show it: nothing has moved since for long
/// enough, and the look that shows it was begun after that.
pub(super) fn silently_stopped(o: &Observed<'_>, poll: &Poll) -> Option<Plan> {
    let shown = o
        .provider
        .as_ref()
        .map(|provider| provider.cancel_visibility);
    let accepted = o.session.status?.cancel.as_ref()?.accepted_at?;
    let snapshot = poll.result.as_ref().ok()?;
    let looked_after = o
        .since(accepted)
        .saturating_sub(o.uptime.saturating_sub(poll.begun));
    let unchanged_for = poll.begun.saturating_sub(poll.unchanged_since);
    let silent = looked_after.min(unchanged_for) >= o.timing.stop_silence;
    (shown == Some(CancelVisibility::Unobservable) && silent).then(|| {
        let stopped = Snapshot {
            phase: RemotePhase::Cancelled,
            ..snapshot.clone()
        };
        end(o, &stopped)
    })
}

fn end(o: &Observed<'_>, snapshot: &Snapshot) -> Plan {
    let mut draft = draft(o);
    apply(&mut draft, snapshot);
    let cancel = o.session.status.and_then(|status| status.cancel.as_ref());
    // Providers without a status for it report a stopped session as finished. One that was finished before the stop
    // arrived stays finished.
    let stopped = match snapshot.phase {
        RemotePhase::Cancelled => true,
        RemotePhase::Finished => {
            o.stop_taken || cancel.is_some_and(|cancel| cancel.accepted_at.is_some())
        }
        RemotePhase::Error
        | RemotePhase::Expired
        | RemotePhase::Creating
        | RemotePhase::Running
        | RemotePhase::Unrecognised => false,
    };
    let pull_request = pull_request_of(snapshot, o.session.status);
    let (phase, wanted, reason, message) = verdict(o, snapshot, stopped);
    let (status, why) = match (pull_request.is_some(), pull_request_wish(o)) {
        (true, _) => (ConditionStatus::True, Reason::Created),
        (false, PullRequestWish::Asked) => (ConditionStatus::False, Reason::NoPullRequest),
        (false, PullRequestWish::NotAsked) => (ConditionStatus::False, Reason::NotRequested),
        (false, PullRequestWish::NotTold) => (ConditionStatus::Unknown, Reason::NotReported),
    };
    let late = late_note(o, &mut draft, phase);
    let found = match (pull_request, why) {
        (Some(url), _) => url,
        (None, Reason::NoPullRequest) => late.as_deref().unwrap_or_default(),
        (None, _) => "",
    };
    draft.set(SessionCondition::PullRequestCreated, status, why, found);
    draft.set(
        SessionCondition::Blocked,
        ConditionStatus::False,
        Reason::NotBlocked,
        "",
    );
    draft.end(phase, wanted, reason, &message);
    if let Some(late) = late {
        draft.set(
            SessionCondition::Completed,
            ConditionStatus::True,
            reason,
            late,
        );
    }
    conclusion::tell_pending(&mut draft, o);
    let event = if wanted {
        Event::normal(reason, message)
    } else {
        Event::warning(reason, message)
    };
    Plan::store(o, draft.finish()).with_event(event)
}

/// Phase, whether it is what was asked for, and why.
fn verdict(
    o: &Observed<'_>,
    snapshot: &Snapshot,
    stopped: bool,
) -> (SessionPhase, bool, Reason, String) {
    let cancel = o.session.status.and_then(|status| status.cancel.as_ref());
    // A stop that the provider took is ours, also where the API server did not let us record it.
    let reason = cancel
        .map(|cancel| cancel.reason)
        .or_else(|| stop::reason(o).filter(|_| o.stop_taken));
    let pull_request = pull_request_of(snapshot, o.session.status);
    let said = snapshot
        .error
        .as_deref()
        .or(snapshot.result.as_deref())
        .unwrap_or("the provider gave no reason");
    match (stopped, reason, snapshot.phase) {
        (true, Some(CancelReason::Deadline), _) => (
            SessionPhase::Expired,
            false,
            Reason::DeadlineExceeded,
            "stopped: it ran longer than activeDeadlineSeconds".to_owned(),
        ),
        (true, Some(_), _) => (
            SessionPhase::Cancelled,
            true,
            Reason::Cancelled,
            "stopped on request".to_owned(),
        ),
        (true, None, _) => (
            SessionPhase::Cancelled,
            stop_wanted(o),
            Reason::Cancelled,
            "stopped at the provider, not by this operator".to_owned(),
        ),
        (false, _, RemotePhase::Error) => (
            SessionPhase::Error,
            false,
            Reason::ProviderError,
            format!("the agent failed: {said}"),
        ),
        (false, _, RemotePhase::Expired) => (
            SessionPhase::Expired,
            false,
            Reason::ProviderExpired,
            "ended by the provider's own time limit".to_owned(),
        ),
        (false, _, _) => (
            SessionPhase::Finished,
            true,
            Reason::Finished,
            pull_request.map_or_else(|| "finished".to_owned(), |url| format!("finished: {url}")),
        ),
    }
}

/// What is said of an end at which something that was asked for is missing: providers report some of it only later.
fn late_note(o: &Observed<'_>, draft: &mut Draft, phase: SessionPhase) -> Option<String> {
    let provider = o.provider.as_ref()?;
    let [.., last] = o.timing.after_end;
    let until = draft.now() + last;
    let mut ended = draft.status().clone();
    ended.phase = phase;
    let missing = missing(&ended, provider);
    (!missing.is_empty()).then(|| {
        format!(
            "the provider did not report {} when the session ended; looked for until {until}",
            missing.join(" and ")
        )
    })
}
