//! Reporting as tables, and as a life in which everything fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::{
    CodeSessionSpec, CodeSessionStatus, ConditionStatus, Reason, ReportOutcome, SessionPhase,
    WebhookSpec,
};
use crate::domain::timing::Timing;

const UID: &str = "uid-1";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn webhook(url: &str) -> WebhookSpec {
    WebhookSpec {
        url: url.to_owned(),
        secret_ref: None,
    }
}

fn spec(webhook: Option<WebhookSpec>) -> CodeSessionSpec {
    let spec = json!({"agentRef": {"name": "a"}, "prompt": "Do it"});
    CodeSessionSpec {
        webhook,
        ..serde_json::from_value(spec).unwrap()
    }
}

fn status(phase: SessionPhase) -> CodeSessionStatus {
    CodeSessionStatus {
        phase,
        ..CodeSessionStatus::default()
    }
}

fn answered(code: u16) -> Attempt {
    Attempt::Answered {
        code,
        retry_after: None,
    }
}

/// A session that reports.
struct Given {
    spec: CodeSessionSpec,
    status: CodeSessionStatus,
    timing: Timing,
}

impl Given {
    fn new(phase: SessionPhase) -> Self {
        Self {
            spec: spec(Some(webhook("https://hooks.example.com/1"))),
            status: status(phase),
            timing: Timing::default(),
        }
    }

    /// The session goes on, and that is stored.
    fn go_on(&mut self, change: impl FnOnce(&mut CodeSessionStatus)) {
        let before = state_of(&self.status);
        follow_manifests(&mut self.status, &self.spec, None);
        change(&mut self.status);
        number_state(&mut self.status, &before);
    }

    fn due(&self, at: i64) -> Due {
        due(UID, &self.spec, &self.status, later(at), &self.timing)
    }

