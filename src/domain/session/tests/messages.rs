//! Follow-up messages.

use super::super::super::ids::RunId;
use super::super::super::remote::{Messaged, Subject};
use super::super::super::send::answer::MessageOutcome;
use super::*;
use crate::api::{CancelReason, MessageStatus};

/// A message that was accepted as this run.
pub(super) fn sent_as(run: &str) -> MessageOutcome {
    MessageOutcome::Accepted(Messaged {
        session_id: SessionId::new(format!("bc-{}", key(1))),
        run_id: Some(RunId::new(run)),
        phase: RemotePhase::Running,
    })
}

fn run(id: &str, phase: RemotePhase) -> Snapshot {
    Snapshot {
        run_id: Some(RunId::new(id)),
        result: phase
            .is_terminal()
            .then(|| format!("{id}: {}", "x".repeat(1000))),
        ..snapshot(phase)
    }
}

impl Given {
    /// Adds a message of this name.
    fn add(&mut self, name: &str) {
        let message = json!({"name": name, "prompt": "Go on"});
        let messages = self.spec.messages.get_or_insert_with(Vec::new);
        messages.push(serde_json::from_value(message).unwrap());
        self.generation += 1;
    }

    /// Sets the cancel of the message of this name.
    fn drop_message(&mut self, name: &str) {
        let mut messages = self.spec.messages.iter_mut().flatten();
        messages.find(|it| it.name == name).unwrap().cancel = Some(true);
        self.generation += 1;
    }

    /// A finished session, its finalizer released.
    fn over() -> Self {
        let mut given = Self::running();
        given.sees(run("run-1", RemotePhase::Finished));
        given.pass();
        given.pass();
        given.poll = None;
        given
    }

