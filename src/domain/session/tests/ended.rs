//! After the end.

use super::*;
use crate::api::WebhookSpec;
use crate::domain::webhook::{self, Attempt, Due};

fn finished() -> Given {
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    given
}

#[test]
fn the_finalizer_goes_right_after_the_end_and_then_nothing_is_left_to_do() {
    let mut given = finished();
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.rests();
    given.restart();
    given.wait(seconds(86400));
    given.rests();
}

#[test]
fn a_finished_session_is_deleted_when_its_time_has_come() {
    let mut given = finished();
    given.spec.ttl_seconds_after_finished = Some(60);
    given.pass();
    assert_eq!(given.decide().deadline, Some(seconds(60)));
    given.wait(seconds(60));
    assert_eq!(given.pass().effect, Some(Effect::DeleteObject));
    given.deleting = Some(given.now);
    given.rests();
}

/// Whoever stores what became of the report wakes the session, so that it need not look again by itself.
#[test]
fn an_object_whose_end_is_to_be_reported_is_not_deleted() {
    let mut given = finished();
    given.spec.ttl_seconds_after_finished = Some(0);
    given.spec.webhook = Some(WebhookSpec {
        url: "https://hooks.example.com".to_owned(),
        secret_ref: None,
    });
    for _ in 0..3 {
        given.pass();
    }
    given.rests();
    assert!(!given.has_finalizer);
    assert_eq!(given.decide().deadline, None);
    let (now, timing) = (given.now, given.timing.clone());
    let status = given.status.as_mut().unwrap();
    let Due::Now(report) = webhook::due(UID, &given.spec, status, now, &timing) else {
        panic!("nothing is due");
    };
    let taken = Attempt::Answered {
        code: 200,
        retry_after: None,
    };
    let before = status.webhook.take();
    let after = webhook::recorded(before.as_ref(), &report, &taken, now, (&timing, 0.0));
    status.webhook = Some(after);
    // Its condition says so, then it goes.
    given.pass();
    assert_eq!(given.decide().effect, Some(Effect::DeleteObject));
}

#[test]
fn without_a_time_to_live_it_stays() {
    let mut given = finished();
    given.pass();
    given.wait(seconds(31_536_000));
    given.rests();
}

#[test]
fn a_new_generation_is_followed_by_one_write() {
    let mut given = finished();
    given.pass();
    given.generation += 1;
    let plan = given.pass();
    assert!(plan.before.is_some());
    assert_eq!(given.status.as_ref().unwrap().observed_generation, 2);
    given.rests();
}

#[test]
fn cancelled_after_the_provider_cancelled_it_is_as_asked() {
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::Cancelled);
    given.desires(DesiredState::Cancelled);
    given.pass();
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Cancelled,
    );
}

#[test]
fn cancelling_a_finished_session_changes_nothing_but_the_generation() {
    let mut given = finished();
    given.desires(DesiredState::Cancelled);
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
}

fn outcome_unknown() -> Given {
    let mut given = Given::lost(Recovery::None);
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    given.pass();
    given.pass();
    assert!(!given.has_finalizer && given.phase() == SessionPhase::Error);
    given
}

/// Its Event asks a person to annotate it: it must still be there then.
#[test]
fn a_session_of_unknown_outcome_is_kept_whatever_its_time_to_live() {
    let mut given = outcome_unknown();
    given.spec.ttl_seconds_after_finished = Some(0);
    for _ in 0..30 {
        given.wait(seconds(86_400));
        assert_eq!(given.decide().effect, None);
        given.pass();
    }
}

#[test]
fn a_session_that_the_user_found_is_taken_over() {
    let mut given = outcome_unknown();
    given.adopt = Some("bc-found".into());
    assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
    let effect = given.pass().effect.unwrap();
    let Effect::Examine(session) = &effect else {
        panic!("{effect:?}")
    };
    assert_eq!(session.session_id.as_str(), "bc-found");
    let mut there = snapshot(RemotePhase::Running);
    there.session_id = SessionId::new("bc-found");
    given.outcome(
        &effect,
        &Outcome::Examined {
            owner: None,
            account: account("ours"),
            result: Ok(there.clone()),
        },
    );
    assert_eq!(given.phase(), SessionPhase::Running);
    given.holds(SessionCondition::Launched, Reason::Adopted);
    given.sees(there);
    given.rests();
}

#[test]
fn a_session_that_is_not_there_is_not_taken_over() {
    let mut given = outcome_unknown();
    given.adopt = Some("bc-wrong".into());
    given.pass();
    let effect = given.pass().effect.unwrap();
    let recorded = given.outcome(
        &effect,
        &Outcome::Examined {
            owner: None,
            account: account("ours"),
            result: Err(error(ErrorClass::NotFound)),
        },
    );
    assert!(recorded.again.unwrap() >= seconds(60));
    assert_eq!(given.phase(), SessionPhase::Error);
    given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
}

#[test]
fn only_an_unknown_outcome_can_be_handed_over() {
    let mut given = finished();
    given.pass();
    given.adopt = Some("bc-found".into());
    given.rests();
}

#[test]
fn a_cancelled_session_of_unknown_outcome_that_the_user_found_is_stopped() {
    // The message of the condition invites the user to name it.
    let mut given = Given::lost(Recovery::None);
    given.desires(DesiredState::Cancelled);
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    given.adopt = Some("bc-found".into());
    let effect = given.pass().effect.unwrap();
    assert!(matches!(effect, Effect::Examine(_)), "{effect:?}");
    given.outcome(
        &effect,
        &Outcome::Examined {
            owner: None,
            account: account("ours"),
            result: Ok(snapshot(RemotePhase::Running)),
        },
    );
    given.stop(CancelAnswer::Accepted);
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    given.is(
        SessionCondition::Launched,
        ConditionStatus::True,
        Reason::Adopted,
    );
}

#[test]
fn a_deleted_object_that_has_ended_goes_whatever_the_annotation_says() {
    let mut given = outcome_unknown();
    given.adopt = Some("bc-found".into());
    given.pass();
    given.deleting = Some(given.now);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.rests();
}
