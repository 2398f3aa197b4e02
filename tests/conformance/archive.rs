//! Archiving a session that has ended.

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::providers::contract::{Archiving, Capability};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_simulator::{FaultKind, OperationClass};

use crate::bench::{Bench, WORK};
use crate::subject::Subject;

contract!(
    whoever_says_that_it_archives_does,
    an_ended_session_is_archived_and_a_repetition_changes_nothing,
    archiving_that_fails_is_an_error_and_can_be_tried_again,
    what_is_not_there_is_said,
);

async fn whoever_says_that_it_archives_does(subject: Subject) {
    let bench = Bench::new(subject).await;
    let can = subject.can(Capability::Archive);
    assert_eq!(bench.provider.archiving().is_some(), can);
}

/// A session that has ended, where the provider archives any.
async fn ended(bench: &Bench) -> Option<(SessionId, &dyn Archiving)> {
    let archiving = bench.provider.archiving()?;
    let session = bench.launch(&bench.request()).await.session_id;
    bench.pass(2 * WORK);
    assert!(bench.get(&session).await.phase.is_terminal());
    Some((session, archiving))
}

async fn an_ended_session_is_archived_and_a_repetition_changes_nothing(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, archiving)) = ended(&bench).await else {
        return;
    };
    let before = bench.get(&session).await;
    for _ in 0..2 {
        archiving.archive(&session).await.unwrap();
        assert!(bench.truth(&session).archived);
    }
    let after = bench.get(&session).await;
    assert_eq!((after.phase, after.result), (before.phase, before.result));
    assert_eq!(bench.requests(OperationClass::Archive).len(), 2);
}

async fn archiving_that_fails_is_an_error_and_can_be_tried_again(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, archiving)) = ended(&bench).await else {
        return;
    };
    bench.fault(
        OperationClass::Archive,
        FaultKind::ErrorBefore {
            status: 502,
            code: "archive_failed".into(),
        },
    );
    let error = archiving.archive(&session).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    assert!(!bench.truth(&session).archived);
    archiving.archive(&session).await.unwrap();
    assert!(bench.truth(&session).archived);
}

async fn what_is_not_there_is_said(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, archiving)) = ended(&bench).await else {
        return;
    };
    let nobodys = SessionId::new("bc-00000000-0000-4000-8000-000000000000");
    let error = archiving.archive(&nobodys).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    let stranger = bench.stranger();
    let error = stranger.archiving().unwrap().archive(&session).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::NotFound);
    assert!(!bench.truth(&session).archived);
}
