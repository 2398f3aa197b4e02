//! A claim without a known outcome: the launch may or may not have arrived. Look, adopt, and send again only when it is
//! proven absent (rules 6 to 8, 11 and 12 of the launch protocol).

use std::time::Duration;

use super::super::ids::SessionId;
use super::super::remote::{Recovery, ScanState, SessionRef};
use super::launch::{self, CREATED_BEFORE, claim};
use super::observed::{AgentView, Connected, Observed, Origin, ProviderFacts, Readiness};
use super::plan::{Effect, LookupPlan, Note, Plan};
use super::preflight::{self, Standing};
use super::record;
use super::view::{
    IF_FOUND, deletion_overdue, deletion_policy, draft, had_its_chance, keys, set_state,
    stop_wanted,
};
use crate::api::{
    ConditionStatus, DeletionPolicy, Effective, OnUnknownLaunch, Reason, SendRecord, SendState,
    SessionCondition, SessionPhase, condition,
};

/// Requests with one key after which nobody sends another.
const MOST_POSTS: i32 = 5;

pub(super) fn decide(o: &Observed<'_>, open: &SendRecord) -> Plan {
    if o.in_flight {
        // Our own request is still under way; its outcome is recorded by whoever holds it.
        return Plan::nothing();
    }
    if deletion_overdue(o)
        || (o.session.deleting.is_some() && deletion_policy(o) == DeletionPolicy::Orphan)
    {
        return let_go();
    }
    let Some(effective) = o
        .session
        .status
        .and_then(|status| status.effective.as_ref())
    else {
        // A claim always comes with its settings; without them there is nothing to look with.
        return give_up(o, "the record of the launch is incomplete");
    };
    if past_patience(o, open) {
        return give_up(o, "it could not be found out whether the launch arrived");
    }
    let (Some(provider), Readiness::Ready(connected)) = (&o.provider, &o.readiness) else {
        return not_ready(o);
    };
    let same_account = connected.account.as_str() == open.target.account;
    if same_account {
        match provider.recovery {
            Recovery::ClientId | Recovery::Marker if proven_absent(o, open) => {
                return absent(o, open, provider, effective);
            }
            Recovery::None if looked_in_vain(o, open) => {
                return unknowable(o, open, provider, connected, effective);
            }
            Recovery::ClientId | Recovery::Marker | Recovery::None => {}
        }
    }
    if let Some(wait) = until_next_look(o, open) {
        return following(o, open, same_account)
            .again(wait)
            .no_later_than(until_fence(o, open));
    }
    if o.stopping {
        return Plan::nothing();
    }
    Plan::act(look(o, open, effective))
}

fn look(o: &Observed<'_>, open: &SendRecord, effective: &Effective) -> Effect {
    let evidence_seen = match &o.agent {
        AgentView::Present { evidence_seen, .. } => *evidence_seen,
        AgentView::Missing => false,
    };
    Effect::Lookup(Box::new(LookupPlan {
        keys: keys(&o.session, open.attempt),
        repository: effective.repository.clone(),
        template_id: open.target.template_id.clone(),
        baseline: open.baseline.clone(),
        created_from: open.claimed_at - CREATED_BEFORE,
        created_until: open.claimed_at + o.timing.fence_after(open.posts) + o.timing.clock_margin,
        prove_absence: past_fence(o, open).is_some(),
        evidence_seen,
        resume: o.own_lookups().and_then(|looks| looks.resume.clone()),
    }))
}

/// How long ago the fence of the newest request was passed; `None` before it.
///
/// By one's own monotonic clock since one first saw the claim, or by wall clock with a margin, whichever is earlier.
fn past_fence(o: &Observed<'_>, open: &SendRecord) -> Option<Duration> {
    let fence = o.timing.fence_after(open.posts);
    let by_monotonic = o
        .claim_first_seen
        .and_then(|seen| o.uptime.checked_sub(seen + fence));
    // `not_after` lies one send window after the claim.
    let after_window = fence.saturating_sub(o.timing.send_window) + o.timing.clock_margin;
    let by_wall = o
        .since(open.not_after)
        .checked_sub(after_window)
        .filter(|_| o.now > open.not_after);
    by_monotonic.max(by_wall)
}

/// How long it is until the fence, by one's own clock; `None` once it was passed.
fn until_fence(o: &Observed<'_>, open: &SendRecord) -> Option<Duration> {
    let seen = o.claim_first_seen?;
    (seen + o.timing.fence_after(open.posts))
        .checked_sub(o.uptime)
        .filter(|left| !left.is_zero())
}

