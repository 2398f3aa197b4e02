//! What is done with a program, and what it costs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use codeagent_simulator::{Fault, FaultKind, Matcher, OperationClass, Provider};
use serde::Serialize;

use crate::Trouble;
use crate::contestant::{Contestant, Kind, Running};
use crate::measure::{ApiRequests, ProcessUsage};
use crate::world::{Agents, ControlPlaneUsage, World};

const ENDED: &[&str] = &["Finished", "Error", "Cancelled", "Expired"];
const PROMPT: &str = "Fix the login bug in src/auth.ts, the JWT expiry check is off by one hour";
/// Sessions that share a key: as many as a team has in a day.
const SESSIONS_A_KEY: usize = 40;

/// A row of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which scenario.
    pub scenario: &'static str,
    /// Which program.
    pub program: String,
    /// Finished sessions in the store before.
    pub store: usize,
    /// Sessions of this round.
    pub sessions: usize,
    /// Figures by name; the unit is in the name.
    pub figures: BTreeMap<&'static str, f64>,
}

/// Everything that is counted, at one moment.
struct Sample {
    at: Instant,
    program: ProcessUsage,
    control_plane: ControlPlaneUsage,
    requests: ApiRequests,
    provider_requests: u64,
}

impl Sample {
    async fn take(world: &World, running: &Running) -> Result<Self, Trouble> {
        let seen = u64::try_from(world.simulator.requests().len())?;
        Ok(Self {
            at: Instant::now(),
            program: running.usage()?,
            control_plane: world.control_plane_usage()?,
            requests: ApiRequests::read(world.client()).await?,
            provider_requests: seen + world.simulator.forgotten_requests(),
        })
    }

    /// Figures for each of `sessions` since `before`.
    fn since(&self, before: &Self, sessions: usize) -> BTreeMap<&'static str, f64> {
        let each = number(sessions);
        let milliseconds =
            |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1000.0 / each;
        let requests = self.requests.since(before.requests);
        let elapsed = self.at.duration_since(before.at).as_secs_f64();
        BTreeMap::from([
            ("sessions_per_second", each / elapsed),
            (
                "cpu_ms_per_session",
                milliseconds(self.program.cpu, before.program.cpu),
            ),
            (
                "api_server_cpu_ms_per_session",
                milliseconds(
                    self.control_plane.api_server,
                    before.control_plane.api_server,
                ),
            ),
            (
                "etcd_cpu_ms_per_session",
                milliseconds(self.control_plane.store, before.control_plane.store),
            ),
            ("writes_per_session", requests.session_writes / each),
            ("reads_per_session", requests.session_reads / each),
            ("events_per_session", requests.events / each),
            ("source_reads_per_session", requests.source_reads / each),
            (
                "provider_requests_per_session",
                number_64(self.provider_requests - before.provider_requests) / each,
            ),
            (
                "resident_mib",
                number_64(self.program.resident) / 1_048_576.0,
            ),
            ("peak_mib", number_64(self.program.peak) / 1_048_576.0),
        ])
    }
}

/// `sessions` from apply to their end, with `store` finished ones in the store.
///
/// # Errors
/// If something does not work.
pub async fn life(
    world: &mut World,
    contestant: &Contestant,
    store: usize,
    sessions: usize,
) -> Result<Row, Trouble> {
    world.fill(store).await?;
    let agents = Agents {
        count: sessions.div_ceil(SESSIONS_A_KEY),
        provider: "cursor",
        limit: Some(1000),
    };
    let mut round = world.round(agents).await?;
    let running = contestant.start(&world.site()).await?;
    let before = Sample::take(world, &running).await?;
    round.apply(sessions, PROMPT).await?;
    round.until(sessions, ENDED).await?;
    let after = Sample::take(world, &running).await?;
    let mut figures = after.since(&before, sessions);
    let finished = round.count(&["Finished"]).await?;
    figures.insert("finished_share", number(finished) / number(sessions));
    figures.insert("ready_after_s", running.ready_after.as_secs_f64());
    running.stop().await?;
    Ok(row("life", contestant, world, sessions, figures))
}

/// `sessions` behind `agents` that run two at a time.
///
/// # Errors
/// If something does not work.
pub async fn queue(
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
    let running = contestant.start(&world.site()).await?;
    let before = Sample::take(world, &running).await?;
    round.apply(sessions, PROMPT).await?;
    round.until(sessions, ENDED).await?;
    let after = Sample::take(world, &running).await?;
    let figures = after.since(&before, sessions);
    running.stop().await?;
    Ok(row("queue", contestant, world, sessions, figures))
}

/// A start with `store` finished sessions: memory of each, and the time until the first launch.
///
/// # Errors
/// If something does not work.
pub async fn start(
    world: &mut World,
    contestant: &Contestant,
    store: usize,
) -> Result<Row, Trouble> {
    world.fill(store).await?;
    let agents = Agents {
        count: 1,
        provider: "cursor",
        limit: Some(1000),
    };
    let mut round = world.round(agents).await?;
    let launched = launches(world);
    round.apply(1, PROMPT).await?;
    let bare = world.bare_list().await?;
    let begun = Instant::now();
    let running = contestant.start(&world.site()).await?;
    while launches(world) == launched {
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
        ("resident_mib", number_64(usage.resident) / 1_048_576.0),
        ("peak_mib", number_64(usage.peak) / 1_048_576.0),
    ]);
    round.until(1, ENDED).await?;
    running.stop().await?;
    Ok(row("start", contestant, world, 1, figures))
}

