//! A claim whose outcome is not known.

use super::*;
use crate::api::OnUnknownLaunch;
use crate::domain::remote::{PageToken, ScanState};

impl Given {
    /// Passes the fence and proves the launch absent by two looks.
    pub(super) fn proves_absent(&mut self) {
        let posts = self.record().unwrap().posts;
        self.wait(self.timing.fence_after(posts));
        self.look_for(AdoptAnswer::Absent);
        self.wait(self.timing.consistency_window);
        self.look_for(AdoptAnswer::Absent);
    }
}

const FINDABLE: [Recovery; 2] = [Recovery::ClientId, Recovery::Marker];

#[test]
fn while_our_own_request_is_under_way_nothing_is_done() {
    let mut given = Given::ready();
    given.pass();
    given.in_flight = true;
    given.wait(seconds(3600));
    given.rests();
    given.deleting = Some(given.now);
    let plan = given.decide();
    assert_eq!((plan.before, plan.effect), (None, None));
    // A deletion is looked after however long an answer takes.
    assert_eq!(plan.again, Some(given.timing.deletion_bound));
}

#[test]
fn a_request_that_hangs_does_not_hold_a_deletion_beyond_its_bound() {
    let mut given = Given::ready();
    given.pass();
    given.in_flight = true;
    given.deleting = Some(given.now);
    given.wait(given.timing.deletion_bound);
    let plan = given.pass();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
}

/// What holds back a request, how it comes to be, and the reason that is then told.
type Hold = (&'static str, fn(&mut Given), Reason);

fn holds_back() -> Vec<Hold> {
    vec![
        (
            "the session is suspended",
            |given| given.desires(DesiredState::Suspended),
            Reason::Suspended,
        ),
        (
            "the CodeAgent is suspended",
            |given| set_agent(given, |suspended, _| *suspended = true),
            Reason::AgentSuspended,
        ),
        (
            "the CodeAgent objects",
            |given| {
                set_agent(given, |_, blocker| {
                    *blocker = Some(Blocker {
                        reason: Reason::CapabilityMissing,
                        message: "it cannot do that".into(),
                        cause: Cause::Environment,
                    });
                });
            },
            Reason::CapabilityMissing,
        ),
        (
            "the CodeAgent is gone",
            |given| given.agent = AgentView::Missing,
            Reason::AgentNotFound,
        ),
    ]
}

fn set_agent(given: &mut Given, change: impl FnOnce(&mut bool, &mut Option<Blocker>)) {
    let AgentView::Present {
        suspended, blocker, ..
    } = &mut given.agent
    else {
        panic!()
    };
    change(suspended, blocker);
}

#[test]
fn what_holds_back_a_first_request_holds_back_another_one() {
    for recovery in FINDABLE {
        for (case, hold, reason) in holds_back() {
            let mut given = Given::lost(recovery);
            let agent = given.agent.clone();
            hold(&mut given);
            given.proves_absent();
            let plan = given.pass();
            assert_eq!(plan.effect, None, "{case}");
            assert_eq!(given.record().unwrap().state, SendState::Absent, "{case}");
            assert_eq!(given.phase(), SessionPhase::Pending, "{case}");
            let plan = given.pass();
            assert_eq!(plan.effect, None, "{case}");
            let told = given.condition(SessionCondition::Succeeded);
            assert_eq!(told.reason, reason.as_str(), "{case}");
            // Whoever resumes it gets the second request of this launch, not another first one.
            given.agent = agent;
            given.desires(DesiredState::Running);
            let Some(Effect::Launch(launch)) = given.pass().effect else {
                panic!("{case}")
            };
            assert_eq!(launch.key, key(1), "{case}");
            let record = given.record().unwrap();
            assert_eq!((record.attempt, record.posts), (1, 2), "{case}");
        }
    }
}

#[test]
fn where_nothing_can_be_proven_what_is_suspended_is_not_sent_once_more() {
    for (case, hold, _) in holds_back() {
        let mut given = Given::launchable(Recovery::None);
        given.effective(|effective| effective.on_unknown_launch = OnUnknownLaunch::Retry);
        given.launch(&unknown());
        hold(&mut given);
        given.wait(given.timing.fence());
        given.look_for(AdoptAnswer::Unknowable);
        assert_eq!(given.pass().effect, None, "{case}");
        assert_eq!(given.decide().effect, None, "{case}");
    }
}

#[test]
fn a_restored_copy_of_an_open_launch_is_never_launched() {
    for recovery in [Recovery::ClientId, Recovery::Marker, Recovery::None] {
        for state in [SendState::Claimed, SendState::Unknown, SendState::Absent] {
            let mut given = Given::lost(recovery);
            given
                .status
                .as_mut()
                .unwrap()
                .launch
                .as_mut()
                .unwrap()
                .state = state;
            given.origin = Origin::Copy;
            given.wait(seconds(24 * 3600));
            given.restart();
            for _ in 0..5 {
                let plan = given.pass();
                assert_eq!(plan.effect, None, "{recovery:?} {state:?}");
                given.wait(seconds(3600));
            }
            given.holds(SessionCondition::Stalled, Reason::RestoredCopy);
            given.desires(DesiredState::Cancelled);
            given.pass();
            assert_eq!(
                given.phase(),
                SessionPhase::Cancelled,
                "{recovery:?} {state:?}"
            );
        }
    }
}

#[test]
fn the_deletion_of_a_restored_copy_stops_nothing() {
    let mut given = Given::running();
    given.origin = Origin::Copy;
    given.deleting = Some(given.now);
    let plan = given.decide();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].reason, Reason::RestoredCopy);
}

