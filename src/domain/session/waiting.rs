//! Before the launch: what the gates say is put into the status, until none of them holds the session any more.

use super::archive;
use super::gates::{GATES, Gate, Hold, Queued, until_launch_deadline};
use super::launch::{self, NOT_LAUNCHED, waits_after_refusal};
use super::observed::Observed;
use super::plan::{Effect, Event, Plan};
use super::stage::{Over, Stage};
use super::view::{IF_FOUND, draft, earlier_attempt_open, pending_draft, waiting};
use crate::api::{ConditionStatus, Reason, RefusalRecord, SessionCondition, SessionPhase};

pub(super) fn decide(o: &Observed<'_>) -> Plan {
    if o.session.deleting.is_some() {
        return delete(o);
    }
    GATES
        .iter()
        .find_map(|gate| held(o, gate(o)))
        .unwrap_or_else(|| launch::decide(o))
        .due(until_launch_deadline(o))
}

/// What is said of a session whose launch waits for its turn among the requests of its key. One that is sent again is not taken
/// back to where it was before its first launch.
pub fn waits_for_turn(o: &Observed<'_>) -> Plan {
    let message = "waits for its turn: the key's rate limit, or the number of launches that may be under way at once, lets others go first";
    match Stage::of(o.session.status) {
        Stage::Waiting => waiting(o, Reason::WaitingForTurn, message),
        Stage::Open(_) | Stage::Running(_) | Stage::Over(_) => {
            let mut draft = draft(o);
            draft.reconciling(Reason::WaitingForTurn, message);
            Plan::store(o, draft.finish())
        }
    }
}

/// What a gate comes to; `None` where it lets the session pass.
fn held(o: &Observed<'_>, gate: Gate<'_>) -> Option<Plan> {
    Some(match gate {
        Gate::Pass => return None,
        Gate::Wait(hold) => waiting(o, hold.reason, &hold.message).no_later_than(hold.again),
        Gate::Block(hold) => {
            let mut draft = pending_draft(o);
            let left = draft.blocked(hold.reason, &hold.message, o.timing.stalled_after);
            Plan::store(o, draft.finish())
                .no_later_than(hold.again)
                .due(left)
        }
        Gate::Settle(hold) => {
            let mut draft = pending_draft(o);
            draft.settled(hold.reason, &hold.message);
            Plan::store(o, draft.finish())
        }
        Gate::Queue(place, hold) => queued(o, place, &hold),
        Gate::Refused(refusal, again) => refused(o, refusal).again(again),
        Gate::Cancel(hold) => never_launched(o, SessionPhase::Cancelled, &hold),
        Gate::Expire(hold) => never_launched(o, SessionPhase::Expired, &hold)
            .if_agent_unchanged(o)
            .with_event(Event::warning(hold.reason, hold.message)),
        Gate::Fail(hold) => fail(o, &hold),
        Gate::Act(effect) => Plan::act(effect),
        Gate::Rest(again) => Plan::nothing().no_later_than(again),
    })
}

/// Nothing was launched, as far as anybody knows.
fn delete(o: &Observed<'_>) -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    if earlier_attempt_open(o) {
        plan.events.push(Event::warning(
            Reason::LaunchOutcomeUnknown,
            "deleted without knowing whether its first launch had arrived: a session may be running at the provider",
        ));
    }
    plan
}

/// Ends a session that was never launched, as its spec asks or because its time is up.
fn never_launched(o: &Observed<'_>, phase: SessionPhase, hold: &Hold) -> Plan {
    let (reason, message) = (hold.reason, hold.message.as_str());
    let wanted = phase == SessionPhase::Cancelled;
    let mut draft = pending_draft(o);
    if earlier_attempt_open(o) {
        let reason = Reason::LaunchOutcomeUnknown;
        let message = format!(
            "{message} again, and whether the first launch arrived could not be found out. {IF_FOUND}"
        );
        draft.set(
            SessionCondition::Launched,
            ConditionStatus::Unknown,
            reason,
            &message,
        );
        draft.end(phase, wanted, reason, &message);
        return Plan::store(o, draft.finish()).with_event(Event::warning(reason, message));
    }
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::False,
        reason,
        message,
    );
    draft.end(phase, wanted, reason, message);
    archive::tell(&mut draft, o, Over::NeverLaunched);
    Plan::store(o, draft.finish())
}

/// Ends a session that can never be launched as it is.
fn fail(o: &Observed<'_>, hold: &Hold) -> Plan {
    let mut draft = pending_draft(o);
    draft.set(
        SessionCondition::Launched,
        ConditionStatus::False,
        hold.reason,
        &hold.message,
    );
    draft.end(SessionPhase::Error, false, hold.reason, &hold.message);
    Plan::store(o, draft.finish())
        .if_agent_unchanged(o)
        .with_event(Event::warning(hold.reason, &hold.message))
}

fn refused(o: &Observed<'_>, refusal: &RefusalRecord) -> Plan {
    // Something else may have stood in its place meanwhile.
    let mut draft = pending_draft(o);
    let left = waits_after_refusal(&mut draft, refusal, NOT_LAUNCHED, o.timing);
    Plan::store(o, draft.finish()).due(left)
}

fn queued(o: &Observed<'_>, place: Queued, hold: &Hold) -> Plan {
    let mut draft = pending_draft(o);
    let now = draft.now();
    draft.status().queue = Some(place.status(o, now));
    draft.reconciling(hold.reason, &hold.message);
    Plan::store(o, draft.finish()).no_later_than(hold.again)
}
