//! Cursor v1.

use codeagent_simulator::{
    AgentIds, CursorOptions, IdempotencyKey, Key, LaunchFilter, ModelList, Provider,
    RepositoryAccess, SimulatorOptions,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Api, CURSOR_KEY, CURSOR_SERVICE_KEY, cursor_launch, manual, send};

const ID: &str = "bc-00000000-0000-4000-8000-000000000001";

async fn launched(api: &Api) -> (String, String) {
    let created = api
        .post_json("/v1/agents", cursor_launch("Fix the login"))
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    (created.text("/agent/id"), created.text("/run/id"))
}

async fn with(options: CursorOptions) -> Api {
    let options = SimulatorOptions {
        cursor: options,
        ..manual()
    };
    Api::start(Provider::Cursor, options).await
}

#[tokio::test]
async fn a_key_is_accepted_as_bearer_or_as_basic_user_and_nothing_else_is() {
    let api = Api::cursor().await;
    let me = |request: reqwest::RequestBuilder| async { send(request).await.status.as_u16() };
    let get = || api.anonymous(Method::GET, "/v1/me");
    assert_eq!(me(get().bearer_auth(CURSOR_KEY)).await, 200);
    assert_eq!(me(get().basic_auth(CURSOR_KEY, Some(""))).await, 200);
    for refused in [
        get(),
        get().bearer_auth("wrong"),
        get().basic_auth(CURSOR_KEY, Some("password")),
        get().header("Authorization", CURSOR_KEY),
        get().header("X-API-Key", CURSOR_KEY),
    ] {
        assert_eq!(send(refused).await.error(), (401, "unauthorized"));
    }
}

#[tokio::test]
async fn a_launch_creates_an_agent_and_its_first_run_which_goes_through_its_phases() {
    let api = Api::cursor().await;
    let (agent, run) = launched(&api).await;
    let run_path = format!("/v1/agents/{agent}/runs/{run}");
    let agent_path = format!("/v1/agents/{agent}");

    let creating = api.get(&run_path).await;
    assert_eq!(creating.text("/status"), "CREATING");
    assert_eq!(api.get(&agent_path).await.text("/status"), "ACTIVE");

    api.pass(1000);
    let running = api.get(&run_path).await;
    assert_eq!(running.text("/status"), "RUNNING");
    assert_eq!(running.body.get("git"), None);
    assert_eq!(running.body.get("result"), None);

    api.pass(1000);
    let finished = api.get(&run_path).await;
    assert_eq!(finished.text("/status"), "FINISHED");
    assert_eq!(finished.body["durationMs"], 2000);
    assert!(!finished.text("/result").is_empty());
    assert_eq!(
        finished.text("/git/branches/0/repoUrl"),
        "github.com/acme/app"
    );
    assert!(
        finished
            .text("/git/branches/0/branch")
            .starts_with("cursor/")
    );
    assert!(
        finished
            .text("/git/branches/0/prUrl")
            .starts_with("https://github.com/acme/app/pull/")
    );
    let idle = api.get(&agent_path).await;
    assert_eq!(idle.text("/status"), "IDLE");
    assert_eq!(idle.text("/latestRunId"), run);
    assert!(idle.text("/updatedAt") > idle.text("/createdAt"));
}

#[tokio::test]
async fn the_update_time_of_a_running_run_stands_still_one_second_after_creation() {
    let api = Api::cursor().await;
    let mut body = cursor_launch("Fix");
    body["prompt"]["text"] = json!("sim: creating=0s running=1h");
    let created = api.post_json("/v1/agents", body).await;
    let path = format!(
        "/v1/agents/{}/runs/{}",
        created.text("/agent/id"),
        created.text("/run/id")
    );
    let first = api.get(&path).await.text("/updatedAt");
    api.pass(600_000);
    let later = api.get(&path).await;
    assert_eq!(
        (later.text("/status"), later.text("/updatedAt")),
        ("RUNNING".into(), first.clone())
    );
    let created: jiff::Timestamp = created.text("/run/createdAt").parse().unwrap();
    let updated: jiff::Timestamp = first.parse().unwrap();
    assert_eq!(updated.duration_since(created).as_millis(), 1000);
}

