//! Firebender.

use codeagent_simulator::{
    ConversationStart, FirebenderBranch, FirebenderDocument, FirebenderOptions, Key, LaunchFilter,
    LaunchKind, Provider, SimulatorOptions,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Api, FIREBENDER_KEY, firebender_launch, manual, send};

async fn with(options: FirebenderOptions) -> Api {
    let options = SimulatorOptions {
        firebender: options,
        ..manual()
    };
    Api::start(Provider::Firebender, options).await
}

async fn launched(api: &Api) -> String {
    let created = api
        .post_json("/v0/agents", firebender_launch("Fix the login"))
        .await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.body);
    created.text("/id")
}

#[tokio::test]
async fn the_key_is_a_header_of_its_own() {
    let api = Api::firebender().await;
    assert_eq!(api.get("/v0/agents").await.status, StatusCode::OK);
    assert_eq!(
        send(api.anonymous(Method::GET, "/v0/agents")).await.error(),
        (401, "unauthorized")
    );
    let bearer = api
        .anonymous(Method::GET, "/v0/agents")
        .bearer_auth(FIREBENDER_KEY);
    assert_eq!(send(bearer).await.error(), (401, "unauthorized"));
}

#[tokio::test]
async fn a_launch_goes_through_creating_setup_and_running_with_a_preview_only_while_it_lives() {
    let api = Api::firebender().await;
    let created = api.post_json("/v0/agents", firebender_launch("Fix")).await;
    assert_eq!(
        (created.status.as_u16(), created.text("/status").as_str()),
        (201, "CREATING")
    );
    assert_eq!(
        created.body["source"],
        json!({"repository": "https://github.com/acme/app", "ref": "main"})
    );
    let id = created.text("/id");
    assert_eq!(
        created.text("/target/branchName"),
        format!("firebender/{}", id.strip_prefix("fb_").unwrap())
    );
    let path = format!("/v0/agents/{id}");
    for status in ["SETUP", "RUNNING"] {
        api.pass(1000);
        let agent = api.get(&path).await;
        assert_eq!(agent.text("/status"), status);
        assert!(agent.body.get("vncUrl").is_some() && agent.body.get("vncToken").is_some());
        assert_eq!(
            api.get("/v0/agents").await.body["agents"][0].get("vncToken"),
            None
        );
        assert_eq!(agent.body.get("summary"), None);
    }
    api.pass(1000);
    let finished = api.get(&path).await;
    assert_eq!(finished.text("/status"), "FINISHED");
    assert!(
        finished
            .text("/target/prUrl")
            .starts_with("https://github.com/acme/app/pull/")
    );
    assert!(!finished.text("/summary").is_empty());
    assert_eq!(finished.body.get("vncToken"), None);
    assert_eq!(finished.body.get("recordingUrl"), None);
    assert_eq!(finished.body.get("traceUrl"), None);
}

#[tokio::test]
async fn scripts_decide_the_outcome() {
    let api = Api::firebender().await;
    for (outcome, status) in [
        ("error", "ERROR"),
        ("expired", "EXPIRED"),
        ("cancelled", "FINISHED"),
    ] {
        let mut body = firebender_launch("");
        body["prompt"]["text"] = json!(format!(
            "sim: creating=0s setup=0s running=1s outcome={outcome}"
        ));
        let id = api.post_json("/v0/agents", body).await.text("/id");
        api.pass(1000);
        let agent = api.get(&format!("/v0/agents/{id}")).await;
        assert_eq!(
            (
                agent.text("/status").as_str(),
                agent.body["target"].get("prUrl")
            ),
            (status, None)
        );
    }
}

