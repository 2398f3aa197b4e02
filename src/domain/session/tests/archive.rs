//! Archiving.

use super::*;
use crate::api::ArchiveState;

fn finished() -> Given {
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given
}

fn to_archive(given: &mut Given) -> ToArchive<'_> {
    given.desires(DesiredState::Archived);
    ToArchive(given)
}

/// A session that is to be archived.
struct ToArchive<'a>(&'a mut Given);

impl ToArchive<'_> {
    #[track_caller]
    fn is_asked(&mut self) -> Effect {
        let effect = self.0.pass().effect.unwrap();
        assert!(matches!(effect, Effect::Archive(_)), "{effect:?}");
        effect
    }

    #[track_caller]
    fn answers(&mut self, of: &str, result: Result<(), ProviderError>) -> Recorded {
        let effect = self.is_asked();
        let account = account(of);
        self.0
            .outcome(&effect, &Outcome::Archived { account, result })
    }
}

fn state(given: &Given) -> Option<ArchiveState> {
    let archive = given.status.as_ref()?.archive.as_ref();
    archive.map(|archive| archive.state)
}

#[test]
fn nobody_asked_for_it() {
    let given = finished();
    given.is(
        SessionCondition::Archived,
        ConditionStatus::False,
        Reason::NotArchived,
    );
    assert_eq!(state(&given), None);
}

#[test]
fn it_is_archived_once_and_then_nothing_is_left_to_do() {
    let mut given = finished();
    to_archive(&mut given).answers("ours", Ok(()));
    given.holds(SessionCondition::Archived, Reason::Archived);
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Archived,
    );
    assert_eq!(
        given.phase(),
        SessionPhase::Finished,
        "it ended as it ended"
    );
    given.rests();
    given.restart();
    given.readiness = blocked(Reason::SecretNotFound, false);
    given.rests();
    // What tools drop from the spec stays in force.
    given.desires(DesiredState::Running);
    given.pass();
    given.holds(SessionCondition::Archived, Reason::Archived);
    given.rests();
}

/// Whatever an end is, archived is what was asked for.
#[test]
fn an_archived_failure_is_settled() {
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Error));
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::ProviderError);
    given.pass();
    to_archive(&mut given).answers("ours", Ok(()));
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Archived,
    );
    given.is(
        SessionCondition::Succeeded,
        ConditionStatus::False,
        Reason::ProviderError,
    );
}

/// Nothing of what a provider reports late is waited for.
#[test]
fn what_comes_late_is_not_looked_for_any_more() {
    let mut given = finished();
    given.wait(given.timing.after_end[0]);
    to_archive(&mut given).answers("ours", Ok(()));
    assert_eq!(given.condition(SessionCondition::Completed).message, "");
    given.wait(given.timing.after_end[2]);
    given.rests();
}

#[test]
fn a_failure_is_told_and_tried_again_after_a_growing_while() {
    let mut given = finished();
    let down = || Err(error(ErrorClass::Unavailable));
    let mut told = Vec::new();
    let mut waits = Vec::new();
    given.desires(DesiredState::Archived);
    for tries in 1..=6 {
        let recorded = ToArchive(&mut given).answers("ours", down());
        told.extend(recorded.events.iter().map(|_| tries));
        let wait = recorded.again.unwrap();
        waits.push(wait);
        given.is(
            SessionCondition::Archived,
            ConditionStatus::False,
            Reason::ArchiveFailing,
        );
        // What passes by itself is nothing that a person must see to.
        let stalled = ConditionStatus::from(tries >= 5);
        assert_eq!(given.condition(SessionCondition::Stalled).status, stalled);
        given.rests();
        given.wait(wait + seconds(1));
    }
    assert!(waits.is_sorted() && waits.first() < waits.last());
    assert_eq!(told, [5]);
    let said = &given.condition(SessionCondition::Archived).message;
    assert!(said.contains("tried 6 times, next try at"), "{said}");
    // Also where the wish is not in the spec any more.
    given.desires(DesiredState::Running);
    ToArchive(&mut given).answers("ours", Ok(()));
    given.holds(SessionCondition::Archived, Reason::Archived);
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Archived,
    );
}

