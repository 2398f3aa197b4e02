//! Two replicas: one acts, the other takes over.

use std::time::{Duration, Instant};

use codeagent_operator::api::{CodeAgent, ConditionStatus, SendState, SessionPhase};
use codeagent_simulator::Provider;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::crossing::{Call, Crossing, Party, Side};
use crate::process::{Process, Signal};
use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, agent_is, condition_of, phase_of, session_id};

const TASK: &str = "sim: creating=100ms setup=50ms running=300ms\nDo it";

fn elected(arguments: Arguments) -> Arguments {
    arguments.with("--leader-election", "true")
}

/// With a Lease that nobody lives to see the end of: who leads next was let to.
fn released(arguments: Arguments) -> Arguments {
    elected(arguments)
        .with("--lease-duration", "1h")
        .with("--renew-deadline", "50m")
        .with("--retry-period", "500ms")
}

/// With an election that is lost within seconds, and not by who is merely slow.
fn hasty(arguments: Arguments) -> Arguments {
    elected(arguments)
        .with("--lease-duration", "8s")
        .with("--renew-deadline", "6s")
        .with("--retry-period", "500ms")
}

/// A replica, and what it says.
struct Replica {
    process: Process,
    crossing: Crossing,
}

/// One that leads, and one that stands by.
async fn pair(world: &World, arguments: &Arguments) -> (Replica, Replica) {
    let mut first = replica(world, "first", arguments).await;
    first.process.until_leading().await;
    let mut second = replica(world, "second", arguments).await;
    second.process.until_ready().await;
    (first, second)
}

async fn replica(world: &World, name: &str, arguments: &Arguments) -> Replica {
    let crossing = Crossing::new(world).await;
    Replica {
        process: Process::start(world, &crossing, name, arguments),
        crossing,
    }
}

/// What it has begun since then: everything but reading, renewing the Lease and reporting.
fn begun(replica: &Replica, since: Instant) -> Vec<Call> {
    let calls = replica.crossing.calls(since);
    calls.into_iter().filter(Call::is_step).collect()
}

fn at_providers(replica: &Replica, since: Instant) -> Vec<Call> {
    let calls = replica.crossing.calls(since).into_iter();
    calls
        .filter(|call| call.party != Party::ApiServer)
        .collect()
}

async fn finished_once(world: &World, name: &str) {
    world.until_phase(name, SessionPhase::Finished).await;
    let done = world.until_settled(name).await;
    assert_eq!(session_id(&done), world.at_provider(&done).id);
}

/// Whoever takes the lead counts what is stored, not what its watch has shown: a watch may be silent for minutes.
#[tokio::test]
async fn a_successor_whose_watch_was_silent_keeps_to_the_limit() {
    let provider = Provider::Cursor;
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = released(Arguments::calm()).with("--max-concurrent-per-credential", "1");
    let (first, mut second) = pair(&world, &arguments).await;
    for name in ["one", "two"] {
        let source = json!({"configMapKeyRef": {"name": name, "key": "prompt"}});
        let settings = json!({"promptFrom": source});
        world.session_with(provider, name, settings).await;
        // Nothing is written to it any more until its prompt is there.
        world
            .until_reason(name, "Stalled", "PromptUnavailable")
            .await;
    }
    second
        .crossing
        .silence_watches_from(r#""phase":"Creating""#);
    prompt(&world, "one").await;
    world.until_phase("one", SessionPhase::Running).await;
    // Otherwise the successor would try to launch it, and learn from the refused claim how it stands.
    let prompts: Api<ConfigMap> = world.namespace.api();
    let deleted = prompts.delete("one", &DeleteParams::default()).await;
    deleted.unwrap();
    first.process.signal(Signal::Terminate).await;
    second.process.until_leading().await;
    prompt(&world, "two").await;
    let waits = world
        .until("two", "settled on", |two| {
            let why = condition_of(two, "Reconciling").map(|why| why.reason.as_str());
            phase_of(two) != SessionPhase::Pending || why == Some("WaitingForAccountCapacity")
        })
        .await;
    assert_eq!(phase_of(&waits), SessionPhase::Pending);
    assert_eq!(world.launches(&waits).len(), 0);
}

/// The prompt of a task that goes on until it is stopped.
async fn prompt(world: &World, name: &str) {
    world
        .apply(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"prompt": "sim: outcome=never\nGo on"},
        }))
        .await;
}

for_each_provider!(
    a_planned_hand_over_takes_no_time_and_loses_nothing,
    a_leader_that_stands_still_is_replaced,
    a_launch_that_arrived_is_found_at_the_first_look,
    a_launch_that_did_not_arrive_is_sent_again_after_the_fence,
    a_leader_that_stood_still_right_before_sending_does_not_send,
);

