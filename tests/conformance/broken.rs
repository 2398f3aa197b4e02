//! Answers that no document names: cut, huge, of the wrong shape, from somebody else. None of them is ever taken for what it is not.

use codeagent_operator::api::ProviderKind;
use codeagent_operator::providers::contract::{AdoptAnswer, Capability, ItemDetail, Recovery};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_simulator::{FaultKind, Matcher};

use crate::bench::Bench;
use crate::calls::Calls;
use crate::subject::Subject;

contract!(
    an_answer_that_is_no_json_is_an_error_of_every_call,
    an_answer_of_the_wrong_shape_is_never_a_session,
    a_huge_or_cut_answer_is_an_error_of_every_call,
    a_redirect_is_never_followed,
    a_gateways_page_is_nobodys_message,
    an_odd_item_costs_only_itself,
);

fn respond(status: u16, body: &str) -> FaultKind {
    FaultKind::Respond {
        status,
        headers: Vec::new(),
        body: body.to_owned(),
    }
}

/// A 2xx to a stop says all there is to know, whatever its body says: a look decides anyway.
fn body_counts(call: &str) -> bool {
    call != "cancel"
}

async fn an_answer_that_is_no_json_is_an_error_of_every_call(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    let bottomless = "[".repeat(100_000);
    for body in [
        "",
        "<html>Welcome</html>",
        "{\"id\":",
        "OK",
        "\u{0}",
        &bottomless,
    ] {
        bench.simulator.clear_faults();
        bench.always(Matcher::any(), respond(200, body));
        for (call, answer) in calls.all(&bench).await {
            if body_counts(call) {
                let error = answer.unwrap_err();
                let expected = match body.starts_with('<') {
                    true => ErrorClass::Intermediary,
                    false => ErrorClass::Protocol,
                };
                assert_eq!(error.class, expected, "{call} {body:?}: {error}");
                assert!(!error.message.contains("Welcome"), "{call}: {error}");
            }
        }
    }
}

async fn an_answer_of_the_wrong_shape_is_never_a_session(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    for body in [
        "null",
        "7",
        "\"bc-1\"",
        "[]",
        "{}",
        "[[]]",
        r#"{"agent":7,"agents":7,"items":7,"id":7,"session_id":7,"session":7,"links":7}"#,
        r#"{"agent":[],"agents":{},"items":{},"id":[],"session_id":{},"session":[],"links":{}}"#,
    ] {
        bench.simulator.clear_faults();
        bench.always(Matcher::any(), respond(200, body));
        for (call, answer) in calls.all(&bench).await {
            match (call, answer) {
                (_, Err(error)) => assert_eq!(error.class, ErrorClass::Protocol, "{call}: {error}"),
                ("launch" | "message" | "create a template", Ok(answer)) => {
                    panic!("{call} {body}: {answer}")
                }
                ("verify", Ok(answer)) => assert!(
                    !matches!(body, "null" | "7" | "\"bc-1\""),
                    "{body} is nobody's account: {answer}"
                ),
                // A session that says nothing of itself decides nothing.
                ("get", Ok(answer)) => assert!(answer.contains("Unrecognised"), "{body}: {answer}"),
                ("adopt" | "find a message", Ok(answer)) => assert!(
                    !answer.starts_with("Found") && !answer.starts_with("Foreign"),
                    "{body}: {answer}"
                ),
                ("list", Ok(answer)) => {
                    assert_eq!(answer, "SessionPage { items: [], next: None }", "{body}");
                }
                (_, Ok(_)) => {}
            }
        }
        assert_eq!(bench.started(), 1);
    }
}

async fn a_huge_or_cut_answer_is_an_error_of_every_call(subject: Subject) {
    for fault in [
        FaultKind::HugeBody { bytes: 300 << 10 },
        FaultKind::TruncatedBody,
    ] {
        // A cut answer comes after the deed, so that the next launch needs a world of its own.
        let bench = Bench::new(subject).await;
        let calls = Calls::prepare(&bench).await;
        bench.always(Matcher::any(), fault.clone());
        for (call, answer) in calls.all(&bench).await {
            match (call, fault == FaultKind::TruncatedBody) {
                ("cancel", true) => {}
                // A stream has no end that could be missing, and its events are bounded one by one.
                ("timeline", _) if subject.can(Capability::Streaming) => {}
                // What is too large to be read is told as a gap, or nothing behind it could be read either.
                ("timeline", false) => assert!(answer.unwrap().contains("kind: Gap")),
                // Where the key is checked by a list, its beginning is enough.
                ("verify", false) if answer.is_ok() => assert!(subject.can(Capability::List)),
                // Nothing has the id that it asks for first, and a 404 without the provider's words is not its own.
                ("adopt", _) if subject.is_found_by_name() => {
                    assert_eq!(answer.unwrap_err().class, ErrorClass::Intermediary);
                }
                // Nor has a session that works left a file.
                ("an artifact", _) => assert!(matches!(
                    answer.unwrap_err().class,
                    ErrorClass::Protocol | ErrorClass::Intermediary
                )),
                // Neither is taken while the session works: whatever it says besides, it is refused.
                ("message" | "archive", _) => assert!(matches!(
                    answer.unwrap_err().class,
                    ErrorClass::Protocol | ErrorClass::Conflict
                )),
                _ => assert_eq!(
                    answer.unwrap_err().class,
                    ErrorClass::Protocol,
                    "{call} {fault:?}"
                ),
            }
        }
    }
}

