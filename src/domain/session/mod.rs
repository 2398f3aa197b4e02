//! The life of a session: from what was observed to what to do next.
//!
//! [`decide`] is total, synchronous and deterministic. It plans at most one external effect; what is stored after the
//! effect comes from [`record`], from the plan and the outcome alone. Each step has a room of its own, which holds both.
//!
//! ```text
//! no launch record, or refused    → waiting   the gates; when all let it pass, launch: finalizer, look, claim + send
//! claimed, outcome not known      → recover   look for it, adopt, send again only when proven absent
//! confirmed, phase not terminal   → active    progress, stop, finish
//! phase terminal                  → ended     release the finalizer, time to live
//! ```

mod active;
mod ended;
mod finish;
mod gates;
mod launch;
mod observed;
mod plan;
mod progress;
mod recover;
mod restored;
mod stop;
#[cfg(test)]
mod tests;
mod view;
mod waiting;

pub use super::send::seen::{Lookups, Preflight};
pub use launch::template_missing;
pub use observed::{
    AgentView, Connected, Inputs, Look, Observed, Origin, Place, ProviderFacts, Readiness,
    SessionView, Turn,
};
pub use plan::{
    Effect, Guard, LaunchPlan, Level, LookupPlan, Note, Outcome, Owner, Plan, Recorded, StatusWrite,
};
pub use view::{deletion_policy_of, session_ref};

use crate::api::{SendState, SessionPhase};

/// The next step of a session.
pub fn decide(o: &Observed<'_>) -> Plan {
    let status = o.session.status;
    let phase = status.map_or(SessionPhase::Pending, |status| status.phase);
    if o.session.deleting.is_some() && !o.session.has_finalizer {
        // Nothing of ours holds it any more.
        return Plan::nothing();
    }
    if let Some(plan) = restored::decide(o) {
        return plan;
    }
    if phase.is_terminal() {
        return ended::decide(o);
    }
    let launch = status.and_then(|status| status.launch.as_ref());
    match launch.map(|record| (record, record.state)) {
        None | Some((_, SendState::Rejected | SendState::Absent)) => waiting::decide(o),
        Some((record, SendState::Claimed | SendState::Unknown)) => recover::decide(o, record),
        Some((record, SendState::Confirmed)) => active::decide(o, record),
    }
}

/// What is to be stored and remembered after `outcome`.
///
/// `o` is what the decision was made on, with the status that the plan stored before its effect.
pub fn record(o: &Observed<'_>, effect: &Effect, outcome: &Outcome) -> Recorded {
    match (effect, outcome) {
        (Effect::Launch(plan), Outcome::Launched(outcome)) => {
            launch::launched(o, &plan.claim_id, outcome)
        }
        (Effect::Preflight { .. }, Outcome::Preflighted { begun, result }) => {
            launch::preflighted(o, *begun, result)
        }
        (Effect::Lookup(_), Outcome::LookedUp { begun, answer }) => {
            recover::looked_up(o, *begun, answer)
        }
        (Effect::Cancel(_), Outcome::Stopped(answer)) => stop::stopped(o, answer),
        (
            Effect::Examine(_),
            Outcome::Examined {
                account,
                owner,
                result,
            },
        ) => recover::examined(o, account, owner.as_ref(), result),
        (
            Effect::AddFinalizer
            | Effect::ReleaseFinalizer
            | Effect::DeleteObject
            | Effect::VerifyCredentials
            | Effect::Preflight { .. }
            | Effect::Launch(_)
            | Effect::Lookup(_)
            | Effect::Cancel(_)
            | Effect::Examine(_),
            _,
        ) => Recorded::default(),
    }
}