/// The leader is told to stop while the provider has not even got its launch: the other one leads at once, and the launch is
/// finished and recorded by the one that claimed it.
async fn a_planned_hand_over_takes_no_time_and_loses_nothing(provider: Provider) {
    let begun = Instant::now();
    let world = World::new().await;
    world.agent(provider).await;
    // The answer is held for as long as it takes the other one to lead and to work.
    let arguments = released(Arguments::calm())
        .with("--post-timeout", "10m")
        .with("--deletion-bound", "20m");
    let (mut first, mut second) = pair(&world, &arguments).await;
    // Who stands by says nothing to anybody.
    assert_eq!(at_providers(&second, begun).len(), 0);
    assert!(first.process.says_that_it_leads().await);
    assert!(!second.process.says_that_it_leads().await);
    let mut launch = first.crossing.hold(Side::Before, 0, Call::is_launch);
    let one = world.session(provider, "one", TASK).await;
    launch.met().await;

    let told = first.process.signal(Signal::Terminate).await;
    let leads = second.process.until_leading().await;
    println!(
        "{provider}: the other leads {:?} after the signal",
        leads - told
    );
    // The new one works, while the old one still waits for its answer.
    assert!(second.process.says_that_it_leads().await);
    assert!(!first.process.says_that_it_leads().await);
    world.session(provider, "two", TASK).await;
    finished_once(&world, "two").await;
    assert_eq!(world.launches(&one).len(), 0);

    launch.release();
    let status = first.process.ended().await;
    assert!(status.success(), "{status}\n{}", first.process.log());
    let recorded = world.sessions().get("one").await.unwrap();
    assert_eq!(session_id(&recorded), world.at_provider(&one).id);
    finished_once(&world, "one").await;
    // The new one has sent its own launch and no other.
    let sent = at_providers(&second, told);
    assert_eq!(sent.iter().filter(|call| call.is_launch()).count(), 1);
}

/// Nothing was open: what is new is launched as soon as the Lease is over. The old leader ends without a word.
async fn a_leader_that_stands_still_is_replaced(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let (mut first, mut second) = pair(&world, &hasty(Arguments::impatient())).await;
    let stopped = first.process.signal(Signal::Stop).await;
    let one = world.session(provider, "one", TASK).await;
    world
        .until_true("it is launched", || !world.launches(&one).is_empty())
        .await;
    println!(
        "{provider}: launched {:?} after the leader stood still, with a Lease of eight seconds",
        stopped.elapsed()
    );
    second.process.until_leading().await;
    finished_once(&world, "one").await;

    let continued = first.process.signal(Signal::Continue).await;
    let status = first.process.ended().await;
    assert!(!status.success());
    assert!(first.process.log().contains("the lead was lost"));
    assert_eq!(begun(&first, continued).len(), 0);
    let late = at_providers(&first, continued);
    assert!(late.is_empty(), "{late:?}");
}

/// The provider has it, the answer never came: the new leader finds it when it looks for the first time, long before the fence, which is
/// only needed to prove an absence.
async fn a_launch_that_arrived_is_found_at_the_first_look(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = hasty(Arguments::impatient())
        .with("--settle-time", "1h")
        .with("--deletion-bound", "2h");
    let (mut first, _second) = pair(&world, &arguments).await;
    let mut launch = first.crossing.hold(Side::After, 0, Call::is_launch);
    let prompt = "sim: outcome=never\nGo on";
    let one = world.session(provider, "one", prompt).await;
    launch.met().await;
    let stopped = first.process.signal(Signal::Stop).await;
    launch.release();
    let running = world.until_phase("one", SessionPhase::Running).await;
    println!("{provider}: found after {:?}", stopped.elapsed());
    assert_eq!(
        condition_of(&running, "Launched").unwrap().reason,
        "Adopted"
    );
    assert_eq!(session_id(&running), world.at_provider(&one).id);

    let continued = first.process.signal(Signal::Continue).await;
    let status = first.process.ended().await;
    assert!(!status.success());
    // It had an answer to record, and finds it recorded.
    let late = at_providers(&first, continued);
    assert!(late.is_empty(), "{late:?}");
    world.delete_session("one").await;
    world.until_gone("one").await;
    assert!(!world.at_provider(&one).active);
}

/// It was sent and got lost: only after the fence does the new leader send it again.
async fn a_launch_that_did_not_arrive_is_sent_again_after_the_fence(provider: Provider) {
    let start = Instant::now();
    let world = World::new().await;
    world.agent(provider).await;
    let (mut first, second) = pair(&world, &hasty(Arguments::impatient())).await;
    let mut launch = first.crossing.hold(Side::Before, 0, Call::is_launch);
    let one = world.session(provider, "one", TASK).await;
    launch.met().await;
    let claim = world.sessions().get("one").await.unwrap().status.unwrap();
    let claimed_at = claim.launch.unwrap().claimed_at;
    first.process.signal(Signal::Stop).await;
    // It never arrives.
    drop(launch);
    finished_once(&world, "one").await;
    let launches = world.launches(&one);
    // Send window, time limit, settle time.
    let fence = Duration::from_secs(3 + 4 + 1);
    let waited = launches[0].at.duration_since(claimed_at);
    println!("{provider}: sent again {waited:?} after the claim, the fence is {fence:?}");
    assert!(waited.as_secs_f64() > fence.as_secs_f64());
    assert_eq!(
        begun(&second, start)
            .iter()
            .filter(|call| call.is_launch())
            .count(),
        1
    );
    let continued = first.process.signal(Signal::Continue).await;
    assert!(!first.process.ended().await.success());
    let late = at_providers(&first, continued);
    assert!(late.is_empty(), "{late:?}");
}