#[test]
fn looks_reach_back_to_the_first_claim() {
    let mut given = Given::lost(Recovery::Marker);
    let first = given.record().unwrap().claimed_at;
    for _ in 2..=4 {
        given.proves_absent();
        given.launch(&unknown());
    }
    let record = given.record().unwrap();
    assert_eq!(record.first_claim(), first);
    assert!(record.claimed_at > first + seconds(1800));
    let Some(Effect::Lookup(lookup)) = given.pass().effect else {
        panic!()
    };
    assert!(
        lookup.created_from < first,
        "a late session of the first request is a candidate"
    );
}

#[test]
fn looks_are_for_the_recorded_key_as_well() {
    let mut given = Given::lost(Recovery::ClientId);
    let recorded = "00000000-0000-4000-8000-000000000000";
    let launch = given.status.as_mut().unwrap().launch.as_mut().unwrap();
    launch.key = recorded.into();
    let Some(Effect::Lookup(lookup)) = given.decide().effect else {
        panic!()
    };
    assert_eq!(lookup.keys, [LaunchKey::recorded(recorded), key(1)]);
    // And it is sent again with it: the provider would take another one for another session.
    given.proves_absent();
    let Some(Effect::Launch(launch)) = given.pass().effect else {
        panic!()
    };
    assert_eq!(launch.key.as_uuid(), recorded);
}

#[test]
fn a_round_without_a_verdict_is_followed_by_a_growing_pause_and_a_page_by_none() {
    let mut given = Given::lost(Recovery::Marker);
    given.wait(given.timing.fence());
    let page = AdoptAnswer::Inconclusive {
        why: "more pages than one pass reads".into(),
        resume: Some(ScanState {
            next: Some(PageToken("2".into())),
            ..ScanState::default()
        }),
    };
    given.look_for(page.clone());
    given.look_for(page);
    // One candidate that cannot be judged: each round ends without a verdict.
    let mut looks = 0;
    let end = given.uptime + seconds(3000);
    while given.uptime < end {
        let plan = given.pass();
        match plan.effect {
            Some(Effect::Lookup(_)) => {
                looks += 1;
                given.look_for(AdoptAnswer::Inconclusive {
                    why: "1 candidates cannot be judged yet".into(),
                    resume: Some(ScanState {
                        begin_anew: true,
                        ..ScanState::default()
                    }),
                });
            }
            Some(other) => panic!("{other:?}"),
            None => given.wait(plan.again.unwrap()),
        }
    }
    assert!((30..60).contains(&looks), "{looks} rounds in 50 minutes");
}

