//! A lost launch among five hundred sessions of others, while new ones arrive, others vanish and some cannot be read yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, LaunchRequest, Launched, Recovery, ScanState,
};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, RequestRecord, SessionView};
use futures::StreamExt;

use crate::bench::{Bench, UID, found};
use crate::subject::Subject;

contract!(
    among_five_hundred_absent_is_said_only_when_all_were_read_and_ours_is_found,
    where_one_of_five_hundred_cannot_be_read_absent_is_never_said,
);

const CROWD: usize = 500;
const MIDDLE: usize = CROWD / 2;
/// Items on a page: 72 pages, more than one pass reads.
const PAGE: usize = 7;

/// Sessions of others, for the same repository and under the same name; with the id of the one in the middle.
async fn crowded(subject: Subject) -> (Bench, SessionId) {
    let bench = Bench::new(subject).await;
    let requests: Vec<LaunchRequest> = (0..CROWD)
        .map(|number| bench.attempt(&format!("stranger-{number}"), 1))
        .collect();
    let launched: Vec<Launched> = futures::stream::iter(&requests)
        .map(|request| bench.launch(request))
        .buffered(16)
        .collect()
        .await;
    assert_eq!(bench.started(), CROWD);
    bench.begin_work();
    bench.always(
        Matcher::class(OperationClass::List),
        FaultKind::SmallPages { items: PAGE },
    );
    let middle = launched[MIDDLE].session_id.clone();
    (bench, middle)
}

/// Looks for what was launched after `lookup` was made up. Where the list tells nothing of ids of ours, it is searched.
async fn searching(bench: &Bench) -> AdoptRequest {
    AdoptRequest {
        evidence_seen: false,
        ..bench.lookup().await
    }
}

/// The candidates that a look was taken at, and how often.
fn read(requests: &[RequestRecord]) -> BTreeMap<&str, usize> {
    let mut looks = BTreeMap::new();
    let sessions = requests
        .iter()
        .filter(|record| {
            matches!(
                record.class,
                Some(OperationClass::Get | OperationClass::Events)
            ) && record.status == Some(200)
        })
        .filter_map(|record| record.session.as_deref());
    for session in sessions {
        *looks.entry(session).or_insert(0) += 1;
    }
    looks
}

/// How many pages of the list the last round read, from the first to the last.
fn pages_of_last_round(requests: &[RequestRecord]) -> usize {
    let lists: Vec<&RequestRecord> = requests
        .iter()
        .filter(|record| record.class == Some(OperationClass::List) && record.session.is_none())
        .collect();
    let first = lists.iter().rposition(|record| {
        !record
            .query
            .as_deref()
            .is_some_and(|query| query.contains("cursor=") || query.contains("archived="))
    });
    lists.len() - first.unwrap()
}