/// A look that was begun after the fence told nothing. What has not shown by then is not waited for any longer, but that
/// is no proof of anything.
fn looked_in_vain(o: &Observed<'_>, open: &SendRecord) -> bool {
    let fence_at = past_fence(o, open).map(|past| o.uptime.saturating_sub(past));
    let newest = o.own_lookups().and_then(|looks| looks.fruitless);
    fence_at
        .zip(newest)
        .is_some_and(|(fence_at, begun)| begun >= fence_at)
}

/// Two complete looks, both begun after the fence and one consistency window apart, found nothing.
fn proven_absent(o: &Observed<'_>, open: &SendRecord) -> bool {
    let Some(past) = past_fence(o, open) else {
        return false;
    };
    let fence_at = o.uptime.saturating_sub(past);
    let Some(looks) = o.own_lookups() else {
        return false;
    };
    let mut after = looks.absent.iter().filter(|begun| **begun >= fence_at);
    let first = after.next();
    first.is_some_and(|first| {
        after.any(|later| later.saturating_sub(*first) >= o.timing.consistency_window)
    })
}

/// How long until the next look; `None` if it is due.
fn until_next_look(o: &Observed<'_>, open: &SendRecord) -> Option<Duration> {
    let last = o.lookups.last?;
    let goes_on = |resume: &ScanState| !resume.begin_anew;
    if o.lookups.resume.as_ref().is_some_and(goes_on) {
        return None;
    }
    let looks = i32::try_from(o.lookups.absent.len())
        .unwrap_or(i32::MAX)
        .saturating_add(o.faults);
    let pace = match past_fence(o, open) {
        Some(_) => o.timing.consistency_window,
        None => o.timing.fault_wait(looks),
    };
    let due = last + pace;
    due.checked_sub(o.uptime).filter(|wait| !wait.is_zero())
}

/// Whether nobody looks any longer.
fn past_patience(o: &Observed<'_>, open: &SendRecord) -> bool {
    let patience = if stop_wanted(o) {
        o.timing.deletion_bound
    } else {
        o.timing.unknown_patience
    };
    had_its_chance(o) && past_fence(o, open).is_some_and(|past| past >= patience)
}

/// Nothing was launched, for certain.
fn absent(
    o: &Observed<'_>,
    open: &SendRecord,
    provider: &ProviderFacts,
    effective: &Effective,
) -> Plan {
    if stop_wanted(o) {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Absent);
        let message = "cancelled; the launch never reached the provider";
        draft.set(
            SessionCondition::Launched,
            ConditionStatus::False,
            Reason::CancelledBeforeLaunch,
            message,
        );
        draft.end(
            SessionPhase::Cancelled,
            true,
            Reason::CancelledBeforeLaunch,
            message,
        );
        return Plan::store(o, draft.finish());
    }
    if let (Some(refusal), true) = (&open.refusal, open.posts > 1) {
        // The last request was refused, and now the earlier ones are known not to have arrived either.
        return record::settle_stored_refusal(o, refusal);
    }
    if effective.on_unknown_launch == OnUnknownLaunch::Fail {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Absent);
        let message = "the launch did not reach the provider and is not repeated (onUnknownLaunch: Fail): create a CodeSession with a new name to run it";
        draft.set(
            SessionCondition::Launched,
            ConditionStatus::False,
            Reason::LaunchOutcomeUnknown,
            message,
        );
        draft.end(
            SessionPhase::Error,
            false,
            Reason::LaunchOutcomeUnknown,
            message,
        );
        return Plan::store(o, draft.finish())
            .telling(Note::warning(Reason::LaunchOutcomeUnknown, message));
    }
    if open.posts >= MOST_POSTS {
        return still_looking(
            o,
            open,
            effective,
            &format!("{MOST_POSTS} requests were sent and none was ever seen to arrive"),
        );
    }
    send_again(o, provider, effective, open.attempt, open.posts + 1)
}

/// Sends again, under a new claim.
fn send_again(
    o: &Observed<'_>,
    provider: &ProviderFacts,
    effective: &Effective,
    attempt: i32,
    posts: i32,
) -> Plan {
    if o.stopping {
        return Plan::nothing();
    }
    if !o.session.has_finalizer || o.session.origin == Origin::None {
        return Plan::act(Effect::AddFinalizer);
    }
    let Readiness::Ready(connected) = &o.readiness else {
        return not_ready(o);
    };
    let Some(inputs) = &connected.inputs else {
        return still_unknown(
            o,
            "the launch did not arrive and cannot be composed again: its CodeAgent or the source of its prompt is missing",
        );
    };
    claim(o, provider, connected, inputs, effective, attempt, posts)
}

