//! Where the providers' documents are silent or contradict each other: what we assume, and that the adapters hold out either way.
//!
//! Assumed for every provider, and tested where the contract says so: no `Idempotency-Key` has an effect (`launch`); a 409 to a launch proves
//! nothing (`launch`); a 429 without `Retry-After` means half a minute (`account`); a 2xx to a stop is a promise and no fact (`cancel`); whoever
//! says "not found" for a session of another account says the same for one that never was (`look`).

use std::time::Duration;

use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, CancelAnswer, LaunchOutcome, LaunchRequest,
};
use codeagent_operator::providers::error::{ErrorClass, Subject as About};
use codeagent_simulator::{
    ConversationStart, FaultKind, FirebenderBranch, FirebenderDocument, IssueLinks, Matcher,
    MemberNames, OperationClass, SimulatorOptions, StoppedStatus,
};

use crate::bench::{Bench, STAGE, found, patient, reference};
use crate::subject::Subject;

contract!(
    a_repository_is_the_same_in_every_spelling,
    what_nobody_documents_in_an_answer_changes_nothing,
);

async fn with(subject: Subject, change: impl FnOnce(&mut SimulatorOptions)) -> Bench {
    Bench::with(subject, change, patient()).await
}

/// Assumed: `https://github.com/Acme/App.git` and `github.com/acme/app` are one repository. The documents of Cursor and Firebender show both
/// ways of writing, and none says in which of them a session's repository comes back.
async fn a_repository_is_the_same_in_every_spelling(subject: Subject) {
    for (launched, looked_for) in [
        (
            "https://github.com/Acme/App.git",
            "https://github.com/acme/app",
        ),
        (
            "https://github.com/acme/app",
            "https://github.com/Acme/App.git",
        ),
        (
            "https://github.com/acme/app/",
            "https://github.com/acme/app",
        ),
    ] {
        let bench = Bench::new(subject).await;
        let lookup = AdoptRequest {
            repository: looked_for.into(),
            ..bench.lookup().await
        };
        let request = LaunchRequest {
            repository: launched.into(),
            ..bench.request()
        };
        let id = bench.lose(&request).await;
        bench.begin_work();
        assert_eq!(
            found(bench.look_up(lookup).await)[0].0,
            id,
            "{launched} is {looked_for}"
        );
    }
}

/// Assumed: providers add fields to their answers without saying so. A padded answer reads like a plain one.
async fn what_nobody_documents_in_an_answer_changes_nothing(subject: Subject) {
    let bench = Bench::new(subject).await;
    let id = bench.launch(&bench.request()).await.session_id;
    let plain = bench.get(&id).await;
    let padded = FaultKind::HugeBody { bytes: 1000 };
    bench.always(Matcher::class(OperationClass::Get), padded);
    assert_eq!(bench.get(&id).await, plain);
}

/// Assumed: an empty conversation proves nothing. Neither Cursor (v0) nor Firebender says when the first prompt appears in it: with the launch or
/// when the agent begins to work.
#[tokio::test]
async fn an_empty_conversation_of_cursor_v0_or_firebender_proves_nothing() {
    for subject in [Subject::CursorV0, Subject::Firebender] {
        for start in [ConversationStart::WithLaunch, ConversationStart::WithRun] {
            let bench = with(subject, |options| {
                options.cursor.v0.conversation = start;
                options.firebender.conversation = start;
            })
            .await;
            let lookup = bench.lookup().await;
            let id = bench.lose(&bench.request()).await;
            let answer = bench.provider.adopt(&lookup).await.unwrap();
            match start {
                ConversationStart::WithLaunch => assert_eq!(found(answer)[0].0, id),
                ConversationStart::WithRun => {
                    let open = matches!(answer, AdoptAnswer::Inconclusive { .. });
                    assert!(open, "{subject:?}: {answer:?}");
                    bench.begin_work();
                    assert_eq!(found(bench.look_up(lookup).await)[0].0, id);
                }
            }
        }
    }
}

/// Assumed: a stop that was accepted may be repeated until the status changes, and it may never change. Cursor's documents of v0 name no status
/// for a stopped agent and do not say when it gets one.
#[tokio::test]
async fn what_a_stop_leaves_as_status_at_cursor_v0_is_open() {
    for (status, shown) in [
        (StoppedStatus::FinishedAtOnce, RemotePhase::Finished),
        (StoppedStatus::FinishedLater, RemotePhase::Finished),
        (StoppedStatus::Unchanged, RemotePhase::Running),
    ] {
        let stopped = |options: &mut SimulatorOptions| options.cursor.v0.stopped_status = status;
        let bench = with(Subject::CursorV0, stopped).await;
        let session = reference(&bench.launch(&bench.request()).await.session_id);
        bench.begin_work();
        let answer = bench.provider.cancel(&session).await.unwrap();
        assert_eq!(answer, CancelAnswer::Accepted);
        bench.pass(Duration::from_secs(120));
        let snapshot = bench.provider.get(&session).await.unwrap();
        assert_eq!(snapshot.phase, shown, "{status:?}");
        let again = bench.provider.cancel(&session).await.unwrap();
        let expected = match snapshot.phase.is_terminal() {
            true => CancelAnswer::NotCancellable(None),
            false => CancelAnswer::Accepted,
        };
        assert_eq!(again, expected, "{status:?}");
        assert!(!bench.truth(&session.session_id).active);
    }
}

