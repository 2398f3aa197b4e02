//! Ending a session before it ends by itself: cancelled, deleted, left alone.

use std::time::{Duration, Instant};

use codeagent_operator::api::{SendState, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use k8s_openapi::api::core::v1::{Namespace, NamespaceSpec};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, pretty};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

for_each_provider!(cancelling_a_running_session_stops_it_at_the_provider);

async fn cancelling_a_running_session_stops_it_at_the_provider(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    assert!(world.at_provider(&running).active);

    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("long").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Cancelled, "{}", pretty(&ended));
    assert!(!world.at_provider(&ended).active);
    let cancel = status.cancel.unwrap();
    assert!(cancel.sent_at <= cancel.accepted_at);
    // It is what was asked for: nothing is wrong.
    let stalled = condition_of(&ended, "Stalled").unwrap();
    assert_eq!(stalled.status.as_str(), "False");
    assert_eq!(status.observed_generation, 2);
}

for_each_provider!(a_session_cancelled_before_its_launch_is_never_launched);

async fn a_session_cancelled_before_its_launch_is_never_launched(provider: Provider) {
    let world = World::new().await;
    world.agent_with(provider, json!({"suspend": true})).await;
    let _operator = world.operator().await;
    world.session(provider, "held", "Do it").await;
    world
        .until_reason("held", "Reconciling", "AgentSuspended")
        .await;
    world
        .change_session("held", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("held").await;
    assert_eq!(
        ended.status.as_ref().unwrap().phase,
        SessionPhase::Cancelled
    );
    let launched = condition_of(&ended, "Launched").unwrap();
    assert_eq!(launched.status.as_str(), "False");
    assert_eq!(launched.reason, "CancelledBeforeLaunch");

    // Nor is one that was created like this, nor when the CodeAgent goes on.
    let born = json!({"prompt": "Do it", "desiredState": "Cancelled"});
    world.session_with(provider, "born", born).await;
    world
        .change_agent(provider, json!({"suspend": false}))
        .await;
    world.session(provider, "other", "Do it").await;
    world.until_phase("other", SessionPhase::Finished).await;
    let born = world.until_settled("born").await;
    for never in [ended, born] {
        assert_eq!(world.launches(&never).len(), 0);
    }
}

for_each_provider!(a_stop_that_comes_too_late_leaves_the_session_finished);

async fn a_stop_that_comes_too_late_leaves_the_session_finished(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let prompt = "sim: outcome=never cancel=too_late\nGo on";
    world.session(provider, "late", prompt).await;
    world.until_phase("late", SessionPhase::Running).await;
    world
        .change_session("late", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("late").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Finished, "{}", pretty(&ended));
    assert!(!world.at_provider(&ended).active);
}

for_each_provider!(a_stop_whose_answer_is_lost_is_sent_again);

async fn a_stop_whose_answer_is_lost_is_sent_again(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    world.until_phase("long", SessionPhase::Running).await;
    let cancel = Matcher::class(OperationClass::Cancel);
    world.simulator.inject(Fault {
        times: Some(3),
        ..Fault::once(cancel, FaultKind::DropBefore)
    });
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("long").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Cancelled, "{}", pretty(&ended));
    assert!(!world.at_provider(&ended).active);
}

for_each_provider!(deleting_a_running_session_stops_it_first);

async fn deleting_a_running_session_stops_it_first(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_session("long").await;
    world.until_gone("long").await;
    assert!(!world.at_provider(&running).active);
    // A provider's DELETE is never called, and so the history stays.
    assert!(!world.at_provider(&running).deleted);
}

for_each_provider!(deleting_a_session_before_its_launch_launches_nothing);

async fn deleting_a_session_before_its_launch_launches_nothing(provider: Provider) {
    let world = World::new().await;
    world.agent_with(provider, json!({"suspend": true})).await;
    let _operator = world.operator().await;
    let held = world.session(provider, "held", "Do it").await;
    world
        .until_reason("held", "Reconciling", "AgentSuspended")
        .await;
    world.delete_session("held").await;
    world.until_gone("held").await;
    assert_eq!(world.launches(&held).len(), 0);
}

for_each_provider!(deletion_policy_orphan_leaves_it_running);

