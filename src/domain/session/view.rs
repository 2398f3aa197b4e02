//! Questions that several steps ask of what was observed, and the status that a step begins with.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::ids::{LaunchKey, RunId, SessionId};
use super::super::remote::{Capability, SessionRef};
use super::super::status::{Draft, newest_entry, whole_seconds};
use super::super::timing::{DeletionAge, Timing};
use super::super::webhook;
use super::observed::{AgentView, Connected, Observed, ProviderFacts, SessionView};
use super::plan::{Guard, Plan, Recorded, StatusWrite};
use super::stage::Over;
use crate::api::{
    CodeSessionSpec, CodeSessionStatus, ConditionStatus, DeletionPolicy, DesiredState, Reason,
    SendRecord, SendState, SessionCondition, SessionPhase, condition,
};

/// Whether the spec asks for the session's end as it stands now.
pub(super) fn spec_asks_for_stop(o: &Observed<'_>) -> bool {
    asks_for_stop(o.session.spec)
}

pub(super) fn asks_for_stop(spec: &CodeSessionSpec) -> bool {
    match spec.desired_state() {
        DesiredState::Cancelled | DesiredState::Archived => true,
        DesiredState::Running | DesiredState::Suspended => false,
    }
}

/// Whether the session's end is wanted: by its spec, by the object's deletion, or because it was wanted once.
pub(super) fn stop_wanted(o: &Observed<'_>) -> bool {
    let recorded = o.session.status.and_then(|status| status.cancel.as_ref());
    let once = recorded.is_some_and(|cancel| cancel.reason.ends_session());
    o.session.deleting.is_some() || spec_asks_for_stop(o) || once
}

/// What deleting this session does at the provider.
pub(super) fn deletion_policy(o: &Observed<'_>) -> DeletionPolicy {
    deletion_policy_of(o.session.spec, o.session.status)
}

/// What deleting a session does at the provider: the session may still change its mind, the agent may not.
pub fn deletion_policy_of(
    spec: &CodeSessionSpec,
    status: Option<&CodeSessionStatus>,
) -> DeletionPolicy {
    let recorded = status.and_then(|status| status.effective.as_ref());
    spec.deletion_policy
        .or(recorded.map(|effective| effective.deletion_policy))
        .unwrap_or_default()
}

/// Whether a deletion has used up its time.
pub(super) fn deletion_overdue(o: &Observed<'_>) -> bool {
    until_deletion_bound(o).is_some_and(|left| left.is_zero())
}

/// How long a deletion may still take; `None` where the object is not being deleted.
pub(super) fn until_deletion_bound(o: &Observed<'_>) -> Option<Duration> {
    Some(o.timing.until_deletion_bound(deletion_age(o)?))
}

/// How long a deletion that is past its bound may still wait for its first stop to be sent.
pub(super) fn until_deletion_ends(o: &Observed<'_>) -> Option<Duration> {
    Some(o.timing.until_deletion_ends(deletion_age(o)?))
}

/// Whether this process has seen the deletion for long enough to have looked and stopped. One that has not may find it past
/// its bound all the same: by another clock, or because no process before it lived long enough.
pub(super) fn deletion_observed_long_enough(o: &Observed<'_>) -> bool {
    deletion_age(o).is_none_or(|age| o.timing.had_its_chance(age))
}

fn deletion_age(o: &Observed<'_>) -> Option<DeletionAge> {
    Some(DeletionAge {
        by_wall: o.since(o.session.deleting?),
        since_seen: o
            .deletion_first_seen
            .map_or(Duration::ZERO, |seen| o.uptime.saturating_sub(seen)),
    })
}

/// Whether this process has had the session long enough to have looked for it and stopped it. Time that passed while
/// nobody was there to do anything ends nothing.
pub(super) fn observed_long_enough(o: &Observed<'_>) -> bool {
    let since = o.claim_first_seen.unwrap_or_default();
    o.uptime.saturating_sub(since) >= o.timing.deletion_slack
}

/// Whether sessions of this provider are launched from a template, and it is not there for this account.
pub fn template_missing(provider: &ProviderFacts, connected: &Connected) -> bool {
    provider.capabilities.contains(&Capability::Templates)
        && connected
            .inputs
            .as_ref()
            .is_some_and(|inputs| inputs.template_id.is_none())
}

/// What the provider said to tries that came to nothing, how many there were, and when the next one is.
pub(super) fn tries(error: Option<&str>, failures: i32, next_at: Option<Timestamp>) -> String {
    let said = error.unwrap_or("no reason");
    let times = match failures {
        1 => "once".to_owned(),
        failures => format!("{failures} times"),
    };
    format!(
        "the provider answered: {}; tried {times}{}",
        said.trim_end_matches('.'),
        next_try(next_at)
    )
}

/// When the next try is, as the end of a sentence.
pub(super) fn next_try(next_at: Option<Timestamp>) -> String {
    next_at
        .map(|at| format!(", next try at {at}"))
        .unwrap_or_default()
}

/// The moment after `wait`, as it is stored: not before it, since a provider may have asked for that wait.
pub(super) fn after(o: &Observed<'_>, wait: Duration) -> Timestamp {
    let exact = o.now + SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO);
    let whole = whole_seconds(exact);
    if whole < exact {
        whole + SignedDuration::from_secs(1)
    } else {
        whole
    }
}