#[tokio::test]
async fn the_version_of_2025_knows_no_setup_mode_or_preview() {
    let api = with(FirebenderOptions {
        document: FirebenderDocument::Y2025,
        ..FirebenderOptions::default()
    })
    .await;
    let mut body = firebender_launch("Fix");
    body["mode"] = json!("not a mode");
    let id = api.post_json("/v0/agents", body).await.text("/id");
    let path = format!("/v0/agents/{id}");
    api.pass(1000);
    let running = api.get(&path).await;
    assert_eq!(running.text("/status"), "RUNNING");
    assert_eq!(running.body.get("vncUrl"), None);
    assert_eq!(
        running.text("/target/url"),
        format!("https://firebender.com/agents?id={id}")
    );
    assert_eq!(
        api.get(&format!("/v1/recordings/{id}")).await.error(),
        (404, "not_found")
    );
}

#[tokio::test]
async fn a_branch_name_is_kept_or_rewritten() {
    for (switch, kept) in [
        (FirebenderBranch::Kept, true),
        (FirebenderBranch::Rewritten, false),
    ] {
        let api = with(FirebenderOptions {
            branch: switch,
            ..FirebenderOptions::default()
        })
        .await;
        let mut body = firebender_launch("Fix");
        body["target"]["branchName"] = json!("feature/x");
        let branch = api
            .post_json("/v0/agents", body)
            .await
            .text("/target/branchName");
        assert_eq!(branch == "feature/x", kept, "{branch}");
        assert_eq!(branch.starts_with("firebender/"), !kept, "{branch}");
    }
}

#[tokio::test]
async fn a_stop_leaves_finished_without_summary_and_cannot_be_repeated() {
    let api = Api::firebender().await;
    for elapsed in [0, 1000, 2000] {
        let id = launched(&api).await;
        api.pass(elapsed);
        let path = format!("/v0/agents/{id}");
        assert_eq!(
            api.post(&format!("{path}/stop")).await.body,
            json!({"id": id})
        );
        let stopped = api.get(&path).await;
        assert_eq!(
            (
                stopped.text("/status").as_str(),
                stopped.body.get("summary")
            ),
            ("FINISHED", None)
        );
        assert_eq!(
            api.post(&format!("{path}/stop")).await.error(),
            (409, "agent_not_active")
        );
    }
}

#[tokio::test]
async fn a_message_to_a_living_agent_keeps_its_id_and_one_to_an_ended_agent_starts_another_on_its_branch()
 {
    let api = Api::firebender().await;
    let id = launched(&api).await;
    let path = format!("/v0/agents/{id}");
    let follow_up = || {
        let body = json!({"prompt": {"text": "More\nsim: running=1s"}});
        let (api, path) = (&api, format!("{path}/followup"));
        async move { api.post_json(&path, body).await }
    };
    api.pass(2000);
    let same = follow_up().await;
    assert_eq!((same.status.as_u16(), same.text("/id")), (200, id.clone()));

    api.pass(1000);
    assert_eq!(api.get(&path).await.text("/status"), "RUNNING");
    api.pass(1000);
    let finished = api.get(&path).await;
    assert_eq!(finished.text("/status"), "FINISHED");

    let next = follow_up().await;
    assert_eq!(next.status, StatusCode::CREATED);
    assert_ne!(next.text("/id"), id);
    let next = api.get(&format!("/v0/agents/{}", next.text("/id"))).await;
    assert_eq!(
        next.text("/target/branchName"),
        finished.text("/target/branchName")
    );
    assert_eq!(next.text("/status"), "CREATING");
    let messages = LaunchFilter {
        kind: Some(LaunchKind::Message),
        ..LaunchFilter::default()
    };
    assert_eq!(api.simulator.launches(&messages).len(), 2);
}

