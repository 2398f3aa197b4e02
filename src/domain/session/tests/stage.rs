//! Where a session stands, and what a decision about it needs.

use super::*;
use crate::api::BlockerStatus;

/// Something that happens to a session.
type Change = fn(&mut Given);

fn outline<'a>(given: &'a Given) -> Outline<'a> {
    Outline {
        spec: &given.spec,
        status: given.status.as_ref(),
        provider: given.provider.as_ref(),
        deleting: given.deleting.is_some(),
        has_finalizer: given.has_finalizer,
        adopt: given.adopt.is_some(),
        in_flight: given.in_flight,
        looked_at: given
            .polled_after_end
            .map(|begun| given.now - (given.uptime - begun)),
        now: given.now,
        timing: &given.timing,
    }
}

/// Sessions of every stage.
fn lives() -> Vec<(&'static str, Given)> {
    let finished = || {
        let mut given = Given::running();
        given.sees(snapshot(RemotePhase::Finished));
        given.pass();
        given.pass();
        given
    };
    vec![
        ("ready", Given::ready()),
        ("suspended", {
            let mut given = Given::ready();
            given.desires(DesiredState::Suspended);
            given
        }),
        ("refused", {
            let mut given = Given::ready();
            given.launch(&rejected(ErrorClass::QuotaExhausted));
            given
        }),
        ("lost", Given::lost(Recovery::Marker)),
        ("in flight", {
            let mut given = Given::lost(Recovery::Marker);
            given.in_flight = true;
            given
        }),
        ("launched", Given::launched()),
        ("running", Given::running()),
        ("stopping", {
            let mut given = Given::running();
            given.desires(DesiredState::Cancelled);
            given.stop(CancelAnswer::Accepted);
            given
        }),
        ("finished", finished()),
        ("finished, looked at again", {
            let mut given = finished();
            given.wait(seconds(60));
            given
        }),
        ("archived", {
            let mut given = finished();
            given.desires(DesiredState::Archived);
            given
        }),
    ]
}

/// What nobody gathers would be waited for until something else happens.
#[test]
fn a_decision_never_asks_for_what_is_not_gathered() {
    for (life, mut given) in lives() {
        for deleting in [false, true] {
            given.deleting = deleting.then_some(given.now);
            let with = given.decide();
            if needs(&outline(&given)) == Needs::Nothing {
                let ready = std::mem::replace(&mut given.readiness, Readiness::NotGathered);
                let without = given.decide();
                given.readiness = ready;
                assert_eq!(with, without, "{life}, deleting: {deleting}");
            }
        }
    }
}

#[test]
fn a_stage_is_read_from_the_status_alone() {
    let stage = |given: &Given| match Stage::of(given.status.as_ref()) {
        Stage::Waiting => "waiting",
        Stage::Open(_) => "open",
        Stage::Running(_) => "running",
        Stage::Over(Over::NeverLaunched) => "never launched",
        Stage::Over(Over::Unknown(_)) => "unknown",
        Stage::Over(Over::Lost(_)) => "lost",
        Stage::Over(Over::Ended(_)) => "ended",
    };
    assert_eq!(stage(&Given::ready()), "waiting");
    assert_eq!(stage(&Given::lost(Recovery::Marker)), "open");
    assert_eq!(stage(&Given::running()), "running");
    let mut given = Given::ready();
    given.launch(&rejected(ErrorClass::QuotaExhausted));
    assert_eq!(stage(&given), "waiting");
    given.desires(DesiredState::Cancelled);
    given.pass();
    assert_eq!(stage(&given), "never launched");
    // Whoever sent a second attempt does not know what became of the first.
    given
        .status
        .as_mut()
        .unwrap()
        .launch
        .as_mut()
        .unwrap()
        .attempt = 2;
    assert_eq!(stage(&given), "unknown");
}

#[test]
fn what_others_can_mend_is_in_progress_at_first_and_stalls_by_itself() {
    let mends: [(Reason, Change); 3] = [
        (Reason::AgentNotFound, |given| {
            given.agent = AgentView::Missing
        }),
        (Reason::SecretNotFound, |given| {
            given.readiness = blocked(Reason::SecretNotFound, false);
        }),
        (Reason::ProviderDisabled, |given| given.provider = None),
    ];
    for (reason, breaks) in mends {
        let mut given = Given::ready();
        given.timing.stalled_after = seconds(300);
        breaks(&mut given);
        let plan = given.pass();
        given.holds(SessionCondition::Reconciling, reason);
        assert_eq!(plan.deadline, Some(seconds(300)), "it wakes by itself");
        given.wait(seconds(299));
        given.rests();
        given.wait(seconds(1));
        given.pass();
        given.holds(SessionCondition::Stalled, reason);
        given.rests();
    }
    // What only the object itself can mend is not waited for.
    let mut given = Given::ready();
    given.timing.stalled_after = seconds(300);
    given.origin = Origin::Copy;
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::RestoredCopy);
    // The session that runs and cannot be followed as well.
    let mut given = Given::running();
    given.timing.stalled_after = seconds(300);
    given.sees_error(ErrorClass::Unauthorized, "ours");
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::CredentialsInvalid);
    given.wait(seconds(300));
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::CredentialsInvalid);
}

