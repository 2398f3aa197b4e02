//! Cursor's API v0 against hand-written answers in the shapes of its OpenAPI document.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codeagent_operator::api::{
    CursorApiVersion, CursorSpec, ModelSpec, ProviderKind, ProviderSpec, PullRequestSpec,
};
use codeagent_operator::domain::ids::{InstallationId, SessionId};
use codeagent_operator::domain::marker::Marker;
use codeagent_operator::domain::pull_request::StartingPoint;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, CancelAnswer, Connection, Found, ItemDetail, LaunchOutcome,
    LaunchRequest, PageToken, Provider, ProviderType, Recovery, SessionRef,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

fn v0() -> ProviderSpec {
    ProviderSpec {
        cursor: Some(CursorSpec {
            api_version: Some(CursorApiVersion::V0),
            endpoint: None,
        }),
        ..ProviderSpec::default()
    }
}

fn registered() -> &'static dyn ProviderType {
    Registry::get(ProviderKind::Cursor).unwrap()
}

fn cursor(server: &Server) -> Arc<dyn Provider> {
    let http = stack(settings());
    registered()
        .connect(Connection {
            spec: v0(),
            ..connection(&http, ProviderKind::Cursor, &server.url, KEY)
        })
        .unwrap()
}

fn session(id: &str) -> SessionRef {
    SessionRef {
        session_id: SessionId::new(id),
        run_id: None,
    }
}

const IN_WINDOW: &str = "2026-10-01T12:30:00Z";

/// The example of the OpenAPI document.
fn agent(id: &str, created: &str) -> Value {
    json!({
        "id": id,
        "name": "Add README Documentation",
        "status": "RUNNING",
        "source": {"repository": "https://github.com/Acme/app.git", "ref": "main"},
        "target": {
            "branchName": "cursor/add-readme-1234",
            "url": format!("https://cursor.com/agents?id={id}"),
            "prUrl": "https://github.com/acme/app/pull/1234",
            "autoCreatePr": true,
            "openAsCursorGithubApp": false,
            "skipReviewerRequest": false
        },
        "summary": "Added README.md",
        "createdAt": created
    })
}

fn marked(installation: &str, uid: &str, attempt: i32) -> String {
    let marker = Marker::launch(InstallationId::new(installation), uid, attempt);
    format!("Fix it\n\n{marker}")
}

fn ours() -> String {
    marked("0a1b2c3d", "session-uid", 1)
}

fn conversation(first: &str) -> Value {
    json!({"id": "bc_1", "messages": [
        {"id": "msg_1", "type": "user_message", "text": first},
        {"id": "msg_2", "type": "assistant_message", "text": ours()}
    ]})
}

