//! An object in the store that this version cannot read.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::Provider;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::world::World;

/// It is told, counted and left alone; the others go on.
#[tokio::test]
async fn a_session_that_cannot_be_read_stops_nobody_else() {
    let world = World::new().await;
    let provider = Provider::Cursor;
    world.agent(provider).await;
    world.session(provider, "odd", "Do it").await;
    // The API server takes this for a time; there is no such offset.
    let patch = Patch::Merge(json!({"status": {
        "observedGeneration": 1,
        "phase": "Pending",
        "startedAt": "2026-01-01T00:00:00+99:99",
    }}));
    let stored: kube::api::Api<kube::api::DynamicObject> = kube::api::Api::namespaced_with(
        world.namespace.client(),
        world.name(),
        &kube::api::ApiResource::erase::<codeagent_operator::api::CodeSession>(&()),
    );
    stored
        .patch_status("odd", &PatchParams::default(), &patch)
        .await
        .unwrap();

    let operator = world.operator().await;
    world.session(provider, "fine", "Do it").await;
    world.until_phase("fine", SessionPhase::Finished).await;
    let log = operator.log();
    let told = log.lines().find(|line| line.contains("cannot be read"));
    let told = told.unwrap_or_else(|| panic!("not told: {log}"));
    assert!(told.contains(&format!("{}/odd", world.name())), "{told}");
    let metrics = operator.metrics().await;
    assert!(
        metrics.contains("codeagent_malformed_objects_total{controller=\"Session\"}"),
        "{metrics}"
    );
    assert_eq!(world.simulator.launches(&Default::default()).len(), 1);
}
