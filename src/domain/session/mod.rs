//! The life of a session: from what was observed to what to do next.
//!
//! [`decide`] is total, synchronous and deterministic. It plans at most one external effect; what is stored after the
//! effect comes from [`record`], from the plan and the outcome alone.
//!
//! ```text
//! no launch record, or Rejected   → unlaunched   what keeps it waiting, finalizer, (look,) claim + launch
//! Claimed or Unknown              → open_claim   look for it, adopt, send again only when proven absent
//! Confirmed, phase not terminal   → active       follow, stop
//! phase terminal                  → ended        release the finalizer, time to live
//! ```

mod active;
mod ended;
mod observed;
mod open_claim;
mod plan;
mod preflight;
mod record;
#[cfg(test)]
mod tests;
mod unlaunched;

pub use observed::{
    AgentView, Connected, Inputs, Look, Lookups, Observed, Origin, Place, Preflight, ProviderFacts,
    Readiness, SessionView, Turn,
};
pub use plan::{
    Effect, Guard, LaunchPlan, Level, LookupPlan, Note, Outcome, Plan, Recorded, StatusWrite,
};
pub use record::record;
pub(super) use unlaunched::CREATED_BEFORE;
pub use unlaunched::template_missing;

use super::ids::{RunId, SessionId};
use super::remote::SessionRef;
use super::status::Draft;
use crate::api::{CodeSessionStatus, DeletionPolicy, DesiredState, SendState, SessionPhase};

/// The next step of a session.
pub fn decide(o: &Observed<'_>) -> Plan {
    let status = o.session.status;
    let phase = status.map_or(SessionPhase::Pending, |status| status.phase);
    if o.session.deleting.is_some() && !o.session.has_finalizer {
        // Nothing of ours holds it any more.
        return Plan::nothing();
    }
    if phase.is_terminal() {
        return ended::decide(o);
    }
    let launch = status.and_then(|status| status.launch.as_ref());
    match launch.map(|record| (record, record.state)) {
        None | Some((_, SendState::Rejected | SendState::Absent)) => unlaunched::decide(o),
        Some((record, SendState::Claimed | SendState::Unknown)) => open_claim::decide(o, record),
        Some((record, SendState::Confirmed)) => active::decide(o, record),
    }
}

/// Whether the spec, or the object's deletion, asks for the session's end.
fn stop_wanted(o: &Observed<'_>) -> bool {
    o.session.deleting.is_some()
        || matches!(
            o.session.spec.desired_state(),
            DesiredState::Cancelled | DesiredState::Archived
        )
}

/// What deleting this session does at the provider: the session may still change its mind, the agent may not.
fn deletion_policy(o: &Observed<'_>) -> DeletionPolicy {
    let recorded = o
        .session
        .status
        .and_then(|status| status.effective.as_ref());
    o.session
        .spec
        .deletion_policy
        .or(recorded.map(|effective| effective.deletion_policy))
        .unwrap_or_default()
}

/// Whether a deletion has used up its time.
fn deletion_overdue(o: &Observed<'_>) -> bool {
    had_its_chance(o)
        && o.session
            .deleting
            .is_some_and(|since| o.since(since) >= o.timing.deletion_bound)
}

/// Whether this process has had the session long enough to have looked for it and stopped it. Time that passed while
/// nobody was there to do anything ends nothing: who comes back after hours looks and stops before giving up.
fn had_its_chance(o: &Observed<'_>) -> bool {
    let since = o.claim_first_seen.unwrap_or_default();
    o.uptime.saturating_sub(since) >= o.timing.deletion_slack
}

/// The session at the provider, from what is recorded.
pub fn session_ref(status: Option<&CodeSessionStatus>) -> Option<SessionRef> {
    let status = status?;
    let session_id = SessionId::new(status.provider.as_ref()?.session_id.clone()?);
    let run_id = status
        .messages
        .last()
        .and_then(|message| message.run_id.clone())
        .map(RunId::new);
    Some(SessionRef { session_id, run_id })
}

/// Whether an earlier attempt may have arrived, whatever became of the newest: another one is begun only where nothing can
/// be proven absent.
fn earlier_attempt_open(o: &Observed<'_>) -> bool {
    let record = o.session.status.and_then(|status| status.launch.as_ref());
    record.is_some_and(|record| record.attempt > 1)
}

/// What to do about a launch of unknown outcome.
const IF_FOUND: &str = "If you find the session at the provider, annotate this object with codeagents.dev/adopt: <its id>; otherwise create a CodeSession with a new name";

/// A new status that begins as the stored one.
fn draft(o: &Observed<'_>) -> Draft {
    Draft::new(o.session.status, o.session.generation, o.now)
}

/// Notes where the launch stands.
fn set_state(draft: &mut Draft, state: SendState) {
    if let Some(record) = draft.status().launch.as_mut() {
        record.state = state;
    }
}
