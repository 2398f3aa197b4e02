//! Stopping a session: in every state, against every resistance, and never believed before a look shows it.

use std::time::Duration;

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{CancelAnswer, Capability};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_simulator::{
    CancelBehaviour, FaultKind, OperationClass, Outcome, Script, ScriptRule,
};

use crate::bench::{Bench, STAGE, WORK, reference};
use crate::subject::Subject;

contract!(
    a_session_is_stopped_in_every_state_in_which_it_can_be,
    a_stop_may_be_repeated,
    what_has_ended_stays_what_it_was,
    a_stop_that_comes_too_late_leaves_the_result,
    a_stop_that_fails_is_an_error_and_can_be_tried_again,
    a_session_that_cannot_be_stopped_goes_on,
    an_unknown_session_is_not_stopped,
    a_lost_answer_to_a_stop_is_no_stop,
    whatever_answers_a_stop_only_a_success_is_taken_for_one,
);

/// Without [`Capability::Cancel`] nothing is asked, and nothing happens.
async fn is_unsupported(bench: &Bench, session: &SessionId) -> bool {
    if bench.subject.can(Capability::Cancel) {
        return false;
    }
    let before = bench.simulator.requests().len();
    let answer = bench.provider.cancel(&reference(session)).await.unwrap();
    assert_eq!(answer, CancelAnswer::Unsupported);
    assert_eq!(bench.simulator.requests().len(), before);
    true
}

async fn started(bench: &Bench, script: Script) -> SessionId {
    bench.simulator.script(ScriptRule {
        script,
        ..ScriptRule::default()
    });
    bench.launch(&bench.request()).await.session_id
}

/// A look, later, shows that it is over, and so it is.
async fn assert_stopped(bench: &Bench, session: &SessionId) {
    // Cursor takes a moment for it.
    bench.pass(Duration::from_secs(2));
    assert!(!bench.truth(session).active);
    assert!(bench.get(session).await.phase.is_terminal());
}

async fn a_session_is_stopped_in_every_state_in_which_it_can_be(subject: Subject) {
    for stages in 0..=3 {
        let bench = Bench::new(subject).await;
        let id = started(&bench, Script::default()).await;
        bench.pass(STAGE * stages);
        let phase = bench.get(&id).await.phase;
        assert!(!phase.is_terminal());
        if is_unsupported(&bench, &id).await {
            assert!(bench.truth(&id).active);
            continue;
        }
        let mut answer = bench.provider.cancel(&reference(&id)).await.unwrap();
        if matches!(answer, CancelAnswer::NotCancellable(_)) {
            // Too early, as before Flapjack has handed it on; it says so, and time mends it.
            assert_eq!(phase, RemotePhase::Creating);
            assert!(bench.truth(&id).active);
            bench.pass(STAGE);
            answer = bench.provider.cancel(&reference(&id)).await.unwrap();
        }
        assert_eq!(answer, CancelAnswer::Accepted, "after {stages} s");
        assert_stopped(&bench, &id).await;
    }
}

async fn a_stop_may_be_repeated(subject: Subject) {
    let bench = Bench::new(subject).await;
    let id = started(&bench, Script::default()).await;
    bench.begin_work();
    if is_unsupported(&bench, &id).await {
        return;
    }
    let first = bench.provider.cancel(&reference(&id)).await.unwrap();
    assert_eq!(first, CancelAnswer::Accepted);
    let end = bench.truth(&id).status;
    for _ in 0..3 {
        let again = bench.provider.cancel(&reference(&id)).await.unwrap();
        assert_ne!(again, CancelAnswer::Unsupported);
    }
    assert_eq!(bench.truth(&id).status, end);
    assert_stopped(&bench, &id).await;
}

async fn what_has_ended_stays_what_it_was(subject: Subject) {
    for outcome in [Outcome::Finished, Outcome::Error, Outcome::Expired] {
        let bench = Bench::new(subject).await;
        let script = Script {
            outcome: Some(outcome),
            ..Script::default()
        };
        let id = started(&bench, script).await;
        bench.pass(2 * WORK);
        let before = bench.get(&id).await;
        assert!(before.phase.is_terminal());
        if !is_unsupported(&bench, &id).await {
            let answer = bench.provider.cancel(&reference(&id)).await.unwrap();
            assert!(
                matches!(answer, CancelAnswer::NotCancellable(_)),
                "{outcome:?}: {answer:?}"
            );
        }
        assert_eq!(bench.get(&id).await, before);
    }
}

