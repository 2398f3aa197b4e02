//! Before the launch.

use super::*;

/// Nothing is sent; the session is stalled for this reason.
#[track_caller]
fn stalls(mut given: Given, reason: Reason) -> Given {
    let plan = given.pass();
    assert_eq!(plan.effect, None);
    given.holds(SessionCondition::Stalled, reason);
    assert_eq!(given.phase(), SessionPhase::Pending);
    given
}

/// Nothing is sent; the session waits for this reason, and that is nobody's mistake.
#[track_caller]
fn waits(mut given: Given, reason: Reason) -> Given {
    let plan = given.pass();
    assert_eq!(plan.effect, None);
    given.holds(SessionCondition::Reconciling, reason);
    assert_eq!(given.phase(), SessionPhase::Pending);
    given
}

#[test]
fn without_its_agent_a_session_waits_for_somebody_to_create_it() {
    let mut given = Given::ready();
    given.agent = AgentView::Missing;
    stalls(given, Reason::AgentNotFound).rests();
}

#[test]
fn a_suspended_agent_starts_nothing() {
    let mut given = Given::ready();
    let AgentView::Present { suspended, .. } = &mut given.agent else {
        panic!()
    };
    *suspended = true;
    waits(given, Reason::AgentSuspended).rests();
}

#[test]
fn a_suspended_session_is_settled_without_a_launch() {
    let mut given = Given::ready();
    given.spec.desired_state = Some(DesiredState::Suspended);
    given.pass();
    given.is(
        SessionCondition::Reconciling,
        ConditionStatus::False,
        Reason::Suspended,
    );
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Suspended,
    );
    given.rests();
}

#[test]
fn a_restored_copy_is_never_launched() {
    let mut given = Given::ready();
    given.origin = Origin::Copy;
    let mut given = stalls(given, Reason::RestoredCopy);
    given.rests();
    // The user removes the annotation: now it is a session of its own.
    given.origin = Origin::None;
    assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
    assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
}

#[test]
fn a_disabled_provider_stalls() {
    let mut given = Given::ready();
    given.provider = None;
    stalls(given, Reason::ProviderDisabled).rests();
}

#[test]
fn a_missing_capability_ends_the_session_only_if_the_session_asked_for_it() {
    for (cause, phase) in [
        (Cause::Spec, SessionPhase::Error),
        (Cause::Environment, SessionPhase::Pending),
    ] {
        let mut given = Given::ready();
        let AgentView::Present { blocker, .. } = &mut given.agent else {
            panic!()
        };
        *blocker = Some(Blocker {
            reason: Reason::CapabilityMissing,
            message: "cannot".into(),
            cause,
        });
        let plan = given.pass();
        assert_eq!(plan.effect, None);
        assert_eq!(given.phase(), phase);
        given.holds(SessionCondition::Stalled, Reason::CapabilityMissing);
        assert_eq!(plan.events.len(), usize::from(phase == SessionPhase::Error));
    }
}

#[test]
fn a_missing_secret_stalls_and_is_looked_at_again() {
    let mut given = Given::ready();
    given.readiness = blocked(Reason::SecretNotFound, false);
    let given = stalls(given, Reason::SecretNotFound);
    let plan = given.decide();
    assert_eq!((plan.before, plan.again), (None, Some(seconds(10))));
}

#[test]
fn a_provider_that_is_down_is_waited_for() {
    let mut given = Given::ready();
    given.readiness = blocked(Reason::ProviderUnavailable, true);
    waits(given, Reason::ProviderUnavailable);
}

#[test]
fn an_unknown_account_is_verified_first() {
    let mut given = Given::ready();
    given.readiness = Readiness::Unverified;
    assert_eq!(given.pass().effect, Some(Effect::VerifyCredentials));
}

