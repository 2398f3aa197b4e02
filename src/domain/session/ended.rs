//! After the end: the finalizer goes, and the object when its time has come.

use std::time::Duration;

use super::super::ids::SessionId;
use super::super::remote::SessionRef;
use super::super::status::Draft;
use super::observed::{Observed, Readiness};
use super::plan::{Effect, Plan};
use crate::api::{
    CodeSessionStatus, ConditionStatus, DesiredState, ProviderKind, Reason, SessionCondition,
    SessionPhase, condition,
};

pub(super) fn decide(o: &Observed<'_>) -> Plan {
    let Some(status) = o.session.status else {
        return Plan::nothing();
    };
    if let Some(plan) = hand_over(o, status) {
        return plan;
    }
    let follows = follow_spec(o, status);
    if follows.before.is_some() {
        return follows;
    }
    if o.session.has_finalizer {
        return Plan::act(Effect::ReleaseFinalizer);
    }
    time_to_live(o, status)
}

/// A session whose launch had an unknown outcome, and a user who found it at the provider.
fn hand_over(o: &Observed<'_>, status: &CodeSessionStatus) -> Option<Plan> {
    // Cancelled ones too: the session that was found is then stopped.
    let unknown = condition(&status.conditions, SessionCondition::Launched.as_str()).is_some_and(
        |launched| {
            launched.status == ConditionStatus::Unknown
                && launched.reason == Reason::LaunchOutcomeUnknown.as_str()
        },
    );
    let id = o
        .session
        .adopt
        .filter(|_| unknown && o.session.deleting.is_none() && !o.stopping)?;
    Some(match &o.readiness {
        Readiness::Unverified => Plan::act(Effect::VerifyCredentials),
        Readiness::Blocked { again, .. } => Plan::wait(*again),
        Readiness::NotGathered => Plan::wait(o.timing.recheck),
        Readiness::Ready(_) if !o.session.has_finalizer => Plan::act(Effect::AddFinalizer),
        Readiness::Ready(_) => Plan::act(Effect::Examine(SessionRef {
            session_id: SessionId::new(id),
            run_id: None,
        })),
    })
}

/// The conditions follow what the spec now asks of the ended session.
fn follow_spec(o: &Observed<'_>, status: &CodeSessionStatus) -> Plan {
    let mut draft = Draft::new(Some(status), o.session.generation, o.now);
    let messages = o
        .session
        .spec
        .messages
        .as_ref()
        .is_some_and(|messages| !messages.is_empty());
    let launched = status
        .provider
        .as_ref()
        .is_some_and(|provider| provider.session_id.is_some());
    let stalled = condition(&status.conditions, SessionCondition::Stalled.as_str())
        .is_some_and(|stalled| stalled.status == ConditionStatus::True);
    if messages && launched {
        draft.stalled(
            Reason::NotSupportedYet,
            "spec.messages is not supported by this version of the operator: the message was not sent",
        );
    } else if o.session.spec.desired_state() == DesiredState::Archived && launched {
        let kind = status
            .provider
            .as_ref()
            .map(|provider| provider.kind.as_str());
        if kind == Some(ProviderKind::Firebender.as_str()) {
            // Firebender has no archive: archived is a word between us and the user.
            draft.settled(Reason::Settled, "archived");
        } else {
            draft.stalled(
                Reason::NotSupportedYet,
                "desiredState: Archived is not supported by this version of the operator for a launched session: it stays unarchived at the provider",
            );
        }
    } else if o.session.spec.desired_state() == DesiredState::Cancelled
        && status.phase == SessionPhase::Cancelled
        && stalled
    {
        // Stopped by somebody else first, and now that is what the spec asks for.
        draft.settled(Reason::Cancelled, "");
    }
    Plan::store(o, draft.finish())
}

fn time_to_live(o: &Observed<'_>, status: &CodeSessionStatus) -> Plan {
    let recorded = status
        .effective
        .as_ref()
        .and_then(|effective| effective.ttl_seconds_after_finished);
    let ttl = o.session.spec.ttl_seconds_after_finished.or(recorded);
    let (Some(ttl), Some(completed), None) = (ttl, status.completed_at, o.session.deleting) else {
        return Plan::nothing();
    };
    let left = o.until(completed + Duration::from_secs(u64::try_from(ttl).unwrap_or(0)));
    if !left.is_zero() {
        Plan::wait(left)
    } else if o.stopping {
        Plan::nothing()
    } else {
        Plan::act(Effect::DeleteObject)
    }
}
