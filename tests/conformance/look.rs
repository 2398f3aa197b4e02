//! Following a session: what a look and the list tell, from the launch to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::snapshot::{Links, RemotePhase, Snapshot};
use codeagent_operator::providers::contract::{
    Capability, ItemDetail, ListItem, PageToken, SessionRef,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_simulator::{FaultKind, Matcher, OperationClass, Outcome, Script, ScriptRule};

use crate::bench::{Bench, STAGE, WORK, reference};
use crate::subject::Subject;

contract!(
    every_documented_status_has_its_phase,
    any_other_status_is_shown_short_and_decides_nothing,
    a_session_is_followed_to_every_end,
    a_finished_session_tells_what_the_capabilities_promise,
    an_unknown_session_is_not_found,
    a_session_of_another_account_is_not_found,
    the_list_names_every_session_once_and_agrees_with_a_look,
    a_hint_changes_when_the_session_does,
);

async fn every_documented_status_has_its_phase(subject: Subject) {
    let bench = Bench::new(subject).await;
    let id = bench.launch(&bench.request()).await.session_id;
    // With the run, where there is one: of an agent the documents name other statuses.
    let session = SessionRef {
        run_id: bench.get(&id).await.run_id,
        ..reference(&id)
    };
    for (status, phase) in subject.documented_statuses() {
        let value = (*status).to_owned();
        bench.fault(OperationClass::Get, FaultKind::UnknownStatus { value });
        let snapshot = bench.provider.get(&session).await.unwrap();
        assert_eq!(
            (snapshot.phase, snapshot.raw_status.as_str()),
            (*phase, *status)
        );
    }
}

async fn any_other_status_is_shown_short_and_decides_nothing(subject: Subject) {
    let bench = Bench::new(subject).await;
    let id = bench.launch(&bench.request()).await.session_id;
    let long = "X".repeat(10_000);
    for (status, shown) in [
        ("HIBERNATING", "HIBERNATING"),
        ("hiber\u{1b}nating\n", "hibernating"),
        ("Finished", "Finished"),
        ("FINISHED ", "FINISHED "),
        ("", ""),
        (&long, &long[..64]),
    ] {
        let value = status.to_owned();
        bench.always(
            Matcher::class(OperationClass::Get),
            FaultKind::UnknownStatus { value },
        );
        let snapshot = bench.get(&id).await;
        assert_eq!(
            (snapshot.phase, snapshot.raw_status.as_str()),
            (RemotePhase::Unrecognised, shown)
        );
        bench.simulator.clear_faults();
    }
}

async fn a_session_is_followed_to_every_end(subject: Subject) {
    let phases: BTreeMap<&str, RemotePhase> =
        subject.documented_statuses().iter().copied().collect();
    for outcome in [
        Outcome::Finished,
        Outcome::Error,
        Outcome::Expired,
        Outcome::Cancelled,
        Outcome::Never,
    ] {
        let bench = Bench::new(subject).await;
        bench.simulator.script(ScriptRule {
            script: Script {
                outcome: Some(outcome),
                ..Script::default()
            },
            ..ScriptRule::default()
        });
        let id = bench.launch(&bench.request()).await.session_id;
        let mut seen = Vec::new();
        for step in [Duration::ZERO, STAGE, STAGE, STAGE, WORK, WORK] {
            bench.pass(step);
            let snapshot = bench.get(&id).await;
            let truth = bench.truth(&id);
            assert_eq!(snapshot.raw_status, truth.status);
            assert_eq!(snapshot.phase, phases[truth.status.as_str()], "{truth:?}");
            assert_eq!(snapshot.phase.is_terminal(), !truth.active, "{truth:?}");
            seen.push(snapshot.phase);
        }
        seen.dedup();
        let end = match outcome {
            Outcome::Finished => Some(RemotePhase::Finished),
            Outcome::Error => Some(RemotePhase::Error),
            // Which word stands for them differs; that it is an end does not.
            Outcome::Expired | Outcome::Cancelled => seen.last().copied(),
            Outcome::Never => None,
        };
        let course = [RemotePhase::Creating, RemotePhase::Running].into_iter();
        assert_eq!(seen, course.chain(end).collect::<Vec<_>>(), "{outcome:?}");
    }
}

async fn a_finished_session_tells_what_the_capabilities_promise(subject: Subject) {
    let bench = Bench::new(subject).await;
    bench.simulator.script(ScriptRule {
        script: Script {
            result: Some("Done ✓".into()),
            ..Script::default()
        },
        ..ScriptRule::default()
    });
    let id = bench.launch(&bench.request()).await.session_id;
    bench.pass(2 * WORK);
    let snapshot = bench.get(&id).await;
    assert_eq!(snapshot.session_id, id);
    let truth = bench.truth(&id);
    assert_eq!(snapshot.pull_request_url, truth.pull_request);
    assert_eq!(
        snapshot.pull_request_url.is_some(),
        subject.can(Capability::AutoCreatePullRequest)
    );
    assert_eq!(
        snapshot.branch.is_some(),
        subject.can(Capability::AutoCreatePullRequest)
    );
    let said = snapshot.result.as_deref();
    assert_eq!(said, subject.can(Capability::Result).then_some("Done ✓"));
    assert_eq!(snapshot.usage.is_some(), subject.can(Capability::Usage));
    let cost = snapshot.usage.and_then(|usage| usage.cost_cents);
    assert_eq!(cost.is_some(), subject.can(Capability::Cost));
    let left = snapshot.links != Links::default();
    assert_eq!(left, subject.can(Capability::Links));
    assert_eq!(snapshot.error, None);
}

/// Ids that look like the provider's own.
fn well_formed(id: &SessionId) -> SessionId {
    let text = id.as_str();
    let last = match text.chars().last() {
        Some('0') => '1',
        _ => '0',
    };
    SessionId::new(format!("{}{last}", &text[..text.len() - 1]))
}

async fn an_unknown_session_is_not_found(subject: Subject) {
    let bench = Bench::new(subject).await;
    let known = bench.launch(&bench.request()).await.session_id;
    let error = bench
        .provider
        .get(&reference(&well_formed(&known)))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
}

async fn a_session_of_another_account_is_not_found(subject: Subject) {
    let bench = Bench::new(subject).await;
    let known = bench.launch(&bench.request()).await.session_id;
    let error = bench.stranger().get(&reference(&known)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
}

/// Every page, one after the other.
async fn all_pages(bench: &Bench) -> Vec<ListItem> {
    let (mut items, mut next, mut seen) = (Vec::new(), None::<PageToken>, BTreeSet::new());
    loop {
        let page = bench.list(next.as_ref()).await.unwrap();
        items.extend(page.items);
        match page.next {
            None => return items,
            Some(token) => {
                assert!(seen.insert(token.clone()), "{token:?} leads round");
                next = Some(token);
            }
        }
    }
}

async fn the_list_names_every_session_once_and_agrees_with_a_look(subject: Subject) {
    let bench = Bench::new(subject).await;
    let mut launched = Vec::new();
    for number in 0..5 {
        launched.push(
            bench
                .launch(&bench.attempt(&format!("uid-{number}"), 1))
                .await
                .session_id,
        );
        bench.pass(STAGE);
    }
    bench.always(
        Matcher::class(OperationClass::List),
        FaultKind::SmallPages { items: 2 },
    );
    let items = all_pages(&bench).await;
    if !subject.can(Capability::List) {
        assert!(items.is_empty());
        assert!(bench.requests(OperationClass::List).is_empty());
        return;
    }
    let mut listed: Vec<SessionId> = items.iter().map(|item| item.session_id.clone()).collect();
    listed.sort();
    launched.sort();
    assert_eq!(listed, launched);
    for item in items {
        let truth = bench.truth(&item.session_id);
        if let Some(created) = item.created_at {
            match subject {
                // It tells whole seconds.
                Subject::Http => assert_eq!(created.as_second(), truth.created_at.as_second()),
                _ => assert_eq!(created.as_millisecond(), truth.created_at.as_millisecond()),
            }
        }
        match item.detail {
            ItemDetail::Full(listed) => {
                let looked = bench.get(&item.session_id).await;
                assert_eq!(
                    (listed.phase, &listed.raw_status, &listed.branch),
                    (looked.phase, &looked.raw_status, &looked.branch)
                );
                if subject.lists_everything() {
                    let but_preview = Snapshot {
                        links: Links {
                            preview: None,
                            ..looked.links
                        },
                        ..looked
                    };
                    assert_eq!(*listed, but_preview, "nothing else is left to ask for");
                }
            }
            ItemDetail::Hint(hint) => assert!(!subject.lists_everything(), "{hint}"),
        }
    }
}

async fn a_hint_changes_when_the_session_does(subject: Subject) {
    let bench = Bench::new(subject).await;
    bench.launch(&bench.request()).await;
    let mut seen = Vec::new();
    for step in [Duration::ZERO, 3 * STAGE, WORK] {
        bench.pass(step);
        let page = bench.list(None).await.unwrap();
        seen.extend(page.items.into_iter().map(|item| match item.detail {
            ItemDetail::Hint(hint) => hint,
            ItemDetail::Full(snapshot) => format!("{:?}", snapshot.phase),
        }));
    }
    if !subject.can(Capability::List) {
        assert!(seen.is_empty());
        return;
    }
    // From creating over running to the end; what did not change would never be looked at.
    assert_eq!(seen.len(), 3);
    assert_ne!(seen[1], seen[2]);
}