#[tokio::test]
async fn scripts_decide_the_outcome() {
    let api = Api::cursor().await;
    for (outcome, status, agent_status, pull_request) in [
        ("error", "ERROR", "IDLE", false),
        ("expired", "EXPIRED", "ARCHIVED", false),
        ("cancelled", "CANCELLED", "IDLE", false),
        ("finished pr=false", "FINISHED", "IDLE", false),
        ("error pr_after=100ms", "ERROR", "IDLE", true),
    ] {
        let mut body = cursor_launch("");
        body["prompt"]["text"] = json!(format!(
            "Fix\nsim: creating=1s running=1s outcome={outcome}"
        ));
        let created = api.post_json("/v1/agents", body).await;
        api.pass(2000);
        let agent = created.text("/agent/id");
        let run = api
            .get(&format!(
                "/v1/agents/{agent}/runs/{}",
                created.text("/run/id")
            ))
            .await;
        assert_eq!(run.text("/status"), status);
        assert_eq!(
            run.body.pointer("/git/branches/0/prUrl").is_some(),
            pull_request,
            "{outcome}"
        );
        assert_eq!(
            api.get(&format!("/v1/agents/{agent}"))
                .await
                .text("/status"),
            agent_status
        );
    }
}

#[tokio::test]
async fn a_directive_that_cannot_be_read_is_a_validation_error_and_launches_nothing() {
    let api = Api::cursor().await;
    let refused = api
        .post_json("/v1/agents", json!({"prompt": {"text": "sim: runing=1s"}}))
        .await;
    assert_eq!(refused.error(), (400, "validation_error"));
    assert!(refused.text("/error/message").contains("runing"));
    assert!(api.simulator.launches(&LaunchFilter::default()).is_empty());
}

#[tokio::test]
async fn a_client_chosen_id_is_used_once_and_then_conflicts_even_after_a_delete() {
    let api = Api::cursor().await;
    let mut body = cursor_launch("Fix");
    body["agentId"] = json!(ID);
    assert_eq!(
        api.post_json("/v1/agents", body.clone())
            .await
            .text("/agent/id"),
        ID
    );
    assert_eq!(
        api.post_json("/v1/agents", body.clone()).await.error(),
        (409, "agent_id_conflict")
    );
    api.delete(&format!("/v1/agents/{ID}")).await;
    assert_eq!(
        api.get(&format!("/v1/agents/{ID}")).await.error(),
        (404, "agent_not_found")
    );
    assert_eq!(
        api.post_json("/v1/agents", body).await.error(),
        (409, "agent_id_conflict")
    );
    assert_eq!(api.simulator.launches(&LaunchFilter::default()).len(), 1);
}

#[tokio::test]
async fn an_id_of_another_account_conflicts_and_is_not_found() {
    let api = Api::cursor().await;
    api.simulator
        .add_key(Key::user(Provider::Cursor, "other", "other-key"));
    let mut body = cursor_launch("Fix");
    body["agentId"] = json!(ID);
    api.post_json("/v1/agents", body.clone()).await;
    let other = |method, path: &str| api.anonymous(method, path).bearer_auth("other-key");
    assert_eq!(
        send(other(Method::POST, "/v1/agents").json(&body))
            .await
            .error(),
        (409, "agent_id_conflict")
    );
    assert_eq!(
        send(other(Method::GET, &format!("/v1/agents/{ID}")))
            .await
            .error(),
        (404, "agent_not_found")
    );
    assert_eq!(
        send(other(Method::GET, "/v1/agents")).await.body["items"],
        json!([])
    );
}