#[test]
fn who_waits_for_what_is_recorded_in_a_field() {
    let mut given = Given::ready();
    given.slot = Slot::Taken {
        of: SlotOwner::Agent,
        position: Some(3),
    };
    given.pass();
    let queue = |given: &Given| {
        let queue = given.status.as_ref().unwrap().queue.clone().unwrap();
        (queue.of, queue.position)
    };
    assert_eq!(queue(&given), (QueueResource::Capacity, Some(3)));
    given.slot = Slot::Free;
    given.lock = Lock::Taken {
        of: QueueResource::Issue,
        by: "CodeSession other".into(),
    };
    given.pass();
    assert_eq!(queue(&given), (QueueResource::Issue, None));
    given.lock = Lock::Taken {
        of: QueueResource::Branch,
        by: "CodeSession other".into(),
    };
    given.pass();
    assert_eq!(queue(&given), (QueueResource::Branch, None));
    given.holds(SessionCondition::Reconciling, Reason::WaitingForBranch);
}

#[test]
fn a_write_that_the_api_server_refuses_becomes_a_condition_and_one_event() {
    let said = "ValidatingAdmissionPolicy 'need-team' denied request: every CodeSession needs the label team.";
    let refuse = |given: &mut Given, effect: &Effect| {
        let recorded = given.observed(|o| write_refused(o, effect, said));
        if let Some(write) = &recorded.write {
            given.store(write);
        }
        recorded
    };
    // Before the launch: others may mend it.
    let mut given = Given::ready();
    given.timing.stalled_after = seconds(300);
    given.has_finalizer = false;
    given.origin = Origin::None;
    let effect = given.decide().effect.unwrap();
    assert_eq!(effect, Effect::AddFinalizer);
    let first = refuse(&mut given, &effect);
    assert_eq!(first.events.len(), 1);
    given.holds(SessionCondition::Reconciling, Reason::WriteRefused);
    let message = &given.condition(SessionCondition::Reconciling).message;
    assert!(
        message.contains("needs the label team. Change"),
        "{message}"
    );
    given.wait(seconds(300));
    // It goes on trying, and says nothing twice.
    assert_eq!(given.decide().effect, Some(Effect::AddFinalizer));
    let later = refuse(&mut given, &effect);
    assert_eq!(later.events, []);
    given.holds(SessionCondition::Stalled, Reason::WriteRefused);
    // The policy is gone.
    assert_eq!(given.pass().effect, Some(Effect::AddFinalizer));
    assert!(matches!(given.send(), Effect::Launch(_)));
    assert_eq!(
        given.status.as_ref().unwrap().blocker,
        None::<BlockerStatus>
    );

    // After the end: a deletion hangs on it.
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    let effect = given.decide().effect.unwrap();
    assert_eq!(effect, Effect::ReleaseFinalizer);
    assert_eq!(refuse(&mut given, &effect).events.len(), 1);
    given.holds(SessionCondition::Stalled, Reason::WriteRefused);
    assert_eq!(given.phase(), SessionPhase::Finished);
    // Tried again without a word of anything else in between.
    assert_eq!(given.decide().before, None);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    given.pass();
    given.is(
        SessionCondition::Stalled,
        ConditionStatus::False,
        Reason::Finished,
    );
    given.rests();
}

/// Providers report some of it only after the end.
#[test]
fn what_comes_after_the_end_is_looked_for_at_one_five_and_fifteen_minutes() {
    let mut given = Given::running();
    given.sees(snapshot(RemotePhase::Finished));
    given.pass();
    let said = &given.condition(SessionCondition::Completed).message;
    assert!(
        said.contains("a pull request") && said.contains("the cost"),
        "{said}"
    );
    // The end does not wait, nor does the finalizer.
    given.holds(SessionCondition::Completed, Reason::Finished);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    let ended = given.uptime;
    let mut looks = Vec::new();
    for _ in 0..7200 {
        let plan = given.pass();
        if let Some(effect) = plan.effect {
            assert!(matches!(effect, Effect::PollAgain(_)), "{effect:?}");
            looks.push((given.uptime - ended).as_secs());
            let mut seen = snapshot(RemotePhase::Finished);
            if looks.len() == 2 {
                seen.pull_request_url = Some("https://github.com/acme/app/pull/8".into());
            }
            given.outcome(
                &effect,
                &Outcome::Examined {
                    owner: None,
                    account: account("ours"),
                    result: Ok(seen),
                },
            );
        }
        given.wait(seconds(1));
    }
    assert_eq!(looks, [60, 300, 900]);
    given.holds(SessionCondition::PullRequestCreated, Reason::Created);
    given.holds(SessionCondition::Succeeded, Reason::Finished);
    let said = &given.condition(SessionCondition::Succeeded).message;
    assert!(said.contains("/pull/8"), "{said}");
}

