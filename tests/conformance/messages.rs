//! Follow-up messages: what one sends, how its outcome is judged, and that a lookup afterwards tells the truth about it.

use std::time::Duration;

use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::image::Image;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, Capability, FollowUps, Found, MessageOutcome, MessageRecovery,
    MessageRequest, Messaged,
};
use codeagent_operator::providers::error::{ErrorClass, Sent, Subject as About};
use codeagent_operator::providers::http::{HttpSettings, REFUSING_STATUSES};
use codeagent_simulator::{FaultKind, Launch, LaunchFilter, LaunchKind, Matcher, OperationClass};

use crate::bench::{Bench, WORK, patient, reference};
use crate::launch::{Expected, expected};
use crate::provider_support::window;
use crate::subject::Subject;

contract!(
    whoever_says_that_it_takes_messages_does,
    an_accepted_message_is_one_post_and_its_answer_names_who_works_on_it,
    every_image_of_a_message_arrives_in_the_order_and_form_in_which_it_is_given,
    a_message_to_a_session_that_works_waits_or_is_refused_as_busy,
    an_archived_session_refuses_a_message_and_says_why,
    a_session_of_another_account_takes_no_message,
    whatever_goes_wrong_with_a_message_the_outcome_never_says_more_than_is_known,
    only_the_statuses_of_rule_1_refuse_a_message,
    a_success_that_says_nothing_leaves_the_message_unknown,
    a_closed_window_lets_no_message_out,
    a_message_that_nobody_answers_in_time_is_unknown,
    a_message_is_told_from_others_or_said_to_be_undecided,
    a_look_that_cannot_be_read_proves_nothing,
    what_is_there_before_a_message_is_short_and_holds_no_key,
);

/// A session that has ended and takes messages, where the provider does.
async fn ended(bench: &Bench) -> Option<(SessionId, &dyn FollowUps)> {
    let follow_ups = bench.provider.follow_ups()?;
    let session = bench.launch(&bench.request()).await.session_id;
    bench.pass(2 * WORK);
    assert!(bench.get(&session).await.phase.is_terminal());
    Some((session, follow_ups))
}

#[track_caller]
fn accepted(outcome: MessageOutcome) -> Messaged {
    match outcome {
        MessageOutcome::Accepted(messaged) => messaged,
        other => panic!("{other:?}"),
    }
}

/// The messages that the provider took.
fn taken(bench: &Bench) -> Vec<Launch> {
    bench.simulator.launches(&LaunchFilter {
        kind: Some(LaunchKind::Message),
        ..LaunchFilter::default()
    })
}

async fn whoever_says_that_it_takes_messages_does(subject: Subject) {
    let bench = Bench::new(subject).await;
    let can = subject.can(Capability::FollowUp);
    assert_eq!(bench.provider.follow_ups().is_some(), can);
    assert_eq!(subject.message_recovery().is_some(), can);
}

async fn an_accepted_message_is_one_post_and_its_answer_names_who_works_on_it(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let message = bench.message(&session, "more");
    let messaged = accepted(follow_ups.send(&message).await);
    assert!(!messaged.phase.is_terminal(), "{messaged:?}");

    let posts = bench.requests(OperationClass::FollowUp);
    let [post] = &posts[..] else {
        panic!("{posts:?}")
    };
    assert_eq!(post.method, "POST");
    assert_eq!(post.position_on_connection, 0, "a connection of its own");
    assert_eq!(
        post.idempotency_key, None,
        "no document promises that it has an effect"
    );
    let truth = bench.truth(&messaged.session_id);
    let newest = truth.prompts.last().unwrap();
    assert_eq!(newest.text, message.prompt, "word for word");
    if let Some(run) = &messaged.run_id {
        assert_eq!(newest.run.as_deref(), Some(run.as_str()));
    }
    // Compared is what is numbered.
    let compared = subject.message_recovery() == Some(MessageRecovery::Baseline);
    assert!(messaged.run_id.is_some() || !compared);

    bench.begin_work();
    let working = bench.get(&messaged.session_id).await;
    assert!(!working.phase.is_terminal(), "{working:?}");
    bench.pass(2 * WORK);
    assert!(bench.get(&messaged.session_id).await.phase.is_terminal());
}