#[tokio::test]
async fn an_older_server_ignores_the_clients_id() {
    let api = with(CursorOptions {
        agent_ids: AgentIds::Ignored,
        ..CursorOptions::default()
    })
    .await;
    let mut body = cursor_launch("Fix");
    body["agentId"] = json!(ID);
    let first = api
        .post_json("/v1/agents", body.clone())
        .await
        .text("/agent/id");
    let second = api.post_json("/v1/agents", body).await.text("/agent/id");
    assert!(first != ID && second != first);
    let asked = LaunchFilter {
        agent_id: Some(ID.into()),
        ..LaunchFilter::default()
    };
    assert_eq!(api.simulator.launches(&asked).len(), 2);
}

#[tokio::test]
async fn an_idempotency_key_is_ignored_unless_switched_on() {
    for (switch, agents) in [(IdempotencyKey::Ignored, 2), (IdempotencyKey::Honoured, 1)] {
        let api = with(CursorOptions {
            idempotency_key: switch,
            ..CursorOptions::default()
        })
        .await;
        let launch = || {
            let request = api
                .request(Method::POST, "/v1/agents")
                .header("Idempotency-Key", "k-1");
            send(request.json(&cursor_launch("Fix")))
        };
        let (first, second) = (launch().await, launch().await);
        assert_eq!(
            (first.status, second.status),
            (StatusCode::CREATED, StatusCode::CREATED)
        );
        assert_eq!(
            first.text("/agent/id") == second.text("/agent/id"),
            agents == 1
        );
        assert_eq!(
            api.simulator.launches(&LaunchFilter::default()).len(),
            agents
        );
    }
}

#[tokio::test]
async fn every_mistake_in_a_launch_is_a_400_with_its_code_and_launches_nothing() {
    let api = Api::cursor().await;
    let prompt = json!({"text": "Fix"});
    let image = json!({"data": "aGk="});
    let cases: Vec<(Value, &str)> = vec![
        (json!({}), "validation_error"),
        (json!([]), "validation_error"),
        (json!({"prompt": "Fix"}), "validation_error"),
        (json!({"prompt": {"text": ""}}), "validation_error"),
        (json!({"prompt": {"text": 7}}), "validation_error"),
        (
            json!({"prompt": {"text": "Fix", "images": vec![image.clone(); 6]}}),
            "validation_error",
        ),
        (
            json!({"prompt": {"text": "Fix", "images": [{}]}}),
            "validation_error",
        ),
        (
            json!({"prompt": {"text": "Fix", "images": [{"data": "not base64!"}]}}),
            "validation_error",
        ),
        (
            json!({"prompt": {"text": "Fix", "images": [{"url": "ftp://example.com/a.png"}]}}),
            "validation_error",
        ),
        (
            json!({"prompt": {"text": "Fix", "images": [{"data": "aGk=", "mimeType": "image/bmp"}]}}),
            "validation_error",
        ),
        (
            json!({"prompt": {"text": "Fix", "images": [{"data": "aGk=", "dimension": {"width": 0, "height": 1}}]}}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "name": "x".repeat(101)}),
            "validation_error",
        ),
        (json!({"prompt": prompt, "name": null}), "validation_error"),
        (
            json!({"prompt": prompt, "model": "composer-2"}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "model": {"id": "gpt-1"}}),
            "invalid_model",
        ),
        (
            json!({"prompt": prompt, "model": {"id": "gpt-5.5", "params": [{"id": "effort", "value": "high"}, {"id": "fast", "value": "true"}]}}),
            "invalid_model",
        ),
        (json!({"prompt": prompt, "repos": {}}), "validation_error"),
        (
            json!({"prompt": prompt, "repos": [{"startingRef": "main"}]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "repos": [{"url": "nonsense"}]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "repos": [{"url": "https://github.com/a/b", "prUrl": "https://github.com/a/b/issues/3"}]}),
            "pr_resolution_failed",
        ),
        (
            json!({"prompt": prompt, "repos": vec![json!({"url": "https://github.com/a/b"}); 21]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "env": {"type": "laptop"}}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "env": {"type": "pool", "name": "unknown"}}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "env": {"type": "cloud", "name": "ci"}, "repos": [{"url": "https://github.com/a/b"}]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "autoCreatePR": "yes"}),
            "validation_error",
        ),
        (json!({"prompt": prompt, "mode": "ask"}), "validation_error"),
        (
            json!({"prompt": prompt, "envVars": {"CURSOR_X": "1"}}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "envVars": {"X": 1}}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "envVars": {"X": "y".repeat(4097)}}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "envVars": {"X": "1"}, "agentId": ID}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "agentId": "bc-1"}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "mcpServers": [{"name": "a"}]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "mcpServers": [{"name": "a", "url": "https://user@example.com"}]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "customSubagents": [{"name": "a"}]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "metadata": {"a": 1}}),
            "validation_error",
        ),
    ];
    for (body, code) in cases {
        let answer = api.post_json("/v1/agents", body.clone()).await;
        assert_eq!(answer.error(), (400, code), "{body}: {}", answer.body);
    }
    assert!(api.simulator.launches(&LaunchFilter::default()).is_empty());
}

