//! Cursor v0.

use codeagent_simulator::{
    CursorOptions, CursorV0Options, Fault, FaultKind, FollowUpAfterStop, LaunchFilter, LaunchKind,
    Matcher, OperationClass, Provider, SimulatorOptions, StoppedStatus, webhook_signature,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{Answer, Api, CURSOR_KEY, CURSOR_SERVICE_KEY, cursor_v0_launch, manual, send};

async fn with(v0: CursorV0Options) -> Api {
    let options = SimulatorOptions {
        cursor: CursorOptions {
            v0,
            ..CursorOptions::default()
        },
        ..manual()
    };
    Api::start(Provider::Cursor, options).await
}

async fn launched(api: &Api, prompt: &str) -> String {
    let created = api.post_json("/v0/agents", cursor_v0_launch(prompt)).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    format!("/v0/agents/{}", created.text("/id"))
}

async fn follow_up(api: &Api, agent: &str) -> Answer {
    let body = json!({"prompt": {"text": "More\nsim: running=1s"}});
    api.post_json(&format!("{agent}/followup"), body).await
}

#[tokio::test]
async fn the_keys_of_v1_are_accepted_as_bearer_or_basic() {
    let api = Api::cursor().await;
    let get = || api.anonymous(reqwest::Method::GET, "/v0/me");
    let bearer = send(get().bearer_auth(CURSOR_KEY)).await;
    assert_eq!(
        (bearer.text("/apiKeyName"), bearer.text("/userEmail")),
        ("demo".into(), "demo@example.com".into())
    );
    let basic = send(get().basic_auth(CURSOR_SERVICE_KEY, Some(""))).await;
    assert_eq!(
        (basic.text("/apiKeyName"), basic.body.get("userEmail")),
        ("demo-service".into(), None)
    );
    assert_eq!(
        send(get().header("X-API-Key", CURSOR_KEY)).await.error(),
        (401, "unauthorized")
    );
}

#[tokio::test]
async fn a_launch_goes_from_creating_over_running_to_finished_with_a_pull_request() {
    let api = Api::cursor().await;
    let created = api.post_json("/v0/agents", cursor_v0_launch("Fix")).await;
    assert_eq!(created.text("/status"), "CREATING");
    let id = created.text("/id");
    assert_eq!(
        created.body["source"],
        json!({"repository": "https://github.com/acme/app", "ref": "main"})
    );
    assert!(
        created
            .text("/target/branchName")
            .starts_with("cursor/fix-")
    );
    assert_eq!(
        created.text("/target/url"),
        format!("https://cursor.com/agents?id={id}")
    );
    let agent = format!("/v0/agents/{id}");
    api.pass(1000);
    let running = api.get(&agent).await;
    assert_eq!(
        (
            running.text("/status").as_str(),
            running.body.get("summary")
        ),
        ("RUNNING", None)
    );
    api.pass(1000);
    let finished = api.get(&agent).await;
    assert_eq!(finished.text("/status"), "FINISHED");
    assert!(!finished.text("/summary").is_empty());
    assert!(
        finished
            .text("/target/prUrl")
            .starts_with("https://github.com/acme/app/pull/")
    );
    let other_version = api.get(&format!("/v1/agents/{id}")).await;
    assert_eq!(other_version.text("/id"), id);
    assert_eq!(api.simulator.sessions()[0].id, id);
}

#[tokio::test]
async fn even_an_agent_without_phases_is_created_as_creating() {
    let api = Api::cursor().await;
    let mut body = cursor_v0_launch("Fix");
    body["prompt"]["text"] = json!("sim: creating=0s running=0s outcome=error");
    let created = api.post_json("/v0/agents", body).await;
    assert_eq!(created.text("/status"), "CREATING");
    let agent = format!("/v0/agents/{}", created.text("/id"));
    assert_eq!(api.get(&agent).await.text("/status"), "ERROR");
}

#[tokio::test]
async fn a_stopped_agent_is_shown_as_the_switch_says_and_never_as_cancelled() {
    for (stopped_status, at_once, later) in [
        (StoppedStatus::FinishedLater, "RUNNING", "FINISHED"),
        (StoppedStatus::FinishedAtOnce, "FINISHED", "FINISHED"),
        (StoppedStatus::Unchanged, "RUNNING", "RUNNING"),
    ] {
        let api = with(CursorV0Options {
            stopped_status,
            ..CursorV0Options::default()
        })
        .await;
        let agent = launched(&api, "Fix").await;
        api.pass(1500);
        let stopped = api.post(&format!("{agent}/stop")).await;
        assert_eq!(stopped.status, StatusCode::OK);
        assert!(agent.ends_with(&stopped.text("/id")));
        assert_eq!(api.get(&agent).await.text("/status"), at_once);
        assert!(!api.simulator.sessions()[0].active, "nothing runs any more");
        api.pass(1000);
        let ended = api.get(&agent).await;
        assert_eq!(ended.text("/status"), later);
        assert_eq!(
            (ended.body.get("summary"), ended.body["target"].get("prUrl")),
            (None, None)
        );
    }
}

#[tokio::test]
async fn a_stop_can_be_repeated_and_does_nothing_to_an_agent_that_has_finished() {
    let api = Api::cursor().await;
    let agent = launched(&api, "Fix").await;
    let stop = format!("{agent}/stop");
    for _ in 0..2 {
        assert_eq!(api.post(&stop).await.status, StatusCode::OK);
    }
    assert_eq!(api.get(&agent).await.text("/status"), "CREATING");
    let agent = launched(&api, "Fix").await;
    api.pass(2000);
    assert_eq!(
        api.post(&format!("{agent}/stop")).await.status,
        StatusCode::OK
    );
    assert!(!api.get(&agent).await.text("/summary").is_empty());
}

#[tokio::test]
async fn scripts_decide_what_a_stop_meets() {
    let api = Api::cursor().await;
    for (cancel, status, active) in [
        ("fails", 500, true),
        ("unsupported", 409, true),
        ("too_late", 200, false),
    ] {
        let agent = launched(&api, &format!("sim: cancel={cancel}")).await;
        assert_eq!(
            api.post(&format!("{agent}/stop")).await.status.as_u16(),
            status
        );
        let sessions = api.simulator.sessions();
        assert_eq!(sessions.last().unwrap().active, active, "{cancel}");
    }
}

#[tokio::test]
async fn a_message_resumes_a_stopped_agent_or_is_refused_as_the_switch_says() {
    for (switch, expected) in [
        (FollowUpAfterStop::Resumes, 200),
        (FollowUpAfterStop::Refused, 409),
    ] {
        let api = with(CursorV0Options {
            follow_up_after_stop: switch,
            ..CursorV0Options::default()
        })
        .await;
        let agent = launched(&api, "Fix").await;
        api.post(&format!("{agent}/stop")).await;
        let answer = follow_up(&api, &agent).await;
        assert_eq!(answer.status.as_u16(), expected);
        if expected == 409 {
            assert_eq!(answer.error(), (409, "agent_stopped"));
        } else {
            assert_eq!(api.get(&agent).await.text("/status"), "RUNNING");
        }
    }
}

#[tokio::test]
async fn messages_to_one_agent_are_worked_on_in_order_and_the_conversation_tells_them() {
    let api = Api::cursor().await;
    let agent = launched(&api, "Fix").await;
    let conversation = format!("{agent}/conversation");
    assert_eq!(api.get(&conversation).await.body["messages"], json!([]));
    api.pass(1000);
    assert_eq!(follow_up(&api, &agent).await.status, StatusCode::OK);
    api.pass(1000);
    assert_eq!(api.get(&agent).await.text("/status"), "RUNNING");
    api.pass(1000);
    assert_eq!(api.get(&agent).await.text("/status"), "FINISHED");
    let messages = api.get(&conversation).await;
    let kinds: Vec<&str> = messages.body["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "user_message",
            "assistant_message",
            "user_message",
            "assistant_message"
        ]
    );
    assert!(messages.text("/messages/0/text").starts_with("Fix"));
    let sent = LaunchFilter {
        kind: Some(LaunchKind::Message),
        ..LaunchFilter::default()
    };
    assert_eq!(api.simulator.launches(&sent).len(), 1);
}

