//! Finding a launch again whose answer was lost: who is found, who is nobody's, and what is never said.

use std::time::Duration;

use codeagent_operator::domain::ids::InstallationId;
use codeagent_operator::domain::marker::{Marker, MarkerSubject};
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, Capability, LaunchRequest, Recovery,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_simulator::{
    AgentIds, FaultKind, Key, LaunchFilter, Matcher, OperationClass, SimulatorOptions,
};
use jiff::Timestamp;

use crate::bench::{Bench, UID, found, patient, prompt};
use crate::provider_support::installation;
use crate::subject::Subject;

contract!(
    recovery_and_capability_agree,
    without_a_launch_nothing_is_found,
    a_lost_launch_is_found_with_everything_that_a_look_tells,
    every_attempt_is_looked_for,
    a_launch_that_happened_twice_is_found_twice,
    a_launch_that_has_ended_is_found_too,
    the_sessions_of_others_are_not_ours,
    a_session_with_our_mark_is_ours_whatever_repository_it_names,
    an_id_that_was_taken_in_an_older_attempt_says_nothing_of_the_newest,
    a_session_that_another_code_session_owns_is_not_ours,
    a_session_with_our_mark_is_ours_at_any_time,
    before_an_absence_is_of_use_only_what_is_near_is_looked_at,
    a_session_of_another_account_is_not_seen,
    a_provider_that_ignores_our_id_is_searched,
    what_cannot_be_read_yet_is_never_absent,
    a_launch_that_no_list_shows_yet_is_found_later,
    a_refused_key_ends_the_look_without_a_verdict,
);

/// What a complete look says that found nothing.
fn nothing(subject: Subject) -> AdoptAnswer {
    match subject.recovery() {
        Recovery::ClientId | Recovery::Marker => AdoptAnswer::Absent,
        // Absence is never a verdict where nothing of ours goes along.
        Recovery::None => AdoptAnswer::Unknowable,
    }
}

/// The attempt that a look can tell: where the first message can be read, it is in its marker.
fn told(subject: Subject, attempt: i32) -> Option<i32> {
    match subject.recovery() {
        Recovery::Marker if !subject.is_found_by_name() => Some(attempt),
        Recovery::ClientId | Recovery::Marker | Recovery::None => None,
    }
}

async fn recovery_and_capability_agree(subject: Subject) {
    let recovers = subject.recovery() != Recovery::None;
    assert_eq!(subject.can(Capability::RecoverLaunch), recovers);
}

async fn without_a_launch_nothing_is_found(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    assert_eq!(bench.look_up(lookup.clone()).await, nothing(subject));
    // Nor where nobody could write down what was there before.
    let blind = AdoptRequest {
        baseline: None,
        ..lookup
    };
    assert_eq!(bench.look_up(blind).await, nothing(subject));
}

async fn a_lost_launch_is_found_with_everything_that_a_look_tells(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let id = bench.lose(&bench.request()).await;
    bench.begin_work();
    let AdoptAnswer::Found(ours) = bench.look_up(lookup).await else {
        panic!()
    };
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0].attempt, told(subject, 1));
    assert_eq!(ours[0].snapshot.session_id, id);
    assert_eq!(ours[0].snapshot.phase, RemotePhase::Running);
    let look = bench.get(&id).await;
    assert_eq!(
        (&ours[0].snapshot.run_id, &ours[0].snapshot.url),
        (&look.run_id, &look.url)
    );
    assert_eq!(bench.started(), 1, "looking starts nothing");
}

async fn every_attempt_is_looked_for(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let first = bench.lose(&bench.attempt(UID, 1)).await;
    bench.pass(Duration::from_secs(5));
    let second = bench.lose(&bench.attempt(UID, 2)).await;
    bench.begin_work();
    let both = AdoptRequest {
        message: None,
        keys: [2, 1].map(|attempt| bench.attempt(UID, attempt).key).into(),
        ..lookup
    };
    match subject.recovery() {
        Recovery::ClientId | Recovery::Marker => assert_eq!(
            found(bench.look_up(both).await),
            [(first, told(subject, 1)), (second, told(subject, 2))],
            "oldest first"
        ),
        // Two that are nobody's: one of them may be somebody else's.
        Recovery::None => assert_eq!(bench.look_up(both).await, AdoptAnswer::Unknowable),
    }
}