#[test]
fn what_is_ours_beyond_doubt_is_taken_over_although_it_looks_different() {
    let mut given = Given::lost(Recovery::ClientId);
    let AdoptAnswer::Found(mut found) = found(RemotePhase::Running) else {
        panic!()
    };
    found[0].doubt = Some("it works on another repository".into());
    let recorded = given.look_for(AdoptAnswer::Found(found));
    given.holds(SessionCondition::Launched, Reason::Adopted);
    assert!(
        recorded
            .events
            .iter()
            .any(|event| event.level == Level::Warning
                && event.message.contains("another repository"))
    );
}

#[test]
fn a_session_that_belongs_to_another_object_is_not_taken_over() {
    for (owner, told) in [
        (Owner::Named("victim".into()), "CodeSession victim"),
        (Owner::Elsewhere, "another namespace"),
    ] {
        let mut given = Given::lost(Recovery::None);
        given.wait(given.timing.fence());
        given.look_for(AdoptAnswer::Unknowable);
        given.pass();
        given.adopt = Some("bc-theirs".into());
        given.has_finalizer = true;
        let effect = given.pass().effect.unwrap();
        assert!(matches!(effect, Effect::Examine(_)), "{effect:?}");
        let recorded = given.outcome(
            &effect,
            &Outcome::Examined {
                account: account("ours"),
                owner: Some(owner),
                // Whatever a look would show.
                result: Ok(snapshot(RemotePhase::Running)),
            },
        );
        assert!(recorded.again.unwrap() >= seconds(60));
        assert_eq!(given.record().unwrap().state, SendState::Unknown);
        let stalled = given.condition(SessionCondition::Stalled);
        assert!(stalled.message.contains(told), "{}", stalled.message);
    }
}

#[test]
fn a_claim_that_nobody_answers_for_is_looked_for() {
    for recovery in FINDABLE {
        let mut given = Given::launchable(recovery);
        given.pass();
        given.restart();
        let plan = given.decide();
        let Some(Effect::Lookup(lookup)) = plan.effect else {
            panic!("{plan:?}")
        };
        assert_eq!(lookup.keys, [key(1)]);
        assert!(lookup.created_from < given.now && lookup.created_until > given.now);
    }
}

#[test]
fn what_is_found_is_adopted_at_once() {
    for phase in [
        RemotePhase::Creating,
        RemotePhase::Running,
        RemotePhase::Finished,
    ] {
        let mut given = Given::lost(Recovery::Marker);
        given.look_for(found(phase));
        assert_eq!(given.record().unwrap().state, SendState::Confirmed);
        given.holds(SessionCondition::Launched, Reason::Adopted);
        assert!(!given.phase().is_terminal(), "first adopted, then ended");
    }
}

#[test]
fn an_adoption_is_stored_only_on_what_it_was_decided_on() {
    // It can be repeated; a stale one would overwrite what others have recorded under the same claim.
    let mut given = Given::lost(Recovery::Marker);
    let recorded = given.look_for(found(RemotePhase::Running));
    assert_eq!(recorded.write.unwrap().guard, Guard::Unchanged);
}

#[test]
fn duplicates_are_reported() {
    let mut given = Given::lost(Recovery::Marker);
    let AdoptAnswer::Found(mut both) = found(RemotePhase::Running) else {
        panic!()
    };
    both.push(both[0].clone());
    let recorded = given.look_for(AdoptAnswer::Found(both));
    assert!(
        recorded
            .events
            .iter()
            .any(|n| n.reason == Reason::DuplicateLaunch && n.level == Level::Warning)
    );
}

#[test]
fn a_second_request_needs_the_fence_and_two_looks_a_window_apart() {
    for recovery in FINDABLE {
        let mut given = Given::lost(recovery);
        // Looks before the fence prove nothing.
        given.look_for(AdoptAnswer::Absent);
        given.wait(given.timing.fence() - seconds(20));
        given.look_for(AdoptAnswer::Absent);
        // The first look after it proves nothing alone.
        given.wait(seconds(20));
        given.look_for(AdoptAnswer::Absent);
        let plan = given.pass();
        assert_eq!(plan.effect, None);
        assert_eq!(plan.again, Some(given.timing.consistency_window));
        given.wait(given.timing.consistency_window);
        given.look_for(AdoptAnswer::Absent);
        // Now it is sent again: the same key, a new claim, counted.
        let Some(Effect::Launch(launch)) = given.pass().effect else {
            panic!()
        };
        assert_eq!(launch.key, key(1));
        let record = given.record().unwrap();
        assert_eq!((record.attempt, record.posts), (1, 2));
        assert_eq!(record.claim_id, "claim-2");
        assert_eq!(launch.not_after, given.now + given.timing.send_window);
    }
}

