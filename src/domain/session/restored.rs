//! A restored copy: its origin annotation names an earlier object of this name. What that one launched is somebody else's,
//! whatever the copy's status says (rule 13).

use super::observed::{Observed, Origin};
use super::plan::{Effect, Event, Plan};
use super::recover;
use super::view::{draft, session_ref, stop_wanted};
use crate::api::{Reason, SendState, SessionPhase};

/// What a copy waits for.
pub(super) const NEVER_LAUNCHED: &str = "this object is a restored copy of a session that was already launched: remove the annotation codeagents.dev/origin to run it again, as a new paid session";

/// What is done about a copy; `None` where it is treated like any other session: it has ended, or it follows a session that is
/// known.
///
/// Nothing is launched under an open claim: the request may have been the original's, and the proof that it never arrived
/// would be asked for with the copy's uid.
pub(super) fn decide(o: &Observed<'_>) -> Option<Plan> {
    let status = o.session.status;
    let phase = status.map_or(SessionPhase::Pending, |status| status.phase);
    if o.session.origin != Origin::Copy || phase.is_terminal() {
        return None;
    }
    let state = status
        .and_then(|status| status.launch.as_ref())
        .map(|record| record.state);
    if o.session.deleting.is_some() {
        return Some(released(o));
    }
    match state {
        Some(SendState::Confirmed | SendState::Lost) => None,
        Some(SendState::Claimed | SendState::Unknown) if stop_wanted(o) => Some(recover::give_up(
            o,
            "this object is a restored copy, and whether the launch of the original arrived is not looked for",
        )),
        // Before the launch it can be ended by its spec.
        None | Some(SendState::Rejected | SendState::Absent) if stop_wanted(o) => None,
        None
        | Some(SendState::Rejected | SendState::Absent | SendState::Claimed | SendState::Unknown) =>
        {
            let mut draft = draft(o);
            draft.stalled(Reason::RestoredCopy, NEVER_LAUNCHED);
            Some(Plan::store(o, draft.finish()))
        }
    }
}

/// The copy goes, and stops nothing: what it names was launched by the original.
fn released(o: &Observed<'_>) -> Plan {
    let mut plan = Plan::act(Effect::ReleaseFinalizer);
    if let Some(session) = session_ref(o.session.status) {
        plan.events.push(Event::warning(
            Reason::RestoredCopy,
            format!(
                "session {} is not stopped: it was launched by the original of this restored copy",
                session.session_id
            ),
        ));
    }
    plan
}