async fn a_launch_that_happened_twice_is_found_twice(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    bench.lose(&bench.request()).await;
    bench.pass(Duration::from_secs(5));
    bench.provider.launch(&bench.request()).await;
    bench.begin_work();
    match subject.recovery() {
        // The second request was refused.
        Recovery::ClientId => {
            assert_eq!(bench.started(), 1);
            assert_eq!(found(bench.look_up(lookup).await).len(), 1);
        }
        Recovery::Marker => {
            assert_eq!(bench.started(), 2);
            let twice = found(bench.look_up(lookup).await);
            assert_eq!(twice.len(), 2);
            assert!(twice.iter().all(|(_, it)| *it == told(subject, 1)));
        }
        Recovery::None => {
            assert_eq!(bench.started(), 2);
            assert_eq!(bench.look_up(lookup).await, AdoptAnswer::Unknowable);
        }
    }
}

async fn a_launch_that_has_ended_is_found_too(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let id = bench.lose(&bench.request()).await;
    bench.pass(Duration::from_secs(3600));
    let AdoptAnswer::Found(ours) = bench.look_up(lookup).await else {
        panic!()
    };
    assert_eq!(ours[0].snapshot.session_id, id);
    assert_eq!(ours[0].snapshot.phase, RemotePhase::Finished);
}

/// Launches of others from the same account, for the same repository (and issue), at the same time.
fn strangers(bench: &Bench) -> Vec<LaunchRequest> {
    let other_uid = bench.attempt("another-uid", 1);
    let with_prompt = |uid, marker: Marker| LaunchRequest {
        prompt: prompt(&marker),
        ..bench.attempt(uid, 1)
    };
    let other_installation = with_prompt(
        "uid-elsewhere",
        Marker::launch(InstallationId::new("ffffffff"), UID, 1),
    );
    let follow_up = with_prompt(
        "uid-of-a-message",
        Marker {
            subject: MarkerSubject::Message("add-tests".into()),
            ..Marker::launch(installation(), UID, 1)
        },
    );
    let by_hand = LaunchRequest {
        prompt: "Typed by a person".into(),
        ..bench.attempt("uid-of-nobody", 1)
    };
    vec![other_uid, other_installation, follow_up, by_hand]
}

async fn the_sessions_of_others_are_not_ours(subject: Subject) {
    let bench = Bench::new(subject).await;
    // One of a time before the launch: it is in the baseline, where there is one.
    let mut others = strangers(&bench);
    bench.launch(&others.pop().unwrap()).await;
    let lookup = bench.lookup().await;
    let searching = AdoptRequest {
        // So that Cursor's list is searched as well.
        evidence_seen: subject.recovery() != Recovery::ClientId || !subject.is_searched(),
        ..lookup
    };
    for other in &others {
        bench.launch(other).await;
    }
    bench.begin_work();
    assert_eq!(bench.look_up(searching.clone()).await, nothing(subject));
    let ours = bench.lose(&bench.request()).await;
    bench.begin_work();
    match subject.recovery() {
        Recovery::ClientId | Recovery::Marker => assert_eq!(
            found(bench.look_up(searching).await),
            [(ours, told(subject, 1))]
        ),
        Recovery::None => assert_eq!(bench.look_up(searching).await, AdoptAnswer::Unknowable),
    }
}

async fn a_session_with_our_mark_is_ours_whatever_repository_it_names(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let renamed = LaunchRequest {
        repository: "https://github.com/acme/renamed-since".into(),
        ..bench.request()
    };
    let id = bench.lose(&renamed).await;
    bench.begin_work();
    let answer = bench.look_up(lookup).await;
    match subject.is_found_by_name() {
        true => assert!(
            matches!(answer, AdoptAnswer::Inconclusive { .. }),
            "{answer:?}"
        ),
        false => assert_eq!(found(answer), [(id, told(subject, 1))]),
    }
}