#[tokio::test]
async fn a_launch_may_use_everything_that_is_documented() {
    let api = Api::cursor().await;
    let created = api
        .post_json("/v1/agents", json!({
            "prompt": {"text": "Fix", "images": [
                {"data": "aGk=", "mimeType": "image/png", "dimension": {"width": 1, "height": 1}},
                {"url": "https://example.com/a.png"}]},
            "model": {"id": "gpt-5.5", "params": [{"id": "effort", "value": "high"}]},
            "name": "Fix 1a2b3c4d",
            "env": {"type": "cloud"},
            "repos": [{"url": "https://github.com/acme/app", "prUrl": "https://github.com/acme/app/pull/3"}],
            "workOnCurrentBranch": true, "autoCreatePR": true, "skipReviewerRequest": true, "openAsCursorGithubApp": true,
            "mcpServers": [{"name": "docs", "type": "http", "url": "https://mcp.example.com", "headers": {"A": "b"}},
                           {"name": "local", "command": "run", "args": ["-x"], "env": {"A": "b"}}],
            "customSubagents": [{"name": "tester", "description": "tests", "prompt": "Test it"}],
            "mode": "agent", "agentId": ID, "metadata": {"uid": "u-1"}, "runEnvVars": {"A": "b"}}))
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    assert_eq!(created.text("/agent/name"), "Fix 1a2b3c4d");
    assert_eq!(created.body["agent"]["metadata"], json!({"uid": "u-1"}));
    let listed = api
        .get("/v1/agents?prUrl=https%3A%2F%2Fgithub.com%2Facme%2Fapp%2Fpull%2F3")
        .await;
    assert_eq!(listed.text("/items/0/id"), ID);
}

#[tokio::test]
async fn bodies_that_are_missing_not_json_or_of_another_type_have_their_own_refusals() {
    let api = Api::cursor().await;
    let post = || api.request(Method::POST, "/v1/agents");
    assert_eq!(send(post()).await.error(), (400, "missing_body"));
    let json = post().header("Content-Type", "application/json");
    assert_eq!(
        send(json.body("{\"prompt\":")).await.error(),
        (400, "validation_error")
    );
    let text = post().header("Content-Type", "text/plain");
    assert_eq!(
        send(text.body("{\"prompt\":{\"text\":\"Fix\"}}"))
            .await
            .error(),
        (400, "validation_error")
    );
}

