//! What a session waits for before its launch, and that it goes on by itself once it is there.

use codeagent_operator::api::{CodeSession, ConditionStatus, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, agent_is, condition_of, phase_of, pretty};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

fn position(session: &CodeSession) -> Option<i32> {
    let queue = session.status.as_ref()?.queue.as_ref()?;
    queue.position
}

for_each_provider!(no_more_sessions_run_than_the_agent_allows);

/// The more urgent goes first, then the older.
async fn no_more_sessions_run_than_the_agent_allows(provider: Provider) {
    let world = World::new().await;
    world
        .agent_with(provider, json!({"maxConcurrentSessions": 1}))
        .await;
    let _operator = world.operator().await;
    world.session(provider, "first", ENDLESS).await;
    world.until_phase("first", SessionPhase::Running).await;
    for (name, priority) in [("low", -1), ("middle", 0), ("high", 5)] {
        let settings = json!({"prompt": ENDLESS, "priority": priority});
        world.session_with(provider, name, settings).await;
    }
    for (name, place) in [("high", 1), ("middle", 2), ("low", 3)] {
        let waiting = world
            .until(name, "in its place", |session| {
                position(session) == Some(place)
            })
            .await;
        let why = condition_of(&waiting, "Reconciling").unwrap();
        assert_eq!(why.reason, "WaitingForCapacity");
        assert_eq!(why.status.as_str(), "True");
        assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    }

    let mut before = "first";
    for name in ["high", "middle", "low"] {
        world
            .change_session(before, json!({"desiredState": "Cancelled"}))
            .await;
        let runs = world.until_phase(name, SessionPhase::Running).await;
        assert_eq!(position(&runs), None, "{}", pretty(&runs));
        let active = world.simulator.sessions();
        let active = active.iter().filter(|session| session.active).count();
        assert_eq!(active, 1);
        before = name;
    }
    assert_eq!(world.simulator.launches(&Default::default()).len(), 4);
}

for_each_provider!(a_crowd_never_runs_more_than_the_agent_allows);

async fn a_crowd_never_runs_more_than_the_agent_allows(provider: Provider) {
    const SESSIONS: usize = 12;
    let world = World::new().await;
    world
        .agent_with(provider, json!({"maxConcurrentSessions": 3}))
        .await;
    for number in 0..SESSIONS {
        let prompt = "sim: creating=50ms setup=10ms running=150ms\nDo it";
        world.session(provider, &format!("s{number}"), prompt).await;
    }
    let _operator = world.operator().await;
    let mut most = 0;
    world
        .until_true("all have ended", || {
            let sessions = world.simulator.sessions();
            most = most.max(sessions.iter().filter(|session| session.active).count());
            sessions.len() == SESSIONS && sessions.iter().all(|session| !session.active)
        })
        .await;
    assert!((1..=3).contains(&most), "{most} at once");
    for number in 0..SESSIONS {
        let done = world.until_settled(&format!("s{number}")).await;
        assert_eq!(phase_of(&done), SessionPhase::Finished);
    }
}

for_each_provider!(who_cannot_start_takes_nobodys_place);

/// A session that waits for its prompt holds no place that another could use.
async fn who_cannot_start_takes_nobodys_place(provider: Provider) {
    let world = World::new().await;
    world
        .agent_with(provider, json!({"maxConcurrentSessions": 1}))
        .await;
    let _operator = world.operator().await;
    let settings = json!({
        "promptFrom": {"configMapKeyRef": {"name": "missing", "key": "prompt"}},
        "priority": 100,
    });
    world.session_with(provider, "stuck", settings).await;
    world
        .until_reason("stuck", "Stalled", "PromptUnavailable")
        .await;
    world.session(provider, "able", "Do it").await;
    world.until_phase("able", SessionPhase::Finished).await;
}

for_each_provider!(a_prompt_that_is_not_there_yet_is_waited_for);

