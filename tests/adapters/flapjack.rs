//! Flapjack's adapter against hand-written answers in the shapes of its documentation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::*;
use axum::response::Response;
use codeagent_operator::api::{
    FlapjackSpec, ModelSpec, ProviderKind, ProviderSpec, PullRequestSpec,
};
use codeagent_operator::domain::ids::{InstallationId, RunId, SessionId};
use codeagent_operator::domain::marker::Marker;
use codeagent_operator::domain::pull_request::StartingPoint;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, CancelAnswer, Connection, Found, ItemDetail, LaunchOutcome,
    LaunchRequest, Provider, SessionRef,
};
use codeagent_operator::providers::contract::{StoredTemplate, Template, TemplateMark};
use codeagent_operator::providers::error::{ErrorClass, Sent};
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

fn flapjack(server: &Server) -> Arc<dyn Provider> {
    connect(&stack(settings()), ProviderKind::Flapjack, &server.url)
}

/// A connection of a key that belongs to several organisations.
fn in_org(server: &Server, org_id: &str) -> Arc<dyn Provider> {
    let http = stack(settings());
    let connection = Connection {
        spec: ProviderSpec {
            flapjack: Some(FlapjackSpec {
                org_id: Some(org_id.into()),
                endpoint: None,
            }),
            ..ProviderSpec::default()
        },
        ..connection(&http, ProviderKind::Flapjack, &server.url, KEY)
    };
    Registry::get(ProviderKind::Flapjack)
        .unwrap()
        .connect(connection)
        .unwrap()
}

fn session(id: &str) -> SessionRef {
    SessionRef {
        session_id: SessionId::new(id),
        run_id: None,
    }
}

fn request() -> LaunchRequest {
    LaunchRequest {
        template_id: Some("ca-123".into()),
        ..launch_request()
    }
}

const IN_WINDOW: &str = "2026-10-01T12:30:00Z";

/// An item of the documented list.
fn listed(id: &str, status: &str) -> Value {
    json!({
        "id": id, "org_id": "org-789", "code_agent_id": "ca-123", "cursor_agent_id": "cursor-abc",
        "repo_url": "https://github.com/Acme/app.git", "starting_ref": "main", "status": status,
        "latest_run_id": "run-xyz", "pr_url": "https://github.com/acme/app/pull/42",
        "pr_branch": "fix/login-bug", "archived": false, "model_id": "auto",
        "created_at": IN_WINDOW, "started_at": "2026-10-01T12:30:05Z",
        "completed_at": "2026-10-01T12:33:22Z"
    })
}

fn created(id: &str, at: &str) -> Value {
    let mut session = listed(id, "running");
    session["created_at"] = at.into();
    session
}

fn message(prompt: &str) -> Value {
    json!({
        "id": "msg-001", "cursor_run_id": "run-abc", "role": "user", "prompt": prompt,
        "status": "finished", "result_text": "Fixed the JWT expiry check...", "duration_ms": 197_000,
        "pr_url": "https://github.com/acme/app/pull/42", "error": null,
        "started_at": "2026-10-01T12:30:05Z", "completed_at": "2026-10-01T12:33:22Z",
        "created_at": "2026-10-01T12:30:00Z"
    })
}

/// The documented answer to a look at one session, with these messages.
fn whole(id: &str, status: &str, messages: Value) -> Value {
    json!({
        "id": id, "org_id": "org-789", "code_agent_id": "ca-123", "status": status,
        "pr_url": "https://github.com/acme/app/pull/42", "pr_branch": "fix/login-bug",
        "error": null, "archived": false, "webhook_url": null, "last_event_seq": 142,
        "last_event_at": "2026-10-01T12:33:22Z", "messages": messages
    })
}

fn marked(installation: &str, uid: &str, attempt: i32) -> String {
    let marker = Marker::launch(InstallationId::new(installation), uid, attempt);
    format!("Fix it\n\n{marker}")
}

fn ours() -> String {
    marked("0a1b2c3d", "session-uid", 1)
}