/// Assumed: ids of Cursor v1 are unique over all accounts, and an agent of somebody else is "not found". The documents only say that a taken id
/// is a conflict, not whose it may be. The launch stays unknown, and the lookup alone does not clear it up.
#[tokio::test]
async fn an_id_of_cursor_v1_that_another_account_took_is_neither_ours_nor_free() {
    let bench = Bench::new(Subject::CursorV1).await;
    bench.stranger().launch(&bench.request()).await;
    let LaunchOutcome::Unknown(error) = bench.provider.launch(&bench.request()).await else {
        panic!()
    };
    assert_eq!(
        (error.class, error.subject),
        (ErrorClass::Conflict, Some(About::SessionId))
    );
    let lookup = bench.lookup().await;
    assert_eq!(bench.look_up(lookup).await, AdoptAnswer::Absent);
}

/// Assumed: both documents of Firebender are served somewhere, the one of 2025 (no `SETUP`, no previews) and the one of 2026; and either may
/// rewrite the branch that was asked for, as the example of 2026 shows another in the answer than in the request.
#[tokio::test]
async fn firebender_may_follow_either_document_and_rewrite_branches() {
    for document in [FirebenderDocument::Y2025, FirebenderDocument::Y2026] {
        for branch in [FirebenderBranch::Kept, FirebenderBranch::Rewritten] {
            let bench = with(Subject::Firebender, |options| {
                options.firebender.document = document;
                options.firebender.branch = branch;
            })
            .await;
            let lookup = bench.lookup().await;
            let mut request = bench.request();
            request.pull_request.branch_name = Some("feature/ours".into());
            let id = bench.lose(&request).await;
            bench.begin_work();
            assert_eq!(found(bench.look_up(lookup).await)[0].0, id);
            let snapshot = bench.get(&id).await;
            assert_eq!(snapshot.phase, RemotePhase::Running);
            assert_eq!(
                snapshot.branch.as_deref() == Some("feature/ours"),
                branch == FirebenderBranch::Kept
            );
            assert!(snapshot.url.is_some());
        }
    }
}

/// Assumed: members are written in camel or in snake case. Firetiger's document shows no answer.
#[tokio::test]
async fn firetiger_may_write_its_answers_in_either_case() {
    for names in [MemberNames::Camel, MemberNames::Snake] {
        let bench = with(Subject::Firetiger, |options| {
            options.firetiger.member_names = names;
        })
        .await;
        let lookup = bench.lookup().await;
        let launched = bench.launch(&bench.request()).await;
        assert!(launched.url.is_some(), "{names:?}");
        bench.pass(STAGE);
        let snapshot = bench.get(&launched.session_id).await;
        assert_eq!(snapshot.phase, RemotePhase::Running);
        assert_eq!(found(bench.look_up(lookup).await)[0].0, launched.session_id);
        assert!(bench.provider.verify().await.unwrap().name.is_some());
    }
}

/// Assumed: an issue can be read at `GET /v1/issues/{id}` and has a field `links`; Firetiger's document only says that a link is added "on a
/// best-effort basis". Where it is not, or the issue cannot be read, a lost launch stays unknown and is never taken for absent.
#[tokio::test]
async fn firetigers_links_are_evidence_and_their_absence_is_none() {
    let lost = |options: &mut SimulatorOptions| options.firetiger.issue_links = IssueLinks::Lost;
    let bench = with(Subject::Firetiger, lost).await;
    let lookup = bench.lookup().await;
    assert!(lookup.baseline.is_some());
    bench.lose(&bench.request()).await;
    bench.begin_work();
    assert_eq!(bench.look_up(lookup).await, AdoptAnswer::Unknowable);

    for (status, code) in [(404, "not_found"), (501, "unimplemented")] {
        let bench = Bench::new(Subject::Firetiger).await;
        let error = FaultKind::ErrorBefore {
            status,
            code: code.into(),
        };
        bench.always(Matcher::class(OperationClass::List), error);
        let lookup = bench.lookup().await;
        assert_eq!(lookup.baseline, None, "{code}");
        bench.lose(&bench.request()).await;
        assert_eq!(bench.look_up(lookup).await, AdoptAnswer::Unknowable);
    }
}
