//! Archiving a session that has ended: at the provider where it can, else here alone; and then nothing more.

use codeagent_operator::api::{ArchiveState, CodeSession, SessionCondition, SessionPhase};
use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use serde_json::json;

use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, phase_of, pretty};

fn archives(provider: Provider) -> bool {
    matches!(provider, Provider::Cursor | Provider::Flapjack)
}

async fn archive(world: &World, name: &str) {
    let archived = json!({"desiredState": "Archived"});
    world.change_session(name, archived).await;
}

fn state_of(session: &CodeSession) -> Option<ArchiveState> {
    let archive = session.status.as_ref()?.archive.as_ref();
    archive.map(|archive| archive.state)
}

/// How often a session was archived at the provider.
fn asked(world: &World) -> usize {
    let requests = world.simulator.requests();
    let archives = |class: Option<OperationClass>| class == Some(OperationClass::Archive);
    requests.iter().filter(|it| archives(it.class)).count()
}

for_each_provider!(
    an_ended_session_is_archived_once_and_then_left_alone,
    a_session_that_is_created_as_archived_is_never_launched,
);

async fn an_ended_session_is_archived_once_and_then_left_alone(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let operator = world.operator().await;
    world.session(provider, "fix", "Do it").await;
    world.until_settled("fix").await;
    let reason = match archives(provider) {
        true => "Archived",
        false => "ArchivedLocally",
    };
    archive(&world, "fix").await;
    let archived = world.until_reason("fix", "Archived", reason).await;
    assert_eq!(phase_of(&archived), SessionPhase::Finished);
    let stalled = condition_of(&archived, "Stalled").unwrap();
    assert_eq!(
        (stalled.status.as_str(), stalled.reason.as_str()),
        ("False", reason)
    );
    let observed = archived.status.as_ref().unwrap().observed_generation;
    assert_eq!(Some(observed), archived.metadata.generation);
    assert_eq!(asked(&world), usize::from(archives(provider)));
    assert_eq!(world.at_provider(&archived).archived, archives(provider));

    // From now on neither Secret nor provider is needed for it, by this process and by the next.
    operator.stop().await;
    world.delete_secret(provider).await;
    let _successor = world.operator().await;
    world.change_session("fix", json!({"priority": 7})).await;
    let again = world
        .until("fix", "seen once more", |session| {
            let status = session.status.as_ref().unwrap();
            session.metadata.generation == Some(status.observed_generation)
        })
        .await;
    let conditions = &again.status.as_ref().unwrap().conditions;
    assert_eq!(conditions.len(), SessionCondition::ALL.len());
    let stalled = condition_of(&again, "Stalled").unwrap();
    assert_eq!(stalled.status.as_str(), "False", "{}", pretty(&again));
    assert_eq!(asked(&world), usize::from(archives(provider)));
}

async fn a_session_that_is_created_as_archived_is_never_launched(provider: Provider) {
    let world = World::new().await;
    world.agent(provider).await;
    let _operator = world.operator().await;
    let archived = json!({"prompt": "Do it", "desiredState": "Archived"});
    world.session_with(provider, "fix", archived).await;
    let ended = world.until_settled("fix").await;
    assert_eq!(phase_of(&ended), SessionPhase::Cancelled);
    assert_eq!(state_of(&ended), Some(ArchiveState::Local));
    let launched = condition_of(&ended, "Launched").unwrap();
    assert_eq!(launched.reason, "ArchivedBeforeLaunch");
    assert_eq!((world.launches(&ended).len(), asked(&world)), (0, 0));
}

/// A provider that refuses it for a while is asked again; people read its words meanwhile.
#[tokio::test]
async fn a_provider_that_cannot_archive_now_is_asked_again() {
    for provider in [Provider::Cursor, Provider::Flapjack] {
        let world = World::new().await;
        world.agent(provider).await;
        let _operator = world.operator_with(Arguments::impatient()).await;
        world.session(provider, "fix", "Do it").await;
        world.until_settled("fix").await;
        let down = FaultKind::ErrorBefore {
            status: 502,
            code: "archive_failed".to_owned(),
        };
        let when = Matcher::class(OperationClass::Archive);
        world.simulator.inject(Fault::always(when, down));
        archive(&world, "fix").await;
        let failing = world
            .until_reason("fix", "Archived", "ArchiveFailing")
            .await;
        let said = &condition_of(&failing, "Archived").unwrap().message;
        assert!(said.contains("next try at"), "{said}");
        world.until_true("asked again", || asked(&world) >= 3).await;
        world.simulator.clear_faults();
        let archived = world.until_reason("fix", "Archived", "Archived").await;
        assert!(world.at_provider(&archived).archived);
        let stalled = condition_of(&archived, "Stalled").unwrap();
        assert_eq!(stalled.status.as_str(), "False", "{}", pretty(&archived));
    }
}
