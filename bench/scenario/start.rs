//! A start with many finished sessions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use codeagent_simulator::OperationClass;

use super::{MEBIBYTE, number_64, row};
use crate::Trouble;
use crate::contestant::Contestant;
use crate::report::Row;
use crate::world::{Agents, Are, PROMPT, World};

/// A start with `store` finished sessions and one that waits: memory, and the time until its launch.
///
/// # Errors
/// If something does not work.
pub async fn run(world: &mut World, contestant: &Contestant, store: usize) -> Result<Row, Trouble> {
    world.fill(store).await?;
    let mut round = world.round(Agents::unlimited(1)).await?;
    round.apply(1, PROMPT).await?;
    let bare = world.bare_list().await?;
    let begun = Instant::now();
    let running = contestant.start(&round.site()).await?;
    let launched = || {
        let requests = round.simulator.requests();
        let mut requests = requests.iter();
        requests.any(|request| request.class == Some(OperationClass::Launch))
    };
    while !launched() {
        if begun.elapsed() > Duration::from_secs(300) {
            return Err("the first session is not launched".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let first_launch = begun.elapsed();
    let usage = running.usage()?;
    let figures = BTreeMap::from([
        ("ready_after_s", running.ready_after.as_secs_f64()),
        ("first_launch_after_s", first_launch.as_secs_f64()),
        ("bare_list_s", bare.as_secs_f64()),
        ("cpu_s", usage.cpu.as_secs_f64()),
        ("resident_mib", number_64(usage.resident) / MEBIBYTE),
        ("peak_mib", number_64(usage.peak) / MEBIBYTE),
    ]);
    round.until(1, Are::Ended).await?;
    running.stop().await?;
    world.discard(round).await?;
    Ok(row("start", contestant, world, 1, figures))
}