#[tokio::test]
async fn a_message_reopens_an_agent_that_failed_and_not_one_that_expired() {
    let api = Api::cursor().await;
    let failed = launched(&api, "sim: outcome=error").await;
    let expired = launched(&api, "sim: outcome=expired").await;
    api.pass(2000);
    assert_eq!(follow_up(&api, &failed).await.status, StatusCode::OK);
    assert_eq!(api.get(&failed).await.text("/status"), "RUNNING");
    assert_eq!(api.get(&expired).await.text("/status"), "EXPIRED");
    assert_eq!(
        follow_up(&api, &expired).await.error(),
        (409, "agent_archived")
    );
    assert_eq!(
        api.post(&format!("{expired}/stop")).await.error(),
        (409, "agent_archived")
    );
}

#[tokio::test]
async fn an_agent_from_a_pull_request_works_on_its_branch_or_on_one_of_its_own() {
    let api = Api::cursor().await;
    for (auto_branch, own) in [(true, true), (false, false)] {
        let mut body = cursor_v0_launch("Fix");
        body["source"] = json!({"prUrl": "https://github.com/acme/app/pull/700"});
        body["target"]["autoBranch"] = json!(auto_branch);
        let created = api.post_json("/v0/agents", body).await;
        let existing = "https://github.com/acme/app/pull/700";
        assert_eq!(
            (
                created.text("/source/repository"),
                created.text("/target/prUrl")
            ),
            ("https://github.com/acme/app".into(), existing.to_owned())
        );
        api.pass(2000);
        let agent = api
            .get(&format!("/v0/agents/{}", created.text("/id")))
            .await;
        assert_eq!(agent.text("/target/prUrl") != existing, own);
        assert_eq!(agent.text("/target/branchName").starts_with("cursor/"), own);
    }
}

