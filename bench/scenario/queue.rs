//! Sessions behind agents that run two at a time.

use super::{Sample, row};
use crate::Trouble;
use crate::contestant::{Contestant, Kind};
use crate::report::Row;
use crate::world::{Agents, Are, PROMPT, World};

/// `sessions` behind `agents` that run two at a time.
///
/// # Errors
/// If something does not work.
pub async fn run(
    world: &mut World,
    contestant: &Contestant,
    agents: usize,
    sessions: usize,
) -> Result<Row, Trouble> {
    let agents = Agents {
        count: agents,
        provider: "cursor",
        limit: Some(2),
    };
    let mut round = world.round(agents).await?;
    let running = contestant.start(&round.site()).await?;
    let before = Sample::take(world, &round, &running).await?;
    round.apply(sessions, PROMPT).await?;
    round.until(sessions, Are::Ended).await?;
    let after = Sample::take(world, &round, &running).await?;
    let figures = after.since(&before, sessions);
    running.stop().await?;
    world.discard(round).await?;
    Ok(row("queue", contestant, world, sessions, figures))
}

/// Whether the program keeps a limit of sessions at a time; the baseline has none.
pub fn has_queue(kind: Kind) -> bool {
    match kind {
        Kind::Current | Kind::Earlier => true,
        Kind::Baseline => false,
    }
}
