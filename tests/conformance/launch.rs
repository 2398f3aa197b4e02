//! The paid call: what a launch sends, how its outcome is judged, and that a lookup afterwards tells the truth about it.

use std::time::Duration;

use codeagent_operator::domain::image::Image;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, Capability, LaunchOutcome, LaunchRequest, ProviderWebhook, Recovery,
};
use codeagent_operator::providers::error::{ErrorClass, Sent};
use codeagent_operator::providers::http::{HttpSettings, REFUSING_STATUSES};
use codeagent_simulator::{FaultKind, LaunchFilter, OperationClass};

use crate::bench::{Bench, STAGE, found, patient};
use crate::provider_support::{REPOSITORY, window};
use crate::subject::Subject;

contract!(
    an_accepted_launch_is_one_post_and_its_answer_names_the_session,
    a_provider_that_reports_is_told_where_and_no_error_shows_it,
    every_image_arrives_in_the_order_and_form_in_which_it_is_given,
    whatever_goes_wrong_the_outcome_never_says_more_than_is_known,
    only_the_statuses_of_rule_1_are_refusals,
    a_success_that_names_no_session_leaves_the_launch_unknown,
    a_closed_window_lets_nothing_out,
    a_launch_that_nobody_answers_in_time_is_unknown,
    a_launch_that_is_given_up_is_not_sent_later,
);

async fn an_accepted_launch_is_one_post_and_its_answer_names_the_session(subject: Subject) {
    let bench = Bench::new(subject).await;
    let request = bench.request();
    let launched = bench.launch(&request).await;
    assert_eq!(launched.phase, RemotePhase::Creating);
    assert!(launched.url.is_none_or(|url| url.starts_with("https://")));

    let posts = bench.requests(OperationClass::Launch);
    let [post] = &posts[..] else {
        panic!("{posts:?}")
    };
    assert_eq!(post.method, "POST");
    assert_eq!(post.position_on_connection, 0, "a connection of its own");
    assert_eq!(
        post.idempotency_key, None,
        "no document promises that it has an effect"
    );
    assert_eq!(post.session.as_deref(), Some(launched.session_id.as_str()));

    let truth = bench.truth(&launched.session_id);
    if subject.can(Capability::Prompt) {
        assert_eq!(truth.prompts[0].text, request.prompt, "word for word");
    } else {
        assert_eq!(Some(&truth.prompts[0].text), request.issue.as_ref());
    }
    if subject.can(Capability::Repository) {
        assert_eq!(truth.repository.as_deref(), Some(REPOSITORY));
    }
    let has_our_id = launched
        .session_id
        .as_str()
        .ends_with(request.key.as_uuid());
    assert_eq!(has_our_id, subject.recovery() == Recovery::ClientId);
}