/// A provider at which nothing can be proven absent: only whoever said so pays twice.
fn unknowable(
    o: &Observed<'_>,
    open: &SendRecord,
    provider: &ProviderFacts,
    connected: &Connected,
    effective: &Effective,
) -> Plan {
    let retry = effective.on_unknown_launch == OnUnknownLaunch::Retry
        && open.attempt == 1
        && !stop_wanted(o);
    if !retry {
        return give_up(
            o,
            "it could not be found out whether the launch arrived: its issue does not show exactly one new session of nobody else",
        );
    }
    match preflight::standing(o, provider, connected) {
        // The first one may be running, and nothing will ever follow it.
        Standing::Done(_) => {
            send_again(o, provider, effective, open.attempt + 1, 1).telling(Note::warning(
                Reason::LaunchOutcomeUnknown,
                "it could not be found out whether the launch arrived; it is sent once more (onUnknownLaunch: Retry): look at the provider, there may be two sessions",
            ))
        }
        Standing::Due if o.stopping => Plan::nothing(),
        Standing::Due => launch::preflight(o),
        Standing::Failed(_, wait) => following(o, open, true).again(wait),
    }
}

/// The state while looking goes on: written once, when somebody would want to know.
fn following(o: &Observed<'_>, open: &SendRecord, same_account: bool) -> Plan {
    if !same_account {
        return still_unknown(
            o,
            "the credentials now belong to another account than the one the launch was sent to, where it cannot be found: restore them",
        );
    }
    let said = o.session.status.is_some_and(|status| {
        condition(&status.conditions, SessionCondition::Reconciling.as_str()).is_some_and(
            |reconciling| {
                reconciling.status == ConditionStatus::True
                    && reconciling.reason == Reason::RecoveringLaunch.as_str()
            },
        )
    });
    if open.state == SendState::Claimed || !said {
        let mut draft = draft(o);
        set_state(&mut draft, SendState::Unknown);
        draft.reconciling(
            Reason::RecoveringLaunch,
            "an interrupted launch is being looked for at the provider",
        );
        return Plan::store(o, draft.finish());
    }
    Plan::store(o, draft(o).finish())
}

/// Proven absent, and yet nothing may be sent: says so once and goes on looking.
fn still_looking(o: &Observed<'_>, open: &SendRecord, effective: &Effective, why: &str) -> Plan {
    let plan = still_unknown(o, why);
    match until_next_look(o, open) {
        _ if plan.before.is_some() || o.stopping => plan,
        Some(wait) => plan.again(wait),
        // Somebody has found it: that is looked at instead of searching on.
        None => Plan::act(match o.session.adopt.filter(|_| !stop_wanted(o)) {
            Some(id) => Effect::Examine(SessionRef {
                session_id: SessionId::new(id),
                run_id: None,
            }),
            None => look(o, open, effective),
        }),
    }
}

/// It is still being looked for, but somebody should know.
fn still_unknown(o: &Observed<'_>, why: &str) -> Plan {
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    draft.stalled(
        Reason::LaunchOutcomeUnknown,
        format!("{why}; nothing is sent again, the operator goes on looking. If you find the session at the provider, annotate this object with codeagents.dev/adopt: <its id>"),
    );
    Plan::store(o, draft.finish()).again(o.timing.fault_wait_max)
}

/// What is needed to look is missing.
fn not_ready(o: &Observed<'_>) -> Plan {
    match &o.readiness {
        Readiness::Unverified if !o.stopping => Plan::act(Effect::VerifyCredentials),
        Readiness::Blocked {
            objection,
            passing,
            again,
        } => {
            let mut draft = draft(o);
            set_state(&mut draft, SendState::Unknown);
            if *passing {
                draft.reconciling(objection.reason, &objection.message);
            } else {
                draft.stalled(objection.reason, &objection.message);
            }
            Plan::store(o, draft.finish()).again(*again)
        }
        Readiness::NotGathered | Readiness::Ready(_) | Readiness::Unverified => {
            Plan::wait(o.timing.fault_wait_max)
        }
    }
}

/// Nobody will find out any more.
fn give_up(o: &Observed<'_>, why: &str) -> Plan {
    let mut draft = draft(o);
    set_state(&mut draft, SendState::Unknown);
    let message = format!("{why}. {IF_FOUND}");
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::LaunchOutcomeUnknown,
        &message,
    );
    if stop_wanted(o) {
        draft.end(
            SessionPhase::Cancelled,
            true,
            Reason::LaunchOutcomeUnknown,
            &message,
        );
    } else {
        draft.end(
            SessionPhase::Error,
            false,
            Reason::LaunchOutcomeUnknown,
            &message,
        );
    }
    Plan::store(o, draft.finish()).telling(Note::warning(Reason::LaunchOutcomeUnknown, message))
}

/// The object goes although the outcome is open.
fn let_go() -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    plan.notes.push(Note::warning(
        Reason::LaunchOutcomeUnknown,
        "deleted while it was unknown whether the launch had arrived: a session may be running at the provider",
    ));
    plan
}