#[test]
fn an_inconclusive_or_failed_look_never_leads_to_a_request() {
    for failed in [false, true] {
        let mut given = Given::lost(Recovery::Marker);
        for _ in 0..50 {
            given.wait(seconds(60));
            let plan = given.pass();
            if let Some(effect) = plan.effect {
                assert!(matches!(effect, Effect::Lookup(_)), "{effect:?}");
                let answer = if failed {
                    Err(error(ErrorClass::Unavailable))
                } else {
                    Ok(AdoptAnswer::Inconclusive {
                        why: "a candidate without messages".into(),
                        resume: None,
                    })
                };
                let begun = given.uptime;
                given.outcome(&effect, &Outcome::LookedUp { begun, answer });
            }
        }
        assert_eq!(given.record().unwrap().posts, 1);
    }
}

#[test]
fn a_new_process_measures_the_fence_by_its_own_clock_or_by_the_wall_with_a_margin() {
    let mut given = Given::lost(Recovery::Marker);
    given.wait(given.timing.fence() - seconds(20));
    given.restart();
    // By wall clock the fence ends T + S + margin after notAfter, that is 50 s from now.
    given.wait(seconds(49));
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    assert_eq!(given.pass().effect, None, "one of the looks was too early");
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
}

#[test]
fn five_requests_are_the_most_and_then_it_goes_on_looking() {
    let mut given = Given::lost(Recovery::Marker);
    for posts in 2..=5 {
        given.proves_absent();
        given.launch(&unknown());
        assert_eq!(given.record().unwrap().posts, posts);
    }
    given.proves_absent();
    assert_eq!(given.pass().effect, None);
    given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
    given.wait(seconds(60));
    given.look_for(AdoptAnswer::Absent);
    given.wait(seconds(60));
    given.look_for(found(RemotePhase::Running));
    given.holds(SessionCondition::Launched, Reason::Adopted);
}

#[test]
fn what_a_user_found_is_taken_over_while_it_is_still_being_looked_for() {
    let mut given = Given::lost(Recovery::Marker);
    for _ in 2..=5 {
        given.proves_absent();
        given.launch(&unknown());
    }
    given.proves_absent();
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
    given.adopt = Some("bc-found".into());
    given.wait(seconds(60));
    let effect = given.pass().effect.unwrap();
    let mut there = snapshot(RemotePhase::Running);
    there.session_id = SessionId::new("bc-found");
    given.outcome(
        &effect,
        &Outcome::Examined {
            owner: None,
            account: account("ours"),
            result: Ok(there),
        },
    );
    given.holds(SessionCondition::Launched, Reason::Adopted);
    assert_eq!(given.phase(), SessionPhase::Running);
}

#[test]
fn a_session_that_is_found_began_after_its_claim_and_before_now_whatever_the_providers_clock_says()
{
    for skew in [-20, 0, 20] {
        let mut given = Given::lost(Recovery::Marker);
        let claimed = given.record().unwrap().first_claim();
        given.wait(seconds(30));
        let mut answer = found(RemotePhase::Running);
        if let AdoptAnswer::Found(found) = &mut answer {
            found[0].snapshot.created_at =
                Some(claimed + seconds(1) + SignedDuration::from_mins(skew));
        }
        given.look_for(answer);
        let started = given.status.as_ref().unwrap().started_at.unwrap();
        assert!(
            (claimed..=given.now).contains(&started),
            "{skew}: {started}"
        );
    }
}

#[test]
fn after_an_hour_of_looking_the_session_ends_as_unknown() {
    let mut given = Given::lost(Recovery::Marker);
    given.wait(given.timing.fence() + given.timing.unknown_patience - seconds(1));
    assert!(matches!(given.decide().effect, Some(Effect::Lookup(_))));
    given.wait(seconds(1));
    let plan = given.pass();
    assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
    assert_eq!(given.phase(), SessionPhase::Error);
    given.is(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::LaunchOutcomeUnknown,
    );
}