async fn every_image_of_a_message_arrives_in_the_order_and_form_in_which_it_is_given(
    subject: Subject,
) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let mut message = bench.message(&session, "more");
    let mut reversed = message.images.clone();
    reversed.reverse();
    message.images.extend(reversed);
    accepted(follow_ups.send(&message).await);
    let taken = taken(&bench);
    let received = &taken[0].images;
    assert_eq!(received.len(), message.images.len());
    for (given, received) in message.images.iter().zip(received) {
        match given {
            Image::Url(url) => assert_eq!(received.url.as_ref(), Some(url)),
            Image::Data(data) => {
                assert_eq!(received.bytes, data.content().len());
                let size = (data.width().into(), data.height().into());
                assert_eq!(received.dimension, Some(size));
            }
        }
    }
}

async fn a_message_to_a_session_that_works_waits_or_is_refused_as_busy(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some(follow_ups) = bench.provider.follow_ups() else {
        return;
    };
    let session = bench.launch(&bench.request()).await.session_id;
    bench.begin_work();
    if let Err(error) = follow_ups.newest(&reference(&session)).await {
        assert_eq!(error.subject, Some(About::Busy), "{error}");
    }
    let message = bench.message(&session, "more");
    match follow_ups.send(&message).await {
        MessageOutcome::Accepted(_) => assert_eq!(taken(&bench).len(), 1),
        MessageOutcome::Rejected(error) => {
            assert_eq!(error.subject, Some(About::Busy), "{error}");
            assert!(taken(&bench).is_empty());
            bench.pass(2 * WORK);
            accepted(follow_ups.send(&message).await);
        }
        MessageOutcome::Unknown(error) => panic!("{error}"),
    }
    bench.pass(4 * WORK);
    let prompts = bench.truth(&session).prompts;
    assert_eq!(prompts.len(), 2, "{prompts:?}");
    assert_eq!(prompts[1].text, message.prompt);
    assert!(bench.get(&session).await.phase.is_terminal());
}

async fn an_archived_session_refuses_a_message_and_says_why(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let Some(archiving) = bench.provider.archiving() else {
        return;
    };
    archiving.archive(&session).await.unwrap();
    // A mapping has no word for it: nothing tells this refusal from another.
    if subject == Subject::Http {
        return;
    }
    let message = bench.message(&session, "more");
    let MessageOutcome::Rejected(error) = follow_ups.send(&message).await else {
        panic!()
    };
    assert_eq!(error.subject, Some(About::Archived), "{error}");
    assert!(taken(&bench).is_empty());
}

async fn a_session_of_another_account_takes_no_message(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, _)) = ended(&bench).await else {
        return;
    };
    let stranger = bench.stranger();
    let message = bench.message(&session, "more");
    let outcome = stranger.follow_ups().unwrap().send(&message).await;
    let MessageOutcome::Rejected(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    assert!(taken(&bench).is_empty());
}

/// Everything that the lookup says of a message that nobody has, or that somebody works on.
async fn assert_looked_up(bench: &Bench, session: &SessionId, lost: &AdoptRequest, arrived: bool) {
    let follow_ups = bench.provider.follow_ups().unwrap();
    let answer = follow_ups.find(&reference(session), lost).await.unwrap();
    if !arrived {
        assert_eq!(answer, AdoptAnswer::Absent);
        return;
    }
    let AdoptAnswer::Found(found) = answer else {
        panic!("{answer:?}")
    };
    let [Found { snapshot, .. }] = &found[..] else {
        panic!("{found:?}")
    };
    let taken = taken(bench);
    assert_eq!(snapshot.session_id.as_str(), taken[0].session);
    if bench.subject.message_recovery() == Some(MessageRecovery::Baseline) {
        let run = snapshot.run_id.as_ref().map(|run| run.as_str());
        assert_eq!(run, taken[0].run.as_deref());
    }
}

