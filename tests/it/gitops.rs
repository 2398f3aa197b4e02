//! What GitOps engines do with a session that a person changed by hand: they take the person's fields over and apply a manifest that
//! does not mention them.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::Provider;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::world::{World, condition_of, phase_of, pretty};

const ENDLESS: &str = "sim: outcome=never\nGo on";

/// The session as it stands in Git: no word of what should become of it.
fn manifest(prompt: &str) -> Value {
    json!({
        "apiVersion": "codeagents.dev/v1alpha1",
        "kind": "CodeSession",
        "metadata": {"name": "fix"},
        "spec": {"agentRef": {"name": "cursor"}, "prompt": prompt},
    })
}

/// How a manifest is applied.
#[derive(Clone, Copy, Debug)]
enum Engine {
    /// As Flux: kubectl's fields are taken over first, so that what the manifest does not mention is dropped.
    ServerSide,
    /// As `kubectl apply`, Argo CD's default and Helm 3.
    ClientSide,
}

impl Engine {
    async fn apply(self, world: &World, manifest: &Value) {
        match self {
            Self::ClientSide => world.apply(manifest.clone()).await,
            Self::ServerSide => {
                let sessions = world.sessions();
                if let Some(stored) = sessions.get_metadata_opt("fix").await.unwrap() {
                    let mut managers = json!(stored.metadata.managed_fields.unwrap_or_default());
                    for manager in managers.as_array_mut().unwrap() {
                        if manager["subresource"].is_null() {
                            manager["manager"] = json!("gitops");
                            manager["operation"] = json!("Apply");
                        }
                    }
                    let taken_over = merged(managers);
                    let patch = Patch::Merge(json!({"metadata": {"managedFields": taken_over}}));
                    sessions
                        .patch("fix", &PatchParams::default(), &patch)
                        .await
                        .unwrap();
                }
                let applied = sessions
                    .patch(
                        "fix",
                        &PatchParams::apply("gitops").force(),
                        &Patch::Apply(manifest),
                    )
                    .await;
                applied.unwrap_or_else(|error| panic!("{self:?}: {error}"));
            }
        }
    }
}

/// One entry for each manager: the API server refuses two.
fn merged(managers: Value) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for entry in managers.as_array().into_iter().flatten() {
        let same = |other: &&mut Value| {
            other["manager"] == entry["manager"] && other["subresource"] == entry["subresource"]
        };
        match merged.iter_mut().find(same) {
            Some(first) => add(&mut first["fieldsV1"], &entry["fieldsV1"]),
            None => merged.push(entry.clone()),
        }
    }
    merged
}

fn add(target: &mut Value, more: &Value) {
    match more.as_object() {
        Some(members) if target.is_object() => {
            for (name, value) in members {
                add(&mut target[name], value);
            }
        }
        _ => *target = more.clone(),
    }
}

/// A person stops the session, as `kubectl patch` does it.
async fn stop_by_hand(world: &World) {
    let patch = [
        "patch",
        "csess",
        "fix",
        "--type=merge",
        "-p",
        r#"{"spec":{"desiredState":"Cancelled"}}"#,
    ];
    world.kubectl(&patch).await;
}

async fn stopped_for_good(engine: Engine) {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let _operator = world.operator().await;
    let manifest = manifest(ENDLESS);
    engine.apply(&world, &manifest).await;
    world.until_phase("fix", SessionPhase::Running).await;

    stop_by_hand(&world).await;
    world
        .until("fix", "being stopped", |session| {
            let status = session.status.as_ref().unwrap();
            status.cancel.is_some()
        })
        .await;
    for round in 0..3 {
        engine.apply(&world, &manifest).await;
        println!("{engine:?}: applied again, {round}");
    }
    let ended = world.until_settled("fix").await;
    engine.apply(&world, &manifest).await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Cancelled, "{}", pretty(&ended));
    assert!(!world.at_provider(&ended).active);
    let kept = world.sessions().get("fix").await.unwrap();
    let left = kept.spec.desired_state;
    match engine {
        Engine::ServerSide => assert_eq!(left, None, "{}", pretty(&kept)),
        Engine::ClientSide => assert!(left.is_some(), "{}", pretty(&kept)),
    }
    // Another session passes through all of it, and this one stays as it is.
    world.session(Provider::Cursor, "other", "Do it").await;
    world.until_settled("other").await;
    let kept = world.sessions().get("fix").await.unwrap();
    assert_eq!(kept.status.unwrap().phase, SessionPhase::Cancelled);
    assert_eq!(world.launches(&ended).len(), 1);
}

#[tokio::test]
async fn a_stop_by_hand_stays_in_force_where_an_engine_drops_it() {
    stopped_for_good(Engine::ServerSide).await;
}

#[tokio::test]
async fn a_stop_by_hand_stays_in_force_where_the_manifest_is_applied_again() {
    stopped_for_good(Engine::ClientSide).await;
}

/// Stopped before its launch, it never starts, whatever is applied afterwards.
#[tokio::test]
async fn a_session_stopped_by_hand_before_its_launch_is_never_launched() {
    for engine in [Engine::ServerSide, Engine::ClientSide] {
        let world = World::new().await;
        let held = json!({"suspend": true});
        world.agent_with(Provider::Cursor, held).await;
        let _operator = world.operator().await;
        let manifest = manifest("Do it");
        engine.apply(&world, &manifest).await;
        world
            .until_reason("fix", "Reconciling", "AgentSuspended")
            .await;
        stop_by_hand(&world).await;
        world.until_settled("fix").await;
        engine.apply(&world, &manifest).await;
        world
            .change_agent(Provider::Cursor, json!({"suspend": false}))
            .await;
        world.session(Provider::Cursor, "other", "Do it").await;
        world.until_settled("other").await;
        let kept = world.sessions().get("fix").await.unwrap();
        let status = kept.status.clone().unwrap();
        assert_eq!(status.phase, SessionPhase::Cancelled, "{}", pretty(&kept));
        assert_eq!(world.launches(&kept).len(), 0);
    }
}

/// What tools that follow kstatus make of an end: current where the spec asked for it, failed otherwise.
#[tokio::test]
async fn an_end_that_was_asked_for_is_current_and_any_other_is_failed() {
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let _operator = world.operator().await;
    for (name, prompt, phase, failed) in [
        ("done", "Do it", SessionPhase::Finished, "False"),
        ("broken", "sim: outcome=error", SessionPhase::Error, "True"),
        ("stopped", ENDLESS, SessionPhase::Cancelled, "False"),
    ] {
        world.session(Provider::Cursor, name, prompt).await;
        if phase == SessionPhase::Cancelled {
            world.until_phase(name, SessionPhase::Running).await;
            let cancelled = json!({"desiredState": "Cancelled"});
            world.change_session(name, cancelled).await;
        }
        let ended = world.until_settled(name).await;
        assert_eq!(phase_of(&ended), phase, "{}", pretty(&ended));
        let status = |kind| condition_of(&ended, kind).unwrap().status.as_str();
        assert_eq!(status("Stalled"), failed, "{name}");
        assert_eq!(status("Reconciling"), "False", "{name}");
    }
}