/// Serves a list, and for each session the answer of `of`. Nothing is archived.
async fn with_sessions(
    sessions: Vec<Value>,
    of: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> Server {
    Server::start(
        move |seen| match seen.target.strip_prefix("/api/code-sessions/") {
            Some(id) => of(id),
            None if seen.target.contains("archived=true") => reply(200, json!([])),
            None => reply(200, json!(sessions)),
        },
    )
    .await
}

fn found(answer: AdoptAnswer) -> Vec<Found> {
    match answer {
        AdoptAnswer::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_launch_names_template_key_and_everything_that_the_template_could_say_otherwise() {
    let server = Server::start(|_| {
        reply(
            201,
            json!({"session_id": "cs-456", "message_id": "msg-001"}),
        )
    })
    .await;
    let LaunchOutcome::Accepted(launched) = flapjack(&server).launch(&request()).await else {
        panic!()
    };
    assert_eq!(launched.session_id.as_str(), "cs-456");
    assert_eq!(launched.phase, RemotePhase::Creating);
    let seen = &server.seen()[0];
    assert!(seen.is("POST /api/code-sessions"));
    let bearer = format!("Bearer {KEY}");
    assert_eq!(seen.header("authorization"), Some(bearer.as_str()));
    assert_eq!(
        seen.json(),
        json!({
            "codeAgentId": "ca-123",
            "prompt": request().prompt,
            "cursorApiKey": CURSOR_KEY,
            "repoUrl": REPOSITORY,
            "startingRef": "main",
            "autoCreatePR": false,
            "workOnCurrentBranch": false,
            "skipReviewerRequest": false,
            "modelId": "auto",
            "modelParams": {}
        })
    );
}

#[tokio::test]
async fn a_full_launch_sends_everything_that_was_asked_for() {
    let server = Server::start(|_| reply(201, json!({"session_id": "cs-456"}))).await;
    let request = LaunchRequest {
        start: StartingPoint::DefaultBranch,
        model: Some(ModelSpec {
            id: "composer-2".into(),
            params: [("effort".to_owned(), "high".to_owned())].into(),
        }),
        pull_request: PullRequestSpec {
            auto_create: true,
            work_on_current_branch: true,
            skip_reviewer_request: true,
            branch_name: None,
        },
        ..request()
    };
    in_org(&server, "org-456").launch(&request).await;
    assert_eq!(
        server.seen()[0].json(),
        json!({
            "codeAgentId": "ca-123",
            "prompt": request.prompt,
            "cursorApiKey": CURSOR_KEY,
            "orgId": "org-456",
            "repoUrl": REPOSITORY,
            "autoCreatePR": true,
            "workOnCurrentBranch": true,
            "skipReviewerRequest": true,
            "modelId": "composer-2",
            "modelParams": {"effort": "high"}
        })
    );
}

#[tokio::test]
async fn without_a_template_nothing_is_sent() {
    let server = Server::start(|_| reply(500, "")).await;
    let LaunchOutcome::Rejected(error) = flapjack(&server).launch(&launch_request()).await else {
        panic!()
    };
    // As where Flapjack does not know the template: what is missing is not the session's fault.
    assert_eq!(
        (error.class, error.sent),
        (ErrorClass::NotFound, Sent::Nothing)
    );
    assert_eq!(server.lines().len(), 0);
}

#[tokio::test]
async fn a_look_tells_what_the_newest_message_came_to() {
    let server = Server::start(|_| {
        let mut newer = message("Also add tests");
        newer["cursor_run_id"] = "run-def".into();
        newer["result_text"] = "Added tests".into();
        newer["duration_ms"] = 1500.into();
        newer["created_at"] = "2026-10-01T14:00:00Z".into();
        // That messages come in order is not documented.
        reply(
            200,
            whole("cs-456", "finished", json!([newer, message("x")])),
        )
    })
    .await;
    let snapshot = flapjack(&server).get(&session("cs-456")).await.unwrap();
    assert_eq!(snapshot.run_id, Some(RunId::new("run-def")));
    assert_eq!(snapshot.result.as_deref(), Some("Added tests"));
    assert_eq!(snapshot.duration, Some(Duration::from_millis(1500)));
    assert_eq!(snapshot.branch.as_deref(), Some("fix/login-bug"));
    assert_eq!(
        snapshot.pull_request_url.as_deref(),
        Some("https://github.com/acme/app/pull/42")
    );
    assert_eq!(snapshot.error, None);
}

#[tokio::test]
async fn the_error_is_the_sessions_or_else_the_messages() {
    for (of_session, of_message, shown) in [
        (json!("no access"), json!("failed"), "no access"),
        (json!(null), json!("failed\n  badly"), "failed badly"),
    ] {
        let server = Server::start(move |_| {
            let mut message = message("x");
            message["error"] = of_message.clone();
            let mut session = whole("cs-456", "error", json!([message]));
            session["error"] = of_session.clone();
            reply(200, session)
        })
        .await;
        let snapshot = flapjack(&server).get(&session("cs-456")).await.unwrap();
        assert_eq!(snapshot.error.as_deref(), Some(shown));
    }
}

#[tokio::test]
async fn the_list_is_enough_for_active_sessions_and_points_to_those_that_have_ended() {
    let server = Server::start(|_| {
        reply(
            200,
            json!([listed("cs-1", "running"), listed("cs-2", "finished"), listed("cs-3", "thinking"), {"status": "no id"}]),
        )
    })
    .await;
    let page = in_org(&server, "org-456")
        .listing()
        .unwrap()
        .list(None)
        .await
        .unwrap();
    assert_eq!(
        server.lines(),
        ["GET /api/code-sessions?orgId=org-456&archived=false"]
    );
    assert_eq!(page.next, None);
    let ItemDetail::Full(snapshot) = &page.items[0].detail else {
        panic!()
    };
    assert_eq!(snapshot.phase, RemotePhase::Running);
    assert_eq!(snapshot.run_id, Some(RunId::new("run-xyz")));
    // Result and error are told only by a look.
    let hints: Vec<_> = page.items[1..]
        .iter()
        .map(|item| match &item.detail {
            ItemDetail::Hint(hint) => hint.as_str(),
            ItemDetail::Full(snapshot) => panic!("{snapshot:?}"),
        })
        .collect();
    // They differ by the status, and however long that is they are short.
    assert_ne!(hints[0], hints[1]);
    assert_eq!((hints[0].len(), hints[1].len()), (16, 16));
}

#[tokio::test]
async fn a_stop_is_taken_impossible_too_early_or_to_be_tried_again() {
    for (status, code, answer) in [
        (200, "", Some(CancelAnswer::Accepted)),
        (409, "CANCEL_UNSUPPORTED", Some(CancelAnswer::Unsupported)),
        // Ended, or pending: a look decides.
        (
            409,
            "SESSION_NOT_ACTIVE",
            Some(CancelAnswer::NotCancellable(Some("because".into()))),
        ),
        (
            422,
            "INVALID_STATUS",
            Some(CancelAnswer::NotCancellable(Some("because".into()))),
        ),
        (502, "cursor_cancel_failed", None),
        (404, "NOT_FOUND", None),
    ] {
        let server = Server::start(move |_| {
            reply(
                status,
                json!({"ok": true, "error": code, "detail": "because"}),
            )
        })
        .await;
        let result = flapjack(&server).cancel(&session("cs-456")).await;
        if code == "cursor_cancel_failed" {
            let error = result.as_ref().unwrap_err();
            assert_eq!(
                (error.class, error.code.as_deref()),
                (ErrorClass::Unavailable, Some(code))
            );
        }
        assert_eq!(result.ok(), answer, "{status} {code}");
        assert_eq!(server.lines(), ["POST /api/code-sessions/cs-456/cancel"]);
    }
}

#[tokio::test]
async fn the_account_is_the_key_and_the_organisation() {
    let server = Server::start(|_| reply(200, json!([]))).await;
    let account = flapjack(&server).verify().await.unwrap();
    let other = in_org(&server, "org-456").verify().await.unwrap();
    assert_ne!(account.fingerprint, other.fingerprint);
    assert_eq!(
        server.lines(),
        ["GET /api/code-agents", "GET /api/code-agents?orgId=org-456"]
    );
}

#[tokio::test]
async fn a_lost_launch_is_found_by_the_marker_in_the_first_prompt_of_the_templates_sessions() {
    let mut elsewhere = created("cs-elsewhere", IN_WINDOW);
    elsewhere["repo_url"] = "https://github.com/acme/other".into();
    let sessions = vec![
        elsewhere,
        created("cs-early", "2026-10-01T11:59:59Z"),
        created("cs-owned", IN_WINDOW),
        created("cs-foreign", IN_WINDOW),
        created("cs-ours", IN_WINDOW),
    ];
    let server = with_sessions(sessions, |id| {
        let prompt = match id {
            "cs-ours" => ours(),
            "cs-foreign" => marked("0a1b2c3d", "another-uid", 1),
            other => panic!("{other} is no candidate"),
        };
        reply(200, whole(id, "finished", json!([message(&prompt)])))
    })
    .await;
    let request = AdoptRequest {
        owned: [SessionId::new("cs-owned")].into(),
        template_id: Some("ca-123".into()),
        ..adopt_request()
    };
    let found = found(in_org(&server, "org-456").adopt(&request).await.unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].attempt, Some(1));
    assert_eq!(found[0].snapshot.session_id.as_str(), "cs-ours");
    // A look was taken anyway, so the end is known with everything about it.
    assert_eq!(found[0].snapshot.phase, RemotePhase::Finished);
    assert!(found[0].snapshot.result.is_some());
    let lines = server.lines();
    assert_eq!(
        lines[0],
        "GET /api/code-sessions?orgId=org-456&codeAgentId=ca-123"
    );
}

#[tokio::test]
async fn a_launch_that_somebody_archived_already_is_found_too() {
    let server = Server::start(|seen| {
        if seen.target == "/api/code-sessions/cs-1" {
            return reply(200, whole("cs-1", "finished", json!([message(&ours())])));
        }
        match seen.target.contains("archived=true") {
            true => reply(200, json!([created("cs-1", IN_WINDOW)])),
            false => reply(200, json!([])),
        }
    })
    .await;
    let found = found(flapjack(&server).adopt(&adopt_request()).await.unwrap());
    assert_eq!(found[0].snapshot.session_id.as_str(), "cs-1");
}

#[tokio::test]
async fn nothing_of_ours_in_either_list_is_absent() {
    let server = with_sessions(vec![created("cs-1", IN_WINDOW)], |id| {
        reply(200, whole(id, "running", json!([message("not ours")])))
    })
    .await;
    let answer = flapjack(&server).adopt(&adopt_request()).await.unwrap();
    assert_eq!(answer, AdoptAnswer::Absent);
    assert_eq!(
        server.lines(),
        [
            "GET /api/code-sessions",
            "GET /api/code-sessions/cs-1",
            "GET /api/code-sessions?archived=true"
        ]
    );
}

#[tokio::test]
async fn a_candidate_that_cannot_be_read_yet_leaves_it_open() {
    for broken in [
        || reply(200, whole("cs-1", "pending", json!([]))),
        || reply(200, json!({"id": "cs-1", "status": "pending"})),
        || {
            reply(
                200,
                whole("cs-1", "pending", json!([{"id": "m", "role": "user"}])),
            )
        },
        || reply(404, json!({"error": "NOT_FOUND"})),
        || reply(500, ""),
    ] {
        let asked = AtomicUsize::new(0);
        let server = with_sessions(vec![created("cs-1", IN_WINDOW)], move |id| {
            match asked.fetch_add(1, Ordering::SeqCst) {
                0 => broken(),
                _ => reply(200, whole(id, "running", json!([message(&ours())]))),
            }
        })
        .await;
        let provider = flapjack(&server);
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

#[tokio::test]
async fn an_item_without_an_id_leaves_it_open() {
    let server = with_sessions(vec![json!({"status": "running"})], |_| reply(500, "")).await;
    let answer = flapjack(&server).adopt(&adopt_request()).await.unwrap();
    assert!(
        matches!(answer, AdoptAnswer::Inconclusive { .. }),
        "{answer:?}"
    );
}

fn template() -> Template {
    Template {
        mark: TemplateMark {
            installation: installation(),
            uid: "agent-uid".into(),
        },
        name: "Bug Fixer".into(),
        description: Some("Fixes bugs from GitHub issues".into()),
        repository: Some(REPOSITORY.into()),
        reference: None,
        model: None,
        pull_request: PullRequestSpec {
            auto_create: true,
            ..no_pull_request()
        },
    }
}

const NAME: &str = "Bug Fixer [codeagents.dev/0a1b2c3d/agent-uid]";

/// The documented template, as ours would be stored.
fn stored(id: &str, created: &str) -> Value {
    json!({
        "id": id, "org_id": "org-456", "name": NAME,
        "description": "Fixes bugs from GitHub issues", "model_id": "auto", "model_params": null,
        "default_repo_url": REPOSITORY, "default_starting_ref": "main", "auto_create_pr": true,
        "work_on_current_branch": false, "skip_reviewer_request": false, "preamble": null,
        "created_by": "user-789", "created_at": created, "updated_at": created
    })
}

/// A template that was found before.
fn known(has_preamble: bool) -> StoredTemplate {
    StoredTemplate {
        id: "ca-1".into(),
        up_to_date: false,
        has_preamble,
    }
}

#[tokio::test]
async fn a_template_is_found_by_its_mark_and_of_two_the_oldest() {
    let mut foreign = stored("ca-foreign", "2026-01-01T00:00:00Z");
    foreign["name"] = "Bug Fixer [codeagents.dev/ffffffff/agent-uid]".into();
    let mut nameless = stored("ca-nameless", "2026-01-01T00:00:00Z");
    nameless["name"] = Value::Null;
    let mut renamed = stored("ca-old", "2026-05-06T12:00:00Z");
    renamed["name"] = "Renamed [codeagents.dev/0a1b2c3d/agent-uid]".into();
    let undated = {
        let mut undated = stored("ca-undated", "");
        undated["created_at"] = Value::Null;
        undated
    };
    let all = json!([
        undated,
        foreign,
        nameless,
        stored("ca-new", "2026-05-07T12:00:00Z"),
        renamed
    ]);
    let server = Server::start(move |_| reply(200, &all)).await;
    let provider = in_org(&server, "org-456");
    let templates = provider.templates().unwrap();
    let found = templates.find(&template(), None).await.unwrap();
    assert_eq!(found.unmarked, [""; 0]);
    let found = found.marked.unwrap();
    assert_eq!((found.id.as_str(), found.up_to_date), ("ca-old", false));
    assert_eq!(server.lines(), ["GET /api/code-agents?orgId=org-456"]);

    let another = Template {
        mark: TemplateMark {
            uid: "another-uid".into(),
            ..template().mark
        },
        ..template()
    };
    assert_eq!(templates.find(&another, None).await.unwrap().marked, None);
}

/// What a provider may make of a name: another spelling, a cut, or nothing left of the mark.
#[tokio::test]
async fn a_template_whose_name_was_altered_is_found_or_may_be_ours() {
    for (name, marked, unmarked) in [
        (
            r"Bug Fixer \[codeagents.dev/0a1b2c3d/agent-uid\]",
            true,
            false,
        ),
        (
            "Bug Fixer &#91;codeagents.dev/0a1b2c3d/agent-uid&#93;",
            true,
            false,
        ),
        ("Bug Fixer codeagents.dev/0a1b2c3d/agent-uid", true, false),
        ("Bug Fixer [codeagents.dev/0a1b2c3d/agent-uid", true, false),
        ("Bug Fixer [codeagents.dev/0a1b2c3d/agent-ui…", false, true),
        ("Bug Fixer [codeagents.dev/0a1b", false, true),
        ("Bug Fixer", false, true),
        (
            "Bug Fixer [codeagents.dev/ffffffff/agent-uid]",
            false,
            false,
        ),
        ("Bug", false, false),
        ("Another", false, false),
    ] {
        let mut altered = stored("ca-1", "2026-05-06T12:00:00Z");
        altered["name"] = name.into();
        let all = json!([altered]);
        let server = Server::start(move |_| reply(200, &all)).await;
        let provider = flapjack(&server);
        let templates = provider.templates().unwrap();
        let found = templates.find(&template(), None).await.unwrap();
        let seen = (found.marked.is_some(), !found.unmarked.is_empty());
        assert_eq!(seen, (marked, unmarked), "{name}");
        if let Some(found) = found.marked {
            assert!(found.up_to_date, "{name}");
        }
        let known = templates.find(&template(), Some("ca-1")).await.unwrap();
        assert_ne!(known.marked.is_some(), known.unmarked == ["ca-1"], "{name}");
    }
}

#[tokio::test]
async fn what_somebody_changed_is_noticed_and_what_is_the_same_is_not() {
    for (field, value, up_to_date) in [
        ("updated_at", json!("2026-06-06T12:00:00Z"), true),
        ("model_params", json!({}), true),
        ("preamble", json!(""), true),
        ("preamble", json!("Be quick"), false),
        ("name", json!(format!("Other {}", template().mark)), false),
        ("description", json!(null), false),
        ("model_id", json!("gpt-5"), false),
        ("model_params", json!({"effort": "high"}), false),
        (
            "default_repo_url",
            json!("https://github.com/acme/x"),
            false,
        ),
        ("default_starting_ref", json!("dev"), false),
        ("auto_create_pr", json!(false), false),
        ("work_on_current_branch", json!(true), false),
        ("skip_reviewer_request", json!(true), false),
    ] {
        let mut changed = stored("ca-1", "2026-05-06T12:00:00Z");
        changed[field] = value;
        let all = json!([changed]);
        let server = Server::start(move |_| reply(200, &all)).await;
        let provider = flapjack(&server);
        let found = provider
            .templates()
            .unwrap()
            .find(&template(), None)
            .await
            .unwrap();
        let found = found.marked.unwrap();
        assert_eq!(found.up_to_date, up_to_date, "{field}");
        assert_eq!(found.has_preamble, field == "preamble" && !up_to_date);
    }
}

#[tokio::test]
async fn a_template_is_made_changed_and_deleted_and_never_has_a_preamble() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => reply(201, stored("ca-1", "2026-05-06T12:00:00Z")),
        "PATCH" => reply(200, stored("ca-1", "2026-05-06T12:00:00Z")),
        _ => reply(200, json!({"ok": true})),
    })
    .await;
    let provider = in_org(&server, "org-456");
    let templates = provider.templates().unwrap();
    assert_eq!(templates.create(&template()).await.unwrap(), "ca-1");
    let changed = Template {
        reference: Some("dev".into()),
        model: Some(ModelSpec {
            id: "composer-2".into(),
            params: [("effort".to_owned(), "high".to_owned())].into(),
        }),
        ..template()
    };
    templates.update(&known(false), &changed).await.unwrap();
    templates.update(&known(true), &template()).await.unwrap();
    templates.delete("ca-1").await.unwrap();
    assert_eq!(
        server.lines(),
        [
            "POST /api/code-agents",
            "PATCH /api/code-agents/ca-1",
            "PATCH /api/code-agents/ca-1",
            "DELETE /api/code-agents/ca-1"
        ]
    );
    assert_eq!(
        server.seen()[0].json(),
        json!({
            "name": NAME,
            "description": "Fixes bugs from GitHub issues",
            "orgId": "org-456",
            "defaultRepoUrl": REPOSITORY,
            "defaultStartingRef": "main",
            "autoCreatePR": true,
            "workOnCurrentBranch": false,
            "skipReviewerRequest": false,
            "modelId": "auto",
            "modelParams": {}
        })
    );
    let update = server.seen()[1].json();
    assert_eq!(update.get("orgId"), None);
    assert_eq!(update["defaultStartingRef"], "dev");
    assert_eq!(update["modelParams"], json!({"effort": "high"}));
    assert_eq!(update.get("preamble"), None);
    let cleared = server.seen()[2].json();
    assert_eq!(cleared.get("preamble"), Some(&Value::Null));
}

#[tokio::test]
async fn a_template_without_words_of_its_own_still_says_what_it_is() {
    let server = Server::start(|_| reply(201, json!({"id": "ca-1"}))).await;
    let provider = flapjack(&server);
    let wordless = Template {
        name: String::new(),
        description: None,
        repository: None,
        ..template()
    };
    let templates = provider.templates().unwrap();
    templates.create(&wordless).await.unwrap();
    let body = server.seen()[0].json();
    assert_eq!(body["name"], "[codeagents.dev/0a1b2c3d/agent-uid]");
    assert_eq!(
        body["description"],
        "Kept by codeagent-operator: change the CodeAgent instead"
    );
    assert_eq!(body.get("defaultRepoUrl"), None);
}

#[tokio::test]
async fn a_template_that_is_gone_cannot_be_changed_but_is_deleted() {
    let server = Server::start(|_| {
        reply(
            404,
            json!({"error": "NOT_FOUND", "detail": "no such template"}),
        )
    })
    .await;
    let provider = flapjack(&server);
    let templates = provider.templates().unwrap();
    let error = templates
        .update(&known(false), &template())
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    templates.delete("ca-1").await.unwrap();
}

#[tokio::test]
async fn templates_that_cannot_be_read_are_never_made_a_second_time() {
    let server = Server::start(|_| reply(200, json!([{"name": NAME}]))).await;
    let provider = flapjack(&server);
    let error = provider
        .templates()
        .unwrap()
        .find(&template(), None)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol);
}
