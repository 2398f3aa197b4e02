//! Cursor v1.

use codeagent_simulator::{
    AgentIds, AgentSets, CursorOptions, IdempotencyKey, Key, LaunchFilter, ListOrder, ModelList,
    Provider, RepositoryAccess, SimulatorOptions,
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
            json!({"prompt": prompt, "repos": vec![json!({"url": "https://github.com/a/b"}); 501]}),
            "validation_error",
        ),
        (
            json!({"prompt": prompt, "env": {"type": "machine"}, "repos": vec![json!({"url": "https://github.com/a/b"}); 2]}),
            "validation_error",
        ),
        (
            json!({"prompt": {"text": "Fix", "images": [{"data": "aGk="}]}}),
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
    // It takes a moment, in which it may be sent again.
    assert_eq!(api.get(&path).await.text("/status"), "CREATING");
    api.pass(400);
    assert_eq!(api.post(&format!("{path}/cancel")).await.status, 200);
    api.pass(100);
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
        "86400"
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
    let updates: Vec<&str> = named("interaction_update")
        .iter()
        .map(|(_, _, data)| data["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        updates,
        [
            "step-started",
            "thinking-delta",
            "thinking-completed",
            "tool-call-started",
            "tool-call-completed",
            "text-delta",
            "text-delta",
            "token-delta",
            "step-completed",
            "turn-ended",
        ]
    );
    let update = |kind: &str| {
        let mut all = live.iter().filter(|(_, _, data)| data["type"] == kind);
        all.next().unwrap().clone()
    };
    assert_eq!(
        update("turn-ended").2["usage"],
        json!({"inputTokens": 1200, "outputTokens": 340, "cacheReadTokens": 5600, "cacheWriteTokens": 90})
    );
    let call = update("tool-call-completed").2;
    assert_eq!(
        (&call["callId"], &call["modelCallId"]),
        (&json!("call-1"), &json!("model-1"))
    );
    assert!(call["toolCall"].is_object());
    for (event, kind) in [
        ("assistant", "text-delta"),
        ("thinking", "thinking-delta"),
        ("tool_call", "tool-call-started"),
    ] {
        assert_eq!(named(event)[0].1, update(kind).1, "one id for both forms");
    }
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
    // The other form of the same has the same id.
    let middle = middle + 1;
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
    api.pass(23 * 3_600_000);
    assert_eq!(stream(&api, &path(&run), None).await.0, StatusCode::OK);
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
    assert_eq!(
        usage.body["cost"],
        json!({"rawCostCents": 3.0, "chargedCents": 3.0})
    );
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
async fn a_pull_request_of_which_there_is_none_is_refused_in_both_versions() {
    let missing = "https://github.com/acme/app/pull/404";
    let api = with(CursorOptions {
        missing_pull_requests: vec![missing.to_owned()],
        ..CursorOptions::default()
    })
    .await;
    for (url, accepted) in [
        (missing, false),
        ("https://github.com/acme/app/pull/40", true),
    ] {
        for (path, body) in [
            (
                "/v1/agents",
                json!({"prompt": {"text": "Fix"}, "repos": [{"url": "https://github.com/acme/app", "prUrl": url}]}),
            ),
            (
                "/v0/agents",
                json!({"prompt": {"text": "Fix"}, "source": {"prUrl": url}}),
            ),
        ] {
            let answer = api.post_json(path, body).await;
            match accepted {
                true => assert_eq!(answer.status, StatusCode::CREATED, "{path}"),
                false => assert_eq!(answer.error(), (400, "pr_resolution_failed"), "{path}"),
            }
        }
    }
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

#[tokio::test]
async fn ids_are_kept_in_lower_case_and_read_in_any() {
    let api = Api::cursor().await;
    let id = "bc-ABCDEF00-0000-4000-8000-00000000000F";
    let mut body = cursor_launch("Fix");
    body["agentId"] = json!(id);
    let created = api.post_json("/v1/agents", body.clone()).await;
    assert_eq!(created.text("/agent/id"), id.to_lowercase());
    body["agentId"] = json!(id.to_lowercase());
    let again = api.post_json("/v1/agents", body).await;
    assert_eq!(again.error(), (409, "agent_id_conflict"));
    let upper = api.get(&format!("/v1/agents/{id}")).await;
    assert_eq!(upper.text("/id"), id.to_lowercase());
}

#[tokio::test]
async fn an_account_without_a_connection_is_told_where_to_make_it() {
    let api = with(CursorOptions {
        repository_access: RepositoryAccess::NotConnected,
        ..CursorOptions::default()
    })
    .await;
    for path in ["/v1/agents", "/v0/agents"] {
        let body = json!({
            "prompt": {"text": "Fix"},
            "repos": [{"url": "https://github.com/acme/app"}],
            "source": {"repository": "https://github.com/acme/app"},
        });
        let refused = api.post_json(path, body).await;
        assert_eq!(refused.error(), (403, "integration_not_connected"));
        assert!(refused.text("/error/helpUrl").starts_with("https://"));
        assert_eq!(refused.text("/error/provider"), "github");
    }
}

#[tokio::test]
async fn a_run_may_end_by_itself_while_it_is_being_cancelled() {
    let api = Api::cursor().await;
    let body = json!({"prompt": {"text": "Fix\nsim: creating=0s running=1s cancel_takes=3s"}});
    let created = api.post_json("/v1/agents", body).await;
    let path = format!(
        "/v1/agents/{}/runs/{}",
        created.text("/agent/id"),
        created.text("/run/id")
    );
    assert_eq!(api.post(&format!("{path}/cancel")).await.status, 200);
    assert_eq!(api.get(&path).await.text("/status"), "RUNNING");
    api.pass(1000);
    assert_eq!(api.get(&path).await.text("/status"), "FINISHED");
}

#[tokio::test]
async fn usage_is_complete_after_a_while_and_has_no_cost_until_then() {
    let api = Api::cursor().await;
    let body = json!({"prompt": {"text": "Fix\nsim: creating=0s running=1s usage_lag=5s cost_cents=7.25 charged_cents=2.5"}});
    let created = api.post_json("/v1/agents", body).await;
    let path = format!("/v1/agents/{}/usage", created.text("/agent/id"));
    api.pass(1000);
    let early = api.get(&path).await.body;
    assert_eq!(early.get("cost"), None);
    assert_eq!(early["runs"][0].get("cost"), None);
    assert_eq!(early["totalUsage"]["inputTokens"], 600);
    api.pass(5000);
    let late = api.get(&path).await.body;
    assert_eq!(late["totalUsage"]["inputTokens"], 1200);
    assert_eq!(
        late["cost"],
        json!({"rawCostCents": 7.25, "chargedCents": 2.5})
    );
}

#[tokio::test]
async fn a_run_that_failed_may_say_why() {
    let api = Api::cursor().await;
    for (script, error) in [
        (
            "error=broken error_code=E7",
            json!({"message": "broken", "code": "E7"}),
        ),
        ("error=broken", json!({"message": "broken"})),
        ("pr=false", Value::Null),
    ] {
        let text = format!("Fix\nsim: creating=0s running=1s outcome=error {script}");
        let created = api
            .post_json("/v1/agents", json!({"prompt": {"text": text}}))
            .await;
        let path = format!(
            "/v1/agents/{}/runs/{}",
            created.text("/agent/id"),
            created.text("/run/id")
        );
        assert_eq!(api.get(&path).await.body["error"], Value::Null);
        api.pass(1000);
        assert_eq!(api.get(&path).await.body["error"], error, "{script}");
    }
}

#[tokio::test]
async fn what_a_launch_chose_is_shown_again() {
    let api = Api::cursor().await;
    let subagents = json!([{"name": "tester", "description": "tests", "prompt": "Test it"}]);
    let mut body = cursor_launch("Fix");
    body["openAsCursorGithubApp"] = json!(true);
    body["customSubagents"] = subagents.clone();
    let created = api.post_json("/v1/agents", body).await;
    assert_eq!(created.body["agent"]["openAsCursorGithubApp"], true);
    assert_eq!(created.body["agent"]["customSubagents"], subagents);
    let plain = api.post_json("/v1/agents", cursor_launch("Fix")).await;
    assert_eq!(plain.body["agent"].get("openAsCursorGithubApp"), None);
    assert_eq!(plain.body["agent"].get("customSubagents"), None);
}

#[tokio::test]
async fn a_list_may_come_in_an_order_that_says_nothing_of_time() {
    let api = with(CursorOptions {
        list_order: ListOrder::ById,
        ..CursorOptions::default()
    })
    .await;
    for last in ["2", "1", "3"] {
        let mut body = cursor_launch("Fix");
        body["agentId"] = json!(format!("bc-00000000-0000-4000-8000-00000000000{last}"));
        api.post_json("/v1/agents", body).await;
        api.pass(1000);
    }
    let list = api.get("/v1/agents").await;
    let ids: Vec<&str> = list.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["id"].as_str().unwrap())
        .map(|id| &id[id.len() - 1..])
        .collect();
    assert_eq!(ids, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_limit_says_as_a_time_when_it_ends() {
    let api = Api::cursor().await;
    api.get("/v1/repositories").await;
    let refused = api.get("/v1/repositories").await;
    assert_eq!(refused.error(), (429, "rate_limit_exceeded"));
    let seconds = |name: &str| -> i64 { refused.headers[name].to_str().unwrap().parse().unwrap() };
    let now = jiff::Timestamp::now().as_second();
    let in_seconds = seconds("x-ratelimit-reset") - now;
    assert!((0..=60).contains(&in_seconds), "{in_seconds}");
    assert_eq!(seconds("retry-after"), 60);
}

#[tokio::test]
async fn agents_of_one_version_are_seen_through_the_other() {
    let api = Api::cursor().await;
    let (first, run) = launched(&api).await;
    api.pass(1000);
    let source = json!({"repository": "https://github.com/acme/app", "ref": "main"});
    let other = api
        .post_json(
            "/v0/agents",
            json!({"prompt": {"text": "Tidy up\nsim: running=1h"}, "source": source}),
        )
        .await
        .text("/id");

    // What v0 shows of an agent of v1.
    let shown = api.get(&format!("/v0/agents/{first}")).await;
    assert_eq!(
        (
            shown.text("/id"),
            shown.text("/status"),
            shown.text("/source/repository")
        ),
        (
            first.clone(),
            "RUNNING".into(),
            "https://github.com/acme/app".into()
        )
    );
    let conversation = api.get(&format!("/v0/agents/{first}/conversation")).await;
    assert!(
        conversation
            .text("/messages/0/text")
            .starts_with("Fix the login")
    );
    assert_eq!(conversation.text("/messages/0/type"), "user_message");
    let list = api.get("/v0/agents").await;
    assert_eq!(
        (list.text("/agents/0/id"), list.text("/agents/1/id")),
        (other.clone(), first.clone())
    );
    api.post(&format!("/v0/agents/{first}/stop")).await;
    api.pass(500);
    let run_of_first = api.get(&format!("/v1/agents/{first}/runs/{run}")).await;
    assert_eq!(run_of_first.text("/status"), "CANCELLED");
    assert_eq!(
        api.get(&format!("/v0/agents/{first}"))
            .await
            .text("/status"),
        "FINISHED"
    );

    // What v1 shows of an agent of v0.
    api.pass(1000);
    let shown = api.get(&format!("/v1/agents/{other}")).await;
    let run = shown.text("/latestRunId");
    assert_eq!(
        (shown.text("/id"), shown.text("/status")),
        (other.clone(), "ACTIVE".into())
    );
    let runs = api.get(&format!("/v1/agents/{other}/runs")).await;
    assert_eq!(
        (runs.text("/items/0/id"), runs.text("/items/0/status")),
        (run.clone(), "RUNNING".into())
    );
    let list = api.get("/v1/agents?limit=1").await;
    assert_eq!(list.text("/items/0/id"), other);
    let rest = api
        .get(&format!("/v1/agents?cursor={}", list.text("/nextCursor")))
        .await;
    assert_eq!(rest.text("/items/0/id"), first);
    let cancel = format!("/v1/agents/{other}/runs/{run}/cancel");
    assert_eq!(api.post(&cancel).await.body, json!({"id": run}));
    let ended = api.get(&format!("/v1/agents/{other}/runs/{run}")).await;
    assert_eq!(ended.text("/status"), "CANCELLED");
    assert_eq!(
        api.post(&cancel).await.error(),
        (409, "run_not_cancellable")
    );
}

#[tokio::test]
async fn agents_of_both_versions_can_be_kept_apart() {
    let api = with(CursorOptions {
        agents: AgentSets::Separate,
        ..CursorOptions::default()
    })
    .await;
    let (first, _) = launched(&api).await;
    assert_eq!(
        api.get(&format!("/v0/agents/{first}")).await.error(),
        (404, "agent_not_found")
    );
    assert_eq!(api.get("/v0/agents").await.body["agents"], json!([]));
}