#[test]
fn a_process_that_comes_back_after_hours_looks_before_it_gives_up() {
    for (recovery, cancelled) in [
        (Recovery::Marker, false),
        (Recovery::ClientId, false),
        (Recovery::Marker, true),
    ] {
        let mut given = Given::lost(recovery);
        if cancelled {
            given.desires(DesiredState::Cancelled);
        }
        given.wait(seconds(4 * 3600));
        given.restart();
        given.look_for(found(RemotePhase::Running));
        given.holds(SessionCondition::Launched, Reason::Adopted);
    }
}

#[test]
fn another_account_looks_but_never_sends() {
    let mut given = Given::lost(Recovery::Marker);
    given.readiness = Readiness::Ready(connected("another account"));
    given.wait(given.timing.fence());
    for _ in 0..4 {
        given.look_for(AdoptAnswer::Absent);
        let plan = given.pass();
        assert_eq!(plan.effect, None);
        given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
        given.wait(seconds(60));
    }
    // What the other account did not see says nothing of the account that was sent to.
    given.readiness = Readiness::Ready(connected("ours"));
    given.look_for(AdoptAnswer::Absent);
    let plan = given.pass();
    assert_eq!(plan.effect, None, "one look of the right account");
    given.holds(SessionCondition::Reconciling, Reason::RecoveringLaunch);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
}

#[test]
fn a_scan_is_not_continued_by_another_account() {
    let mut given = Given::lost(Recovery::Marker);
    let half = ScanState::default();
    let unfinished = AdoptAnswer::Inconclusive {
        why: "more pages".into(),
        resume: Some(half),
    };
    given.look_for(unfinished);
    let resumes = |given: &Given| match given.decide().effect {
        Some(Effect::Lookup(lookup)) => lookup.resume.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(resumes(&given));
    given.readiness = Readiness::Ready(connected("another account"));
    assert!(!resumes(&given));
}

#[test]
fn a_launch_proven_absent_is_sent_again_with_what_its_sources_say_now() {
    let mut given = Given::lost(Recovery::Marker);
    given.proves_absent();
    let mut changed = connected("ours");
    changed.inputs = Some(Inputs {
        digest: "another digest".into(),
        template_id: None,
    });
    given.readiness = Readiness::Ready(changed);
    let plan = given.pass();
    let Some(Effect::Launch(_)) = plan.effect else {
        panic!(
            "nothing of the first request is left at the provider, so a new one may say something else"
        )
    };
    let claimed = plan.before.unwrap().status.launch.unwrap();
    assert_eq!(claimed.request_digest, "another digest");
}

#[test]
fn what_cannot_be_composed_again_is_not_sent_again_until_it_can() {
    let mut given = Given::lost(Recovery::Marker);
    given.proves_absent();
    let complete = connected("ours");
    let mut without = complete.clone();
    without.inputs = None;
    given.readiness = Readiness::Ready(without);
    assert_eq!(given.pass().effect, None);
    given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
    given.readiness = Readiness::Ready(complete);
    assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
}

#[test]
fn a_missing_finalizer_comes_back_before_the_next_request() {
    for origin in [Origin::Own, Origin::None] {
        let mut given = Given::lost(Recovery::Marker);
        given.proves_absent();
        given.has_finalizer = false;
        given.origin = origin;
        assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
        assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
    }
}

#[test]
fn fail_never_sends_a_second_time() {
    for recovery in [Recovery::ClientId, Recovery::Marker, Recovery::None] {
        let mut given = Given::launchable(recovery);
        given.effective(|e| e.on_unknown_launch = OnUnknownLaunch::Fail);
        given.launch(&unknown());
        if recovery == Recovery::None {
            given.wait(given.timing.fence());
            given.look_for(AdoptAnswer::Unknowable);
        } else {
            given.proves_absent();
        }
        assert_eq!(given.pass().effect, None);
        assert_eq!(given.phase(), SessionPhase::Error);
        given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
    }
}

#[test]
fn where_nothing_can_be_proven_it_is_looked_for_until_the_fence_and_then_unknown() {
    for answer in [AdoptAnswer::Unknowable, AdoptAnswer::Absent] {
        let mut given = Given::lost(Recovery::None);
        // Two looks that find nothing would prove it absent elsewhere.
        for _ in 0..2 {
            given.look_for(answer.clone());
            assert_eq!(given.pass().effect, None);
            assert_eq!(given.phase(), SessionPhase::Creating);
            given.holds(SessionCondition::Reconciling, Reason::RecoveringLaunch);
            given.wait(seconds(60));
        }
        given.wait(given.timing.fence() - seconds(121));
        given.look_for(answer.clone());
        // It is looked at once more when the fence is reached: links may come late.
        let plan = given.pass();
        assert_eq!((plan.effect, plan.again), (None, Some(seconds(1))));
        given.wait(seconds(15));
        given.look_for(answer);
        given.pass();
        assert_eq!(given.phase(), SessionPhase::Error);
        given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
        given.is(
            SessionCondition::Launched,
            ConditionStatus::Unknown,
            Reason::LaunchOutcomeUnknown,
        );
    }
}

#[test]
fn where_nothing_can_be_proven_what_is_found_is_adopted_all_the_same() {
    for late in [seconds(0), seconds(250), seconds(400)] {
        let mut given = Given::lost(Recovery::None);
        given.wait(late);
        given.look_for(found(RemotePhase::Running));
        given.holds(SessionCondition::Launched, Reason::Adopted);
        assert_eq!(given.phase(), SessionPhase::Running);
    }
}

#[test]
fn a_look_that_fails_or_was_begun_before_the_fence_is_no_verdict() {
    let mut given = Given::lost(Recovery::None);
    let effect = given.pass().effect.unwrap();
    let begun = given.uptime;
    given.wait(given.timing.fence());
    // It took its time.
    let answer = Ok(AdoptAnswer::Unknowable);
    given.outcome(&effect, &Outcome::LookedUp { begun, answer });
    assert_eq!(given.pass().effect, None);
    given.wait(seconds(60));
    let effect = given.pass().effect.unwrap();
    let begun = given.uptime;
    let answer = Err(error(ErrorClass::Unavailable));
    given.outcome(&effect, &Outcome::LookedUp { begun, answer });
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Creating);
    // Nor is one by another account.
    given.wait(seconds(60));
    given.readiness = Readiness::Ready(connected("another account"));
    given.look_for(AdoptAnswer::Unknowable);
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
    assert_eq!(given.phase(), SessionPhase::Creating);
}

