//! A session that runs goes on, whatever becomes of the operator, its CodeAgent and its Secret.

use std::time::Duration;

use codeagent_operator::api::{ConditionStatus, SessionPhase};
use codeagent_simulator::{Provider, Script};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::world::{World, agent_is, agent_name, condition_of, session_id};

/// A task that goes on until the test ends it.
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// Lets a session finish at its provider.
fn finish(world: &World, provider: Provider, session: &str) {
    let script = Script {
        outcome: Some(codeagent_simulator::Outcome::Finished),
        ..Script::fast()
    };
    assert!(world.simulator.rescript(provider, session, script));
}

for_each_provider!(a_restarted_operator_goes_on_where_the_last_one_stopped);

async fn a_restarted_operator_goes_on_where_the_last_one_stopped(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    operator.stop().await;
    // It ends while nobody looks.
    finish(&world, provider, &session_id(&running));
    world
        .until_true("the session has ended", || {
            !world.at_provider(&running).active
        })
        .await;
    let _operator = world.operator().await;
    let done = world.until_settled("long").await;
    assert_eq!(done.status.as_ref().unwrap().phase, SessionPhase::Finished);
    assert_eq!(world.launches(&done).len(), 1);
    let kept = done.status.unwrap().started_at;
    assert_eq!(kept, running.status.unwrap().started_at);
}

for_each_provider!(a_session_outlives_its_agent_and_its_secret);

async fn a_session_outlives_its_agent_and_its_secret(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_secret(provider).await;
    let deleted = world
        .agents()
        .delete(agent_name(provider), &DeleteParams::default())
        .await;
    deleted.unwrap();
    // A new one has nobody to run for it, and says so.
    world.session(provider, "new", "Do it").await;
    let waiting = world.until_reason("new", "Stalled", "AgentNotFound").await;
    assert_eq!(waiting.status.unwrap().phase, SessionPhase::Pending);

    finish(&world, provider, &session_id(&running));
    let done = world.until_settled("long").await;
    assert_eq!(done.status.as_ref().unwrap().phase, SessionPhase::Finished);
    assert_eq!(world.launches(&done).len(), 1);

    // What was read of a Secret is good for `--recheck` (200 ms here).
    tokio::time::sleep(Duration::from_millis(300)).await;
    // What was missing comes back: the new one goes on by itself.
    world.agent_alone(provider, json!({})).await;
    world.until_reason("new", "Stalled", "SecretNotFound").await;
    world
        .secret(provider, crate::support::world::demo_key(provider))
        .await;
    world.until_phase("new", SessionPhase::Finished).await;
}

for_each_provider!(a_key_is_rotated_without_a_restart);

/// The old key is revoked, the Secret gets a new one: what runs goes on, what is new is launched.
async fn a_key_is_rotated_without_a_restart(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;

    world.accept_key(provider, "second", "a-second-key");
    assert!(world.simulator.revoke(provider, "demo"));
    // Somebody who looks sees what is wrong while it is.
    world
        .until_reason("long", "Stalled", "CredentialsInvalid")
        .await;
    world
        .until_agent(provider, "refused", |agent| {
            agent_is(
                agent,
                "CredentialsValid",
                ConditionStatus::False,
                "CredentialsInvalid",
            )
        })
        .await;
    world.secret(provider, "a-second-key").await;
    world.session(provider, "new", "Do it").await;
    world.until_phase("new", SessionPhase::Finished).await;
    let mended = world
        .until("long", "followed again", |session| {
            condition_of(session, "Stalled")
                .is_some_and(|stalled| stalled.status == ConditionStatus::False)
        })
        .await;
    assert_eq!(mended.status.unwrap().phase, SessionPhase::Running);
    finish(&world, provider, &session_id(&running));
    let done = world.until_settled("long").await;
    assert_eq!(done.status.as_ref().unwrap().phase, SessionPhase::Finished);
    assert_eq!(world.launches(&done).len(), 1);
    let late = world.simulator.requests().pop().unwrap();
    assert_eq!(late.key.as_deref(), Some("second"));
}

for_each_provider!(a_restored_copy_is_not_launched_again);

/// Exported, deleted and restored: the object has another uid, and its status is lost.
async fn a_restored_copy_is_not_launched_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "one", "Do it").await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    world.delete_session("one").await;
    world.until_gone("one").await;
    world
        .apply(json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeSession",
            "metadata": {"name": "one", "annotations": done.annotations()},
            "spec": done.spec,
        }))
        .await;
    let copy = world.until_reason("one", "Stalled", "RestoredCopy").await;
    assert_ne!(copy.uid(), done.uid());
    assert_eq!(copy.status.as_ref().unwrap().phase, SessionPhase::Pending);
    let what_to_do = &condition_of(&copy, "Stalled").unwrap().message;
    assert!(what_to_do.contains("codeagents.dev/origin"), "{what_to_do}");
    assert_eq!(world.launches(&copy).len(), 0);

    // Whoever wants to pay again says so.
    world
        .kubectl(&["annotate", "csess", "one", "codeagents.dev/origin-"])
        .await;
    world.until_phase("one", SessionPhase::Finished).await;
    assert_eq!(world.launches(&copy).len(), 1);
}

for_each_provider!(an_ended_session_goes_when_its_time_has_come);

async fn an_ended_session_goes_when_its_time_has_come(provider: Provider) {
    let world = World::new().await;
    let defaults = json!({"sessionDefaults": {"ttlSecondsAfterFinished": 1}});
    world.agent_with(provider, defaults).await;
    let _operator = world.operator().await;
    let by_agent = world.session(provider, "by-agent", "Do it").await;
    let settings = json!({"prompt": "Do it", "ttlSecondsAfterFinished": 0});
    let at_once = world.session_with(provider, "at-once", settings).await;
    let settings = json!({"prompt": "Do it", "ttlSecondsAfterFinished": 3600});
    world.session_with(provider, "kept", settings).await;
    world.until_gone("at-once").await;
    world.until_gone("by-agent").await;
    world.until_settled("kept").await;
    for gone in [by_agent, at_once] {
        assert_eq!(world.launches(&gone).len(), 1);
        assert!(!world.at_provider(&gone).active);
    }
}
