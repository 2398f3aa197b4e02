//! The life of a session: from what was observed to what to do next.
//!
//! [`decide`] is total, synchronous and deterministic. It plans at most one external effect; what is stored after the
//! effect comes from [`record`], from the plan and the outcome alone. [`Stage`] says where a session stands; each stage has a room
//! of its own, which holds both.
//!
//! ```text
//! Waiting   waiting     the gates; when all let it pass, launch: finalizer, look, claim + send
//! Open      recover     look for it, adopt, send again only when proven absent
//! Running   active      progress, stop, finish
//! Over      ended       what comes late, release the finalizer, archive, time to live
//! ```

mod active;
mod archive;
mod conclusion;
mod ended;
mod finish;
mod gates;
mod launch;
mod message;
mod needs;
mod observed;
mod pending;
mod plan;
mod progress;
mod recover;
mod restored;
mod stage;
mod stop;
#[cfg(test)]
mod tests;
mod view;
mod waiting;
mod write_refused;

pub use super::send::seen::{BaselineRead, Lookups};
pub use archive::archive_pending;
pub use ended::is_looked_for;
pub use needs::{Needs, may_send, needs};
pub use observed::{
    AgentView, Connected, Inputs, Lock, Observed, Origin, Poll, ProviderFacts, Readiness,
    SessionView, Slot, SlotOwner,
};
pub use pending::next_message;
pub use plan::{
    Effect, Event, Guard, LaunchPlan, Level, LookupPlan, MessageLookup, MessagePlan, Outcome,
    Owner, Plan, Recorded, StatusWrite, Unsent,
};
pub use stage::{OpenSend, Outline, Over, Stage, newest_send, wall_clock};
pub use stop::requested;
pub use view::{deletion_policy_of, session_ref, template_missing};
pub use waiting::waits_for_turn;
pub use write_refused::write_refused;

/// The next step of a session.
pub fn decide(o: &Observed<'_>) -> Plan {
    if o.session.deleting.is_some() && !o.session.has_finalizer {
        // Nothing of ours holds it any more.
        return Plan::nothing();
    }
    if let Some(plan) = restored::decide(o) {
        return plan;
    }
    match Stage::of(o.session.status) {
        Stage::Waiting => waiting::decide(o),
        Stage::Open(send) => {
            // Also while a request is under way: who drops the wish from the spec meanwhile does not take it back.
            stop::remember_wish(o).unwrap_or_else(|| recover::decide(o, send))
        }
        Stage::Running(record) => active::decide(o, record),
        Stage::Over(over) => ended::decide(o, over),
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
        (Effect::Message(plan), Outcome::Messaged(outcome)) => message::sent(o, plan, outcome),
        (
            Effect::ReadBaseline { .. },
            Outcome::BaselineRead {
                begun,
                ended,
                result,
            },
        ) => launch::baseline_read(o, *begun, *ended, result),
        (Effect::Lookup(plan), Outcome::LookedUp { begun, answer }) => {
            recover::looked_up(o, plan, *begun, answer)
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
            Effect::PollAgain(_),
            Outcome::Examined {
                account, result, ..
            },
        ) => {
            match Stage::of(o.session.status) {
                Stage::Over(over) => ended::looked(o, over, account, result),
                // Somebody else has settled it meanwhile.
                Stage::Waiting | Stage::Open(_) | Stage::Running(_) => Recorded::default(),
            }
        }
        (Effect::Archive(_), Outcome::Archived { account, result }) => {
            match Stage::of(o.session.status) {
                Stage::Over(Over::Ended(launch)) => archive::archived(o, launch, account, result),
                // Somebody else has settled it meanwhile.
                Stage::Waiting | Stage::Open(_) | Stage::Running(_) | Stage::Over(_) => {
                    Recorded::default()
                }
            }
        }
        (
            Effect::AddFinalizer
            | Effect::ReleaseFinalizer
            | Effect::DeleteObject
            | Effect::VerifyCredentials
            | Effect::ReadBaseline { .. }
            | Effect::Launch(_)
            | Effect::Message(_)
            | Effect::Lookup(_)
            | Effect::Cancel(_)
            | Effect::Examine(_)
            | Effect::PollAgain(_)
            | Effect::Archive(_),
            _,
        ) => Recorded::default(),
    }
}