/// Serves one page with these agents, and a conversation for each.
async fn with_conversations(
    agents: Vec<Value>,
    of: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> Server {
    Server::start(move |seen| {
        let path = seen.target.strip_prefix("/v0/agents/");
        match path.and_then(|rest| rest.strip_suffix("/conversation")) {
            Some(id) => of(id),
            None => {
                assert!(seen.is("GET /v0/agents?limit=100"), "{}", seen.target);
                reply(200, json!({"agents": agents}))
            }
        }
    })
    .await
}

fn found(answer: AdoptAnswer) -> Vec<Found> {
    match answer {
        AdoptAnswer::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_spec_selects_the_version_and_what_follows_from_it() {
    let cursor = registered();
    assert_eq!(cursor.api_version(&v0()), "v0");
    assert_eq!(cursor.recovery(&v0()), Recovery::Marker);
    assert_eq!(
        cursor.api_version(&spec(ProviderKind::Cursor)),
        "v1",
        "the default"
    );
}

#[tokio::test]
async fn a_plain_launch_leaves_every_default_to_cursor() {
    let server = Server::start(|_| {
        let mut created = agent("bc_abc123", IN_WINDOW);
        created["status"] = "CREATING".into();
        reply(201, created)
    })
    .await;
    let request = LaunchRequest {
        start: StartingPoint::DefaultBranch,
        model: Some(ModelSpec {
            id: "auto".into(),
            params: Default::default(),
        }),
        // Without a pull request there is nobody to leave unasked.
        pull_request: PullRequestSpec {
            skip_reviewer_request: true,
            ..no_pull_request()
        },
        ..launch_request()
    };
    let LaunchOutcome::Accepted(launched) = cursor(&server).launch(&request).await else {
        panic!()
    };
    assert_eq!(launched.session_id.as_str(), "bc_abc123");
    assert_eq!(launched.phase, RemotePhase::Creating);
    assert_eq!(
        launched.url.as_deref(),
        Some("https://cursor.com/agents?id=bc_abc123")
    );
    let seen = &server.seen()[0];
    assert!(seen.is("POST /v0/agents"));
    let basic = format!("Basic {}", STANDARD.encode(format!("{KEY}:")));
    assert_eq!(seen.header("authorization"), Some(basic.as_str()));
    assert_eq!(
        seen.json(),
        json!({
            "prompt": {"text": request.prompt},
            "source": {"repository": REPOSITORY},
            "target": {"autoCreatePr": false}
        })
    );
}

#[tokio::test]
async fn a_full_launch_sends_everything_that_was_asked_for() {
    let server = Server::start(|_| reply(201, agent("bc_1", IN_WINDOW))).await;
    let request = LaunchRequest {
        model: Some(ModelSpec {
            id: "claude-4-sonnet".into(),
            params: Default::default(),
        }),
        pull_request: PullRequestSpec {
            auto_create: true,
            skip_reviewer_request: true,
            branch_name: Some("feature/x".into()),
            ..no_pull_request()
        },
        ..launch_request()
    };
    cursor(&server).launch(&request).await;
    assert_eq!(
        server.seen()[0].json(),
        json!({
            "prompt": {"text": request.prompt},
            "model": "claude-4-sonnet",
            "source": {"repository": REPOSITORY, "ref": "main"},
            "target": {
                "autoCreatePr": true,
                // The one has no effect without the other.
                "openAsCursorGithubApp": true,
                "skipReviewerRequest": true,
                "branchName": "feature/x"
            }
        })
    );
}

/// `source.prUrl` excludes `repository` and `ref`, and `target.autoBranch` applies only beside it.
#[tokio::test]
async fn a_launch_from_a_pull_request_names_nothing_but_it() {
    let server = Server::start(|_| reply(201, agent("bc_1", IN_WINDOW))).await;
    let url = "https://github.com/acme/app/pull/42";
    for (on_current, branch, target) in [
        (
            true,
            None,
            json!({"autoCreatePr": false, "autoBranch": false}),
        ),
        (
            false,
            Some("feature/x"),
            json!({"autoCreatePr": false, "autoBranch": true, "branchName": "feature/x"}),
        ),
    ] {
        let request = LaunchRequest {
            start: StartingPoint::new(None, Some(url)).unwrap(),
            pull_request: PullRequestSpec {
                work_on_current_branch: on_current,
                branch_name: branch.map(str::to_owned),
                ..no_pull_request()
            },
            ..launch_request()
        };
        cursor(&server).launch(&request).await;
        let sent = server.seen().last().unwrap().json();
        assert_eq!(sent["source"], json!({"prUrl": url}));
        assert_eq!(sent["target"], target);
    }
}

#[tokio::test]
async fn an_agent_that_shows_only_its_pull_request_is_of_its_repository() {
    let server = Server::start(|_| {
        let mut agent = agent("bc_1", IN_WINDOW);
        agent["source"] = json!({"prUrl": "https://github.com/acme/app/pull/42"});
        reply(200, agent)
    })
    .await;
    let snapshot = cursor(&server).get(&session("bc_1")).await.unwrap();
    assert_eq!(snapshot.repository.as_deref(), Some(REPOSITORY));
}

#[tokio::test]
async fn a_pull_request_with_reviewers_is_opened_in_the_users_name() {
    let server = Server::start(|_| reply(201, agent("bc_1", IN_WINDOW))).await;
    let request = LaunchRequest {
        pull_request: PullRequestSpec {
            auto_create: true,
            ..no_pull_request()
        },
        ..launch_request()
    };
    cursor(&server).launch(&request).await;
    assert_eq!(
        server.seen()[0].json()["target"],
        json!({"autoCreatePr": true})
    );
}

#[tokio::test]
async fn a_look_tells_branch_pull_request_page_and_summary() {
    let server = Server::start(|_| reply(200, agent("bc_1", IN_WINDOW))).await;
    let snapshot = cursor(&server).get(&session("bc_1")).await.unwrap();
    assert_eq!(snapshot.branch.as_deref(), Some("cursor/add-readme-1234"));
    assert_eq!(
        snapshot.pull_request_url.as_deref(),
        Some("https://github.com/acme/app/pull/1234")
    );
    assert_eq!(
        snapshot.url.as_deref(),
        Some("https://cursor.com/agents?id=bc_1")
    );
    assert_eq!(snapshot.result.as_deref(), Some("Added README.md"));
    assert_eq!(snapshot.created_at, Some(IN_WINDOW.parse().unwrap()));
}

#[tokio::test]
async fn a_stop_is_taken_or_there_is_nothing_to_stop() {
    for (status, answer) in [
        (200, Some(CancelAnswer::Accepted)),
        (
            409,
            Some(CancelAnswer::NotCancellable(Some(
                "HTTP 409 Conflict".into(),
            ))),
        ),
        (400, None),
        (404, None),
        (500, None),
    ] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "GET" => reply(200, agent("bc_1", IN_WINDOW)),
            _ => reply(status, json!({"id": "bc_1"})),
        })
        .await;
        let result = cursor(&server).cancel(&session("bc_1")).await;
        assert_eq!(result.ok(), answer, "{status}");
        assert_eq!(
            server.lines(),
            ["GET /v0/agents/bc_1", "POST /v0/agents/bc_1/stop"]
        );
    }
}

