//! After the end: what comes late is looked for, the finalizer goes, the session is archived where that is asked for, and the object
//! goes when its time has come.

use std::time::Duration;

use jiff::Timestamp;

use super::super::blocker::NotReady;
use super::super::ids::{AccountFingerprint, SessionId};
use super::super::remote::{Capability, ProviderError, SessionRef};
use super::super::snapshot::{RemotePhase, Snapshot};
use super::super::status::{Draft, FIRST_MESSAGE, newest_entry};
use super::super::timing::Timing;
use super::super::webhook;
use super::archive;
use super::conclusion;
use super::launch::under_way;
use super::message;
use super::observed::{Observed, ProviderFacts, Readiness};
use super::pending::is_unsent;
use super::plan::{Effect, Event, Plan, Recorded};
use super::progress::apply;
use super::stage::{Outline, Over, newest_message_send};
use super::stop;
use super::view::{draft, nothing_more_comes, session_ref, store, tell_end};
use crate::api::{
    CancelReason, CancelState, CodeSessionStatus, ConditionStatus, DesiredState, MessageStatus,
    Reason, SendState, SessionCondition, SessionPhase,
};

/// How long, in longest waits after the end, a lost session is looked for.
const LOST_ROUNDS: u32 = 96;

pub(super) fn decide(o: &Observed<'_>, over: Over<'_>) -> Plan {
    let Some(status) = o.session.status else {
        return Plan::nothing();
    };
    if let Some(plan) = hand_over(o, over) {
        return plan;
    }
    if let Some(plan) = message::decide(o) {
        return plan;
    }
    let expires = until_expiry(o, status, over);
    let gone = expires.is_some_and(|left| left.is_zero());
    // While the API server refuses what is left to write, that is what the conditions say.
    if status.blocker.is_none() || !(o.session.has_finalizer || gone) {
        let follows = follow_spec(o, status, over);
        if follows.before.is_some() {
            return follows;
        }
    }
    if o.session.has_finalizer {
        return Plan::act(Effect::ReleaseFinalizer);
    }
    if o.session.deleting.is_some() {
        return Plan::nothing();
    }
    if gone {
        return if o.stopping {
            Plan::nothing()
        } else {
            Plan::act(Effect::DeleteObject)
        };
    }
    let (spec, provider) = (o.session.spec, o.provider.as_ref());
    let archives = archive::until_due(spec, status, provider, over, o.now, o.timing);
    let next = match (archives, session_ref(Some(status))) {
        (Some(wait), Some(session)) => archive::decide(o, status, over, session, wait),
        (Some(_), None) | (None, _) => poll_again(o, over),
    };
    next.due(expires)
}

/// A session whose launch had an unknown outcome, and a user who found it at the provider.
fn hand_over(o: &Observed<'_>, over: Over<'_>) -> Option<Plan> {
    // Cancelled ones too: the session that was found is then stopped.
    let unknown = matches!(over, Over::Unknown(_));
    let id = o
        .session
        .adopt
        .filter(|_| unknown && o.session.deleting.is_none() && !o.stopping)?;
    Some(match &o.readiness {
        Readiness::Unverified => Plan::act(Effect::VerifyCredentials),
        Readiness::NotReady(NotReady { again, .. }) => Plan::wait(*again),
        Readiness::NotGathered => Plan::wait(o.timing.recheck),
        Readiness::Ready(_) if !o.session.has_finalizer => Plan::act(Effect::AddFinalizer),
        Readiness::Ready(_) => Plan::act(Effect::Examine(SessionRef {
            session_id: SessionId::new(id),
            run_id: None,
        })),
    })
}

/// The conditions follow what the spec now asks of the ended session. They are told anew from what is recorded, whatever they
/// said before.
fn follow_spec(o: &Observed<'_>, status: &CodeSessionStatus, over: Over<'_>) -> Plan {
    let mut draft = draft(o);
    let cancelled = o.session.spec.desired_state() == DesiredState::Cancelled;
    if cancelled && matches!(over, Over::Ended(_)) {
        // Whoever drops the wish from the spec does not take it back: no message is sent any more.
        stop::request(&mut draft, CancelReason::User, CancelState::Requested);
    }
    let refused = o.session.deleting.is_none() && refuse_messages(&mut draft, o, over);
    if refused {
        conclusion::restore_end(&mut draft);
    }
    if archive::tell(&mut draft, o, over) {
        if over == Over::NeverLaunched {
            tell_end(&mut draft, o, over);
        }
        return Plan::store(o, draft.finish());
    }
    if archive::archive_pending(o.session.spec, status) && !refused {
        // The provider has to do it: what there is to say is said then.
        return Plan::nothing();
    }
    conclusion::tell(&mut draft, o);
    Plan::store(o, draft.finish())
}

