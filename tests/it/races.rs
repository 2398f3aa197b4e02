//! Somebody changes the object while its launch is under way.

use codeagent_operator::api::{CodeSession, SendState, SessionPhase};
use codeagent_simulator::Provider;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::world::{World, condition_of, pretty, session_id};

/// The provider has the launch at once and answers after some seconds.
const SLOW: &str = "sim: latency=3s creating=200ms running=800ms\nDo it";
const SLOW_ENDLESS: &str = "sim: latency=3s outcome=never\nGo on";

/// Applies a session and comes back while its launch is under way.
async fn launching(world: &World, provider: Provider, prompt: &str) -> CodeSession {
    let session = world.session(provider, "one", prompt).await;
    world
        .until_true("the launch has arrived", || {
            !world.launches(&session).is_empty()
        })
        .await;
    let claimed = world.sessions().get("one").await.unwrap();
    let record = claimed.status.as_ref().unwrap().launch.as_ref().unwrap();
    assert_eq!(record.state, SendState::Claimed, "{}", pretty(&claimed));
    claimed
}

for_each_provider!(a_changed_object_does_not_lose_the_record);

async fn a_changed_object_does_not_lose_the_record(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    launching(&world, provider, SLOW).await;
    world
        .kubectl(&["label", "csess", "one", "team=a", "--overwrite"])
        .await;
    world.change_session("one", json!({"priority": 7})).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(session_id(&done), world.at_provider(&done).id);
    assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Accepted");
    assert_eq!(done.labels()["team"], "a");
    assert_eq!(done.status.unwrap().observed_generation, 2);
}

for_each_provider!(a_session_cancelled_during_its_launch_is_stopped);

async fn a_session_cancelled_during_its_launch_is_stopped(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    launching(&world, provider, SLOW_ENDLESS).await;
    world
        .change_session("one", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("one").await;
    assert_eq!(
        ended.status.as_ref().unwrap().phase,
        SessionPhase::Cancelled
    );
    assert!(!world.at_provider(&ended).active);
}

for_each_provider!(an_object_removed_by_force_during_its_launch_leaves_nothing_running);

/// The finalizer is taken away by hand: the object is gone when the answer comes.
async fn an_object_removed_by_force_during_its_launch_leaves_nothing_running(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let session = launching(&world, provider, SLOW_ENDLESS).await;
    remove_by_force(&world).await;
    world
        .until_true("it is stopped", || !world.at_provider(&session).active)
        .await;
}

for_each_provider!(a_namesake_does_not_inherit_a_launch);

/// The object is removed by force and made anew while the first launch is under way: each pays for itself, and the first
/// one is stopped.
async fn a_namesake_does_not_inherit_a_launch(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let first = launching(&world, provider, SLOW_ENDLESS).await;
    remove_by_force(&world).await;
    let second = world.session(provider, "one", "Do it").await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(done.uid(), second.uid());
    assert_eq!(session_id(&done), world.at_provider(&second).id);
    world
        .until_true("the first is stopped", || !world.at_provider(&first).active)
        .await;
}

async fn remove_by_force(world: &World) {
    let without = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let sessions = world.sessions();
    sessions
        .patch("one", &PatchParams::default(), &without)
        .await
        .unwrap();
    let deleted = sessions.delete("one", &DeleteParams::default()).await;
    deleted.unwrap();
}

for_each_provider!(an_object_replaced_during_its_launch_keeps_its_session);

/// `kubectl replace` takes finalizer and annotations away: they come back, and the launch is recorded.
async fn an_object_replaced_during_its_launch_keeps_its_session(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    launching(&world, provider, SLOW_ENDLESS).await;
    let bare = Patch::Merge(json!({"metadata": {"finalizers": null, "annotations": null}}));
    world
        .sessions()
        .patch("one", &PatchParams::default(), &bare)
        .await
        .unwrap();
    let running = world.until_phase("one", SessionPhase::Running).await;
    assert_eq!(session_id(&running), world.at_provider(&running).id);
    let guarded = world
        .until("one", "held again", |session| {
            !session.finalizers().is_empty()
        })
        .await;
    assert!(guarded.annotations().contains_key("codeagents.dev/origin"));
    world.delete_session("one").await;
    world.until_gone("one").await;
    assert!(!world.at_provider(&running).active);
}

for_each_provider!(a_stopping_operator_finishes_what_it_has_sent);

/// The claim entitles it to record what came of it.
async fn a_stopping_operator_finishes_what_it_has_sent(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    launching(&world, provider, SLOW).await;
    operator.stop().await;
    let recorded = world.sessions().get("one").await.unwrap();
    assert_eq!(session_id(&recorded), world.at_provider(&recorded).id);
    // And it begins nothing new.
    let other = world.session(provider, "other", "Do it").await;
    assert_eq!(world.launches(&other).len(), 0);

    let _operator = world.operator().await;
    for name in ["one", "other"] {
        world.until_phase(name, SessionPhase::Finished).await;
        let done = world.until_settled(name).await;
        assert_eq!(world.launches(&done).len(), 1);
    }
}
