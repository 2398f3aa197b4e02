//! An older operator meets what a newer one stored: words that it does not know.

use codeagent_harness::{ControlPlane, Options};
use codeagent_operator::api::{CodeSession, SessionPhase, crds};
use codeagent_simulator::{Provider, SimulatorOptions};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::world::{World, condition_of, phase_of, pretty};

const ENDLESS: &str = "sim: outcome=never\nGo on";

/// Takes every closed list out of a schema, as a newer definition would have longer ones.
fn open(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove("enum");
            members.values_mut().for_each(open);
        }
        Value::Array(items) => items.iter_mut().for_each(open),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Installs the definitions with a status that takes any word.
async fn newer_definitions(control_plane: &ControlPlane) {
    for crd in crds::all() {
        let mut crd = serde_json::to_value(crd).unwrap();
        open(&mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]);
        let admin = control_plane.admin();
        admin.apply_manifests(&crd.to_string()).await.unwrap();
    }
}

/// Stores what another version of the operator would have stored.
async fn store(world: &World, name: &str, status: Value) {
    let sessions: Api<DynamicObject> = Api::namespaced_with(
        world.namespace.client(),
        world.name(),
        &ApiResource::erase::<CodeSession>(&()),
    );
    let patch = Patch::Merge(json!({"status": status}));
    let stored = sessions
        .patch_status(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let phase = &stored.data["status"]["phase"];
    assert_eq!(phase, "Reviewing", "{}", pretty(&stored));
}

#[tokio::test]
async fn words_of_a_newer_operator_leave_a_session_followed_stopped_and_paid_once() {
    let options = Options {
        controller_manager: false,
        ..Options::default()
    };
    let control_plane = ControlPlane::start(options).await.unwrap();
    let world = World::at_own(&control_plane, SimulatorOptions::for_tests()).await;
    newer_definitions(&control_plane).await;
    world.agent(Provider::Cursor).await;
    let newer = world.operator().await;
    for name in ["running", "claimed", "stopping"] {
        world.session(Provider::Cursor, name, ENDLESS).await;
        world.until_phase(name, SessionPhase::Running).await;
    }
    newer.stop().await;

    let message = json!([{"name": "prompt", "phase": "Reviewing"}]);
    let odd = json!({
        "phase": "Reviewing",
        "messages": message,
        "effective": {"deletionPolicy": "Archive", "onUnknownLaunch": "Ask"},
    });
    store(&world, "running", odd).await;
    let probing = json!({"phase": "Reviewing", "launch": {"state": "Probing"}});
    store(&world, "claimed", probing).await;
    let stopping = json!({
        "phase": "Reviewing",
        "cancel": {"reason": "Budget", "message": "prompt", "sentAt": "2026-01-01T00:00:00Z"},
    });
    store(&world, "stopping", stopping).await;

    let older = world.operator().await;
    // A stop that was asked for stays in force, whoever asked for it.
    let stopped = world.until_settled("stopping").await;
    assert_eq!(phase_of(&stopped), SessionPhase::Cancelled);
    // What may have arrived is looked for, and found.
    let adopted = world.until_reason("claimed", "Launched", "Adopted").await;
    assert!(condition_of(&adopted, "Stalled").is_some());
    for name in ["running", "claimed"] {
        let cancelled = json!({"desiredState": "Cancelled"});
        world.change_session(name, cancelled).await;
        let ended = world.until_settled(name).await;
        assert_eq!(phase_of(&ended), SessionPhase::Cancelled, "{name}");
        assert!(!world.at_provider(&ended).active);
    }
    let log = older.log();
    assert!(!log.contains("cannot be read"), "{log}");
}
