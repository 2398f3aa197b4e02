//! What a session costs: this checkout's operator beside an earlier build of it and beside a plain controller, in one run on one
//! control plane.
//!
//! ```text
//! cargo run --release -p codeagent-bench                     # all scenarios and sizes, about an hour
//! cargo run --release -p codeagent-bench -- --sizes 500,2000 --scenarios life,queue
//! cargo run -p codeagent-bench -- --short                    # a minute: counts only, and it fails if one is too high
//! ```
//!
//! Rounds alternate (A B C A B C), so that what the machine does meanwhile meets all of them. Figures of time say something beside each other
//! only; counts of requests say something alone.

mod contestant;
mod measure;
mod report;
mod scenario;
mod short;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use contestant::{Contestant, Profile};
use report::Report;
use world::World;

/// Why the bench (never a program under test) did not work.
pub type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Processes that want to run, for each core, above which figures of time are not believed.
const BUSY: f64 = 0.5;

/// Measures what a session costs.
#[derive(Debug, Parser)]
struct Options {
    /// Count requests of this checkout's operator only, in about a minute, and fail if there are too many.
    #[arg(long)]
    short: bool,
    /// What is run. Default: everything.
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Finished sessions in the store.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 2_000, 10_000, 20_000])]
    sizes: Vec<usize>,
    /// Sessions of a round.
    #[arg(long, default_value_t = 400)]
    sessions: usize,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// From apply to the end, with ever more finished sessions in the store.
    Life,
    /// Many sessions behind agents that run two at a time.
    Queue,
    /// A start with many finished sessions.
    Start,
    /// Stops at one provider while launches at another get no answer.
    Hanging,
    /// Many running sessions of one key, deleted at once.
    Deletion,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The simulator's and the operator's clients need one; nobody else could have installed it before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options::parse();
    let result = if options.short {
        short::run().await
    } else {
        full(&options).await
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
    let (current, baseline) = contestant::build(Profile::Release).await?;
    let earlier = match &options.earlier {
        Some(commit) => Some(contestant::build_commit(commit).await?),
        None => None,
    };
    let contestants: Vec<Contestant> = [Some(current), earlier, Some(baseline)]
        .into_iter()
        .flatten()
        .collect();
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
    let wanted = |scenario| options.scenarios.is_empty() || options.scenarios.contains(&scenario);
    for round in 0..options.rounds {
        for size in &options.sizes {
            for contestant in &contestants {
                if wanted(Scenario::Life) {
                    let row =
                        scenario::life(&mut world, contestant, *size, options.sessions).await?;
                    show(&mut report, row);
                }
                if wanted(Scenario::Start) && round == 0 {
                    let row = scenario::start(&mut world, contestant, *size).await?;
                    show(&mut report, row);
                }
            }
        }
        for contestant in contestants
            .iter()
            .filter(|contestant| scenario::has_queue(contestant.kind))
        {
            if wanted(Scenario::Queue) {
                for sessions in [250, 1000] {
                    let row = scenario::queue(&mut world, contestant, 50, sessions).await?;
                    show(&mut report, row);
                }
            }
            if wanted(Scenario::Hanging) {
                let row = scenario::hanging(&mut world, contestant, 80, 10).await?;
                show(&mut report, row);
            }
            if wanted(Scenario::Deletion) {
                let row = scenario::deletion(&mut world, contestant, 300).await?;
                show(&mut report, row);
            }
        }
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

fn show(report: &mut Report, row: scenario::Row) {
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