#[tokio::test]
async fn mistakes_in_a_launch_are_refused_and_launch_nothing() {
    let api = Api::cursor().await;
    let change = |pointer: &str, value: Value| {
        let mut body = cursor_v0_launch("Fix");
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[member] = value;
        body
    };
    let secret = |length| json!({"url": "https://example.com", "secret": "s".repeat(length)});
    let long = format!("https://example.com/{}", "x".repeat(2048));
    for body in [
        json!({}),
        change("/prompt", json!({"text": ""})),
        change(
            "/prompt/images",
            json!([{"url": "https://example.com/a.png"}]),
        ),
        change("/source", json!(null)),
        change("/source", json!({})),
        change("/source/repository", json!("not a url")),
        change("/source/prUrl", json!("https://github.com/acme/app/pull/1")),
        change("/model", json!("")),
        change("/target/autoCreatePr", json!("yes")),
        change("/target/branchName", json!("")),
        change("/target/autoBranch", json!(0)),
        change("/webhook", json!({})),
        change("/webhook", json!({"url": "nowhere"})),
        change("/webhook", json!({"url": long})),
        change("/webhook", secret(31)),
        change("/webhook", secret(257)),
    ] {
        let answer = api.post_json("/v0/agents", body.clone()).await;
        assert_eq!(answer.error(), (400, "validation_error"), "{body}");
    }
    let unresolved = change("/source", json!({"prUrl": "https://github.com/acme/app"}));
    for (body, code) in [
        (unresolved, "pr_resolution_failed"),
        (change("/model", json!("gpt-1")), "invalid_model"),
        (
            change("/target/branchName", json!("a b..c")),
            "invalid_branch_name",
        ),
        (
            change("/target/branchName", json!("-a")),
            "invalid_branch_name",
        ),
        (
            change("/target/branchName", json!("a//b")),
            "invalid_branch_name",
        ),
        (
            change("/target/branchName", json!("a/b.lock")),
            "invalid_branch_name",
        ),
    ] {
        let answer = api.post_json("/v0/agents", body).await;
        assert_eq!(answer.error(), (400, code));
    }
    assert_eq!(api.post("/v0/agents").await.error(), (400, "missing_body"));
    assert!(api.simulator.launches(&LaunchFilter::default()).is_empty());

    for body in [
        change("/webhook", secret(32)),
        change("/webhook", secret(256)),
        change("/model", json!("default")),
        change("/model", json!("composer-2")),
        change("/target/branchName", json!("agent/fix_1-é")),
    ] {
        let answer = api.post_json("/v0/agents", body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    }
}

#[tokio::test]
async fn lists_page_and_filter_by_pull_request_and_a_new_agent_may_lag_behind() {
    let api = Api::cursor().await;
    let first = launched(&api, "One").await;
    api.pass(2000);
    let url = api.get(&first).await.text("/target/prUrl");
    let lag = FaultKind::Lag {
        duration: std::time::Duration::from_secs(30),
    };
    api.simulator
        .inject(Fault::once(Matcher::class(OperationClass::Launch), lag));
    let second = launched(&api, "Two\nsim: running=1h").await;
    let ids = |answer: &Answer| -> Vec<String> {
        let agents = answer.body["agents"].as_array().unwrap();
        agents
            .iter()
            .map(|agent| format!("/v0/agents/{}", agent["id"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(ids(&api.get("/v0/agents").await), [first.as_str()]);
    api.pass(30_000);
    let page = api.get("/v0/agents?limit=1").await;
    assert_eq!(ids(&page), [second]);
    let next = format!("/v0/agents?limit=1&cursor={}", page.text("/nextCursor"));
    assert_eq!(ids(&api.get(&next).await), [first.as_str()]);
    let filtered = api.get(&format!("/v0/agents?prUrl={url}")).await;
    assert_eq!(ids(&filtered), [first]);
}

#[tokio::test]
async fn another_account_sees_nothing_of_an_agent() {
    let api = Api::cursor().await;
    let agent = launched(&api, "Fix").await;
    let other = send(
        api.anonymous(reqwest::Method::GET, &agent)
            .bearer_auth(CURSOR_SERVICE_KEY),
    );
    assert_eq!(other.await.error(), (404, "agent_not_found"));
}

#[tokio::test]
async fn artifacts_have_absolute_paths_and_are_fetched_by_a_url_without_a_key() {
    let api = Api::cursor().await;
    let agent = launched(&api, "sim: artifacts=2").await;
    let list = format!("{agent}/artifacts");
    assert_eq!(api.get(&list).await.body["artifacts"], json!([]));
    api.pass(2000);
    let artifacts = api.get(&list).await;
    let path = artifacts.text("/artifacts/1/absolutePath");
    assert_eq!(path, "/opt/cursor/artifacts/turn-1/file-2.txt");
    let download = api.get(&format!("{list}/download?path={path}")).await;
    let file = reqwest::get(download.text("/url")).await.unwrap();
    let size = artifacts.body["artifacts"][1]["sizeBytes"].as_u64();
    assert_eq!(
        (file.status(), Some(file.text().await.unwrap().len() as u64)),
        (StatusCode::OK, size)
    );
    assert_eq!(
        api.get(&format!("{list}/download?path=/etc/passwd"))
            .await
            .error(),
        (404, "artifact_not_found")
    );
    assert_eq!(
        api.get(&format!("{list}/download")).await.error(),
        (400, "validation_error")
    );
}

#[tokio::test]
async fn the_end_of_each_message_is_delivered_signed_and_a_stop_is_not() {
    let api = Api::cursor().await;
    let secret = "0123456789abcdef".repeat(2);
    let launch = |prompt: &str| {
        let mut body = cursor_v0_launch(prompt);
        body["webhook"] = json!({"url": "https://hooks.example.com/one", "secret": secret});
        body
    };
    let created = api.post_json("/v0/agents", launch("Fix")).await;
    let agent = format!("/v0/agents/{}", created.text("/id"));
    assert_eq!(api.simulator.deliveries(), []);
    api.pass(2000);
    let first = api.simulator.deliveries();
    let [delivery] = &first[..] else {
        panic!("{first:?}")
    };
    assert_eq!(delivery.url, "https://hooks.example.com/one");
    let told: Value = serde_json::from_str(&delivery.body).unwrap();
    assert_eq!(told["event"], "statusChange");
    assert_eq!(told["id"], created.text("/id").as_str());
    assert_eq!(told["status"], "FINISHED");
    let signature = webhook_signature(&secret, delivery.body.as_bytes()).unwrap();
    let header = |name: &str| {
        let found = delivery.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(header("X-Webhook-Signature"), Some(signature));
    assert_eq!(header("X-Webhook-ID").as_ref(), Some(&delivery.id));
    follow_up(&api, &agent).await;
    api.pass(2000);
    let both = api.simulator.deliveries();
    assert_eq!(both.len(), 2);
    assert_ne!(both[0].id, both[1].id);

    let created = api
        .post_json("/v0/agents", launch("sim: outcome=never"))
        .await;
    api.post(&format!("/v0/agents/{}/stop", created.text("/id")))
        .await;
    api.pass(2000);
    assert_eq!(api.simulator.deliveries().len(), 2);
}

#[tokio::test]
async fn models_and_repositories_are_those_of_the_account_and_repositories_are_limited() {
    let api = Api::cursor().await;
    assert_eq!(api.get("/v0/models").await.text("/models/0"), "composer-2");
    let repositories = api.get("/v0/repositories").await;
    assert_eq!(
        repositories.body["repositories"][0],
        json!({"owner": "acme", "name": "app", "repository": "https://github.com/acme/app"})
    );
    assert_eq!(
        api.get("/v0/repositories").await.error(),
        (429, "rate_limit_exceeded")
    );
}