async fn a_prompt_that_is_not_there_yet_is_waited_for(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let source = json!({"configMapKeyRef": {"name": "task", "key": "prompt"}});
    let settings = json!({"promptFrom": source});
    world.session_with(provider, "one", settings).await;
    let waiting = world
        .until_reason("one", "Stalled", "PromptUnavailable")
        .await;
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    let why = &condition_of(&waiting, "Stalled").unwrap().message;
    assert!(why.contains("ConfigMap task"), "{why}");

    world
        .apply(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "task"},
            "data": {"other": "x"},
        }))
        .await;
    world
        .until("one", "told of the missing key", |session| {
            condition_of(session, "Stalled")
                .is_some_and(|stalled| stalled.message.contains("no key prompt"))
        })
        .await;
    world
        .apply(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "task"},
            "data": {"prompt": "A task from elsewhere"},
        }))
        .await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    let sent = &world.at_provider(&done).prompts[0].text;
    assert!(sent.contains("A task from elsewhere"), "{sent}");
}

for_each_provider!(a_suspended_agent_starts_nothing_new);

async fn a_suspended_agent_starts_nothing_new(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "running", ENDLESS).await;
    let running = world.until_phase("running", SessionPhase::Running).await;
    world.change_agent(provider, json!({"suspend": true})).await;
    world
        .until_agent(provider, "suspended", |agent| {
            agent.status.as_ref().is_some_and(|status| {
                status.conditions[0].reason == "AgentSuspended"
                    && status.conditions[0].status.as_str() == "False"
            })
        })
        .await;
    let held = world.session(provider, "held", "Do it").await;
    world
        .until_reason("held", "Reconciling", "AgentSuspended")
        .await;
    // What runs goes on.
    world.let_finish(provider, &running);
    world.until_phase("running", SessionPhase::Finished).await;
    assert_eq!(world.launches(&held).len(), 0);
    world
        .change_agent(provider, json!({"suspend": false}))
        .await;
    world.until_phase("held", SessionPhase::Finished).await;
}

for_each_provider!(a_suspended_session_waits_until_it_is_wanted);

async fn a_suspended_session_waits_until_it_is_wanted(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let settings = json!({"prompt": "Do it", "desiredState": "Suspended"});
    let held = world.session_with(provider, "held", settings).await;
    let settled = world.until_reason("held", "Reconciling", "Suspended").await;
    // It is as its spec says, so nothing is wrong and nothing is under way.
    for kind in ["Reconciling", "Stalled"] {
        let found = condition_of(&settled, kind).unwrap();
        assert_eq!(found.status.as_str(), "False", "{kind}");
    }
    assert_eq!(world.launches(&held).len(), 0);
    world
        .change_session("held", json!({"desiredState": "Running"}))
        .await;
    world.until_phase("held", SessionPhase::Finished).await;
}

for_each_provider!(a_secret_that_went_launches_nothing_any_more);

/// What was read of a Secret while a session waited is not used for a launch after the Secret is gone.
async fn a_secret_that_went_launches_nothing_any_more(provider: Provider) {
    let world = World::new().await;
    world.agent_with(provider, json!({"suspend": true})).await;
    let _operator = world.operator().await;
    let held = world.session(provider, "held", "Do it").await;
    world
        .until_reason("held", "Reconciling", "AgentSuspended")
        .await;
    world.delete_secret(provider).await;
    world
        .until_agent(provider, "without its Secret", |agent| {
            agent_is(agent, "Stalled", ConditionStatus::True, "SecretNotFound")
        })
        .await;
    world
        .change_agent(provider, json!({"suspend": false}))
        .await;
    world
        .until_reason("held", "Stalled", "SecretNotFound")
        .await;
    assert_eq!(world.launches(&held).len(), 0);
}

for_each_provider!(a_refused_launch_is_tried_with_the_next_key_at_once);