/// What is said of an account's queue tells how many go before, and nothing of whose they are.
#[test]
fn a_full_account_makes_the_session_wait_and_says_how_many_go_before() {
    let mut given = Given::ready();
    let taken = |position| Slot::Taken {
        of: SlotOwner::Account {
            digest: "0123456789abcdef".to_owned(),
        },
        position,
    };
    let message = |given: &Given| {
        given
            .condition(SessionCondition::Reconciling)
            .message
            .clone()
    };
    given.slot = taken(Some(3));
    let mut given = waits(given, Reason::WaitingForAccountCapacity);
    let since = given.now;
    assert!(message(&given).contains("--max-concurrent-per-credential"));
    assert!(message(&given).contains("2 go before it"));
    let queue = |given: &Given| given.status.as_ref().unwrap().queue.clone().unwrap();
    assert_eq!(queue(&given).of, QueueResource::Account);
    assert_eq!(queue(&given).account.as_deref(), Some("0123456789abcdef"));
    for (position, told) in [
        (Some(2), "One goes before it"),
        (Some(1), "It is next"),
        (None, "At least ten go before it"),
    ] {
        given.wait(seconds(60));
        given.slot = taken(position);
        given.pass();
        assert!(message(&given).contains(told), "{}", message(&given));
        assert_eq!(
            (queue(&given).position, queue(&given).since),
            (position, since)
        );
    }
    given.slot = Slot::Uncounted;
    given.pass();
    assert!(message(&given).contains("has not read all of its namespaces"));
    assert_eq!(given.status.as_ref().unwrap().queue, None);
    given.slot = Slot::Free;
    given.launch(&accepted());
    assert_eq!(given.status.as_ref().unwrap().queue, None);
}

#[test]
fn a_full_agent_makes_the_session_wait_and_says_where_it_stands() {
    let mut given = Given::ready();
    given.slot = Slot::Taken {
        of: SlotOwner::Agent,
        position: Some(3),
    };
    let mut given = waits(given, Reason::WaitingForCapacity);
    let since = given.now;
    given.rests();
    given.wait(seconds(60));
    given.slot = Slot::Taken {
        of: SlotOwner::Agent,
        position: Some(1),
    };
    given.pass();
    let queue = given.status.as_ref().unwrap().queue.clone().unwrap();
    assert_eq!((queue.position, queue.since), (Some(1), since));
    given.slot = Slot::Free;
    given.launch(&accepted());
    assert_eq!(given.status.as_ref().unwrap().queue, None);
}

#[test]
fn the_finalizer_comes_first_then_the_claim() {
    let mut given = Given::ready();
    given.has_finalizer = false;
    given.origin = Origin::None;
    let plan = given.pass();
    assert_eq!(plan.before, None);
    assert_eq!(plan.effect, Some(Effect::AddFinalizer));
    let plan = given.pass();
    assert!(plan.before.is_some());
    assert!(matches!(plan.effect, Some(Effect::Launch(_))));
}

#[test]
fn a_finalizer_without_the_origin_is_not_enough() {
    let mut given = Given::ready();
    given.origin = Origin::None;
    assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
}

#[test]
fn a_process_that_is_stopping_starts_nothing() {
    for change in [
        |given: &mut Given| given.has_finalizer = true,
        |given: &mut Given| given.has_finalizer = false,
        |given: &mut Given| given.readiness = Readiness::Unverified,
    ] {
        let mut given = Given::ready();
        change(&mut given);
        given.stopping = true;
        given.rests();
    }
}

#[test]
fn the_claim_pins_all_that_a_later_request_look_or_stop_needs() {
    let given = Given::ready();
    let plan = given.decide();
    let write = plan.before.unwrap();
    assert_eq!(write.guard, Guard::Unchanged);
    assert_eq!(write.status.phase, SessionPhase::Creating);
    assert_eq!(write.status.effective, Some(effective()));
    assert_eq!(write.status.messages[0].name, "prompt");
    let record = write.status.launch.clone().unwrap();
    assert_eq!(record.key, key(1).as_uuid());
    assert_eq!((record.attempt, record.posts), (1, 1));
    assert_eq!(record.state, SendState::Claimed);
    assert_eq!(record.claim_id, "claim-1");
    assert_eq!(record.claimed_at, given.now);
    assert_eq!(record.not_after, given.now + given.timing.send_window);
    assert_eq!(record.request_digest, "digest");
    assert_eq!(record.target.kind, "cursor");
    assert_eq!(record.target.api_version, "v1");
    assert_eq!(record.target.endpoint, "https://api.cursor.com");
    assert_eq!(record.target.account, "ours");
    assert_eq!(record.target.secret_ref, "cursor/api-key");
    let Some(Effect::Launch(launch)) = plan.effect else {
        panic!()
    };
    assert_eq!(launch.key, key(1));
    assert_eq!(launch.not_after, record.not_after);
}

