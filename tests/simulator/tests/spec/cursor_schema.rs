//! The answers of the simulated Cursor, validated against the provider's own API description of April 2026 (`tests/simulator/tests/fixtures/cursor-v1.yaml`).
//!
//! The current documentation differs from it in these points, and only these are changed in the description before it is used:
//!
//! - an agent may be `IDLE`;
//! - models are objects (with the switch `strings`, the description is used as it is);
//! - a service account's `/v1/me` has no `userEmail`;
//! - 400 for queries, 409 for a taken `agentId`, and 405 are answered although the description does not list them.
//!
//! `nullable: true`, which JSON Schema does not know, only allows more than is answered: `nextCursor` is left out, never null.

use codeagent_simulator::{CursorOptions, ModelList, Provider, SimulatorOptions};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Api, CURSOR_SERVICE_KEY, cursor_launch, manual, send};

struct Description(Value);

impl Description {
    fn as_published() -> Self {
        Self(serde_saphyr::from_str(include_str!("../fixtures/cursor-v1.yaml")).unwrap())
    }

    fn as_documented_now() -> Self {
        let mut description = Self::as_published();
        let schemas = &mut description.0["components"]["schemas"];
        schemas["AgentSummary"]["properties"]["status"]["enum"] =
            json!(["ACTIVE", "IDLE", "ARCHIVED"]);
        schemas["ListModelsResponse"]["properties"]["items"]["items"] = json!({
            "type": "object",
            "required": ["id", "displayName"],
            "properties": {"id": {"type": "string"}, "displayName": {"type": "string"}, "aliases": {"type": "array"}},
        });
        description
    }

    /// Checks an answer against the named schema.
    #[track_caller]
    fn check(&self, schema: &str, answer: &Answer) {
        let root = json!({
            "$ref": format!("#/components/schemas/{schema}"),
            "components": self.0["components"],
        });
        assert!(
            self.0["components"]["schemas"][schema].is_object(),
            "no schema {schema}"
        );
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft4)
            .should_validate_formats(true)
            .build(&root)
            .unwrap();
        let problems: Vec<String> = validator
            .iter_errors(&answer.body)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(
            problems.is_empty(),
            "{schema}: {problems:?} in {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn every_answer_fits_the_description() {
    let api = Api::cursor().await;
    let description = Description::as_documented_now();
    let created = api.post_json("/v1/agents", cursor_launch("Fix")).await;
    assert_eq!(created.status, StatusCode::CREATED);
    description.check("CreateAgentResponse", &created);
    let agent = format!("/v1/agents/{}", created.text("/agent/id"));
    let run = format!("{agent}/runs/{}", created.text("/run/id"));
    for elapsed in [0, 1000, 1000] {
        api.pass(elapsed);
        description.check("Agent", &api.get(&agent).await);
        description.check("Run", &api.get(&run).await);
        description.check("ListAgentsResponse", &api.get("/v1/agents").await);
        description.check("ListRunsResponse", &api.get(&format!("{agent}/runs")).await);
    }
    let follow_up = json!({"prompt": {"text": "More\nsim: artifacts=1 running=1s creating=0s"}});
    let second = api.post_json(&format!("{agent}/runs"), follow_up).await;
    assert_eq!(second.status, StatusCode::CREATED);
    description.check("CreateRunResponse", &second);
    description.check(
        "ListRunsResponse",
        &api.get(&format!("{agent}/runs?limit=1")).await,
    );
    let cancel = format!("{agent}/runs/{}/cancel", second.text("/run/id"));
    description.check("IdResponse", &api.post(&cancel).await);
    api.pass(500);
    let artifacts = api.get(&format!("{agent}/artifacts")).await;
    description.check("ListArtifactsResponse", &artifacts);
    let download = format!(
        "{agent}/artifacts/download?path={}",
        artifacts.text("/items/0/path")
    );
    description.check("DownloadArtifactResponse", &api.get(&download).await);
    description.check("IdResponse", &api.post(&format!("{agent}/archive")).await);
    description.check("IdResponse", &api.post(&format!("{agent}/unarchive")).await);
    description.check("IdResponse", &api.delete(&agent).await);
    description.check("ApiKeyInfo", &api.get("/v1/me").await);
    description.check("ListModelsResponse", &api.get("/v1/models").await);
    description.check(
        "ListRepositoriesResponse",
        &api.get("/v1/repositories").await,
    );
}

#[tokio::test]
async fn every_error_fits_the_description() {
    let api = Api::cursor().await;
    let description = Description::as_published();
    let created = api.post_json("/v1/agents", cursor_launch("Fix")).await;
    let agent = format!("/v1/agents/{}", created.text("/agent/id"));
    let answers = [
        api.post("/v1/agents").await,
        api.get("/v1/agents?limit=0").await,
        send(api.anonymous(Method::GET, "/v1/me")).await,
        api.get("/v1/agents/bc-x").await,
        api.get("/v1/nothing").await,
        send(api.request(Method::PATCH, "/v1/agents")).await,
        api.post_json(
            &format!("{agent}/runs"),
            json!({"prompt": {"text": "More"}}),
        )
        .await,
        api.get(&format!("{agent}/runs/run-x/stream")).await,
    ];
    let statuses: Vec<u16> = answers
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    assert_eq!(statuses, [400, 400, 401, 404, 404, 405, 409, 404]);
    for answer in &answers {
        description.check("Error", answer);
    }
}

#[tokio::test]
async fn the_differences_to_the_published_description_are_real() {
    let published = Description::as_published();
    let options = SimulatorOptions {
        cursor: CursorOptions {
            models: ModelList::Strings,
            ..CursorOptions::default()
        },
        ..manual()
    };
    let api = Api::start(Provider::Cursor, options).await;
    published.check("ListModelsResponse", &api.get("/v1/models").await);

    let service = send(
        api.anonymous(Method::GET, "/v1/me")
            .bearer_auth(CURSOR_SERVICE_KEY),
    )
    .await;
    assert_eq!(
        (service.status, service.body.get("userEmail")),
        (StatusCode::OK, None)
    );
    let launched = api.post_json("/v1/agents", cursor_launch("Fix")).await;
    api.pass(2000);
    let idle = api
        .get(&format!("/v1/agents/{}", launched.text("/agent/id")))
        .await;
    assert_eq!(idle.text("/status"), "IDLE");
}