async fn a_provider_that_reports_is_told_where_and_no_error_shows_it(subject: Subject) {
    let bench = Bench::new(subject).await;
    let can = subject.can(Capability::Webhooks);
    assert!(!can || subject.registered().deliveries().is_some());
    let without = bench.launch(&bench.request()).await;
    assert_eq!(bench.truth(&without.session_id).webhook, None);
    if !can {
        return;
    }
    let webhook = ProviderWebhook {
        url: "https://hooks.example.com/provider-webhooks/uid/0123456789abcdef".to_owned(),
        secret: "0123456789abcdef".repeat(4).into(),
    };
    let request = LaunchRequest {
        webhook: Some(webhook.clone()),
        ..bench.attempt("uid-2", 1)
    };
    let told = bench.launch(&request).await;
    let told = bench.truth(&told.session_id).webhook.unwrap();
    assert_eq!(told.url, webhook.url);
    // Flapjack signs nothing, and is told no secret.
    let signs = subject
        .registered()
        .deliveries()
        .unwrap()
        .signature
        .is_some();
    let secret = signs.then(|| webhook.secret.to_string());
    assert_eq!(told.secret, secret);
    let echo = format!("no: {} {}", webhook.url, secret.unwrap_or_default());
    let body = serde_json::json!({"error": {"code": "no", "message": echo}, "detail": echo});
    bench.fault(
        OperationClass::Launch,
        FaultKind::Respond {
            status: 400,
            headers: Vec::new(),
            body: body.to_string(),
        },
    );
    let LaunchOutcome::Rejected(error) = bench.provider.launch(&request).await else {
        panic!("it is refused");
    };
    let shown = format!("{error} {error:?} {request:?}");
    for secret in [webhook.url.as_str(), webhook.secret.as_str()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

async fn every_image_arrives_in_the_order_and_form_in_which_it_is_given(subject: Subject) {
    let bench = Bench::new(subject).await;
    let mut request = bench.request();
    let mut reversed = request.images.clone();
    reversed.reverse();
    request.images.extend(reversed);
    bench.launch(&request).await;
    let launches = bench.simulator.launches(&LaunchFilter::default());
    let received = &launches[0].images;
    assert_eq!(received.len(), request.images.len());
    for (given, received) in request.images.iter().zip(received) {
        match given {
            Image::Url(url) => assert_eq!(received.url.as_ref(), Some(url)),
            Image::Data(data) => {
                assert_eq!(received.bytes, data.content().len());
                let size = (data.width().into(), data.height().into());
                assert_eq!(received.dimension, Some(size));
                let media_type = received.mime_type.as_deref();
                assert!(media_type.is_none_or(|it| it == data.format().media_type()));
            }
        }
    }
    let takes_urls = subject.can(Capability::ImageUrls);
    assert!(subject.can(Capability::Images) || !takes_urls);
    assert_eq!(received.iter().any(|image| image.url.is_some()), takes_urls);
}

/// What a paid request that meets a fault must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Accepted,
    Rejected,
    /// Unknown, and nothing was started.
    NothingStarted,
    /// Unknown, and a session was started.
    Started,
    /// Unknown, and a session is started later.
    StartedLater,
}

pub fn expected(fault: &FaultKind) -> Expected {
    match fault {
        FaultKind::DropBefore
        | FaultKind::Hang { .. }
        | FaultKind::SilentBefore
        | FaultKind::WebPage { .. }
        | FaultKind::Respond { .. } => Expected::NothingStarted,
        FaultKind::ErrorBefore { status, .. } | FaultKind::Refused { status, .. }
            if REFUSING_STATUSES.contains(status) =>
        {
            Expected::Rejected
        }
        FaultKind::ErrorBefore { .. } | FaultKind::Refused { .. } => Expected::NothingStarted,
        FaultKind::RateLimited { .. } => Expected::Rejected,
        FaultKind::DropAfter
        | FaultKind::SilentAfter
        | FaultKind::ErrorAfter { .. }
        | FaultKind::TruncatedBody
        | FaultKind::HugeBody { .. } => Expected::Started,
        FaultKind::LateCommit { .. } => Expected::StartedLater,
        FaultKind::Delay { .. }
        | FaultKind::UnknownStatus { .. }
        | FaultKind::HugeField { .. }
        | FaultKind::HugeArray { .. }
        | FaultKind::Echo { .. }
        | FaultKind::PageToken { .. }
        | FaultKind::Lag { .. }
        | FaultKind::IgnoreAgentId
        | FaultKind::SmallPages { .. }
        | FaultKind::CutStream { .. }
        | FaultKind::StreamError { .. } => Expected::Accepted,
    }
}

async fn whatever_goes_wrong_the_outcome_never_says_more_than_is_known(subject: Subject) {
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
        FaultKind::Hang {
            duration: Duration::from_millis(20),
        },
        FaultKind::Delay {
            by: Duration::from_millis(20),
        },
        FaultKind::LateCommit {
            after: late,
            close_after: Duration::from_millis(20),
        },
        error(400, "validation_error"),
        error(403, "forbidden"),
        error(409, "conflict"),
        error(500, "internal_error"),
        error(503, "upstream_error"),
        after(500),
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
        FaultKind::UnknownStatus {
            value: "HIBERNATING".into(),
        },
        FaultKind::IgnoreAgentId,
    ] {
        let expected = expected(&fault);
        let bench = Bench::new(subject).await;
        let lookup = bench.lookup().await;
        bench.fault(OperationClass::Launch, fault.clone());
        let outcome = bench.provider.launch(&bench.request()).await;
        let agreed = match &outcome {
            LaunchOutcome::Accepted(_) => expected == Expected::Accepted,
            LaunchOutcome::Rejected(_) => expected == Expected::Rejected,
            LaunchOutcome::Unknown(error) => {
                assert_eq!(error.sent, Sent::Possibly, "{fault:?}");
                !matches!(expected, Expected::Accepted | Expected::Rejected)
            }
        };
        assert!(agreed, "{fault:?} is {expected:?}: {outcome:?}");
        assert_eq!(bench.requests(OperationClass::Launch).len(), 1, "sent once");
        let started = matches!(expected, Expected::Accepted | Expected::Started);
        assert_eq!(bench.started(), usize::from(started), "{fault:?}");
        if matches!(expected, Expected::Accepted | Expected::Rejected) {
            continue;
        }

        bench.begin_work();
        if !started {
            // With LateCommit this is wrong in a minute: why an Absent counts only after the fence.
            let proven = match subject.recovery() {
                Recovery::ClientId | Recovery::Marker => AdoptAnswer::Absent,
                Recovery::None => AdoptAnswer::Unknowable,
            };
            assert_eq!(bench.look_up(lookup.clone()).await, proven, "{fault:?}");
        }
        bench.pass(late);
        if expected != Expected::NothingStarted {
            assert_eq!(bench.started(), 1, "{fault:?}");
            let sessions = bench.simulator.sessions();
            let found = found(bench.look_up(lookup).await);
            assert_eq!(found.len(), 1, "{fault:?}");
            assert_eq!(found[0].0.as_str(), sessions[0].id);
        }
    }
}

