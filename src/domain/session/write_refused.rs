//! A write of the object that the API server refuses: a policy, a quota, a missing permission. Its status can still be
//! written, so that is where it is said.

use super::observed::Observed;
use super::plan::{Effect, Event, Recorded};
use super::stage::Stage;
use super::view;
use super::view::{pending_draft, store};
use crate::api::Reason;

/// What is stored when the API server refuses, with these words, what `effect` writes.
pub fn write_refused(o: &Observed<'_>, effect: &Effect, said: &str) -> Recorded {
    let what = match effect {
        Effect::AddFinalizer => "the finalizer",
        Effect::ReleaseFinalizer => "the removal of the finalizer",
        Effect::DeleteObject => "the deletion of the object, whose time is up",
        Effect::VerifyCredentials
        | Effect::ReadBaseline { .. }
        | Effect::Launch(_)
        | Effect::Lookup(_)
        | Effect::Cancel(_)
        | Effect::Examine(_)
        | Effect::PollAgain(_)
        | Effect::Archive(_) => return Recorded::default(),
    };
    let said = said.trim_end_matches('.');
    let message = format!(
        "the API server refuses {what}: {said}. Change the object as that asks, or exempt the operator from it; it is tried again by itself"
    );
    let stage = Stage::of(o.session.status);
    let mut draft = match stage {
        Stage::Waiting => pending_draft(o),
        Stage::Open(_) | Stage::Running(_) | Stage::Over(_) => view::draft(o),
    };
    let patience = match stage {
        // It is over: nobody waits for it to get further.
        Stage::Over(_) => std::time::Duration::ZERO,
        Stage::Waiting | Stage::Open(_) | Stage::Running(_) => o.timing.stalled_after,
    };
    let known = draft
        .status()
        .blocker
        .as_ref()
        .is_some_and(|blocker| blocker.reason == Reason::WriteRefused.as_str());
    draft.blocked(Reason::WriteRefused, &message, patience);
    let mut recorded = Recorded {
        again: Some(o.timing.fault_wait(o.faults.saturating_add(1))),
        fault: true,
        ..store(o, draft.finish())
    };
    if !known {
        recorded
            .events
            .push(Event::warning(Reason::WriteRefused, message));
    }
    recorded
}
