//! A launched session.

use super::*;
use crate::api::CancelReason;

fn seen(phase: RemotePhase) -> Given {
    let mut given = Given::running();
    given.sees(snapshot(phase));
    given.pass();
    given
}

#[test]
fn creating_running_and_done_are_three_writes() {
    let mut given = Given::launched();
    let before = given.writes;
    given.sees(snapshot(RemotePhase::Creating));
    given.rests();
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Running);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.wait(seconds(600));
    given.rests();
    let mut done = snapshot(RemotePhase::Finished);
    done.pull_request_url = Some("https://github.com/acme/app/pull/42".into());
    done.result = Some("Fixed it. ".repeat(1000));
    given.sees(done);
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
    given.holds(SessionCondition::Succeeded, Reason::Finished);
    given.holds(SessionCondition::PullRequestCreated, Reason::Created);
    assert_eq!(given.writes - before, 2);
    // Claim and launched before, so four status writes; finalizer and release are the other two of six.
    assert_eq!(given.writes, 4);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.rests();
}

#[test]
fn how_a_session_ends_follows_from_what_the_provider_says() {
    use RemotePhase as R;
    for (remote, phase, reason) in [
        (R::Finished, SessionPhase::Finished, Reason::Finished),
        (R::Error, SessionPhase::Error, Reason::ProviderError),
        (R::Expired, SessionPhase::Expired, Reason::ProviderExpired),
        (R::Cancelled, SessionPhase::Cancelled, Reason::Cancelled),
    ] {
        let given = seen(remote);
        assert_eq!(given.phase(), phase);
        given.holds(SessionCondition::Completed, reason);
        let wanted = remote == R::Finished;
        assert_eq!(
            given.condition(SessionCondition::Stalled).status,
            (!wanted).into()
        );
    }
}

#[test]
fn a_session_never_goes_back_to_creating() {
    let given = seen(RemotePhase::Creating);
    assert_eq!(given.phase(), SessionPhase::Running);
}

#[test]
fn the_provider_s_own_words_alone_are_worth_no_write() {
    let mut given = Given::running();
    let mut other = snapshot(RemotePhase::Running);
    other.raw_status = "RUNNING_TESTS".into();
    other.branch = Some("fix/login".into());
    given.sees(other);
    given.rests();
}

#[test]
fn a_pull_request_before_the_end_is_shown() {
    let mut given = Given::running();
    let mut with = snapshot(RemotePhase::Running);
    with.pull_request_url = Some("https://github.com/acme/app/pull/42".into());
    with.branch = Some("fix/login".into());
    given.sees(with);
    given.pass();
    given.holds(SessionCondition::PullRequestCreated, Reason::Created);
    given.rests();
    // A later look without it takes nothing back.
    given.sees(snapshot(RemotePhase::Running));
    given.rests();
}

#[test]
fn a_pull_request_is_asked_for_or_not() {
    for (auto_create, running, ended) in [
        (
            true,
            (ConditionStatus::Unknown, Reason::NotYet),
            (ConditionStatus::False, Reason::NoPullRequest),
        ),
        (
            false,
            (ConditionStatus::False, Reason::NotRequested),
            (ConditionStatus::False, Reason::NotRequested),
        ),
    ] {
        let mut given = Given::ready();
        given.effective(|e| e.pull_request.auto_create = auto_create);
        given.launch(&accepted());
        given.is(SessionCondition::PullRequestCreated, running.0, running.1);
        given.sees(snapshot(RemotePhase::Finished));
        given.pass();
        given.is(SessionCondition::PullRequestCreated, ended.0, ended.1);
    }
}

#[test]
fn an_agent_that_waits_for_a_person_is_blocked_until_it_does_not() {
    let mut given = Given::running();
    let mut waits = snapshot(RemotePhase::Running);
    waits.blocked = Some("approve the plan".into());
    given.sees(waits);
    given.pass();
    given.holds(SessionCondition::Blocked, Reason::WaitingForPerson);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.rests();
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.is(
        SessionCondition::Blocked,
        ConditionStatus::False,
        Reason::NotBlocked,
    );
}