async fn an_id_that_was_taken_in_an_older_attempt_says_nothing_of_the_newest(subject: Subject) {
    let bench = Bench::new(subject).await;
    let taken = bench.lose(&bench.attempt(UID, 1)).await;
    bench.begin_work();
    let lookup = AdoptRequest {
        message: None,
        owned: [taken].into(),
        keys: [2, 1].map(|attempt| bench.attempt(UID, attempt).key).into(),
        ..bench.lookup().await
    };
    assert_eq!(bench.look_up(lookup.clone()).await, nothing(subject));
    let second = bench.lose(&bench.attempt(UID, 2)).await;
    bench.begin_work();
    assert_eq!(
        found(bench.look_up(lookup).await),
        [(second, told(subject, 2))]
    );
}

async fn a_session_that_another_code_session_owns_is_not_ours(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let id = bench.lose(&bench.request()).await;
    bench.begin_work();
    let owned = AdoptRequest {
        owned: [id].into(),
        ..lookup
    };
    let answer = bench.look_up(owned).await;
    match subject.recovery() {
        Recovery::ClientId => assert!(matches!(answer, AdoptAnswer::Foreign { .. }), "{answer:?}"),
        Recovery::Marker | Recovery::None => assert_eq!(answer, nothing(subject)),
    }
}

/// Two windows that the clocks of no session fall into, because they differ by an hour.
fn other_times(lookup: &AdoptRequest) -> [AdoptRequest; 2] {
    let hour = Duration::from_secs(3600);
    let before = (lookup.created_from - hour, Timestamp::now() - hour);
    let after = (Timestamp::now() + hour, lookup.created_until + hour);
    [before, after].map(|(created_from, created_until)| AdoptRequest {
        created_from,
        created_until,
        ..lookup.clone()
    })
}

async fn a_session_with_our_mark_is_ours_at_any_time(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let id = bench.lose(&bench.request()).await;
    bench.begin_work();
    for window in other_times(&lookup) {
        assert_eq!(
            found(bench.look_up(window).await),
            [(id.clone(), told(subject, 1))]
        );
    }
}

async fn before_an_absence_is_of_use_only_what_is_near_is_looked_at(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    bench.launch(&bench.attempt("another-uid", 1)).await;
    bench.begin_work();
    for window in other_times(&lookup) {
        let hasty = AdoptRequest {
            prove_absence: false,
            ..window
        };
        let answer = bench.look_up(hasty).await;
        match subject.recovery() {
            // The name in the list says whose it is.
            Recovery::Marker if subject.is_found_by_name() => {
                assert_eq!(answer, AdoptAnswer::Absent);
            }
            Recovery::Marker => assert!(
                matches!(&answer, AdoptAnswer::Inconclusive { resume: Some(state), .. } if state.begin_anew),
                "{answer:?}"
            ),
            // Neither an id nor a link has a date.
            Recovery::ClientId => assert_eq!(answer, AdoptAnswer::Absent),
            Recovery::None => assert_eq!(found(answer).len(), 1),
        }
    }
}

async fn a_session_of_another_account_is_not_seen(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    let stranger = bench.stranger();
    let request = LaunchRequest {
        template_id: match stranger.templates() {
            Some(templates) => Some(templates.create(&crate::bench::template()).await.unwrap()),
            None => None,
        },
        ..bench.request()
    };
    stranger.launch(&request).await;
    assert_eq!(bench.started(), 1);
    bench.begin_work();
    assert_eq!(bench.look_up(lookup).await, nothing(subject));
}

/// Where there is nothing to search, and our id has not been seen to be used, nothing is proven.
async fn a_provider_that_is_not_searched_is_never_absent(subject: Subject) {
    let bench = Bench::new(subject).await;
    let doubtful = AdoptRequest {
        evidence_seen: false,
        ..bench.lookup().await
    };
    let answer = bench.look_up(doubtful.clone()).await;
    assert!(
        matches!(answer, AdoptAnswer::Inconclusive { .. }),
        "{answer:?}"
    );
    let id = bench.lose(&bench.request()).await;
    assert_eq!(
        found(bench.look_up(doubtful).await),
        [(id, told(subject, 1))]
    );
}

