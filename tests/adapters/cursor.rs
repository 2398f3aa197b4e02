//! Cursor's API v1 against hand-written answers in the shapes of its documentation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codeagent_operator::api::{ModelSpec, ProviderKind, PullRequestSpec};
use codeagent_operator::domain::ids::{RunId, SessionId};
use codeagent_operator::domain::pull_request::StartingPoint;
use codeagent_operator::domain::snapshot::{RemotePhase, Usage};
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, CancelAnswer, Found, ItemDetail, LaunchOutcome, LaunchRequest,
    Launched, PageToken, Provider, SessionRef,
};
use codeagent_operator::providers::error::{ErrorClass, Subject};
use jiff::Timestamp;
use serde_json::{Value, json};

fn cursor(server: &Server) -> Arc<dyn Provider> {
    connect(&stack(settings()), ProviderKind::Cursor, &server.url)
}

fn session(id: &str, run: Option<&str>) -> SessionRef {
    SessionRef {
        session_id: SessionId::new(id),
        run_id: run.map(RunId::new),
    }
}

fn agent(id: &str) -> Value {
    json!({
        "id": id, "name": "Fix login", "status": "ACTIVE", "env": {"type": "cloud"},
        "repos": [{"url": "https://github.com/Acme/app.git", "startingRef": "main"}],
        "url": format!("https://cursor.com/agents/{id}"),
        "createdAt": "2026-10-01T12:30:00Z", "updatedAt": "2026-10-01T12:31:00Z", "latestRunId": "run-1"
    })
}

fn run(id: &str, status: &str) -> Value {
    json!({
        "id": id, "agentId": "bc-1", "status": status,
        "createdAt": Timestamp::now().to_string(), "updatedAt": "2026-10-01T12:30:01Z",
        "durationMs": 12357, "result": "Done.",
        "git": {"branches": [
            {"repoUrl": "github.com/acme/app", "branch": "cursor/fix-a1b2", "prUrl": "https://github.com/acme/app/pull/12"}
        ]}
    })
}

/// A run that touched another repository as well.
fn two_branches(mut run: Value) -> Value {
    let other = json!({"repoUrl": "github.com/acme/library", "branch": "cursor/other", "prUrl": "https://github.com/acme/library/pull/1"});
    run["git"]["branches"]
        .as_array_mut()
        .unwrap()
        .insert(0, other);
    run
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name);
    value
}

fn ours() -> String {
    format!("bc-{}", key(1))
}

async fn launched(answer: Value, status: u16) -> Launched {
    let server = Server::start(move |_| reply(status, &answer)).await;
    match cursor(&server).launch(&launch_request()).await {
        LaunchOutcome::Accepted(launched) => launched,
        other => panic!("{other:?}"),
    }
}