#[test]
fn an_undocumented_status_keeps_the_phase_and_is_said() {
    let mut given = seen(RemotePhase::Unrecognised);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.holds(SessionCondition::Reconciling, Reason::UnknownProviderStatus);
    given.rests();
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Running);
}

#[test]
fn a_look_that_fails_by_the_way_changes_nothing() {
    for class in [
        ErrorClass::Unavailable,
        ErrorClass::Timeout,
        ErrorClass::RateLimited,
        ErrorClass::Unknown,
        ErrorClass::Conflict,
    ] {
        let mut given = Given::running();
        given.sees_error(class, "ours");
        given.rests();
    }
}

#[test]
fn a_key_that_is_no_longer_accepted_is_said_and_taken_back() {
    let mut given = Given::running();
    given.sees_error(ErrorClass::Unauthorized, "ours");
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::CredentialsInvalid);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Running);
}

#[test]
fn a_stop_is_recorded_before_it_is_sent() {
    let mut given = Given::running();
    given.desires(DesiredState::Cancelled);
    let plan = given.pass();
    let cancel = plan.before.unwrap().status.cancel.unwrap();
    assert_eq!(cancel.reason, CancelReason::User);
    assert_eq!(
        (cancel.sent_at, cancel.accepted_at),
        (Some(given.now), None)
    );
    assert!(matches!(plan.effect, Some(Effect::Cancel(_))));
    given.holds(SessionCondition::Reconciling, Reason::Cancelling);
}

#[test]
fn finished_becomes_cancelled_only_after_an_accepted_stop() {
    for (answer, phase) in [
        (Some(CancelAnswer::Accepted), SessionPhase::Cancelled),
        (
            Some(CancelAnswer::NotCancellable(None)),
            SessionPhase::Finished,
        ),
        (None, SessionPhase::Finished),
    ] {
        let mut given = Given::running();
        given.desires(DesiredState::Cancelled);
        match answer {
            Some(answer) => {
                given.stop(answer);
            }
            None => {
                // The stop's answer was lost.
                let effect = given.pass().effect.unwrap();
                let lost = Outcome::Stopped(Err(error(ErrorClass::Timeout)));
                given.outcome(&effect, &lost);
            }
        }
        given.sees(snapshot(RemotePhase::Finished));
        given.pass();
        assert_eq!(given.phase(), phase);
        if phase == SessionPhase::Cancelled {
            given.is(
                SessionCondition::Stalled,
                ConditionStatus::False,
                Reason::Cancelled,
            );
        }
    }
}

/// The write that should have recorded it failed, and then the provider calls the session finished.
#[test]
fn a_stop_that_was_taken_counts_also_where_that_could_not_be_stored() {
    let mut given = Given::running();
    given.desires(DesiredState::Cancelled);
    given.pass();
    given.stop_taken = true;
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

#[test]
fn a_session_that_finished_before_the_stop_was_sent_is_finished_and_not_stopped() {
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Finished));
    given.desires(DesiredState::Cancelled);
    assert_eq!(given.pass().effect, None);
    assert_eq!(given.phase(), SessionPhase::Finished);
}

#[test]
fn a_stop_is_repeated_until_it_is_confirmed() {
    let mut given = Given::running();
    given.desires(DesiredState::Cancelled);
    given.stop(CancelAnswer::Accepted);
    let writes = given.writes;
    for _ in 0..3 {
        given.sees(snapshot(RemotePhase::Running));
        let plan = given.pass();
        assert_eq!((plan.effect, plan.again), (None, Some(seconds(15))));
        given.wait(seconds(15));
        given.sees(snapshot(RemotePhase::Running));
        given.stop(CancelAnswer::Accepted);
    }
    assert_eq!(given.writes, writes, "repeating is worth no write");
}

#[test]
fn a_stop_of_a_provider_that_cannot_is_said_and_the_session_followed_to_its_end() {
    let mut given = Given::running();
    given.desires(DesiredState::Cancelled);
    given.stop(CancelAnswer::Unsupported);
    given.holds(SessionCondition::Stalled, Reason::CancelUnsupported);
    given.rests();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
}

