//! Stops: what comes of them, how often they are sent, and what is said.

use super::*;
use crate::api::{CancelReason, CancelState};

const PAGE: &str = "https://cursor.com/agents/1";

/// Everything that asks for a stop.
const REASONS: [CancelReason; 3] = [
    CancelReason::User,
    CancelReason::Deadline,
    CancelReason::Delete,
];

fn stopping(reason: CancelReason) -> Given {
    let mut given = Given::running();
    // Longer than the test takes.
    given.timing.deletion_bound = seconds(86_400);
    match reason {
        CancelReason::User | CancelReason::Duplicate | CancelReason::Message => {
            given.desires(DesiredState::Cancelled);
        }
        CancelReason::Delete => given.deleting = Some(given.now),
        CancelReason::Deadline => given.wait(seconds(7200)),
    }
    given
}

fn cancel(given: &Given) -> &crate::api::CancelRecord {
    given.status.as_ref().unwrap().cancel.as_ref().unwrap()
}

/// Sends the stop when it is due, with looks in between that show the session active, and gets this answer.
fn send(given: &mut Given, answer: Result<CancelAnswer, ProviderError>) -> Recorded {
    for _ in 0..600 {
        let plan = given.pass();
        if let Some(effect) = plan.effect {
            assert!(matches!(effect, Effect::Cancel(_)), "{effect:?}");
            return given.outcome(&effect, &Outcome::Stopped(answer));
        }
        given.wait(seconds(1));
        given.sees(snapshot(RemotePhase::Running));
    }
    panic!("no stop within ten minutes");
}

fn warnings(recorded: &Recorded) -> Vec<Reason> {
    let warning = |event: &&Event| event.level == Level::Warning;
    recorded
        .events
        .iter()
        .filter(warning)
        .map(|n| n.reason)
        .collect()
}

#[test]
fn a_stop_that_fails_again_and_again_is_said_with_everything_a_person_needs() {
    for reason in REASONS {
        let mut given = stopping(reason);
        let mut told = Vec::new();
        for failures in 1..=12 {
            told.extend(warnings(&send(
                &mut given,
                Err(error(ErrorClass::Unavailable)),
            )));
            assert_eq!(cancel(&given).failures, failures);
            assert_eq!(cancel(&given).state, CancelState::Failing);
            let stalled = failures >= 5;
            let kind = if stalled {
                given.holds(SessionCondition::Stalled, Reason::CancelFailing);
                SessionCondition::Stalled
            } else {
                given.holds(SessionCondition::Reconciling, Reason::Cancelling);
                SessionCondition::Reconciling
            };
            let said = given.condition(kind).message.clone();
            let times = if failures == 1 {
                "tried once".to_owned()
            } else {
                format!("tried {failures} times")
            };
            let next = format!("next try at {}", cancel(&given).next_at.unwrap());
            for part in ["the provider says Unavailable", &times, &next] {
                assert!(said.contains(part), "{part:?} in {said:?}");
            }
            assert_eq!(stalled, said.contains(PAGE), "{said}");
            // Nothing is said or written while it waits.
            given.rests();
        }
        assert_eq!(told, [Reason::CancelFailing], "once, for {reason:?}");
        // Backed off to a minute, and never beyond it.
        let wait = given.decide().again.unwrap();
        assert!(wait > seconds(55) && wait <= seconds(60), "{wait:?}");
        // It recovers by itself.
        send(&mut given, Ok(CancelAnswer::Accepted));
        given.holds(SessionCondition::Reconciling, Reason::Cancelling);
        assert_eq!((cancel(&given).failures, &cancel(&given).error), (0, &None));
    }
}

#[test]
fn the_provider_s_own_waiting_time_is_kept_before_a_stop() {
    for reason in REASONS {
        let mut given = stopping(reason);
        let limited = ProviderError {
            retry_after: Some(seconds(90)),
            ..error(ErrorClass::RateLimited)
        };
        send(&mut given, Err(limited));
        let (begun, writes) = (given.uptime, given.writes);
        // Whatever wakes a pass meanwhile: nothing is sent, counted or written.
        while given.uptime - begun < seconds(90) {
            let plan = given.pass();
            assert_eq!(plan.effect, None, "after {:?}", given.uptime - begun);
            assert!(plan.again.is_some_and(|again| again <= seconds(90)));
            given.wait(seconds(1));
        }
        assert_eq!((cancel(&given).failures, given.writes), (1, writes));
        send(&mut given, Ok(CancelAnswer::Accepted));
    }
}

#[test]
fn a_clock_that_was_set_back_keeps_no_stop_waiting() {
    let mut given = stopping(CancelReason::User);
    send(&mut given, Err(error(ErrorClass::Unavailable)));
    given.now -= SignedDuration::from_hours(24);
    let wait = given.decide().again.unwrap();
    assert!(wait <= given.timing.refusal_wait_max, "{wait:?}");
}