fn found(answer: AdoptAnswer) -> Vec<Found> {
    match answer {
        AdoptAnswer::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plain_launch_sends_our_id_and_leaves_every_default_to_cursor() {
    let server = Server::start(|_| {
        reply(
            201,
            json!({"agent": agent("bc-1"), "run": run("run-1", "CREATING")}),
        )
    })
    .await;
    let request = LaunchRequest {
        start: StartingPoint::DefaultBranch,
        model: Some(ModelSpec {
            id: "auto".into(),
            params: BTreeMap::new(),
        }),
        pull_request: PullRequestSpec {
            skip_reviewer_request: true,
            ..no_pull_request()
        },
        ..launch_request()
    };
    cursor(&server).launch(&request).await;
    let seen = &server.seen()[0];
    assert!(seen.is("POST /v1/agents"));
    let basic = format!("Basic {}", STANDARD.encode(format!("{KEY}:")));
    assert_eq!(seen.header("authorization"), Some(basic.as_str()));
    assert_eq!(
        seen.json(),
        json!({
            "agentId": ours(),
            "name": format!("team-a/fix-login [{} {}]", key(1).short(), installation()),
            "prompt": {"text": request.prompt},
            "repos": [{"url": REPOSITORY}],
            "autoCreatePR": false
        })
    );
}

#[tokio::test]
async fn a_launch_with_every_setting_sends_every_setting() {
    let server = Server::start(|_| reply(201, json!({"agent": agent("bc-1")}))).await;
    let request = LaunchRequest {
        name: "ä".repeat(200),
        model: Some(ModelSpec {
            id: "composer-2".into(),
            params: [("fast".to_owned(), "true".to_owned())].into(),
        }),
        pull_request: PullRequestSpec {
            auto_create: true,
            work_on_current_branch: true,
            skip_reviewer_request: true,
            branch_name: None,
        },
        ..launch_request()
    };
    cursor(&server).launch(&request).await;
    let sent = server.seen()[0].json();
    let name = sent["name"].as_str().unwrap();
    assert_eq!(name.chars().count(), 100);
    assert!(name.ends_with(&format!("ä [{} {}]", key(1).short(), installation())));
    assert_eq!(
        without(sent.clone(), "name"),
        json!({
            "agentId": ours(),
            "prompt": {"text": request.prompt},
            "model": {"id": "composer-2", "params": [{"id": "fast", "value": "true"}]},
            "repos": [{"url": REPOSITORY, "startingRef": "main"}],
            "workOnCurrentBranch": true,
            "autoCreatePR": true,
            "skipReviewerRequest": true
        })
    );
}

const PULL_REQUEST: &str = "https://github.com/acme/app/pull/42";

#[tokio::test]
async fn a_launch_from_a_pull_request_names_it_beside_its_repository() {
    let server = Server::start(|_| reply(201, json!({"agent": agent("bc-1")}))).await;
    for on_current in [false, true] {
        let request = LaunchRequest {
            start: StartingPoint::new(None, Some(PULL_REQUEST)).unwrap(),
            pull_request: PullRequestSpec {
                work_on_current_branch: on_current,
                ..no_pull_request()
            },
            ..launch_request()
        };
        cursor(&server).launch(&request).await;
        let sent = server.seen().last().unwrap().json();
        assert_eq!(
            sent["repos"],
            json!([{"url": REPOSITORY, "prUrl": PULL_REQUEST}])
        );
        let expected = on_current.then_some(json!(true));
        assert_eq!(sent.get("workOnCurrentBranch").cloned(), expected);
    }
}

/// That `url` is echoed beside `prUrl` is not documented: the pull request tells the repository as well.
#[tokio::test]
async fn an_agent_that_shows_only_its_pull_request_is_of_its_repository() {
    for (pull_request, doubted) in [
        (PULL_REQUEST, false),
        ("https://github.com/acme/other/pull/42", true),
    ] {
        let server = Server::start(move |seen| {
            if seen.target.contains("/runs") {
                return reply(200, run("run-1", "RUNNING"));
            }
            let mut agent = agent(&ours());
            agent["repos"] = json!([{"prUrl": pull_request}]);
            reply(200, agent)
        })
        .await;
        let found = found(cursor(&server).adopt(&adopt_request()).await.unwrap());
        assert_eq!(found[0].doubt.is_some(), doubted, "{pull_request}");
    }
}

#[tokio::test]
async fn an_answer_is_accepted_by_its_shape_with_200_as_with_201_and_with_another_id() {
    for status in [200, 201] {
        let launched = launched(
            json!({"agent": agent("bc-other"), "run": run("run-1", "CREATING")}),
            status,
        )
        .await;
        assert_eq!(launched.session_id.as_str(), "bc-other");
        assert_eq!(launched.run_id, Some(RunId::new("run-1")));
        assert_eq!(
            launched.url.as_deref(),
            Some("https://cursor.com/agents/bc-other")
        );
        assert_eq!(launched.phase, RemotePhase::Creating);
    }
}

#[tokio::test]
async fn only_the_id_is_needed_of_an_answer() {
    let odd = json!({"agent": {"id": "bc-1", "url": 7, "createdAt": "yesterday", "latestRunId": "run-9"}, "run": "later"});
    let launched = launched(odd, 201).await;
    assert_eq!(launched.session_id.as_str(), "bc-1");
    assert_eq!(launched.run_id, Some(RunId::new("run-9")));
    assert_eq!(
        (launched.url, launched.phase),
        (None, RemotePhase::Creating)
    );
}

#[tokio::test]
async fn refusals_say_what_they_are_about() {
    for (status, code, class, subject) in [
        (
            400,
            "invalid_model",
            ErrorClass::InvalidRequest,
            Some(Subject::Model),
        ),
        (
            400,
            "repository_access",
            ErrorClass::InvalidRequest,
            Some(Subject::Repository),
        ),
        (
            403,
            "integration_not_connected",
            ErrorClass::Forbidden,
            Some(Subject::Repository),
        ),
        (403, "plan_required", ErrorClass::QuotaExhausted, None),
        (401, "unauthorized", ErrorClass::Unauthorized, None),
    ] {
        let server = Server::start(move |_| refusal(status, code)).await;
        let LaunchOutcome::Rejected(error) = cursor(&server).launch(&launch_request()).await else {
            panic!("{code}")
        };
        assert_eq!((error.class, error.subject), (class, subject), "{code}");
        assert_eq!(error.message, format!("because of {code}"));
    }
}

#[tokio::test]
async fn a_known_run_takes_one_request_to_look_at() {
    let server = Server::start(|_| reply(200, run("run-1", "RUNNING"))).await;
    let snapshot = cursor(&server)
        .get(&session("bc-1", Some("run-1")))
        .await
        .unwrap();
    assert_eq!(server.lines(), ["GET /v1/agents/bc-1/runs/run-1"]);
    assert_eq!(snapshot.phase, RemotePhase::Running);
    assert_eq!(snapshot.branch.as_deref(), Some("cursor/fix-a1b2"));
    assert_eq!(snapshot.usage, None);
}

#[tokio::test]
async fn a_finished_session_tells_everything() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/v1/agents/bc-1" => reply(200, agent("bc-1")),
        "/v1/agents/bc-1/runs/run-1" => reply(200, run("run-1", "FINISHED")),
        "/v1/agents/bc-1/usage" => reply(200, json!({
            "totalUsage": {"inputTokens": 1, "outputTokens": 20, "cacheWriteTokens": 300, "cacheReadTokens": 4000, "totalTokens": 4321},
            "cost": {"rawCostCents": 4.2}
        })),
        _ => reply(500, ""),
    })
    .await;
    let snapshot = cursor(&server).get(&session("bc-1", None)).await.unwrap();
    assert_eq!(snapshot.phase, RemotePhase::Finished);
    assert_eq!(snapshot.run_id, Some(RunId::new("run-1")));
    assert_eq!(snapshot.result.as_deref(), Some("Done."));
    assert_eq!(snapshot.duration, Some(Duration::from_millis(12357)));
    assert_eq!(snapshot.branch.as_deref(), Some("cursor/fix-a1b2"));
    assert_eq!(
        snapshot.pull_request_url.as_deref(),
        Some("https://github.com/acme/app/pull/12")
    );
    assert_eq!(
        snapshot.usage,
        Some(Usage {
            input_tokens: 4301,
            output_tokens: 20,
            cost_cents: Some(5)
        })
    );
}