#[test]
fn the_deadline_stops_the_session_and_expires_it() {
    let mut given = Given::running();
    assert_eq!(given.decide().deadline, Some(seconds(7200)));
    given.wait(seconds(7200));
    given.stop(CancelAnswer::Accepted);
    assert_eq!(
        given
            .status
            .as_ref()
            .unwrap()
            .cancel
            .as_ref()
            .unwrap()
            .reason,
        CancelReason::Deadline
    );
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Expired);
    given.holds(SessionCondition::Stalled, Reason::DeadlineExceeded);
}

#[test]
fn a_deadline_that_cannot_be_enforced_does_not_spin() {
    for change in [
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
        |given: &mut Given| given.readiness = Readiness::NotGathered,
        |given: &mut Given| given.provider = None,
        |given: &mut Given| given.stopping = true,
    ] {
        let mut given = Given::running();
        given.wait(seconds(7200));
        change(&mut given);
        given.pass();
        // `decide` is checked never to ask for a next pass at once without an effect.
        given.rests();
    }
}

#[test]
fn a_stop_that_could_not_be_sent_says_so_until_it_can() {
    let mut given = Given::running();
    given.desires(DesiredState::Cancelled);
    given.stop(CancelAnswer::Accepted);
    given.readiness = blocked(Reason::SecretNotFound, false);
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::SecretNotFound);
    given.readiness = Readiness::Ready(connected("ours"));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Cancelling);
}

#[test]
fn a_session_that_nobody_can_look_at_says_so_and_is_looked_for_again() {
    // A process that has just started, and a Secret that is gone: nobody has its credential any more.
    let mut given = Given::running();
    given.poll = None;
    given.readiness = blocked(Reason::SecretNotFound, false);
    let plan = given.pass();
    given.holds(SessionCondition::Stalled, Reason::SecretNotFound);
    assert_eq!(given.phase(), SessionPhase::Running);
    assert!(plan.again.is_some(), "a Secret is not watched");
    // The provider is down: what passes by itself is not said of every session.
    let mut given = Given::running();
    given.poll = None;
    given.readiness = blocked(Reason::ProviderUnavailable, true);
    given.rests();
    let plan = given.pass();
    assert!(plan.again.is_some());
}

/// The end of a session that runs on costs money: one answer, or some, may be a mistake on the way.
#[test]
fn not_found_is_believed_after_ten_minutes_in_which_the_key_was_accepted() {
    let mut given = Given::running();
    given.sees_error(ErrorClass::NotFound, "ours");
    given.rests();
    // An accepted launch may show as late as any other.
    given.wait(given.timing.fence() + given.timing.clock_margin + given.timing.poll_max);
    given.sees_error(ErrorClass::NotFound, "ours");
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Running);
    given.holds(SessionCondition::Reconciling, Reason::SessionLost);
    given.wait(given.timing.lost_after - seconds(500));
    given.sees_error(ErrorClass::NotFound, "ours");
    given.rests();
    // A look that shows it begins everything anew.
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Running);
    given.sees_error(ErrorClass::NotFound, "ours");
    given.wait(given.timing.lost_after);
    given.sees_error(ErrorClass::NotFound, "ours");
    // The key may have lost its rights meanwhile: that is asked first.
    assert_eq!(given.pass().effect, Some(Effect::VerifyCredentials));
    assert_eq!(given.phase(), SessionPhase::Running);
    given.verified();
    let plan = given.pass();
    assert_eq!(plan.events[0].reason, Reason::SessionLost);
    assert_eq!(given.phase(), SessionPhase::Error);
    given.holds(SessionCondition::Stalled, Reason::SessionLost);
    // Never launched again.
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.rests();
}