#[test]
fn an_old_object_without_a_claim_is_looked_for_before_it_is_launched() {
    // It may come from a backup that was made before its claim.
    for recovery in [Recovery::ClientId, Recovery::Marker] {
        for old in [
            |given: &mut Given| given.older_than_process = true,
            |given: &mut Given| given.wait(seconds(600)),
        ] {
            let mut given = Given::launchable(recovery);
            old(&mut given);
            given.look_for(AdoptAnswer::Absent);
            assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
        }
    }
}

#[test]
fn a_look_before_the_launch_that_shows_nothing_is_told_and_repeated_more_and_more_slowly() {
    let refusal = || {
        Err(ProviderError::unsent(
            ErrorClass::Forbidden,
            "the list of agents is out of bounds",
        ))
    };
    let unclear = || {
        Ok(AdoptAnswer::Inconclusive {
            why: "2 candidates cannot be told apart".into(),
            resume: None,
        })
    };
    for (answers, reason, why) in [
        (
            [refusal(), refusal()],
            Reason::ProviderUnavailable,
            "the list of agents is out of bounds",
        ),
        (
            [unclear(), unclear()],
            Reason::Pending,
            "2 candidates cannot be told apart",
        ),
    ] {
        let mut given = Given::launchable(Recovery::Marker);
        given.older_than_process = true;
        given.timing.stalled_after = Duration::from_secs(300);
        let waits = answers.map(|answer| {
            let effect = given.effect().expect("a look before the launch");
            assert!(matches!(effect, Effect::Lookup(_)), "{effect:?}");
            let begun = given.uptime;
            given.outcome(&effect, &Outcome::LookedUp { begun, answer });
            let waits = given.pass();
            assert_eq!(waits.effect, None, "whoever wakes it");
            let wait = waits.again.expect("it is looked again");
            given.wait(wait);
            wait
        });
        assert!(waits[0] < waits[1], "{waits:?}");
        let told = given.condition(SessionCondition::Reconciling);
        assert_eq!(told.reason, reason.as_str());
        assert!(told.message.contains(why), "{}", told.message);
        assert!(
            told.message.contains("before the launch"),
            "{}",
            told.message
        );
        given.look_for(AdoptAnswer::Absent);
        assert!(matches!(given.effect(), Some(Effect::Launch(_))));
    }
}

/// The provider's list may be out of order while its check of keys works: then the gate of the credentials and the look take turns in
/// meeting it.
#[test]
fn an_outage_of_the_list_alone_is_written_once_and_asked_about_more_and_more_slowly() {
    let outage = ProviderError::unsent(
        ErrorClass::Unavailable,
        "the list of agents is out of order",
    );
    let mut given = Given::launchable(Recovery::Marker);
    given.older_than_process = true;
    let ready = given.readiness.clone();
    let mut written = BTreeSet::new();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let effect = given.effect().expect("a look before the launch");
        assert!(matches!(effect, Effect::Lookup(_)), "{effect:?}");
        let begun = given.uptime;
        let answer = Err(outage.clone());
        given.outcome(&effect, &Outcome::LookedUp { begun, answer });
        // The failure is known to every session of the key.
        given.readiness = Readiness::NotReady(NotReady {
            blocker: Blocker {
                reason: outage.outage(),
                message: format!("waits, {}", outage.why_unusable()),
                cause: Cause::Environment,
            },
            transient: true,
            again: given.timing.fault_wait_min,
        });
        given.pass();
        written.insert(serde_json::to_string(&given.status).unwrap());
        // The key is checked again, and accepted.
        given.wait(given.timing.fault_wait_min);
        given.readiness = Readiness::Unverified;
        assert_eq!(given.effect(), Some(Effect::VerifyCredentials));
        given.faults = 0;
        given.readiness = ready.clone();
        let plan = given.pass();
        written.insert(serde_json::to_string(&given.status).unwrap());
        let left = plan.effect.is_none().then_some(plan.again).flatten();
        let left = left.unwrap_or_default();
        waits.push(left);
        given.wait(left);
    }
    assert_eq!(written.len(), 1, "{written:#?}");
    assert!(waits.is_sorted(), "{waits:?}");
    let longest = given.timing.fault_wait_max - given.timing.fault_wait_min;
    assert_eq!(waits.last(), Some(&longest), "{waits:?}");
    given.look_for(AdoptAnswer::Absent);
    assert!(matches!(given.effect(), Some(Effect::Launch(_))));
}