#[test]
fn retry_sends_once_more_with_another_key_and_then_gives_up() {
    let mut given = Given::launchable(Recovery::None);
    given.effective(|e| e.on_unknown_launch = OnUnknownLaunch::Retry);
    given.launch(&unknown());
    given.wait(given.timing.fence() - seconds(1));
    given.look_for(AdoptAnswer::Unknowable);
    assert_eq!(given.pass().effect, None);
    given.wait(seconds(60));
    given.look_for(AdoptAnswer::Unknowable);
    // The provider is down: nothing is claimed anew before it can be read.
    given.look_before(Err(error(ErrorClass::Unavailable)));
    assert_eq!(given.pass().effect, None);
    assert_eq!(given.record().unwrap().attempt, 1);
    given.wait(seconds(60));
    given.look_before(Ok(Some("what is there now".into())));
    given.launch(&unknown());
    let record = given.record().unwrap();
    assert_eq!((record.attempt, record.posts), (2, 1));
    assert_eq!(record.key, key(2).as_uuid());
    assert_eq!(record.baseline.as_deref(), Some("what is there now"));
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    assert_eq!(given.pass().effect, None);
    assert_eq!(given.phase(), SessionPhase::Error);
}

#[test]
fn retry_tells_people_that_the_first_launch_may_be_running() {
    let mut given = Given::launchable(Recovery::None);
    given.effective(|e| e.on_unknown_launch = OnUnknownLaunch::Retry);
    given.launch(&unknown());
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    given.look_before(Ok(Some("what is there now".into())));
    let plan = given.pass();
    assert!(matches!(plan.effect, Some(Effect::Launch(_))));
    assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
    assert_eq!(plan.events[0].level, Level::Warning);
}

