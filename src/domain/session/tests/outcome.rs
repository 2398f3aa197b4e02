//! What each answer to a launch comes to.

use super::super::super::remote::Subject;
use super::*;

#[test]
fn an_accepted_launch_is_recorded_under_its_claim() {
    let mut given = Given::ready();
    let recorded = given.launch(&accepted());
    assert_eq!(
        recorded.write.unwrap().guard,
        Guard::Claim(ClaimId::new("claim-1"))
    );
    assert_eq!(given.phase(), SessionPhase::Creating);
    given.holds(SessionCondition::Launched, Reason::Accepted);
    given.holds(SessionCondition::Reconciling, Reason::Creating);
    let status = given.status.as_ref().unwrap();
    let provider = status.provider.as_ref().unwrap();
    assert_eq!(
        provider.session_id.as_deref(),
        Some(&*format!("bc-{}", key(1)))
    );
    assert_eq!(
        provider.session_url.as_deref(),
        Some("https://cursor.com/agents/1")
    );
    assert_eq!(status.messages[0].run_id.as_deref(), Some("run-1"));
    assert_eq!(status.started_at, Some(given.now));
    assert_eq!(given.record().unwrap().state, SendState::Confirmed);
    given.rests();
}

#[test]
fn an_ignored_id_is_told_once() {
    let mut given = Given::ready();
    let LaunchOutcome::Accepted(mut launched) = accepted() else {
        panic!()
    };
    launched.session_id = SessionId::new("bc-of-the-provider");
    launched.id_honoured = Some(false);
    let recorded = given.launch(&LaunchOutcome::Accepted(launched));
    assert!(recorded.events.iter().any(|n| n.level == Level::Warning));
    assert_eq!(given.record().unwrap().state, SendState::Confirmed);
}

#[test]
fn a_lost_answer_is_looked_for_and_nothing_is_sent() {
    for class in [
        ErrorClass::Timeout,
        ErrorClass::Unavailable,
        ErrorClass::Unknown,
        ErrorClass::Protocol,
        ErrorClass::Conflict,
    ] {
        for recovery in [Recovery::ClientId, Recovery::Marker] {
            let mut given = Given::launchable(recovery);
            given.launch(&LaunchOutcome::Unknown(error(class)));
            assert_eq!(given.record().unwrap().state, SendState::Unknown);
            given.holds(SessionCondition::Reconciling, Reason::RecoveringLaunch);
            assert_eq!(given.phase(), SessionPhase::Creating);
            assert!(matches!(given.pass().effect, Some(Effect::Lookup(_))));
        }
    }
}

/// A refusal, and what it comes to.
struct Refusal {
    class: ErrorClass,
    subject: Option<Subject>,
    own_model: bool,
    sent: Sent,
    reason: Reason,
    phase: SessionPhase,
    /// Whether it goes on by itself.
    transient: bool,
}