/// A lost session that the provider knows again is followed again: it may be running, and cost money.
#[test]
fn a_lost_session_that_shows_up_again_is_followed_again() {
    let mut given = lost();
    given.wait(seconds(60));
    let effect = given.pass().effect.unwrap();
    assert!(matches!(effect, Effect::PollAgain(_)), "{effect:?}");
    // Still not there: that is no news.
    given.outcome(
        &effect,
        &Outcome::Examined {
            owner: None,
            account: account("ours"),
            result: Err(error(ErrorClass::NotFound)),
        },
    );
    given.rests();
    given.wait(seconds(240));
    let effect = given.pass().effect.unwrap();
    given.outcome(
        &effect,
        &Outcome::Examined {
            owner: None,
            account: account("ours"),
            result: Ok(snapshot(RemotePhase::Running)),
        },
    );
    assert_eq!(given.phase(), SessionPhase::Running);
    assert_eq!(given.record().unwrap().state, SendState::Confirmed);
    given.poll = None;
    assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
}

/// Time to live removes nothing that a person may have to look at.
#[test]
fn a_lost_session_is_kept_whatever_its_time_to_live() {
    let mut given = lost();
    given.spec.ttl_seconds_after_finished = Some(0);
    given.wait(seconds(864_000));
    given.rests();
}

fn lost() -> Given {
    let mut given = Given::running();
    given.wait(given.timing.fence() + given.timing.clock_margin + given.timing.poll_max);
    given.sees_error(ErrorClass::NotFound, "ours");
    given.wait(given.timing.lost_after);
    given.sees_error(ErrorClass::NotFound, "ours");
    given.verified();
    given.pass();
    assert_eq!(given.record().unwrap().state, SendState::Lost);
    given.pass();
    assert!(!given.has_finalizer);
    given
}

#[test]
fn another_account_that_does_not_know_the_session_proves_nothing() {
    let mut given = Given::running();
    given.wait(given.timing.settle);
    given.sees_error(ErrorClass::NotFound, "another account");
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::CredentialsChanged);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.rests();
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Running);
}

#[test]
fn deleting_stops_first_and_goes_when_that_is_confirmed() {
    let mut given = Given::running();
    given.deleting = Some(given.now);
    given.stop(CancelAnswer::Accepted);
    assert_eq!(given.pass().effect, None);
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.rests();
}

#[test]
fn deleting_ends_within_its_bound_and_reports_what_is_left_running() {
    for change in [
        |_: &mut Given| {},
        |given: &mut Given| given.agent = AgentView::Missing,
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
        |given: &mut Given| given.sees_error(ErrorClass::NotFound, "another account"),
    ] {
        let mut given = Given::running();
        change(&mut given);
        given.deleting = Some(given.now);
        given.pass();
        given.wait(given.timing.deletion_bound - seconds(1));
        assert_ne!(given.pass().effect, Some(Effect::ReleaseFinalizer));
        given.wait(seconds(1));
        let plan = given.pass();
        assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
        assert_eq!(plan.events[0].reason, Reason::Orphaned);
    }
}

#[test]
fn an_api_server_whose_clock_is_behind_takes_no_deletion_its_chance() {
    let mut given = Given::running();
    given.wait(seconds(3600));
    given.deleting = Some(given.now - SignedDuration::from_mins(20));
    given.deletion_first_seen = Some(given.uptime);
    given.stop(CancelAnswer::Accepted);
    given.wait(given.timing.deletion_slack - seconds(1));
    assert_ne!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.wait(seconds(1));
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
}

#[test]
fn an_api_server_whose_clock_is_ahead_prolongs_no_deletion() {
    let mut given = Given::running();
    given.deleting = Some(given.now + SignedDuration::from_mins(20));
    given.deletion_first_seen = Some(given.uptime);
    given.pass();
    given.wait(given.timing.deletion_bound - seconds(1));
    assert_ne!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.wait(seconds(1));
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
}

#[test]
fn a_process_that_comes_back_after_the_bound_stops_before_it_lets_go() {
    let mut given = Given::running();
    given.deleting = Some(given.now);
    given.wait(seconds(3600));
    given.restart();
    given.stop(CancelAnswer::Accepted);
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

#[test]
fn orphan_leaves_it_running_and_says_so() {
    let mut given = Given::running();
    given.spec.deletion_policy = Some(DeletionPolicy::Orphan);
    given.deleting = Some(given.now);
    let plan = given.pass();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].reason, Reason::Orphaned);
}

