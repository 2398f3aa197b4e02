//! Many running sessions of one key, deleted at once.

use codeagent_operator::providers::http::RateLimit;
use codeagent_simulator::OperationClass;

use super::{Sample, number, row};
use crate::Trouble;
use crate::contestant::{Contestant, Running};
use crate::report::Row;
use crate::world::{Agents, Are, PROMPT, Round, World};

/// `sessions` of one key that run, deleted at once.
///
/// # Errors
/// If something does not work.
pub async fn run(
    world: &mut World,
    contestant: &Contestant,
    sessions: usize,
) -> Result<Row, Trouble> {
    let mut round = world.round(Agents::unlimited(1)).await?;
    let running = contestant.start(&round.site()).await?;
    let prompt = format!("{PROMPT}\nsim: running=1h");
    round.apply(sessions, &prompt).await?;
    round.until(sessions, Are::Running).await?;
    let before = Sample::take(world, &round, &running).await?;
    let stops = stop_requests(&round);
    round.delete_all().await?;
    round.until_gone().await?;
    let after = Sample::take(world, &round, &running).await?;
    let mut figures = after.since(&before, sessions);
    let stops = stop_requests(&round) - stops;
    figures.insert("stops_per_session", stops / number(sessions));
    let gone_after = after.at.duration_since(before.at).as_secs_f64();
    figures.insert("gone_after_s", gone_after);
    let at_the_rate = number(sessions) * RateLimit::default().interval.as_secs_f64();
    figures.insert(
        "gone_after_times_sessions_by_rate",
        gone_after / at_the_rate,
    );
    let alive = round.simulator.sessions();
    let alive = alive.iter().filter(|session| session.active).count();
    figures.insert("still_running", number(alive));
    figures.insert("reported_as_orphaned", orphaned(&running).await?);
    running.stop().await?;
    world.discard(round).await?;
    Ok(row("deletion", contestant, world, sessions, figures))
}

async fn orphaned(running: &Running) -> Result<f64, Trouble> {
    let mut orphaned = 0.0;
    // The earlier build has another name for it.
    for name in [
        "codeagent_unaccounted_sessions_total",
        "codeagent_loose_sessions_total",
    ] {
        orphaned += running.counter(name, "rphaned").await?;
    }
    Ok(orphaned)
}

fn stop_requests(round: &Round) -> f64 {
    let requests = round.simulator.requests();
    let stops = requests
        .iter()
        .filter(|request| request.class == Some(OperationClass::Cancel));
    number(stops.count())
}
