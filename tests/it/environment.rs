//! Environment variables of the hosted agent: from Secrets to Cursor, whose API takes no id of ours beside them.

use codeagent_operator::api::{ENVIRONMENT_LABEL, Guarantee, Recovery, SendState, SessionPhase};
use codeagent_simulator::{
    Fault, FaultKind, LaunchKind, Matcher, OperationClass, Provider, VariableRecord,
};
use serde_json::{Value, json};

use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, phase_of, pretty, session_id};

const SHORT: &str = "sim: creating=100ms setup=100ms running=200ms\nDo it";
const CURSOR: Provider = Provider::Cursor;

async fn secret(world: &World, name: &str, values: Value) {
    let labels = json!({ENVIRONMENT_LABEL: "true"});
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": labels}, "stringData": values,
    });
    world.apply(secret).await;
}

fn env_from(secrets: &[&str]) -> Value {
    let secrets = secrets.iter();
    secrets
        .map(|name| json!({"secretRef": {"name": name}}))
        .collect()
}

/// A world with a Secret of one variable.
async fn world_with_secret() -> World {
    let world = World::new().await;
    secret(&world, "staging", json!({"TOKEN": "first"})).await;
    world
}

fn from_staging() -> Value {
    json!({"prompt": SHORT, "envFrom": env_from(&["staging"])})
}

/// How many requests have tried to launch something.
fn launch_requests(world: &World) -> usize {
    let requests = world.simulator.requests();
    let launches = requests
        .iter()
        .filter(|request| request.class == Some(OperationClass::Launch));
    launches.count()
}

#[tokio::test]
async fn variables_of_agent_and_session_reach_the_hosted_agent() {
    let world = World::new().await;
    secret(
        &world,
        "shared",
        json!({"A": "of the agent", "B": "of the agent"}),
    )
    .await;
    secret(&world, "own", json!({"B": "of the session"})).await;
    let settings = json!({"envFrom": env_from(&["shared"])});
    world.agent_with(CURSOR, settings).await;
    let _operator = world.operator().await;
    let settings = json!({
        "prompt": SHORT, "envFrom": env_from(&["own"]),
        "messages": [{"name": "more", "prompt": SHORT}],
    });
    world.session_with(CURSOR, "one", settings).await;
    let done = world
        .until("one", "done with its message", |session| {
            let messages = session.status.as_ref().map(|it| it.messages.as_slice());
            let ended = messages.is_some_and(|all| all.len() == 2 && all[1].phase.is_terminal());
            ended && phase_of(session).is_terminal()
        })
        .await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    let launches = world.launches(&done);
    assert_eq!(launches.len(), 2);
    assert_eq!(launches[0].kind, LaunchKind::Session);
    let variables = [
        VariableRecord::new("A", "of the agent"),
        VariableRecord::new("B", "of the session"),
    ];
    assert_eq!(launches[0].environment, variables);
    assert_eq!(launches[0].agent_id, None);
    let status = done.status.as_ref().unwrap();
    let record = status.launch.as_ref().unwrap();
    assert_eq!(record.recovery, Some(Recovery::Marker));
    assert_eq!(record.posts, 1);
    let effective = status.effective.as_ref().unwrap();
    assert_eq!(effective.env_from, ["shared", "own"]);
    // It has shown that it keeps the name of ours.
    world
        .until_agent(CURSOR, "known to find lost launches", |agent| {
            let status = agent.status.as_ref().unwrap();
            let kept = status.marker_honoured.as_ref();
            kept.is_some_and(|kept| kept.honoured)
                && status.launch_guarantee == Some(Guarantee::ExactlyOnce)
        })
        .await;
}

/// A session with variables says nothing of ids, and one without them nothing of its own kind less.
#[tokio::test]
async fn a_session_with_variables_of_its_own_leaves_the_guarantee_of_the_others_alone() {
    let world = world_with_secret().await;
    world.agent(CURSOR).await;
    let _operator = world.operator().await;
    world.session(CURSOR, "plain", SHORT).await;
    world.until_settled("plain").await;
    let with_ids = "known to use our ids";
    let uses_ids = |agent: &codeagent_operator::api::CodeAgent| {
        let status = agent.status.as_ref().unwrap();
        status.launch_guarantee == Some(Guarantee::ExactlyOnce)
    };
    world.until_agent(CURSOR, with_ids, uses_ids).await;
    world.session_with(CURSOR, "one", from_staging()).await;
    let done = world.until_settled("one").await;
    assert!(!session_id(&done).is_empty());
    let agent = world
        .until_agent(CURSOR, "known to keep names", |agent| {
            let status = agent.status.as_ref().unwrap();
            status
                .marker_honoured
                .as_ref()
                .is_some_and(|it| it.honoured)
        })
        .await;
    assert!(uses_ids(&agent), "{}", pretty(&agent));
}