/// Stops at Cursor while `hanging` launches get no answer from Firebender.
///
/// # Errors
/// If something does not work.
pub async fn hanging(
    world: &mut World,
    contestant: &Contestant,
    hanging: usize,
    stops: usize,
) -> Result<Row, Trouble> {
    let mut elsewhere = world
        .round(Agents {
            count: 4,
            provider: "cursor",
            limit: Some(1000),
        })
        .await?;
    let mut stuck = world
        .round(Agents {
            count: 4,
            provider: "firebender",
            limit: Some(1000),
        })
        .await?;
    let running = contestant.start(&world.site()).await?;
    elsewhere
        .apply(stops, &format!("{PROMPT}\nsim: running=1h"))
        .await?;
    elsewhere.until(stops, &["Running"]).await?;
    let mut figures = BTreeMap::new();
    // Without them first: the same stops cannot be sent twice, so half of them is for either.
    let half = stops / 2;
    figures.insert(
        "stop_ms_alone",
        stop_latency(world, &elsewhere, 0, half).await?,
    );
    world.simulator.inject(Fault {
        when: Matcher {
            provider: Some(Provider::Firebender),
            class: Some(OperationClass::Launch),
            ..Matcher::default()
        },
        skip: 0,
        times: None,
        fault: FaultKind::Hang {
            duration: Duration::from_secs(60),
        },
    });
    stuck.apply(hanging, PROMPT).await?;
    stuck.until(hanging.min(60), &["Creating"]).await?;
    figures.insert(
        "stop_ms_beside_hanging_launches",
        stop_latency(world, &elsewhere, half, stops).await?,
    );
    world.simulator.clear_faults();
    drop(running);
    Ok(row("hanging", contestant, world, hanging, figures))
}

/// The longest time from a deletion until the provider has the stop.
async fn stop_latency(
    world: &World,
    round: &crate::world::Round,
    from: usize,
    to: usize,
) -> Result<f64, Trouble> {
    let mut worst = Duration::ZERO;
    for n in from..to {
        let before = accepted_stops(world);
        let begun = Instant::now();
        round.delete(n).await?;
        while accepted_stops(world) == before {
            if begun.elapsed() > Duration::from_secs(300) {
                return Err("a stop was not sent within five minutes".into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        worst = worst.max(begun.elapsed());
    }
    Ok(worst.as_secs_f64() * 1000.0)
}

/// `sessions` of one key that run, deleted at once.
///
/// # Errors
/// If something does not work.
pub async fn deletion(
    world: &mut World,
    contestant: &Contestant,
    sessions: usize,
) -> Result<Row, Trouble> {
    let mut round = world
        .round(Agents {
            count: 1,
            provider: "cursor",
            limit: Some(1000),
        })
        .await?;
    let running = contestant.start(&world.site()).await?;
    round
        .apply(sessions, &format!("{PROMPT}\nsim: running=1h"))
        .await?;
    round.until(sessions, &["Running"]).await?;
    let before = Sample::take(world, &running).await?;
    let stops = stop_requests(world);
    round.delete_all().await?;
    round.until_gone().await?;
    let after = Sample::take(world, &running).await?;
    let mut figures = after.since(&before, sessions);
    figures.insert(
        "stops_per_session",
        (stop_requests(world) - stops) / number(sessions),
    );
    figures.insert(
        "gone_after_s",
        after.at.duration_since(before.at).as_secs_f64(),
    );
    let alive = world
        .simulator
        .sessions()
        .iter()
        .filter(|session| session.active)
        .count();
    figures.insert("still_running", number(alive));
    let mut orphaned = 0.0;
    // The earlier build has another name for it.
    for name in [
        "codeagent_unaccounted_sessions_total",
        "codeagent_loose_sessions_total",
    ] {
        orphaned += running.counter(name, "rphaned").await?;
    }
    figures.insert("reported_as_orphaned", orphaned);
    running.stop().await?;
    Ok(row("deletion", contestant, world, sessions, figures))
}

fn launches(world: &World) -> usize {
    world.simulator.launches(&Default::default()).len()
}

fn stop_requests(world: &World) -> f64 {
    let requests = world.simulator.requests();
    number(
        requests
            .iter()
            .filter(|request| request.class == Some(OperationClass::Cancel))
            .count(),
    )
}

fn accepted_stops(world: &World) -> usize {
    let requests = world.simulator.requests();
    requests
        .iter()
        .filter(|request| request.class == Some(OperationClass::Cancel) && request.accepted)
        .count()
}

fn row(
    scenario: &'static str,
    contestant: &Contestant,
    world: &World,
    sessions: usize,
    figures: BTreeMap<&'static str, f64>,
) -> Row {
    Row {
        scenario,
        program: contestant.kind.to_string(),
        store: world.finished(),
        sessions,
        figures,
    }
}

/// Whether the program keeps a limit of sessions at a time; the baseline has none.
pub fn has_queue(kind: Kind) -> bool {
    match kind {
        Kind::Current | Kind::Earlier => true,
        Kind::Baseline => false,
    }
}

fn number(count: usize) -> f64 {
    number_64(u64::try_from(count).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn number_64(count: u64) -> f64 {
    count as f64
}