/// Takes something out of what a provider shows.
type Omission = fn(&mut Snapshot);

/// Each of them alone: what a provider can tell and has not told yet.
#[test]
fn whatever_is_missing_is_looked_for_until_it_is_there() {
    let cases: [(&str, Omission); 5] = [
        ("a pull request", |seen| seen.pull_request_url = None),
        ("the result", |seen| seen.result = None),
        ("the tokens used", |seen| seen.usage = None),
        ("the cost", |seen| {
            seen.usage.as_mut().unwrap().cost_cents = None;
        }),
        ("links", |seen| seen.links = Links::default()),
    ];
    for (what, without) in cases {
        let mut given = Given::running();
        let mut seen = everything();
        without(&mut seen);
        given.sees(seen);
        given.pass();
        let said = &given.condition(SessionCondition::Completed).message;
        assert!(said.contains(what), "{what:?} in {said:?}");
        given.pass();
        given.wait(seconds(60));
        let effect = given.pass().effect.unwrap();
        assert!(matches!(effect, Effect::PollAgain(_)), "{what}: {effect:?}");
        given.outcome(
            &effect,
            &Outcome::Examined {
                owner: None,
                account: account("ours"),
                result: Ok(everything()),
            },
        );
        assert_eq!(given.condition(SessionCondition::Completed).message, "");
        given.wait(seconds(300));
        given.rests();
    }
}

/// An end at which nothing is missing.
fn everything() -> Snapshot {
    let mut seen = snapshot(RemotePhase::Finished);
    seen.pull_request_url = Some("https://github.com/acme/app/pull/8".into());
    seen.usage = Some(crate::domain::snapshot::Usage {
        input_tokens: 1,
        output_tokens: 1,
        cost_cents: Some(4),
    });
    seen.links.trace = Some("https://example.com/trace".into());
    seen.result = Some("The check is right now.".into());
    seen
}

#[test]
fn nothing_is_looked_for_where_nothing_is_missing_or_nothing_was_asked_for() {
    let full = everything;
    let mut given = Given::running();
    given.sees(full());
    given.pass();
    given.pass();
    given.wait(seconds(60));
    given.rests();
    assert_eq!(given.condition(SessionCondition::Completed).message, "");
    // Not asked for.
    let mut given = Given::ready();
    given.effective(|effective| effective.pull_request.auto_create = false);
    given.launch(&accepted());
    let mut seen = full();
    seen.pull_request_url = None;
    given.sees(seen);
    given.pass();
    given.pass();
    given.wait(seconds(60));
    given.rests();
}

#[test]
fn fields_without_effect_on_a_launched_session_say_so() {
    let cases: [(&str, Change); 3] = [
        ("desiredState: Suspended has no effect", |given| {
            given.desires(DesiredState::Suspended);
        }),
        ("spec.credentials has no effect", |given| {
            given.spec.credentials =
                serde_json::from_value(json!({"secretRef": {"name": "another"}})).unwrap();
        }),
        ("spec.onUnknownLaunch has no effect", |given| {
            given.spec.on_unknown_launch = Some(crate::api::OnUnknownLaunch::Fail);
        }),
    ];
    for (sentence, change) in cases {
        let mut given = Given::running();
        change(&mut given);
        given.pass();
        given.holds(SessionCondition::Reconciling, Reason::Running);
        let said = &given.condition(SessionCondition::Reconciling).message;
        assert!(said.contains(sentence), "{said}");
        given.rests();
    }
}

/// An outage that lasts is said, once.
#[test]
fn a_running_session_whose_provider_does_not_answer_says_so_after_a_while() {
    let mut given = Given::running();
    given.sees_error(ErrorClass::Unavailable, "ours");
    let due = given.decide().deadline.unwrap();
    given.rests();
    given.wait(due);
    given.sees_error(ErrorClass::Unavailable, "ours");
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::ProviderUnavailable);
    given.wait(seconds(600));
    given.sees_error(ErrorClass::Unavailable, "ours");
    given.rests();
    given.sees(snapshot(RemotePhase::Running));
    given.pass();
    given.holds(SessionCondition::Reconciling, Reason::Running);
}
