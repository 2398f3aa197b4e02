//! Calls to a provider hold up nobody else: a provider that does not answer, a crowd that launches, a crowd that is stopped.

use std::time::Duration;

use codeagent_operator::api::{CodeSession, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use serde_json::json;

use crate::support::operator::Arguments;
use crate::support::world::World;

/// A task that goes on until it is stopped.
const ENDLESS: &str = "sim: outcome=never\nGo on";

fn requests(world: &World, class: OperationClass) -> usize {
    let requests = world.simulator.requests();
    requests
        .iter()
        .filter(|request| request.class == Some(class))
        .count()
}

/// More launches hang at one provider than there are passes at once; none of them is answered before the other provider's
/// session was stopped and another one launched.
#[tokio::test]
async fn launches_that_hang_at_one_provider_delay_no_stop_and_no_launch_at_another() {
    const CROWD: usize = 80;
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    world.agent(Provider::Firebender).await;
    let arguments = Arguments::calm()
        .with("--concurrency", "8")
        .with("--post-timeout", "10m")
        .with("--deletion-bound", "30m");
    let operator = world.operator_with(arguments).await;
    world.session(Provider::Cursor, "long", ENDLESS).await;
    world.until_phase("long", SessionPhase::Running).await;

    let hanging = Matcher {
        provider: Some(Provider::Firebender),
        ..Matcher::class(OperationClass::Launch)
    };
    world.simulator.inject(Fault::always(
        hanging,
        FaultKind::Hang {
            duration: Duration::from_secs(600),
        },
    ));
    for number in 0..CROWD {
        let name = format!("hangs-{number}");
        world.session(Provider::Firebender, &name, ENDLESS).await;
    }
    world
        .until_true("many launches hang", || {
            requests(&world, OperationClass::Launch) > 16
        })
        .await;
    world.delete_session("long").await;
    world.session(Provider::Cursor, "next", "Do it").await;
    world.until_gone("long").await;
    world.until_phase("next", SessionPhase::Finished).await;
    let launched = world.simulator.sessions();
    assert_eq!(launched.len(), 2, "only Cursor's sessions have started");
    // It need not wait for the requests that hang.
    operator.crash().await;
}

/// The claim of each is written when its request may go: none of their send windows runs out in the queue.
#[tokio::test]
async fn a_burst_claims_only_what_it_may_send() {
    const CROWD: usize = 60;
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    // A burst of 20, then ten a second: the last one goes out four seconds after the first.
    let arguments = Arguments::calm().with("--send-window", "1s");
    let _operator = world.operator_with(arguments).await;
    let names: Vec<String> = (0..CROWD).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.session(Provider::Cursor, name, ENDLESS).await;
    }
    for name in &names {
        let running = world.until_phase(name, SessionPhase::Running).await;
        let record = running.status.unwrap().launch.unwrap();
        assert_eq!(record.posts, 1, "{name}");
    }
    assert_eq!(requests(&world, OperationClass::Launch), CROWD);
}

/// What one session finds out about the account, the others need not: they wait, and one tries whether it still holds.
#[tokio::test]
async fn an_exhausted_quota_is_found_out_once_for_all_that_wait() {
    const CROWD: usize = 30;
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let arguments = Arguments::calm().with("--refusal-wait", "10m");
    let _operator = world.operator_with(arguments).await;
    world.simulator.inject(Fault::always(
        Matcher::class(OperationClass::Launch),
        FaultKind::Refused {
            status: 402,
            code: "usage_limit_exceeded".to_owned(),
            message: "pay first".to_owned(),
        },
    ));
    world.session(Provider::Cursor, "first", ENDLESS).await;
    world
        .until_reason("first", "Stalled", "QuotaExhausted")
        .await;
    for number in 0..CROWD {
        let name = format!("s{number}");
        world.session(Provider::Cursor, &name, ENDLESS).await;
    }
    for number in 0..CROWD {
        world
            .until_reason(&format!("s{number}"), "Stalled", "QuotaExhausted")
            .await;
    }
    assert_eq!(requests(&world, OperationClass::Launch), 1);
    world
        .until_agent(Provider::Cursor, "not ready", |agent| {
            crate::support::world::agent_is(
                agent,
                "Ready",
                codeagent_operator::api::ConditionStatus::False,
                "QuotaExhausted",
            )
        })
        .await;
    // Whoever changes the CodeAgent wants to know at once.
    world.simulator.clear_faults();
    let settings = json!({"preamble": "Be kind."});
    world.change_agent(Provider::Cursor, settings).await;
    world.until_phase("first", SessionPhase::Running).await;
}

/// While calls hang, what can be said and recorded is: why a launch has not begun, and that a stop was asked for.
#[tokio::test]
async fn while_launches_hang_who_waits_says_why_and_a_request_to_stop_is_recorded() {
    /// Launches of one key that may be under way at once.
    const MOST: usize = 32;
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let arguments = Arguments::calm()
        .with("--post-timeout", "10m")
        .with("--deletion-bound", "30m");
    let operator = world.operator_with(arguments).await;
    world.simulator.inject(Fault::always(
        Matcher::class(OperationClass::Launch),
        FaultKind::Hang {
            duration: Duration::from_secs(600),
        },
    ));
    for number in 0..MOST {
        let name = format!("hangs-{number}");
        world.session(Provider::Cursor, &name, ENDLESS).await;
    }
    world
        .until_true("every launch hangs", || {
            requests(&world, OperationClass::Launch) == MOST
        })
        .await;
    world.session(Provider::Cursor, "late", ENDLESS).await;
    let cancelled = json!({"desiredState": "Cancelled"});
    world.change_session("hangs-0", cancelled).await;
    let is_recorded = |session: &CodeSession| {
        let status = session.status.as_ref();
        status.is_some_and(|status| status.cancel.is_some())
    };
    world
        .until("hangs-0", "its stop recorded", is_recorded)
        .await;
    let waiting = world
        .until_reason("late", "Reconciling", "WaitingForTurn")
        .await;
    assert_eq!(waiting.status.unwrap().phase, SessionPhase::Pending);
    assert_eq!(requests(&world, OperationClass::Launch), MOST);
    // It need not wait for the requests that hang.
    operator.crash().await;
}

/// Each stop is sent once, or once more if its answer crossed with a look, and nothing is given up.
#[tokio::test]
async fn a_crowd_of_one_key_that_is_deleted_is_stopped_without_repetition() {
    const CROWD: usize = 60;
    let world = World::new().await;
    world.agent(Provider::Cursor).await;
    let operator = world.operator_with(Arguments::calm()).await;
    let names: Vec<String> = (0..CROWD).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.session(Provider::Cursor, name, ENDLESS).await;
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
    let stops = requests(&world, OperationClass::Cancel);
    assert!(stops <= 2 * CROWD, "{stops} stops for {CROWD} sessions");
    assert!(world.simulator.sessions().iter().all(|one| !one.active));
    let metrics = operator.metrics().await;
    assert!(
        metrics.contains("codeagent_unaccounted_sessions_total{why=\"Orphaned\"} 0"),
        "{metrics}"
    );
}