#[test]
fn a_provider_that_cannot_stop_says_so_and_the_session_is_shown_on_to_its_end() {
    let mut given = Given::launched();
    given.lacks(Capability::Cancel);
    given.desires(DesiredState::Cancelled);
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::CancelUnsupported);
    assert_eq!(given.phase(), SessionPhase::Creating);
    given.rests();
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Running);
    given.holds(SessionCondition::Stalled, Reason::CancelUnsupported);
    given.rests();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
}

#[test]
fn a_deadline_that_the_provider_cannot_keep_is_told_as_one() {
    let mut given = Given::running();
    given.lacks(Capability::Cancel);
    given.wait(seconds(7200));
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::CancelUnsupported);
    let message = &given.condition(SessionCondition::Stalled).message;
    assert!(message.contains("activeDeadlineSeconds"), "{message}");
}

#[test]
fn a_provider_that_tells_nothing_of_pull_requests_is_not_said_to_have_opened_none() {
    let mut given = Given::ready();
    given.lacks(Capability::AutoCreatePullRequest);
    given.launch(&accepted());
    for phase in [RemotePhase::Running, RemotePhase::Finished] {
        given.is(
            SessionCondition::PullRequestCreated,
            ConditionStatus::Unknown,
            Reason::NotReported,
        );
        given.sees(snapshot(phase));
        given.pass();
    }
    given.is(
        SessionCondition::PullRequestCreated,
        ConditionStatus::Unknown,
        Reason::NotReported,
    );
}

#[test]
fn a_provider_that_cannot_stop_does_not_hold_a_deletion() {
    let mut given = Given::running();
    given.lacks(Capability::Cancel);
    given.deleting = Some(given.now);
    let plan = given.pass();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].reason, Reason::Orphaned);
}

#[test]
fn a_removed_finalizer_comes_back_while_something_runs() {
    // `kubectl replace` removes it; without it a deletion would leave the session running unseen.
    let mut given = Given::running();
    given.has_finalizer = false;
    given.origin = Origin::None;
    assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
    given.rests();
}