#[tokio::test]
async fn a_launch_that_never_arrived_is_sent_again_without_an_id() {
    let world = world_with_secret().await;
    world.agent(CURSOR).await;
    let launch = Matcher::class(OperationClass::Launch);
    let lost = Fault::once(launch, FaultKind::DropBefore);
    world.simulator.inject(lost);
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session_with(CURSOR, "one", from_staging()).await;
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    let record = done.status.as_ref().unwrap().launch.as_ref().unwrap();
    assert_eq!((record.posts, record.recovery), (2, Some(Recovery::Marker)));
    let launches = world.launches(&done);
    assert_eq!(launches.len(), 1);
    assert_eq!(
        launches[0].environment,
        [VariableRecord::new("TOKEN", "first")]
    );
    assert_eq!(launches[0].agent_id, None);
}

/// Also where the account has shown that it uses our ids: that one of them is not there says nothing of a launch without one.
#[tokio::test]
async fn a_launch_whose_answer_is_lost_is_found_by_its_name() {
    let world = world_with_secret().await;
    world.agent(CURSOR).await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session(CURSOR, "plain", SHORT).await;
    world.until_settled("plain").await;
    world
        .until_agent(CURSOR, "known to use our ids", |agent| {
            let status = agent.status.as_ref().unwrap();
            let used = status.client_id_honoured.as_ref();
            used.is_some_and(|used| used.honoured)
        })
        .await;
    let before = launch_requests(&world);
    let launch = Matcher::class(OperationClass::Launch);
    world
        .simulator
        .inject(Fault::once(launch, FaultKind::DropAfter));
    world.session_with(CURSOR, "one", from_staging()).await;
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
    assert_eq!(session_id(&done), world.at_provider(&done).id);
    assert_eq!(world.launches(&done).len(), 1);
    assert_eq!(launch_requests(&world), before + 1);
}

/// What was sent decides how it is looked for: the CodeAgent has no variables any more, and its Secret is gone.
#[tokio::test]
async fn a_lost_launch_is_looked_for_as_it_was_sent_whatever_its_agent_says_by_then() {
    let world = world_with_secret().await;
    let settings = json!({"envFrom": env_from(&["staging"])});
    world.agent_with(CURSOR, settings).await;
    let launch = Matcher::class(OperationClass::Launch);
    world
        .simulator
        .inject(Fault::once(launch, FaultKind::DropAfter));
    let operator = world.operator_with(Arguments::impatient()).await;
    world.session(CURSOR, "one", SHORT).await;
    world
        .until("one", "sent", |session| {
            let launch = session.status.as_ref().and_then(|it| it.launch.as_ref());
            launch.is_some_and(|launch| launch.state != SendState::Claimed)
        })
        .await;
    operator.crash().await;
    world.change_agent(CURSOR, json!({"envFrom": null})).await;
    world.kubectl(&["delete", "secret", "staging"]).await;
    let _operator = world.operator_with(Arguments::impatient()).await;
    let done = world.until_settled("one").await;
    assert_eq!(phase_of(&done), SessionPhase::Finished, "{}", pretty(&done));
    assert_eq!(condition_of(&done, "Launched").unwrap().reason, "Adopted");
    assert_eq!(session_id(&done), world.at_provider(&done).id);
    assert_eq!(launch_requests(&world), 1);
}

/// What is known of a Secret may be older than the Secret: what is claimed is what is sent.
#[tokio::test]
async fn a_value_that_changed_is_sent_as_it_is_now() {
    let world = world_with_secret().await;
    world.agent(CURSOR).await;
    // What was read of a source counts for long.
    let arguments = Arguments::calm().with("--recheck", "10m");
    let _operator = world.operator_with(arguments).await;
    for (name, value) in [("before", "first"), ("after", "second")] {
        secret(&world, "staging", json!({"TOKEN": value})).await;
        world.session_with(CURSOR, name, from_staging()).await;
        let done = world.until_settled(name).await;
        let launches = world.launches(&done);
        assert_eq!(launches.len(), 1);
        assert_eq!(
            launches[0].environment,
            [VariableRecord::new("TOKEN", value)]
        );
        let record = done.status.as_ref().unwrap().launch.as_ref().unwrap();
        assert_eq!(record.posts, 1);
    }
}