#[test]
fn a_refusal_ends_the_session_only_if_nothing_around_it_could_be_mended() {
    let row = |class, subject, own_model, reason, phase, transient| Refusal {
        class,
        subject,
        own_model,
        sent: Sent::Possibly,
        reason,
        phase,
        transient,
    };
    use ErrorClass as C;
    use SessionPhase::{Error as Ends, Pending as Waits};
    let model = Some(Subject::Model);
    let nothing_sent = |class| Refusal {
        sent: Sent::Nothing,
        ..row(class, None, false, Reason::ProviderUnavailable, Waits, true)
    };
    let table = [
        // It may pass: it is tried again a few times.
        row(
            C::InvalidRequest,
            None,
            false,
            Reason::InvalidRequest,
            Waits,
            true,
        ),
        row(
            C::Conflict,
            None,
            false,
            Reason::InvalidRequest,
            Waits,
            true,
        ),
        row(
            C::InvalidRequest,
            Some(Subject::Reference),
            false,
            Reason::SettingsRefused,
            Waits,
            false,
        ),
        row(
            C::InvalidRequest,
            Some(Subject::Issue),
            false,
            Reason::InvalidRequest,
            Ends,
            false,
        ),
        row(
            C::InvalidRequest,
            model,
            true,
            Reason::InvalidRequest,
            Ends,
            false,
        ),
        row(
            C::InvalidRequest,
            model,
            false,
            Reason::ModelUnavailable,
            Waits,
            false,
        ),
        row(
            C::InvalidRequest,
            Some(Subject::Repository),
            false,
            Reason::RepositoryInaccessible,
            Waits,
            false,
        ),
        row(
            C::Forbidden,
            Some(Subject::Repository),
            false,
            Reason::RepositoryInaccessible,
            Waits,
            false,
        ),
        row(
            C::Unauthorized,
            None,
            false,
            Reason::CredentialsInvalid,
            Waits,
            false,
        ),
        row(
            C::Forbidden,
            None,
            false,
            Reason::CredentialsInvalid,
            Waits,
            false,
        ),
        row(
            C::QuotaExhausted,
            None,
            false,
            Reason::QuotaExhausted,
            Waits,
            false,
        ),
        row(
            C::NotFound,
            None,
            false,
            Reason::ProviderProtocolError,
            Waits,
            false,
        ),
        row(
            C::RateLimited,
            None,
            false,
            Reason::RateLimited,
            Waits,
            true,
        ),
        nothing_sent(C::Unavailable),
        nothing_sent(C::Timeout),
        nothing_sent(C::Unknown),
    ];
    for case in table {
        let mut given = Given::ready();
        if case.own_model {
            given.spec.model = Some(crate::api::ModelOverride {
                id: Some("composer-2".into()),
                ..Default::default()
            });
        }
        let mut refusal = error(case.class);
        refusal.subject = case.subject;
        refusal.sent = case.sent;
        let recorded = given.launch(&LaunchOutcome::Rejected(refusal));
        let what = format!("{:?} about {:?}", case.class, case.subject);
        assert_eq!(given.phase(), case.phase, "{what}");
        let kind = if case.transient {
            SessionCondition::Reconciling
        } else {
            SessionCondition::Stalled
        };
        given.holds(kind, case.reason);
        assert_eq!(given.record().unwrap().state, SendState::Rejected, "{what}");
        assert!(
            given.condition(kind).message.contains("the provider says"),
            "{what}: in the provider's own words"
        );
        let ended = case.phase == SessionPhase::Error;
        assert_eq!(recorded.events.len(), usize::from(ended), "{what}");
        let error = given.status.as_ref().unwrap().error.as_ref();
        assert_eq!(
            error.map(|error| error.reason.as_str()),
            ended.then_some(case.reason.as_str())
        );
        if !ended {
            // Nothing more is sent until the time is up.
            let wait = recorded.again.unwrap();
            assert!(wait >= given.timing.fault_wait_min, "{what}: {wait:?}");
            given.rests();
        }
    }
}

#[test]
fn a_refused_second_request_does_not_settle_the_first_one() {
    let mut given = Given::lost(Recovery::Marker);
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    given.launch(&rejected(ErrorClass::QuotaExhausted));
    assert_eq!(given.record().unwrap().posts, 2);
    assert_eq!(given.record().unwrap().state, SendState::Unknown);
    given.holds(SessionCondition::Reconciling, Reason::RecoveringLaunch);

    // Before the second fence, however often one looks, it stays open.
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window * 2);
    given.look_for(AdoptAnswer::Absent);
    assert_eq!(given.record().unwrap().state, SendState::Unknown);

    // After it and two looks the refusal stands, and holds.
    given.wait(given.timing.fence_after(2));
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    assert_eq!(given.pass().effect, None);
    assert_eq!(given.record().unwrap().state, SendState::Rejected);
    given.holds(SessionCondition::Stalled, Reason::QuotaExhausted);
}

