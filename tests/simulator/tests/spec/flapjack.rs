//! Flapjack.

use codeagent_simulator::{
    BusyMessage, Fault, FaultKind, FlapjackOptions, Key, LaunchFilter, Matcher, Operation,
    OperationClass, Provider, SimulatorOptions,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Api, FLAPJACK_KEY, flapjack_start, manual, send};

const CURSOR_KEY_OF_THE_USER: &str = "cursor_canary";

async fn with(options: FlapjackOptions) -> Api {
    let options = SimulatorOptions {
        flapjack: options,
        ..manual()
    };
    Api::start(Provider::Flapjack, options).await
}

async fn template(api: &Api) -> String {
    let body = json!({"name": "Bug Fixer", "defaultRepoUrl": "https://github.com/acme/app"});
    let created = api.post_json("/api/code-agents", body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    created.text("/id")
}

/// A session of a new template; its path.
async fn started(api: &Api, prompt: &str) -> String {
    let body = flapjack_start(&template(api).await, prompt);
    let created = api.post_json("/api/code-sessions", body).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    format!("/api/code-sessions/{}", created.text("/session_id"))
}

async fn patch(api: &Api, path: &str, body: Value) -> Answer {
    send(api.request(Method::PATCH, path).json(&body)).await
}

fn ids(list: &Answer) -> Vec<&str> {
    let items = list.body.as_array().expect("a bare array");
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_key_is_a_bearer_token_and_nothing_else() {
    let api = Api::flapjack().await;
    let path = "/api/code-agents";
    assert_eq!(api.get(path).await.status, StatusCode::OK);
    for refused in [
        api.anonymous(Method::GET, path),
        api.anonymous(Method::GET, path).bearer_auth("wrong"),
        api.anonymous(Method::GET, path)
            .basic_auth(FLAPJACK_KEY, Some("")),
    ] {
        assert_eq!(send(refused).await.flat_error(), (401, "UNAUTHORIZED"));
    }
}

#[tokio::test]
async fn a_template_has_the_documented_defaults_and_is_changed_field_by_field() {
    let api = Api::flapjack().await;
    let created = api.post_json("/api/code-agents", json!({})).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let id = created.text("/id");
    assert!(uuid::Uuid::try_parse(&id).is_ok());
    let defaults = json!({
        "name": "New code agent", "description": null, "model_id": "auto", "model_params": null,
        "default_repo_url": null, "default_starting_ref": "main", "auto_create_pr": true,
        "work_on_current_branch": false, "skip_reviewer_request": false, "preamble": null,
    });
    for (member, value) in defaults.as_object().unwrap() {
        assert_eq!(&created.body[member], value, "{member}");
    }
    let path = format!("/api/code-agents/{id}");
    api.pass(1000);
    let changes =
        json!({"description": "Fixes", "modelParams": {"effort": "high"}, "autoCreatePR": false});
    let changed = patch(&api, &path, changes).await;
    assert_eq!(
        (changed.text("/description"), changed.text("/name")),
        ("Fixes".into(), "New code agent".into())
    );
    assert_eq!(changed.body["model_params"], json!({"effort": "high"}));
    assert_eq!(changed.body["auto_create_pr"], false);
    assert!(changed.text("/updated_at") > changed.text("/created_at"));
    let cleared = patch(&api, &path, json!({"description": null})).await;
    assert_eq!(
        (
            &cleared.body["description"],
            &cleared.body["auto_create_pr"]
        ),
        (&Value::Null, &json!(false))
    );
    assert_eq!(api.get(&path).await.body, cleared.body);
    assert_eq!(ids(&api.get("/api/code-agents").await), [id]);
    assert_eq!(api.delete(&path).await.body, json!({"ok": true}));
    assert_eq!(api.get(&path).await.flat_error(), (404, "NOT_FOUND"));
    assert_eq!(ids(&api.get("/api/code-agents").await).len(), 0);
}

#[tokio::test]
async fn a_session_goes_through_all_phases_and_ends_with_a_pull_request() {
    let api = Api::flapjack().await;
    let template = template(&api).await;
    let started = api
        .post_json(
            "/api/code-sessions",
            flapjack_start(&template, "Fix the login"),
        )
        .await;
    assert_eq!(started.status, StatusCode::CREATED);
    let (id, message) = (started.text("/session_id"), started.text("/message_id"));
    assert_eq!(started.body.as_object().unwrap().len(), 2);
    let path = format!("/api/code-sessions/{id}");
    let pending = api.get(&path).await;
    assert_eq!(pending.text("/status"), "pending");
    for unknown in ["cursor_agent_id", "latest_run_id", "started_at", "pr_url"] {
        assert_eq!(pending.body[unknown], Value::Null, "{unknown}");
    }
    for status in ["creating", "running", "finished"] {
        api.pass(1000);
        let session = api.get(&path).await;
        assert_eq!(session.text("/status"), status);
        assert_eq!(session.text("/messages/0/status"), status);
    }
    let finished = api.get(&path).await;
    assert_eq!(finished.text("/messages/0/id"), message);
    assert!(
        finished
            .text("/messages/0/prompt")
            .starts_with("Fix the login")
    );
    assert_eq!(finished.body["messages"][0]["duration_ms"], 2000);
    assert!(!finished.text("/messages/0/result_text").is_empty());
    assert!(
        finished
            .text("/pr_url")
            .starts_with("https://github.com/acme/app/pull/")
    );
    assert!(
        finished
            .text("/pr_branch")
            .starts_with("cursor/fix-the-login")
    );
    assert_eq!(finished.body["error"], Value::Null);
    assert_eq!(
        finished.text("/latest_run_id"),
        finished.text("/messages/0/cursor_run_id")
    );
    let list = api.get("/api/code-sessions").await;
    assert_eq!(ids(&list), [id]);
    assert_eq!(list.body[0].get("messages"), None);
    assert_eq!(list.text("/0/code_agent_id"), template);
    assert_eq!(api.simulator.sessions()[0].status, "finished");
}

#[tokio::test]
async fn the_users_cursor_key_is_required_and_never_seen_again() {
    let api = Api::flapjack().await;
    let mut body = flapjack_start(&template(&api).await, "Fix");
    body["cursorApiKey"] = json!(CURSOR_KEY_OF_THE_USER);
    let started = api.post_json("/api/code-sessions", body.clone()).await;
    let path = format!("/api/code-sessions/{}", started.text("/session_id"));
    api.pass(5000);
    let mut seen = String::new();
    for path in [
        path.clone(),
        format!("{path}/events"),
        "/api/code-sessions".to_owned(),
    ] {
        seen += &api.get(&path).await.body.to_string();
    }
    seen += &format!(
        "{:?}{:?}{:?}",
        api.simulator.requests(),
        api.simulator.sessions(),
        api.simulator.launches(&LaunchFilter::default())
    );
    assert!(seen.contains("cursorApiKey") && !seen.contains(CURSOR_KEY_OF_THE_USER));
    for missing in [json!(null), json!("")] {
        body["cursorApiKey"] = missing;
        let refused = api.post_json("/api/code-sessions", body.clone()).await;
        assert_eq!(refused.flat_error(), (422, "VALIDATION_ERROR"));
    }
}

#[tokio::test]
async fn a_start_overrides_what_the_template_says() {
    let api = Api::flapjack().await;
    let mut body = flapjack_start(&template(&api).await, "Fix");
    let overrides = json!({
        "repoUrl": "https://github.com/acme/web", "startingRef": "develop", "autoCreatePR": false,
        "workOnCurrentBranch": true, "skipReviewerRequest": true, "modelId": "composer-2",
        "modelParams": {"fast": "true"}, "webhookUrl": "https://hooks.example.com/x",
    });
    body.as_object_mut()
        .unwrap()
        .extend(overrides.as_object().unwrap().clone());
    let started = api.post_json("/api/code-sessions", body).await;
    api.pass(3000);
    let session = api
        .get(&format!(
            "/api/code-sessions/{}",
            started.text("/session_id")
        ))
        .await;
    for (member, expected) in [
        ("/repo_url", "https://github.com/acme/web"),
        ("/starting_ref", "develop"),
        ("/pr_branch", "develop"),
        ("/model_id", "composer-2"),
        ("/webhook_url", "https://hooks.example.com/x"),
    ] {
        assert_eq!(session.text(member), expected);
    }
    assert_eq!(session.body["pr_url"], Value::Null);
}

#[tokio::test]
async fn scripts_decide_the_outcome() {
    let api = Api::flapjack().await;
    for outcome in ["error", "expired", "cancelled"] {
        let path = started(&api, &format!("sim: outcome={outcome}")).await;
        api.pass(3000);
        let session = api.get(&path).await;
        assert_eq!(session.text("/status"), outcome);
        assert_eq!(session.body["error"].is_string(), outcome == "error");
        assert_eq!(session.body["messages"][0]["result_text"], Value::Null);
    }
}

#[tokio::test]
async fn a_further_message_waits_for_the_work_before_it_or_is_refused_as_the_switch_says() {
    let more = json!({"prompt": "More\nsim: pending=0s running=1s"});
    let api = Api::flapjack().await;
    let path = started(&api, "Fix").await;
    let messages = format!("{path}/messages");
    let sent = api.post_json(&messages, more.clone()).await;
    assert_eq!(sent.status, StatusCode::CREATED);
    api.pass(2000);
    let statuses = |session: &Answer| {
        [
            session.text("/status"),
            session.text("/messages/0/status"),
            session.text("/messages/1/status"),
        ]
    };
    let session = api.get(&path).await;
    assert_eq!(statuses(&session), ["running", "running", "pending"]);
    assert_eq!(session.text("/messages/1/id"), sent.text("/message_id"));
    api.pass(1000);
    assert_eq!(
        statuses(&api.get(&path).await),
        ["running", "finished", "running"]
    );
    api.pass(1000);
    assert_eq!(
        statuses(&api.get(&path).await),
        ["finished", "finished", "finished"]
    );

    let api = with(FlapjackOptions {
        busy_message: BusyMessage::Refused,
        ..FlapjackOptions::default()
    })
    .await;
    let path = started(&api, "Fix").await;
    let messages = format!("{path}/messages");
    let refused = api.post_json(&messages, more.clone()).await;
    assert_eq!(refused.flat_error(), (409, "SESSION_ACTIVE"));
    api.pass(3000);
    let accepted = api.post_json(&messages, more).await;
    assert_eq!(accepted.status, StatusCode::CREATED);
    assert_eq!(api.get(&path).await.text("/status"), "running");
}

#[tokio::test]
async fn events_are_numbered_read_on_from_a_number_and_limited() {
    let api = Api::flapjack().await;
    let path = started(&api, "Fix\nsim: outcome=never").await;
    let events = format!("{path}/events");
    let none = api.get(&events).await;
    assert_eq!(none.body, json!({"events": [], "last_seq": 0}));
    api.pass(2000 + 700_000);
    let first = api.get(&events).await;
    let seqs = |answer: &Answer| -> Vec<u64> {
        let events = answer.body["events"].as_array().unwrap();
        events.iter().map(|e| e["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs(&first), (1..=200).collect::<Vec<u64>>());
    assert_eq!(first.body["last_seq"], 200);
    let rest = api.get(&format!("{events}?since=200&limit=500")).await;
    assert_eq!(seqs(&rest).first(), Some(&201));
    assert_eq!(seqs(&rest).len(), 500);
    let end = api.get(&format!("{events}?since=702&limit=500")).await;
    assert_eq!(end.body, json!({"events": [], "last_seq": 702}));
    let session = api.get(&path).await;
    assert_eq!(session.body["last_event_seq"], 702);

    let before = first.body["events"][0].clone();
    api.post(&format!("{path}/cancel")).await;
    let after = api.get(&format!("{events}?limit=1")).await;
    assert_eq!(after.body["events"][0], before, "an event never changes");
    for (member, expected) in [
        ("session_id", path.rsplit('/').next().unwrap()),
        ("event_type", "status"),
    ] {
        assert_eq!(before[member], expected);
    }
    let last = api.get(&format!("{events}?since=702")).await;
    assert_eq!(
        last.body["events"][0]["payload"],
        json!({"status": "cancelled"})
    );

    let other = format!("{events}?messageId=00000000-0000-4000-8000-000000000000");
    assert_eq!(api.get(&other).await.body["events"], json!([]));
    let own = session.text("/messages/0/id");
    let own = api.get(&format!("{events}?messageId={own}&limit=3")).await;
    assert_eq!(seqs(&own), [1, 2, 3]);
    for wrong in ["limit=501", "limit=0", "since=-1", "since=x"] {
        let refused = api.get(&format!("{events}?{wrong}")).await;
        assert_eq!(refused.flat_error(), (422, "VALIDATION_ERROR"), "{wrong}");
    }
}

#[tokio::test]
async fn only_a_creating_or_running_session_can_be_cancelled() {
    let api = Api::flapjack().await;
    let refused = (409, "SESSION_NOT_CANCELLABLE");
    for (elapsed, cancellable) in [(0, false), (1000, true), (2000, true), (3000, false)] {
        let path = started(&api, "Fix").await;
        api.pass(elapsed);
        let answer = api.post(&format!("{path}/cancel")).await;
        if cancellable {
            assert_eq!(answer.body, json!({"ok": true, "status": "cancelled"}));
            assert_eq!(api.get(&path).await.text("/status"), "cancelled");
            let again = api.post(&format!("{path}/cancel")).await;
            assert_eq!(again.flat_error(), refused);
        } else {
            assert_eq!(answer.flat_error(), refused, "after {elapsed} ms");
        }
    }
}

#[tokio::test]
async fn scripts_and_faults_decide_what_a_cancel_meets() {
    let api = Api::flapjack().await;
    for (cancel, error, status) in [
        ("unsupported", (409, "CANCEL_UNSUPPORTED"), "running"),
        ("fails", (502, "cursor_cancel_failed"), "running"),
        ("too_late", (409, "SESSION_NOT_CANCELLABLE"), "finished"),
    ] {
        let path = started(&api, &format!("sim: cancel={cancel}")).await;
        api.pass(2000);
        for _ in 0..2 {
            let answer = api.post(&format!("{path}/cancel")).await;
            assert_eq!(answer.flat_error(), error);
        }
        assert_eq!(api.get(&path).await.text("/status"), status);
    }
    let path = started(&api, "Fix").await;
    api.pass(2000);
    let fails = FaultKind::ErrorBefore {
        status: 502,
        code: "cursor_cancel_failed".to_owned(),
    };
    api.simulator
        .inject(Fault::once(Matcher::class(OperationClass::Cancel), fails));
    let cancel = format!("{path}/cancel");
    assert_eq!(
        api.post(&cancel).await.flat_error(),
        (502, "cursor_cancel_failed")
    );
    assert_eq!(api.post(&cancel).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_an_ended_session_is_archived_and_then_takes_no_message() {
    let api = Api::flapjack().await;
    let path = started(&api, "Fix").await;
    let archive = format!("{path}/archive");
    assert_eq!(
        api.post(&archive).await.flat_error(),
        (409, "SESSION_ACTIVE")
    );
    api.pass(3000);
    let fails = FaultKind::ErrorBefore {
        status: 502,
        code: "archive_failed".to_owned(),
    };
    let operation = Matcher::operation(Operation::FlapjackArchiveSession);
    api.simulator.inject(Fault::once(operation, fails));
    assert_eq!(
        api.post(&archive).await.flat_error(),
        (502, "archive_failed")
    );
    for _ in 0..2 {
        assert_eq!(
            api.post(&archive).await.body,
            json!({"ok": true, "archived": true})
        );
    }
    assert_eq!(api.get(&path).await.body["archived"], true);
    let message = api
        .post_json(&format!("{path}/messages"), json!({"prompt": "More"}))
        .await;
    assert_eq!(message.flat_error(), (409, "SESSION_ARCHIVED"));
}

#[tokio::test]
async fn lists_are_filtered_and_a_new_session_may_lag_behind() {
    let api = Api::flapjack().await;
    let done = started(&api, "One").await;
    api.pass(3000);
    api.post(&format!("{done}/archive")).await;
    let lag = FaultKind::Lag {
        duration: std::time::Duration::from_secs(30),
    };
    api.simulator
        .inject(Fault::once(Matcher::class(OperationClass::Launch), lag));
    let running = started(&api, "Two\nsim: outcome=never").await;
    let list = |query: &str| {
        let (api, path) = (&api, format!("/api/code-sessions{query}"));
        async move { api.get(&path).await }
    };
    let (done, running) = (
        &done["/api/code-sessions/".len()..],
        &running["/api/code-sessions/".len()..],
    );
    assert_eq!(ids(&list("").await), [done]);
    api.pass(30_000);
    assert_eq!(ids(&list("").await), [running, done], "newest first");
    assert_eq!(ids(&list("?archived=true").await), [done]);
    assert_eq!(ids(&list("?archived=false").await), [running]);
    assert_eq!(ids(&list("?status=running").await), [running]);
    assert_eq!(ids(&list("?status=error").await).len(), 0);
    let template = list("?archived=true").await.text("/0/code_agent_id");
    assert_eq!(
        ids(&list(&format!("?codeAgentId={template}")).await),
        [done]
    );
    for wrong in ["?archived=yes", "?status=great"] {
        assert_eq!(
            list(wrong).await.flat_error(),
            (422, "VALIDATION_ERROR"),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_webhook_url_is_public_https_and_can_be_changed_and_cleared() {
    let api = Api::flapjack().await;
    let path = started(&api, "Fix").await;
    let set = patch(
        &api,
        &path,
        json!({"webhookUrl": "https://hooks.example.com/1"}),
    )
    .await;
    assert_eq!(set.text("/webhook_url"), "https://hooks.example.com/1");
    for private in [
        "http://hooks.example.com",
        "https://127.0.0.1/x",
        "https://localhost",
        "https://10.0.0.8",
    ] {
        let refused = patch(&api, &path, json!({"webhookUrl": private})).await;
        assert_eq!(refused.flat_error(), (422, "VALIDATION_ERROR"), "{private}");
        let mut body = flapjack_start(&template(&api).await, "Fix");
        body["webhookUrl"] = json!(private);
        let refused = api.post_json("/api/code-sessions", body).await;
        assert_eq!(refused.flat_error(), (422, "VALIDATION_ERROR"), "{private}");
    }
    let unchanged = patch(&api, &path, json!({})).await;
    assert_eq!(
        unchanged.text("/webhook_url"),
        "https://hooks.example.com/1"
    );
    let cleared = patch(&api, &path, json!({"webhookUrl": null})).await;
    assert_eq!(cleared.body["webhook_url"], Value::Null);
}

#[tokio::test]
async fn an_organization_is_the_accounts_own_unless_a_member_names_another() {
    let shared = "0b8d5a52-6a0e-4c5e-9a53-6d3a1f6f2f10";
    let api = with(FlapjackOptions {
        shared_orgs: vec![shared.to_owned()],
        ..FlapjackOptions::default()
    })
    .await;
    let repo = "https://github.com/acme/app";
    let body = json!({"orgId": shared, "defaultRepoUrl": repo});
    let in_shared = api.post_json("/api/code-agents", body).await;
    assert_eq!(in_shared.text("/org_id"), shared);
    let own = template(&api).await;
    assert_eq!(ids(&api.get("/api/code-agents").await), [own.as_str()]);
    let listed = api.get(&format!("/api/code-agents?orgId={shared}")).await;
    assert_eq!(ids(&listed), [in_shared.text("/id")]);
    let mut body = flapjack_start(&own, "Fix");
    body["orgId"] = json!(shared);
    let crossed = api.post_json("/api/code-sessions", body).await;
    assert_eq!(crossed.flat_error(), (404, "NOT_FOUND"));
    let foreign = "/api/code-sessions?orgId=5f0c3a52-6a0e-4c5e-9a53-6d3a1f6f2f10";
    assert_eq!(api.get(foreign).await.flat_error(), (403, "FORBIDDEN"));

    api.simulator
        .add_key(Key::user(Provider::Flapjack, "other", "fj_live_other"));
    let other = |path: String| {
        let request = api
            .anonymous(Method::GET, &path)
            .bearer_auth("fj_live_other");
        async move { send(request).await }
    };
    let seen = other(format!("/api/code-agents?orgId={shared}")).await;
    assert_eq!(ids(&seen).len(), 1);
    let hidden = other(format!("/api/code-agents/{own}")).await;
    assert_eq!(hidden.flat_error(), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn mistakes_are_refused_and_launch_nothing() {
    let api = Api::flapjack().await;
    let template = template(&api).await;
    let change = |member: &str, value: Value| {
        let mut body = flapjack_start(&template, "Fix");
        body[member] = value;
        body
    };
    for body in [
        json!({}),
        change("prompt", json!("")),
        change("prompt", json!({"text": "Fix"})),
        change("prompt", json!("sim: outcome=great")),
        change("codeAgentId", json!(1)),
        change("repoUrl", json!("not a repository")),
        change("autoCreatePR", json!("yes")),
        change("modelParams", json!([])),
    ] {
        let refused = api.post_json("/api/code-sessions", body.clone()).await;
        assert_eq!(refused.flat_error(), (422, "VALIDATION_ERROR"), "{body}");
    }
    assert_eq!(
        api.post("/api/code-sessions").await.flat_error(),
        (400, "BAD_REQUEST")
    );
    let unknown = change("codeAgentId", json!("00000000-0000-4000-8000-000000000000"));
    let refused = api.post_json("/api/code-sessions", unknown).await;
    assert_eq!(refused.flat_error(), (404, "NOT_FOUND"));
    let bare = api.post_json("/api/code-agents", json!({})).await;
    let nowhere = flapjack_start(&bare.text("/id"), "Fix");
    let refused = api.post_json("/api/code-sessions", nowhere).await;
    assert_eq!(refused.flat_error(), (422, "VALIDATION_ERROR"));
    assert!(api.simulator.launches(&LaunchFilter::default()).is_empty());

    for path in ["/api/nothing", "/api/code-sessions/unknown"] {
        assert_eq!(api.get(path).await.flat_error(), (404, "NOT_FOUND"));
    }
    assert_eq!(
        api.delete("/api/code-sessions").await.flat_error(),
        (405, "METHOD_NOT_ALLOWED")
    );
}

#[tokio::test]
async fn a_lost_answer_is_found_again_by_the_marker_in_the_first_message() {
    let api = Api::flapjack().await;
    let marker = "<!-- codeagents.dev/a1b2c3d4/uid-1/1 -->";
    let body = flapjack_start(&template(&api).await, &format!("Fix\n{marker}"));
    let lost = Matcher::class(OperationClass::Launch);
    api.simulator
        .inject(Fault::once(lost, FaultKind::DropAfter));
    let request = api.request(Method::POST, "/api/code-sessions").json(&body);
    assert!(request.send().await.is_err());
    let launches = api.simulator.launches(&LaunchFilter::marker("uid-1"));
    let list = api.get("/api/code-sessions").await;
    assert_eq!(ids(&list), [launches[0].session.as_str()]);
    let session = api
        .get(&format!("/api/code-sessions/{}", launches[0].session))
        .await;
    assert!(session.text("/messages/0/prompt").contains(marker));
    assert_eq!(
        Some(session.text("/messages/0/id")),
        launches[0].run.clone()
    );
}
