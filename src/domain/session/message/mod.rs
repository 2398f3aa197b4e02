//! Follow-up messages: what is sent next to a session whose newest message has ended, the claim under which it is sent, and what
//! its answer comes to.
//!
//! One message is active at a time, in the order of `spec.messages`. A message gets an entry in `status.messages` with its claim,
//! or with the verdict that it is not sent. The claim re-opens the session; a message that turns out not to have been sent leaves
//! it as it was before.

mod entry;
mod gates;
mod recover;
mod send;

pub(super) use self::entry::{lookup, settle};
pub(super) use self::gates::open as may_send;
pub(super) use self::recover::{absent, ambiguous, found, give_up};
pub(super) use self::send::sent;

use self::entry::waiting;
use self::gates::GATES;
use super::super::send::refusal;
use super::super::status::newest_message;
use super::conclusion;
use super::gates::Gate;
use super::launch::waits_after_refusal;
use super::observed::Observed;
use super::pending::next_message;
use super::plan::{Event, Plan};
use super::view::draft;
use crate::api::{MessageSpec, Reason, SessionPhase};

/// What is done about the next message of a session whose newest one has ended; `None` where none is to be sent.
pub(super) fn decide(o: &Observed<'_>) -> Option<Plan> {
    if o.session.deleting.is_some() {
        return None;
    }
    let message = next_message(o.session.spec, o.session.status)?;
    if message.is_cancelled() {
        return Some(dropped(o, message));
    }
    let held = GATES.iter().find_map(|gate| held(o, message, gate(o)));
    Some(held.unwrap_or_else(|| send::send(o, message)))
}

/// What a gate comes to; `None` where it lets the message pass.
fn held(o: &Observed<'_>, message: &MessageSpec, gate: Gate<'_>) -> Option<Plan> {
    let mut draft = draft(o);
    draft.status().queue = None;
    Some(match gate {
        Gate::Pass => return None,
        Gate::Wait(hold) => {
            draft.reconciling(hold.reason, &hold.message);
            waiting(o, draft, &hold)
        }
        Gate::Block(hold) => {
            let left = draft.blocked(hold.reason, &hold.message, o.timing.stalled_after);
            waiting(o, draft, &hold).due(left)
        }
        Gate::Settle(hold) => {
            draft.settled(hold.reason, &hold.message);
            waiting(o, draft, &hold)
        }
        Gate::Queue(place, hold) => {
            let now = draft.now();
            draft.status().queue = Some(place.status(o, now));
            draft.reconciling(hold.reason, &hold.message);
            waiting(o, draft, &hold)
        }
        Gate::Refused(refusal, again) => {
            let left = waits_after_refusal(&mut draft, refusal, &not_sent(message), o.timing);
            let reason = refusal::reason(refusal);
            draft.incomplete(reason, refusal.message.trim_end_matches('.'));
            Plan::store(o, draft.finish()).again(again).due(left)
        }
        Gate::Fail(hold) => fail(o, &message.name, hold.reason, &hold.message),
        Gate::Act(effect) => Plan::act(effect),
        // Nothing asks for the end of a message before its beginning but the spec, which was asked before.
        Gate::Cancel(_) | Gate::Expire(_) => Plan::nothing(),
        Gate::Rest(again) => Plan::nothing().no_later_than(again),
    })
}

fn not_sent(message: &MessageSpec) -> String {
    format!("message {} is not sent", message.name)
}

/// A message that was dropped before it was sent.
fn dropped(o: &Observed<'_>, message: &MessageSpec) -> Plan {
    let mut draft = draft(o);
    settle(
        &mut draft,
        &message.name,
        SessionPhase::Cancelled,
        Reason::MessageDropped,
        "dropped before it was sent, as its cancel asks",
    );
    conclusion::tell(&mut draft, o);
    Plan::store(o, draft.finish())
}

/// A message that can never be sent as it is.
fn fail(o: &Observed<'_>, name: &str, reason: Reason, why: &str) -> Plan {
    let mut draft = draft(o);
    settle(&mut draft, name, SessionPhase::Error, reason, why);
    conclusion::tell(&mut draft, o);
    let told = format!("message {name} is not sent: {why}");
    Plan::store(o, draft.finish())
        .if_agent_unchanged(o)
        .with_event(Event::warning(reason, told))
}

/// Whether a look tells of a message before the newest one: looks under way do not stop for a message.
pub(super) fn is_outdated(o: &Observed<'_>) -> bool {
    let (Some(look), Some(status)) = (o.poll, o.session.status) else {
        return false;
    };
    let Some(newest) = newest_message(status).filter(|index| *index > 0) else {
        return false;
    };
    let seen = o.claim_first_seen.unwrap_or_default();
    if look.begun < seen {
        return true;
    }
    let Ok(snapshot) = &look.result else {
        return false;
    };
    let entry = status.messages.get(newest);
    let run = entry.and_then(|entry| entry.run_id.as_deref());
    let shown = snapshot.run_id.as_ref().map(|run| run.as_str());
    let mut earlier = status.messages.iter().take(newest);
    if shown.is_some() && shown != run && earlier.any(|it| it.run_id.as_deref() == shown) {
        return true;
    }
    // Where nothing numbers what runs, the end that shows at first may be that of the message before.
    let numbered = shown.is_some() && shown == run;
    let settled = look.begun >= seen + o.timing.consistency_window;
    snapshot.phase.is_terminal() && !numbered && !settled
}