async fn deletion_policy_orphan_leaves_it_running(provider: Provider) {
    let world = World::new().await;
    let defaults = json!({"sessionDefaults": {"deletionPolicy": "Orphan"}});
    world.agent_with(provider, defaults).await;
    let operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_session("long").await;
    world.until_gone("long").await;
    let note = world.until_event(&running, "Orphaned").await;
    let truth = world.at_provider(&running);
    assert!(truth.active);
    assert!(note.contains(&truth.id), "{note}");
    assert!(asked_to_stop(&world) == 0);
    let metrics = operator.metrics().await;
    assert!(
        metrics.contains("codeagent_unaccounted_sessions_total{why=\"Orphaned\"} 1"),
        "{metrics}"
    );
}

for_each_provider!(what_is_let_go_is_reported_once);

/// The removal of an object can be seen before the answer to the request that caused it: its last words stay its last.
async fn what_is_let_go_is_reported_once(provider: Provider) {
    const CROWD: usize = 30;
    let world = World::new().await;
    let settings =
        json!({"sessionDefaults": {"deletionPolicy": "Orphan"}, "maxConcurrentSessions": CROWD});
    world.agent_with(provider, settings).await;
    let operator = world.operator().await;
    let names: Vec<String> = (0..CROWD).map(|n| format!("long-{n}")).collect();
    for name in &names {
        world.session(provider, name, ENDLESS).await;
    }
    for name in &names {
        world.until_phase(name, SessionPhase::Running).await;
    }
    for name in &names {
        world.delete_session(name).await;
    }
    for name in &names {
        world.until_gone(name).await;
    }
    let metrics = operator.metrics().await;
    let reported = format!("codeagent_unaccounted_sessions_total{{why=\"Orphaned\"}} {CROWD}");
    assert!(metrics.contains(&reported), "{metrics}");
}

fn asked_to_stop(world: &World) -> usize {
    let requests = world.simulator.requests();
    requests
        .iter()
        .filter(|request| request.class == Some(OperationClass::Cancel))
        .count()
}

for_each_provider!(a_provider_that_never_stops_it_does_not_hold_the_object_for_ever);

/// The deletion ends within its bound, and says that the session may go on.
async fn a_provider_that_never_stops_it_does_not_hold_the_object_for_ever(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::resigned();
    let _operator = world.operator_with(arguments).await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    let cancel = Matcher::class(OperationClass::Cancel);
    let mute = FaultKind::Hang {
        duration: Duration::from_secs(600),
    };
    world.simulator.inject(Fault::always(cancel, mute));
    let begun = Instant::now();
    world.delete_session("long").await;
    world.until_gone("long").await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(9), "{took:?}");
    assert!(asked_to_stop(&world) >= 1);
    let note = world.until_event(&running, "Orphaned").await;
    assert!(note.contains("may still be running"), "{note}");
    assert!(world.at_provider(&running).active);
}

for_each_provider!(without_its_secret_a_running_session_is_still_stopped);

/// The key of a session that runs is kept until the session is over.
async fn without_its_secret_a_running_session_is_still_stopped(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_secret(provider).await;
    world.delete_session("long").await;
    world.until_gone("long").await;
    assert!(!world.at_provider(&running).active);
}

for_each_provider!(without_its_secret_a_restarted_operator_lets_the_object_go_and_says_so);

/// A new process has no key any more. The object goes in time, and somebody is told that the session was not stopped.
async fn without_its_secret_a_restarted_operator_lets_the_object_go_and_says_so(
    provider: Provider,
) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::resigned();
    let operator = world.operator_with(arguments.clone()).await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    operator.stop().await;
    world.delete_secret(provider).await;
    world.delete_session("long").await;
    let _operator = world.operator_with(arguments).await;
    // While it waits, it says what would help.
    world
        .until_reason("long", "Stalled", "SecretNotFound")
        .await;
    world.until_gone("long").await;
    let note = world.until_event(&running, "Orphaned").await;
    assert!(note.contains("may still be running"), "{note}");
    assert!(world.at_provider(&running).active);
}

for_each_provider!(a_namespace_that_goes_takes_its_sessions_along_stopped);

/// In a terminating namespace the Secret goes in the same sweep, and no Event can be made.
async fn a_namespace_that_goes_takes_its_sessions_along_stopped(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.namespace.client());
    let name = world.name();
    // The permissions go in the same sweep as well: they are held as a ClusterRole would hold them.
    hold_permissions(&world).await;
    namespaces
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    world.until_gone("long").await;
    assert!(!world.at_provider(&running).active);
}