/// The answer may stay as it is for ever, and then somebody has to look.
#[test]
fn a_look_before_the_launch_that_stays_undecided_is_stalled_in_the_end_and_says_what_to_do() {
    let mut given = Given::launchable(Recovery::Marker);
    given.older_than_process = true;
    given.timing.stalled_after = Duration::from_secs(300);
    let look = |given: &mut Given| {
        let effect = given.effect().expect("a look before the launch");
        let answer = Ok(AdoptAnswer::Inconclusive {
            why: "1 candidates cannot be told apart".into(),
            resume: None,
        });
        let begun = given.uptime;
        given.outcome(&effect, &Outcome::LookedUp { begun, answer });
        given.pass();
        given.wait(given.timing.stalled_after);
    };
    look(&mut given);
    look(&mut given);
    let told = given.condition(SessionCondition::Stalled);
    assert_eq!(told.status, ConditionStatus::False);
    look(&mut given);
    let told = given.condition(SessionCondition::Stalled);
    assert_eq!(told.status, ConditionStatus::True);
    assert!(told.message.contains("new name"), "{}", told.message);
    // It is still asked, and goes on as soon as the answer is clear.
    given.look_for(AdoptAnswer::Absent);
    assert!(matches!(given.effect(), Some(Effect::Launch(_))));
}

#[test]
fn an_old_object_that_runs_already_is_adopted_without_a_launch() {
    let mut given = Given::ready();
    given.older_than_process = true;
    given.look_for(found(RemotePhase::Running));
    given.holds(SessionCondition::Launched, Reason::Adopted);
    let record = given.record().unwrap();
    assert_eq!(record.state, SendState::Confirmed);
    assert_eq!(record.target.account, "ours");
    assert_eq!(record.key, key(1).as_uuid());
    assert_eq!(given.status.as_ref().unwrap().effective, Some(effective()));
}

#[test]
fn where_nothing_can_be_looked_for_an_old_object_is_launched() {
    let mut given = Given::launchable(Recovery::None);
    given.older_than_process = true;
    given.send();
}

#[test]
fn where_a_lost_launch_is_found_by_comparing_what_is_there_is_read_first_and_goes_into_the_claim() {
    for baseline in [Some("issues/FT-42 0123".to_owned()), None] {
        let mut given = Given::launchable(Recovery::None);
        given.spec.issue = Some("issues/FT-42".into());
        let plan = given.decide();
        assert_eq!(
            plan.effect,
            Some(Effect::ReadBaseline {
                of: Unsent::Launch {
                    issue: Some("issues/FT-42".into())
                }
            })
        );
        assert_eq!(plan.before, None, "nothing is claimed yet");
        given.look_before(Ok(baseline.clone()));
        given.launch(&unknown());
        assert_eq!(given.record().unwrap().baseline, baseline);
        let Some(Effect::Lookup(lookup)) = given.decide().effect else {
            panic!()
        };
        assert_eq!(lookup.baseline, baseline);
    }
}

#[test]
fn what_was_read_too_long_ago_or_before_the_turn_or_by_another_account_is_read_again() {
    let read = || {
        let mut given = Given::launchable(Recovery::None);
        given.look_before(Ok(Some("old".into())));
        assert!(matches!(given.decide().effect, Some(Effect::Launch(_))));
        given
    };
    let mut given = read();
    given.wait(given.timing.post_timeout + seconds(1));
    given.look_before(Ok(Some("new".into())));
    given.launch(&unknown());
    assert_eq!(given.record().unwrap().baseline.as_deref(), Some("new"));

    let mut given = read();
    given.wait(seconds(1));
    given.lock = Lock::Ours {
        since: given.uptime,
    };
    given.look_before(Ok(None));

    let mut given = read();
    given.readiness = Readiness::Ready(connected("another account"));
    given.look_before(Ok(None));
}