#[tokio::test]
async fn of_two_branches_the_one_of_our_repository_counts() {
    for run_id in [Some("run-1"), None] {
        let server = Server::start(|seen| match seen.target.as_str() {
            "/v1/agents/bc-1" => reply(200, agent("bc-1")),
            _ => reply(200, two_branches(run("run-1", "RUNNING"))),
        })
        .await;
        let snapshot = cursor(&server).get(&session("bc-1", run_id)).await.unwrap();
        assert_eq!(snapshot.branch.as_deref(), Some("cursor/fix-a1b2"));
        assert_eq!(server.lines().len(), 2);
    }
}

#[tokio::test]
async fn what_was_charged_goes_before_what_it_would_cost() {
    let server = Server::start(|seen| match seen.target.ends_with("/usage") {
        true => reply(
            200,
            json!({"cost": {"rawCostCents": 4.2, "chargedCents": 0}}),
        ),
        false => reply(200, run("run-1", "ERROR")),
    })
    .await;
    let snapshot = cursor(&server)
        .get(&session("bc-1", Some("run-1")))
        .await
        .unwrap();
    assert_eq!(snapshot.usage.unwrap().cost_cents, Some(0));
}

#[tokio::test]
async fn a_cost_that_cannot_be_read_holds_up_no_result() {
    for status in [403, 404, 500] {
        let server = Server::start(move |seen| match seen.target.ends_with("/usage") {
            true => refusal(status, "feature_unavailable"),
            false => reply(200, run("run-1", "CANCELLED")),
        })
        .await;
        let snapshot = cursor(&server)
            .get(&session("bc-1", Some("run-1")))
            .await
            .unwrap();
        assert_eq!(
            (snapshot.phase, snapshot.usage),
            (RemotePhase::Cancelled, None),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_lost_run_is_looked_for_through_its_agent() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/v1/agents/bc-1/runs/run-old" => refusal(404, "run_not_found"),
        "/v1/agents/bc-1" => reply(200, agent("bc-1")),
        "/v1/agents/bc-1/runs/run-1" => reply(200, run("run-1", "RUNNING")),
        _ => reply(500, ""),
    })
    .await;
    let snapshot = cursor(&server)
        .get(&session("bc-1", Some("run-old")))
        .await
        .unwrap();
    assert_eq!(snapshot.run_id, Some(RunId::new("run-1")));
}

