//! What one session finds out about a repository or a model, the others need not: they wait, and one tries whether it still holds.

use codeagent_operator::api::{ConditionStatus, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use serde_json::{Value, json};

use crate::support::operator::Arguments;
use crate::support::world::{World, agent_is};

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

/// What is refused, and what comes of it.
struct Case {
    status: u16,
    code: &'static str,
    reason: &'static str,
    /// What a session sets itself to be launched all the same.
    own: Value,
    /// What the CodeAgent is changed to.
    mended: Value,
}

fn launches(world: &World) -> usize {
    let requests = world.simulator.requests();
    let is_launch = |class| class == Some(OperationClass::Launch);
    requests.iter().filter(|one| is_launch(one.class)).count()
}

async fn a_refusal_is_found_out_once(case: &Case) {
    const CROWD: usize = 100;
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let arguments = Arguments::calm().with("--refusal-wait", "10m");
    let _operator = world.operator_with(arguments).await;
    world.simulator.inject(Fault::always(
        Matcher::class(OperationClass::Launch),
        FaultKind::Refused {
            status: case.status,
            code: case.code.to_owned(),
            message: "not here".to_owned(),
        },
    ));
    world.session(Provider::Cursor, "first", ENDLESS).await;
    world.until_reason("first", "Stalled", case.reason).await;
    let names: Vec<String> = (0..CROWD).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.session(Provider::Cursor, name, ENDLESS).await;
    }
    for name in &names {
        world.until_reason(name, "Stalled", case.reason).await;
    }
    assert_eq!(launches(&world), 1, "{}", case.code);
    let not_ready = |agent: &_| agent_is(agent, "Ready", ConditionStatus::False, case.reason);
    world
        .until_agent(Provider::Cursor, "not ready", not_ready)
        .await;
    // A session that sets its own is judged by that.
    world.simulator.clear_faults();
    let mut own = case.own.clone();
    own["prompt"] = json!(ENDLESS);
    world.session_with(Provider::Cursor, "own", own).await;
    world.until_phase("own", SessionPhase::Running).await;
    assert_eq!(launches(&world), 2, "{}", case.code);
    // Whoever changes the CodeAgent wants to know at once.
    world
        .change_agent(Provider::Cursor, case.mended.clone())
        .await;
    world.until_phase("s0", SessionPhase::Running).await;
    let ready = |agent: &_| agent_is(agent, "Ready", ConditionStatus::True, "Ready");
    world.until_agent(Provider::Cursor, "ready", ready).await;
}

#[tokio::test]
async fn a_repository_that_is_refused_is_found_out_once_for_all_that_wait() {
    a_refusal_is_found_out_once(&Case {
        status: 403,
        code: "repository_access",
        reason: "RepositoryInaccessible",
        own: json!({"repository": {"url": "https://github.com/acme/other"}}),
        mended: json!({"repository": {"url": "https://github.com/acme/web"}}),
    })
    .await;
}

#[tokio::test]
async fn a_model_that_is_refused_is_found_out_once_for_all_that_wait() {
    a_refusal_is_found_out_once(&Case {
        status: 400,
        code: "invalid_model",
        reason: "ModelUnavailable",
        own: json!({"model": {"id": "composer-2"}}),
        mended: json!({"model": {"id": "composer-2"}}),
    })
    .await;
}