async fn only_the_statuses_of_rule_1_are_refusals(subject: Subject) {
    let bench = Bench::new(subject).await;
    for status in [
        400, 401, 402, 403, 404, 405, 408, 409, 413, 415, 422, 425, 429, 499, 500, 501, 502, 503,
        504, 599,
    ] {
        let code = match status {
            // A quota, because a rate limit would keep the next launch from being sent at all.
            429 => "usage_limit_exceeded",
            _ => "some_code",
        };
        let fault = FaultKind::ErrorBefore {
            status,
            code: code.into(),
        };
        bench.fault(OperationClass::Launch, fault);
        let (error, refused) = match bench.provider.launch(&bench.request()).await {
            LaunchOutcome::Rejected(error) => (error, true),
            LaunchOutcome::Unknown(error) => (error, false),
            LaunchOutcome::Accepted(launched) => panic!("{status}: {launched:?}"),
        };
        assert_eq!(error.status, Some(status));
        assert_eq!(error.code.as_deref(), Some(code));
        assert_eq!(refused, REFUSING_STATUSES.contains(&status), "{status}");
    }
    assert_eq!(bench.started(), 0);
}

async fn a_success_that_names_no_session_leaves_the_launch_unknown(subject: Subject) {
    let bench = Bench::new(subject).await;
    for (status, body) in [
        (200, ""),
        (200, "null"),
        (200, "[]"),
        (200, "{}"),
        (201, "{}"),
        (201, "true"),
        (201, "\u{feff}not json"),
        (
            201,
            r#"{"id":7,"agent":{"id":["bc-1"]},"session_id":null,"name":{}}"#,
        ),
        (
            201,
            r#"{"id":"","agent":{"id":""},"session_id":"","name":""}"#,
        ),
        // An id that would lead elsewhere in a URL.
        (
            201,
            r#"{"id":"../me","agent":{"id":"../me"},"session_id":"../me","name":"../me"}"#,
        ),
        (
            202,
            r#"{"id":"bc-1","agent":{"id":"bc-1"},"session_id":"bc-1"}"#,
        ),
        (204, ""),
        (302, ""),
        (
            307,
            r#"{"id":"bc-1","agent":{"id":"bc-1"},"session_id":"bc-1"}"#,
        ),
    ] {
        let elsewhere = format!("{}/elsewhere", bench.simulator.url(subject.simulated()));
        let fault = FaultKind::Respond {
            status,
            headers: vec![("location".into(), elsewhere)],
            body: body.into(),
        };
        bench.fault(OperationClass::Launch, fault);
        let outcome = bench.provider.launch(&bench.request()).await;
        assert!(
            matches!(outcome, LaunchOutcome::Unknown(_)),
            "{status} {body}: {outcome:?}"
        );
    }
    let mut followed = bench.simulator.requests();
    followed.retain(|record| record.path.contains("elsewhere"));
    assert!(followed.is_empty(), "{followed:?}");
}

async fn a_closed_window_lets_nothing_out(subject: Subject) {
    let bench = Bench::new(subject).await;
    let closed = LaunchRequest {
        window: window(Duration::ZERO),
        ..bench.request()
    };
    let expired = {
        let mut request = bench.request();
        request.window.not_after = jiff::Timestamp::now();
        request
    };
    for late in [closed, expired] {
        let LaunchOutcome::Rejected(error) = bench.provider.launch(&late).await else {
            panic!()
        };
        assert_eq!(
            (error.class, error.sent),
            (ErrorClass::Timeout, Sent::Nothing)
        );
    }
    assert!(bench.requests(OperationClass::Launch).is_empty());
}

async fn a_launch_that_nobody_answers_in_time_is_unknown(subject: Subject) {
    let settings = HttpSettings {
        post_timeout: Duration::from_secs(2),
        ..patient()
    };
    let bench = Bench::with(subject, |_| {}, settings).await;
    let fault = FaultKind::Delay {
        by: Duration::from_secs(60),
    };
    bench.fault(OperationClass::Launch, fault);
    let LaunchOutcome::Unknown(error) = bench.provider.launch(&bench.request()).await else {
        panic!()
    };
    assert_eq!(
        (error.class, error.sent),
        (ErrorClass::Timeout, Sent::Possibly)
    );
    assert_eq!(bench.started(), 1, "it was on its way");
}

async fn a_launch_that_is_given_up_is_not_sent_later(subject: Subject) {
    let bench = Bench::new(subject).await;
    let request = bench.request();
    let mut launch = bench.provider.launch(&request);
    // Polled once: the connection is begun, the request not written.
    assert!(futures::poll!(&mut launch).is_pending());
    drop(launch);
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.pass(STAGE);
    assert!(bench.requests(OperationClass::Launch).is_empty());
}