#[tokio::test]
async fn a_lost_agent_is_not_found() {
    let server = Server::start(|_| refusal(404, "agent_not_found")).await;
    let error = cursor(&server)
        .get(&session("bc-1", Some("run-1")))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::NotFound);
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn an_agent_that_names_no_run_is_asked_for_its_newest() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/v1/agents/bc-1" => reply(200, without(agent("bc-1"), "latestRunId")),
        "/v1/agents/bc-1/runs?limit=1" => reply(
            200,
            json!({"items": [without(run("run-7", "RUNNING"), "result")]}),
        ),
        "/v1/agents/bc-1/runs/run-7" => reply(200, run("run-7", "RUNNING")),
        _ => reply(500, ""),
    })
    .await;
    let snapshot = cursor(&server).get(&session("bc-1", None)).await.unwrap();
    assert_eq!(
        (snapshot.run_id, snapshot.phase),
        (Some(RunId::new("run-7")), RemotePhase::Running)
    );
}

#[tokio::test]
async fn an_agent_without_any_run_is_creating_and_expired_once_archived() {
    for (status, phase) in [
        ("ACTIVE", RemotePhase::Creating),
        ("ARCHIVED", RemotePhase::Expired),
    ] {
        let server = Server::start(move |seen| match seen.target.as_str() {
            "/v1/agents/bc-1" => {
                let mut agent = without(agent("bc-1"), "latestRunId");
                agent["status"] = status.into();
                reply(200, agent)
            }
            "/v1/agents/bc-1/runs?limit=1" => reply(200, json!({"items": []})),
            _ => refusal(404, "run_not_found"),
        })
        .await;
        let snapshot = cursor(&server).get(&session("bc-1", None)).await.unwrap();
        assert_eq!((snapshot.phase, snapshot.run_id), (phase, None));
    }
}

