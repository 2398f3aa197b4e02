//! What a session costs: this checkout's operator beside an earlier build of it and beside a plain controller, in one run on one
//! control plane.
//!
//! ```text
//! cargo bench --bench scale -- --earlier COMMIT                # all scenarios and sizes, about an hour
//! cargo bench --bench scale -- --sizes 500,2000 --scenarios life,queue
//! cargo test --bench scale -- --short                          # counts only, and it fails if one is too high
//! ```
//!
//! Rounds alternate (A B C A B C), so that what the machine does meanwhile meets all of them. Figures of time say something beside each other
//! only; counts of requests say something alone.

mod baseline;
mod contestant;
mod measure;
mod report;
mod scenario;
mod short;
mod store;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use contestant::{Contestant, Kind};
use report::{Report, Row};
use scenario::{deletion, hanging, life, memory, queue, start, writes};
use world::World;

/// Why the bench (never a program under test) did not work.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Processes that want to run, for each core, above which figures of time are not believed.
const BUSY: f64 = 0.5;

/// Agents of the queue; each runs two sessions at a time.
const QUEUE_AGENTS: usize = 50;

/// Measures what a session costs.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    program: Option<Program>,
    /// Count requests of this checkout's operator only, and fail if there are too many.
    #[arg(long)]
    short: bool,
    /// What is run. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// What is run beside this checkout's operator. Default: everything that there is.
    #[arg(long, value_enum, value_delimiter = ',')]
    beside: Option<Vec<Beside>>,
    /// Finished sessions in the store, for `life` and `start`.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 2_000, 10_000, 20_000])]
    sizes: Vec<usize>,
    /// Sessions of a round of `life`.
    #[arg(long, default_value_t = 400)]
    sessions: usize,
    /// Sessions behind 50 agents that run two at a time, for `queue`.
    #[arg(long, value_delimiter = ',', default_values_t = [250, 2_000, 10_000])]
    queues: Vec<usize>,
    /// Longest queue that the earlier build gets.
    #[arg(long, default_value_t = 2_000)]
    earlier_queue: usize,
    /// Finished sessions in the store, for `memory`.
    #[arg(long, default_value_t = 100_000)]
    many: usize,
    /// Running sessions beside them, for `memory`.
    #[arg(long, default_value_t = 2_000)]
    active: usize,
    /// Rounds of each program, one after the other.
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Commit whose operator is built and run beside; without it there is none.
    #[arg(long)]
    earlier: Option<String>,
    /// Run although the machine is busy: figures of time are then worth nothing, counts are.
    #[arg(long)]
    busy: bool,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/bench/report.json")]
    json: PathBuf,
    /// Cargo says so to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Programs that the bench runs and is itself.
#[derive(Debug, Subcommand)]
enum Program {
    /// The plain controller.
    #[command(hide = true)]
    Baseline(baseline::Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// From apply to the end, with ever more finished sessions in the store.
    Life,
    /// Many sessions behind agents that run two at a time.
    Queue,
    /// A start with many finished sessions.
    Start,
    /// Memory of finished and of active sessions, also while everything is listed again.
    Memory,
    /// Stops and launches at one provider while launches at another get no answer.
    Hanging,
    /// Many running sessions of one key, deleted at once.
    Deletion,
    /// What a write of a status costs the API server, by how it is made.
    Writes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Beside {
    /// The earlier build.
    Earlier,
    /// The plain controller.
    Baseline,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The simulator's and the operator's clients need one; nobody else could have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options::parse();
    let result = match options.program {
        Some(Program::Baseline(options)) => baseline::run(options).await,
        None if options.short => short::run().await,
        None => full(&options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("{trouble}");
            ExitCode::FAILURE
        }
    }
}

async fn full(options: &Options) -> Result<(), Trouble> {
    let contestants = contestants(options).await?;
    let before = measure::load_per_core()?;
    if before > BUSY && !options.busy {
        return Err(format!(
            "the machine is busy ({before:.2} processes want to run on each core): wait, or say --busy if counts are all that you want"
        )
        .into());
    }
    let mut world = World::start(Duration::from_millis(500)).await?;
    let mut report = Report {
        earlier: options.earlier.clone(),
        load_per_core: [before, before],
        rows: Vec::new(),
    };
    for round in 0..options.rounds {
        once(options, &mut world, &contestants, round, &mut report).await?;
    }
    report.load_per_core[1] = measure::load_per_core()?;
    println!("{}", report.markdown());
    if let Some(directory) = options.json.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&options.json, serde_json::to_string_pretty(&report)? + "\n")?;
    eprintln!("the figures are in {}", options.json.display());
    Ok(())
}

async fn contestants(options: &Options) -> Result<Vec<Contestant>, Trouble> {
    let beside = |which| {
        let asked = options.beside.as_ref();
        asked.is_none_or(|asked| asked.contains(&which))
    };
    let mut contestants = vec![contestant::current()];
    if let Some(commit) = options.earlier.as_ref().filter(|_| beside(Beside::Earlier)) {
        contestants.push(contestant::build_commit(commit).await?);
    }
    if beside(Beside::Baseline) {
        contestants.push(contestant::baseline()?);
    }
    Ok(contestants)
}

/// Every scenario once, the programs beside each other.
async fn once(
    options: &Options,
    world: &mut World,
    contestants: &[Contestant],
    round: usize,
    report: &mut Report,
) -> Result<(), Trouble> {
    let wanted = |scenario| options.scenarios.is_empty() || options.scenarios.contains(&scenario);
    // What does not depend on the moment is measured once.
    let first = round == 0;
    if wanted(Scenario::Writes) {
        for how in writes::How::ALL {
            show(report, writes::run(world, how, 1000).await?);
        }
    }
    for size in &options.sizes {
        for contestant in contestants {
            if wanted(Scenario::Life) {
                let row = life::run(world, contestant, *size, options.sessions).await?;
                show(report, row);
            }
            if wanted(Scenario::Start) && first {
                show(report, start::run(world, contestant, *size).await?);
            }
        }
    }
    if wanted(Scenario::Memory) && first {
        for contestant in contestants {
            let row = memory::run(world, contestant, options.many, options.active).await?;
            show(report, row);
        }
    }
    world.fill(0).await?;
    let queueing = contestants
        .iter()
        .filter(|contestant| queue::has_queue(contestant.kind));
    for contestant in queueing.clone() {
        let most = match contestant.kind {
            Kind::Earlier => options.earlier_queue,
            Kind::Current | Kind::Baseline => usize::MAX,
        };
        for sessions in options.queues.iter().filter(|sessions| **sessions <= most) {
            if wanted(Scenario::Queue) {
                let row = queue::run(world, contestant, QUEUE_AGENTS, *sessions).await?;
                show(report, row);
            }
        }
    }
    for contestant in queueing {
        if wanted(Scenario::Hanging) {
            show(report, hanging::run(world, contestant, 80, 100).await?);
        }
        if wanted(Scenario::Deletion) {
            show(report, deletion::run(world, contestant, 300).await?);
        }
    }
    Ok(())
}

fn show(report: &mut Report, row: Row) {
    let figures: Vec<String> = row
        .figures
        .iter()
        .map(|(name, value)| format!("{name}={value:.2}"))
        .collect();
    eprintln!(
        "{} {} store={} sessions={}: {}",
        row.scenario,
        row.program,
        row.store,
        row.sessions,
        figures.join(" ")
    );
    report.rows.push(row);
}
