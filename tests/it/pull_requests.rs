//! Sessions that start from a pull request, over both versions of Cursor's API.

use codeagent_operator::api::{CodeSession, ConditionStatus, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider, SimulatorOptions};
use serde_json::{Value, json};

use crate::support::operator::{Arguments, Operator};
use crate::support::world::{World, condition_of, phase_of, pretty, session_id};

const PULL_REQUEST: &str = "https://github.com/acme/app/pull/700";
/// Long enough to be seen while it runs.
const TASK: &str = "sim: creating=200ms running=600ms\nDo it";

async fn world(version: &str) -> (World, Operator) {
    world_with(
        SimulatorOptions::for_tests(),
        Arguments::impatient(),
        version,
    )
    .await
}

async fn world_with(
    options: SimulatorOptions,
    arguments: Arguments,
    version: &str,
) -> (World, Operator) {
    let world = World::with(options).await;
    let settings = json!({"provider": {"cursor": {"apiVersion": version}}});
    world.agent_with(Provider::Cursor, settings).await;
    let operator = world.operator_with(arguments).await;
    (world, operator)
}

/// A session from the pull request that pushes to it, or to a branch of its own.
fn from_pull_request(prompt: &str, to_it: bool) -> Value {
    json!({
        "prompt": prompt,
        "repository": {"pullRequestURL": PULL_REQUEST},
        "pullRequest": {"workOnCurrentBranch": to_it},
    })
}

fn pull_request_of(session: &CodeSession) -> Option<String> {
    let status = session.status.as_ref().unwrap();
    status.pull_request.as_ref()?.url.clone()
}

#[tokio::test]
async fn a_session_continues_a_pull_request() {
    for version in ["v1", "v0"] {
        let (world, _operator) = world(version).await;
        let settings = from_pull_request(TASK, true);
        world.session_with(Provider::Cursor, "one", settings).await;
        world.until_phase("one", SessionPhase::Finished).await;
        let done = world.until_settled("one").await;
        let truth = world.at_provider(&done);
        assert_eq!(session_id(&done), truth.id);
        assert_eq!(
            truth.pull_request.as_deref(),
            Some(PULL_REQUEST),
            "{version}"
        );
        // The work is in the pull request that it started from.
        assert_eq!(
            pull_request_of(&done).as_deref(),
            Some(PULL_REQUEST),
            "{}",
            pretty(&done)
        );
        let effective = done.status.unwrap().effective.unwrap();
        assert_eq!(effective.pull_request_url.as_deref(), Some(PULL_REQUEST));
        // The agent's branch gave way.
        assert_eq!(effective.reference, None);
        assert_eq!(
            effective.repository.as_deref(),
            Some("https://github.com/acme/app")
        );
    }
}

#[tokio::test]
async fn a_session_from_a_pull_request_opens_one_of_its_own() {
    for version in ["v1", "v0"] {
        let (world, _operator) = world(version).await;
        let prompt = "sim: creating=100ms outcome=never\nDo it";
        let settings = from_pull_request(prompt, false);
        world.session_with(Provider::Cursor, "one", settings).await;
        let running = world.until_phase("one", SessionPhase::Running).await;
        // v0 shows the pull request that it started from until there is another one.
        assert_eq!(pull_request_of(&running), None, "{}", pretty(&running));
        let created = condition_of(&running, "PullRequestCreated").unwrap();
        assert_eq!(created.status, ConditionStatus::Unknown, "{version}");
        world.let_finish(Provider::Cursor, &running);
        let done = world.until_settled("one").await;
        let opened = world.at_provider(&done).pull_request.unwrap();
        assert_ne!(opened, PULL_REQUEST, "{version}");
        assert_eq!(pull_request_of(&done), Some(opened), "{}", pretty(&done));
    }
}

/// The repository of a session that names none but its pull request's is what its lost launch is looked for in.
#[tokio::test]
async fn a_launch_from_a_pull_request_whose_answer_is_lost_is_found() {
    for version in ["v1", "v0"] {
        let (world, _operator) = world(version).await;
        let launch = Matcher::class(OperationClass::Launch);
        world
            .simulator
            .inject(Fault::once(launch, FaultKind::DropAfter));
        let settings = from_pull_request(TASK, false);
        world.session_with(Provider::Cursor, "one", settings).await;
        world.until_phase("one", SessionPhase::Finished).await;
        let done = world.until_settled("one").await;
        assert_eq!(world.simulator.faults(), [], "the fault was met");
        assert_eq!(session_id(&done), world.at_provider(&done).id);
        let launched = condition_of(&done, "Launched").unwrap();
        assert_eq!(launched.reason, "Adopted", "{version}");
    }
}

#[tokio::test]
async fn a_pull_request_that_cannot_be_resolved_holds_up_nobody_else_on_the_repository() {
    for version in ["v1", "v0"] {
        let mut options = SimulatorOptions::for_tests();
        options.cursor.missing_pull_requests = vec![PULL_REQUEST.to_owned()];
        // Whoever waits for the next try waits for longer than the test.
        let arguments = Arguments::impatient().with("--refusal-wait", "10m");
        let (world, _operator) = world_with(options, arguments, version).await;
        let settings = from_pull_request(TASK, false);
        world
            .session_with(Provider::Cursor, "wrong", settings)
            .await;
        world
            .until_reason("wrong", "Reconciling", "RepositoryInaccessible")
            .await;
        world.session(Provider::Cursor, "other", TASK).await;
        world.until_phase("other", SessionPhase::Finished).await;
        let wrong = world.sessions().get("wrong").await.unwrap();
        assert!(world.launches(&wrong).is_empty(), "{version}");
        assert_eq!(
            phase_of(&wrong),
            SessionPhase::Pending,
            "{}",
            pretty(&wrong)
        );
    }
}

#[tokio::test]
async fn sessions_that_push_to_one_pull_request_take_turns() {
    let (world, _operator) = world("v0").await;
    let prompt = "sim: outcome=never\nGo on";
    for name in ["first", "second"] {
        let settings = from_pull_request(prompt, true);
        world.session_with(Provider::Cursor, name, settings).await;
        if name == "first" {
            world.until_phase("first", SessionPhase::Running).await;
        }
    }
    let second = world
        .until_reason("second", "Reconciling", "WaitingForBranch")
        .await;
    assert!(world.launches(&second).is_empty());
    world
        .change_session("first", json!({"desiredState": "Cancelled"}))
        .await;
    world.until_phase("second", SessionPhase::Running).await;
}
