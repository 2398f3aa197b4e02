//! What a session left, and its live view: told to who asks, with URLs as the provider gave them and nothing of the key.

use codeagent_operator::api::ProviderKind;
use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::providers::contract::{ArtifactList, Capability};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_simulator::{FaultKind, Matcher, OperationClass, Script};
use serde_json::json;

use crate::bench::{Bench, WORK, patient};
use crate::subject::Subject;

contract!(
    whoever_says_so_hands_out_artifacts_and_previews,
    what_an_agent_left_is_listed_after_its_end_and_can_be_fetched_without_the_key,
    a_path_that_is_none_is_refused,
    only_a_url_that_may_be_handed_on_is,
    trouble_is_an_error_and_a_stranger_is_told_nothing,
    a_preview_is_there_while_the_agent_works,
);

/// A bench whose sessions leave two files, and a session that has ended there.
async fn ended(subject: Subject) -> Option<(Bench, [SessionId; 1])> {
    let bench = Bench::with(
        subject,
        |options| {
            options.script = Script {
                artifacts: Some(2),
                ..options.script.clone()
            };
        },
        patient(),
    )
    .await;
    bench.provider.artifacts()?;
    let session = bench.launch(&bench.request()).await.session_id;
    bench.pass(2 * WORK);
    assert!(bench.get(&session).await.phase.is_terminal());
    Some((bench, [session]))
}

async fn list(bench: &Bench, sessions: &[SessionId]) -> ArtifactList {
    let artifacts = bench.provider.artifacts().unwrap();
    artifacts.list(sessions).await.unwrap()
}

async fn whoever_says_so_hands_out_artifacts_and_previews(subject: Subject) {
    let bench = Bench::new(subject).await;
    let provider = &bench.provider;
    let can = |capability| subject.can(capability);
    assert_eq!(provider.artifacts().is_some(), can(Capability::Artifacts));
    assert_eq!(provider.previewing().is_some(), can(Capability::Preview));
}

async fn what_an_agent_left_is_listed_after_its_end_and_can_be_fetched_without_the_key(
    subject: Subject,
) {
    let Some((bench, sessions)) = ended(subject).await else {
        return;
    };
    let artifacts = bench.provider.artifacts().unwrap();
    let list = list(&bench, &sessions).await;
    assert!(!list.truncated);
    assert!(!list.artifacts.is_empty());
    for artifact in &list.artifacts {
        let url = artifacts.locate(&sessions, &artifact.path).await.unwrap();
        assert!(!format!("{url:?}").contains("http"), "{url:?}");
        let file = reqwest::get(url.expose()).await.unwrap();
        assert_eq!(file.status(), 200, "{}", artifact.path);
        let content = file.bytes().await.unwrap();
        if let Some(size) = artifact.size {
            assert_eq!(content.len() as u64, size, "{}", artifact.path);
        }
    }
}

async fn a_path_that_is_none_is_refused(subject: Subject) {
    let Some((bench, sessions)) = ended(subject).await else {
        return;
    };
    let artifacts = bench.provider.artifacts().unwrap();
    for path in [
        "nothing",
        "artifacts/nothing",
        "/etc/passwd",
        "artifacts/../../secret",
        "recordings/fb_of_somebody_else",
        "traces/../agents",
        "a?b=c&d#e",
    ] {
        let error = artifacts.locate(&sessions, path).await.unwrap_err();
        let none = matches!(
            error.class,
            ErrorClass::NotFound | ErrorClass::InvalidRequest
        );
        assert!(none, "{path}: {error}");
    }
}

/// How the provider tells where a file is.
fn naming(subject: Subject, url: &str) -> FaultKind {
    match subject.kind() {
        ProviderKind::Firebender => FaultKind::Respond {
            status: 302,
            headers: vec![("location".into(), url.into())],
            body: String::new(),
        },
        _ => FaultKind::Respond {
            status: 200,
            headers: Vec::new(),
            body: json!({"url": url, "expiresAt": "2026-10-01T12:30:00Z"}).to_string(),
        },
    }
}

async fn only_a_url_that_may_be_handed_on_is(subject: Subject) {
    let Some((bench, sessions)) = ended(subject).await else {
        return;
    };
    let artifacts = bench.provider.artifacts().unwrap();
    let path = list(&bench, &sessions).await.artifacts[0].path.clone();
    let key = subject.credential().values().next().unwrap().to_owned();
    for url in [
        "javascript:alert(1)".to_owned(),
        "ftp://files.example.com/a".to_owned(),
        "//files.example.com/a".to_owned(),
        "/a".to_owned(),
        "https://user:password@files.example.com/a".to_owned(),
        "https://files.example.com/a b".to_owned(),
        format!("https://files.example.com/?key={key}"),
        format!("https://files.example.com/{}", "a".repeat(9000)),
    ] {
        bench.simulator.clear_faults();
        bench.always(Matcher::any(), naming(subject, &url));
        let error = artifacts.locate(&sessions, &path).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Protocol, "{url}: {error}");
        assert!(!error.to_string().contains("example.com"), "{error}");
    }
    // A signature counts every character: it is handed on as it came.
    let signed = "https://Files.example.com:443/a/./b%2fc?X-Amz-Signature=0a%2B&x=~!'()*";
    bench.simulator.clear_faults();
    bench.always(Matcher::any(), naming(subject, signed));
    let url = artifacts.locate(&sessions, &path).await.unwrap();
    assert_eq!(url.expose(), signed);
}

async fn trouble_is_an_error_and_a_stranger_is_told_nothing(subject: Subject) {
    let Some((bench, sessions)) = ended(subject).await else {
        return;
    };
    let artifacts = bench.provider.artifacts().unwrap();
    let path = list(&bench, &sessions).await.artifacts[0].path.clone();
    let stranger = bench.stranger();
    let theirs = stranger.artifacts().unwrap();
    let error = theirs.list(&sessions).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    let error = theirs.locate(&sessions, &path).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound, "{error}");
    let refused = FaultKind::ErrorBefore {
        status: 500,
        code: "trouble".to_owned(),
    };
    bench.always(Matcher::any(), refused);
    let error = artifacts.list(&sessions).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
    let error = artifacts.locate(&sessions, &path).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Unavailable, "{error}");
}

async fn a_preview_is_there_while_the_agent_works(subject: Subject) {
    let bench = Bench::new(subject).await;
    let Some(previewing) = bench.provider.previewing() else {
        return;
    };
    let session = bench.launch(&bench.request()).await.session_id;
    assert!(previewing.preview(&session).await.unwrap().is_none());
    bench.begin_work();
    let preview = previewing.preview(&session).await.unwrap().unwrap();
    assert!(preview.url.expose().starts_with("https://"));
    let token = preview.token.clone().unwrap();
    let shown = format!("{preview:?}");
    assert!(
        !shown.contains(token.expose()) && !shown.contains("https"),
        "{shown}"
    );
    // No other call reads it.
    let looked = format!("{:?}", bench.get(&session).await);
    assert!(!looked.contains(token.expose()), "{looked}");
    let looks = bench.requests(OperationClass::Get).len();
    assert!(looks > 0);
    bench.pass(2 * WORK);
    assert!(previewing.preview(&session).await.unwrap().is_none());
    let stranger = bench.stranger();
    let error = stranger.previewing().unwrap().preview(&session).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::NotFound);
}