/// Gives the operator's user its permissions from outside the namespace.
async fn hold_permissions(world: &World) {
    let name = format!("held-{}", world.name());
    let role = world
        .kubectl(&["get", "role", "operator", "-o", "json"])
        .await;
    let role: serde_json::Value = serde_json::from_str(&role).unwrap();
    world
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": role["rules"],
        }))
        .await;
    world
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "User",
                "name": format!("operator-of-{}", world.name()),
            }],
        }))
        .await;
}

for_each_provider!(a_session_deleted_during_its_launch_is_stopped);

/// The object is deleted while the provider has the launch and has not answered yet.
async fn a_session_deleted_during_its_launch_is_stopped(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let prompt = "sim: outcome=never latency=3s\nGo on";
    let session = world.session(provider, "brief", prompt).await;
    world
        .until_true("the launch has arrived", || {
            !world.launches(&session).is_empty()
        })
        .await;
    let claimed = world.sessions().get("brief").await.unwrap();
    let record = claimed.status.unwrap().launch.unwrap();
    assert_eq!(record.state, SendState::Claimed);
    world.delete_session(&session.name_any()).await;
    world.until_gone("brief").await;
    assert!(!world.at_provider(&session).active);
}

/// Deletes the world's namespace, and takes its finalizers away as people do with one that is stuck.
async fn finalize_by_force(world: &World) {
    let namespaces: Api<Namespace> = Api::all(world.namespace.client());
    let name = world.namespace.name();
    let _ = namespaces
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    let mut namespace = namespaces.get(name).await.unwrap();
    namespace.spec = Some(NamespaceSpec {
        finalizers: Some(Vec::new()),
    });
    namespaces
        .replace_subresource("finalize", name, &PostParams::default(), &namespace)
        .await
        .unwrap();
    let gone = namespaces.get_opt(name).await.unwrap();
    assert!(gone.is_none(), "{gone:?}");
}

for_each_provider!(what_is_left_in_a_namespace_that_is_gone_is_stopped);

/// Its uid cannot be read any more, which nothing needs that was launched. Nothing new is launched.
async fn what_is_left_in_a_namespace_that_is_gone_is_stopped(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    operator.stop().await;
    world.session(provider, "late", ENDLESS).await;
    finalize_by_force(&world).await;
    let _operator = world.operator().await;
    world.until_reason("late", "Stalled", "NamespaceGone").await;
    world.delete_session("late").await;
    world.until_gone("late").await;
    world.delete_session("long").await;
    world.until_gone("long").await;
    assert!(!world.at_provider(&running).active);
    assert_eq!(world.simulator.launches(&Default::default()).len(), 1);
}

for_each_provider!(what_is_left_in_a_namespace_that_is_gone_goes_in_time_without_its_secret);

async fn what_is_left_in_a_namespace_that_is_gone_goes_in_time_without_its_secret(
    provider: Provider,
) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = Arguments::impatient().with("--deletion-bound", "10s");
    let operator = world.operator_with(arguments.clone()).await;
    world.session(provider, "long", ENDLESS).await;
    world.until_phase("long", SessionPhase::Running).await;
    operator.stop().await;
    world.delete_secret(provider).await;
    finalize_by_force(&world).await;
    let _operator = world.operator_with(arguments).await;
    world.delete_session("long").await;
    world.until_gone("long").await;
}

/// A provider that takes the stop and never answers holds the object no longer than one that refuses it: what is known by then is
/// said, and the call goes on by itself.
#[tokio::test]
async fn a_stop_that_is_never_answered_does_not_outlast_the_bound_of_a_deletion() {
    let world = World::new().await;
    let provider = Provider::Firebender;
    world.agent(provider).await;
    let arguments = Arguments::impatient().with("--deletion-bound", "10s");
    let operator = world.operator_with(arguments).await;
    world.session(provider, "long", ENDLESS).await;
    world.until_phase("long", SessionPhase::Running).await;
    let stop = Matcher::class(OperationClass::Cancel);
    world
        .simulator
        .inject(Fault::always(stop, FaultKind::SilentBefore));
    world.delete_session("long").await;
    world.until_gone("long").await;
    let log = operator.log();
    let begun = log.matches("effect=\"cancel\"").count();
    let timed_out = log.matches("no whole answer").count();
    assert!(begun > timed_out, "a call is still open: {log}");
}