#[tokio::test]
async fn what_has_ended_is_not_stopped_and_so_never_passes_for_stopped() {
    for status in ["FINISHED", "ERROR", "EXPIRED"] {
        let server = Server::start(move |_| {
            let mut agent = agent("bc_1", IN_WINDOW);
            agent["status"] = status.into();
            reply(200, agent)
        })
        .await;
        let answer = cursor(&server).cancel(&session("bc_1")).await.unwrap();
        assert_eq!(answer, CancelAnswer::NotCancellable(None));
        assert_eq!(server.lines(), ["GET /v0/agents/bc_1"]);
    }
}

#[tokio::test]
async fn trouble_with_looking_does_not_hold_up_a_stop_but_an_unknown_agent_is_said_to_be_one() {
    for (status, answer, requests) in [(500, Some(CancelAnswer::Accepted), 2), (404, None, 1)] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "GET" => refusal(status, "agent_not_found"),
            _ => reply(200, json!({"id": "bc_1"})),
        })
        .await;
        let result = cursor(&server).cancel(&session("bc_1")).await;
        assert_eq!(result.ok(), answer);
        assert_eq!(server.lines().len(), requests);
    }
}

#[tokio::test]
async fn the_list_tells_everything_page_by_page() {
    let server = Server::start(|seen| match seen.target.contains("cursor=bc_def456") {
        true => reply(200, json!({"agents": [agent("bc_2", IN_WINDOW)]})),
        false => reply(
            200,
            json!({"agents": [agent("bc_1", IN_WINDOW), {"status": "no id"}], "nextCursor": "bc_def456"}),
        ),
    })
    .await;
    let provider = cursor(&server);
    let first = provider.listing().unwrap().list(None).await.unwrap();
    assert_eq!(first.items.len(), 1);
    let ItemDetail::Full(snapshot) = &first.items[0].detail else {
        panic!()
    };
    assert_eq!(
        **snapshot,
        cursor(&Server::start(|_| reply(200, agent("bc_1", IN_WINDOW))).await)
            .get(&session("bc_1"))
            .await
            .unwrap()
    );
    assert_eq!(first.next, Some(PageToken("bc_def456".into())));
    let last = provider
        .listing()
        .unwrap()
        .list(first.next.as_ref())
        .await
        .unwrap();
    assert_eq!((last.items.len(), last.next), (1, None));
}

