//! The answers of the simulated Cursor v0, validated against the provider's own API description of March 2026 (`tests/simulator/tests/fixtures/cursor-v0.yaml`).
//!
//! The description is used as published. The simulator differs from it in these points:
//!
//! - a service account's `/v0/me` has no `userEmail` (allowed by the description);
//! - 405 is answered for a method that a path does not have, and 409 for a message to a stopped agent if that switch is set;
//! - a stopped agent can be resumed unless that switch is set (the current documentation; the description says it cannot);
//! - 400 for an unknown model or repository has codes of v1.
//!
//! Status codes that a test expects must be listed for the operation, except those.

use codeagent_simulator::Provider;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Api, cursor_v0_launch, manual, send};

struct Description(Value);

impl Description {
    fn published() -> Self {
        Self(serde_saphyr::from_str(include_str!("../fixtures/cursor-v0.yaml")).unwrap())
    }

    /// Checks an answer against the response that the description has for its status.
    #[track_caller]
    fn check(&self, operation: &str, answer: &Answer) {
        let (method, path) = operation.split_once(' ').unwrap();
        let status = answer.status.as_str();
        let response = &self.0["paths"][path][method.to_lowercase()]["responses"][status];
        let mut schema = response["content"]["application/json"]["schema"].clone();
        assert!(schema.is_object(), "{operation} does not answer {status}");
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft4)
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        let problems: Vec<String> = validator
            .iter_errors(&answer.body)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(
            problems.is_empty(),
            "{operation} {status}: {problems:?} in {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn every_answer_fits_the_description() {
    let api = Api::start(Provider::Cursor, manual()).await;
    let description = Description::published();
    let created = api.post_json("/v0/agents", cursor_v0_launch("Fix")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    description.check("POST /v0/agents", &created);
    let agent = format!("/v0/agents/{}", created.text("/id"));
    for elapsed in [0, 1000, 1000] {
        api.pass(elapsed);
        description.check("GET /v0/agents/{id}", &api.get(&agent).await);
        description.check("GET /v0/agents", &api.get("/v0/agents?limit=1").await);
        let conversation = api.get(&format!("{agent}/conversation")).await;
        description.check("GET /v0/agents/{id}/conversation", &conversation);
    }
    let follow_up = json!({"prompt": {"text": "More\nsim: artifacts=1 running=1s"}});
    let answer = api.post_json(&format!("{agent}/followup"), follow_up).await;
    assert_eq!(answer.status, StatusCode::OK);
    description.check("POST /v0/agents/{id}/followup", &answer);
    let stopped = api.post(&format!("{agent}/stop")).await;
    description.check("POST /v0/agents/{id}/stop", &stopped);
    api.pass(2000);
    let artifacts = api.get(&format!("{agent}/artifacts")).await;
    description.check("GET /v0/agents/{id}/artifacts", &artifacts);
    let path = artifacts.text("/artifacts/0/absolutePath");
    let download = api
        .get(&format!("{agent}/artifacts/download?path={path}"))
        .await;
    description.check("GET /v0/agents/{id}/artifacts/download", &download);
    description.check("DELETE /v0/agents/{id}", &api.delete(&agent).await);
    for account in ["/v0/me", "/v0/models", "/v0/repositories"] {
        description.check(&format!("GET {account}"), &api.get(account).await);
    }
}

#[tokio::test]
async fn every_error_fits_the_description() {
    let api = Api::start(Provider::Cursor, manual()).await;
    let description = Description::published();
    let created = api.post_json("/v0/agents", cursor_v0_launch("Fix")).await;
    let agent = format!("/v0/agents/{}", created.text("/id"));
    api.delete(&agent).await;
    let message = json!({"prompt": {"text": "More"}});
    let answers = [
        ("POST /v0/agents", api.post("/v0/agents").await),
        ("GET /v0/agents", api.get("/v0/agents?limit=0").await),
        (
            "GET /v0/me",
            send(api.anonymous(Method::GET, "/v0/me")).await,
        ),
        ("GET /v0/agents/{id}", api.get("/v0/agents/other").await),
        ("GET /v0/agents/{id}", api.get(&agent).await),
        ("DELETE /v0/agents/{id}", api.delete(&agent).await),
        (
            "POST /v0/agents/{id}/followup",
            api.post_json(&format!("{agent}/followup"), message).await,
        ),
        (
            "POST /v0/agents/{id}/stop",
            api.post(&format!("{agent}/stop")).await,
        ),
        (
            "GET /v0/agents/{id}/conversation",
            api.get(&format!("{agent}/conversation")).await,
        ),
    ];
    let statuses: Vec<u16> = answers
        .iter()
        .map(|(_, answer)| answer.status.as_u16())
        .collect();
    assert_eq!(statuses, [400, 400, 401, 400, 404, 409, 409, 409, 409]);
    for (operation, answer) in &answers {
        description.check(operation, answer);
        answer.error();
    }
}