/// What is left of the messages is not sent any more: each says why. Whether there is any.
fn refuse_messages(draft: &mut Draft, o: &Observed<'_>, over: Over<'_>) -> bool {
    let (reason, why) = match over {
        Over::NeverLaunched => (
            Reason::MessageNotSent,
            "the session was never launched: create a CodeSession with a new name",
        ),
        Over::Unknown(_) => (
            Reason::LaunchOutcomeUnknown,
            "it could not be found out whether the session was launched",
        ),
        Over::Lost(_) => (
            Reason::SessionLost,
            "the provider does not know the session any more: create a CodeSession with a new name",
        ),
        Over::Ended(_) => (
            Reason::MessageNotSent,
            "the session was cancelled or archived: create a CodeSession with a new name",
        ),
    };
    let status = draft.status().clone();
    let mut messages = o.session.spec.messages.iter().flatten().peekable();
    if messages.peek().is_some() && status.messages.is_empty() {
        let first = draft.first_message();
        first.phase = status.phase;
        first.completed_at = status.completed_at;
    }
    let mut refused = false;
    for message in messages.filter(|message| is_unsent(message, &status)) {
        message::settle(draft, &message.name, SessionPhase::Cancelled, reason, why);
        refused = true;
    }
    refused
}

/// How long the object is still kept; `None` where nothing removes it. One that a person may have to look at is kept: whose
/// launch may or may not have arrived, or which the provider has lost.
fn until_expiry(o: &Observed<'_>, status: &CodeSessionStatus, over: Over<'_>) -> Option<Duration> {
    match over {
        Over::NeverLaunched | Over::Ended(_) => {}
        Over::Unknown(_) | Over::Lost(_) => return None,
    }
    // The same holds for a message.
    if newest_message_send(status).is_some_and(|(_, record)| record.state.is_open()) {
        return None;
    }
    let recorded = status
        .effective
        .as_ref()
        .and_then(|effective| effective.ttl_seconds_after_finished);
    let ttl = o.session.spec.ttl_seconds_after_finished.or(recorded)?;
    let ends = status.completed_at? + Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
    let left = o.until(ends);
    // Its deletion would lose the report of its end; whoever stores what became of that wakes the session.
    let reported = !left.is_zero() || !webhook::is_pending(o.session.uid, o.session.spec, status);
    (o.session.deleting.is_none() && reported).then_some(left)
}

/// What was asked for, or is told by the provider, and is missing from the status of an ended session.
pub(super) fn missing(status: &CodeSessionStatus, provider: &ProviderFacts) -> Vec<&'static str> {
    let tells = |capability| provider.capabilities.contains(&capability);
    let finished = status.phase == SessionPhase::Finished;
    let asked = status
        .effective
        .as_ref()
        .is_some_and(|effective| effective.pull_request.auto_create);
    let url = status
        .pull_request
        .as_ref()
        .and_then(|found| found.url.as_ref());
    let cost = status.usage.and_then(|usage| usage.cost_cents);
    let newest = newest_entry(status);
    let result = newest.and_then(|message| message.result.as_ref());
    [
        (
            finished && asked && tells(Capability::AutoCreatePullRequest) && url.is_none(),
            "a pull request",
        ),
        (
            finished && tells(Capability::Result) && result.is_none(),
            "the result",
        ),
        (
            tells(Capability::Usage) && status.usage.is_none(),
            "the tokens used",
        ),
        (tells(Capability::Cost) && cost.is_none(), "the cost"),
        (
            finished && tells(Capability::Links) && status.links.is_none(),
            "links",
        ),
    ]
    .into_iter()
    .filter_map(|(lacks, what)| lacks.then_some(what))
    .collect()
}

/// How long until the ended session is looked at once more; `None` if it is not.
pub(super) fn next_poll(o: &Outline<'_>, over: Over<'_>) -> Option<Duration> {
    let status = o.status?;
    if archive::archive_pending(o.spec, status) || archive::done(status) {
        return None;
    }
    let ended = status.completed_at?;
    let lost = match over {
        Over::Ended(_) if !missing(status, o.provider?).is_empty() => false,
        Over::Lost(_) => true,
        Over::Ended(_) | Over::NeverLaunched | Over::Unknown(_) => return None,
    };
    if !is_looked_for(lost, ended, o.now, o.timing) {
        return None;
    }
    let until =
        |then: Timestamp| Duration::try_from(then.duration_since(o.now)).unwrap_or_default();
    times(lost, o.timing)
        .map(|time| ended + time)
        .find(|due| o.looked_at.is_none_or(|looked| looked < *due))
        .map(until)
}

/// Whether a session that ended then may still be looked at, be it lost or not. Who comes back late looks once, but not at what
/// ended long ago.
pub fn is_looked_for(lost: bool, ended: Timestamp, now: Timestamp, timing: &Timing) -> bool {
    let last = times(lost, timing).last().unwrap_or_default();
    now < ended + last + last
}

/// When to look at a session, from its end on. One that is lost is looked for for a day: more and more rarely at first, then every
/// so often.
fn times(lost: bool, timing: &Timing) -> impl Iterator<Item = Duration> {
    let [.., longest] = timing.after_end;
    let later = (2..=LOST_ROUNDS)
        .step_by(4)
        .map(move |round| longest * round);
    timing
        .after_end
        .into_iter()
        .chain(later.filter(move |_| lost))
}

