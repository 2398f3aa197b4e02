//! What finished and active sessions take in memory, also while everything is listed again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::life::SESSIONS_A_KEY;
use super::{MEBIBYTE, number, number_64, row};
use crate::Trouble;
use crate::contestant::{Contestant, Running};
use crate::measure::ApiRequests;
use crate::report::Row;
use crate::world::{Agents, Are, PROMPT, World};

/// Sessions of a page of the smallest pages that a program lists in.
const PAGE: usize = 500;

/// Memory with nothing in the store, with `store` finished sessions, with `active` running ones beside them, and at most while the
/// API server starts anew and everything is listed again.
///
/// # Errors
/// If something does not work.
pub async fn run(
    world: &mut World,
    contestant: &Contestant,
    store: usize,
    active: usize,
) -> Result<Row, Trouble> {
    world.fill(0).await?;
    let round = world.round(Agents::unlimited(1)).await?;
    let running = contestant.start(&round.site()).await?;
    let empty = settled(&running).await?;
    running.stop().await?;
    world.discard(round).await?;

    world.fill(store).await?;
    let agents = Agents::unlimited(active.div_ceil(SESSIONS_A_KEY));
    let mut round = world.round(agents).await?;
    let running = contestant.start(&round.site()).await?;
    let finished = settled(&running).await?;
    let started_peak = running.usage()?.peak;
    let prompt = format!("{PROMPT}\nsim: running=1h");
    round.apply(active, &prompt).await?;
    round.until(active, Are::Running).await?;
    let both = settled(&running).await?;
    running.forget_peak()?;
    world.restart_api_server().await?;
    let pages = number((store + active) / PAGE);
    let begun = Instant::now();
    // Its counters have begun at 0.
    while ApiRequests::read(world.client()).await?.session_pages < pages {
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("the program does not list again".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let listed_again = settled(&running).await?;
    let peak = running.usage()?.peak;
    let each = |more: u64, less: u64, count: usize| {
        (number_64(more) - number_64(less)) / number(count.max(1))
    };
    let mebibytes = |bytes: u64| number_64(bytes) / MEBIBYTE;
    let figures = BTreeMap::from([
        ("bytes_per_finished", each(finished, empty, store)),
        ("bytes_per_active", each(both, finished, active)),
        ("empty_mib", mebibytes(empty)),
        ("with_finished_mib", mebibytes(finished)),
        ("peak_at_start_mib", mebibytes(started_peak)),
        ("with_active_mib", mebibytes(both)),
        ("peak_while_listing_again_mib", mebibytes(peak)),
        ("after_listing_again_mib", mebibytes(listed_again)),
        (
            "peak_while_listing_again_ratio",
            number_64(peak) / number_64(both),
        ),
    ]);
    running.stop().await?;
    world.discard(round).await?;
    Ok(row("memory", contestant, world, active, figures))
}

/// Resident memory once it no longer grows: several looks in a row without more CPU than polling needs.
async fn settled(running: &Running) -> Result<u64, Trouble> {
    for _ in 0..60 {
        let before = running.usage()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = running.usage()?;
        if after.cpu.saturating_sub(before.cpu) < Duration::from_millis(300) {
            return Ok(after.resident);
        }
    }
    Ok(running.usage()?.resident)
}