#[tokio::test]
async fn unknown_paths_and_methods_answer_in_the_same_error_shape() {
    let api = Api::cursor().await;
    assert_eq!(api.get("/v1/nothing").await.error(), (404, "not_found"));
    assert_eq!(api.get("/").await.error(), (404, "not_found"));
    let wrong = send(api.request(Method::PUT, "/v1/agents")).await;
    assert_eq!(wrong.error(), (405, "method_not_allowed"));
    assert_eq!(wrong.headers["allow"], "POST, GET");
    assert!(wrong.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn lists_are_newest_first_paged_and_leave_the_cursor_out_at_the_end() {
    let api = Api::cursor().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, launched(&api).await.0);
    }
    let page = |answer: &Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = api.get("/v1/agents?limit=2").await;
    assert_eq!(page(&first), ids[..2]);
    assert_eq!(first.body["items"][0].get("repos"), None);
    // A launch between two pages moves nothing.
    launched(&api).await;
    let second = api
        .get(&format!(
            "/v1/agents?limit=2&cursor={}",
            first.text("/nextCursor")
        ))
        .await;
    assert_eq!(page(&second), ids[2..4]);
    let last = api
        .get(&format!(
            "/v1/agents?limit=2&cursor={}",
            second.text("/nextCursor")
        ))
        .await;
    assert_eq!(page(&last), ids[4..]);
    assert_eq!(last.body.get("nextCursor"), None);
}

#[tokio::test]
async fn list_queries_are_checked_strictly() {
    let api = Api::cursor().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=",
        "cursor=bc-unknown",
        "includeArchived=maybe",
        "prUrl=x",
        "limit=1&limit=2",
    ] {
        assert_eq!(
            api.get(&format!("/v1/agents?{query}")).await.error(),
            (400, "validation_error"),
            "{query}"
        );
    }
    let unknown = api.get("/v1/agents?status=RUNNING").await;
    assert_eq!(unknown.error(), (400, "validation_error"));
    assert!(
        unknown
            .text("/error/message")
            .contains("Unrecognized key(s)")
    );
}