    /// Claims the next message and hands out its effect; what is there is read first.
    fn claim_message(&mut self) -> Effect {
        for _ in 0..6 {
            let effect = self.effect().expect("a message");
            match &effect {
                Effect::AddFinalizer => {}
                Effect::ReadBaseline { .. } => {
                    self.looked_before(&effect, Ok(Some("run-1".into())));
                }
                Effect::Message(_) => return effect,
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing is sent")
    }

    /// Sends the next message and gets this answer.
    fn message(&mut self, answer: &MessageOutcome) -> Recorded {
        let effect = self.claim_message();
        self.outcome(&effect, &Outcome::Messaged(answer.clone()))
    }

    fn entry(&self, name: &str) -> &MessageStatus {
        let entries = &self.status.as_ref().unwrap().messages;
        entries.iter().find(|it| it.name == name).unwrap()
    }

    /// Why the message of this name was not sent, or went wrong.
    fn reason_of(&self, name: &str) -> &str {
        let error = self.entry(name).error.as_ref();
        &error.unwrap().reason
    }

    /// A session with message a, whose answer was lost.
    fn lost_message() -> Self {
        let mut given = Self::over();
        given.add("a");
        given.message(&MessageOutcome::Unknown(error(ErrorClass::Timeout)));
        given
    }
}

#[test]
fn a_message_reopens_a_finished_session_with_few_writes() {
    let mut given = Given::over();
    assert!(!given.has_finalizer);
    given.holds(SessionCondition::Completed, Reason::Finished);
    given.add("a");
    let writes = given.writes;
    given.message(&sent_as("run-2"));
    assert!(given.has_finalizer);
    assert_eq!(given.phase(), SessionPhase::Running);
    given.is(
        SessionCondition::Succeeded,
        ConditionStatus::Unknown,
        Reason::Running,
    );
    given.is(
        SessionCondition::Completed,
        ConditionStatus::False,
        Reason::Running,
    );
    given.sees(run("run-2", RemotePhase::Running));
    given.pass();
    given.sees(run("run-2", RemotePhase::Finished));
    given.pass();
    given.holds(SessionCondition::Completed, Reason::Finished);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
    // The claim, that it was sent, and its end; the finalizer comes and goes beside that.
    assert_eq!(given.writes - writes, 3);
    let (first, second) = (given.entry("prompt").clone(), given.entry("a").clone());
    assert_eq!(first.run_id.as_deref(), Some("run-1"));
    assert_eq!(second.run_id.as_deref(), Some("run-2"));
    assert_eq!(second.phase, SessionPhase::Finished);
    assert_eq!(second.send.unwrap().baseline.as_deref(), Some("run-1"));
    assert!(first.result.unwrap().len() <= 256 && second.result.unwrap().len() > 256);
}

#[test]
fn messages_are_sent_one_after_the_other_and_the_session_is_complete_after_the_last() {
    let mut given = Given::running();
    given.add("a");
    given.add("b");
    given.pass();
    given.sees(run("run-1", RemotePhase::Finished));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
    given.is(
        SessionCondition::Completed,
        ConditionStatus::False,
        Reason::MessagePending,
    );
    given.message(&sent_as("run-2"));
    assert!(given.decide().effect.is_none(), "b waits for the end of a");
    // A look that was under way when a was sent shows the end of the message before.
    given.sees(run("run-1", RemotePhase::Finished));
    given.pass();
    assert_eq!(given.entry("a").phase, SessionPhase::Running);
    given.sees(run("run-2", RemotePhase::Error));
    given.pass();
    assert_eq!(given.entry("a").phase, SessionPhase::Error);
    // A failed one is followed by the next as well.
    given.message(&sent_as("run-3"));
    given.sees(run("run-3", RemotePhase::Finished));
    given.pass();
    given.holds(SessionCondition::Completed, Reason::Finished);
    given.holds(SessionCondition::Succeeded, Reason::Finished);
    assert!(given.entry("a").error.is_some() && given.status.as_ref().unwrap().error.is_none());
}

#[test]
fn a_lost_message_is_found_again_and_followed() {
    let mut given = Given::lost_message();
    assert_eq!(
        given.entry("a").send.as_ref().unwrap().state,
        SendState::Unknown
    );
    let effect = given.effect().unwrap();
    let Effect::Lookup(lookup) = &effect else {
        panic!("{effect:?}")
    };
    assert_eq!(lookup.message.as_ref().unwrap().name, "a");
    assert_eq!(lookup.baseline.as_deref(), Some("run-1"));
    let answer = Ok(AdoptAnswer::Found(vec![Found {
        snapshot: run("run-2", RemotePhase::Running),
        attempt: None,
        doubt: None,
    }]));
    let begun = given.uptime;
    given.outcome(&effect, &Outcome::LookedUp { begun, answer });
    assert_eq!(given.phase(), SessionPhase::Running);
    assert_eq!(given.entry("a").run_id.as_deref(), Some("run-2"));
}

#[test]
fn a_second_request_needs_the_fence_and_two_looks_and_keeps_the_baseline() {
    let mut given = Given::lost_message();
    given.look_for(AdoptAnswer::Absent);
    assert!(!matches!(given.decide().effect, Some(Effect::Message(_))));
    given.wait(given.timing.fence() + given.timing.clock_margin);
    given.look_for(AdoptAnswer::Absent);
    assert!(!matches!(given.decide().effect, Some(Effect::Message(_))));
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    let effect = given.pass().effect.unwrap();
    assert!(matches!(effect, Effect::Message(_)), "{effect:?}");
    let record = given.entry("a").send.as_ref().unwrap();
    assert_eq!(
        (record.posts, record.baseline.as_deref()),
        (2, Some("run-1"))
    );
    assert!(record.first_claimed_at.is_some());
}

#[test]
fn what_holds_back_a_first_message_holds_back_another_request_for_it() {
    let mut given = Given::lost_message();
    given.desires(DesiredState::Suspended);
    given.wait(given.timing.fence() + given.timing.clock_margin);
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
    assert_eq!(
        given.entry("a").send.as_ref().unwrap().state,
        SendState::Absent
    );
    given.pass();
    given.is(
        SessionCondition::Completed,
        ConditionStatus::False,
        Reason::Suspended,
    );
    given.rests();
}

#[test]
fn two_new_runs_where_one_was_expected_are_an_unknown_outcome_and_nothing_is_sent_again() {
    let mut given = Given::lost_message();
    given.look_for(AdoptAnswer::Ambiguous {
        why: "there are 2 new runs".into(),
    });
    assert_eq!(given.phase(), SessionPhase::Error);
    given.is(
        SessionCondition::Succeeded,
        ConditionStatus::False,
        Reason::MessageOutcomeUnknown,
    );
    assert_eq!(given.reason_of("a"), "MessageOutcomeUnknown");
    given.pass();
    given.rests();
    // A further message is a new one.
    given.add("b");
    given.message(&sent_as("run-9"));
    assert_eq!(given.phase(), SessionPhase::Running);
}

#[test]
fn a_busy_session_keeps_the_message_waiting_without_a_claim() {
    let busy = || ProviderError {
        subject: Some(Subject::Busy),
        ..error(ErrorClass::Conflict)
    };
    let mut given = Given::over();
    given.add("a");
    given.pass();
    given.look_before(Err(busy()));
    given.pass();
    given.is(
        SessionCondition::Completed,
        ConditionStatus::False,
        Reason::SessionBusy,
    );
    assert_eq!(given.status.as_ref().unwrap().messages.len(), 1);
    // Somebody was faster: the refusal of the only request settles it, and it waits.
    given.wait(seconds(600));
    given.message(&MessageOutcome::Rejected(busy()));
    assert_eq!(given.phase(), SessionPhase::Finished);
    assert_eq!(given.entry("a").phase, SessionPhase::Pending);
    given.is(
        SessionCondition::Completed,
        ConditionStatus::False,
        Reason::SessionBusy,
    );
    assert!(given.decide().effect.is_none());
    given.wait(seconds(600));
    given.message(&sent_as("run-2"));
    assert_eq!(given.phase(), SessionPhase::Running);
    assert_eq!(given.entry("a").send.as_ref().unwrap().posts, 1);
}

/// Where many use one key, each read waits for its turn: its age counts from its answer, or nobody would ever send.
#[test]
fn what_was_read_before_a_message_is_as_old_as_its_answer() {
    let mut given = Given::over();
    given.add("a");
    assert_eq!(given.effect(), Some(Effect::AddFinalizer));
    let effect = given.effect().unwrap();
    let took = given.timing.post_timeout * 2;
    let outcome = Outcome::BaselineRead {
        begun: given.uptime,
        ended: given.uptime + took,
        result: Ok(Some("run-1".into())),
    };
    // It is recorded on what was gathered before it.
    given.outcome(&effect, &outcome);
    given.wait(took);
    let next = given.effect();
    assert!(matches!(next, Some(Effect::Message(_))), "{next:?}");
}

#[test]
fn a_look_before_a_message_that_shows_nothing_is_told() {
    let mut given = Given::over();
    given.provider.as_mut().unwrap().message_recovery = Some(MessageRecovery::Marker);
    // The record of an earlier request may be lost.
    given.older_than_process = true;
    given.add("a");
    assert_eq!(given.effect(), Some(Effect::AddFinalizer));
    let effect = given.effect().unwrap();
    assert!(matches!(effect, Effect::Lookup(_)), "{effect:?}");
    let refusal = ProviderError::unsent(ErrorClass::Forbidden, "conversations are out of bounds");
    let begun = given.uptime;
    let answer = Err(refusal);
    given.outcome(&effect, &Outcome::LookedUp { begun, answer });
    let waits = given.pass().again.expect("it is looked again");
    let told = given.condition(SessionCondition::Reconciling);
    assert_eq!(told.reason, Reason::ProviderUnavailable.as_str());
    assert!(
        told.message.contains("message a waits: before it is sent"),
        "{}",
        told.message
    );
    given.wait(waits);
    given.look_for(AdoptAnswer::Absent);
    assert!(matches!(given.effect(), Some(Effect::Message(_))));
}

#[test]
fn an_archived_session_refuses_the_message_for_good_and_says_so() {
    let mut given = Given::over();
    given.add("a");
    given.message(&MessageOutcome::Rejected(ProviderError {
        subject: Some(Subject::Archived),
        ..error(ErrorClass::Conflict)
    }));
    assert_eq!(given.phase(), SessionPhase::Finished);
    given.holds(SessionCondition::Completed, Reason::Finished);
    given.holds(SessionCondition::Stalled, Reason::SessionArchived);
    assert_eq!(given.entry("a").phase, SessionPhase::Error);
    given.pass();
    given.rests();
}

#[test]
fn messages_of_a_session_that_is_cancelled_are_never_sent_whatever_the_spec_says_later() {
    let mut given = Given::over();
    given.add("a");
    given.desires(DesiredState::Cancelled);
    given.pass();
    assert_eq!(given.entry("a").phase, SessionPhase::Cancelled);
    assert_eq!(given.reason_of("a"), "MessageNotSent");
    given.holds(SessionCondition::Completed, Reason::Finished);
    given.spec.desired_state = None;
    given.add("b");
    given.pass();
    assert_eq!(given.entry("b").phase, SessionPhase::Cancelled);
    given.rests();
}

#[test]
fn a_session_that_was_never_launched_says_so_of_its_messages() {
    let mut given = Given::ready();
    given.add("a");
    given.desires(DesiredState::Cancelled);
    given.pass();
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    assert_eq!(given.reason_of("a"), "MessageNotSent");
}

#[test]
fn a_stop_of_the_session_stops_the_newest_message_and_sends_no_other() {
    let mut given = Given::over();
    given.add("a");
    given.add("b");
    given.message(&sent_as("run-2"));
    given.desires(DesiredState::Cancelled);
    given.stop(CancelAnswer::Accepted);
    let cancel = given.status.as_ref().unwrap().cancel.clone().unwrap();
    assert_eq!(
        (cancel.reason, cancel.message.as_str()),
        (CancelReason::User, "a")
    );
    given.wait(seconds(1));
    given.sees(run("run-2", RemotePhase::Cancelled));
    given.pass();
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Cancelled);
    assert_eq!(given.entry("b").phase, SessionPhase::Cancelled);
    given.holds(SessionCondition::Completed, Reason::Cancelled);
}

#[test]
fn a_message_that_is_stopped_alone_is_followed_by_the_next() {
    let mut given = Given::over();
    for name in ["a", "b", "c"] {
        given.add(name);
    }
    given.message(&sent_as("run-2"));
    given.drop_message("a");
    given.drop_message("b");
    given.stop(CancelAnswer::Accepted);
    given.wait(seconds(1));
    given.sees(run("run-2", RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.entry("a").phase, SessionPhase::Cancelled);
    given.message(&sent_as("run-3"));
    assert_eq!(given.reason_of("b"), "MessageDropped");
    assert_eq!(given.entry("c").run_id.as_deref(), Some("run-3"));
    assert_eq!(given.status.as_ref().unwrap().cancel, None);
}

/// What a person has patched is dropped by tools that apply manifests.
#[test]
fn whoever_ends_the_session_while_one_message_is_being_stopped_ends_it_for_good() {
    type Stop = fn(&mut Given);
    let stops: [Stop; 2] = [
        |it| it.drop_message("a"),
        |it| {
            it.spec.active_deadline_seconds = Some(100);
            it.wait(seconds(101));
        },
    ];
    // While it is being stopped, and when it has ended.
    for (stop, ended) in stops.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let mut given = Given::over();
        given.add("a");
        given.add("b");
        given.message(&sent_as("run-2"));
        stop(&mut given);
        given.stop(CancelAnswer::Accepted);
        let end = |given: &mut Given| {
            given.wait(seconds(1));
            given.sees(run("run-2", RemotePhase::Cancelled));
            given.pass();
            given.poll = None;
        };
        if ended {
            end(&mut given);
        }
        given.desires(DesiredState::Cancelled);
        given.pass();
        given.spec.desired_state = None;
        given.generation += 1;
        if !ended {
            end(&mut given);
        }
        given.pass();
        assert_eq!(given.entry("b").phase, SessionPhase::Cancelled);
        assert_eq!(given.reason_of("b"), "MessageNotSent");
        given.pass();
        given.rests();
    }
}

#[test]
fn the_deadline_counts_anew_from_each_message() {
    let mut given = Given::over();
    given.spec.active_deadline_seconds = Some(100);
    given.wait(seconds(5000));
    given.add("a");
    given.message(&sent_as("run-2"));
    given.sees(run("run-2", RemotePhase::Running));
    given.pass();
    assert!(given.decide().effect.is_none());
    given.wait(seconds(101));
    assert!(matches!(given.pass().effect, Some(Effect::Cancel(_))));
    given.wait(seconds(1));
    given.sees(run("run-2", RemotePhase::Cancelled));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Expired);
    // An expired session takes another message, and the stop was for the one before.
    given.add("b");
    given.message(&sent_as("run-3"));
    given.sees(run("run-3", RemotePhase::Running));
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Running);
    assert!(given.decide().effect.is_none());
}