#[test]
fn retry_does_not_send_for_a_session_that_is_cancelled() {
    let mut given = Given::launchable(Recovery::None);
    given.effective(|e| e.on_unknown_launch = OnUnknownLaunch::Retry);
    given.launch(&unknown());
    given.desires(DesiredState::Cancelled);
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    assert_eq!(given.pass().effect, None);
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

#[test]
fn cancelled_and_absent_is_cancelled_and_never_launched() {
    for deleted in [false, true] {
        let mut given = Given::lost(Recovery::ClientId);
        if deleted {
            given.deleting = Some(given.now);
        } else {
            given.desires(DesiredState::Cancelled);
        }
        given.proves_absent();
        assert_eq!(given.pass().effect, None);
        assert_eq!(given.phase(), SessionPhase::Cancelled);
        given.is(
            SessionCondition::Launched,
            ConditionStatus::False,
            Reason::CancelledBeforeLaunch,
        );
        assert_eq!(given.record().unwrap().state, SendState::Absent);
        assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    }
}

#[test]
fn cancelled_and_found_is_adopted_and_stopped() {
    let mut given = Given::lost(Recovery::Marker);
    given.desires(DesiredState::Cancelled);
    given.look_for(found(RemotePhase::Running));
    given.stop(CancelAnswer::Accepted);
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
}

#[test]
fn cancelled_and_never_found_out_is_cancelled_and_reported() {
    for recovery in [Recovery::Marker, Recovery::None] {
        let mut given = Given::lost(recovery);
        given.desires(DesiredState::Cancelled);
        given.pass();
        given.wait(given.timing.fence() + given.timing.deletion_bound);
        let plan = given.pass();
        assert_eq!(plan.events[0].level, Level::Warning);
        assert_eq!(given.phase(), SessionPhase::Cancelled);
        given.is(
            SessionCondition::Launched,
            ConditionStatus::Unknown,
            Reason::LaunchOutcomeUnknown,
        );
    }
}

#[test]
fn a_deletion_ends_within_its_bound_and_says_what_it_does_not_know() {
    for change in [
        |_: &mut Given| {},
        |given: &mut Given| given.agent = AgentView::Missing,
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
        |given: &mut Given| given.provider = None,
    ] {
        let mut given = Given::lost(Recovery::Marker);
        change(&mut given);
        given.deleting = Some(given.now);
        given.wait(given.timing.deletion_bound - seconds(1));
        assert_ne!(given.pass().effect, Some(Effect::ReleaseFinalizer));
        given.wait(seconds(1));
        let plan = given.pass();
        assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
        assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
    }
}

/// An API server whose clock is behind, or processes of which none lived long: the first thing a process does is to look.
#[test]
fn a_deletion_past_its_bound_is_let_go_only_after_one_look() {
    let overdue = || {
        let mut given = Given::lost(Recovery::Marker);
        given.deleting = Some(given.now - SignedDuration::from_hours(1));
        given.deletion_first_seen = Some(given.uptime);
        given.wait(given.timing.deletion_slack - seconds(1));
        given
    };
    let mut given = overdue();
    given.readiness = Readiness::Unverified;
    assert_eq!(given.decide().effect, Some(Effect::VerifyCredentials));
    // What it finds is stopped before the object goes.
    given.readiness = Readiness::Ready(connected("ours"));
    given.look_for(found(RemotePhase::Running));
    assert!(matches!(given.pass().effect, Some(Effect::Cancel(_))));
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    // One that finds nothing is the only one.
    let mut given = overdue();
    given.look_for(AdoptAnswer::Absent);
    let plan = given.pass();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
    // Where nobody can look, or this process had its time, it goes at once.
    for cannot in [
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
        |given: &mut Given| given.provider = None,
        |given: &mut Given| given.wait(seconds(1)),
    ] {
        let mut given = overdue();
        cannot(&mut given);
        assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    }
}

#[test]
fn an_orphaned_deletion_does_not_wait() {
    let mut given = Given::lost(Recovery::Marker);
    given.spec.deletion_policy = Some(DeletionPolicy::Orphan);
    given.deleting = Some(given.now);
    let plan = given.pass();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].level, Level::Warning);
}