async fn whatever_goes_wrong_with_a_message_the_outcome_never_says_more_than_is_known(
    subject: Subject,
) {
    let late = Duration::from_secs(60);
    let error = |status, code: &str| FaultKind::ErrorBefore {
        status,
        code: code.to_owned(),
    };
    let after = |status| FaultKind::ErrorAfter {
        status,
        code: "upstream_error".into(),
    };
    for fault in [
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        FaultKind::Delay {
            by: Duration::from_millis(20),
        },
        FaultKind::LateCommit {
            after: late,
            close_after: Duration::from_millis(20),
        },
        error(400, "validation_error"),
        error(403, "forbidden"),
        error(409, "some_conflict"),
        error(500, "internal_error"),
        after(502),
        after(504),
        after(409),
        FaultKind::RateLimited {
            retry_after: Some(7),
        },
        FaultKind::Respond {
            status: 502,
            headers: vec![("content-type".into(), "text/html".into())],
            body: "<html><body>Bad Gateway</body></html>".into(),
        },
        FaultKind::TruncatedBody,
        FaultKind::HugeBody { bytes: 300 << 10 },
    ] {
        let expected = expected(&fault);
        let bench = Bench::new(subject).await;
        let Some((session, follow_ups)) = ended(&bench).await else {
            return;
        };
        let lost = bench.message_lookup(&session, "more").await;
        bench.fault(OperationClass::FollowUp, fault.clone());
        let outcome = follow_ups.send(&bench.message(&session, "more")).await;
        let agreed = match &outcome {
            MessageOutcome::Accepted(_) => expected == Expected::Accepted,
            MessageOutcome::Rejected(_) => expected == Expected::Rejected,
            MessageOutcome::Unknown(error) => {
                assert_eq!(error.sent, Sent::Possibly, "{fault:?}");
                !matches!(expected, Expected::Accepted | Expected::Rejected)
            }
        };
        assert!(agreed, "{fault:?} is {expected:?}: {outcome:?}");
        let posts = bench.requests(OperationClass::FollowUp).len();
        assert_eq!(posts, 1, "sent once");
        let arrived = matches!(expected, Expected::Accepted | Expected::Started);
        assert_eq!(taken(&bench).len(), usize::from(arrived), "{fault:?}");
        // After a 429 nothing may be asked for a while.
        if expected == Expected::Rejected {
            continue;
        }
        bench.begin_work();
        assert_looked_up(&bench, &session, &lost, arrived).await;
        if expected == Expected::StartedLater {
            bench.pass(late);
            assert_looked_up(&bench, &session, &lost, true).await;
        }
    }
}

async fn only_the_statuses_of_rule_1_refuse_a_message(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    for status in [
        400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 425, 429, 499, 500, 501, 502, 503,
        504, 599,
    ] {
        let code = match status {
            // A quota, because a rate limit would keep the next message from being sent at all.
            429 => "usage_limit_exceeded",
            _ => "some_code",
        };
        let fault = FaultKind::ErrorBefore {
            status,
            code: code.into(),
        };
        bench.fault(OperationClass::FollowUp, fault);
        let (error, refused) = match follow_ups.send(&bench.message(&session, "more")).await {
            MessageOutcome::Rejected(error) => (error, true),
            MessageOutcome::Unknown(error) => (error, false),
            MessageOutcome::Accepted(messaged) => panic!("{status}: {messaged:?}"),
        };
        assert_eq!(error.status, Some(status));
        assert_eq!(error.code.as_deref(), Some(code));
        assert_eq!(refused, REFUSING_STATUSES.contains(&status), "{status}");
    }
    assert!(taken(&bench).is_empty());
}

