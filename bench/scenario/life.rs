//! Sessions from apply to their end, with ever more finished ones in the store.

use super::{Sample, number, row, writes};
use crate::Trouble;
use crate::contestant::Contestant;
use crate::report::Row;
use crate::world::{Agents, Are, PROMPT, World};

/// Sessions that share a key: as many as a team has in a day.
pub const SESSIONS_A_KEY: usize = 40;

/// `sessions` from apply to their end, with `store` finished ones in the store.
///
/// # Errors
/// If something does not work.
pub async fn run(
    world: &mut World,
    contestant: &Contestant,
    store: usize,
    sessions: usize,
) -> Result<Row, Trouble> {
    world.fill(store).await?;
    let agents = Agents::unlimited(sessions.div_ceil(SESSIONS_A_KEY));
    let mut round = world.round(agents).await?;
    let running = contestant.start(&round.site()).await?;
    let before = Sample::take(world, &round, &running).await?;
    round.apply(sessions, PROMPT).await?;
    round.until(sessions, Are::Ended).await?;
    let after = Sample::take(world, &round, &running).await?;
    let mut figures = after.since(&before, sessions);
    let finished = round.count(Are::Finished).await?;
    figures.insert("finished_share", number(finished) / number(sessions));
    figures.insert("ready_after_s", running.ready_after.as_secs_f64());
    running.stop().await?;
    // What the API server can do at all with such a store, right after: the program asked it for so many things a session.
    let raw = writes::rate(world, writes::How::MergePatch, 1000).await?;
    let requests: f64 = [
        "writes_per_session",
        "reads_per_session",
        "events_per_session",
    ]
    .iter()
    .filter_map(|name| figures.get(name))
    .sum();
    let possible = raw.per_second / requests;
    let seen = figures.get("sessions_per_second").copied().unwrap_or(0.0);
    figures.insert("bare_status_patches_per_second", raw.per_second);
    figures.insert("share_of_what_the_api_server_can_do", seen / possible);
    world.discard(round).await?;
    Ok(row("life", contestant, world, sessions, figures))
}