#[tokio::test]
async fn a_run_that_is_active_for_long_on_an_archived_agent_has_expired() {
    for (status, phase) in [
        ("ACTIVE", RemotePhase::Running),
        ("ARCHIVED", RemotePhase::Expired),
    ] {
        let server = Server::start(move |seen| match seen.target.as_str() {
            "/v1/agents/bc-1" => {
                let mut agent = agent("bc-1");
                agent["status"] = status.into();
                reply(200, agent)
            }
            "/v1/agents/bc-1/runs/run-1" => {
                let mut run = run("run-1", "RUNNING");
                run["createdAt"] = "2026-01-01T00:00:00Z".into();
                reply(200, run)
            }
            _ => refusal(404, "run_not_found"),
        })
        .await;
        let snapshot = cursor(&server)
            .get(&session("bc-1", Some("run-1")))
            .await
            .unwrap();
        assert_eq!(snapshot.phase, phase);
    }
}

#[tokio::test]
async fn a_hint_changes_with_the_date_the_run_and_the_status() {
    let mut hints = Vec::new();
    for (name, value) in [
        ("name", "Renamed"),
        ("updatedAt", "2026-10-01T12:32:00Z"),
        ("latestRunId", "run-2"),
        ("status", "IDLE"),
    ] {
        let server = Server::start(move |_| {
            let mut agent = without(agent("bc-1"), "repos");
            agent[name] = value.into();
            reply(
                200,
                json!({"items": [agent, {"no": "id"}], "nextCursor": "next"}),
            )
        })
        .await;
        let page = cursor(&server)
            .listing()
            .unwrap()
            .list(Some(&PageToken("a b".into())))
            .await
            .unwrap();
        assert_eq!(server.lines(), ["GET /v1/agents?limit=100&cursor=a+b"]);
        assert_eq!(page.next, Some(PageToken("next".into())));
        let [item] = &page.items[..] else { panic!() };
        let ItemDetail::Hint(hint) = &item.detail else {
            panic!()
        };
        hints.push(hint.clone());
    }
    hints.dedup();
    assert_eq!(hints.len(), 4, "{hints:?}");
}

#[tokio::test]
async fn a_cancel_goes_to_the_newest_run_and_may_be_repeated() {
    let server = Server::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("GET", "/v1/agents/bc-1") => reply(200, agent("bc-1")),
        ("GET", "/v1/agents/bc-1/runs/run-1") => reply(200, run("run-1", "RUNNING")),
        ("POST", "/v1/agents/bc-1/runs/run-1/cancel") => reply(200, json!({"id": "run-1"})),
        ("POST", "/v1/agents/bc-1/runs/run-ended/cancel") => refusal(409, "run_not_cancellable"),
        _ => reply(500, ""),
    })
    .await;
    let provider = cursor(&server);
    for _ in 0..2 {
        let answer = provider.cancel(&session("bc-1", None)).await.unwrap();
        assert_eq!(answer, CancelAnswer::Accepted);
    }
    let ended = provider
        .cancel(&session("bc-1", Some("run-ended")))
        .await
        .unwrap();
    let words = Some("because of run_not_cancellable".to_owned());
    assert_eq!(ended, CancelAnswer::NotCancellable(words));
    let broken = provider
        .cancel(&session("bc-1", Some("run-broken")))
        .await
        .unwrap_err();
    assert_eq!(broken.class, ErrorClass::Unavailable);
}

#[tokio::test]
async fn a_cancel_of_a_run_that_is_gone_goes_to_the_newest_one() {
    let server = Server::start(|seen| match (seen.method.as_str(), seen.target.as_str()) {
        ("GET", "/v1/agents/bc-1") => reply(200, agent("bc-1")),
        ("GET", "/v1/agents/bc-1/runs/run-1") => reply(200, run("run-1", "RUNNING")),
        ("POST", "/v1/agents/bc-1/runs/run-1/cancel") => reply(200, json!({"id": "run-1"})),
        _ => refusal(404, "run_not_found"),
    })
    .await;
    let answer = cursor(&server)
        .cancel(&session("bc-1", Some("run-gone")))
        .await
        .unwrap();
    assert_eq!(answer, CancelAnswer::Accepted);
    let last = server.lines().pop().unwrap();
    assert_eq!(last, "POST /v1/agents/bc-1/runs/run-1/cancel");
}

