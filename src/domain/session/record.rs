//! What is stored after an effect: from the plan's circumstances and the outcome alone.

use super::super::remote::{CancelAnswer, ProviderError};
use super::active::cannot_be_stopped;
use super::draft;
use super::launch::{launched, preflighted};
use super::observed::Observed;
use super::plan::{Effect, Guard, Outcome, Recorded, StatusWrite};
use super::recover::{examined, looked_up};
use crate::api::{CancelReason, CodeSessionStatus, Reason};

/// What is to be stored and remembered after `outcome`.
///
/// `o` is what the decision was made on, with the status that the plan stored before its effect.
pub fn record(o: &Observed<'_>, effect: &Effect, outcome: &Outcome) -> Recorded {
    match (effect, outcome) {
        (Effect::Launch(plan), Outcome::Launched(outcome)) => launched(o, &plan.claim_id, outcome),
        (Effect::Preflight { .. }, Outcome::Preflighted { begun, result }) => {
            preflighted(o, *begun, result)
        }
        (Effect::Lookup(_), Outcome::LookedUp { begun, answer }) => looked_up(o, *begun, answer),
        (Effect::Cancel(_), Outcome::Stopped(answer)) => stopped(o, answer),
        (
            Effect::Examine(_),
            Outcome::Examined {
                account,
                owner,
                result,
            },
        ) => examined(o, account, owner.as_ref(), result),
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

fn stopped(o: &Observed<'_>, answer: &Result<CancelAnswer, ProviderError>) -> Recorded {
    match answer {
        Ok(CancelAnswer::Accepted) => {
            let mut draft = draft(o);
            let now = draft.now();
            if let Some(cancel) = draft.status().cancel.as_mut() {
                cancel.accepted_at.get_or_insert(now);
            }
            Recorded {
                again: Some(o.timing.stop_again),
                ..store(o, draft.finish())
            }
        }
        Ok(CancelAnswer::NotCancellable) => Recorded {
            again: Some(o.timing.poll_min),
            ..Recorded::default()
        },
        Ok(CancelAnswer::Unsupported) => {
            let mut draft = draft(o);
            let stop = draft.status().cancel.as_ref();
            let reason = stop.map_or(CancelReason::User, |cancel| cancel.reason);
            draft.stalled(Reason::CancelUnsupported, cannot_be_stopped(reason));
            store(o, draft.finish())
        }
        Err(_) => {
            let wait = o.timing.fault_wait(o.faults.saturating_add(1));
            Recorded {
                again: Some(wait),
                fault: true,
                ..Recorded::default()
            }
        }
    }
}

/// What is to be stored, if it differs from what is.
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
