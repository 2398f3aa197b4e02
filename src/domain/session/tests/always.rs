//! What holds of every plan and of every write, whatever is given.

use super::*;

/// Longest message of a condition that the schema takes.
const MESSAGE_BYTES: usize = 1024;

/// Checks a plan.
#[track_caller]
pub(super) fn of_plan(given: &Given, plan: &Plan) {
    assert_eq!(
        *plan,
        given.observed(decide),
        "the same observation leads to the same plan"
    );
    if let Some(write) = &plan.before {
        assert_ne!(
            given.status.as_ref(),
            Some(&*write.status),
            "nothing is written when nothing changed"
        );
        status(given, &write.status);
        match plan.effect {
            Some(Effect::Launch(_) | Effect::Message(_) | Effect::Cancel(_)) | None => {}
            ref other => panic!("{other:?} needs no record before it"),
        }
    }
    if let Some(Effect::Launch(launch)) = &plan.effect {
        let claim = plan.before.as_ref().expect("a launch has a claim");
        assert_eq!(claim.guard, Guard::Unchanged);
        let record = claim.status.launch.as_ref().unwrap();
        assert_eq!(record.claim_id, launch.claim_id.as_str());
        assert_eq!(record.state, SendState::Claimed);
        assert!(record.posts <= 5, "{} requests", record.posts);
        assert!(given.has_finalizer && given.deleting.is_none());
        // The first request and every further one: nobody may have suspended it, and no copy is launched.
        assert_eq!(given.spec.desired_state(), DesiredState::Running);
        assert!(matches!(
            given.agent,
            AgentView::Present {
                suspended: false,
                blocker: None,
                ..
            }
        ));
        assert_ne!(given.origin, Origin::Copy);
    }
    if let Some(Effect::Message(message)) = &plan.effect {
        let claim = plan.before.as_ref().expect("a message has a claim");
        assert_eq!(claim.guard, Guard::Unchanged);
        let entry = claim.status.messages.last().unwrap();
        let record = entry.send.as_ref().unwrap();
        assert_eq!(entry.name, message.name);
        assert_eq!(record.claim_id, message.claim_id.as_str());
        assert_eq!(record.state, SendState::Claimed);
        assert!(record.posts <= 5, "{} requests", record.posts);
        assert!(given.has_finalizer && given.deleting.is_none());
        assert_eq!(given.spec.desired_state(), DesiredState::Running);
        assert_ne!(given.origin, Origin::Copy);
        let active =
            |it: &crate::api::MessageStatus| it.name != entry.name && !it.phase.is_terminal();
        assert!(!claim.status.messages.iter().any(active), "one at a time");
    }
    if plan.effect.is_none() && plan.before.is_none() {
        assert_ne!(plan.again, Some(Duration::ZERO), "a pass that spins");
    }
}

/// Checks a status that is to be stored.
#[track_caller]
pub(super) fn of_write(given: &Given, write: &StatusWrite) {
    status(given, &write.status);
}

#[track_caller]
fn status(given: &Given, new: &CodeSessionStatus) {
    let kinds: Vec<&str> = new.conditions.iter().map(|c| c.kind.as_str()).collect();
    let all: Vec<&str> = SessionCondition::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(kinds, all, "every condition, in order");
    assert_eq!(new.observed_generation, given.generation);
    let is = |kind: SessionCondition| {
        condition(&new.conditions, kind.as_str()).unwrap().status == ConditionStatus::True
    };
    for now in &new.conditions {
        assert_eq!(now.observed_generation, Some(given.generation));
        assert!(now.message.len() <= MESSAGE_BYTES, "{}", now.message.len());
        assert_eq!(now.last_transition_time.subsec_nanosecond(), 0);
        assert!(
            Reason::ALL.iter().any(|r| r.as_str() == now.reason),
            "{} is no documented reason",
            now.reason
        );
        let before = given
            .status
            .as_ref()
            .and_then(|status| condition(&status.conditions, &now.kind));
        if let Some(before) = before.filter(|before| before.status == now.status) {
            assert_eq!(
                before.last_transition_time, now.last_transition_time,
                "{}: the transition time moves with the status alone",
                now.kind
            );
        }
    }
    use SessionCondition::{Completed, Reconciling, Stalled, Succeeded};
    assert!(!(is(Reconciling) && is(Stalled)));
    // A message that waits to be sent keeps what was asked for from being complete.
    let goes_on = given.deleting.is_none() && next_message(&given.spec, Some(new)).is_some();
    assert_eq!(is(Completed), new.phase.is_terminal() && !goes_on);
    assert_eq!(
        is(Succeeded),
        new.phase == SessionPhase::Finished && !goes_on
    );
    assert_eq!(new.completed_at.is_some(), new.phase.is_terminal());
    if new.phase.is_terminal() && !goes_on {
        assert!(!is(Reconciling), "an ended session is not in progress");
    }
    if let Some(message) = new.messages.first() {
        assert!(message.result.as_ref().is_none_or(|r| r.len() <= 2048));
    }
    if let Some(launch) = &new.launch {
        if launch.state == SendState::Confirmed {
            let provider = new.provider.as_ref().unwrap();
            assert!(provider.session_id.is_some(), "confirmed without an id");
            assert!(new.effective.is_some(), "confirmed without settings");
        }
        let refusal = launch.refusal.as_ref();
        assert!(refusal.is_none_or(|refusal| refusal.message.len() <= 512));
    }
}