#[test]
fn a_stop_that_is_refused_again_and_again_is_said_and_backs_off() {
    for reason in REASONS {
        let mut given = stopping(reason);
        let writes = given.writes;
        // The session may just have ended: a look decides before anything is said.
        let first = send(&mut given, Ok(CancelAnswer::NotCancellable(None)));
        assert_eq!((first.write, given.writes), (None, writes + 1));
        let mut told = Vec::new();
        for _ in 0..8 {
            let words = "stopping needs a seat".to_owned();
            let refused = Ok(CancelAnswer::NotCancellable(Some(words)));
            told.extend(warnings(&send(&mut given, refused)));
        }
        assert_eq!(told, [Reason::CancelRefused], "once, for {reason:?}");
        given.holds(SessionCondition::Stalled, Reason::CancelRefused);
        assert_eq!(cancel(&given).state, CancelState::Refused);
        let said = cancel(&given).error.clone().unwrap_or_default();
        assert!(
            said.contains("cannot be stopped now: stopping needs a seat"),
            "{said}"
        );
        let begun = given.uptime;
        send(&mut given, Ok(CancelAnswer::NotCancellable(None)));
        assert!(
            given.uptime - begun >= seconds(55),
            "{:?}",
            given.uptime - begun
        );
        // It ends all the same.
        given.sees(snapshot(RemotePhase::Cancelled));
        given.pass();
        assert!(given.phase().is_terminal());
    }
}

#[test]
fn a_stop_that_was_taken_is_never_repeated_blindly() {
    let mut given = stopping(CancelReason::User);
    given.stop(CancelAnswer::Accepted);
    // Nobody has looked since: whatever time passes, nothing is sent.
    for _ in 0..100 {
        given.wait(seconds(15));
        given.rests();
    }
    // Nor after a look that was begun before it, or that failed.
    given.sees_error(ErrorClass::Unavailable, "ours");
    given.pass();
    given.rests();
    given.wait(seconds(1));
    given.sees(snapshot(RemotePhase::Running));
    assert!(matches!(given.pass().effect, Some(Effect::Cancel(_))));
}

#[test]
fn a_stop_without_effect_is_said_in_the_end() {
    let mut given = stopping(CancelReason::User);
    let mut told = Vec::new();
    for _ in 0..20 {
        told.extend(warnings(&send(&mut given, Ok(CancelAnswer::Accepted))));
    }
    assert_eq!(told, [Reason::CancelFailing]);
    given.holds(SessionCondition::Stalled, Reason::CancelFailing);
    let said = &given.condition(SessionCondition::Stalled).message;
    assert!(
        said.contains(PAGE) && said.contains("still reports"),
        "{said}"
    );
}

/// What a person has patched is dropped by tools that apply manifests.
#[test]
fn a_stop_that_was_asked_for_once_stays_wanted() {
    // While the session runs.
    let mut given = stopping(CancelReason::User);
    send(&mut given, Err(error(ErrorClass::Timeout)));
    given.desires(DesiredState::Running);
    given.pass();
    send(&mut given, Ok(CancelAnswer::Accepted));
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Cancelled,
    );
    // While nobody could send it.
    let mut given = stopping(CancelReason::User);
    given.readiness = blocked(Reason::SecretNotFound, false);
    given.pass();
    assert_eq!(cancel(&given).state, CancelState::Requested);
    assert_eq!(cancel(&given).sent_at, None);
    given.desires(DesiredState::Running);
    given.readiness = Readiness::Ready(connected("ours"));
    let plan = given.pass();
    assert!(matches!(plan.effect, Some(Effect::Cancel(_))));
    assert_eq!(cancel(&given).sent_at, Some(given.now));
    // While it was not known whether the launch had arrived, and while its request was under way.
    for in_flight in [false, true] {
        let mut given = Given::lost(Recovery::Marker);
        given.in_flight = in_flight;
        given.desires(DesiredState::Cancelled);
        given.pass();
        assert_eq!(cancel(&given).reason, CancelReason::User);
        given.desires(DesiredState::Running);
        given.in_flight = false;
        given.look_for(found(RemotePhase::Running));
        assert!(
            matches!(given.pass().effect, Some(Effect::Cancel(_))),
            "{in_flight}"
        );
    }
}

#[test]
fn the_deletion_bound_wakes_the_pass_by_itself_whatever_becomes_of_the_stop() {
    for change in [
        |_: &mut Given| {},
        |given: &mut Given| {
            for _ in 0..8 {
                send(given, Err(error(ErrorClass::Unavailable)));
            }
        },
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
    ] {
        let mut given = Given::running();
        given.wait(seconds(600));
        given.deleting = Some(given.now);
        let ends = given.now + given.timing.deletion_bound;
        given.pass();
        change(&mut given);
        given.pass();
        let left = given.decide().deadline.unwrap();
        assert_eq!(given.now + left, ends, "exactly");
        given.wait(left);
        let plan = given.pass();
        assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    }
}