#[test]
fn a_clock_that_was_set_back_keeps_nobody_waiting() {
    let mut given = finished();
    to_archive(&mut given).answers("ours", Err(error(ErrorClass::Unavailable)));
    let archive = given.status.as_mut().unwrap().archive.as_mut().unwrap();
    archive.next_at = Some(given.now + SignedDuration::from_hours(24));
    let plan = given.pass();
    assert!(plan.again.unwrap() <= given.timing.refusal_wait_max);
}

#[test]
fn the_provider_s_own_waiting_time_is_kept_before_it_is_asked_again() {
    let mut given = finished();
    let limited = ProviderError {
        retry_after: Some(seconds(900)),
        ..error(ErrorClass::RateLimited)
    };
    to_archive(&mut given).answers("ours", Err(limited));
    given.wait(seconds(899));
    assert_eq!(given.pass().effect, None);
    given.wait(seconds(1));
    to_archive(&mut given).answers("ours", Ok(()));
}

#[test]
fn what_is_not_there_needs_no_archive_but_only_its_own_account_can_say_so() {
    let mut given = finished();
    to_archive(&mut given).answers("theirs", Err(error(ErrorClass::NotFound)));
    assert_eq!(state(&given), Some(ArchiveState::Requested));
    let said = &given.condition(SessionCondition::Archived).message;
    assert!(said.contains("another account"), "{said}");
    given.wait(given.timing.fault_wait_max);
    ToArchive(&mut given).answers("ours", Err(error(ErrorClass::NotFound)));
    assert_eq!(state(&given), Some(ArchiveState::Archived));
}

#[test]
fn what_keeps_it_from_being_asked_is_told() {
    let mut given = finished();
    given.readiness = blocked(Reason::SecretNotFound, false);
    given.desires(DesiredState::Archived);
    let plan = given.pass();
    assert_eq!(plan.effect, None);
    given.holds(SessionCondition::Stalled, Reason::SecretNotFound);
    given.readiness = Readiness::Ready(connected("ours"));
    ToArchive(&mut given).answers("ours", Ok(()));
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Archived,
    );
    assert_eq!(given.status.as_ref().unwrap().blocker, None);
}

#[test]
fn where_the_provider_has_no_archive_nothing_is_sent() {
    let mut given = finished();
    let provider = given.provider.as_mut().unwrap();
    provider.capabilities.remove(&Capability::Archive);
    given.desires(DesiredState::Archived);
    let plan = given.pass();
    assert_eq!(plan.effect, None);
    given.holds(SessionCondition::Archived, Reason::ArchivedLocally);
    let said = &given.condition(SessionCondition::Archived).message;
    assert_eq!(said, "Cursor has no archive: nothing was sent to it");
    given.rests();
}

#[test]
fn what_was_never_launched_is_archived_here() {
    let mut given = Given::ready();
    given.desires(DesiredState::Archived);
    for _ in 0..4 {
        assert!(!matches!(given.pass().effect, Some(Effect::Archive(_))));
    }
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    given.holds(SessionCondition::Archived, Reason::ArchivedLocally);
    given.is(
        SessionCondition::Succeeded,
        ConditionStatus::False,
        Reason::ArchivedBeforeLaunch,
    );
    given.rests();
}

/// The session is the original's: it may still be looked at by those who own it.
#[test]
fn a_restored_copy_archives_nothing() {
    let mut given = finished();
    given.origin = Origin::Copy;
    given.desires(DesiredState::Archived);
    assert_eq!(given.pass().effect, None);
    given.holds(SessionCondition::Archived, Reason::ArchivedLocally);
    given.rests();
}

/// The API server refuses it while the session runs, but only as far as it knows.
#[test]
fn a_running_session_is_stopped_before_it_is_archived() {
    let mut given = Given::running();
    given.desires(DesiredState::Archived);
    let effect = given.pass().effect.unwrap();
    assert!(matches!(effect, Effect::Cancel(_)), "{effect:?}");
    given.outcome(&effect, &Outcome::Stopped(Ok(CancelAnswer::Accepted)));
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    ToArchive(&mut given).answers("ours", Ok(()));
    given.holds(SessionCondition::Archived, Reason::Archived);
}

#[test]
fn a_deletion_waits_for_no_archive() {
    let mut given = finished();
    given.desires(DesiredState::Archived);
    given.deleting = Some(given.now);
    given.rests();
}