async fn a_redirect_is_never_followed(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    for status in [301, 302, 303, 307, 308] {
        bench.simulator.clear_faults();
        let elsewhere = format!("{}/elsewhere", bench.simulator.url(subject.simulated()));
        bench.always(
            Matcher::any(),
            FaultKind::Respond {
                status,
                headers: vec![("location".into(), elsewhere)],
                body: String::new(),
            },
        );
        for (call, answer) in calls.all(&bench).await {
            // Where the redirect is the answer, whoever asked is sent there.
            if call == "an artifact" && answer.is_ok() {
                assert_eq!(subject.kind(), ProviderKind::Firebender);
                continue;
            }
            let error = answer.unwrap_err();
            assert_eq!(
                (error.class, error.status),
                (ErrorClass::Unknown, Some(status)),
                "{call}"
            );
        }
        let mut requests = bench.simulator.requests();
        requests.retain(|record| record.path.contains("elsewhere"));
        assert!(requests.is_empty(), "{requests:?}");
    }
}

async fn a_gateways_page_is_nobodys_message(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    for status in [200, 400, 401, 403, 404, 409, 500, 502, 503] {
        bench.simulator.clear_faults();
        bench.always(
            Matcher::any(),
            respond(status, "<html><body>Bad Gateway at proxy-7</body></html>"),
        );
        for (call, answer) in calls.all(&bench).await {
            if status == 200 && !body_counts(call) {
                continue;
            }
            let error = answer.unwrap_err();
            assert_eq!(error.class, ErrorClass::Intermediary, "{call} {status}");
            assert!(!error.message.contains("proxy-7"), "{call}: {error}");
            assert!(
                error.message.contains(&status.to_string()),
                "{call}: {error}"
            );
        }
    }
}

async fn an_odd_item_costs_only_itself(subject: Subject) {
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    let good = |id: &str| format!(r#"{{"id":"{id}","name":"n","status":"RUNNING"}}"#);
    let items = format!(
        r#"[{},{{"status":"no id"}},7,null,{{"id":"a/b"}},{{"id":"bc-2","status":7,"target":[],"createdAt":"soon","created_at":1}}]"#,
        good("bc-1")
    );
    // The same list under every name that a provider has for it, and as itself.
    let body = match bench.list(None).await.unwrap().items.is_empty() {
        true => r#"{"links":[7,null,{"title":"no url"}]}"#.to_owned(),
        false if subject == Subject::Flapjack => items,
        false => format!(r#"{{"agents":{items},"items":{items}}}"#),
    };
    // Where the mapping looks for an id.
    let body = match subject {
        Subject::Http => body.replace(r#""id":"#, r#""session_id":"#),
        _ => body,
    };
    bench.always(
        Matcher::class(codeagent_simulator::OperationClass::List),
        respond(200, &body),
    );
    let page = bench.list(None).await.unwrap();
    let ids: Vec<&str> = page
        .items
        .iter()
        .map(|item| item.session_id.as_str())
        .collect();
    match bench.subject.recovery() {
        _ if !subject.can(Capability::List) => assert!(ids.is_empty()),
        Recovery::None => assert!(ids.is_empty()),
        Recovery::ClientId | Recovery::Marker => assert_eq!(ids, ["bc-1", "bc-2"]),
    }
    for item in &page.items {
        if let ItemDetail::Full(snapshot) = &item.detail {
            assert!(!snapshot.phase.is_terminal(), "{snapshot:?}");
        }
    }
    // What cannot be read may be ours.
    let answer = bench.provider.adopt(&calls.lookup).await;
    assert!(!matches!(answer, Ok(AdoptAnswer::Absent)), "{answer:?}");
}
