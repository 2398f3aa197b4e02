//! Firetiger's adapter against hand-written answers. Its documentation names requests and statuses; the fields of answers
//! and the reading of issues are assumptions.

use std::sync::{Arc, Mutex};

use crate::support::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codeagent_operator::api::{FiretigerSpec, ProviderKind, ProviderSpec};
use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, Connection, LaunchOutcome, LaunchRequest, Provider, Recovery,
};
use codeagent_operator::providers::credential::Credential;
use codeagent_operator::providers::error::{ErrorClass, Sent, Subject};
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

fn firetiger(server: &Server) -> Arc<dyn Provider> {
    connect(&stack(settings()), ProviderKind::Firetiger, &server.url)
}

fn request() -> LaunchRequest {
    LaunchRequest {
        issue: Some("issues/FT-42".into()),
        on_behalf_of: Some("jane@acme.com".into()),
        ..launch_request()
    }
}

fn session(id: &str, status: &str) -> Value {
    json!({
        "name": format!("coding-agents/cursor-prod/sessions/{id}"),
        "externalId": id,
        "sessionUrl": format!("https://cursor.com/agents?id={id}"),
        "status": status
    })
}

/// An error of Connect.
fn connect_error(status: u16, code: &str) -> axum::response::Response {
    reply(
        status,
        json!({"code": code, "message": format!("because of {code}")}),
    )
}

/// What is launched on.
const ISSUE: Option<&str> = Some("issues/FT-42");

fn page(id: &str) -> String {
    format!("https://cursor.com/agents?id={id}")
}

/// Serves the issue with links that the test changes, and the sessions behind `known`.
async fn with_issue(links: &Arc<Mutex<Vec<Value>>>, known: &'static [&'static str]) -> Server {
    let links = Arc::clone(links);
    Server::start(move |seen| {
        if seen.is("GET /v1/issues/FT-42") {
            let links = links.lock().unwrap().clone();
            return reply(200, json!({"name": "issues/FT-42", "links": links}));
        }
        let id = seen
            .target
            .strip_prefix("/v1/coding-agents/cursor-prod/sessions/");
        match id {
            Some(id) if known.contains(&id) => reply(200, session(id, "RUNNING")),
            _ => connect_error(404, "not_found"),
        }
    })
    .await
}

#[test]
fn nothing_goes_along_by_which_a_lost_launch_could_be_found() {
    let firetiger = Registry::get(ProviderKind::Firetiger).unwrap();
    let spec = spec(ProviderKind::Firetiger);
    assert_eq!(firetiger.recovery(&spec), Recovery::None);
    assert_eq!(firetiger.further_secret_keys(), ["username", "password"]);
}

#[tokio::test]
async fn a_launch_sends_issue_and_person_to_the_named_agent() {
    let server = Server::start(|_| reply(200, session("bc-1", "PENDING"))).await;
    let LaunchOutcome::Accepted(launched) = firetiger(&server).launch(&request()).await else {
        panic!()
    };
    assert_eq!(launched.session_id.as_str(), "bc-1");
    assert_eq!(
        launched.url.as_deref(),
        Some("https://cursor.com/agents?id=bc-1")
    );
    assert_eq!(
        (launched.phase, launched.raw_status.as_str()),
        (RemotePhase::Creating, "PENDING")
    );
    let seen = &server.seen()[0];
    assert!(
        seen.is("POST /v1/coding-agents/cursor-prod/sessions:launch"),
        "{}",
        seen.target
    );
    let basic = format!("Basic {}", STANDARD.encode(format!("robot-1:{KEY}")));
    assert_eq!(seen.header("authorization"), Some(basic.as_str()));
    assert_eq!(
        seen.json(),
        json!({"issue": "issues/FT-42", "actor_email": "jane@acme.com"})
    );
}

