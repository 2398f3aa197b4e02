//! Cursor's older API, v0: lost launches are found by the marker, and no status says that a session was stopped.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{
    Fault, FaultKind, Matcher, OperationClass, Provider, SimulatorOptions, StoppedStatus,
};
use serde_json::json;

use crate::support::operator::{Arguments, Operator};
use crate::support::world::{World, condition_of, pretty, session_id};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// A world with a CodeAgent that uses v0, and the operator in it.
async fn world(options: SimulatorOptions) -> (World, Operator) {
    let world = World::with(options).await;
    let v0 = json!({"provider": {"cursor": {"apiVersion": "v0"}}});
    world.agent_with(Provider::Cursor, v0).await;
    let operator = world.operator_with(Arguments::impatient()).await;
    (world, operator)
}

fn stopped_as(status: StoppedStatus) -> SimulatorOptions {
    let mut options = SimulatorOptions::for_tests();
    options.cursor.v0.stopped_status = status;
    options
}

#[tokio::test]
async fn a_session_is_launched_once_over_v0_and_told_completely() {
    let (world, _operator) = world(SimulatorOptions::for_tests()).await;
    let settings = json!({
        "prompt": "sim: creating=200ms running=400ms result=\"Fixed the check.\"\nFix it",
        "pullRequest": {"branchName": "fix/login", "skipReviewerRequest": true},
    });
    world.session_with(Provider::Cursor, "one", settings).await;
    world.until_phase("one", SessionPhase::Finished).await;
    let done = world.until_settled("one").await;
    let truth = world.at_provider(&done);
    let status = done.status.clone().unwrap();
    assert_eq!(session_id(&done), truth.id);
    assert_eq!(status.launch.unwrap().target.api_version, "v0");
    let pull_request = status.pull_request.unwrap();
    assert_eq!(pull_request.branch.as_deref(), Some("fix/login"));
    assert_eq!(pull_request.url, truth.pull_request);
    let message = &status.messages[0];
    assert_eq!(message.result.as_deref(), Some("Fixed the check."));
}

#[tokio::test]
async fn a_launch_whose_answer_is_lost_is_found_by_its_marker() {
    for fault in [
        FaultKind::DropAfter,
        FaultKind::ErrorAfter {
            status: 502,
            code: "bad_gateway".to_owned(),
        },
        FaultKind::TruncatedBody,
    ] {
        let (world, _operator) = world(SimulatorOptions::for_tests()).await;
        let launch = Matcher::class(OperationClass::Launch);
        world.simulator.inject(Fault::once(launch, fault));
        let prompt = "sim: creating=200ms running=500ms\nDo it";
        world.session(Provider::Cursor, "one", prompt).await;
        world.until_phase("one", SessionPhase::Finished).await;
        let done = world.until_settled("one").await;
        assert_eq!(session_id(&done), world.at_provider(&done).id);
        assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
    }
}

#[tokio::test]
async fn a_stop_counts_whatever_it_leaves_as_status() {
    for status in [
        StoppedStatus::FinishedAtOnce,
        StoppedStatus::FinishedLater,
        StoppedStatus::Unchanged,
    ] {
        let (world, _operator) = world(stopped_as(status)).await;
        world.session(Provider::Cursor, "long", ENDLESS).await;
        let running = world.until_phase("long", SessionPhase::Running).await;
        world
            .change_session("long", json!({"desiredState": "Cancelled"}))
            .await;
        let ended = world.until_settled("long").await;
        let stored = ended.status.clone().unwrap();
        assert_eq!(stored.phase, SessionPhase::Cancelled, "{}", pretty(&ended));
        assert!(!world.at_provider(&running).active);
        let cancel = stored.cancel.unwrap();
        assert!(cancel.accepted_at.is_some());
        let stalled = condition_of(&ended, "Stalled").unwrap();
        assert_eq!(stalled.status.as_str(), "False", "{status:?}");
    }
}

#[tokio::test]
async fn a_deleted_session_is_stopped_and_goes_without_a_report() {
    let (world, _operator) = world(stopped_as(StoppedStatus::Unchanged)).await;
    world.session(Provider::Cursor, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world.delete_session("long").await;
    world.until_gone("long").await;
    assert!(!world.at_provider(&running).active);
    let events = world.events(&running).await;
    let orphaned = events.iter().any(|event| event.1 == "Orphaned");
    assert!(!orphaned, "{events:?}");
}

#[tokio::test]
async fn a_stop_that_is_refused_again_and_again_is_no_stop() {
    let (world, _operator) = world(stopped_as(StoppedStatus::Unchanged)).await;
    let prompt = "sim: outcome=never cancel=fails\nGo on";
    world.session(Provider::Cursor, "long", prompt).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    world
        .change_session("long", json!({"desiredState": "Cancelled"}))
        .await;
    let stops = || {
        let requests = world.simulator.requests();
        let stops = requests
            .iter()
            .filter(|request| request.class == Some(OperationClass::Cancel));
        stops.count()
    };
    world
        .until_true("it was tried again", || stops() >= 3)
        .await;
    world.let_finish(Provider::Cursor, &running);
    let ended = world.until_settled("long").await;
    let status = ended.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Finished, "{}", pretty(&ended));
    assert_eq!(status.cancel.unwrap().accepted_at, None);
}
