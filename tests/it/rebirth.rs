//! Objects that come again under the name of an earlier one (rule 13): what is launched, and paid, a second time, and what
//! is not.

use std::io::Write;

use codeagent_operator::api::{CodeSession, SessionPhase};
use codeagent_simulator::{Outcome, Provider, Script};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::for_each_provider;
use crate::support::world::{World, agent_name, condition_of, phase_of, session_id};

/// A task that goes on until the test ends it.
const ENDLESS: &str = "sim: outcome=never\nGo on";

fn manifest(provider: Provider, name: &str, prompt: &str) -> Value {
    json!({
        "apiVersion": "codeagents.dev/v1alpha1",
        "kind": "CodeSession",
        "metadata": {"name": name},
        "spec": {"agentRef": {"name": agent_name(provider)}, "prompt": prompt},
    })
}

/// A manifest in a file, for kubectl.
fn file(object: &Value) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(object.to_string().as_bytes()).unwrap();
    file
}

/// Where it is.
fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// Whether what was paid for this object still runs.
fn runs(world: &World, session: &CodeSession) -> bool {
    world.at_provider(session).active
}

for_each_provider!(applied_again_after_its_deletion_it_is_a_new_paid_session);

async fn applied_again_after_its_deletion_it_is_a_new_paid_session(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let manifest = manifest(provider, "one", "Do it");
    world.apply(manifest.clone()).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let first = world.until_settled("one").await;
    // The same manifest on the object that is there changes nothing.
    world.apply(manifest.clone()).await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    world.apply(manifest).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let second = world.until_settled("one").await;
    assert_ne!(first.uid(), second.uid());
    assert_ne!(session_id(&first), session_id(&second));
    for object in [&first, &second] {
        assert_eq!(world.launches(object).len(), 1);
    }
}

for_each_provider!(a_forced_replacement_stops_the_old_one_and_pays_again);

/// `kubectl replace --force` deletes and creates.
async fn a_forced_replacement_stops_the_old_one_and_pays_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let file = file(&manifest(provider, "one", ENDLESS));
    world.kubectl(&["apply", "-f", path(&file)]).await;
    let first = world.until_phase("one", SessionPhase::Running).await;
    world
        .kubectl(&["replace", "--force", "-f", path(&file)])
        .await;
    let second = world
        .until("one", "replaced and running", |session| {
            session.uid() != first.uid() && phase_of(session) == SessionPhase::Running
        })
        .await;
    assert!(!runs(&world, &first));
    assert!(runs(&world, &second));
}

for_each_provider!(no_way_to_apply_it_again_launches_a_running_session_again);

/// Also where it takes away finalizer and annotation, as `kubectl replace` does.
async fn no_way_to_apply_it_again_launches_a_running_session_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let file = file(&manifest(provider, "one", ENDLESS));
    world.kubectl(&["apply", "-f", path(&file)]).await;
    let first = world.until_phase("one", SessionPhase::Running).await;
    let forced = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        path(&file),
    ];
    world.kubectl(&forced).await;
    world.kubectl(&["replace", "-f", path(&file)]).await;
    let replaced = world
        .until("one", "held by its finalizer again", |session| {
            !session.finalizers().is_empty()
                && session.annotations().contains_key("codeagents.dev/origin")
        })
        .await;
    assert_eq!(replaced.uid(), first.uid());
    assert_eq!(phase_of(&replaced), SessionPhase::Running);
    assert_eq!(session_id(&replaced), session_id(&first));
    assert!(runs(&world, &replaced));
}

/// What a backup of objects with their status would hold.
fn exported(session: &CodeSession) -> CodeSession {
    let mut copy = session.clone();
    copy.metadata.uid = None;
    copy.metadata.resource_version = None;
    copy
}

/// Restores a backup, as a tool does that brings back the status as well.
async fn restore(world: &World, backup: &CodeSession) -> CodeSession {
    let created = world
        .sessions()
        .create(&PostParams::default(), backup)
        .await
        .unwrap();
    let status = Patch::Merge(json!({"status": backup.status}));
    let restored = world
        .sessions()
        .patch_status(&created.name_any(), &PatchParams::default(), &status)
        .await;
    restored.unwrap()
}

for_each_provider!(restored_with_its_status_a_running_session_is_followed_on);

/// The namespace is lost and restored while no operator is there; at the provider the session goes on.
async fn restored_with_its_status_a_running_session_is_followed_on(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    world.session(provider, "one", ENDLESS).await;
    let first = world.until_phase("one", SessionPhase::Running).await;
    operator.stop().await;
    let backup = exported(&world.sessions().get("one").await.unwrap());
    let no_finalizer = r#"{"metadata":{"finalizers":null}}"#;
    world
        .kubectl(&["patch", "csess", "one", "--type=merge", "-p", no_finalizer])
        .await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let copy = restore(&world, &backup).await;
    assert_ne!(copy.uid(), first.uid());

    let _operator = world.operator().await;
    let finished = Script {
        outcome: Some(Outcome::Finished),
        ..Script::fast()
    };
    let id = session_id(&first);
    assert!(world.simulator.rescript(provider, &id, finished));
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished);
    assert_eq!(session_id(&done), id);
    assert_eq!(world.launches(&first).len(), 1);
    assert_eq!(world.launches(&copy).len(), 0);
}

for_each_provider!(restored_without_its_status_a_running_session_is_not_launched_again);

/// The annotation tells that the session was launched before; only a person can say whether to pay again.
async fn restored_without_its_status_a_running_session_is_not_launched_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    world.session(provider, "one", ENDLESS).await;
    let first = world.until_phase("one", SessionPhase::Running).await;
    let backup = exported(&world.sessions().get("one").await.unwrap());
    operator.stop().await;
    let no_finalizer = r#"{"metadata":{"finalizers":null}}"#;
    world
        .kubectl(&["patch", "csess", "one", "--type=merge", "-p", no_finalizer])
        .await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    let _operator = world.operator().await;
    let created = world
        .sessions()
        .create(&PostParams::default(), &backup)
        .await;
    created.unwrap();
    let copy = world.until_reason("one", "Stalled", "RestoredCopy").await;
    let what_to_do = &condition_of(&copy, "Stalled").unwrap().message;
    assert!(what_to_do.contains("codeagents.dev/origin"), "{what_to_do}");
    assert_eq!(world.launches(&copy).len(), 0);
    assert!(runs(&world, &first));
    // It goes as easily as it came, and its deletion stops nothing that it does not have.
    world.delete_session("one").await;
    world.until_gone("one").await;
    assert!(runs(&world, &first));
}
