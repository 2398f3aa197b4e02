//! A control plane that goes away, and one that goes back in time.

use std::time::{Duration, Instant};

use codeagent_harness::{Component, ControlPlane, Options};
use codeagent_operator::api::{SendState, SessionPhase};
use codeagent_simulator::{Provider, SimulatorOptions};

use crate::crossing::{Call, Crossing, Held, Side};
use crate::process::{Process, Signal};
use crate::support::operator::Arguments;
use crate::support::world::{World, pretty, session_id};

/// Those that can find a launch again.
const PROVIDERS: [Provider; 2] = [Provider::Cursor, Provider::Firebender];

const LONG: &str = "sim: creating=200ms running=6s\nDo it";

async fn control_plane() -> ControlPlane {
    let options = Options {
        controller_manager: false,
        durable: true,
        ..Options::default()
    };
    ControlPlane::start(options).await.unwrap()
}

async fn world_at(control_plane: &ControlPlane) -> World {
    let world = World::at_own(control_plane, SimulatorOptions::for_tests()).await;
    for provider in PROVIDERS {
        world.agent(provider).await;
    }
    world
}

fn arguments() -> Arguments {
    Arguments::impatient()
        .with("--leader-election", "true")
        // What is recorded after an outage is recorded long after it was sent, and no test waits for a fence.
        .with("--settle-time", "1h")
        .with("--deletion-bound", "2h")
}

/// It is away for longer than a lead lasts, while one session runs and one is being launched: the leader ends, having kept
/// what it could not store; the next one goes on.
#[tokio::test]
async fn the_api_server_is_away_for_longer_than_a_lead_lasts() {
    let mut control_plane = control_plane().await;
    let world = world_at(&control_plane).await;
    let crossing = Crossing::new(&world).await;
    let hasty = arguments()
        .with("--lease-duration", "8s")
        .with("--renew-deadline", "6s")
        .with("--retry-period", "500ms");
    let mut first = Process::start(&world, &crossing, "first", &hasty);
    first.until_leading().await;
    for provider in PROVIDERS {
        let running = format!("{provider}-running");
        world.session(provider, &running, LONG).await;
        world.until_phase(&running, SessionPhase::Running).await;
    }
    for provider in PROVIDERS {
        let prompt = "sim: latency=1s creating=200ms running=500ms\nDo it";
        let launching = format!("{provider}-launching");
        let session = world.session(provider, &launching, prompt).await;
        world
            .until_true("the launch has arrived", || {
                !world.launches(&session).is_empty()
            })
            .await;
    }
    control_plane
        .stop_component(Component::ApiServer)
        .await
        .unwrap();
    let away = Instant::now();
    first
        .until_logged("the lead was lost: the Lease could not be renewed")
        .await;
    println!("the lead was given up after {:?}", away.elapsed());
    control_plane
        .start_component(Component::ApiServer)
        .await
        .unwrap();
    // It ends only when its answers are stored.
    let status = first.ended().await;
    assert!(!status.success());
    for provider in PROVIDERS {
        let launching = format!("{provider}-launching");
        let recorded = world.sessions().get(&launching).await.unwrap();
        assert_eq!(session_id(&recorded), world.at_provider(&recorded).id);
    }
    let crossing = Crossing::new(&world).await;
    let mut again = Process::start(&world, &crossing, "first", &hasty);
    again.until_leading().await;
    for provider in PROVIDERS {
        for name in [
            format!("{provider}-running"),
            format!("{provider}-launching"),
        ] {
            world.until_phase(&name, SessionPhase::Finished).await;
            let done = world.until_settled(&name).await;
            assert_eq!(session_id(&done), world.at_provider(&done).id);
        }
    }
}

/// It is away for a shorter time, while sessions run and launch: the same process goes on, and still leads.
#[tokio::test]
async fn the_api_server_is_restarted() {
    let mut control_plane = control_plane().await;
    let world = world_at(&control_plane).await;
    let crossing = Crossing::new(&world).await;
    // However long the restart takes on a busy machine.
    let patient = arguments()
        .with("--lease-duration", "1h")
        .with("--renew-deadline", "50m")
        .with("--retry-period", "500ms");
    let mut process = Process::start(&world, &crossing, "first", &patient);
    process.until_leading().await;
    for provider in PROVIDERS {
        let running = format!("{provider}-running");
        world.session(provider, &running, LONG).await;
        world.until_phase(&running, SessionPhase::Running).await;
        let prompt = "sim: latency=1s creating=200ms running=500ms\nDo it";
        let launching = format!("{provider}-launching");
        let session = world.session(provider, &launching, prompt).await;
        world
            .until_true("the launch has arrived", || {
                !world.launches(&session).is_empty()
            })
            .await;
    }
    control_plane
        .restart_component(Component::ApiServer)
        .await
        .unwrap();
    for provider in PROVIDERS {
        for name in [
            format!("{provider}-running"),
            format!("{provider}-launching"),
        ] {
            world.until_phase(&name, SessionPhase::Finished).await;
            let done = world.until_settled(&name).await;
            assert_eq!(session_id(&done), world.at_provider(&done).id);
        }
    }
    assert!(process.says_that_it_leads().await);
    process.signal(Signal::Terminate).await;
    assert!(process.ended().await.success());
}