#[test]
fn an_outage_before_the_launch_claims_nothing_and_is_waited_out() {
    for (class, reason) in [
        (ErrorClass::Unavailable, Reason::ProviderUnavailable),
        (ErrorClass::Timeout, Reason::ProviderUnavailable),
        (ErrorClass::RateLimited, Reason::RateLimited),
    ] {
        let mut given = Given::launchable(Recovery::None);
        for wait in [2, 4, 8] {
            given.look_before(Err(error(class)));
            let plan = given.pass();
            assert_eq!((plan.effect, plan.again), (None, Some(seconds(wait))));
            given.holds(SessionCondition::Reconciling, reason);
            assert_eq!(
                (given.phase(), given.record()),
                (SessionPhase::Pending, None)
            );
            given.wait(seconds(wait));
        }
        assert_eq!(given.writes, 1, "waiting is said once");
        given.launch(&accepted());
    }
}

#[test]
fn the_provider_s_own_waiting_time_is_kept_before_a_launch() {
    let mut given = Given::launchable(Recovery::None);
    given.look_before(Err(ProviderError {
        retry_after: Some(seconds(90)),
        ..error(ErrorClass::RateLimited)
    }));
    assert_eq!(given.pass().again, Some(seconds(90)));
}

#[test]
fn a_session_waits_while_the_launch_of_another_one_on_its_issue_is_open() {
    let mut given = Given::launchable(Recovery::None);
    given.lock = Lock::Taken {
        of: QueueResource::Issue,
        by: "CodeSession first".into(),
    };
    let plan = given.pass();
    assert_eq!(
        (plan.effect, plan.again),
        (None, Some(given.timing.recheck))
    );
    given.holds(SessionCondition::Reconciling, Reason::WaitingForIssue);
    let message = &given.condition(SessionCondition::Reconciling).message;
    assert!(message.contains("CodeSession first"), "{message}");
    assert_eq!(given.phase(), SessionPhase::Pending);
    given.rests();
    given.lock = Lock::Ours {
        since: given.uptime,
    };
    given.launch(&accepted());
    assert_eq!(given.phase(), SessionPhase::Creating);
}

#[test]
fn after_a_rate_limit_the_provider_is_looked_at_before_every_further_request() {
    let mut given = Given::ready();
    given.launch(&rejected(ErrorClass::RateLimited));
    for _ in 0..3 {
        given.wait(seconds(60));
        given.look_for(AdoptAnswer::Absent);
        given.launch(&rejected(ErrorClass::RateLimited));
        // Each time the key is the same, and one request is under way at most.
        let record = given.record().unwrap();
        assert_eq!(record.key, key(1).as_uuid());
        assert_eq!((record.attempt, record.posts), (1, 1));
    }
}

#[test]
fn a_refusal_holds_the_session_until_its_circumstances_change_or_its_time_is_up() {
    let refused = || {
        let mut given = Given::ready();
        given.launch(&rejected(ErrorClass::Unauthorized));
        given.wait(seconds(299));
        given
    };
    let given = refused();
    let plan = given.decide();
    assert_eq!((plan.before, plan.effect), (None, None));
    assert_eq!(plan.again, Some(seconds(1)));

    for release in [
        |given: &mut Given| given.wait(seconds(1)),
        |given: &mut Given| given.agent_generation(2),
        |given: &mut Given| given.readiness = Readiness::Ready(connected("another account")),
        |given: &mut Given| {
            let mut rotated = connected("ours");
            rotated.credential = "another key of the same account".into();
            given.readiness = Readiness::Ready(rotated);
        },
    ] {
        let mut given = refused();
        release(&mut given);
        assert!(matches!(given.pass().effect, Some(Effect::Launch(_))));
    }
}

#[test]
fn a_refused_session_reads_its_secret_again_long_before_its_time_is_up() {
    let mut given = Given::ready();
    given.launch(&rejected(ErrorClass::Forbidden));
    let plan = given.decide();
    assert_eq!(plan.again, Some(given.timing.recheck));
    assert!(given.timing.refusal_wait_min > given.timing.recheck);
}