#[tokio::test]
async fn one_run_at_a_time_and_none_on_an_archived_agent() {
    let api = Api::cursor().await;
    let (agent, first) = launched(&api).await;
    let runs = format!("/v1/agents/{agent}/runs");
    let follow_up = || {
        api.post_json(
            &runs,
            json!({"prompt": {"text": "Add a test\nsim: creating=0s running=1s"}}),
        )
    };
    assert_eq!(follow_up().await.error(), (409, "agent_busy"));
    api.pass(2000);
    let second = follow_up().await;
    assert_eq!(second.status, StatusCode::CREATED);
    let second = second.text("/run/id");
    assert_eq!(
        api.get(&format!("/v1/agents/{agent}"))
            .await
            .text("/latestRunId"),
        second
    );
    api.pass(1000);
    let listed = api.get(&runs).await;
    assert_eq!(
        (listed.text("/items/0/id"), listed.text("/items/1/id")),
        (second, first)
    );
    assert_eq!(listed.body["items"][0].get("result"), None);

    let archive = format!("/v1/agents/{agent}/archive");
    for _ in 0..2 {
        assert_eq!(api.post(&archive).await.body, json!({"id": agent}));
    }
    assert_eq!(follow_up().await.error(), (409, "agent_archived"));
    assert_eq!(
        api.get("/v1/agents?includeArchived=false").await.body["items"],
        json!([])
    );
    assert_eq!(
        api.get("/v1/agents").await.text("/items/0/status"),
        "ARCHIVED"
    );
    api.post(&format!("/v1/agents/{agent}/unarchive")).await;
    assert_eq!(follow_up().await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_cancel_is_terminal_and_what_has_ended_cannot_be_cancelled() {
    let api = Api::cursor().await;
    let (agent, run) = launched(&api).await;
    let path = format!("/v1/agents/{agent}/runs/{run}");
    assert_eq!(
        api.post(&format!("{path}/cancel")).await.body,
        json!({"id": run})
    );
    assert_eq!(api.get(&path).await.text("/status"), "CANCELLED");
    api.pass(60_000);
    assert_eq!(api.get(&path).await.text("/status"), "CANCELLED");
    assert_eq!(
        api.post(&format!("{path}/cancel")).await.error(),
        (409, "run_not_cancellable")
    );
    assert_eq!(
        api.post(&format!("/v1/agents/{agent}/runs/run-x/cancel"))
            .await
            .error(),
        (404, "run_not_found")
    );
    assert_eq!(
        api.post(&format!("/v1/agents/{ID}/runs/{run}/cancel"))
            .await
            .error(),
        (404, "agent_not_found")
    );
}

#[tokio::test]
async fn a_cancel_can_fail_and_leave_the_run_running_or_come_too_late() {
    let api = Api::cursor().await;
    for (cancel, error, status) in [
        ("fails", (500, "internal_error"), "RUNNING"),
        ("too_late", (409, "run_not_cancellable"), "FINISHED"),
    ] {
        let body = json!({"prompt": {"text": format!("Fix\nsim: creating=0s running=1h cancel={cancel}")}});
        let created = api.post_json("/v1/agents", body).await;
        let path = format!(
            "/v1/agents/{}/runs/{}",
            created.text("/agent/id"),
            created.text("/run/id")
        );
        assert_eq!(api.post(&format!("{path}/cancel")).await.error(), error);
        assert_eq!(api.get(&path).await.text("/status"), status);
    }
}

/// The events of a stream as `(event, id, data)`.
fn events(text: &str) -> Vec<(String, Option<String>, Value)> {
    text.split_terminator("\n\n")
        .map(|block| {
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            let data = field("data: ").unwrap();
            (
                field("event: ").unwrap(),
                field("id: "),
                serde_json::from_str(&data).unwrap(),
            )
        })
        .collect()
}

async fn stream(api: &Api, path: &str, last: Option<&str>) -> (StatusCode, String) {
    let mut request = api.request(Method::GET, path);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_stream_tells_the_whole_run_live_and_again_from_any_event_id() {
    let api = Api::start(Provider::Cursor, SimulatorOptions::for_tests()).await;
    let created = api
        .post_json("/v1/agents", json!({"prompt": {"text": "Fix\nsim: creating=50ms running=200ms result=\"All done\""}}))
        .await;
    let (agent, run) = (created.text("/agent/id"), created.text("/run/id"));
    let path = format!("/v1/agents/{agent}/runs/{run}/stream");
    let response = api.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(
        response.headers()["x-cursor-stream-retention-seconds"],
        "3600"
    );
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/event-stream")
    );
    let live = events(&response.text().await.unwrap());
    let named = |name: &str| {
        live.iter()
            .filter(|(event, _, _)| event == name)
            .collect::<Vec<_>>()
    };
    let statuses: Vec<&Value> = named("status")
        .iter()
        .map(|(_, _, data)| &data["status"])
        .collect();
    assert_eq!(
        statuses,
        [&json!("CREATING"), &json!("RUNNING"), &json!("FINISHED")]
    );
    let text: String = named("assistant")
        .iter()
        .map(|(_, _, data)| data["text"].as_str().unwrap())
        .collect();
    assert_eq!(text, "All done");
    assert_eq!(named("tool_call").len(), 2);
    assert_eq!(named("result")[0].2["text"], "All done");
    assert_eq!(live.last().unwrap().0, "done");
    assert!(
        live.iter()
            .all(|(event, id, _)| id.is_none() == (event == "status"))
    );

    let (_, again) = stream(&api, &path, None).await;
    assert_eq!(events(&again), live);
    let middle = live
        .iter()
        .position(|(event, _, _)| event == "assistant")
        .unwrap();
    let (_, resumed) = stream(&api, &path, live[middle].1.as_deref()).await;
    let resumed = events(&resumed);
    assert_eq!(
        (resumed[0].0.as_str(), &resumed[0].2["status"]),
        ("status", &json!("FINISHED"))
    );
    assert_eq!(resumed[1..], live[middle + 1..]);
}

#[tokio::test]
async fn a_stream_refuses_a_foreign_event_id_and_expires() {
    let api = Api::cursor().await;
    let (agent, run) = launched(&api).await;
    api.pass(2000);
    let second = api
        .post_json(
            &format!("/v1/agents/{agent}/runs"),
            json!({"prompt": {"text": "More\nsim: creating=1s running=1s"}}),
        )
        .await;
    api.pass(2000);
    let path = |run: &str| format!("/v1/agents/{agent}/runs/{run}/stream");
    let (_, other) = stream(&api, &path(&second.text("/run/id")), None).await;
    let foreign = events(&other).pop().unwrap().1.unwrap();
    for id in [foreign.as_str(), "nonsense"] {
        let (status, body) = stream(&api, &path(&run), Some(id)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body.contains("invalid_last_event_id"), "{body}");
    }
    let (_, invented) = stream(&api, &path(&run), Some("1713033006000-0")).await;
    assert_eq!(events(&invented).len(), 1, "{invented}");
    api.pass(3_600_000);
    let (status, body) = stream(&api, &path(&run), None).await;
    assert_eq!(status, StatusCode::GONE);
    assert!(body.contains("stream_expired"), "{body}");
}

#[tokio::test]
async fn a_silent_stream_has_heartbeats_and_a_cancel_ends_it() {
    let api = Api::cursor().await;
    let created = api
        .post_json(
            "/v1/agents",
            json!({"prompt": {"text": "Fix\nsim: creating=24h"}}),
        )
        .await;
    let path = format!(
        "/v1/agents/{}/runs/{}",
        created.text("/agent/id"),
        created.text("/run/id")
    );
    let mut response = api
        .request(Method::GET, &format!("{path}/stream"))
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    let mut cancelled = false;
    while let Some(chunk) = response.chunk().await.unwrap() {
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
        api.pass(31_000);
        if seen.matches("heartbeat").count() == 2 && !cancelled {
            cancelled = true;
            api.post(&format!("{path}/cancel")).await;
        }
    }
    let names: Vec<String> = events(&seen)
        .into_iter()
        .map(|(event, _, _)| event)
        .collect();
    assert_eq!(names[0], "status");
    assert!(names.iter().filter(|name| *name == "heartbeat").count() >= 2);
    assert_eq!(names[names.len() - 3..], ["status", "result", "done"]);
    assert!(seen.contains("CANCELLED"));
}

#[tokio::test]
async fn usage_counts_each_run_and_their_sum() {
    let api = Api::cursor().await;
    let body = json!({"prompt": {"text": "Fix\nsim: creating=0s running=1s input_tokens=10 output_tokens=5 cache_read_tokens=0 cache_write_tokens=0 cost_cents=1.5"}});
    let created = api.post_json("/v1/agents", body.clone()).await;
    let agent = created.text("/agent/id");
    api.pass(1000);
    api.post_json(&format!("/v1/agents/{agent}/runs"), body)
        .await;
    let usage = api.get(&format!("/v1/agents/{agent}/usage")).await;
    assert_eq!(usage.body["totalUsage"]["totalTokens"], 30);
    assert_eq!(usage.body["cost"]["rawCostCents"], 3.0);
    assert_eq!(usage.body["runs"].as_array().unwrap().len(), 2);
    let one = api
        .get(&format!(
            "/v1/agents/{agent}/usage?runId={}",
            created.text("/run/id")
        ))
        .await;
    assert_eq!(one.body["totalUsage"]["inputTokens"], 10);
    assert_eq!(
        api.get(&format!("/v1/agents/{agent}/usage?runId=run-x"))
            .await
            .error(),
        (404, "run_not_found")
    );
}

#[tokio::test]
async fn artifacts_are_listed_and_downloaded_through_a_presigned_url() {
    let api = Api::cursor().await;
    let created = api
        .post_json(
            "/v1/agents",
            json!({"prompt": {"text": "Fix\nsim: creating=0s running=1s artifacts=2"}}),
        )
        .await;
    let base = format!("/v1/agents/{}/artifacts", created.text("/agent/id"));
    assert_eq!(api.get(&base).await.body["items"], json!([]));
    api.pass(1000);
    let listed = api.get(&base).await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 2);
    let path = listed.text("/items/0/path");
    let download = api.get(&format!("{base}/download?path={path}")).await;
    let content = reqwest::get(download.text("/url"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(listed.body["items"][0]["sizeBytes"], content.len());
    for (query, error) in [
        ("", (400, "validation_error")),
        ("?path=/opt/cursor/artifacts/a", (400, "validation_error")),
        ("?path=artifacts/../secret", (400, "validation_error")),
        ("?path=artifacts/missing", (404, "artifact_not_found")),
    ] {
        assert_eq!(
            api.get(&format!("{base}/download{query}")).await.error(),
            error,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_service_account_has_no_user_and_may_issue_sub_tokens() {
    let api = Api::cursor().await;
    let as_service = |method, path| api.anonymous(method, path).bearer_auth(CURSOR_SERVICE_KEY);
    assert_eq!(
        api.get("/v1/me").await.text("/userEmail"),
        "demo@example.com"
    );
    assert_eq!(
        send(as_service(Method::GET, "/v1/me"))
            .await
            .body
            .get("userEmail"),
        None
    );
    let body = json!({"forUserEmail": "jane@example.com"});
    assert_eq!(
        api.post_json("/v1/sub-tokens", body.clone()).await.error(),
        (403, "service_account_required")
    );
    let token = send(as_service(Method::POST, "/v1/sub-tokens").json(&body)).await;
    assert!(!token.text("/accessToken").is_empty());
    let both = json!({"forUserEmail": "jane@example.com", "forUserId": "1"});
    assert_eq!(
        send(as_service(Method::POST, "/v1/sub-tokens").json(&both))
            .await
            .error(),
        (400, "validation_error")
    );
}

#[tokio::test]
async fn repositories_may_be_listed_once_a_minute() {
    let api = Api::cursor().await;
    assert_eq!(
        api.get("/v1/repositories").await.text("/items/0/url"),
        "https://github.com/acme/app"
    );
    let limited = api.get("/v1/repositories").await;
    assert_eq!(limited.error(), (429, "rate_limit_exceeded"));
    for header in [
        "retry-after",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ] {
        assert!(limited.headers.contains_key(header), "{header}");
    }
    api.pass(60_000);
    assert_eq!(api.get("/v1/repositories").await.status, StatusCode::OK);
}

#[tokio::test]
async fn models_are_objects_or_with_the_switch_strings() {
    let api = Api::cursor().await;
    assert_eq!(
        api.get("/v1/models").await.text("/items/0/id"),
        "composer-2"
    );
    let api = with(CursorOptions {
        models: ModelList::Strings,
        ..CursorOptions::default()
    })
    .await;
    assert_eq!(api.get("/v1/models").await.text("/items/0"), "composer-2");
}

#[tokio::test]
async fn repositories_out_of_reach_are_refused_if_access_is_limited() {
    let api = with(CursorOptions {
        repository_access: RepositoryAccess::Listed,
        ..CursorOptions::default()
    })
    .await;
    let launch = |url: &str| {
        api.post_json(
            "/v1/agents",
            json!({"prompt": {"text": "Fix"}, "repos": [{"url": url}]}),
        )
    };
    assert_eq!(
        launch("https://github.com/acme/secret").await.error(),
        (400, "repository_access")
    );
    assert_eq!(
        launch("https://github.com/Acme/App.git").await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn a_revoked_key_is_unauthorized_at_once_and_a_rotated_one_sees_the_same_agents() {
    let api = Api::cursor().await;
    let (agent, _) = launched(&api).await;
    api.simulator.add_key(Key {
        name: "rotated".into(),
        ..Key::user(Provider::Cursor, "demo", "new-key")
    });
    assert!(api.simulator.revoke(Provider::Cursor, "demo"));
    let path = format!("/v1/agents/{agent}");
    assert_eq!(api.get(&path).await.error(), (401, "unauthorized"));
    assert_eq!(
        send(api.anonymous(Method::GET, &path).bearer_auth("new-key"))
            .await
            .text("/id"),
        agent
    );
}