async fn a_success_that_says_nothing_leaves_the_message_unknown(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    for (status, body) in [
        (200, ""),
        (200, "null"),
        (200, "[]"),
        (200, "{}"),
        (201, "true"),
        (201, "\u{feff}not json"),
        (201, r#"{"id":7,"run":{"id":["run-1"]},"message_id":null}"#),
        // An id that would lead elsewhere in a URL.
        (
            201,
            r#"{"id":"../me","run":{"id":"../me"},"message_id":"../me"}"#,
        ),
        (
            202,
            r#"{"id":"bc-1","run":{"id":"run-1"},"message_id":"m-1"}"#,
        ),
        (204, ""),
        (302, ""),
        (
            307,
            r#"{"id":"bc-1","run":{"id":"run-1"},"message_id":"m-1"}"#,
        ),
    ] {
        let fault = FaultKind::Respond {
            status,
            headers: vec![("location".into(), "https://example.com/".into())],
            body: body.into(),
        };
        bench.fault(OperationClass::FollowUp, fault);
        let outcome = follow_ups.send(&bench.message(&session, "more")).await;
        assert!(
            matches!(outcome, MessageOutcome::Unknown(_)),
            "{status} {body}: {outcome:?}"
        );
    }
    assert!(taken(&bench).is_empty());
}

async fn a_closed_window_lets_no_message_out(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let closed = MessageRequest {
        window: window(Duration::ZERO),
        ..bench.message(&session, "more")
    };
    let expired = {
        let mut message = bench.message(&session, "more");
        message.window.not_after = jiff::Timestamp::now();
        message
    };
    for late in [closed, expired] {
        let MessageOutcome::Rejected(error) = follow_ups.send(&late).await else {
            panic!()
        };
        assert_eq!(
            (error.class, error.sent),
            (ErrorClass::Timeout, Sent::Nothing)
        );
    }
    assert!(bench.requests(OperationClass::FollowUp).is_empty());
}

async fn a_message_that_nobody_answers_in_time_is_unknown(subject: Subject) {
    let settings = HttpSettings {
        post_timeout: Duration::from_secs(2),
        ..patient()
    };
    let bench = Bench::with(subject, |_| {}, settings).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let lost = bench.message_lookup(&session, "more").await;
    let fault = FaultKind::Delay {
        by: Duration::from_secs(60),
    };
    bench.fault(OperationClass::FollowUp, fault);
    let message = bench.message(&session, "more");
    let MessageOutcome::Unknown(error) = follow_ups.send(&message).await else {
        panic!()
    };
    assert_eq!(
        (error.class, error.sent),
        (ErrorClass::Timeout, Sent::Possibly)
    );
    bench.begin_work();
    assert_looked_up(&bench, &session, &lost, true).await;
}

/// Another message that was sent to the same session, by whomever.
async fn a_message_is_told_from_others_or_said_to_be_undecided(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let lost = bench.message_lookup(&session, "more").await;
    bench.fault(OperationClass::FollowUp, FaultKind::DropAfter);
    let outcome = follow_ups.send(&bench.message(&session, "more")).await;
    assert!(matches!(outcome, MessageOutcome::Unknown(_)), "{outcome:?}");
    let ours = taken(&bench)[0].clone();
    bench.pass(2 * WORK);
    let at = SessionId::new(&ours.session);
    accepted(follow_ups.send(&bench.message(&at, "another")).await);
    bench.begin_work();
    let answer = follow_ups.find(&reference(&session), &lost).await.unwrap();
    match subject.message_recovery().unwrap() {
        MessageRecovery::Marker => {
            let AdoptAnswer::Found(found) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].snapshot.session_id.as_str(), ours.session);
        }
        // Which of the two is ours nobody can tell.
        MessageRecovery::Baseline => {
            assert!(
                matches!(answer, AdoptAnswer::Ambiguous { .. }),
                "{answer:?}"
            );
        }
    }
}

async fn a_look_that_cannot_be_read_proves_nothing(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let lost = bench.message_lookup(&session, "more").await;
    bench.fault(OperationClass::FollowUp, FaultKind::DropAfter);
    let outcome = follow_ups.send(&bench.message(&session, "more")).await;
    assert!(matches!(outcome, MessageOutcome::Unknown(_)), "{outcome:?}");
    bench.begin_work();
    let respond = |status, body: &str| FaultKind::Respond {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    };
    let array = |member: &str| FaultKind::HugeArray {
        member: member.to_owned(),
        items: 200_000,
        item: serde_json::json!({}),
    };
    for fault in [
        respond(200, "<html>Welcome</html>"),
        respond(200, "{}"),
        respond(200, "[]"),
        respond(200, "null"),
        respond(404, "<html>not here</html>"),
        respond(503, ""),
        FaultKind::TruncatedBody,
        FaultKind::HugeBody { bytes: 300 << 10 },
        array("items"),
        array("messages"),
        array("agents"),
    ] {
        bench.simulator.clear_faults();
        bench.always(Matcher::any(), fault.clone());
        let answer = follow_ups.find(&reference(&session), &lost).await;
        assert!(
            !matches!(
                answer,
                Ok(AdoptAnswer::Absent | AdoptAnswer::Foreign { .. })
            ),
            "{fault:?}: {answer:?}"
        );
    }
    bench.simulator.clear_faults();
    assert_looked_up(&bench, &session, &lost, true).await;
}

async fn what_is_there_before_a_message_is_short_and_holds_no_key(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some((session, follow_ups)) = ended(&bench).await else {
        return;
    };
    let before = follow_ups.newest(&reference(&session)).await.unwrap();
    let compared = subject.message_recovery() == Some(MessageRecovery::Baseline);
    assert_eq!(before.is_some(), compared);
    if let Some(before) = before {
        assert!(
            before.len() <= 4096 && !before.contains("canary"),
            "{before}"
        );
        accepted(follow_ups.send(&bench.message(&session, "more")).await);
        bench.pass(2 * WORK);
        let after = follow_ups.newest(&reference(&session)).await.unwrap();
        assert_ne!(after, Some(before));
    }
}
