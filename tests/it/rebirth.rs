//! An object that comes again: applied anew, exported and created again, applied with force.

use codeagent_operator::api::{CodeSession, SessionPhase};
use codeagent_operator::simulator::Provider;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::support::for_each_provider;
use crate::support::world::{World, agent_name, pretty, session_id};

const TASK: &str = "sim: creating=50ms setup=50ms running=200ms\nDo it";
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// What somebody keeps in Git.
fn manifest(provider: Provider, prompt: &str) -> Value {
    json!({
        "apiVersion": "codeagents.dev/v1alpha1",
        "kind": "CodeSession",
        "metadata": {"name": "one"},
        "spec": {"agentRef": {"name": agent_name(provider)}, "prompt": prompt},
    })
}

/// Runs the session of `manifest` to its end.
async fn finished(world: &World, manifest: &Value) -> CodeSession {
    world.apply(manifest.clone()).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(session_id(&done), world.at_provider(&done).id);
    done
}

/// `kubectl` with `input`, as an administrator.
async fn kubectl_with(world: &World, arguments: &[&str], input: &Value) {
    let arguments = [&["-n", world.name()], arguments].concat();
    let output = world
        .admin
        .kubectl_with_input(&arguments, &input.to_string())
        .await
        .unwrap();
    assert!(output.success(), "{arguments:?}: {}", output.stderr);
}

for_each_provider!(
    a_manifest_applied_again_after_a_deletion_is_a_new_session,
    a_manifest_applied_again_and_again_is_one_session,
    an_export_with_its_status_is_not_launched_again,
    an_export_without_its_origin_is_a_new_session,
    a_replacement_by_force_stops_the_first_session_and_pays_again,
);

async fn a_manifest_applied_again_after_a_deletion_is_a_new_session(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let first = finished(&world, &manifest(provider, TASK)).await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let second = finished(&world, &manifest(provider, TASK)).await;
    assert_ne!(first.uid(), second.uid());
    assert_ne!(session_id(&first), session_id(&second));
    assert_eq!(world.launches(&first).len(), 1);
}

/// Also by another manager, and with force.
async fn a_manifest_applied_again_and_again_is_one_session(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let manifest = manifest(provider, ENDLESS);
    world.apply(manifest.clone()).await;
    let running = world.until_phase("one", SessionPhase::Running).await;
    for manager in ["argocd", "flux", "somebody"] {
        let manager = format!("--field-manager={manager}");
        let by_force = ["apply", "--server-side", "--force-conflicts", &manager];
        kubectl_with(&world, &[&by_force[..], &["-f", "-"]].concat(), &manifest).await;
    }
    kubectl_with(&world, &["apply", "-f", "-"], &manifest).await;
    let still = world.sessions().get("one").await.unwrap();
    assert_eq!(still.uid(), running.uid());
    assert_eq!(still.finalizers(), running.finalizers());
    assert!(still.annotations().contains_key("codeagents.dev/origin"));
    world.delete_session("one").await;
    world.until_gone("one").await;
    assert!(!world.at_provider(&running).active);
}

/// What a create says of the status is not taken over, so the copy knows nothing; what it carries of its origin tells that
/// it is one.
async fn an_export_with_its_status_is_not_launched_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let done = finished(&world, &manifest(provider, TASK)).await;
    let mut export: Value =
        serde_json::from_str(&world.kubectl(&["get", "csess", "one", "-o", "json"]).await).unwrap();
    assert_eq!(export["status"]["phase"], "Finished");
    world.delete_session("one").await;
    world.until_gone("one").await;
    for of_the_server in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        let metadata = export["metadata"].as_object_mut().unwrap();
        metadata.remove(of_the_server);
    }
    kubectl_with(&world, &["create", "-f", "-"], &export).await;
    let copy = world.until_reason("one", "Stalled", "RestoredCopy").await;
    assert_ne!(copy.uid(), done.uid());
    assert_eq!(world.launches(&copy).len(), 0, "{}", pretty(&copy));
    // It goes as it came.
    world.delete_session("one").await;
    world.until_gone("one").await;
    assert_eq!(world.launches(&done).len(), 1);
}

async fn an_export_without_its_origin_is_a_new_session(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let done = finished(&world, &manifest(provider, TASK)).await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let mut bare = manifest(provider, TASK);
    bare["status"] = serde_json::to_value(&done.status).unwrap();
    kubectl_with(&world, &["create", "-f", "-"], &bare).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let again = world.until_settled("one").await;
    assert_ne!(session_id(&again), session_id(&done));
    assert_eq!(session_id(&again), world.at_provider(&again).id);
}

/// `kubectl replace --force` deletes and creates: the first session is stopped, the second is paid.
async fn a_replacement_by_force_stops_the_first_session_and_pays_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let manifest = manifest(provider, ENDLESS);
    world.apply(manifest.clone()).await;
    let first = world.until_phase("one", SessionPhase::Running).await;
    kubectl_with(&world, &["replace", "--force", "-f", "-"], &manifest).await;
    let second = world.until_phase("one", SessionPhase::Running).await;
    assert_ne!(first.uid(), second.uid());
    assert!(!world.at_provider(&first).active);
    assert!(world.at_provider(&second).active);
}