#[tokio::test]
async fn nobody_is_named_where_nobody_was_given_and_without_an_issue_nothing_is_sent() {
    let server = Server::start(|_| reply(200, session("bc-1", "PENDING"))).await;
    let alone = LaunchRequest {
        on_behalf_of: None,
        ..request()
    };
    firetiger(&server).launch(&alone).await;
    assert_eq!(server.seen()[0].json(), json!({"issue": "issues/FT-42"}));

    let LaunchOutcome::Rejected(error) = firetiger(&server).launch(&launch_request()).await else {
        panic!()
    };
    assert_eq!(error.sent, Sent::Nothing);
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn connect_codes_mean_what_their_status_says_and_only_refusals_settle_a_launch() {
    for (status, code, class, refused) in [
        (400, "invalid_argument", ErrorClass::InvalidRequest, true),
        (400, "failed_precondition", ErrorClass::InvalidRequest, true),
        (401, "unauthenticated", ErrorClass::Unauthorized, true),
        (403, "permission_denied", ErrorClass::Forbidden, true),
        (404, "not_found", ErrorClass::NotFound, true),
        (429, "resource_exhausted", ErrorClass::RateLimited, true),
        (501, "unimplemented", ErrorClass::InvalidRequest, true),
        (409, "already_exists", ErrorClass::Conflict, false),
        (409, "aborted", ErrorClass::Conflict, false),
        (499, "canceled", ErrorClass::Unknown, false),
        (500, "internal", ErrorClass::Unavailable, false),
        (503, "unavailable", ErrorClass::Unavailable, false),
        (504, "deadline_exceeded", ErrorClass::Timeout, false),
    ] {
        let server = Server::start(move |seen| {
            if seen.is("GET /v1/coding-agents/cursor-prod") {
                reply(200, json!({"name": "coding-agents/cursor-prod"}))
            } else {
                connect_error(status, code)
            }
        })
        .await;
        let (error, settled) = match firetiger(&server).launch(&request()).await {
            LaunchOutcome::Rejected(error) => (error, true),
            LaunchOutcome::Unknown(error) => (error, false),
            LaunchOutcome::Accepted(launched) => panic!("{launched:?}"),
        };
        assert_eq!((error.class, settled), (class, refused), "{code}");
        assert_eq!(error.code.as_deref(), Some(code));
        assert!(error.message.contains(&format!("because of {code}")));
        let posts = server.lines();
        let posts = posts.iter().filter(|line| line.starts_with("POST"));
        assert_eq!(posts.count(), 1, "sent once");
    }
}

#[tokio::test]
async fn a_launch_that_meets_not_found_asks_what_was_not_found_and_is_refused_anyhow() {
    let answers: [(fn() -> axum::response::Response, _, _); 3] = [
        (
            || reply(200, json!({"name": "coding-agents/cursor-prod"})),
            Some(Subject::Issue),
            "Firetiger knows no issues/FT-42: because of not_found",
        ),
        (
            || connect_error(404, "not_found"),
            Some(Subject::CodingAgent),
            "there is no coding agent cursor-prod: no connection has this id, or it is of a type that is no coding agent",
        ),
        (
            || connect_error(503, "unavailable"),
            None,
            "Firetiger knows no issues/FT-42, or no coding agent cursor-prod: because of not_found",
        ),
    ];
    for (agent, subject, message) in answers {
        let server = Server::start(move |seen| {
            if seen.is("GET /v1/coding-agents/cursor-prod") {
                agent()
            } else {
                connect_error(404, "not_found")
            }
        })
        .await;
        let LaunchOutcome::Rejected(error) = firetiger(&server).launch(&request()).await else {
            panic!()
        };
        assert_eq!(
            (error.class, error.subject),
            (ErrorClass::NotFound, subject)
        );
        assert_eq!(error.message, message);
        let posts = server.lines();
        let posts = posts.iter().filter(|line| line.starts_with("POST"));
        assert_eq!(posts.count(), 1);
    }
}

#[tokio::test]
async fn the_account_is_the_user_at_one_coding_agent() {
    let server = Server::start(|_| {
        reply(
            200,
            json!({"name": "coding-agents/cursor-prod", "displayName": "Cursor"}),
        )
    })
    .await;
    let http = stack(settings());
    let registered = Registry::get(ProviderKind::Firetiger).unwrap();
    let plain = || connection(&http, ProviderKind::Firetiger, &server.url, KEY);
    let of = async |connection: Connection| {
        registered
            .connect(connection)
            .unwrap()
            .verify()
            .await
            .unwrap()
    };
    let account = of(plain()).await;
    assert_eq!(account.name.as_deref(), Some("Cursor"));
    assert_eq!(server.lines(), ["GET /v1/coding-agents/cursor-prod"]);

    let with = |username: &str, password: &str| Connection {
        credential: Credential::new()
            .with("username", username)
            .with("password", password),
        ..plain()
    };
    // A new password of the same user is no other account.
    let rotated = of(with("robot-1", "another-password")).await;
    assert_eq!(rotated.fingerprint, account.fingerprint);
    let other_user = of(with("robot-2", KEY)).await;
    assert_ne!(other_user.fingerprint, account.fingerprint);
    let other_agent = of(Connection {
        spec: ProviderSpec {
            firetiger: Some(FiretigerSpec {
                coding_agent_id: "inspect".into(),
                endpoint: None,
            }),
            ..ProviderSpec::default()
        },
        ..plain()
    })
    .await;
    assert_ne!(other_agent.fingerprint, account.fingerprint);
}

#[tokio::test]
async fn a_connection_of_another_type_is_named_as_what_may_be_wrong() {
    let server = Server::start(|_| connect_error(404, "not_found")).await;
    let error = firetiger(&server).verify().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert_eq!(error.subject, Some(Subject::CodingAgent));
    assert_eq!(
        error.message,
        "there is no coding agent cursor-prod: no connection has this id, or it is of a type that is no coding agent"
    );
}

#[tokio::test]
async fn exactly_one_new_link_to_a_session_of_nobody_else_is_taken_for_ours() {
    let links = Arc::new(Mutex::new(vec![
        json!(page("bc-before")),
        json!({"url": "https://acme.slack.com/archives/1", "title": "discussion"}),
    ]));
    let server = with_issue(&links, &["bc-before", "bc-new", "bc-owned"]).await;
    let provider = firetiger(&server);
    let baseline = provider.baseline(ISSUE).await.unwrap().unwrap();
    assert!(!baseline.contains("slack") && !baseline.contains("bc-before"));
    let adopt = AdoptRequest {
        baseline: Some(baseline),
        owned: [SessionId::new("bc-owned")].into(),
        ..adopt_request()
    };
    // Nothing new: that proves nothing, the link is added if it can be.
    assert_eq!(
        provider.adopt(&adopt).await.unwrap(),
        AdoptAnswer::Unknowable
    );
    links.lock().unwrap().push(json!(page("bc-owned")));
    assert_eq!(
        provider.adopt(&adopt).await.unwrap(),
        AdoptAnswer::Unknowable
    );
    links.lock().unwrap().push(json!(page("bc-new")));
    let AdoptAnswer::Found(found) = provider.adopt(&adopt).await.unwrap() else {
        panic!()
    };
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].snapshot.session_id.as_str(), "bc-new");
    assert_eq!(found[0].snapshot.phase, RemotePhase::Running);
    assert_eq!(
        found[0].snapshot.url.as_deref(),
        Some(page("bc-new").as_str())
    );
    // Two of them: one is somebody else's, and nothing tells which.
    links.lock().unwrap().push(json!(page("bc-another")));
    assert_eq!(
        provider.adopt(&adopt).await.unwrap(),
        AdoptAnswer::Unknowable
    );
}