    fn report(&self, at: i64) -> Report {
        match self.due(at) {
            Due::Now(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    fn attempt(&mut self, at: i64, attempt: &Attempt) -> Report {
        let report = self.report(at);
        let before = self.status.webhook.as_ref();
        let after = recorded(before, &report, attempt, later(at), (&self.timing, 0.0));
        self.status.webhook = Some(after);
        report
    }

    fn outcome(&self) -> Option<ReportOutcome> {
        self.status.webhook.as_ref()?.outcome
    }
}

#[test]
fn a_change_is_reported_once_and_what_is_no_change_never() {
    let mut given = Given::new(SessionPhase::Pending);
    assert_eq!(given.due(0), Due::Nothing, "that it waits is nothing");
    given.go_on(|status| status.phase = SessionPhase::Running);
    let first = given.attempt(1, &answered(204));
    assert_eq!((first.sequence, first.attempts), (1, 0));
    assert_eq!(first.changed, [Change::Phase]);
    assert_eq!(given.due(2), Due::Nothing);
    given.go_on(|status| status.started_at = Some(later(2)));
    assert_eq!(given.due(2), Due::Nothing, "a time is no change");
    given.go_on(|status| {
        let pull_request = json!({"url": "https://github.com/acme/app/pull/1"});
        status.pull_request = serde_json::from_value(pull_request).unwrap();
        status.phase = SessionPhase::Finished;
    });
    let second = given.attempt(3, &answered(200));
    assert_eq!(second.sequence, 2);
    assert_eq!(second.changed, [Change::Phase, Change::PullRequest]);
    assert_ne!(first.id, second.id);
    assert_eq!(given.due(4), Due::Nothing);
    given.spec.webhook = None;
    given.go_on(|status| status.phase = SessionPhase::Error);
    assert_eq!(given.due(4), Due::Nothing, "there is no webhook");
}

#[test]
fn a_report_keeps_its_id_and_its_age_until_the_session_goes_on() {
    let mut given = Given::new(SessionPhase::Running);
    let first = given.attempt(0, &Attempt::Failed("no answer".to_owned()));
    assert_eq!(given.outcome(), Some(ReportOutcome::Retrying));
    assert_eq!(given.due(9), Due::Later(Duration::from_secs(1)));
    let second = given.attempt(10, &answered(500));
    assert_eq!((&second.id, second.attempts), (&first.id, 1));
    assert_eq!(second.first_attempt_at, Some(start()));
    assert_eq!(given.due(10), Due::Later(Duration::from_secs(30)));
    // The newest state is never kept waiting by an older one.
    given.go_on(|status| status.phase = SessionPhase::Finished);
    let third = given.report(11);
    assert_ne!(third.id, first.id);
    assert_eq!((third.sequence, third.attempts), (2, 0));
    assert_eq!(third.first_attempt_at, None);
    assert_eq!(third.changed, [Change::Phase]);
}

#[test]
fn attempts_come_after_growing_waits_and_end_after_a_day() {
    let mut given = Given::new(SessionPhase::Finished);
    let (mut at, mut waits) = (0, Vec::new());
    let attempts = loop {
        given.attempt(at, &answered(500));
        match given.due(at) {
            Due::Later(wait) => {
                waits.push(wait.as_secs());
                at += i64::try_from(wait.as_secs()).unwrap();
            }
            Due::Nothing => break waits.len() + 1,
            Due::Now(report) => panic!("{report:?}"),
        }
    };
    assert_eq!(waits[..8], [10, 30, 90, 270, 810, 2430, 7200, 7200]);
    assert!(attempts < 25, "{attempts}");
    assert!(at >= 24 * 3600, "{at}");
    assert_eq!(given.outcome(), Some(ReportOutcome::Undelivered));
    assert_eq!(given.status.webhook.as_ref().unwrap().undelivered, 1);
    // The next change is reported, and so is this one to another webhook.
    let own = given
        .spec
        .webhook
        .replace(webhook("https://hooks.example.com/2"));
    let again = given.report(at);
    assert_eq!((again.sequence, again.attempts), (1, 0));
    assert_eq!(again.changed, [Change::Phase]);
    given.spec.webhook = own;
    assert_eq!(given.due(at), Due::Nothing);
    given.go_on(|status| status.phase = SessionPhase::Error);
    assert_eq!(given.report(at).sequence, 2);
}

/// A clock that jumps by a year, or back, gives nothing up and keeps nothing waiting.
#[test]
fn a_wrong_clock_neither_ends_a_report_nor_holds_it() {
    let mut given = Given::new(SessionPhase::Finished);
    given.attempt(0, &answered(500));
    let year = 365 * 24 * 3600;
    given.attempt(year, &answered(500));
    assert_eq!(given.outcome(), Some(ReportOutcome::Retrying));
    match given.due(0) {
        Due::Later(wait) => assert!(wait <= given.timing.webhook_wait_max * 6 / 5, "{wait:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_receiver_asks_for_is_believed_within_limits() {
    for (code, asked, wait) in [
        (429, 100, 100),
        (503, 100, 100),
        (503, 1, 10),
        (429, 10_000_000, 7200),
        // Another status says nothing of when to come again.
        (500, 100, 10),
    ] {
        let mut given = Given::new(SessionPhase::Running);
        let attempt = Attempt::Answered {
            code,
            retry_after: Some(Duration::from_secs(asked)),
        };
        given.attempt(0, &attempt);
        assert_eq!(
            given.due(0),
            Due::Later(Duration::from_secs(wait)),
            "{code}"
        );
    }
}

#[test]
fn after_410_nothing_is_reported_until_the_webhook_is_another() {
    let mut given = Given::new(SessionPhase::Running);
    given.attempt(0, &answered(410));
    let (status, reason, _) = delivered_condition(given.status.webhook.as_ref());
    assert_eq!(
        (status, reason),
        (ConditionStatus::False, Reason::WebhookGone)
    );
    given.go_on(|status| status.phase = SessionPhase::Finished);
    assert_eq!(given.due(1), Due::Nothing);
    let other = WebhookSpec {
        secret_ref: Some(serde_json::from_value(json!({"name": "a", "key": "b"})).unwrap()),
        ..webhook("https://hooks.example.com/1")
    };
    given.spec.webhook = Some(other);
    assert_eq!(given.report(2).sequence, 2);
    given.attempt(2, &answered(200));
    assert_eq!(given.outcome(), Some(ReportOutcome::Delivered));
}

#[test]
fn a_redirect_is_refused_and_says_what_to_do() {
    let mut given = Given::new(SessionPhase::Running);
    given.attempt(0, &answered(307));
    let (_, reason, message) = delivered_condition(given.status.webhook.as_ref());
    assert_eq!(reason, Reason::WebhookFailing);
    assert_eq!(
        message,
        "the webhook does not take the report of the newest change: it answered 307, and redirects are not followed: set the webhook's url to where it leads; tried once, next try at 2026-01-01T00:00:10Z"
    );
}

/// The agent's webhook is followed until the launch is claimed, and kept from then on, with or without its agent.
#[test]
fn a_session_keeps_the_webhook_that_it_was_launched_with() {
    let own = spec(None);
    let (one, two) = (
        webhook("https://hooks.example.com/1"),
        webhook("https://hooks.example.com/2"),
    );
    let mut status = status(SessionPhase::Pending);
    let url = |status: &CodeSessionStatus, spec: &CodeSessionSpec| {
        webhook_of(spec, Some(status)).map(|found| found.url.clone())
    };
    follow_manifests(&mut status, &own, Some(Some(&one)));
    assert_eq!(url(&status, &own), Some(one.url.clone()));
    follow_manifests(&mut status, &own, None);
    assert_eq!(url(&status, &own), Some(one.url.clone()));
    follow_manifests(&mut status, &own, Some(Some(&two)));
    assert_eq!(url(&status, &own), Some(two.url.clone()));
    status.launch = serde_json::from_value(json!({
        "key": "k", "attempt": 1, "claimId": "c", "posts": 1, "state": "Confirmed",
        "claimedAt": "2026-01-01T00:00:00Z", "notAfter": "2026-01-01T00:00:20Z",
        "target": {"kind": "cursor", "apiVersion": "v1", "endpoint": "e", "account": "a", "secretRef": "s/k"},
        "requestDigest": "d",
    }))
    .unwrap();
    follow_manifests(&mut status, &own, Some(Some(&one)));
    assert_eq!(url(&status, &own), Some(two.url.clone()));
    let own = spec(Some(one.clone()));
    assert_eq!(url(&status, &own), Some(one.url));
    // Where there is none, nothing is stored.
    let mut bare = status.clone();
    bare.launch = None;
    follow_manifests(&mut bare, &spec(None), Some(None));
    assert_eq!(bare.webhook, None);
}

fn subject<'a>() -> Subject<'a> {
    Subject {
        namespace: "team-a",
        name: "fix-login",
        uid: UID,
        agent: "bug-fixer",
    }
}

fn full_status() -> CodeSessionStatus {
    serde_json::from_value(json!({
        "phase": "Finished", "observedGeneration": 1,
        "conditions": [{
            "type": "Succeeded", "status": "False", "reason": "ProviderError",
            "message": "tests fail", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "provider": {"kind": "cursor", "sessionId": "bc-1", "sessionURL": "https://cursor.com/agents/bc-1"},
        "pullRequest": {"url": "https://github.com/acme/app/pull/1", "branch": "fix/login"},
        "links": {"recording": "https://example.com/r"},
        "messages": [
            {"name": "prompt", "phase": "Finished", "result": "the agent's words"},
            {"name": "more", "phase": "Finished"},
        ],
        "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:10:00Z",
    }))
    .unwrap()
}

#[test]
fn a_report_tells_who_and_what_and_no_more() {
    let mut given = Given::new(SessionPhase::Finished);
    given.status = full_status();
    let text = payload(subject(), &given.status, &given.report(0), start());
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        told,
        json!({
            "type": "codesession.changed",
            "timestamp": "2026-01-01T00:00:00Z",
            "data": {
                "namespace": "team-a", "name": "fix-login", "uid": UID, "agent": "bug-fixer",
                "sequence": 1,
                "changed": ["phase", "message", "pullRequest"],
                "phase": "Finished", "reason": "ProviderError", "text": "tests fail",
                "message": {"name": "more", "phase": "Finished"},
                "messages": [
                    {"name": "prompt", "phase": "Finished"}, {"name": "more", "phase": "Finished"},
                ],
                "pullRequest": {"url": "https://github.com/acme/app/pull/1", "branch": "fix/login"},
                "links": {"session": "https://cursor.com/agents/bc-1", "recording": "https://example.com/r"},
                "provider": "cursor", "providerSessionId": "bc-1",
                "blocked": false, "stalled": false, "archived": false, "truncated": false,
                "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:10:00Z",
            },
        })
    );
}

#[derive(Clone, Debug)]
enum Step {
    /// The session goes on.
    Phase(SessionPhase),
    /// The receiver has it, and answers; what it says may get lost on the way.
    Attempt { code: u16, heard: bool },
    /// The process ends after it has sent, before it has stored what came of it.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let phase = prop_oneof![
        Just(SessionPhase::Creating),
        Just(SessionPhase::Running),
        Just(SessionPhase::Finished),
        Just(SessionPhase::Error),
    ];
    let code = prop_oneof![Just(200_u16), Just(500), Just(503), Just(302)];
    let step = prop_oneof![
        phase.prop_map(Step::Phase),
        (code, any::<bool>()).prop_map(|(code, heard)| Step::Attempt { code, heard }),
        Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    /// Whatever fails: the receiver is told the newest state in the end, and never an older one after a newer one, also if it drops what it
    /// has had (by id).
    #[test]
    fn the_newest_state_arrives_and_never_an_older_one_after_it(steps in steps()) {
        let mut given = Given::new(SessionPhase::Pending);
        given.timing.webhook_patience = Duration::MAX;
        let mut states = vec![SessionPhase::Pending];
        // What the receiver got: id, number, and which of the states it was.
        let mut got: Vec<(String, i64, SessionPhase)> = Vec::new();
        let mut at = 0;
        let mut send = |given: &Given, at: i64| {
            let Due::Now(report) = given.due(at) else { return None };
            got.push((report.id.clone(), report.sequence, report.state.phase));
            Some(report)
        };
        for step in steps.into_iter().chain([Step::Attempt { code: 200, heard: true }]) {
            at += 3 * 3600;
            match step {
                Step::Phase(phase) => {
                    given.go_on(|status| status.phase = phase);
                    states.push(phase);
                }
                Step::Crash => drop(send(&given, at)),
                Step::Attempt { code, heard } => {
                    if let Some(report) = send(&given, at) {
                        let attempt = if heard { answered(code) } else { Attempt::Failed("lost".to_owned()) };
                        let before = given.status.webhook.as_ref();
                        let after = recorded(before, &report, &attempt, later(at), (&given.timing, 1.0));
                        given.status.webhook = Some(after);
                    }
                }
            }
        }
        let newest = *states.last().unwrap();
        let mut ids: Vec<&String> = got.iter().map(|(id, _, _)| id).collect();
        ids.dedup();
        let distinct: std::collections::BTreeSet<&String> = ids.iter().copied().collect();
        prop_assert_eq!(ids.len(), distinct.len(), "an id never comes back");
        if newest != SessionPhase::Pending {
            prop_assert_eq!(got.last().map(|(_, _, phase)| *phase), Some(newest));
            prop_assert_eq!(given.outcome(), Some(ReportOutcome::Delivered));
            prop_assert_eq!(given.due(at), Due::Nothing);
        }
        for pair in got.windows(2) {
            prop_assert!(pair[0].1 <= pair[1].1, "numbers never fall");
            // So whoever drops what he has had drops nothing new.
            prop_assert_eq!(pair[0].0 == pair[1].0, pair[0].1 == pair[1].1, "each number has its id");
        }
    }

    #[test]
    fn a_report_is_never_too_large(
        url in "[\"\\\\a-z😀]{0,2048}", text in "[\"\\\\\u{1}a-z😀]{0,1024}", messages in 0_usize..51,
    ) {
        let mut given = Given::new(SessionPhase::Running);
        let entry = |n: usize| json!({"name": format!("{n:0>63}"), "phase": "Finished"});
        given.status = serde_json::from_value(json!({
            "phase": "Error", "observedGeneration": 1,
            "conditions": [{
                "type": "Succeeded", "status": "False", "reason": "ProviderError", "message": text,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
            "provider": {"kind": "cursor", "sessionId": url, "sessionURL": url},
            "pullRequest": {"url": url, "branch": url},
            "links": {"recording": url, "trace": url, "preview": url},
            "messages": (0..messages).map(entry).collect::<Vec<_>>(),
        })).unwrap();
        let text = payload(subject(), &given.status, &given.report(0), start());
        prop_assert!(text.len() <= MOST_BYTES, "{}", text.len());
        let told: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&told["data"]["phase"], "Error");
        prop_assert_eq!(&told["data"]["uid"], UID);
    }
}