/// A process that never lives for long must not hold the object for ever, and none lets it go before a stop was sent.
#[test]
fn a_deletion_ends_also_where_no_process_lives_long() {
    for dies_before_it_stores in [0, 3] {
        let mut given = Given::running();
        given.deleting = Some(given.now);
        // Nobody could send anything until long after the bound.
        given.wait(given.timing.deletion_bound * 4);
        for _ in 0..dies_before_it_stores {
            given.restart();
            given.wait(seconds(120));
            let plan = given.decide();
            assert!(matches!(plan.effect, Some(Effect::Cancel(_))), "{plan:?}");
        }
        // This one stores that it sends the stop, and dies before the answer.
        given.restart();
        given.wait(seconds(120));
        let plan = given.pass();
        assert!(matches!(plan.effect, Some(Effect::Cancel(_))), "{plan:?}");
        assert!(cancel(&given).sent_at.is_some());
        // The next one owes it nothing more.
        given.restart();
        given.wait(seconds(120));
        let plan = given.pass();
        assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
        assert_eq!(warned(&plan), [Reason::Orphaned]);
    }
}

fn warned(plan: &Plan) -> Vec<Reason> {
    plan.events.iter().map(|event| event.reason).collect()
}

/// An API server whose clock is behind makes a deletion look long past every bound, which takes nobody's first stop.
#[test]
fn a_deletion_past_its_bound_is_let_go_only_after_its_first_stop() {
    let overdue = || {
        let mut given = Given::running();
        given.timing.deletion_slack = seconds(1);
        given.deleting = Some(given.now - SignedDuration::from_hours(1));
        given.deletion_first_seen = Some(given.uptime);
        given.wait(seconds(60));
        given
    };
    // A key that was not asked about yet is asked about.
    let mut given = overdue();
    given.readiness = Readiness::Unverified;
    assert_eq!(given.decide().effect, Some(Effect::VerifyCredentials));
    given.readiness = Readiness::Ready(connected("ours"));
    let stop = given.pass();
    assert!(matches!(stop.effect, Some(Effect::Cancel(_))), "{stop:?}");
    // It was sent: whether it is answered or hangs, it holds up nothing more.
    assert_eq!(given.decide().effect, Some(Effect::ReleaseFinalizer));
    let effect = stop.effect.unwrap();
    given.outcome(&effect, &Outcome::Stopped(Err(error(ErrorClass::Timeout))));
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    // Where none can be sent, the bound counts.
    for cannot in [
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
        |given: &mut Given| given.lacks(Capability::Cancel),
        // It was sent, and the API server did not let us record it.
        |given: &mut Given| given.last_stop = Some(given.uptime),
        // It waited for its turn until the very end, by this process's own clock.
        |given: &mut Given| given.wait(given.timing.deletion_bound),
    ] {
        let mut given = overdue();
        cannot(&mut given);
        let plan = given.pass();
        assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
        assert_eq!(warned(&plan), [Reason::Orphaned]);
    }
    // The end wakes the pass by itself.
    let given = overdue();
    let left = given.timing.deletion_bound + given.timing.deletion_slack - seconds(60);
    assert_eq!(given.decide().deadline, Some(left));
}

/// A policy that refuses every status of ours must not keep a session running: it is stopped, at a distance, and its end is ours.
#[test]
fn a_stop_that_cannot_be_recorded_keeps_its_distance_and_counts() {
    let mut given = stopping(CancelReason::User);
    let stop = given.decide();
    assert!(matches!(stop.effect, Some(Effect::Cancel(_))));
    given.last_stop = Some(given.uptime);
    given.stop_taken = true;
    given.faults = 1;
    given.rests();
    given.wait(given.timing.fault_wait(1).max(given.timing.poll_min));
    assert!(matches!(given.decide().effect, Some(Effect::Cancel(_))));
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Cancelled,
    );
}

/// The request is stored, and the stop is not: what waits for the deadline, hours away, would wait for it with the stop.
#[test]
fn a_request_that_is_recorded_before_the_key_is_known_is_followed_by_the_stop_at_once() {
    let mut given = Given::running();
    given.readiness = Readiness::Unverified;
    given.desires(DesiredState::Cancelled);
    let plan = given.pass();
    assert!(plan.before.is_some() && plan.effect.is_none());
    assert_eq!(plan.again, Some(Duration::ZERO));
    assert_eq!(given.pass().effect, Some(Effect::VerifyCredentials));
    given.readiness = Readiness::Ready(connected("ours"));
    let effect = given.pass().effect.unwrap();
    assert!(matches!(effect, Effect::Cancel(_)), "{effect:?}");
}