#[test]
fn refusals_in_a_row_wait_longer_each_time() {
    let mut given = Given::ready();
    let mut waits = Vec::new();
    for _ in 0..6 {
        given.launch(&rejected(ErrorClass::Unauthorized));
        let refusal = given.record().unwrap().refusal.clone().unwrap();
        let wait = given.observed(|o| o.until(refusal.retry_at));
        waits.push(wait.as_secs() / 60);
        given.wait(wait);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
}

#[test]
fn a_provider_that_says_when_to_come_back_is_believed() {
    let mut given = Given::ready();
    let mut error = error(ErrorClass::RateLimited);
    error.retry_after = Some(seconds(777));
    given.launch(&LaunchOutcome::Rejected(error));
    assert_eq!(given.decide().again, Some(seconds(777)));
}

#[test]
fn what_the_refusal_said_stands_again_after_something_else_stood_in_its_place() {
    let mut given = Given::ready();
    given.launch(&rejected(ErrorClass::QuotaExhausted));
    given.holds(SessionCondition::Stalled, Reason::QuotaExhausted);
    let said = given.condition(SessionCondition::Stalled).message.clone();

    given.desires(DesiredState::Suspended);
    given.pass();
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Suspended,
    );
    given.desires(DesiredState::Running);
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::QuotaExhausted);
    assert_eq!(given.condition(SessionCondition::Stalled).message, said);

    given.readiness = blocked(Reason::SecretNotFound, false);
    given.pass();
    given.readiness = Readiness::Ready(connected("ours"));
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::QuotaExhausted);
    given.rests();
}

#[test]
fn cancelled_or_archived_before_the_launch_means_never_launched() {
    for (desired, reason) in [
        (DesiredState::Cancelled, Reason::CancelledBeforeLaunch),
        (DesiredState::Archived, Reason::ArchivedBeforeLaunch),
    ] {
        for refused in [false, true] {
            let mut given = Given::ready();
            if refused {
                given.launch(&rejected(ErrorClass::QuotaExhausted));
            }
            given.desires(desired);
            let plan = given.pass();
            assert_eq!(plan.effect, None);
            assert_eq!(given.phase(), SessionPhase::Cancelled);
            given.is(SessionCondition::Launched, ConditionStatus::False, reason);
            given.is(SessionCondition::Stalled, ConditionStatus::False, reason);
            assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
            given.rests();
        }
    }
}

#[test]
fn deleted_before_the_launch_goes_at_once_whatever_is_missing() {
    for change in [
        |_: &mut Given| {},
        |given: &mut Given| given.agent = AgentView::Missing,
        |given: &mut Given| given.readiness = blocked(Reason::SecretNotFound, false),
        |given: &mut Given| given.provider = None,
        |given: &mut Given| given.stopping = true,
    ] {
        let mut given = Given::ready();
        change(&mut given);
        given.deleting = Some(given.now);
        assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
        given.rests();
    }
}

/// A provider whose sessions are launched from a template, which is there under this id.
fn from_template(id: Option<&str>) -> Given {
    let mut given = Given::ready();
    given
        .provider
        .as_mut()
        .unwrap()
        .capabilities
        .insert(Capability::Templates);
    template_is(&mut given, id);
    given
}

fn template_is(given: &mut Given, id: Option<&str>) {
    let Readiness::Ready(connected) = &mut given.readiness else {
        panic!()
    };
    connected.inputs.as_mut().unwrap().template_id = id.map(str::to_owned);
}

#[test]
fn without_its_template_a_session_waits_and_the_claim_pins_it_once_it_is_there() {
    let mut given = waits(from_template(None), Reason::WaitingForTemplate);
    given.rests();
    template_is(&mut given, Some("ca-1"));
    let plan = given.pass();
    let Some(Effect::Launch(launch)) = plan.effect else {
        panic!("{plan:?}")
    };
    assert_eq!(launch.template_id.as_deref(), Some("ca-1"));
    let target = given.status.unwrap().launch.unwrap().target;
    assert_eq!(target.template_id.as_deref(), Some("ca-1"));
}

#[test]
fn a_template_that_is_gone_is_waited_for_and_another_one_launches_at_once() {
    let mut given = from_template(Some("ca-1"));
    given.launch(&rejected(ErrorClass::NotFound));
    // Not the same one again: that it is gone is known.
    let mut given = waits(given, Reason::WaitingForTemplate);
    template_is(&mut given, None);
    let mut given = waits(given, Reason::WaitingForTemplate);
    template_is(&mut given, Some("ca-2"));
    let plan = given.pass();
    let Some(Effect::Launch(launch)) = plan.effect else {
        panic!("{plan:?}")
    };
    assert_eq!(launch.template_id.as_deref(), Some("ca-2"));
    let record = given.status.unwrap().launch.unwrap();
    assert_eq!((record.attempt, record.posts), (1, 1));
}

