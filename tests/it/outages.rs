//! A provider that fails, or says what nobody knows, while a session runs.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Outcome, Provider, Script};

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, phase_of, session_id};

/// A task that goes on until the test ends it.
const ENDLESS: &str = "sim: outcome=never\nGo on";

for_each_provider!(failed_looks_change_nothing);

async fn failed_looks_change_nothing(provider: Provider) {
    let faults = [
        FaultKind::DropBefore,
        FaultKind::DropAfter,
        FaultKind::ErrorBefore {
            status: 503,
            code: "unavailable".to_owned(),
        },
        FaultKind::RateLimited {
            retry_after: Some(1),
        },
        FaultKind::TruncatedBody,
        FaultKind::HugeBody { bytes: 9 << 20 },
        FaultKind::Respond {
            status: 200,
            headers: Vec::new(),
            body: "<html>maintenance</html>".to_owned(),
        },
        FaultKind::Respond {
            status: 404,
            headers: Vec::new(),
            body: String::new(),
        },
    ];
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    for fault in faults {
        let name = fault.name();
        for class in [OperationClass::Get, OperationClass::List] {
            let once = Fault::once(Matcher::class(class), fault.clone());
            world.simulator.inject(once);
        }
        let met = || {
            let armed = world.simulator.faults();
            // A single session is followed without lists.
            armed
                .iter()
                .all(|fault| fault.when.class == Some(OperationClass::List))
        };
        world.until_true(name, met).await;
        world.simulator.clear_faults();
        let now = world.sessions().get("long").await.unwrap();
        assert_eq!(phase_of(&now), SessionPhase::Running, "{name}");
    }
    finish(&world, provider, &session_id(&running));
    world.until_phase("long", SessionPhase::Finished).await;
    let done = world.until_settled("long").await;
    assert_eq!(world.launches(&done).len(), 1);
    assert!(!operator.log().contains("panicked"));
}

/// Lets a session finish at its provider.
fn finish(world: &World, provider: Provider, session: &str) {
    let script = Script {
        outcome: Some(Outcome::Finished),
        ..Script::fast()
    };
    assert!(world.simulator.rescript(provider, session, script));
}

for_each_provider!(a_status_that_nobody_knows_is_told_and_followed);

async fn a_status_that_nobody_knows_is_told_and_followed(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    world.session(provider, "long", ENDLESS).await;
    let running = world.until_phase("long", SessionPhase::Running).await;
    let get = Matcher::class(OperationClass::Get);
    let odd = FaultKind::UnknownStatus {
        value: "PONDERING".to_owned(),
    };
    world.simulator.inject(Fault::always(get, odd));
    let told = world
        .until_reason("long", "Reconciling", "UnknownProviderStatus")
        .await;
    assert_eq!(phase_of(&told), SessionPhase::Running);
    let why = &condition_of(&told, "Reconciling").unwrap().message;
    assert!(why.contains("PONDERING"), "{why}");
    world.simulator.clear_faults();
    world.until_reason("long", "Reconciling", "Running").await;
    finish(&world, provider, &session_id(&running));
    world.until_phase("long", SessionPhase::Finished).await;
}

for_each_provider!(a_session_that_the_provider_lost_ends_as_lost);

/// Not at once: a new session may not be readable everywhere yet. Never again: it may have been paid for.
async fn a_session_that_the_provider_lost_ends_as_lost(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    // An accepted launch may stay unseen until the fence: only then does its absence mean anything.
    let _operator = world.operator_with(Arguments::impatient()).await;
    world.session(provider, "long", ENDLESS).await;
    world.until_phase("long", SessionPhase::Running).await;
    let id = session_id(&world.sessions().get("long").await.unwrap());
    lose(&world, provider, &id).await;
    let lost = world.until_settled("long").await;
    let status = lost.status.clone().unwrap();
    assert_eq!(status.phase, SessionPhase::Error);
    assert_eq!(status.error.unwrap().reason, "SessionLost");
    assert_eq!(world.launches(&lost).len(), 1);
    world.until_event(&lost, "SessionLost").await;
}

/// From now on the provider knows the session no longer.
async fn lose(world: &World, provider: Provider, id: &str) {
    let (path, header, key) = match provider {
        Provider::Cursor => ("v1", "authorization", "Bearer cursor-demo-key"),
        Provider::Firebender => ("v0", "x-api-key", "firebender-demo-key"),
        // Nobody can delete a session there.
        Provider::Flapjack => {
            let gone = FaultKind::Respond {
                status: 404,
                headers: Vec::new(),
                body: r#"{"error": "NOT_FOUND", "detail": "Code session not found"}"#.to_owned(),
            };
            let get = Matcher::class(OperationClass::Get);
            return world.simulator.inject(Fault::always(get, gone));
        }
        Provider::Firetiger | Provider::Http => {
            unreachable!("no life of {provider:?} is tested here")
        }
    };
    let url = format!("{}/{path}/agents/{id}", world.simulator.url(provider));
    let client = reqwest::Client::new();
    let deleted = client.delete(url).header(header, key).send().await.unwrap();
    assert!(deleted.status().is_success(), "{deleted:?}");
}