fn outline<'a>(o: &'a Observed<'_>) -> Outline<'a> {
    Outline {
        spec: o.session.spec,
        status: o.session.status,
        provider: o.provider.as_ref(),
        deleting: o.session.deleting.is_some(),
        has_finalizer: o.session.has_finalizer,
        adopt: o.session.adopt.is_some(),
        in_flight: o.in_flight,
        looked_at: o
            .polled_after_end
            .map(|begun| super::stage::wall_clock(o.now, o.uptime, begun)),
        now: o.now,
        timing: o.timing,
    }
}

fn poll_again(o: &Observed<'_>, over: Over<'_>) -> Plan {
    let (Some(left), Some(session)) = (next_poll(&outline(o), over), session_ref(o.session.status))
    else {
        return Plan::nothing();
    };
    if !left.is_zero() {
        return Plan::wait(left);
    }
    match &o.readiness {
        _ if o.stopping => Plan::nothing(),
        Readiness::Ready(_) => Plan::act(Effect::PollAgain(session)),
        Readiness::Unverified => Plan::act(Effect::VerifyCredentials),
        Readiness::NotReady(NotReady { again, .. }) => {
            Plan::wait((*again).max(o.timing.fault_wait_max))
        }
        Readiness::NotGathered => Plan::wait(o.timing.fault_wait_max),
    }
}

/// What a look after the end comes to.
pub(super) fn looked(
    o: &Observed<'_>,
    over: Over<'_>,
    account: &AccountFingerprint,
    result: &Result<Snapshot, ProviderError>,
) -> Recorded {
    match (over, result) {
        (Over::Ended(record), Ok(snapshot)) if record.target.account == account.as_str() => {
            complete(o, snapshot)
        }
        (Over::Lost(_), Ok(snapshot)) => reopen(o, snapshot),
        (Over::Ended(_) | Over::Lost(_) | Over::NeverLaunched | Over::Unknown(_), _) => Recorded {
            again: Some(Duration::ZERO),
            ..Recorded::default()
        },
    }
}

/// Puts into the status what was missing. What the session came to stays as it is.
fn complete(o: &Observed<'_>, snapshot: &Snapshot) -> Recorded {
    let mut draft = draft(o);
    let raw_status = draft
        .status()
        .provider
        .as_ref()
        .and_then(|provider| provider.raw_status.clone());
    let ended = Snapshot {
        // Somebody may have gone on with it on the provider's page: that is another message, and not ours.
        phase: RemotePhase::Finished,
        ..snapshot.clone()
    };
    let result = draft.newest_message().result.clone();
    let duration = draft.newest_message().duration_seconds;
    apply(&mut draft, &ended);
    let message = draft.newest_message();
    message.result = result.or(message.result.take());
    message.duration_seconds = duration.or(message.duration_seconds);
    if let Some(provider) = draft.status().provider.as_mut() {
        provider.raw_status = raw_status;
    }
    let url = draft
        .status()
        .pull_request
        .as_ref()
        .and_then(|found| found.url.clone());
    if let Some(url) = url {
        draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::True,
            Reason::Created,
            &url,
        );
        if draft.status().phase == SessionPhase::Finished {
            draft.set(
                SessionCondition::Succeeded,
                ConditionStatus::True,
                Reason::Finished,
                format!("finished: {url}"),
            );
        }
    }
    let nothing_missing = o
        .provider
        .as_ref()
        .is_some_and(|provider| missing(draft.status(), provider).is_empty());
    if nothing_missing {
        nothing_more_comes(&mut draft);
    }
    Recorded {
        again: Some(Duration::ZERO),
        ..store(o, draft.finish())
    }
}

/// The provider knows the session after all: it is followed again, to its end if it has ended.
fn reopen(o: &Observed<'_>, snapshot: &Snapshot) -> Recorded {
    let mut draft = draft(o);
    let phase = match snapshot.phase {
        RemotePhase::Creating => SessionPhase::Creating,
        RemotePhase::Running
        | RemotePhase::Unrecognised
        | RemotePhase::Finished
        | RemotePhase::Error
        | RemotePhase::Cancelled
        | RemotePhase::Expired => SessionPhase::Running,
    };
    let status = draft.status();
    status.phase = phase;
    status.error = None;
    status.completed_at = None;
    if let Some(record) = status.launch.as_mut() {
        record.state = SendState::Confirmed;
    }
    // What waited was given up on because the session was.
    let waited = |it: &MessageStatus| it.send.is_none() && it.name != FIRST_MESSAGE;
    status.messages.retain(|it| !waited(it));
    let message = draft.newest_message();
    message.phase = phase;
    message.completed_at = None;
    message.duration_seconds = None;
    let mut recorded = under_way(o, draft, phase);
    recorded.events.push(Event::normal(
        Reason::Running,
        "the provider knows the session again: it is followed on",
    ));
    recorded
}
