//! An API server that goes away, or stores nothing, at the worst moment.

use std::time::Duration;

use codeagent_harness::{AuditedRequest, Component, ControlPlane, Options};
use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{Provider, SimulatorOptions};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, session_id};

/// It is gone when the providers answer, and comes back: what was launched is recorded, nothing is launched twice.
#[tokio::test]
async fn an_api_server_that_is_away_when_the_answer_comes() {
    let options = Options {
        controller_manager: false,
        durable: true,
        ..Options::default()
    };
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    let world = World::at_own(&control_plane, SimulatorOptions::for_tests()).await;
    let arguments = Arguments::calm()
        .with("--settle-time", "1h")
        .with("--deletion-bound", "2h");
    let _operator = world.operator_with(arguments).await;
    let mut sessions = Vec::new();
    for provider in [Provider::Cursor, Provider::Firebender, Provider::Flapjack] {
        world.agent(provider).await;
        let prompt = "sim: latency=3s creating=200ms running=500ms\nDo it";
        let session = world.session(provider, provider.name(), prompt).await;
        sessions.push((provider, session));
    }
    for (_, session) in &sessions {
        world
            .until_true("the launch has arrived", || {
                !world.launches(session).is_empty()
            })
            .await;
    }
    control_plane
        .stop_component(Component::ApiServer)
        .await
        .unwrap();
    // The answers come after three seconds, to nobody who could store them.
    tokio::time::sleep(Duration::from_secs(4)).await;
    control_plane
        .start_component(Component::ApiServer)
        .await
        .unwrap();
    for (provider, _) in &sessions {
        world
            .until_phase(provider.name(), SessionPhase::Finished)
            .await;
        let done = world.until_settled(provider.name()).await;
        assert_eq!(session_id(&done), world.at_provider(&done).id);
        // The answer was kept until it could be stored: nobody had to look.
        let launched = condition_of(&done, "Launched").unwrap();
        assert_eq!(launched.reason, "Accepted");
    }
}

/// Writes fail while reads go on, here behind a webhook that nobody answers for: the outcome of the launch is kept until it can be
/// stored.
#[tokio::test]
async fn a_store_that_takes_nothing_when_the_answer_comes() {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let webhook = refuse_outcomes(&world).await;
    let log = world.audit_log().await;
    let arguments = Arguments::calm()
        .with("--settle-time", "1h")
        .with("--deletion-bound", "2h");
    let _operator = world.operator_with(arguments).await;
    let prompt = "sim: creating=200ms running=500ms\nDo it";
    let session = world.session(Provider::Cursor, "one", prompt).await;
    let refused = |request: &AuditedRequest| {
        request.subresource == "status" && request.verb.is_write() && request.code >= 400
    };
    world
        .until_true("the outcome was refused again and again", || {
            let requests = world.requests(&log).into_iter();
            requests.filter(refused).count() >= 3
        })
        .await;
    assert_eq!(world.launches(&session).len(), 1);
    let fetched = world.sessions().get("one").await.unwrap();
    let provider = fetched.status.unwrap().provider;
    assert_eq!(provider.and_then(|provider| provider.session_id), None);
    world
        .kubectl(&["delete", "validatingwebhookconfiguration", &webhook])
        .await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(world.launches(&session).len(), 1);
    let launched = condition_of(&done, "Launched").unwrap();
    assert_eq!(launched.reason, "Accepted", "nobody had to look");
}

/// From now on the API server stores no status that names a session at the provider. Answers with the name of what makes it do so.
async fn refuse_outcomes(world: &World) -> String {
    let webhook = format!("nobody-{}", world.name());
    world
        .apply(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": webhook},
            "webhooks": [{
                "name": "nobody.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "failurePolicy": "Fail",
                "timeoutSeconds": 1,
                "clientConfig": {"url": "https://127.0.0.1:9/"},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.name()}},
                "matchConditions": [{
                    "name": "names-a-session",
                    "expression": "has(object.status) && has(object.status.provider) && has(object.status.provider.sessionId)",
                }],
                "rules": [{
                    "apiGroups": ["codeagents.dev"],
                    "apiVersions": ["*"],
                    "operations": ["UPDATE"],
                    "resources": ["codesessions/status"],
                }],
            }],
        }))
        .await;
    // It takes effect a moment after it is stored.
    world.session(Provider::Cursor, "probe", "Do it").await;
    let dry_run = PatchParams {
        dry_run: true,
        ..PatchParams::default()
    };
    let provider = json!({"kind": "cursor", "sessionId": "bc-1"});
    let named = Patch::Merge(json!({"status": {"provider": provider}}));
    let sessions = world.sessions();
    let refusal = loop {
        match sessions.patch_status("probe", &dry_run, &named).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => break error,
        }
    };
    assert!(refusal.to_string().contains("webhook"), "{refusal}");
    world.delete_session("probe").await;
    webhook
}