#[test]
fn what_holds_a_message_back_is_said_and_nothing_is_claimed() {
    type Case = (Reason, fn(&mut Given));
    let cases: [Case; 7] = [
        (Reason::Suspended, |it| it.desires(DesiredState::Suspended)),
        (Reason::AgentSuspended, |it| {
            if let AgentView::Present { suspended, .. } = &mut it.agent {
                *suspended = true;
            }
        }),
        (Reason::WaitingForCapacity, |it| {
            it.slot = Slot::Taken {
                of: SlotOwner::Agent,
                position: Some(1),
            };
        }),
        (Reason::WaitingForAccountCapacity, |it| {
            it.slot = Slot::Taken {
                of: SlotOwner::Account {
                    digest: "0123456789abcdef".to_owned(),
                },
                position: Some(1),
            };
        }),
        (Reason::WaitingForAccountCapacity, |it| {
            it.slot = Slot::Uncounted;
        }),
        (Reason::CredentialsChanged, |it| {
            it.readiness = Readiness::Ready(connected("another"));
        }),
        (Reason::RestoredCopy, |it| it.origin = Origin::Copy),
    ];
    for (reason, hold) in cases {
        let mut given = Given::over();
        given.add("a");
        hold(&mut given);
        given.pass();
        given.is(SessionCondition::Completed, ConditionStatus::False, reason);
        assert_eq!(given.phase(), SessionPhase::Finished, "{reason:?}");
        given.rests();
    }
}

