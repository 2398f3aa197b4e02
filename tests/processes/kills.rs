//! The process is killed right before and right after each step of a life: whatever it was doing, the next one brings the
//! session to its right end, and it is paid once.

use std::time::Duration;

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::Provider;
use futures::StreamExt;
use tokio::sync::Semaphore;

use crate::crossing::{Crossing, Side};
use crate::process::Process;
use crate::support::for_each_provider;
use crate::support::operator::Arguments;
use crate::support::world::{World, session_id};

/// Lives of one test side by side.
const AT_ONCE: usize = 4;
/// Lives of all tests side by side: more would only wait for the processors.
static LIVES: Semaphore = Semaphore::const_new(6);

/// What happens to a session.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// It runs to its end.
    Run,
    /// It is deleted while it runs.
    Delete,
}

impl Life {
    fn prompt(self) -> &'static str {
        match self {
            Self::Run => "sim: creating=100ms setup=50ms running=300ms\nDo it",
            Self::Delete => "sim: outcome=never\nGo on",
        }
    }

    /// How many steps it has at least. The test walks on until there are no more.
    fn least_steps(self) -> usize {
        match self {
            // Finalizer, claim, launch, record, …, end, release.
            Self::Run => 6,
            // The stop is noted, sent, confirmed; release.
            Self::Delete => 3,
        }
    }
}

for_each_provider!(
    killed_at_every_step_of_a_run,
    killed_at_every_step_of_a_deletion,
);

async fn killed_at_every_step_of_a_run(provider: Provider) {
    killed_at_every_step(provider, Life::Run).await;
}

async fn killed_at_every_step_of_a_deletion(provider: Provider) {
    killed_at_every_step(provider, Life::Delete).await;
}

async fn killed_at_every_step(provider: Provider, life: Life) {
    for side in [Side::Before, Side::After] {
        let steps = futures::stream::iter(0..)
            .map(|step| killed_at(provider, life, step, side))
            .buffered(AT_ONCE)
            .take_while(|met| std::future::ready(*met))
            .count()
            .await;
        println!("{provider}, {life:?}: killed {side:?} each of {steps} steps");
        assert!(steps >= life.least_steps(), "{steps} steps");
    }
}

/// One life in which the process is killed at its `step`, which is `false` if it has no such step.
async fn killed_at(provider: Provider, life: Life, step: usize, side: Side) -> bool {
    let _turn = LIVES.acquire().await.unwrap();
    let world = World::new().await;
    world.agent(provider).await;
    let crossing = Crossing::new(&world).await;
    let arguments = Arguments::impatient();
    let mut first = Process::start(&world, &crossing, "first", &arguments);
    first.until_ready().await;
    let mut held = match life {
        Life::Run => {
            let held = crossing.hold(side, step, |call| call.is_step());
            world.session(provider, "one", life.prompt()).await;
            held
        }
        Life::Delete => {
            world.session(provider, "one", life.prompt()).await;
            world.until_phase("one", SessionPhase::Running).await;
            let held = crossing.hold(side, step, |call| call.is_step());
            world.delete_session("one").await;
            held
        }
    };
    let session = world.sessions().get_opt("one").await.unwrap();
    let over = async {
        match life {
            Life::Run => drop(world.until_settled("one").await),
            Life::Delete => world.until_gone("one").await,
        }
        // What comes right after its end still counts.
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let met = tokio::select! {
        biased;
        () = held.met() => true,
        () = over => false,
    };
    first.kill().await;
    drop(held);

    let crossing = Crossing::new(&world).await;
    let _second = Process::start(&world, &crossing, "second", &arguments);
    match life {
        Life::Run => {
            world.until_phase("one", SessionPhase::Finished).await;
            let done = world.until_settled("one").await;
            assert_eq!(session_id(&done), world.at_provider(&done).id);
        }
        Life::Delete => {
            world.until_gone("one").await;
            let session = session.expect("it was there when it was deleted");
            assert!(!world.at_provider(&session).active);
        }
    }
    met
}