/// How long until the next try, as it was stored. A clock that was set back makes nobody wait for longer than two tries are ever
/// apart: a provider's `Retry-After` is believed for as long as the longest wait after a refusal.
pub(super) fn until_next_try(
    next_at: Option<Timestamp>,
    now: Timestamp,
    timing: &Timing,
) -> Duration {
    let left = next_at.map_or(SignedDuration::ZERO, |next| next.duration_since(now));
    let left = Duration::try_from(left).unwrap_or_default();
    left.min(timing.refusal_wait_max.max(timing.fault_wait_max))
}

/// Nothing is looked for any more of a session that is over, and `Completed` says no more that something is.
pub(super) fn nothing_more_comes(draft: &mut Draft) {
    let completed = condition(
        &draft.status().conditions,
        SessionCondition::Completed.as_str(),
    )
    .and_then(|completed| Reason::named(&completed.reason));
    if let Some(reason) = completed {
        draft.set(
            SessionCondition::Completed,
            ConditionStatus::True,
            reason,
            "",
        );
    }
}

/// The session at the provider, from what is recorded.
pub fn session_ref(status: Option<&CodeSessionStatus>) -> Option<SessionRef> {
    let status = status?;
    let session_id = SessionId::new(status.provider.as_ref()?.session_id.clone()?);
    let newest = newest_entry(status);
    let run_id = newest
        .and_then(|message| message.run_id.clone())
        .map(RunId::new);
    Some(SessionRef { session_id, run_id })
}

pub(super) fn recorded<'a>(o: &Observed<'a>) -> Option<&'a SendRecord> {
    o.session.status.and_then(|status| status.launch.as_ref())
}

/// Whether an earlier attempt may have arrived, whatever became of the newest: another one is begun only where nothing can
/// be proven absent.
pub(super) fn earlier_attempt_open(o: &Observed<'_>) -> bool {
    let record = o.session.status.and_then(|status| status.launch.as_ref());
    record.is_some_and(|record| record.attempt > 1)
}

/// What to do about a launch of unknown outcome.
pub(super) const IF_FOUND: &str = "If you find the session at the provider, annotate this object with codeagents.dev/adopt: <its id>; otherwise create a CodeSession with a new name";

/// A new status that begins as the stored one.
pub(super) fn draft(o: &Observed<'_>) -> Draft {
    let mut draft = Draft::new(o.session.status, o.session.generation, o.now);
    let offered = match &o.agent {
        AgentView::Present { webhook, .. } => Some(webhook.as_ref()),
        AgentView::Missing => None,
    };
    webhook::follow_manifests(draft.status(), o.session.spec, offered);
    draft
}

/// A draft in the phase before the launch.
pub(super) fn pending_draft(o: &Observed<'_>) -> Draft {
    let mut draft = draft(o);
    draft.status().phase = SessionPhase::Pending;
    // Whoever waits for a slot says so anew.
    draft.status().queue = None;
    draft
}

/// It goes on by itself.
pub(super) fn waiting(o: &Observed<'_>, reason: Reason, message: &str) -> Plan {
    let mut draft = pending_draft(o);
    draft.reconciling(reason, message);
    Plan::store(o, draft.finish())
}

/// Notes where the newest paid request stands.
pub(super) fn set_state(draft: &mut Draft, state: SendState) {
    if let Some(record) = draft.newest_send() {
        record.state = state;
    }
}

/// What is to be stored after an effect, if it differs from what is.
pub(super) fn store(o: &Observed<'_>, status: CodeSessionStatus) -> Recorded {
    let write = (o.session.status != Some(&status)).then(|| StatusWrite {
        status: Box::new(status),
        guard: Guard::Unchanged,
    });
    Recorded {
        write,
        ..Recorded::default()
    }
}

/// Keys of every attempt up to `attempt`, newest first. What was sent bears the recorded key, whatever the namespace is now.
pub(super) fn keys(session: &SessionView<'_>, attempt: i32) -> Vec<LaunchKey> {
    let sent = session.status.and_then(|status| status.launch.as_ref());
    let mut keys: Vec<LaunchKey> = sent
        .map(|record| LaunchKey::recorded(record.key.as_str()))
        .into_iter()
        .collect();
    let namespace = session.namespace_uid.into_iter();
    let derived = namespace.flat_map(|namespace| {
        let attempts = (1..=attempt.max(1)).rev();
        attempts.map(|n| LaunchKey::derive(namespace, session.uid, n))
    });
    for key in derived {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// `Reconciling` and `Stalled` as the end left them: settled if it is what was asked for.
pub(super) fn tell_end(draft: &mut Draft, o: &Observed<'_>, over: Over<'_>) {
    let status = draft.status().clone();
    let Some(end) = condition(&status.conditions, SessionCondition::Succeeded.as_str()) else {
        return;
    };
    let wanted = match status.phase {
        SessionPhase::Finished => true,
        SessionPhase::Cancelled => match over {
            Over::NeverLaunched | Over::Unknown(_) => true,
            // Stopped by somebody else, unless that is what is asked for by now.
            Over::Ended(_) | Over::Lost(_) => status.cancel.is_some() || spec_asks_for_stop(o),
        },
        SessionPhase::Error
        | SessionPhase::Expired
        | SessionPhase::Pending
        | SessionPhase::Creating
        | SessionPhase::Running => false,
    };
    let Some(reason) = Reason::named(&end.reason) else {
        return;
    };
    if wanted {
        draft.settled(reason, "");
    } else {
        draft.stalled(reason, &end.message);
    }
}