#[tokio::test]
async fn the_account_is_the_user_or_else_the_key_and_the_models_are_listed() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/v0/models" => reply(200, json!({"models": ["claude-4-sonnet", 7, "gpt-5.2"]})),
        _ => reply(
            200,
            json!({"apiKeyName": "CI", "createdAt": "2024-01-15T10:30:00Z", "userEmail": "dev@acme.com"}),
        ),
    })
    .await;
    let provider = cursor(&server);
    let account = provider.verify().await.unwrap();
    assert_eq!(account.name.as_deref(), Some("CI"));
    assert_eq!(account.email.as_deref(), Some("dev@acme.com"));
    assert_eq!(
        provider.models().unwrap().list_models().await.unwrap(),
        ["claude-4-sonnet", "gpt-5.2"]
    );
    assert_eq!(server.lines(), ["GET /v0/me", "GET /v0/models"]);

    let service = Server::start(|_| {
        reply(
            200,
            json!({"apiKeyName": "CI", "createdAt": "2024-01-15T10:30:00Z"}),
        )
    })
    .await;
    let other = cursor(&service).verify().await.unwrap();
    assert_ne!(account.fingerprint, other.fingerprint);

    let nobody = Server::start(|_| reply(200, json!({"apiKeyName": "CI"}))).await;
    let error = cursor(&nobody).verify().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol);
}

#[tokio::test]
async fn a_lost_launch_is_found_by_the_marker_in_the_first_message_alone() {
    let mut elsewhere = agent("bc_elsewhere", IN_WINDOW);
    elsewhere["source"]["repository"] = "https://github.com/acme/other".into();
    // The document does not promise a repository in the list.
    let mut nowhere = agent("bc_ours", IN_WINDOW);
    nowhere["source"] = json!({});
    let agents = vec![
        elsewhere,
        agent("bc_early", "2026-10-01T11:59:59Z"),
        agent("bc_owned", IN_WINDOW),
        agent("bc_foreign", IN_WINDOW),
        nowhere,
        agent("bc_second", "2026-10-01T12:20:00Z"),
    ];
    let server = with_conversations(agents, |id| {
        reply(
            200,
            conversation(&match id {
                "bc_ours" => ours(),
                "bc_second" => marked("0a1b2c3d", "session-uid", 2),
                "bc_foreign" => marked("ffffffff", "session-uid", 1),
                other => panic!("{other} is no candidate"),
            }),
        )
    })
    .await;
    let request = AdoptRequest {
        owned: [SessionId::new("bc_owned")].into(),
        ..adopt_request()
    };
    let found = found(cursor(&server).adopt(&request).await.unwrap());
    let found: Vec<_> = found
        .iter()
        .map(|found| (found.snapshot.session_id.as_str(), found.attempt))
        .collect();
    assert_eq!(found, [("bc_second", Some(2)), ("bc_ours", Some(1))]);
}

#[tokio::test]
async fn a_candidate_that_cannot_be_read_yet_leaves_it_open() {
    for broken in [
        || reply(200, json!({"id": "bc_1", "messages": []})),
        || {
            reply(
                200,
                json!({"messages": [{"type": "user_message"}, {"type": "user_message", "text": "x"}]}),
            )
        },
        || refusal(409, "agent_deleted"),
        || refusal(404, "agent_not_found"),
        || reply(500, ""),
    ] {
        let asked = AtomicUsize::new(0);
        let server = with_conversations(vec![agent("bc_1", IN_WINDOW)], move |_| {
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => broken(),
                _ => reply(200, conversation(&ours())),
            }
        })
        .await;
        let provider = cursor(&server);
        let AdoptAnswer::Inconclusive { resume, .. } =
            provider.adopt(&adopt_request()).await.unwrap()
        else {
            panic!()
        };
        let again = AdoptRequest {
            resume,
            ..adopt_request()
        };
        assert_eq!(found(provider.adopt(&again).await.unwrap()).len(), 1);
    }
}