#[tokio::test]
async fn an_account_is_told_by_its_user_or_else_by_its_key() {
    let mut fingerprints = Vec::new();
    for me in [
        json!({"apiKeyName": "CI", "createdAt": "2026-01-01T00:00:00Z", "userId": "u1", "userEmail": "dev@acme.com"}),
        json!({"apiKeyName": "CI", "createdAt": "2026-01-01T00:00:00Z", "userId": 1, "userEmail": "dev@acme.com"}),
        json!({"apiKeyName": "CI", "createdAt": "2026-01-01T00:00:00Z", "userEmail": "dev@acme.com"}),
        json!({"apiKeyName": "CI", "createdAt": "2026-01-01T00:00:00Z"}),
        json!({"apiKeyName": "CI", "createdAt": "2026-02-02T00:00:00Z"}),
    ] {
        let email = me.get("userEmail").is_some();
        let server = Server::start(move |_| reply(200, &me)).await;
        let account = cursor(&server).verify().await.unwrap();
        assert_eq!(account.name.as_deref(), Some("CI"));
        assert_eq!(account.email.is_some(), email);
        fingerprints.push(account.fingerprint);
    }
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 5);

    // A rotated key of the same user is the same account.
    let rotated =
        json!({"apiKeyName": "CI 2", "createdAt": "2026-03-03T00:00:00Z", "userId": "u1"});
    let server = Server::start(move |_| reply(200, &rotated)).await;
    assert!(fingerprints.contains(&cursor(&server).verify().await.unwrap().fingerprint));

    let server = Server::start(|_| reply(200, json!({}))).await;
    assert_eq!(
        cursor(&server).verify().await.unwrap_err().class,
        ErrorClass::Protocol
    );
}

#[tokio::test]
async fn models_are_texts_or_objects_and_bounded() {
    let mut items = vec![
        json!("composer-2"),
        json!({"id": "gpt-5.5", "displayName": "GPT"}),
        json!(7),
    ];
    items.extend((0..200).map(|n| json!(format!("model-{n}"))));
    let server = Server::start(move |_| reply(200, json!({"items": items}))).await;
    let models = cursor(&server)
        .models()
        .unwrap()
        .list_models()
        .await
        .unwrap();
    assert_eq!(models[..3], ["composer-2", "gpt-5.5", "model-0"]);
    assert_eq!(models.len(), 100);
}

#[tokio::test]
async fn our_id_is_adopted_with_its_run_if_the_repository_is_ours() {
    let server =
        Server::start(
            |seen| match seen.target.strip_prefix(&format!("/v1/agents/{}", ours())) {
                Some("") => reply(200, agent(&ours())),
                Some("/runs/run-1") => reply(200, run("run-1", "RUNNING")),
                _ => refusal(404, "agent_not_found"),
            },
        )
        .await;
    // The newest attempt was never taken, the one before was.
    let request = AdoptRequest {
        message: None,
        keys: vec![key(2), key(1)],
        ..adopt_request()
    };
    let found = found(cursor(&server).adopt(&request).await.unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].snapshot.session_id.as_str(), ours());
    assert_eq!(found[0].snapshot.run_id, Some(RunId::new("run-1")));
    assert_eq!(server.lines()[0], format!("GET /v1/agents/bc-{}", key(2)));
}

#[tokio::test]
async fn a_missing_id_is_absent_where_ids_are_honoured_and_any_other_answer_is_not() {
    let server = Server::start(|_| refusal(404, "agent_not_found")).await;
    let answer = cursor(&server).adopt(&adopt_request()).await.unwrap();
    assert_eq!(answer, AdoptAnswer::Absent);
    assert_eq!(server.lines().len(), 1);

    for status in [401, 403, 429, 500] {
        let server = Server::start(move |_| reply(status, "")).await;
        let answer = cursor(&server).adopt(&adopt_request()).await;
        assert!(answer.is_err(), "{status}: {answer:?}");
    }
}