/// Its claim is stored, and it stands still before it knows. The send window is still open when it goes on, its lead is not:
/// it sends nothing, and says so, and the other one sends at once, because nobody has to wait for the fence of what was never sent.
async fn a_leader_that_stood_still_right_before_sending_does_not_send(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let arguments = hasty(Arguments::impatient())
        .with("--send-window", "1h")
        .with("--deletion-bound", "2h");
    let (mut first, mut second) = pair(&world, &arguments).await;
    // A session that waits for the agent's template says so first.
    let ready = |agent: &CodeAgent| agent_is(agent, "Ready", ConditionStatus::True, "Ready");
    world.until_agent(provider, "ready", ready).await;
    let one = {
        // The finalizer, then the claim.
        let mut claim = first.crossing.hold(Side::After, 1, Call::writes_session);
        let one = world.session(provider, "one", TASK).await;
        claim.met().await;
        first.process.signal(Signal::Stop).await;
        claim.release();
        one
    };
    let claimed = world.sessions().get("one").await.unwrap();
    let record = claimed.status.unwrap().launch.unwrap();
    assert_eq!(record.state, SendState::Claimed);
    second.process.until_leading().await;
    let continued = first.process.signal(Signal::Continue).await;
    assert!(!first.process.ended().await.success());
    let sent = at_providers(&first, continued);
    assert!(!sent.iter().any(Call::is_launch), "{sent:?}");
    finished_once(&world, "one").await;
    assert_eq!(world.launches(&one).len(), 1);
}

/// The Lease is deleted under a leader: it is made anew with the same identity, and everything goes on.
#[tokio::test]
async fn a_lease_that_is_deleted_is_made_anew() {
    let provider = Provider::Firebender;
    let world = World::new().await;
    world.agent(provider).await;
    let (mut first, mut second) = pair(&world, &hasty(Arguments::impatient())).await;
    let leases: kube::Api<Lease> = world.namespace.api();
    let before = leases.get("codeagent-operator").await.unwrap();
    let now = DeleteParams::default();
    let deleted = leases.delete("codeagent-operator", &now).await;
    deleted.unwrap();
    first.process.until_logged("has been made anew").await;
    let anew = leases.get("codeagent-operator").await.unwrap();
    let original = &anew.metadata.annotations.as_ref().unwrap()["codeagents.dev/original-uid"];
    assert_ne!(anew.metadata.uid, before.metadata.uid);
    assert_eq!(Some(original), before.metadata.uid.as_ref());
    let holder = |lease: &Lease| lease.spec.as_ref().unwrap().holder_identity.clone();
    assert_eq!(holder(&anew), holder(&before));

    // One that starts now has the same identity, and so have the markers of all.
    first.process.signal(Signal::Terminate).await;
    assert!(first.process.ended().await.success());
    second.process.until_leading().await;
    let one = world.session(provider, "one", TASK).await;
    finished_once(&world, "one").await;
    let installation: String = original.chars().take(8).collect();
    let marker = world.launches(&one).remove(0).marker.unwrap();
    assert!(marker.contains(&installation), "{marker} {installation}");
}

/// The Lease is another one, made by somebody who did not know ours: who leads ends, to start anew with its identity.
#[tokio::test]
async fn a_lease_that_was_replaced_ends_who_knew_the_old_one() {
    let world = World::new().await;
    let (mut first, mut second) = pair(&world, &hasty(Arguments::impatient())).await;
    let leases: kube::Api<Lease> = world.namespace.api();
    // As if it had been deleted and made in between two renewals.
    let foreign = json!({"metadata": {"annotations": {"codeagents.dev/original-uid": "ffffffff"}}});
    leases
        .patch(
            "codeagent-operator",
            &PatchParams::default(),
            &Patch::Merge(foreign),
        )
        .await
        .unwrap();
    for replica in [&mut first, &mut second] {
        let status = replica.process.ended().await;
        assert!(!status.success());
        let log = replica.process.log();
        assert!(log.contains("this installation has another id"), "{log}");
    }
}

/// Whoever cannot reach the API server must not act; it ends, and is started again by its Pod.
#[tokio::test]
async fn a_leader_that_cannot_renew_ends_in_time() {
    let provider = Provider::Cursor;
    let world = World::new().await;
    world.agent(provider).await;
    let (mut first, mut second) = pair(&world, &hasty(Arguments::impatient())).await;
    world
        .session(provider, "long", "sim: outcome=never\nGo on")
        .await;
    world.until_phase("long", SessionPhase::Running).await;
    let cut = Instant::now();
    first.crossing.cut_off();
    let status = first.process.ended().await;
    assert!(!status.success());
    assert!(first.process.log().contains("could not be renewed"));
    let leads = second.process.until_leading().await;
    println!("the other leads {:?} after the cut", leads - cut);
    let long = world.sessions().get("long").await.unwrap();
    assert_eq!(phase_of(&long), SessionPhase::Running);
    assert_eq!(world.launches(&long).len(), 1);
}
