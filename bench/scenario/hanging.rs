//! Stops and launches at one provider while launches at another get no answer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};

use super::{number, row};
use crate::Trouble;
use crate::contestant::Contestant;
use crate::report::Row;
use crate::world::{Agents, Are, PROMPT, Round, World};

/// Agents of the provider that answers: so many that no key's rate is reached.
const AGENTS: usize = 20;
/// Agents of the provider that does not.
const STUCK: usize = 4;
/// No more is measured once so much time has passed.
const LONGEST: Duration = Duration::from_secs(120);

/// `times` stops and launches at Cursor, one after the other, alone and then beside `hanging` launches that Firebender does not
/// answer.
///
/// # Errors
/// If something does not work.
pub async fn run(
    world: &mut World,
    contestant: &Contestant,
    hanging: usize,
    times: usize,
) -> Result<Row, Trouble> {
    let mut round = world.round(Agents::unlimited(AGENTS)).await?;
    let stuck = Agents {
        count: STUCK,
        provider: "firebender",
        limit: Some(1000),
    };
    world.employ(&mut round, stuck).await?;
    let running = contestant.start(&round.site()).await?;
    let long = format!("{PROMPT}\nsim: running=1h");
    // The same session cannot be stopped twice: half of them is for either.
    let sessions = times * 2;
    round.apply_to(0..AGENTS, sessions, &long).await?;
    round.until(sessions, Are::Running).await?;
    let mut figures = BTreeMap::new();
    let stops = stops(&round, 0..times).await?;
    let launches = launches(&mut round, times).await?;
    figures.insert("stop_p99_ms_alone", p99(stops));
    figures.insert("launch_p99_ms_alone", p99(launches));
    round.simulator.inject(Fault {
        when: Matcher {
            provider: Some(Provider::Firebender),
            class: Some(OperationClass::Launch),
            ..Matcher::default()
        },
        skip: 0,
        times: None,
        fault: FaultKind::Hang {
            duration: Duration::from_secs(600),
        },
    });
    round
        .apply_to(AGENTS..AGENTS + STUCK, hanging, PROMPT)
        .await?;
    // As many as the program lets go at a time.
    round.until(hanging.min(30), Are::Creating).await?;
    let stops = self::stops(&round, times..sessions).await?;
    let launches = self::launches(&mut round, times).await?;
    figures.insert("stops_measured", number(stops.len()));
    figures.insert("stop_p99_ms_beside_hanging_launches", p99(stops));
    figures.insert("launch_p99_ms_beside_hanging_launches", p99(launches));
    let waiting = round.simulator.requests();
    let waiting = waiting
        .iter()
        .filter(|request| request.provider == Provider::Firebender)
        .filter(|request| request.class == Some(OperationClass::Launch));
    figures.insert("hanging_launches", number(waiting.count()));
    round.simulator.clear_faults();
    drop(running);
    world.discard(round).await?;
    Ok(row("hanging", contestant, world, hanging, figures))
}

/// From the deletion of each until the provider has the stop.
async fn stops(round: &Round, which: std::ops::Range<usize>) -> Result<Vec<Duration>, Trouble> {
    let begun = Instant::now();
    let mut seen = Vec::new();
    for n in which {
        let first = round.simulator.next_request();
        let at = Instant::now();
        round.delete(n).await?;
        arrived(round, first, OperationClass::Cancel).await?;
        seen.push(at.elapsed());
        if begun.elapsed() > LONGEST {
            break;
        }
    }
    Ok(seen)
}

/// From the creation of each until the provider has the launch.
async fn launches(round: &mut Round, times: usize) -> Result<Vec<Duration>, Trouble> {
    let begun = Instant::now();
    let mut seen = Vec::new();
    for n in 0..times {
        let first = round.simulator.next_request();
        let at = Instant::now();
        let agent = n % AGENTS;
        round.apply_to(agent..agent + 1, 1, PROMPT).await?;
        arrived(round, first, OperationClass::Launch).await?;
        seen.push(at.elapsed());
        if begun.elapsed() > LONGEST {
            break;
        }
    }
    Ok(seen)
}

/// Waits until Cursor has accepted a request of this class.
async fn arrived(round: &Round, first: u64, class: OperationClass) -> Result<(), Trouble> {
    let begun = Instant::now();
    loop {
        let requests = round.simulator.requests_since(first);
        let mut ours = requests
            .iter()
            .filter(|request| request.provider == Provider::Cursor && request.accepted);
        if ours.any(|request| request.class == Some(class)) {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(300) {
            return Err(format!("no {class:?} was sent within five minutes").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// In milliseconds, the one that 99 of 100 do not exceed.
fn p99(mut spans: Vec<Duration>) -> f64 {
    spans.sort_unstable();
    let last = spans.len().saturating_sub(1);
    let span = spans.get(last * 99 / 100).copied().unwrap_or_default();
    span.as_secs_f64() * 1000.0
}