/// A server that ignores `agentId`: it lists these agents, and shows each in full with `repository`.
async fn ignores_ids(agents: Vec<Value>, repository: &'static str) -> Server {
    Server::start(move |seen| {
        if seen.target.starts_with("/v1/agents?") {
            let listed: Vec<Value> = agents
                .iter()
                .map(|agent| without(agent.clone(), "repos"))
                .collect();
            return reply(200, json!({"items": listed, "nextCursor": null}));
        }
        if seen.target.contains("/runs/") {
            return reply(200, run("run-1", "RUNNING"));
        }
        match agents
            .iter()
            .find(|agent| seen.target.ends_with(agent["id"].as_str().unwrap()))
        {
            Some(agent) => {
                let mut agent = agent.clone();
                agent["repos"][0]["url"] = repository.into();
                reply(200, agent)
            }
            None => refusal(404, "agent_not_found"),
        }
    })
    .await
}

fn named(id: &str, name: String) -> Value {
    let mut agent = agent(id);
    agent["name"] = name.into();
    agent
}

#[tokio::test]
async fn where_ids_may_be_ignored_the_name_finds_the_session() {
    let request = AdoptRequest {
        evidence_seen: false,
        owned: [SessionId::new("bc-owned")].into(),
        ..adopt_request()
    };
    let ours = format!("team-a/fix-login [{} {}]", key(1).short(), installation());
    let mut early = named("bc-early", ours.clone());
    early["createdAt"] = "2026-10-01T11:00:00Z".into();
    let agents = vec![
        named("bc-other", "team-a/fix-login [00000000 0a1b2c3d]".into()),
        named(
            "bc-foreign",
            format!("team-a/fix-login [{} ffffffff]", key(1).short()),
        ),
        named("bc-owned", ours.clone()),
        early,
        named("bc-made-up", ours),
    ];
    let server = ignores_ids(agents.clone(), REPOSITORY).await;
    let found = found(cursor(&server).adopt(&request).await.unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].snapshot.session_id.as_str(), "bc-made-up");

    // Our name, and a repository that may be ours under another name.
    let server = ignores_ids(agents.clone(), "https://github.com/acme/other").await;
    let answer = cursor(&server).adopt(&request).await.unwrap();
    assert!(
        matches!(answer, AdoptAnswer::Inconclusive { .. }),
        "{answer:?}"
    );

    // A name that somebody else gave, Cursor perhaps, says nothing.
    let server = ignores_ids(vec![named("bc-titled", "Fix the login".into())], REPOSITORY).await;
    let answer = cursor(&server).adopt(&request).await.unwrap();
    assert!(
        matches!(answer, AdoptAnswer::Inconclusive { .. }),
        "{answer:?}"
    );

    // Where ids are honoured nothing but the id counts.
    let server = ignores_ids(agents, REPOSITORY).await;
    let answer = cursor(&server).adopt(&adopt_request()).await.unwrap();
    assert_eq!(answer, AdoptAnswer::Absent);
}

#[tokio::test]
async fn a_listed_session_that_cannot_be_looked_at_makes_the_look_inconclusive() {
    let name = format!("team-a/fix-login [{} {}]", key(1).short(), installation());
    let server = Server::start(move |seen| match seen.target.starts_with("/v1/agents?") {
        true => reply(200, json!({"items": [named("bc-new", name.clone())]})),
        false => refusal(404, "agent_not_found"),
    })
    .await;
    let request = AdoptRequest {
        evidence_seen: false,
        ..adopt_request()
    };
    let answer = cursor(&server).adopt(&request).await.unwrap();
    assert!(
        matches!(
            answer,
            AdoptAnswer::Inconclusive {
                resume: Some(_),
                ..
            }
        ),
        "{answer:?}"
    );
}
