//! A service that is reached with a mapping: the one of the documentation's example.

use codeagent_operator::api::{ConditionStatus, SessionPhase};
use codeagent_simulator::{LaunchFilter, Provider};
use serde_json::{Value, json};

use crate::support::operator::Arguments;
use crate::support::world::{World, agent_is, mapping, phase_of, pretty, session_id};

const HTTP: Provider = Provider::Http;
const TASK: &str = "sim: creating=100ms running=200ms";
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// The CodeAgent with this member of its mapping.
fn with(world: &World, member: &str, value: Value) -> Value {
    let mut http = mapping(world.simulator.url(HTTP));
    http[member] = value;
    json!({"provider": {"http": http}})
}

#[tokio::test]
async fn a_session_lives_and_the_agent_says_what_its_examples_read_as() {
    let world = World::new().await;
    world.agent(HTTP).await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session(HTTP, "one", TASK).await;
    let done = world.until_phase("one", SessionPhase::Finished).await;
    assert_eq!(world.launches(&done).len(), 1);
    let agent = world
        .until_agent(HTTP, "ready", |agent| {
            agent_is(agent, "Ready", ConditionStatus::True, "Ready")
        })
        .await;
    let told = agent.status.unwrap().mapping_examples;
    assert_eq!(
        told,
        [
            "Get: id devin-4711, phase Finished (running/finished), url https://app.devin.ai/sessions/4711, pullRequest https://github.com/acme/app/pull/7"
        ]
    );
}

#[tokio::test]
async fn a_mapping_that_cannot_work_holds_its_sessions_until_it_is_mended() {
    let world = World::new().await;
    let wrong = json!({"path": "/v3/{nothing}/{sessionId}"});
    world.secret(HTTP, "http-demo-key").await;
    world.agent_alone(HTTP, with(&world, "get", wrong)).await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session(HTTP, "one", TASK).await;
    world
        .until_agent(HTTP, "not ready", |agent| {
            agent_is(agent, "Ready", ConditionStatus::False, "InvalidMapping")
        })
        .await;
    let waits = world
        .until_reason("one", "Reconciling", "InvalidMapping")
        .await;
    assert_eq!(phase_of(&waits), SessionPhase::Pending);
    assert!(
        pretty(&waits).contains("spec.provider.http.get.path, column 5: {nothing} is no name here"),
        "{}",
        pretty(&waits)
    );
    assert!(world.simulator.requests().is_empty(), "nothing was asked");
    world.agent_alone(HTTP, json!({})).await;
    world.until_phase("one", SessionPhase::Finished).await;
}

/// An edit of the mapping concerns the sessions that are launched after it: a running one is followed and stopped as it was launched.
#[tokio::test]
async fn a_running_session_keeps_the_mapping_that_it_was_launched_with() {
    let world = World::new().await;
    world.agent(HTTP).await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session(HTTP, "one", ENDLESS).await;
    let running = world.until_phase("one", SessionPhase::Running).await;
    let id = session_id(&running);
    // With these nothing is found that was there before.
    let elsewhere = json!({"path": "/elsewhere/{sessionId}"});
    world
        .agent_alone(HTTP, with(&world, "get", elsewhere))
        .await;
    world
        .until_agent(HTTP, "seen as it is now", |agent| {
            let generation = agent.metadata.generation;
            let status = agent.status.as_ref();
            status.map(|status| status.observed_generation) == generation
        })
        .await;
    let asked = world.simulator.requests().len();
    world
        .until_true("asked again", || {
            world.simulator.requests().len() > asked + 3
        })
        .await;
    world
        .change_session("one", json!({"desiredState": "Cancelled"}))
        .await;
    let ended = world.until_settled("one").await;
    assert_eq!(session_id(&ended), id);
    assert_eq!(
        phase_of(&ended),
        SessionPhase::Cancelled,
        "{}",
        pretty(&ended)
    );
    assert_eq!(world.simulator.launches(&LaunchFilter::default()).len(), 1);
}