/// Not after the hour that a refusal may be waited for.
async fn a_refused_launch_is_tried_with_the_next_key_at_once(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let launch = Matcher::class(OperationClass::Launch);
    let refused = FaultKind::ErrorBefore {
        status: 403,
        code: "forbidden".to_owned(),
    };
    world.simulator.inject(Fault::once(launch, refused));
    let arguments = Arguments::calm()
        .with("--refusal-wait", "1h")
        .with("--agent-recheck", "1h");
    let _operator = world.operator_with(arguments).await;
    world.session(provider, "one", "Do it").await;
    let waiting = world
        .until_reason("one", "Stalled", "CredentialsInvalid")
        .await;
    assert_eq!(phase_of(&waiting), SessionPhase::Pending);
    world.accept_key(provider, "second", "a-second-key");
    world.secret(provider, "a-second-key").await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    assert_eq!(world.launches(&done)[0].key, "second");
}

/// Two on one branch would overwrite each other's work, whoever named the branch; on branches of their own they run side by side.
#[tokio::test]
async fn sessions_that_push_to_one_branch_run_one_after_the_other() {
    let world = World::new().await;
    let provider = Provider::Firebender;
    let shared = json!({"pullRequest": {"branchName": "agent/cleanup"}});
    world.agent_with(provider, shared).await;
    let _operator = world.operator().await;
    let endless = json!({"prompt": "sim: outcome=never\nGo on"});
    world.session_with(provider, "first", endless.clone()).await;
    world.until_phase("first", SessionPhase::Running).await;
    world
        .session_with(provider, "second", endless.clone())
        .await;
    let waiting = world
        .until_reason("second", "Reconciling", "WaitingForBranch")
        .await;
    let message = &condition_of(&waiting, "Reconciling").unwrap().message;
    assert!(message.contains("CodeSession first"), "{message}");
    // The same repository in another spelling has the same branches.
    let mut spelled = endless.clone();
    spelled["repository"] = json!({"url": "https://github.com/Acme/app.git", "ref": "main"});
    world.session_with(provider, "spelled", spelled).await;
    world
        .until_reason("spelled", "Reconciling", "WaitingForBranch")
        .await;
    let mut own = endless;
    own["pullRequest"] = json!({"branchName": "agent/{session}"});
    world.session_with(provider, "elsewhere", own).await;
    world.until_phase("elsewhere", SessionPhase::Running).await;
    world.delete_session("first").await;
    world.until_phase("second", SessionPhase::Running).await;
    world
        .until_reason("spelled", "Reconciling", "WaitingForBranch")
        .await;
    assert_eq!(world.simulator.launches(&Default::default()).len(), 3);
}

for_each_provider!(what_waited_for_too_long_is_never_launched);

/// A queue, and an operator that was away, run no session later than it is wanted.
async fn what_waited_for_too_long_is_never_launched(provider: Provider) {
    let world = World::new().await;
    world
        .agent_with(
            provider,
            json!({
                "maxConcurrentSessions": 1,
                "sessionDefaults": {"launchDeadlineSeconds": 2},
            }),
        )
        .await;
    let operator = world.operator().await;
    let patient = json!({"prompt": ENDLESS, "launchDeadlineSeconds": 3600});
    world.session_with(provider, "first", patient).await;
    world.until_phase("first", SessionPhase::Running).await;
    world.session(provider, "queued", ENDLESS).await;
    let expired = world.until_phase("queued", SessionPhase::Expired).await;
    let launched = condition_of(&expired, "Launched").unwrap();
    assert_eq!(
        (launched.status.as_str(), launched.reason.as_str()),
        ("False", "NotLaunchedInTime")
    );
    world.until_event(&expired, "NotLaunchedInTime").await;

    operator.stop().await;
    world.session(provider, "away", ENDLESS).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let _successor = world.operator().await;
    world.until_phase("away", SessionPhase::Expired).await;
    // The slot that becomes free is for others.
    let cancelled = json!({"desiredState": "Cancelled"});
    world.change_session("first", cancelled).await;
    world.until_settled("first").await;
    for name in ["queued", "away"] {
        let ended = world.until_settled(name).await;
        assert_eq!(phase_of(&ended), SessionPhase::Expired);
        assert_eq!(world.launches(&ended).len(), 0);
    }
}