async fn a_provider_that_ignores_our_id_is_searched(subject: Subject) {
    if !subject.is_searched() {
        return a_provider_that_is_not_searched_is_never_absent(subject).await;
    }
    let ignoring = |options: &mut SimulatorOptions| options.cursor.agent_ids = AgentIds::Ignored;
    let bench = Bench::with(subject, ignoring, patient()).await;
    let lookup = bench.lookup().await;
    let id = bench.lose(&bench.request()).await;
    bench.begin_work();
    let honoured = bench.look_up(lookup.clone()).await;
    match subject.recovery() {
        // Whoever says that ids are honoured is believed.
        Recovery::ClientId => assert_eq!(honoured, AdoptAnswer::Absent),
        Recovery::Marker | Recovery::None => assert_eq!(found(honoured).len(), 1),
    }
    let doubtful = AdoptRequest {
        evidence_seen: false,
        ..lookup
    };
    assert_eq!(
        found(bench.look_up(doubtful).await),
        [(id, told(subject, 1))]
    );
}

async fn what_cannot_be_read_yet_is_never_absent(subject: Subject) {
    let error = |status| FaultKind::ErrorBefore {
        status,
        code: "not_now".into(),
    };
    let body = |status, body: &str| FaultKind::Respond {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    };
    let bench = Bench::new(subject).await;
    let lookup = AdoptRequest {
        evidence_seen: false,
        ..bench.lookup().await
    };
    let ours = bench.lose(&bench.request()).await;
    bench.begin_work();
    let readers = [
        OperationClass::List,
        OperationClass::Get,
        OperationClass::Events,
    ];
    for class in readers {
        for fault in [
            error(403),
            error(409),
            error(500),
            error(503),
            body(200, ""),
            body(200, "{}"),
            body(200, "[7]"),
            body(502, "<html></html>"),
            FaultKind::DropBefore,
            FaultKind::TruncatedBody,
            FaultKind::HugeBody { bytes: 300 << 10 },
        ] {
            bench.always(Matcher::class(class), fault.clone());
            let mut resume = None;
            for _ in 0..3 {
                let request = AdoptRequest {
                    resume: resume.take(),
                    ..lookup.clone()
                };
                match bench.provider.adopt(&request).await {
                    Err(error) => assert_ne!(error.class, ErrorClass::NotFound),
                    Ok(AdoptAnswer::Inconclusive { resume: state, .. }) => resume = state,
                    Ok(AdoptAnswer::Unknowable) => assert_eq!(subject.recovery(), Recovery::None),
                    // It took no request of this class to find it.
                    Ok(AdoptAnswer::Found(found)) => {
                        assert_eq!(found[0].snapshot.session_id, ours);
                    }
                    Ok(
                        answer @ (AdoptAnswer::Absent
                        | AdoptAnswer::Foreign { .. }
                        | AdoptAnswer::Ambiguous { .. }),
                    ) => panic!("{class:?} {fault:?}: {answer:?}"),
                }
            }
            bench.simulator.clear_faults();
            let again = AdoptRequest {
                resume,
                ..lookup.clone()
            };
            assert_eq!(
                found(bench.look_up(again).await),
                [(ours.clone(), told(subject, 1))],
                "{class:?} {fault:?}"
            );
        }
    }
}

async fn a_launch_that_no_list_shows_yet_is_found_later(subject: Subject) {
    let lag = Duration::from_secs(60);
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    bench.fault(OperationClass::Launch, FaultKind::Lag { duration: lag });
    let id = bench.launch(&bench.request()).await.session_id;
    bench.begin_work();
    let early = bench.look_up(lookup.clone()).await;
    match subject.recovery() {
        // Found by its id, which needs no list.
        Recovery::ClientId => assert_eq!(found(early)[0].0, id),
        // Why an Absent counts only if two looks, one consistency window apart, say so.
        Recovery::Marker | Recovery::None => assert_eq!(early, nothing(subject)),
    }
    bench.pass(lag);
    assert_eq!(found(bench.look_up(lookup).await), [(id, told(subject, 1))]);
}

async fn a_refused_key_ends_the_look_without_a_verdict(subject: Subject) {
    let bench = Bench::new(subject).await;
    let lookup = bench.lookup().await;
    bench.lose(&bench.request()).await;
    bench.begin_work();
    let keys: Vec<Key> = bench.simulator.keys();
    assert!(bench.simulator.revoke(subject.simulated(), "ours"));
    let error = bench.provider.adopt(&lookup).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unauthorized);
    for key in keys {
        bench.simulator.add_key(key);
    }
    assert_eq!(found(bench.look_up(lookup).await).len(), 1);
    assert_eq!(bench.simulator.launches(&LaunchFilter::default()).len(), 1);
}