#[tokio::test]
async fn a_conversation_is_empty_until_the_agent_works_then_holds_prompt_and_answer() {
    let api = Api::firebender().await;
    let id = launched(&api).await;
    let path = format!("/v0/agents/{id}/conversation");
    assert_eq!(api.get(&path).await.body["messages"], json!([]));
    api.pass(2000);
    let running = api.get(&path).await;
    assert_eq!(running.text("/messages/0/type"), "user_message");
    assert!(
        running
            .text("/messages/0/text")
            .starts_with("Fix the login")
    );
    api.pass(1000);
    assert_eq!(
        api.get(&path).await.text("/messages/1/type"),
        "assistant_message"
    );

    let api = with(FirebenderOptions {
        conversation: ConversationStart::WithLaunch,
        ..FirebenderOptions::default()
    })
    .await;
    let id = launched(&api).await;
    assert_eq!(
        api.get(&format!("/v0/agents/{id}/conversation")).await.body["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn recordings_and_traces_redirect_to_a_file_when_there_is_one() {
    let api = Api::firebender().await;
    api.simulator.add_key(Key {
        enterprise: true,
        ..Key::user(Provider::Firebender, "demo", FIREBENDER_KEY)
    });
    let mut body = firebender_launch("Fix");
    body["mode"] = json!("mobile_use");
    let id = api.post_json("/v0/agents", body).await.text("/id");
    assert_eq!(
        api.get(&format!("/v1/recordings/{id}")).await.error(),
        (404, "recording_not_found")
    );
    api.pass(3000);
    let agent = api.get(&format!("/v0/agents/{id}")).await;
    for url in [agent.text("/recordingUrl"), agent.text("/traceUrl")] {
        let path = url
            .strip_prefix(api.simulator.firebender_url())
            .unwrap()
            .to_owned();
        let redirect = api.get(&path).await;
        assert_eq!(redirect.status, StatusCode::FOUND);
        let file = reqwest::get(redirect.headers["location"].to_str().unwrap())
            .await
            .unwrap();
        assert_eq!(file.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn mistakes_in_a_launch_are_refused_and_launch_nothing() {
    let api = Api::firebender().await;
    let change = |pointer: &str, value: Value| {
        let mut body = firebender_launch("Fix");
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[member] = value;
        body
    };
    for body in [
        json!({}),
        change("/prompt", json!({})),
        change(
            "/prompt/images",
            json!([{"url": "https://example.com/a.png"}]),
        ),
        change("/source", json!(null)),
        change("/source", json!({"repository": "https://github.com/a/b"})),
        change("/source/repository", json!("not a url")),
        change("/model", json!("")),
        change("/mode", json!("admin")),
        change("/skipGradleSync", json!("no")),
        change("/target/autoCreatePr", json!(1)),
        change("/target/branchName", json!("")),
        change("/webhook", json!({})),
        change(
            "/webhook",
            json!({"url": "https://example.com", "secret": "short"}),
        ),
    ] {
        let answer = api.post_json("/v0/agents", body.clone()).await;
        assert_eq!(answer.error(), (400, "validation_error"), "{body}");
    }
    assert_eq!(api.post("/v0/agents").await.error(), (400, "missing_body"));
    assert!(api.simulator.launches(&LaunchFilter::default()).is_empty());
}

#[tokio::test]
async fn lists_page_models_list_and_deletes_delete() {
    let api = Api::firebender().await;
    let (first, second) = (launched(&api).await, launched(&api).await);
    let page = api.get("/v0/agents?limit=1").await;
    assert_eq!(page.text("/agents/0/id"), second);
    let page = api
        .get(&format!(
            "/v0/agents?limit=1&cursor={}",
            page.text("/nextCursor")
        ))
        .await;
    assert_eq!(
        (page.text("/agents/0/id"), page.body.get("nextCursor")),
        (first.clone(), None)
    );
    assert_eq!(
        api.get("/v0/models").await.text("/models/0"),
        "claude-sonnet-4-5-20250929"
    );
    assert_eq!(
        api.delete(&format!("/v0/agents/{first}")).await.body,
        json!({"id": first})
    );
    assert_eq!(
        api.get(&format!("/v0/agents/{first}")).await.error(),
        (404, "agent_not_found")
    );
}