async fn a_stop_that_comes_too_late_leaves_the_result(subject: Subject) {
    let bench = Bench::new(subject).await;
    let script = Script {
        cancel: Some(CancelBehaviour::TooLate),
        ..Script::default()
    };
    let id = started(&bench, script).await;
    bench.begin_work();
    if is_unsupported(&bench, &id).await {
        return;
    }
    // A provider that has no word for "too late" takes it; the look is what counts.
    let answer = bench.provider.cancel(&reference(&id)).await.unwrap();
    assert_ne!(answer, CancelAnswer::Unsupported);
    assert_eq!(bench.get(&id).await.phase, RemotePhase::Finished);
}

async fn a_stop_that_fails_is_an_error_and_can_be_tried_again(subject: Subject) {
    let bench = Bench::new(subject).await;
    let script = Script {
        cancel: Some(CancelBehaviour::Fails),
        ..Script::default()
    };
    let id = started(&bench, script).await;
    bench.begin_work();
    if is_unsupported(&bench, &id).await {
        return;
    }
    let error = bench.provider.cancel(&reference(&id)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    assert_eq!(bench.get(&id).await.phase, RemotePhase::Running);
    let willing = Script {
        cancel: Some(CancelBehaviour::Accepted),
        ..Script::default()
    };
    assert!(
        bench
            .simulator
            .rescript(subject.simulated(), id.as_str(), willing)
    );
    let answer = bench.provider.cancel(&reference(&id)).await.unwrap();
    assert_eq!(answer, CancelAnswer::Accepted);
    assert_stopped(&bench, &id).await;
}

async fn a_session_that_cannot_be_stopped_goes_on(subject: Subject) {
    let bench = Bench::new(subject).await;
    let script = Script {
        cancel: Some(CancelBehaviour::Unsupported),
        ..Script::default()
    };
    let id = started(&bench, script).await;
    bench.begin_work();
    if !is_unsupported(&bench, &id).await {
        let answer = bench.provider.cancel(&reference(&id)).await.unwrap();
        assert_ne!(answer, CancelAnswer::Accepted);
    }
    assert_eq!(bench.get(&id).await.phase, RemotePhase::Running);
    assert!(bench.truth(&id).active);
}

async fn an_unknown_session_is_not_stopped(subject: Subject) {
    let bench = Bench::new(subject).await;
    let id = started(&bench, Script::default()).await;
    if is_unsupported(&bench, &id).await {
        return;
    }
    let error = bench.stranger().cancel(&reference(&id)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    assert!(bench.truth(&id).active);
}

async fn a_lost_answer_to_a_stop_is_no_stop(subject: Subject) {
    for fault in [
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        FaultKind::ErrorAfter {
            status: 502,
            code: "upstream_error".into(),
        },
    ] {
        let bench = Bench::new(subject).await;
        let id = started(&bench, Script::default()).await;
        bench.begin_work();
        if is_unsupported(&bench, &id).await {
            continue;
        }
        bench.fault(OperationClass::Cancel, fault);
        let error = bench.provider.cancel(&reference(&id)).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
        assert_eq!(
            bench.requests(OperationClass::Cancel).len(),
            1,
            "whoever asked repeats it, nobody else"
        );
        // It may have worked: then there is nothing left to stop.
        let again = bench.provider.cancel(&reference(&id)).await.unwrap();
        assert_ne!(again, CancelAnswer::Unsupported);
        assert_stopped(&bench, &id).await;
    }
}

async fn whatever_answers_a_stop_only_a_success_is_taken_for_one(subject: Subject) {
    let bench = Bench::new(subject).await;
    let id = started(&bench, Script::default()).await;
    bench.begin_work();
    if is_unsupported(&bench, &id).await {
        return;
    }
    for status in [
        301, 307, 400, 401, 402, 403, 404, 408, 409, 422, 500, 502, 503,
    ] {
        let fault = FaultKind::Respond {
            status,
            headers: vec![("location".into(), "https://example.com/".into())],
            body: "<html>no</html>".into(),
        };
        bench.fault(OperationClass::Cancel, fault);
        let answer = bench.provider.cancel(&reference(&id)).await;
        assert_ne!(answer, Ok(CancelAnswer::Accepted), "{status}");
    }
    assert!(bench.truth(&id).active);
}