async fn among_five_hundred_absent_is_said_only_when_all_were_read_and_ours_is_found(
    subject: Subject,
) {
    let (bench, _) = crowded(subject).await;
    let crowd = bench.simulator.sessions();
    let mut request = searching(&bench).await;
    // Two that cannot be read at first: one of the newest, one of the oldest.
    for view in [&crowd[CROWD - 2], &crowd[2]] {
        let when = Matcher {
            path_contains: Some(view.id.clone()),
            ..Matcher::default()
        };
        let fault = FaultKind::ErrorBefore {
            status: 500,
            code: "internal_error".into(),
        };
        bench.simulator.inject(Fault {
            times: Some(2),
            ..Fault::once(when, fault)
        });
    }
    let mut removed = BTreeSet::new();
    let mut passes = 0;
    let answer = loop {
        passes += 1;
        assert!(passes < 100, "no end");
        match bench.provider.adopt(&request).await.unwrap() {
            AdoptAnswer::Inconclusive {
                resume: Some(state),
                ..
            } => {
                unsettle(&bench, &crowd, passes, &state, &mut removed).await;
                request.resume = Some(state);
            }
            answer => break answer,
        }
    };
    let requests = bench.simulator.requests();
    match subject.recovery() {
        _ if !subject.is_searched() => assert!(
            matches!(answer, AdoptAnswer::Inconclusive { .. }),
            "{answer:?}"
        ),
        Recovery::Marker if !subject.is_found_by_name() => {
            assert_eq!(answer, AdoptAnswer::Absent);
            assert!(passes > CROWD / 100, "in passes of bounded size");
            let read = read(&requests);
            let unread: Vec<&str> = crowd
                .iter()
                .map(|view| view.id.as_str())
                .filter(|id| !removed.contains(*id) && !read.contains_key(id))
                .collect();
            assert!(unread.is_empty(), "{unread:?}");
            // A pass goes on where the one before stopped; who was judged is not looked at again.
            let twice = crowd
                .iter()
                .find(|view| read.get(view.id.as_str()) > Some(&1));
            assert!(twice.is_none(), "{twice:?}");
        }
        // The list names them all; it takes no look to see that a name is not ours.
        Recovery::ClientId | Recovery::Marker => {
            assert_eq!(answer, AdoptAnswer::Absent);
            assert!(passes > 1, "in passes of bounded size");
            assert!(pages_of_last_round(&requests) >= (CROWD - removed.len()) / PAGE);
        }
        Recovery::None => assert_eq!(answer, AdoptAnswer::Unknowable),
    }

    // The third attempt arrives, and its answer gets lost.
    let everybody = bench.simulator.sessions();
    let lookup = AdoptRequest {
        message: None,
        keys: [3, 2, 1]
            .map(|attempt| bench.attempt(UID, attempt).key)
            .into(),
        // Of five hundred links there is no room in a baseline.
        baseline: request.baseline.clone().or(Some("issues/FT-42".into())),
        resume: None,
        ..request
    };
    let ours = bench.lose(&bench.attempt(UID, 3)).await;
    bench.begin_work();
    let attempt = match subject.recovery() {
        Recovery::Marker if !subject.is_found_by_name() => Some(3),
        Recovery::ClientId | Recovery::Marker => None,
        Recovery::None => {
            assert_eq!(
                bench.look_up(lookup.clone()).await,
                AdoptAnswer::Unknowable,
                "five hundred and one are nobody's"
            );
            None
        }
    };
    let lookup = match subject.recovery() {
        Recovery::ClientId | Recovery::Marker => lookup,
        Recovery::None => AdoptRequest {
            owned: everybody
                .iter()
                .map(|view| SessionId::new(view.id.as_str()))
                .collect(),
            ..lookup
        },
    };
    assert_eq!(found(bench.look_up(lookup).await), [(ours, attempt)]);
}

/// Between two passes: somebody launches a session, and somebody removes the one that the scan would have gone on from, or one that it has not
/// reached.
async fn unsettle(
    bench: &Bench,
    crowd: &[SessionView],
    passes: usize,
    state: &ScanState,
    removed: &mut BTreeSet<String>,
) {
    // What arrived in the meantime gets to work, so that its first message can be read.
    bench.pass(Duration::from_secs(1));
    if !passes.is_multiple_of(3) || removed.len() >= 4 {
        return;
    }
    bench
        .launch(&bench.attempt(&format!("newcomer-{passes}"), 1))
        .await;
    let position = state.next.as_ref().map(|token| token.0.clone());
    let next = position
        .filter(|id| passes.is_multiple_of(2) && crowd.iter().any(|view| view.id == *id))
        .unwrap_or_else(|| crowd[passes].id.clone());
    if bench.remove(&next).await {
        removed.insert(next);
    }
}

async fn where_one_of_five_hundred_cannot_be_read_absent_is_never_said(subject: Subject) {
    let (bench, hidden) = crowded(subject).await;
    let mut lookup = searching(&bench).await;
    // With a key of ours, so that it takes a look at every provider to tell whose it is.
    lookup.keys = vec![bench.attempt(&format!("stranger-{MIDDLE}"), 1).key];
    let when = Matcher {
        path_contains: Some(hidden.as_str().to_owned()),
        ..Matcher::default()
    };
    let fault = FaultKind::ErrorBefore {
        status: 503,
        code: "upstream_error".into(),
    };
    bench.always(when, fault);
    for _ in 0..40 {
        match bench.provider.adopt(&lookup).await {
            Ok(AdoptAnswer::Inconclusive { resume, .. }) => lookup.resume = resume,
            Ok(AdoptAnswer::Unknowable) => assert_eq!(subject.recovery(), Recovery::None),
            // Our id itself cannot be looked up.
            Err(_) => assert_eq!(subject.recovery(), Recovery::ClientId),
            other => panic!("{other:?}"),
        }
    }
    bench.simulator.clear_faults();
    lookup.resume = None;
    match subject.recovery() {
        Recovery::Marker if !subject.is_found_by_name() => {
            assert_eq!(bench.look_up(lookup).await, AdoptAnswer::Absent);
        }
        Recovery::ClientId | Recovery::Marker => {
            assert_eq!(found(bench.look_up(lookup).await)[0].0, hidden);
        }
        Recovery::None => assert_eq!(bench.look_up(lookup).await, AdoptAnswer::Unknowable),
    }
}