#[test]
fn what_is_missing_for_a_look_is_said_and_taken_back_when_it_is_there() {
    let mut given = Given::lost(Recovery::Marker);
    given.readiness = blocked(Reason::SecretNotFound, false);
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::SecretNotFound);
    given.rests();
    given.readiness = Readiness::Ready(connected("ours"));
    given.look_for(AdoptAnswer::Absent);
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::RecoveringLaunch);
}

#[test]
fn a_foreign_session_under_our_id_ends_it() {
    let mut given = Given::lost(Recovery::ClientId);
    given.look_for(AdoptAnswer::Foreign {
        why: "another repository".into(),
    });
    assert_eq!(given.phase(), SessionPhase::Error);
    given.holds(SessionCondition::Stalled, Reason::AgentIdConflict);
}

#[test]
fn a_process_that_is_stopping_neither_looks_nor_sends() {
    let mut given = Given::lost(Recovery::Marker);
    given.stopping = true;
    given.rests();
    given.stopping = false;
    given.proves_absent();
    given.stopping = true;
    given.rests();
}

/// A session at a provider that takes no id of ours beside environment variables, with or without those.
fn with_variables(variables: bool) -> Given {
    let mut given = Given::launchable(Recovery::ClientId);
    given.provider.as_mut().unwrap().environment_recovery = Recovery::Marker;
    set_variables(&mut given, variables);
    given
}

fn set_variables(given: &mut Given, variables: bool) {
    let secrets = variables.then(|| "staging".to_owned());
    given.effective(|effective| effective.env_from = secrets.into_iter().collect());
}

/// What was sent decides how it is found, whatever agent and session say by then.
#[test]
fn a_launch_is_looked_for_as_it_was_sent() {
    for (sent, recovery) in [(false, Recovery::ClientId), (true, Recovery::Marker)] {
        for now in [false, true] {
            let mut given = with_variables(sent);
            given.pass();
            given.restart();
            set_variables(&mut given, now);
            let plan = given.decide();
            let Some(Effect::Lookup(lookup)) = plan.effect else {
                panic!("{plan:?}")
            };
            assert_eq!(lookup.recovery, recovery, "{sent}, {now}");
            assert_eq!(given.record().unwrap().recovery, Some(recovery));
        }
    }
}

/// A record of an earlier version says nothing of it: its settings do.
#[test]
fn a_claim_without_a_kind_of_recovery_is_looked_for_by_its_settings() {
    for (variables, recovery) in [(false, Recovery::ClientId), (true, Recovery::Marker)] {
        let mut given = with_variables(variables);
        given.pass();
        given.restart();
        let record = given.status.as_mut().unwrap().launch.as_mut().unwrap();
        record.recovery = None;
        let plan = given.decide();
        let Some(Effect::Lookup(lookup)) = plan.effect else {
            panic!("{plan:?}")
        };
        assert_eq!(lookup.recovery, recovery);
    }
}

/// An earlier request may still arrive late: a look that finds the weaker kind finds both.
#[test]
fn what_was_sent_in_two_ways_is_looked_for_in_the_weaker_one() {
    for (first, second) in [(false, true), (true, false), (true, true)] {
        let mut given = with_variables(first);
        given.launch(&unknown());
        let agent = given.agent.clone();
        given.desires(DesiredState::Suspended);
        given.proves_absent();
        given.pass();
        assert_eq!(given.record().unwrap().state, SendState::Absent);
        given.agent = agent;
        set_variables(&mut given, second);
        given.desires(DesiredState::Running);
        let plan = given.pass();
        assert!(matches!(plan.effect, Some(Effect::Launch(_))), "{plan:?}");
        let record = given.record().unwrap();
        assert_eq!(record.posts, 2, "{first}, {second}");
        assert_eq!(record.recovery, Some(Recovery::Marker), "{first}, {second}");
    }
}

/// Nothing of a refused request can be found, so that the next one is judged by itself.
#[test]
fn after_a_refusal_the_next_request_alone_decides_how_it_is_found() {
    let mut given = with_variables(true);
    given.launch(&rejected(ErrorClass::Forbidden));
    assert_eq!(given.record().unwrap().state, SendState::Rejected);
    set_variables(&mut given, false);
    given.agent_generation(2);
    given.send();
    let record = given.record().unwrap();
    assert_eq!(
        (record.posts, record.recovery),
        (1, Some(Recovery::ClientId))
    );
}
