//! An API server that goes away at the worst moment.

use std::time::Duration;

use codeagent_harness::{Component, ControlPlane, Options};
use codeagent_operator::api::SessionPhase;
use codeagent_operator::simulator::{Provider, SimulatorOptions};

use crate::support::operator::Arguments;
use crate::support::world::{World, condition_of, session_id};

/// It is gone when the providers answer, and comes back: what was launched is recorded, nothing is launched twice.
#[tokio::test]
async fn an_api_server_that_is_away_when_the_answer_comes() {
    let options = Options {
        controller_manager: false,
        durable: true,
        ..Options::default()
    };
    let mut control_plane = ControlPlane::start(options).await.unwrap();
    let world = World::at_own(&control_plane, SimulatorOptions::for_tests()).await;
    let arguments = Arguments::calm()
        .with("--settle-time", "20s")
        .with("--deletion-bound", "120s");
    let _operator = world.operator_with(arguments).await;
    let mut sessions = Vec::new();
    for provider in [Provider::Cursor, Provider::Firebender, Provider::Flapjack] {
        world.agent(provider).await;
        let prompt = "sim: latency=3s creating=200ms running=500ms\nDo it";
        let session = world.session(provider, provider.name(), prompt).await;
        sessions.push((provider, session));
    }
    for (_, session) in &sessions {
        world
            .until_true("the launch has arrived", || {
                !world.launches(session).is_empty()
            })
            .await;
    }
    control_plane
        .stop_component(Component::ApiServer)
        .await
        .unwrap();
    // The answers come after three seconds, to nobody who could store them.
    tokio::time::sleep(Duration::from_secs(4)).await;
    control_plane
        .start_component(Component::ApiServer)
        .await
        .unwrap();
    for (provider, _) in &sessions {
        world
            .until_phase(provider.name(), SessionPhase::Finished)
            .await;
        let done = world.until_settled(provider.name()).await;
        assert_eq!(session_id(&done), world.at_provider(&done).id);
        // The answer was kept until it could be stored: nobody had to look.
        let launched = condition_of(&done, "Launched").unwrap();
        assert_eq!(launched.reason, "Accepted");
    }
}
