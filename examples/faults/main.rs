//! Every fault at every call of the operator, on a real API server, with what came of it.
//!
//! ```text
//! cargo run --release --example faults                       all single faults
//! cargo run --release --example faults -- --help             which part of them, and pairs
//! cargo run --release --example faults -- --replay 'cursor-v1|run|POST /v1/agents #1|timeout-after'
//! ```

mod pairs;
mod screen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use codeagent_boundary::cluster::Cluster;
use codeagent_boundary::matrix::{Selection, learn, new_seed, run_all, run_until, sample};
use codeagent_boundary::provider::{self, UnderTest};
use codeagent_boundary::report::Report;
use codeagent_boundary::run::Row;
use codeagent_boundary::{Fault, Lifecycle, Trouble};
use screen::Screen;

/// Where accounts of violations are kept.
const DIRECTORY: &str = "target/faults";

/// Runs the operator's life with one thing going wrong, for every call that it makes and everything that can go wrong there,
/// and checks after each run what docs/reliability.md promises.
///
/// A control plane and simulated providers are started on this machine. A learning run of each lifecycle at each provider
/// tells which calls ("boundaries") there are. Then the lifecycle runs again for each boundary and each fault that makes
/// sense there. The exit code is 0 if every promise was kept in every run.
///
/// In the tables, "7 (2) !1" means: seven runs; in two of them the course of things did not reach the fault, so that they were
/// runs without it; in one of them a promise was not kept.
#[derive(Debug, Parser)]
#[command(name = "faults", max_term_width = 100)]
struct Arguments {
    /// Only at these providers, separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = provider::named)]
    providers: Vec<&'static UnderTest>,
    /// Only these lifecycles.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    lifecycles: Vec<Lifecycle>,
    /// Only these faults.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    faults: Vec<Fault>,
    /// Only boundaries whose name contains this, like "codesessions/status" or "POST".
    #[arg(long, value_name = "TEXT")]
    boundary: Option<String>,
    /// So many sessions at once in each run.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    crowd: usize,
    /// Two faults in each run: after each single fault, each further one at each boundary that its run had after it.
    #[arg(long)]
    pairs: bool,
    /// With --pairs: where to note what was run. Started again with the same file, it goes on where it ended.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/faults/pairs.jsonl",
        requires = "pairs"
    )]
    state: PathBuf,
    /// Runs this one row and prints all that happened in it.
    #[arg(long, value_name = "ROW")]
    replay: Option<Row>,
    /// With --replay: how often.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "replay")]
    times: usize,
    /// At most this many runs, drawn by lot and spread over all; says how many there would be.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// With --limit: draws what this seed drew before. Default: another one each time, which is printed.
    #[arg(long, value_name = "NUMBER", requires = "limit")]
    seed: Option<u64>,
    /// Begins no further run after this many minutes, and says how many there were.
    #[arg(long, value_name = "NUMBER", conflicts_with = "pairs")]
    minutes: Option<u64>,
    /// How many runs at the same time. Default: eight for each core.
    #[arg(long, value_name = "NUMBER", env = "FAULTS_PARALLEL")]
    parallel: Option<usize>,
    /// Writes the tables to this file, in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

impl Arguments {
    fn selection(&self) -> Selection {
        fn or_all<T: Clone>(chosen: &[T], all: &[T]) -> Vec<T> {
            if chosen.is_empty() { all } else { chosen }.to_vec()
        }
        let all: Vec<&UnderTest> = provider::ALL.iter().collect();
        Selection {
            providers: or_all(&self.providers, &all),
            lifecycles: or_all(&self.lifecycles, &Lifecycle::ALL),
            faults: or_all(&self.faults, &Fault::ALL),
            boundary: self.boundary.clone(),
            crowd: self.crowd.max(1),
        }
    }

    fn parallel(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        self.parallel.unwrap_or(cores * 8)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match work(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("faults: {trouble}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise was kept.
async fn work(arguments: &Arguments) -> Result<bool, Trouble> {
    let cluster = Cluster::start().await?;
    if let Some(row) = &arguments.replay {
        return replay(&cluster, row, arguments).await;
    }
    let mut report = Report::default();
    let singles = singles(&cluster, arguments, &mut report).await?;
    if arguments.pairs {
        pairs::run(&cluster, arguments, singles, &mut report).await?;
    } else {
        let all = singles.len();
        let seed = arguments.seed.unwrap_or_else(new_seed);
        let rows = sample(singles, arguments.limit.unwrap_or(all), seed);
        if rows.len() < all {
            println!("{} of {all} rows are run, --seed {seed}", rows.len());
        }
        let minutes = arguments
            .minutes
            .map(|minutes| Duration::from_secs(60 * minutes));
        let end = minutes.map(|minutes| Instant::now() + minutes);
        let mut screen = Screen::new("single faults", rows.len());
        let mut ended = 0;
        let parallel = arguments.parallel();
        run_until(&cluster, rows, parallel, end, |row, outcome| {
            ended += 1;
            screen.ended(row, &outcome);
            report.add(row, outcome);
        })
        .await?;
        println!("{ended} of {all} rows were run");
    }
    conclude(&report, arguments)
}

/// Learns which rows with one fault there are.
async fn singles(
    cluster: &Arc<Cluster>,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<Vec<Row>, Trouble> {
    let selection = arguments.selection();
    let mut screen = Screen::new("learning runs", selection.lessons().len());
    learn(cluster, &selection, arguments.parallel(), |row, outcome| {
        screen.ended(row, &outcome);
        report.add(row, outcome);
    })
    .await
}

async fn replay(cluster: &Arc<Cluster>, row: &Row, arguments: &Arguments) -> Result<bool, Trouble> {
    let rows = vec![row.clone(); arguments.times.max(1)];
    let once = rows.len() == 1;
    let mut kept = true;
    run_all(cluster, rows, arguments.parallel(), |row, outcome| {
        if once || !outcome.violations.is_empty() {
            println!("{}", outcome.account);
        }
        println!(
            "{row}: {} of {} faults met, {:.1} s",
            outcome.met,
            row.faults.len(),
            outcome.took.as_secs_f64()
        );
        for violation in &outcome.violations {
            kept = false;
            println!("VIOLATION: {violation}");
        }
    })
    .await?;
    Ok(kept)
}

fn conclude(report: &Report, arguments: &Arguments) -> Result<bool, Trouble> {
    let tables = report.tables();
    println!("\n{tables}");
    if let Some(file) = &arguments.markdown {
        std::fs::write(file, &tables)?;
    }
    let total = report.total();
    println!(
        "{} runs, {} without reaching their fault, {} in which a promise was not kept",
        total.runs, total.unmet, total.violated
    );
    let mut accounts = String::new();
    for violated in &report.violated {
        accounts.push_str(&format!(
            "==== {}\n{}\n{}\n",
            violated.row,
            violated.what.join("\n"),
            violated.account
        ));
        println!("\n{}", violated.what.join("\n"));
        println!(
            "  cargo run --release --example faults -- --replay '{}'",
            violated.row
        );
    }
    if !accounts.is_empty() {
        std::fs::create_dir_all(DIRECTORY)?;
        let file = format!("{DIRECTORY}/violations.txt");
        std::fs::write(&file, accounts)?;
        println!("\nwhat happened in these runs: {file}");
    }
    Ok(report.violated.is_empty())
}