#[test]
fn a_session_outlives_its_agent() {
    let mut given = Given::running();
    given.agent = AgentView::Missing;
    given.rests();
    given.desires(DesiredState::Cancelled);
    given.stop(CancelAnswer::Accepted);
    given.sees(snapshot(RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

/// A session whose stop was taken by a provider that has no status for stopped sessions.
fn stopped_where_it_shows_nowhere(reason: CancelReason) -> Given {
    let mut given = Given::running();
    given.provider.as_mut().unwrap().cancel_visibility = CancelVisibility::Unobservable;
    match reason {
        CancelReason::Deadline => given.wait(seconds(7200)),
        CancelReason::Delete => given.deleting = Some(given.now),
        CancelReason::User | CancelReason::Duplicate | CancelReason::Message => {
            given.desires(DesiredState::Cancelled);
        }
    }
    given.stop(CancelAnswer::Accepted);
    given
}

#[test]
fn a_stop_that_no_status_shows_counts_when_nothing_has_moved_for_two_minutes() {
    for (reason, phase, why) in [
        (
            CancelReason::User,
            SessionPhase::Cancelled,
            Reason::Cancelled,
        ),
        (
            CancelReason::Delete,
            SessionPhase::Cancelled,
            Reason::Cancelled,
        ),
        (
            CancelReason::Deadline,
            SessionPhase::Expired,
            Reason::DeadlineExceeded,
        ),
    ] {
        let mut given = stopped_where_it_shows_nowhere(reason);
        given.wait(seconds(119));
        given.sees(snapshot(RemotePhase::Running));
        given.pass();
        assert_eq!(given.phase(), SessionPhase::Running);
        // Time alone says nothing: the look that counts is begun after it.
        given.wait(seconds(1));
        given.pass();
        assert_eq!(given.phase(), SessionPhase::Running);
        given.sees(snapshot(RemotePhase::Running));
        given.pass();
        assert_eq!(given.phase(), phase);
        given.holds(SessionCondition::Completed, why);
    }
}

#[test]
fn what_moves_after_a_stop_was_not_stopped_yet() {
    let mut given = stopped_where_it_shows_nowhere(CancelReason::User);
    given.wait(seconds(100));
    let mut moved = snapshot(RemotePhase::Running);
    moved.pull_request_url = Some("https://github.com/acme/app/pull/42".into());
    given.sees(moved.clone());
    given.pass();
    given.wait(seconds(119));
    given.sees(moved.clone());
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Running);
    given.wait(seconds(1));
    given.sees(moved);
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

#[test]
fn silence_counts_only_after_a_stop_that_was_taken_and_only_where_no_status_shows_it() {
    // Its answer was lost.
    let mut given = Given::running();
    given.provider.as_mut().unwrap().cancel_visibility = CancelVisibility::Unobservable;
    given.desires(DesiredState::Cancelled);
    let effect = given.pass().effect.unwrap();
    given.outcome(&effect, &Outcome::Stopped(Err(error(ErrorClass::Timeout))));
    given.wait(seconds(600));
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Running);
    // Elsewhere the status tells.
    let mut given = stopped_where_it_shows_nowhere(CancelReason::User);
    given.provider.as_mut().unwrap().cancel_visibility = CancelVisibility::InStatus;
    given.wait(seconds(600));
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Running);
}

#[test]
fn a_process_that_takes_over_after_a_silent_stop_sees_the_silence_for_itself() {
    let mut given = stopped_where_it_shows_nowhere(CancelReason::User);
    given.wait(seconds(600));
    given.restart();
    given.sees(snapshot(RemotePhase::Running));
    given.stop(CancelAnswer::Accepted);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.wait(seconds(120));
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

/// What another account does not find says nothing of how long the session has been gone.
#[test]
fn looks_are_alike_only_by_the_same_account() {
    let lost = || {
        Err(ProviderError::unsent(
            ErrorClass::NotFound,
            "no such session",
        ))
    };
    let at = Duration::from_secs;
    let (ours, others) = (
        AccountFingerprint::new("ours"),
        AccountFingerprint::new("others"),
    );
    let first = Poll::after(None, at(10), lost(), others);
    assert_eq!(first.unchanged_since, at(10));
    let own = Poll::after(Some(&first), at(20), lost(), ours.clone());
    assert_eq!(own.unchanged_since, at(20));
    let again = Poll::after(Some(&own), at(30), lost(), ours);
    assert_eq!(again.unchanged_since, at(20));
}

/// Cursor's older API shows the pull request that a session starts from until there is another one.
#[test]
fn the_pull_request_that_a_session_starts_from_is_its_own_only_if_it_pushes_to_it() {
    let start = "https://github.com/acme/app/pull/700";
    for (to_it, shown, kept) in [
        (false, start, None),
        (false, "https://GitHub.com/Acme/app/pull/700", None),
        (
            false,
            "https://github.com/acme/app/pull/8",
            Some("https://github.com/acme/app/pull/8"),
        ),
        (true, start, Some(start)),
    ] {
        let mut given = Given::running();
        let effective = given.status.as_mut().unwrap().effective.as_mut().unwrap();
        effective.pull_request_url = Some(start.to_owned());
        effective.pull_request.work_on_current_branch = to_it;
        for phase in [RemotePhase::Running, RemotePhase::Finished] {
            let mut seen = snapshot(phase);
            seen.pull_request_url = Some(shown.to_owned());
            given.sees(seen);
            given.pass();
            let stored = given.status.as_ref().unwrap().pull_request.as_ref();
            let url = stored.and_then(|stored| stored.url.as_deref());
            assert_eq!(url, kept, "{phase:?}: {shown}");
            let created = given.condition(SessionCondition::PullRequestCreated);
            let holds = created.status == ConditionStatus::True;
            assert_eq!(holds, kept.is_some(), "{phase:?}: {shown}");
        }
    }
}
