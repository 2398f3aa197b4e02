//! No value of a Secret ever shows: in no error, in no success, in no form, though the provider echoes it.

use std::error::Error;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use codeagent_operator::providers::credential::Credential;
use codeagent_simulator::{FaultKind, Matcher};

use crate::bench::Bench;
use crate::calls::Calls;
use crate::subject::Subject;

contract!(
    a_key_that_is_echoed_shows_in_no_error,
    a_key_in_a_session_shows_in_no_look,
    nothing_that_can_be_printed_shows_a_key,
);

/// Every form in which a value can come back.
fn forms(credential: &Credential) -> Vec<String> {
    let values: Vec<&str> = credential.values().collect();
    let mut plain: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
    for user in &values {
        plain.push(format!("{user}:"));
        plain.extend(values.iter().map(|password| format!("{user}:{password}")));
    }
    let encoded: Vec<String> = plain
        .iter()
        .flat_map(|text| [STANDARD.encode(text), URL_SAFE.encode(text)])
        .collect();
    plain.extend(encoded);
    plain
}

/// What no text may contain: values, and beginnings of their encodings.
#[track_caller]
fn assert_clean(credential: &Credential, what: &str, text: &str) {
    for value in credential.values() {
        assert!(!text.contains(value), "{what}: {text}");
    }
    assert!(!text.contains("canary"), "{what}: {text}");
    for form in forms(credential) {
        let bare = form.trim_end_matches('=');
        assert!(!text.contains(bare), "{what}: {text}");
    }
}

/// Everything that an error says to anyone who asks.
fn said(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    text
}

async fn a_key_that_is_echoed_shows_in_no_error(subject: Subject) {
    let credential = subject.credential();
    let echoes = forms(&credential);
    let all = echoes.join(" ");
    let hidden: String = all.chars().flat_map(|c| [c, '\u{7}']).collect();
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    for status in [200, 307, 400, 401, 402, 403, 404, 409, 422, 500, 502] {
        let code = credential.values().next().unwrap();
        let bodies = [
            serde_json::json!({"error": {"code": code, "message": all}, "code": code, "message": all, "detail": all})
                .to_string(),
            serde_json::json!({"error": code, "detail": hidden}).to_string(),
            serde_json::json!({"error": all}).to_string(),
            all.clone(),
        ];
        for body in bodies {
            bench.simulator.clear_faults();
            bench.always(
                Matcher::any(),
                FaultKind::Respond {
                    status,
                    headers: vec![(
                        "location".into(),
                        format!("https://example.com/?key={code}"),
                    )],
                    body: body.clone(),
                },
            );
            // Without the form of a provider's error nothing of it is told.
            let told = !matches!(status, 403 | 404) || body.starts_with('{');
            let mut redacted = 0;
            for (call, answer) in calls.all(&bench).await {
                let text = match &answer {
                    Ok(text) => text.clone(),
                    Err(error) => said(error),
                };
                assert_clean(&credential, call, &text);
                redacted += usize::from(text.contains("[redacted]"));
            }
            assert!(
                redacted > 0 || status < 400 || !told,
                "{status}: the rest is kept"
            );
        }
    }
}

async fn a_key_in_a_session_shows_in_no_look(subject: Subject) {
    let credential = subject.credential();
    let echo = forms(&credential).join(" ");
    let bench = Bench::new(subject).await;
    let calls = Calls::prepare(&bench).await;
    let session = serde_json::json!({
        "id": "bc-1", "name": echo, "status": "ERROR", "summary": echo, "error": echo, "result": echo,
        "result_text": echo, "displayName": echo, "apiKeyName": echo, "userEmail": echo,
        "createdAt": "2026-10-01T12:30:00Z",
        "messages": [{"id": "m", "role": "user", "type": "user_message", "prompt": echo, "text": echo, "error": echo, "result_text": echo}],
    });
    let mut body = session.clone();
    body["items"] = serde_json::json!([session]);
    body["agents"] = serde_json::json!([session]);
    body["models"] = serde_json::json!([echo]);
    bench.always(
        Matcher::any(),
        FaultKind::Respond {
            status: 200,
            headers: Vec::new(),
            body: body.to_string(),
        },
    );
    let mut read = 0;
    for (call, answer) in calls.all(&bench).await {
        let text = match &answer {
            Ok(text) => text.clone(),
            Err(error) => said(error),
        };
        read += usize::from(answer.is_ok());
        assert_clean(&credential, call, &text);
    }
    assert!(read >= 2, "most of it is an answer");
}

async fn nothing_that_can_be_printed_shows_a_key(subject: Subject) {
    let bench = Bench::new(subject).await;
    let credential = subject.credential();
    let connection = crate::provider_support::connection(
        &crate::provider_support::stack(crate::bench::patient()),
        subject.kind(),
        &"https://api.example.com".parse().unwrap(),
        crate::provider_support::KEY,
    );
    assert_clean(&credential, "connection", &format!("{connection:?}"));
    assert_clean(
        &credential,
        "lookup",
        &format!("{:?}", bench.lookup().await),
    );
}