#[test]
fn an_object_whose_message_waits_is_not_removed_by_its_time_to_live() {
    let mut given = Given::over();
    given.spec.ttl_seconds_after_finished = Some(10);
    given.add("a");
    given.desires(DesiredState::Suspended);
    given.pass();
    given.wait(seconds(1000));
    given.rests();
    given.desires(DesiredState::Cancelled);
    given.pass();
    given.pass();
    assert_eq!(given.pass().effect, Some(Effect::DeleteObject));
}

#[test]
fn a_deletion_while_the_message_is_open_forbids_another_request_and_stops_what_is_found() {
    let mut given = Given::lost_message();
    given.deleting = Some(given.now);
    given.wait(given.timing.fence() + given.timing.clock_margin);
    given.look_for(AdoptAnswer::Absent);
    given.wait(given.timing.consistency_window);
    given.look_for(AdoptAnswer::Absent);
    given.pass();
    assert_eq!(given.phase(), SessionPhase::Finished);
    assert_eq!(given.pass().effect, Some(Effect::ReleaseFinalizer));
}

#[test]
fn an_answer_that_comes_after_its_message_was_given_up_is_news() {
    let mut given = Given::over();
    given.add("a");
    let effect = given.claim_message();
    given.in_flight = true;
    assert!(given.decide().effect.is_none(), "its outcome is on its way");
    given.in_flight = false;
    given.look_for(AdoptAnswer::Ambiguous { why: "two".into() });
    given.outcome(&effect, &Outcome::Messaged(sent_as("run-2")));
    assert_eq!(given.phase(), SessionPhase::Running);
    // The same answer twice changes nothing, and another one is told.
    let again = given.outcome(&effect, &Outcome::Messaged(sent_as("run-2")));
    assert_eq!(again, Recorded::default());
    let other = given.outcome(&effect, &Outcome::Messaged(sent_as("run-3")));
    assert_eq!(other.write, None);
    assert_eq!(other.events.len(), 1);
}