/// What the old account may have hidden, and how long it wants no requests, says nothing of the new one.
#[test]
fn a_rate_limit_of_the_old_account_holds_no_launch_of_the_new_one() {
    for recovery in [Recovery::ClientId, Recovery::Marker] {
        let mut given = Given::launchable(recovery);
        given.launch(&LaunchOutcome::Rejected(ProviderError {
            retry_after: Some(seconds(3600)),
            ..error(ErrorClass::RateLimited)
        }));
        given.pass();
        given.rests();
        // Another key of the same account: what the limit may have hidden would show, so it is looked for first.
        given.readiness = Readiness::Ready(Connected {
            credential: "another key".into(),
            ..connected("ours")
        });
        let effect = given.decide().effect;
        assert!(matches!(effect, Some(Effect::Lookup(_))), "{effect:?}");
        given.readiness = Readiness::Ready(connected("theirs"));
        assert!(matches!(given.send(), Effect::Launch(_)));
        assert_eq!(given.record().unwrap().target.account, "theirs");
    }
}

/// It says why, once, and a further request is not taken back to before the first.
#[test]
fn a_launch_that_waits_for_its_turn_says_so_once() {
    let mut lost = Given::lost(Recovery::Marker);
    lost.proves_absent();
    for mut given in [Given::ready(), lost] {
        let phase = given.phase();
        let write = given.observed(waits_for_turn).before.unwrap();
        given.store(&write);
        given.holds(SessionCondition::Reconciling, Reason::WaitingForTurn);
        assert_eq!(given.phase(), phase);
        assert_eq!(given.observed(waits_for_turn).before, None);
        // Its turn comes.
        assert!(matches!(given.send(), Effect::Launch(_)));
        given.holds(SessionCondition::Reconciling, Reason::Launching);
    }
}

/// The wish may be gone before anything else is decided: a call is under way, or the key is being checked.
#[test]
fn a_stop_that_is_asked_for_in_any_stage_is_recorded_and_stays_wanted() {
    let waiting = Given::ready();
    let open = Given::lost(Recovery::Marker);
    let running = Given::running();
    for (mut given, end) in [
        (waiting, SessionPhase::Cancelled),
        (open, SessionPhase::Creating),
        (running, SessionPhase::Running),
    ] {
        let asked = |given: &Given| {
            requested(
                &given.spec,
                given.status.as_ref(),
                given.generation,
                given.now,
            )
        };
        assert_eq!(asked(&given), None);
        given.desires(DesiredState::Cancelled);
        let status = asked(&given).unwrap();
        given.store(&StatusWrite {
            status: Box::new(status),
            guard: Guard::Unchanged,
        });
        assert_eq!(asked(&given), None, "once");
        given.desires(DesiredState::Running);
        let plan = given.pass();
        assert!(!matches!(plan.effect, Some(Effect::Launch(_))), "{plan:?}");
        assert_eq!(given.phase(), end);
        let cancel = given.status.as_ref().unwrap().cancel.as_ref().unwrap();
        assert_eq!(cancel.reason, crate::api::CancelReason::User);
    }
    // Of what is over nothing is asked any more.
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    given.desires(DesiredState::Cancelled);
    let status = given.status.as_ref();
    assert_eq!(
        requested(&given.spec, status, given.generation, given.now),
        None
    );
    // While the key is being checked.
    let mut given = Given::running();
    given.readiness = Readiness::Unverified;
    given.desires(DesiredState::Cancelled);
    let plan = given.pass();
    assert!(plan.before.is_some() && plan.effect.is_none());
    assert_eq!(given.pass().effect, Some(Effect::VerifyCredentials));
    given.desires(DesiredState::Running);
    given.readiness = Readiness::Ready(connected("ours"));
    assert!(matches!(given.pass().effect, Some(Effect::Cancel(_))));
}

/// A session that waits for its CodeAgent and may be launched for five minutes from its creation.
fn with_launch_deadline() -> Given {
    let mut given = Given::ready();
    given.agent = AgentView::Missing;
    given.spec.launch_deadline_seconds = Some(300);
    given
}