#[tokio::test]
async fn a_new_link_to_something_else_is_no_session() {
    for link in ["https://acme.slack.com/archives/2", "https://example.com/"] {
        let links = Arc::new(Mutex::new(Vec::new()));
        let server = with_issue(&links, &[]).await;
        let provider = firetiger(&server);
        let baseline = provider.baseline(ISSUE).await.unwrap();
        assert_eq!(
            baseline.as_deref(),
            Some("issues/FT-42"),
            "an empty baseline is one"
        );
        links.lock().unwrap().push(json!(link));
        let adopt = AdoptRequest {
            baseline,
            ..adopt_request()
        };
        assert_eq!(
            provider.adopt(&adopt).await.unwrap(),
            AdoptAnswer::Unknowable
        );
    }
}

#[tokio::test]
async fn where_issues_cannot_be_read_there_is_no_baseline_and_nothing_is_known() {
    for answer in [
        || connect_error(404, "not_found"),
        || connect_error(403, "permission_denied"),
        || connect_error(501, "unimplemented"),
        || reply(200, json!({"links": [7]})),
        || reply(200, json!({"links": "many"})),
    ] {
        let server = Server::start(move |_| answer()).await;
        assert_eq!(firetiger(&server).baseline(ISSUE).await.unwrap(), None);
    }
    let server = Server::start(|_| reply(500, "")).await;
    let elsewhere = firetiger(&server).baseline(Some("tickets/FT-42")).await;
    assert_eq!(elsewhere.unwrap(), None);
    assert_eq!(
        firetiger(&server).adopt(&adopt_request()).await.unwrap(),
        AdoptAnswer::Unknowable
    );
    assert_eq!(server.lines().len(), 0);
}

#[tokio::test]
async fn an_outage_before_a_launch_is_told_from_an_issue_that_cannot_be_read() {
    for (status, code, class) in [
        (401, "unauthenticated", ErrorClass::Unauthorized),
        (429, "resource_exhausted", ErrorClass::RateLimited),
        (503, "unavailable", ErrorClass::Unavailable),
        (504, "deadline_exceeded", ErrorClass::Timeout),
    ] {
        let server = Server::start(move |_| connect_error(status, code)).await;
        let error = firetiger(&server).baseline(ISSUE).await.unwrap_err();
        assert_eq!(error.class, class);
    }
}