#[test]
fn a_first_request_that_arrived_is_adopted_although_the_second_was_refused() {
    let mut given = Given::lost(Recovery::Marker);
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    given.launch(&rejected(ErrorClass::InvalidRequest));
    given.look_for(found(RemotePhase::Running));
    assert_eq!(given.record().unwrap().state, SendState::Confirmed);
    assert_eq!(given.record().unwrap().refusal, None);
    given.holds(SessionCondition::Launched, Reason::Adopted);
}

#[test]
fn an_answer_that_comes_after_somebody_else_recorded_the_session_changes_nothing() {
    // Another process has found the session, followed it and seen its end, all under the same claim.
    let mut given = Given::ready();
    let plan = given.pass();
    let effect = plan.effect.unwrap();
    let mut other = Given::ready();
    other.status.clone_from(&given.status);
    other.look_for(found(RemotePhase::Running));
    other.sees(snapshot(RemotePhase::Finished));
    other.pass();
    assert_eq!(other.phase(), SessionPhase::Finished);
    given.status = other.status;
    for answer in [accepted(), unknown(), rejected(ErrorClass::QuotaExhausted)] {
        let recorded = given.outcome(&effect, &Outcome::Launched(answer));
        assert_eq!(recorded.write, None);
    }
}

#[test]
fn an_answer_with_another_id_than_the_recorded_one_is_reported_as_a_duplicate() {
    let mut given = Given::ready();
    let effect = given.pass().effect.unwrap();
    given.look_for(found(RemotePhase::Running));
    let LaunchOutcome::Accepted(mut launched) = accepted() else {
        panic!()
    };
    launched.session_id = SessionId::new("bc-another");
    let recorded = given.outcome(
        &effect,
        &Outcome::Launched(LaunchOutcome::Accepted(launched)),
    );
    assert_eq!(recorded.write, None);
    assert_eq!(recorded.events[0].reason, Reason::DuplicateLaunch);
    assert!(recorded.events[0].message.contains("bc-another"));
}

#[test]
fn an_accepted_answer_is_recorded_even_after_everybody_gave_up() {
    let mut given = Given::launchable(Recovery::None);
    let effect = given.send();
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    given.pass();
    given.holds(SessionCondition::Stalled, Reason::LaunchOutcomeUnknown);
    assert_eq!(given.phase(), SessionPhase::Error);
    given.outcome(&effect, &Outcome::Launched(accepted()));
    assert_eq!(given.record().unwrap().state, SendState::Confirmed);
    assert_eq!(given.phase(), SessionPhase::Creating);
    assert_eq!(given.status.as_ref().unwrap().error, None);
}

#[test]
fn an_issue_that_the_provider_does_not_know_ends_the_session_and_a_missing_coding_agent_does_not() {
    let refused = |subject| {
        let mut given = Given::launchable(Recovery::None);
        given.launch(&LaunchOutcome::Rejected(ProviderError {
            subject: Some(subject),
            ..error(ErrorClass::NotFound)
        }));
        given
    };
    let given = refused(Subject::Issue);
    assert_eq!(given.phase(), SessionPhase::Error);
    given.holds(SessionCondition::Stalled, Reason::InvalidRequest);
    let given = refused(Subject::CodingAgent);
    assert_eq!(given.phase(), SessionPhase::Pending);
    given.holds(SessionCondition::Stalled, Reason::CodingAgentNotFound);
}

/// A session whose first launch was lost, and whose second one, under another key, was refused.
fn repeated_and_refused(class: ErrorClass) -> Given {
    let mut given = Given::launchable(Recovery::None);
    given.effective(|e| e.on_unknown_launch = crate::api::OnUnknownLaunch::Retry);
    given.launch(&unknown());
    given.wait(given.timing.fence());
    given.look_for(AdoptAnswer::Unknowable);
    given.launch(&LaunchOutcome::Rejected(ProviderError {
        // Of the session's own, so that the refusal is the last word.
        subject: (class == ErrorClass::InvalidRequest).then_some(Subject::Issue),
        ..error(class)
    }));
    given
}