#[track_caller]
fn came_too_late(given: &Given) {
    assert_eq!(given.phase(), SessionPhase::Expired);
    let reason = Reason::NotLaunchedInTime;
    given.holds(SessionCondition::Completed, reason);
    given.holds(SessionCondition::Stalled, reason);
    given.is(SessionCondition::Launched, ConditionStatus::False, reason);
}

#[test]
fn what_comes_too_late_is_never_launched() {
    let mut given = with_launch_deadline();
    given.wait(seconds(100));
    let plan = given.pass();
    assert_eq!(
        plan.deadline,
        Some(seconds(200)),
        "it is woken exactly then"
    );
    given.wait(seconds(200));
    let plan = given.pass();
    assert_eq!(plan.events.len(), 1);
    came_too_late(&given);
    // Whatever becomes possible afterwards.
    given.agent = Given::ready().agent;
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.spec.launch_deadline_seconds = None;
    given.rests();
    given.restart();
    given.rests();
}

#[test]
fn the_deadline_may_be_the_agents_and_a_session_has_its_own() {
    let launch_by = |own: Option<i64>| {
        let mut given = Given::ready();
        let AgentView::Present {
            effective,
            suspended,
            ..
        } = &mut given.agent
        else {
            panic!()
        };
        effective.launch_deadline_seconds = Some(60);
        *suspended = true;
        given.spec.launch_deadline_seconds = own;
        given.pass().deadline
    };
    assert_eq!(launch_by(None), Some(seconds(60)));
    assert_eq!(launch_by(Some(90)), Some(seconds(90)));
}

#[test]
fn a_suspended_session_expires_as_well() {
    let mut given = with_launch_deadline();
    given.desires(DesiredState::Suspended);
    assert_eq!(given.pass().deadline, Some(seconds(300)));
    given.wait(seconds(300));
    given.pass();
    came_too_late(&given);
}

/// The claim's window is cut, so that not a byte is sent later.
#[test]
fn a_launch_right_before_the_deadline_is_not_sent_after_it() {
    let mut given = with_launch_deadline();
    given.agent = Given::ready().agent;
    given.wait(seconds(297));
    let plan = given.pass();
    let Some(Effect::Launch(launch)) = plan.effect else {
        panic!("{plan:?}")
    };
    assert_eq!(launch.not_after, given.created_at + seconds(300));
}

/// What was sent in time and lost is looked for as ever, but it is not sent once more.
#[test]
fn a_lost_launch_is_found_after_the_deadline_and_never_sent_again() {
    for arrived in [true, false] {
        let mut given = Given::ready();
        given.spec.launch_deadline_seconds = Some(300);
        given.launch(&unknown());
        given.wait(given.timing.fence_after(1) + given.timing.clock_margin);
        if arrived {
            given.look_for(found(RemotePhase::Running));
            assert_eq!(given.phase(), SessionPhase::Running);
            continue;
        }
        for _ in 0..2 {
            given.look_for(AdoptAnswer::Absent);
            given.wait(given.timing.consistency_window);
        }
        for _ in 0..3 {
            let plan = given.pass();
            assert!(!matches!(plan.effect, Some(Effect::Launch(_))));
        }
        came_too_late(&given);
    }
}

#[test]
fn only_a_session_that_nothing_of_its_own_holds_asks_for_what_it_shares_with_others() {
    type Hold = fn(&mut Given);
    let holds: [(&str, Hold); 6] = [
        ("its spec", |given| {
            given.spec.desired_state = Some(DesiredState::Suspended);
        }),
        ("its deadline", |given| {
            given.spec.launch_deadline_seconds = Some(60);
            given.wait(seconds(61));
        }),
        ("its key", |given| given.readiness = Readiness::Unverified),
        ("its CodeAgent", |given| {
            if let AgentView::Present { suspended, .. } = &mut given.agent {
                *suspended = true;
            }
        }),
        ("a refusal", |given| {
            given.launch(&rejected(ErrorClass::QuotaExhausted));
        }),
        ("what it is a copy of", |given| given.origin = Origin::Copy),
    ];
    let asks = |given: &Given| given.observed(|o| may_send(o, Needs::Launch));
    assert!(asks(&Given::ready()));
    for (what, hold) in holds {
        let mut given = Given::ready();
        hold(&mut given);
        assert!(!asks(&given), "held by {what}");
    }
}
