//! What holds after any history: random lives of a session, each decision and each write checked by [`always`].

use proptest::prelude::*;

use super::super::super::send::answer::MessageOutcome;
use super::*;

/// Something that happens to a session.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Desire(DesiredState),
    Delete,
    Restart,
    Agent(bool),
    Account(&'static str),
    Secret(bool),
    Finalizer(bool),
    Slot(bool),
    Lock(bool),
    Poll(RemotePhase),
    LookFails(ErrorClass),
    Generation,
    Stopping(bool),
    /// A pass, with what would come of each effect.
    Pass(LaunchAnswer, LookAnswer, Option<CancelAnswer>),
}

#[derive(Clone, Copy, Debug)]
enum LaunchAnswer {
    Accepted,
    Unknown,
    Rejected(ErrorClass),
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum LookAnswer {
    Found(RemotePhase),
    Absent,
    Inconclusive,
    Fails,
}

fn remote_phase() -> impl Strategy<Value = RemotePhase> {
    use RemotePhase::*;
    prop::sample::select(vec![
        Creating,
        Running,
        Running,
        Finished,
        Error,
        Cancelled,
        Expired,
        Unrecognised,
    ])
}

fn error_class() -> impl Strategy<Value = ErrorClass> {
    use ErrorClass::*;
    prop::sample::select(vec![
        InvalidRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        Conflict,
        RateLimited,
        QuotaExhausted,
        Unavailable,
        Timeout,
        Unknown,
        Protocol,
    ])
}

fn pass() -> impl Strategy<Value = Event> {
    let launch = prop_oneof![
        3 => Just(LaunchAnswer::Accepted),
        3 => Just(LaunchAnswer::Unknown),
        2 => error_class().prop_map(LaunchAnswer::Rejected),
        1 => Just(LaunchAnswer::Crash),
    ];
    let poll = prop_oneof![
        1 => remote_phase().prop_map(LookAnswer::Found),
        4 => Just(LookAnswer::Absent),
        1 => Just(LookAnswer::Inconclusive),
        1 => Just(LookAnswer::Fails),
    ];
    let stop = prop::option::of(prop::sample::select(vec![
        CancelAnswer::Accepted,
        CancelAnswer::NotCancellable(None),
        CancelAnswer::Unsupported,
    ]));
    (launch, poll, stop).prop_map(|(launch, poll, stop)| Event::Pass(launch, poll, stop))
}

fn event() -> impl Strategy<Value = Event> {
    use DesiredState::*;
    prop_oneof![
        12 => pass(),
        4 => prop::sample::select(vec![1, 15, 60, 300, 700, 8000]).prop_map(Event::Wait),
        1 => prop::sample::select(vec![Running, Suspended, Cancelled, Archived]).prop_map(Event::Desire),
        1 => Just(Event::Delete),
        1 => Just(Event::Restart),
        1 => any::<bool>().prop_map(Event::Agent),
        1 => prop::sample::select(vec!["ours", "another account"]).prop_map(Event::Account),
        1 => any::<bool>().prop_map(Event::Secret),
        1 => any::<bool>().prop_map(Event::Finalizer),
        1 => any::<bool>().prop_map(Event::Slot),
        1 => any::<bool>().prop_map(Event::Lock),
        2 => remote_phase().prop_map(Event::Poll),
        1 => error_class().prop_map(Event::LookFails),
        1 => Just(Event::Generation),
        1 => any::<bool>().prop_map(Event::Stopping),
    ]
}

fn happen(given: &mut Given, event: Event) {
    let launched = given
        .record()
        .is_some_and(|r| r.state == SendState::Confirmed);
    match event {
        Event::Wait(n) => given.wait(seconds(n)),
        Event::Desire(state) => given.desires(state),
        Event::Delete => given.deleting = given.deleting.or(Some(given.now)),
        Event::Restart => given.restart(),
        Event::Agent(there) => {
            given.agent = if there {
                Given::ready().agent
            } else {
                AgentView::Missing
            };
        }
        Event::Account(name) => given.readiness = Readiness::Ready(connected(name)),
        Event::Secret(there) => {
            given.readiness = if there {
                Readiness::Ready(connected("ours"))
            } else {
                blocked(Reason::SecretNotFound, false)
            };
        }
        Event::Finalizer(there) => given.has_finalizer = there,
        Event::Slot(free) => {
            given.slot = if free {
                Slot::Free
            } else {
                Slot::Taken {
                    of: SlotOwner::Agent,
                    position: Some(1),
                }
            };
        }
        Event::Lock(ours) => {
            given.lock = if ours {
                Lock::Ours {
                    since: given.uptime,
                }
            } else {
                Lock::Taken {
                    of: QueueResource::Issue,
                    by: "CodeSession other".into(),
                }
            };
        }
        Event::Poll(phase) if launched => given.sees(snapshot(phase)),
        Event::LookFails(class) if launched => given.sees_error(class, "ours"),
        Event::Poll(_) | Event::LookFails(_) => {}
        Event::Generation => given.generation += 1,
        Event::Stopping(stopping) => given.stopping = stopping,
        Event::Pass(launch, poll, stop) => {
            let plan = given.pass();
            let Some(effect) = plan.effect else {
                // It comes to rest: one write, and one more where an end lets the spec ask for something else.
                for _ in 0..2 {
                    if given.decide().effect.is_none() {
                        given.pass();
                    }
                }
                let then = given.decide();
                assert!(then.before.is_none() || then.effect.is_some());
                return;
            };
            let begun = given.uptime;
            let outcome = match &effect {
                Effect::Launch(_) => Outcome::Launched(match launch {
                    LaunchAnswer::Accepted => accepted(),
                    LaunchAnswer::Unknown => unknown(),
                    LaunchAnswer::Rejected(class) => rejected(class),
                    LaunchAnswer::Crash => return given.restart(),
                }),
                Effect::Message(_) => Outcome::Messaged(match launch {
                    LaunchAnswer::Accepted => messages::sent_as("run-2"),
                    LaunchAnswer::Unknown => MessageOutcome::Unknown(error(ErrorClass::Timeout)),
                    LaunchAnswer::Rejected(class) => MessageOutcome::Rejected(error(class)),
                    LaunchAnswer::Crash => return given.restart(),
                }),
                Effect::ReadBaseline { .. } => Outcome::BaselineRead {
                    begun,
                    ended: given.uptime,
                    result: match poll {
                        LookAnswer::Found(_) => Ok(Some("what is there".into())),
                        LookAnswer::Absent | LookAnswer::Inconclusive => Ok(None),
                        LookAnswer::Fails => Err(error(ErrorClass::Unavailable)),
                    },
                },
                Effect::Lookup(_) => Outcome::LookedUp {
                    begun,
                    answer: match poll {
                        LookAnswer::Found(phase) => Ok(found(phase)),
                        LookAnswer::Absent => Ok(AdoptAnswer::Absent),
                        LookAnswer::Inconclusive => Ok(AdoptAnswer::Inconclusive {
                            why: "more pages".into(),
                            resume: None,
                        }),
                        LookAnswer::Fails => Err(error(ErrorClass::Unavailable)),
                    },
                },
                Effect::Cancel(_) => {
                    Outcome::Stopped(stop.ok_or_else(|| error(ErrorClass::Timeout)))
                }
                Effect::Archive(_) => Outcome::Archived {
                    account: account("ours"),
                    result: match stop {
                        Some(_) => Ok(()),
                        None => Err(error(ErrorClass::Unavailable)),
                    },
                },
                Effect::Examine(_) | Effect::PollAgain(_) => Outcome::Examined {
                    owner: None,
                    account: account("ours"),
                    result: Ok(snapshot(RemotePhase::Running)),
                },
                Effect::AddFinalizer
                | Effect::ReleaseFinalizer
                | Effect::DeleteObject
                | Effect::VerifyCredentials => return,
            };
            given.outcome(&effect, &outcome);
        }
    }
}

proptest! {
    #[test]
    fn any_history_keeps_what_always_holds(
        recovery in prop::sample::select(vec![Recovery::ClientId, Recovery::Marker, Recovery::None]),
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut given = Given::launchable(recovery);
        for event in events {
            let phase = given.phase();
            let taken_over = given.record().map(|record| record.state);
            happen(&mut given, event);
            if phase.is_terminal() && !given.phase().is_terminal() {
                // One that was lost may show up again.
                prop_assert!(
                    taken_over.is_some_and(|state| state != SendState::Confirmed),
                    "an ended session starts again by itself"
                );
            }
        }
    }

    #[test]
    fn a_deleted_object_always_goes(
        recovery in prop::sample::select(vec![Recovery::ClientId, Recovery::Marker, Recovery::None]),
        events in prop::collection::vec(event(), 1..40),
    ) {
        let mut given = Given::launchable(recovery);
        for event in events {
            happen(&mut given, event);
        }
        given.stopping = false;
        given.deleting = given.deleting.or(Some(given.now));
        // Whatever the provider answers to looks and stops from now on.
        let mut passed = Duration::ZERO;
        while given.has_finalizer {
            let crash = Event::Pass(LaunchAnswer::Crash, LookAnswer::Inconclusive, None);
            happen(&mut given, crash);
            given.wait(seconds(5));
            passed += seconds(5);
            prop_assert!(passed <= given.timing.deletion_bound + given.timing.deletion_slack);
        }
    }
}