#[test]
fn a_refusal_of_a_repeated_launch_does_not_settle_the_first_one() {
    let given = repeated_and_refused(ErrorClass::InvalidRequest);
    assert_eq!(given.phase(), SessionPhase::Error);
    given.is(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::LaunchOutcomeUnknown,
    );

    let mut given = repeated_and_refused(ErrorClass::QuotaExhausted);
    assert_eq!(given.phase(), SessionPhase::Pending);
    given.desires(DesiredState::Cancelled);
    let plan = given.pass();
    assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    given.is(
        SessionCondition::Launched,
        ConditionStatus::Unknown,
        Reason::LaunchOutcomeUnknown,
    );

    let mut given = repeated_and_refused(ErrorClass::QuotaExhausted);
    given.deleting = Some(given.now);
    let plan = given.pass();
    assert_eq!(plan.effect, Some(Effect::ReleaseFinalizer));
    assert_eq!(plan.events[0].reason, Reason::LaunchOutcomeUnknown);
}

/// A refusal that says no more than its words, of a session whose CodeAgent sets the branch.
fn refused_with(words: &str, own_reference: bool) -> Given {
    let mut given = Given::ready();
    given.effective(|effective| effective.reference = Some("develop".into()));
    if own_reference {
        given.spec.repository = Some(crate::api::RepositorySpec {
            reference: Some("develop".into()),
            ..Default::default()
        });
    }
    given.launch(&LaunchOutcome::Rejected(ProviderError {
        message: words.into(),
        ..error(ErrorClass::InvalidRequest)
    }));
    given
}

#[test]
fn what_the_agent_set_never_ends_a_session_and_is_tried_again_when_the_agent_changes() {
    let words =
        "Failed to verify existence of branch 'develop'. Please ensure the branch name is correct.";
    let mut given = refused_with(words, false);
    for _ in 0..6 {
        assert_eq!(given.phase(), SessionPhase::Pending);
        given.holds(SessionCondition::Stalled, Reason::SettingsRefused);
        let said = &given.condition(SessionCondition::Stalled).message;
        assert!(said.contains("is correct. It is tried again at "), "{said}");
        given.rests();
        given.wait(given.timing.refusal_wait_max);
        given.launch(&LaunchOutcome::Rejected(ProviderError {
            message: words.into(),
            ..error(ErrorClass::InvalidRequest)
        }));
    }
    given.rests();
    given.agent_generation(2);
    given.launch(&accepted());
    assert_eq!(given.phase(), SessionPhase::Creating);
}

#[test]
fn a_refusal_without_a_known_cause_is_tried_three_times_minutes_apart_before_it_ends_a_session() {
    for (words, own) in [
        ("something is wrong with this request.", false),
        ("Failed to verify existence of branch 'develop'.", true),
        // Part of another word is not the setting.
        ("redeveloped is no word that we know.", false),
    ] {
        let mut given = refused_with(words, own);
        for wait in [300, 600] {
            assert_eq!(given.phase(), SessionPhase::Pending, "{words}");
            given.holds(SessionCondition::Reconciling, Reason::InvalidRequest);
            given.wait(seconds(wait - 1));
            given.rests();
            given.wait(seconds(1));
            given.launch(&LaunchOutcome::Rejected(ProviderError {
                message: words.into(),
                ..error(ErrorClass::InvalidRequest)
            }));
        }
        assert_eq!(given.phase(), SessionPhase::Error, "{words}");
        given.holds(SessionCondition::Stalled, Reason::InvalidRequest);
        let said = &given.condition(SessionCondition::Stalled).message;
        assert!(!said.contains(".."), "{said}");
    }
}

#[test]
fn a_refusal_of_unclear_cause_that_passes_leaves_no_trace() {
    let mut given = refused_with("something is wrong with this request", false);
    given.wait(seconds(300));
    given.launch(&accepted());
    assert_eq!(given.phase(), SessionPhase::Creating);
    assert_eq!(given.record().unwrap().refusal, None);
}