/// What the operator does while the store is replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// It is started anew afterwards, as after every outage that is longer than a lead.
    Stopped,
    /// It goes on, and remembers more than the store.
    Runs,
}

#[tokio::test]
async fn the_store_is_restored_and_the_operator_started_anew() {
    restored(Meanwhile::Stopped).await;
}

#[tokio::test]
async fn the_store_is_restored_under_a_running_operator() {
    restored(Meanwhile::Runs).await;
}

/// The store goes back to a snapshot: of one session it knows no claim, of another, if it was taken while no operator ran, a
/// claim without its outcome. Both were launched meanwhile; neither is launched again.
async fn restored(meanwhile: Meanwhile) {
    let mut control_plane = control_plane().await;
    let world = world_at(&control_plane).await;
    let directory = tempfile::tempdir().unwrap();
    let snapshot = directory.path().join("snapshot.db");
    let endless = "sim: outcome=never\nGo on";
    let unclaimed = |provider: Provider| format!("{provider}-unclaimed");
    let claimed = |provider: Provider| format!("{provider}-claimed");
    let mut launches = Vec::new();

    // The first operator dies when the providers have the launches and their answers are on their way.
    let crossing = Crossing::new(&world).await;
    let alone = arguments().with("--leader-election", "false");
    let mut process = Process::start(&world, &crossing, "first", &alone);
    process.until_ready().await;
    for provider in PROVIDERS {
        let mut launch = crossing.hold(Side::After, 0, Call::is_launch);
        world.session(provider, &claimed(provider), endless).await;
        launch.met().await;
        if provider == PROVIDERS[1] {
            process.signal(Signal::Kill).await;
        }
        launches.push(launch);
    }
    process.kill().await;
    let second = Crossing::new(&world).await;
    let mut process = match meanwhile {
        Meanwhile::Stopped => {
            for provider in PROVIDERS {
                world.session(provider, &unclaimed(provider), endless).await;
            }
            control_plane.save(&snapshot).await.unwrap();
            Process::start(&world, &second, "second", &alone)
        }
        Meanwhile::Runs => {
            let mut process = Process::start(&world, &second, "second", &alone);
            process.until_ready().await;
            for provider in PROVIDERS {
                let taken_over = claimed(provider);
                world.until_phase(&taken_over, SessionPhase::Running).await;
            }
            // What is older than the process would be looked for anyway; times of creation are whole seconds.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let mut first_writes = Vec::new();
            for provider in PROVIDERS {
                let name = unclaimed(provider);
                let path = format!("/codesessions/{name}");
                let mut write = second.hold(Side::Before, 0, move |call| {
                    call.writes_session() && call.path.ends_with(&path)
                });
                world.session(provider, &name, endless).await;
                write.met().await;
                first_writes.push(write);
            }
            control_plane.save(&snapshot).await.unwrap();
            first_writes.into_iter().for_each(Held::release);
            process
        }
    };
    let everything = || {
        PROVIDERS
            .map(|provider| [unclaimed(provider), claimed(provider)])
            .concat()
    };
    for name in everything() {
        let running = world.until_phase(&name, SessionPhase::Running).await;
        assert_eq!(session_id(&running), world.at_provider(&running).id);
    }
    let mut third = None;
    if meanwhile == Meanwhile::Stopped {
        process.signal(Signal::Terminate).await;
        assert!(process.ended().await.success());
    }
    let before = Instant::now();
    control_plane.restore(&snapshot).await.unwrap();
    world.forget_versions();
    if meanwhile == Meanwhile::Stopped {
        for provider in PROVIDERS {
            let open = world.sessions().get(&claimed(provider)).await.unwrap();
            let record = open.status.clone().unwrap().launch.unwrap();
            assert!(
                matches!(record.state, SendState::Claimed | SendState::Unknown),
                "{}",
                pretty(&open)
            );
            let bare = world.sessions().get(&unclaimed(provider)).await.unwrap();
            let launch = bare
                .status
                .as_ref()
                .and_then(|status| status.launch.as_ref());
            assert!(launch.is_none(), "{}", pretty(&bare));
        }
        let crossing = Crossing::new(&world).await;
        third = Some((
            Process::start(&world, &crossing, "third", &arguments()),
            crossing,
        ));
    }
    for name in everything() {
        let running = world.until_phase(&name, SessionPhase::Running).await;
        // One launch each, before the restore and after it.
        assert_eq!(session_id(&running), world.at_provider(&running).id);
    }
    let crossing = third.as_ref().map_or(&second, |(_, crossing)| crossing);
    let sent = crossing.calls(before);
    assert!(!sent.iter().any(Call::acts_at_provider), "{sent:?}");
    for name in everything() {
        world.delete_session(&name).await;
        world.until_gone(&name).await;
    }
    assert!(
        world
            .simulator
            .sessions()
            .iter()
            .all(|session| !session.active)
    );
}
